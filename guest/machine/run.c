/*
 * A virtual CPU's life on one CPU: let it run, see why it stopped, answer. Called through
 * machine_run by whoever schedules vCPUs; different vCPUs at once.
 */
#include "guest/machine/parts.h"

#include "guest/abi.h"

/* ------------------------------------------------------------------ answers */

static bool may_go_on(const struct virtual_cpu *cpu)
{
	uint32_t state = atomic_read(&cpu->state);

	return state != CPU_WAITING && state != CPU_DEAD;
}

static enum vcpu_go answer_hlt(struct vcpu_turn *turn, const struct vcpu_exit *exit)
{
	const uint64_t interrupts_on = 1 << 9;		/* RFLAGS.IF */
	struct virtual_cpu *cpu = cpu_of(turn);
	struct machine *m = cpu->machine;

	vcpu_skip(cpu->vcpu, exit->length);
	look_up(cpu);
	if (vcpu_reg(cpu->vcpu, REG_RFLAGS) & interrupts_on) {
		atomic_write(&cpu->state, CPU_HALTED);
		return VCPU_AGAIN;
	}
	/* Nothing but an NMI, INIT or reset could wake it, and this machine has no source of them.
	 */
	atomic_xchg(&cpu->state, CPU_DEAD);
	for (unsigned i = 0; i < m->cpu_count; i++)
		if (may_go_on(&m->cpu[i]))
			return VCPU_AGAIN;
	machine_end(m, END_KILLED, 0,
		    "halted for ever at RIP %#lx, vCPU %u: HLT with interrupts off",
		    vcpu_reg(cpu->vcpu, REG_RIP), cpu->number);
	return VCPU_AGAIN;
}

static bool start_cpu(struct machine *m, struct virtual_cpu *caller)
{
	const uint64_t long_mode = 1 << 10;		/* EFER.LMA */
	uint64_t number = vcpu_reg(caller->vcpu, REG_RDI);
	uint32_t waiting = CPU_WAITING;
	struct virtual_cpu *cpu;

	if (number >= m->cpu_count || !(vcpu_control(caller->vcpu, CONTROL_EFER) & long_mode))
		return false;
	cpu = &m->cpu[number];
	if (!atomic_cmpxchg(&cpu->state, &waiting, CPU_TAKEN))
		return false;
	vcpu_start_long(cpu->vcpu, vcpu_reg(caller->vcpu, REG_RSI),
			vcpu_control(caller->vcpu, CONTROL_CR3));
	vcpu_set_reg(cpu->vcpu, REG_RDI, number);
	vcpu_set_reg(cpu->vcpu, REG_RSP, vcpu_reg(caller->vcpu, REG_RDX));
	/* Hands the vCPU over with all of its state; partner: the read in machine_run. */
	atomic_write(&cpu->state, CPU_RUNNING);
	return true;
}

static bool at_cpl_0(struct virtual_cpu *cpu)
{
	struct vcpu_segment_state stack;

	vcpu_segment(cpu->vcpu, SEGMENT_SS, &stack);
	return !(stack.access >> 5 & 3);
}

static enum vcpu_go answer_vmcall(struct vcpu_turn *turn, const struct vcpu_exit *exit)
{
	struct virtual_cpu *cpu = cpu_of(turn);
	uint64_t result = UINT64_MAX;

	(void)exit;
	if (vcpu_reg(cpu->vcpu, REG_RAX) == ABI_CALL_START_CPU && at_cpl_0(cpu) &&
	    start_cpu(cpu->machine, cpu))
		result = 0;
	vcpu_set_reg(cpu->vcpu, REG_RAX, result);
	return VCPU_PAST;
}

static enum vcpu_go answer_io(struct vcpu_turn *turn, const struct vcpu_exit *exit)
{
	struct virtual_cpu *cpu = cpu_of(turn);
	struct machine *m = cpu->machine;
	const struct exit_io *io = &exit->io;
	uint64_t rax, mask;

