/*
 * Exits that are no business of the machine: what vmx intercepts to keep its own rules, and then
 * does as the CPU would have done it. Called by run.c with the vCPU's VMCS current.
 */
#include "vmx/insn.h"
#include "vmx/vcpu.h"
#include "vmx/vcpu_state.h"

enum { VECTOR_DB = 1, VECTOR_GP = 13, VECTOR_AC = 17, VECTOR_MC = 18 };
enum { REASON_INVD = 13, REASON_RDPMC = 15, REASON_PML_FULL = 62 };
enum { MOV_TO_CR = 0 };

#define DR6_TRAPS UINT64_C(0x600f)	/* B0..B3, BD, BS: as a #DB's qualification has them */
#define DR7_GD    (UINT64_C(1) << 13)

/* SDM "MOV - Move to/from Control Registers": which values of CR0 fault. */
static bool cr0_valid(uint64_t cr0)
{
	if ((cr0 & CR0_PG) && !(cr0 & CR0_PE))
		return false;
	return !(cr0 >> 32) && (!(cr0 & CR0_NW) || (cr0 & CR0_CD));
}

/*
 * The guest changes a bit that is the host's. Only the read shadow takes it; then the same
 * instruction runs again, exits no more, and the CPU does the rest: mode switches, PDPTEs.
 */
static void move_to_cr0(struct vcpu *vcpu, const struct exit_cr *cr)
{
	uint64_t value = vcpu_reg(vcpu, (enum vcpu_reg)cr->reg);

	if (cr0_valid(value))
		vmcs_write(VMCS_CR0_SHADOW, value);
	else
		vcpu_inject_exception(vcpu, VECTOR_GP, 0);
}

/* Of the host's bits only MCE is for the guest to see: CPUID does not list the others' features. */
static void move_to_cr4(struct vcpu *vcpu, const struct exit_cr *cr)
{
	uint64_t value = vcpu_reg(vcpu, (enum vcpu_reg)cr->reg);

	if (value & vcpu_cr4_owned() & ~CR4_MCE)
		vcpu_inject_exception(vcpu, VECTOR_GP, 0);
	else
		vmcs_write(VMCS_CR4_SHADOW, value);
}

static bool control_register(struct vcpu *vcpu, const struct exit_cr *cr)
{
	if (cr->access != MOV_TO_CR)
		return false;
	if (cr->number == 0)
		move_to_cr0(vcpu, cr);
	else if (cr->number == 4)
		move_to_cr4(vcpu, cr);
	else
		return false;
	return true;
}

/*
 * SDM "Exit Qualification for Debug Exceptions": DR6 is not updated, nor DR7.GD cleared, when #DB
 * exits; so both are done here before the guest gets it.
 */
static void give_back_debug(struct vcpu *vcpu, const struct vcpu_exit *exit)
{
	uint32_t type = exit->exception.type;	/* INT1 is an instruction's, not the CPU's */
	uint64_t dr6 = insn_read_dr6();

	if (type == TYPE_EXCEPTION) {
		insn_write_dr6((dr6 & ~UINT64_C(15)) | (exit->qualification & DR6_TRAPS));
		vmcs_write(VMCS_GUEST_DR7, vmcs_read(VMCS_GUEST_DR7) & ~DR7_GD);
	}
	vcpu_inject(vcpu, VECTOR_DB, type, NO_ERROR_CODE, exit->length);
}

static bool exception(struct vcpu *vcpu, const struct vcpu_exit *exit)
{
	uint8_t vector = exit->exception.vector;

	if (vcpu->vm->exceptions >> vector & 1)
		return false;
	/* The machine check's handler is the board's. It ends the machine, or the guest goes on. */
	if (vector == VECTOR_DB)
		give_back_debug(vcpu, exit);
	else if (vector == VECTOR_AC)
		vcpu_inject_exception(vcpu, VECTOR_AC, exit->exception.error);
	else if (vector == VECTOR_MC)
		__asm__ volatile("int $18" ::: "memory");
	else
		return false;
	return true;
}

bool intercept_exit(struct vcpu *vcpu, const struct vcpu_exit *exit)
{
	if (exit->kind == EXIT_CR_ACCESS)
		return control_register(vcpu, &exit->cr);
	if (exit->kind == EXIT_EXCEPTION)
		return exception(vcpu, exit);
	if (exit->reason == REASON_INVD)
		vcpu_skip(vcpu, exit->length);	/* the caches hold the host's data too */
	else if (exit->reason == REASON_RDPMC)
		vcpu_inject_exception(vcpu, VECTOR_GP, 0);
	else if (exit->reason == REASON_PML_FULL)
		return vcpu->logged;		/* then it was emptied on the way out */
	else
		return false;
	return true;
}
