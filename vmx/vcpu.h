/*
 * A virtual CPU: a VMCS, the registers that a VMCS does not hold, and its FPU. One CPU at a time
 * runs it (the caller's scheduling sees to that); any CPU may be the next one.
 */
#ifndef VMX_VCPU_H
#define VMX_VCPU_H

#include "mm/base/atomic.h"
#include "vmx/exit.h"
#include "vmx/vm.h"

struct vcpu;

/* Order of SDM's register encoding in exit qualifications and ModRM. */
enum vcpu_reg { REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
		REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15,
		REG_RIP, REG_RFLAGS };

enum vcpu_segment { SEGMENT_ES, SEGMENT_CS, SEGMENT_SS, SEGMENT_DS, SEGMENT_FS, SEGMENT_GS,
		    SEGMENT_LDTR, SEGMENT_TR };
struct vcpu_segment_state { uint16_t selector; uint32_t limit, access; uint64_t base; };

enum vcpu_control { CONTROL_CR0, CONTROL_CR2, CONTROL_CR3, CONTROL_CR4, CONTROL_EFER, CONTROL_PAT };

/*
 * In the reset state of SDM "Processor State After Reset", real mode at f000:fff0, on a CPU with
 * VMX on. STATUS_NO_MEMORY; STATUS_LIMIT when the VPIDs are used up.
 */
MUST_USE enum status vcpu_create(struct vm *vm, struct vcpu **out);
void vcpu_destroy(struct vcpu *vcpu);
/*
 * Its state leaves this CPU, if it is here. Never necessary: a CPU that needs the vCPU asks for it
 * (by NMI). But cheaper, where it is known that another CPU will run it next.
 */
void vcpu_put(struct vcpu *vcpu);
struct vm *vcpu_vm(struct vcpu *vcpu);

/* ------------------------------------------------------------------ state, while at rest */

/* Start states: registers zero, RFLAGS 2, interrupts off, flat segments. */
void vcpu_start_real(struct vcpu *vcpu, uint16_t segment, uint16_t offset);
void vcpu_start_protected(struct vcpu *vcpu, uint32_t eip);		/* paging off */
void vcpu_start_long(struct vcpu *vcpu, uint64_t rip, uint64_t cr3);	/* CPL 0 */

/* RSP, RIP and RFLAGS are in the VMCS; the others in memory, which a struct vcpu begins with. */
struct vcpu_registers { uint64_t at[16]; };
uint64_t vcpu_vmcs_reg(struct vcpu *vcpu, enum vcpu_reg reg);
void vcpu_set_vmcs_reg(struct vcpu *vcpu, enum vcpu_reg reg, uint64_t value);
static inline bool vcpu_reg_in_memory(enum vcpu_reg reg) { return reg < REG_RIP && reg != REG_RSP; }

static inline uint64_t vcpu_reg(struct vcpu *vcpu, enum vcpu_reg reg)
{
	return vcpu_reg_in_memory(reg) ? ((struct vcpu_registers *)vcpu)->at[reg]
				       : vcpu_vmcs_reg(vcpu, reg);
}

static inline void vcpu_set_reg(struct vcpu *vcpu, enum vcpu_reg reg, uint64_t value)
{
	if (vcpu_reg_in_memory(reg))
		((struct vcpu_registers *)vcpu)->at[reg] = value;
	else
		vcpu_set_vmcs_reg(vcpu, reg, value);
}

uint64_t vcpu_control(struct vcpu *vcpu, enum vcpu_control control);
void vcpu_set_control(struct vcpu *vcpu, enum vcpu_control control, uint64_t value);
void vcpu_segment(struct vcpu *vcpu, enum vcpu_segment segment, struct vcpu_segment_state *out);
void vcpu_set_segment(struct vcpu *vcpu, enum vcpu_segment segment,
		      const struct vcpu_segment_state *state);