	if (io->string) {
		answer_string_io(m, cpu, exit);
		look_up(cpu);		/* what it stored may have filled the ring */
		return VCPU_AGAIN;
	}
	/* Before the access: a VM that ends by this OUT may be resumed behind it. */
	vcpu_skip(cpu->vcpu, exit->length);
	rax = vcpu_reg(cpu->vcpu, REG_RAX);
	mask = (UINT64_C(1) << 8 * io->size) - 1;
	if (!io->in)
		port_write(m, io->port, (uint32_t)(rax & mask), io->size);
	else if (io->size == 4)		/* a 32-bit result clears the upper half, others keep it */
		vcpu_set_reg(cpu->vcpu, REG_RAX, port_read(m, io->port, 4));
	else
		vcpu_set_reg(cpu->vcpu, REG_RAX,
			     (rax & ~mask) | (port_read(m, io->port, io->size) & mask));
	return VCPU_AGAIN;
}

static const char *access_name(enum access access)
{
	if (access & ACCESS_EXEC)
		return "fetch from";
	if (access & ACCESS_WRITE)
		return "write to";
	/* A misconfiguration does not say. */
	return access & ACCESS_READ ? "read of" : "access to";
}

static __attribute__((noinline)) void end_by_fault(struct virtual_cpu *cpu,
						  const struct exit_ept *ept,
						  enum fault_result result)
{
	const char *trouble = "";

	switch (result) {
	case FAULT_FIXED:
	case FAULT_SPURIOUS:
	case FAULT_RETRY:
		return;
	case FAULT_NO_REGION:
		trouble = "where nothing is";
		break;
	case FAULT_READ_ONLY:
		trouble = "which is read-only";
		break;
	case FAULT_NO_HOST:
		trouble = "behind which the host has no such memory";
		break;
	case FAULT_NO_MEMORY:
		trouble = "for which the host is out of memory";
		break;
	case FAULT_MISCONFIGURED:
		trouble = "where an EPT entry is wrong";
		break;
	case FAULT_RING_FULL:
		if (cpu->ring)		/* it does not run until that is reset */
			return;
		trouble = "which only a ring can list, and this vCPU has none";
		break;
	}
	machine_end(cpu->machine, END_KILLED, 0, "%s GPA %#lx %s, RIP %#lx, vCPU %u",
		    access_name(ept->access), ept->address.raw, trouble,
		    vcpu_reg(cpu->vcpu, REG_RIP), cpu->number);
}

static inline enum fault_result fault(struct virtual_cpu *cpu, const struct vcpu_exit *exit)
{
	return ept_fault(cpu->machine->ept, exit->ept.address, exit->ept.access,
			 exit_ept_allowed(exit));
}

static __attribute__((noinline)) enum fault_result timed_fault(struct virtual_cpu *cpu,
							       const struct vcpu_exit *exit)
{
	uint64_t start = read_tsc();
	enum fault_result result = fault(cpu, exit);

	atomic_bump(&cpu->fault_ticks, read_tsc() - start);
	return result;
}

static bool solved(enum fault_result result)
{
	return result == FAULT_FIXED || result == FAULT_SPURIOUS || result == FAULT_RETRY;
}

static enum vcpu_go answer_ept_violation(struct vcpu_turn *turn, const struct vcpu_exit *exit)
{
	struct virtual_cpu *cpu = cpu_of(turn);
	/* Relaxed: this CPU counts them. */
	uint64_t faults = atomic_read_relaxed(&turn->exits[EXIT_EPT_VIOLATION]);
	enum fault_result result = faults % FAULTS_TIMED ? fault(cpu, exit)
							 : timed_fault(cpu, exit);

	if (!solved(result))
		end_by_fault(cpu, &exit->ept, result);
	if (cpu->ring && ept_ring_is_full(cpu->ring))
		look_up(cpu);
	return VCPU_AGAIN;
}

/* Caught for a test or a debugger; the guest gets it all the same. */
static enum vcpu_go answer_exception(struct vcpu_turn *turn, const struct vcpu_exit *exit)
{
	return raise(cpu_of(turn), exit->exception.vector,
		     exit->exception.has_error ? (int64_t)exit->exception.error : NO_ERROR_CODE);
}

