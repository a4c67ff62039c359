/*
 * MSRs that exit: the few that this machine has. Those that the processor switches by itself
 * (EFER, PAT, FS, GS, SYSENTER, SYSCALL) never come here. SDM "Model-Specific Registers (MSRs)".
 */
#include "guest/machine/parts.h"

#define MSR_TSC            0x10
#define MSR_PLATFORM_ID    0x17
#define MSR_BIOS_SIGN_ID   0x8b
#define MSR_MISC_ENABLE    0x1a0

/* IA32_MISC_ENABLE: fast strings; no branch trace storage, no precise event-based sampling. */
#define MISC_ENABLE_VALUE  (1u << 0 | 1u << 11 | 1u << 12)

static bool read_msr(struct virtual_cpu *cpu, uint32_t number, uint64_t *value)
{
	switch (number) {
	case MSR_TSC:
		*value = read_tsc() + vcpu_tsc_offset(cpu->vcpu);
		return true;
	case MSR_MISC_ENABLE:
		*value = MISC_ENABLE_VALUE;
		return true;
	case MSR_PLATFORM_ID:
	case MSR_BIOS_SIGN_ID:		/* no microcode update */
		*value = 0;
		return true;
	default:
		return false;
	}
}

static bool write_msr(struct virtual_cpu *cpu, uint32_t number, uint64_t value)
{
	switch (number) {
	case MSR_TSC:
		vcpu_set_tsc_offset(cpu->vcpu, value - read_tsc());
		return true;
	case MSR_BIOS_SIGN_ID:		/* written before it is read for the update's revision */
		return value == 0;
	default:
		return false;
	}
}

/* Unknown ones are counted, and the first few listed by number. */
static void note(struct machine *m, uint32_t number, bool is_write)
{
	spin_lock(&m->lock);
	*(is_write ? &m->unclaimed.msr_writes : &m->unclaimed.msr_reads) += 1;
	for (unsigned i = 0; i < MSRS_LISTED; i++) {
		struct machine_msr *msr = &m->msrs[i];

		if (i == m->msr_count) {
			m->msr_count++;
			*msr = (struct machine_msr){ .number = number };
		}
		if (msr->number == number) {
			*(is_write ? &msr->writes : &msr->reads) += 1;
			break;
		}
	}
	spin_unlock(&m->lock);
}

enum vcpu_go answer_rdmsr(struct vcpu_turn *turn, const struct vcpu_exit *exit)
{
	struct virtual_cpu *cpu = cpu_of(turn);
	uint32_t number = (uint32_t)vcpu_reg(cpu->vcpu, REG_RCX);
	uint64_t value;

	(void)exit;
	if (!read_msr(cpu, number, &value)) {
		note(cpu->machine, number, false);
		return raise(cpu, VECTOR_GP, 0);
	}
	vcpu_set_reg(cpu->vcpu, REG_RAX, (uint32_t)value);
	vcpu_set_reg(cpu->vcpu, REG_RDX, value >> 32);
	return VCPU_PAST;
}

enum vcpu_go answer_wrmsr(struct vcpu_turn *turn, const struct vcpu_exit *exit)
{
	struct virtual_cpu *cpu = cpu_of(turn);
	uint32_t number = (uint32_t)vcpu_reg(cpu->vcpu, REG_RCX);
	uint64_t value = vcpu_reg(cpu->vcpu, REG_RDX) << 32 |
			 (uint32_t)vcpu_reg(cpu->vcpu, REG_RAX);

	(void)exit;
	if (!write_msr(cpu, number, value)) {
		note(cpu->machine, number, true);
		return raise(cpu, VECTOR_GP, 0);
	}
	return VCPU_PAST;
}