/* STATUS_UNSUPPORTED when XSETBV would fault: give the guest #GP. */
MUST_USE enum status vcpu_set_xcr0(struct vcpu *vcpu, uint64_t value);
uint64_t vcpu_xcr0(struct vcpu *vcpu);
/* Guest TSC = host TSC + offset. */
void vcpu_set_tsc_offset(struct vcpu *vcpu, uint64_t offset);
uint64_t vcpu_tsc_offset(struct vcpu *vcpu);

/* Of its last exit, while exit_ept_linear_valid says so. */
uint64_t vcpu_exit_linear(struct vcpu *vcpu);

/* Past the instruction that exited, as the CPU would: clears the STI/MOV SS shadow too. */
void vcpu_skip(struct vcpu *vcpu, uint32_t length);

/* ------------------------------------------------------------------ events */

enum { NO_ERROR_CODE = -1 };
void vcpu_inject_exception(struct vcpu *vcpu, uint8_t vector, int64_t error_code);
/* True when RFLAGS.IF, shadows and pending events let an interrupt in at the next entry. */
bool vcpu_can_take_interrupt(struct vcpu *vcpu);
void vcpu_inject_interrupt(struct vcpu *vcpu, uint8_t vector);
/* EXIT_IRQ_WINDOW as soon as one can be taken. */
void vcpu_want_irq_window(struct vcpu *vcpu, bool wanted);

/* ------------------------------------------------------------------ running */

/* Where the guest goes on: at the instruction that it left by, or behind it. */
enum vcpu_go { VCPU_AGAIN, VCPU_PAST };

/*
 * A vCPU's turn on a CPU: it runs, and each exit is answered by the function for its kind, until
 * the TSC reaches `until`. Whoever has something to say to the one who gave the turn writes 0
 * there, from any CPU: vcpu_take_turn then returns after the next exit.
 */
struct vcpu_turn;
typedef enum vcpu_go vcpu_answer(struct vcpu_turn *turn, const struct vcpu_exit *exit);

struct vcpu_turn {
	atomic64_t until;
	vcpu_answer *const *answers;	/* EXIT_KINDS of them, EXIT_KICK, EXIT_TIMER and all */
	atomic64_t exits[EXIT_KINDS];	/* so far; written by the CPU that runs it */
};

/* Not later than `tsc`; a 0 that somebody has written stays. */
static inline void vcpu_turn_until(struct vcpu_turn *turn, uint64_t tsc)
{
	uint64_t until = atomic_read(&turn->until);

	while (tsc < until && !atomic_cmpxchg(&turn->until, &until, tsc))
		;
}

/*
 * At least to one exit; for a millisecond at most, since a CPU may not report interrupts as long as
 * the guest has them disabled. Answers are called with interrupts on, the guest is entered with
 * them off, and afterwards they are as they were. An answer may do to this vCPU, and to others at
 * rest, what this header offers, but run one.
 *
 * What only vmx can answer never comes: changes of CR0 and CR4 bits that are the host's, #DB and
 * #AC that nobody asked for, #MC, INVD, RDPMC, a full list of stores. An entry that fails is
 * printed: the VM-instruction error, or the failed check's area, and the guest state that matters.
 * If the guest may have caused it (its state was refused), it is EXIT_OTHER, reason 33; else panic.
 * Not from an interrupt handler that may have interrupted another function of this header.
 */
void vcpu_take_turn(struct vcpu *vcpu, struct vcpu_turn *turn);

/* The same to the first exit that is the caller's, at most `ticks` TSC ticks (0: no limit). */
void vcpu_run(struct vcpu *vcpu, uint64_t ticks, struct vcpu_exit *out);

/* For tests: STATUS_BAD_FORMAT on a failed entry, after printing what vcpu_run would print. */
MUST_USE enum status vcpu_run_checked(struct vcpu *vcpu, uint64_t ticks, struct vcpu_exit *out);

/* The registers, controls and segments, a few lines on the console. */
void vcpu_print(struct vcpu *vcpu);

#endif
