/*
 * The content oracle's writers as vCPUs of the processor's own (tests/host/oracle.h): each makes
 * its turns by the snippet oracle_turn. Needs VMX; one oracle at a time.
 */
#ifndef TESTS_BOOT_ORACLE_VCPU_H
#define TESTS_BOOT_ORACLE_VCPU_H

#include "tests/host/oracle.h"

extern const struct oracle_hands oracle_vcpu_hands;

#endif
