/* ept/port.h for hosted programs: a kick sets a soft CPU's flag, or calls a test. */
#ifndef TESTS_HOST_KICK_H
#define TESTS_HOST_KICK_H

#include "tests/host/soft_cpu.h"

/* The soft CPU that runs on that CPU from now on; NULL: none. Before any thread starts. */
void kick_attach(unsigned cpu, struct soft_cpu *soft);
/*
 * Called by every kick, in the thread that kicks: for tests in which one thread plays all CPUs.
 * NULL: none.
 */
void kick_hook(void (*hook)(unsigned cpu));

#endif