static enum vcpu_go end_by_exit(struct vcpu_turn *turn, const struct vcpu_exit *exit)
{
	struct virtual_cpu *cpu = cpu_of(turn);

	vcpu_print(cpu->vcpu);
	machine_end(cpu->machine, END_KILLED, 0, "unexpected VM exit %u at RIP %#lx, vCPU %u",
		    exit->reason, vcpu_reg(cpu->vcpu, REG_RIP), cpu->number);
	return VCPU_AGAIN;
}

/* A vCPU where another has found nothing, and ended the guest; or an entry that is wrong. */
static enum vcpu_go answer_ept_misconfiguration(struct vcpu_turn *turn,
						const struct vcpu_exit *exit)
{
	struct virtual_cpu *cpu = cpu_of(turn);
	enum fault_result result = ept_fault_misconfigured(cpu->machine->ept, exit->ept.address);

	if (result == FAULT_MISCONFIGURED)
		vcpu_print(cpu->vcpu);
	end_by_fault(cpu, &exit->ept, result);
	return VCPU_AGAIN;
}

/* Instructions whose exits are no kind of their own: SDM "VMX Basic Exit Reasons". */
static enum vcpu_go answer_other(struct vcpu_turn *turn, const struct vcpu_exit *exit)
{
	enum { REASON_WBINVD = 54 };

	/* Nothing here does DMA past the caches: there is nothing to write back. */
	return exit->reason == REASON_WBINVD ? VCPU_PAST : end_by_exit(turn, exit);
}

/*
 * CR8, the task priority: kept, and of no effect as long as there is no local APIC. The other
 * control registers never come here, vmx has answered them.
 */
static enum vcpu_go answer_cr(struct vcpu_turn *turn, const struct vcpu_exit *exit)
{
	enum { MOV_TO, MOV_FROM };
	struct virtual_cpu *cpu = cpu_of(turn);
	const struct exit_cr *cr = &exit->cr;

	if (cr->number != 8 || cr->access > MOV_FROM)
		return end_by_exit(turn, exit);
	if (cr->access == MOV_FROM)
		vcpu_set_reg(cpu->vcpu, (enum vcpu_reg)cr->reg, cpu->task_priority);
	else if (vcpu_reg(cpu->vcpu, (enum vcpu_reg)cr->reg) > 15)
		return raise(cpu, VECTOR_GP, 0);
	else
		cpu->task_priority = vcpu_reg(cpu->vcpu, (enum vcpu_reg)cr->reg);
	return VCPU_PAST;
}

/* SDM "XSETBV": register 0 is the only one, and it takes only what CPUID leaf 0DH lists. */
static enum vcpu_go answer_xsetbv(struct vcpu_turn *turn, const struct vcpu_exit *exit)
{
	struct virtual_cpu *cpu = cpu_of(turn);
	uint64_t value = vcpu_reg(cpu->vcpu, REG_RDX) << 32 |
			 (uint32_t)vcpu_reg(cpu->vcpu, REG_RAX);

	(void)exit;
	if ((uint32_t)vcpu_reg(cpu->vcpu, REG_RCX) ||
	    (value & ~(uint64_t)cpuid_xcr0(cpu->machine)) ||
	    vcpu_set_xcr0(cpu->vcpu, value))
		return raise(cpu, VECTOR_GP, 0);
	return VCPU_PAST;
}

static enum vcpu_go answer_irq_window(struct vcpu_turn *turn, const struct vcpu_exit *exit)
{
	(void)exit;
	vcpu_want_irq_window(cpu_of(turn)->vcpu, false);
	look_up(cpu_of(turn));
	return VCPU_AGAIN;
}

static enum vcpu_go answer_invalid_instruction(struct vcpu_turn *turn, const struct vcpu_exit *exit)
{
	(void)exit;
	return raise(cpu_of(turn), VECTOR_UD, NO_ERROR_CODE);
}

