/*
 * VM exits, decoded into a value and judged by nobody here. SDM "Basic VM-Exit Information".
 */
#ifndef VMX_EXIT_H
#define VMX_EXIT_H

#include <stdbool.h>
#include <stdint.h>

#include "ept/ept.h"

enum exit_kind {
	EXIT_OTHER,			/* whatever is none of those below: see `reason` */
	EXIT_EXCEPTION,			/* an exception that was asked for (vm_catch_exceptions) */
	EXIT_INTERRUPT,			/* external interrupt: the host has handled it */
	EXIT_KICK,			/* NMI: somebody wants this CPU out of the guest */
	EXIT_TRIPLE_FAULT,
	EXIT_TIMER,			/* the time given to vcpu_run is over */
	EXIT_IRQ_WINDOW,		/* vcpu_want_irq_window: it can take an interrupt now */
	EXIT_CPUID,
	EXIT_HLT,
	EXIT_VMCALL,
	EXIT_CR_ACCESS,
	EXIT_IO,
	EXIT_RDMSR,
	EXIT_WRMSR,
	EXIT_EPT_VIOLATION,
	EXIT_EPT_MISCONFIGURATION,
	EXIT_XSETBV,
	EXIT_INVALID_INSTRUCTION,	/* VMX, GETSEC, ... in the guest: give it #UD */
	EXIT_KINDS
};

const char *exit_kind_name(enum exit_kind kind);

struct exit_io {
	uint16_t port;
	uint8_t size;			/* 1, 2, 4 bytes */
	bool in, string, repeat;
};

struct exit_ept {
	gpa_t address;
	enum access access;		/* what the guest tried, or-ed */
};

struct exit_cr {
	uint8_t number;
	uint8_t access;			/* 0 mov to, 1 mov from, 2 clts, 3 lmsw */
	uint8_t reg;			/* general register, VMX numbering */
	uint16_t lmsw;
};

struct vcpu_exit {
	enum exit_kind kind;
	uint32_t reason;		/* SDM appendix "VMX Basic Exit Reasons" */
	uint32_t length;		/* of the instruction: as the next, */
	uint64_t qualification;		/* undefined where the SDM defines none for the exit */
	union {
		struct exit_io io;
		struct exit_ept ept;
		struct exit_cr cr;
		struct { uint8_t vector, type; bool has_error; uint32_t error; } exception;
	};
};

/*
 * What else an EPT violation's qualification says. SDM "Exit Qualification for EPT Violations":
 * what the entry allows; whether there is a guest linear address (vcpu_exit_linear); whether the
 * access was to a guest paging structure on the way to it.
 */
static inline enum access exit_ept_allowed(const struct vcpu_exit *exit)
{
	return (enum access)(exit->qualification >> 3 & 7);
}

static inline bool exit_ept_linear_valid(const struct vcpu_exit *exit)
{
	return exit->qualification & 1 << 7;
}

static inline bool exit_ept_table_walk(const struct vcpu_exit *exit)
{
	return (exit->qualification & 3 << 7) == 1 << 7;
}

#endif
