/* Exceptions, NMIs and interrupts, as they arrive in the image. */
#ifndef BOOT_TRAPS_H
#define BOOT_TRAPS_H

#include <stdbool.h>
#include <stdint.h>

#include "mm/base/check.h"

/* As traps.S pushes it. */
struct trap_frame {
	uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
	uint64_t vector, error;
	uint64_t rip, cs, rflags, rsp, ss;	/* by the CPU */
};

enum { VECTOR_NMI = 2, VECTOR_DOUBLE_FAULT = 8, VECTOR_PROTECTION = 13, VECTOR_PAGE_FAULT = 14,
       VECTOR_MACHINE_CHECK = 18, VECTOR_FIRST_INTERRUPT = 32,
       VECTOR_CALL = 0xf0, VECTOR_WAKE = 0xf1, VECTOR_TIMER = 0xf2, VECTOR_SPURIOUS = 0xff };

void traps_build(void);		/* the table, once */
void traps_load(void);		/* on each CPU */
void trap_handle(struct trap_frame *frame);	/* traps.S */

/*
 * Try something that may fault: false when it did, with what is left of it undone and the vector
 * and error code in this_cpu()->recovered_*. For probing and for tests.
 */
MUST_USE bool try_read(const void *from, uint64_t *value);
MUST_USE bool try_write(void *to, uint64_t value);
MUST_USE bool try_rdmsr(uint32_t msr, uint64_t *value);
MUST_USE bool try_wrmsr(uint32_t msr, uint64_t value);
MUST_USE bool try_call(void (*function)(void));	/* false: could not even be fetched */

#endif
