/*
 * What this machine's VMX can do and which controls are chosen from it, once, by vmx_probe. Read
 * only afterwards: any CPU, no lock.
 */
#ifndef VMX_CAPS_H
#define VMX_CAPS_H

#include "ept/ept.h"
#include "mm/base/check.h"

/* The words of controls that the table in caps.c speaks of; the last has no VMCS field. */
enum control_word { PIN, PRIMARY, SECONDARY, EXIT, ENTRY, EPT_VPID, CONTROL_WORDS };

/* Controls that are switched while a vCPU lives. SDM "Processor-Based VM-Execution Controls". */
#define PRIMARY_IRQ_WINDOW  (UINT32_C(1) << 2)
#define SECONDARY_PML       (UINT32_C(1) << 17)
#define ENTRY_IA32E_GUEST   (UINT32_C(1) << 9)

struct vmx_caps {
	bool probed;			/* and found sufficient */
	uint32_t revision;		/* of VMCSs */
	uint32_t control[EPT_VPID];	/* what a new VMCS gets */
	bool vpid;			/* VPIDs are in use, with: */
	bool invvpid_single;		/* else all contexts at once */
	bool invept_all;
	bool pml;			/* switched as a vCPU runs: run.c */
	bool execute_only;		/* detected; nobody uses it yet */
	unsigned timer_shift;		/* the preemption timer counts TSC >> this */
	uint64_t cr0_fixed0, cr0_fixed1, cr4_fixed0, cr4_fixed1;
	bool xsave;
	uint64_t xcr0;			/* every state component this CPU has */
	uint32_t fpu_bytes;		/* that they take */
	struct ept_caps ept;
};

extern struct vmx_caps vmx_caps;

/* The words as the MSRs describe them: low half must be one, high half may be; EPT_VPID flags. */
void caps_read(uint64_t allowed[CONTROL_WORDS]);
/*
 * Controls out of such words. `missing`, a string of at most `size` bytes, gets the SDM names of
 * all that is required and not allowed, separated by ", "; as many as fit.
 */
void caps_choose(const uint64_t allowed[CONTROL_WORDS], struct vmx_caps *caps, char *missing,
		 unsigned size);

/* Before VMXON on each CPU: STATUS_UNSUPPORTED when firmware or another model forbids it. */
MUST_USE enum status caps_allow_vmxon(void);

#endif
