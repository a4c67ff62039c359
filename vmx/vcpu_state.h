/*
 * struct vcpu and struct vm, for vmx's own files and its tests. A vCPU is loaded on at most one
 * CPU; only that one may touch its VMCS and its live registers, and only the caller that runs or
 * inspects it touches the struct.
 */
#ifndef VMX_VCPU_STATE_H
#define VMX_VCPU_STATE_H

#include "ept/enter.h"
#include "mm/base/atomic.h"
#include "vmx/cpu.h"
#include "vmx/vcpu.h"
#include "vmx/vmcs.h"

#define CPU_NONE UINT32_MAX

/* MSRs that neither the VMCS nor the host uses: they stay in the CPU while the vCPU is loaded. */
enum { GUEST_MSRS = 5 };
extern const uint32_t vcpu_guest_msrs[GUEST_MSRS];

struct vcpu {
	/* entry.S: */
	struct vcpu_registers regs;
	uint64_t host_stack;
	atomic32_t kicked;		/* by the NMI handler of its CPU; cleared before an entry */

	atomic32_t cpu;			/* where it is loaded, or CPU_NONE */
	unsigned host_cpu;		/* its host state is in the VMCS, its TLB knows the VPID */
	struct ept_entrance entrance;	/* of that CPU; of a raw VM, to its own `nobody` */
	enum ept_entry logged;		/* EPT_LOGGED: runs with page-modification logging; or 0 */
	/* What the entry says if nothing is to be done: as `logged`; or INVVPID before the next. */
	enum ept_entry expected;
#define EXPECT_NOTHING ((enum ept_entry)~0)
	struct vm *vm;
	uint16_t vpid;
	uint32_t primary;		/* what the field holds: saves the VMREAD */
	uint64_t slice;			/* TSC ticks the guest may keep host interrupts waiting */
	uint64_t cr2, dr[4], dr6, xcr0, msrs[GUEST_MSRS];	/* while it is not loaded */
	void *vmcs, *fpu;
	const uint64_t *pml;		/* what the processor lists; empty outside the guest */
	struct { struct ept_notice notice; struct ept_visitor visitor; } nobody;
};

struct vm {
	struct ept *ept;		/* NULL: a test's own tables stand behind eptp */
	uint64_t eptp;
	uint32_t exceptions;
	atomic32_t vcpus;
	uint8_t *msr_bitmap, *io_bitmaps;	/* one page, two pages */
};

/* A VM on hand-made EPT tables, for tests: entries of which ept/ knows nothing. */
MUST_USE enum status vm_create_raw(uint64_t eptp, struct vm **out);

/* One bit in Interruption-Information fields: SDM "Interruption-Information Format". */
#define EVENT_VALID      (UINT32_C(1) << 31)
#define EVENT_ERROR_CODE (UINT32_C(1) << 11)
#define EVENT_TYPE(t)    ((uint32_t)(t) << 8)
enum { TYPE_INTERRUPT = 0, TYPE_NMI = 2, TYPE_EXCEPTION = 3, TYPE_SOFT_INTERRUPT = 4,
       TYPE_PRIVILEGED = 5, TYPE_SOFT_EXCEPTION = 6 };

/* Guest interruptibility state: SDM "Guest Non-Register State". */
enum { BLOCKING_STI = 1, BLOCKING_MOV_SS = 2, BLOCKING_NMI = 8 };

#define RFLAGS_TF  (UINT64_C(1) << 8)
#define PENDING_BS (UINT64_C(1) << 14)	/* in pending debug exceptions: a single step */

#define CR0_PE     (UINT64_C(1) << 0)
#define CR0_ET     (UINT64_C(1) << 4)
#define CR0_NW     (UINT64_C(1) << 29)
#define CR0_CD     (UINT64_C(1) << 30)
#define CR0_PG     (UINT64_C(1) << 31)
#define CR4_PAE    (UINT64_C(1) << 5)
#define CR4_MCE    (UINT64_C(1) << 6)
#define EFER_LME   (UINT64_C(1) << 8)
#define EFER_LMA   (UINT64_C(1) << 10)

/* ---------------------------------------------------------------- the loaded vCPU's instruction */

/*
 * vcpu_skip, where it is known to be loaded. EIP wraps outside 64-bit mode: SDM "Checks on Guest
 * RIP, RFLAGS, and SSP" refuses bits 63:32 there. The shadow of STI and MOV SS lasts for one
 * instruction: this one. A guest that steps by TF gets its #DB after this one too.
 */