static enum vcpu_go answer_triple_fault(struct vcpu_turn *turn, const struct vcpu_exit *exit)
{
	struct virtual_cpu *cpu = cpu_of(turn);

	(void)exit;
	machine_end(cpu->machine, END_TRIPLE_FAULT, 0, "triple fault at RIP %#lx, vCPU %u",
		    vcpu_reg(cpu->vcpu, REG_RIP), cpu->number);
	return VCPU_AGAIN;
}

/* Nothing of the guest's: the host wants its CPU, or has something to say. */
static enum vcpu_go leave(struct vcpu_turn *turn, const struct vcpu_exit *exit)
{
	(void)exit;
	look_up(cpu_of(turn));
	return VCPU_AGAIN;
}

static vcpu_answer *const answers[EXIT_KINDS] = {
	[EXIT_INTERRUPT] = leave,
	[EXIT_KICK] = leave,
	[EXIT_TIMER] = leave,
	[EXIT_IRQ_WINDOW] = answer_irq_window,
	[EXIT_CPUID] = answer_cpuid,
	[EXIT_HLT] = answer_hlt,
	[EXIT_VMCALL] = answer_vmcall,
	[EXIT_CR_ACCESS] = answer_cr,
	[EXIT_IO] = answer_io,
	[EXIT_RDMSR] = answer_rdmsr,
	[EXIT_WRMSR] = answer_wrmsr,
	[EXIT_EPT_VIOLATION] = answer_ept_violation,
	[EXIT_EPT_MISCONFIGURATION] = answer_ept_misconfiguration,
	[EXIT_XSETBV] = answer_xsetbv,
	[EXIT_INVALID_INSTRUCTION] = answer_invalid_instruction,
	[EXIT_EXCEPTION] = answer_exception,
	[EXIT_TRIPLE_FAULT] = answer_triple_fault,
	[EXIT_OTHER] = answer_other,
};

/* ------------------------------------------------------------------ interrupts */

/* The PICs are wired to vCPU 0. True when it has something to do. */
static bool deliver(struct machine *m, struct virtual_cpu *cpu)
{
	bool runs = atomic_read(&cpu->state) == CPU_RUNNING;

	if (atomic_xchg(&m->attention, 0) || read_tsc() >= atomic_read(&m->next_look))
		devices_look(m);
	vcpu_turn_until(&cpu->turn, atomic_read(&m->next_look));
	if (!atomic_read(&m->interrupt_pending))
		return runs;
	if (!vcpu_can_take_interrupt(cpu->vcpu)) {
		vcpu_want_irq_window(cpu->vcpu, true);
		return runs;
	}
	vcpu_inject_interrupt(cpu->vcpu, devices_acknowledge(m));
	atomic_write(&cpu->state, CPU_RUNNING);
	return true;
}

/* ------------------------------------------------------------------ the loop */

/*
 * Once around for each time that somebody has to look up from the guest: its exits are vmx's loop.
 * `until` first, the reasons after: whoever gives one writes it first, and 0 to `until` after.
 */
enum machine_result machine_run(struct machine *m, unsigned vcpu, uint64_t ticks)
{
	struct virtual_cpu *cpu = &m->cpu[vcpu];
	uint64_t end = read_tsc() + (ticks ? ticks : 1);

	check(vcpu < m->cpu_count);
	cpu->turn.answers = answers;
	ept_ring_use(m->ept, cpu->ring);
	do {
		atomic_xchg(&cpu->turn.until, end);
		if (atomic_read(&m->ended))
			return MACHINE_ENDED;
		if (cpu->ring && ept_ring_is_full(cpu->ring))
			return MACHINE_IDLE;
		if (!(vcpu ? atomic_read(&cpu->state) == CPU_RUNNING : deliver(m, cpu)))
			return MACHINE_IDLE;
		vcpu_take_turn(cpu->vcpu, &cpu->turn);
	} while (read_tsc() < end);
	return atomic_read(&m->ended) ? MACHINE_ENDED : MACHINE_YIELD;
}
