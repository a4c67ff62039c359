/*
 * What a guest must not have touched, looked at from outside: the frames that its EPT names, the
 * hypervisor's code and constants, and the state of each CPU. By ways of its own, not by those of
 * ept/ and vmx/, and without a panic: a fault is a sentence.
 */
#ifndef TESTS_BOOT_UNHARMED_H
#define TESTS_BOOT_UNHARMED_H

#include "boot/boot.h"
#include "boot/cpu.h"
#include "guest/machine/machine.h"

/*
 * I7: each page of each EPT leaf of the machine is the frame that its own space has there, no
 * other leaf has it, no page of `other` (or NULL) is it, and it is a folio that only processes
 * use. NULL when that is so, and *pages is how many were looked at. The machine is at rest,
 * its space too; the other one may run. One caller at a time.
 */
const char *frames_fault(struct machine *machine, struct machine *other, uint64_t *pages);

enum { UNHARMED_STATE = 32 };

struct unharmed {
	uint64_t image;			/* a sum of code and constants */
	uint64_t state[MAX_CPUS][UNHARMED_STATE];
};

/* Each CPU is asked (cpu_call): one that is lost hangs the caller. */
void unharmed_note(struct unharmed *out);
/* NULL, or what is not as it was; then *cpu is where, and *now and *before what it holds. */
const char *unharmed_fault(const struct unharmed *before, unsigned *cpu, uint64_t *now,
			   uint64_t *then);

#endif