static inline void skip_instruction(uint32_t length)
{
	uint64_t next = vmcs_read(VMCS_GUEST_RIP) + length, blocking;

	if (__builtin_expect((uint32_t)next < length, 0) &&
	    !(vmcs_read(VMCS_GUEST_CS_ACCESS) & 1 << 13))
		next &= UINT32_MAX;
	vmcs_write(VMCS_GUEST_RIP, next);
	blocking = vmcs_read(VMCS_GUEST_INTERRUPTIBILITY);
	if (__builtin_expect(!!(blocking & (BLOCKING_STI | BLOCKING_MOV_SS)), 0))
		vmcs_write(VMCS_GUEST_INTERRUPTIBILITY,
			   blocking & ~(uint64_t)(BLOCKING_STI | BLOCKING_MOV_SS));
	if (__builtin_expect(!!(vmcs_read(VMCS_GUEST_RFLAGS) & RFLAGS_TF), 0))
		vmcs_write(VMCS_GUEST_PENDING_DEBUG, PENDING_BS);
}

/* Brings the vCPU to this CPU if it is not here already; interrupts may be on. */
void vcpu_load_slowly(struct vcpu *vcpu);
static inline void vcpu_load(struct vcpu *vcpu)
{
	/* Relaxed: nobody but this CPU makes the two equal, nor unequal while it uses the vCPU. */
	if (__builtin_expect(atomic_read_relaxed(&vcpu->cpu) != port_cpu(), 0))
		vcpu_load_slowly(vcpu);
}
/*
 * Into the guest and back, interrupts off, the vCPU loaded. False: it was not entered, since it is
 * `kicked`, or by the VM-instruction error that the VMCS has.
 */
static inline bool vcpu_enter(struct vcpu *vcpu)
{
	__asm__ volatile goto("call vmx_enter; jc %l[not_entered]"
		     :: "b"(vcpu)
		     : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13",
		       "r14", "r15", "cc", "memory" : not_entered);
	return true;
not_entered:
	return false;
}
/* What is loaded on this CPU, if anything is, goes to memory. */
void vcpu_unload(struct vmx_cpu *cpu);

/* The VMCS of a new vCPU, which is loaded: controls, reset state. vcpu_setup.c */
void vcpu_setup_vmcs(struct vcpu *vcpu);
/* After CR0, CR4 or EFER changed: EFER.LMA, the IA-32e mode guest control, PDPTEs. vcpu_state.c */
void vcpu_sync_paging(struct vcpu *vcpu);

/* Instructions of a guest that vmx answers itself; true when it has. intercept.c */
MUST_USE bool intercept_exit(struct vcpu *vcpu, const struct vcpu_exit *exit);

/* Bits that belong to the host: SDM "Guest/Host Masks and Read Shadows for CR0 and CR4". */
uint64_t vcpu_cr0_owned(void);
uint64_t vcpu_cr4_owned(void);

/*
 * For each basic exit reason what kind it is, which fields of the VMCS speak of it, and whether vmx
 * has something to do before anybody answers (run.c). exit.c
 */
enum { EXIT_LENGTH = 1, EXIT_QUALIFIED = 2, EXIT_DETAIL = 4, EXIT_OURS = 8 };
enum { EXIT_ROWS = 64 };
extern const struct exit_row { uint8_t kind, fields; } exit_rows[EXIT_ROWS];

/* What the current VMCS says of the last exit; true when it is an entry that failed. */
MUST_USE bool exit_decode(struct vcpu_exit *out);
/* The same, its reason being known: `word` is the whole field. */
MUST_USE bool exit_decode_reason(struct vcpu_exit *out, uint32_t word);

/* SDM "Exit Qualification for EPT Violations". The access bits are those of enum access. */
static inline void exit_decode_ept_violation(struct vcpu_exit *out)
{
	out->qualification = vmcs_read(VMCS_QUALIFICATION);
	out->ept.address = gpa(vmcs_read(VMCS_GUEST_PHYSICAL));
	out->ept.access = (enum access)(out->qualification & 7);
}

/*
 * An event at the next entry, which takes the place of the shadow of STI or MOV SS that the guest
 * may be in. Types: SDM "Interruption-Information Format"; `length` is of the instruction, for
 * those that one causes.
 */
void vcpu_inject(struct vcpu *vcpu, uint8_t vector, uint32_t type, int64_t error_code,
		 uint32_t length);
/*
 * An event whose delivery the last exit interrupted is delivered by the next entry. SDM
 * "Information for VM Exits That Occur During Event Delivery": what was being delivered when an EPT
 * violation or the like came in between is lost otherwise. event.c
 */
void vcpu_requeue(uint32_t event);
static inline void vcpu_requeue_event(void)
{
	uint32_t event = (uint32_t)vmcs_read(VMCS_VECTORING_EVENT);

	if (__builtin_expect(event & EVENT_VALID, 0))
		vcpu_requeue(event);
}

/* invept.c */
void vmx_invept(uint64_t eptp);
void vmx_invvpid(uint16_t vpid);

#endif
