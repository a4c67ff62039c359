/* The ways of a fault that take a lock. */
#ifndef EPT_FAULT_H
#define EPT_FAULT_H

#include "ept/state.h"

/* By fast.c, when nothing else has helped; as ept_fault. The CPU is this one. */
MUST_USE enum fault_result ept_fault_locked(struct ept *ept, struct ept_cpu *cpu, gfn_t frame,
					    enum access access);

#endif
