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

static void answer_hlt(struct machine *m, struct virtual_cpu *cpu, const struct vcpu_exit *exit)
{
	const uint64_t interrupts_on = 1 << 9;		/* RFLAGS.IF */

	vcpu_skip(cpu->vcpu, exit->length);
	if (vcpu_reg(cpu->vcpu, REG_RFLAGS) & interrupts_on) {
		atomic_write(&cpu->state, CPU_HALTED);
		return;
	}
	/* Nothing but an NMI, INIT or reset could wake it, and this machine has no source of them.
	 */
	atomic_xchg(&cpu->state, CPU_DEAD);
	for (unsigned i = 0; i < m->cpu_count; i++)
		if (may_go_on(&m->cpu[i]))
			return;
	machine_end(m, END_KILLED, 0,
		    "halted for ever at RIP %#lx, vCPU %u: HLT with interrupts off",
		    vcpu_reg(cpu->vcpu, REG_RIP), cpu->number);
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

static void answer_vmcall(struct machine *m, struct virtual_cpu *cpu, const struct vcpu_exit *exit)
{
	uint64_t result = UINT64_MAX;

	if (vcpu_reg(cpu->vcpu, REG_RAX) == ABI_CALL_START_CPU && at_cpl_0(cpu) &&
	    start_cpu(m, cpu))
		result = 0;
	vcpu_set_reg(cpu->vcpu, REG_RAX, result);
	vcpu_skip(cpu->vcpu, exit->length);
}

static void answer_io(struct machine *m, struct virtual_cpu *cpu, const struct vcpu_exit *exit)
{
	const struct exit_io *io = &exit->io;
	uint64_t rax, mask;

	if (io->string) {
		answer_string_io(m, cpu, exit);
		return;
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
}

static const char *access_name(enum access access)
{
	if (access & ACCESS_EXEC)
		return "fetch from";
	return access & ACCESS_WRITE ? "write to" : "read of";
}

static void answer_ept_violation(struct machine *m, struct virtual_cpu *cpu,
				 const struct vcpu_exit *exit)
{
	const struct exit_ept *ept = &exit->ept;
	const char *trouble = "";
	uint64_t start = read_tsc();
	enum fault_result result = ept_fault(m->ept, ept->address, ept->access);

	atomic_bump(&cpu->fault_ticks, read_tsc() - start);
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
	}
	machine_end(m, END_KILLED, 0, "%s GPA %#lx %s, RIP %#lx, vCPU %u", access_name(ept->access),
		    ept->address.raw, trouble, vcpu_reg(cpu->vcpu, REG_RIP), cpu->number);
}

static void answer_exception(struct virtual_cpu *cpu, const struct vcpu_exit *exit)
{
	/* Caught for a test or a debugger; the guest gets it all the same. */
	vcpu_inject_exception(cpu->vcpu, exit->exception.vector,
			      exit->exception.has_error ? (int64_t)exit->exception.error :
							  NO_ERROR_CODE);
}

static void end_by_exit(struct machine *m, struct virtual_cpu *cpu, const struct vcpu_exit *exit)
{
	vcpu_print(cpu->vcpu);
	machine_end(m, END_KILLED, 0, "unexpected VM exit %u at RIP %#lx, vCPU %u", exit->reason,
		    vcpu_reg(cpu->vcpu, REG_RIP), cpu->number);
}

/* Instructions whose exits are no kind of their own: SDM "VMX Basic Exit Reasons". */
static void answer_other(struct machine *m, struct virtual_cpu *cpu, const struct vcpu_exit *exit)
{
	enum { REASON_WBINVD = 54 };

	/* Nothing here does DMA past the caches: there is nothing to write back. */
	if (exit->reason == REASON_WBINVD)
		vcpu_skip(cpu->vcpu, exit->length);
	else
		end_by_exit(m, cpu, exit);
}

/*
 * CR8, the task priority: kept, and of no effect as long as there is no local APIC. The other
 * control registers never come here, vmx has answered them.
 */
static void answer_cr(struct machine *m, struct virtual_cpu *cpu, const struct vcpu_exit *exit)
{
	enum { MOV_TO, MOV_FROM };
	const struct exit_cr *cr = &exit->cr;

	if (cr->number != 8 || cr->access > MOV_FROM) {
		end_by_exit(m, cpu, exit);
		return;
	}
	if (cr->access == MOV_FROM) {
		vcpu_set_reg(cpu->vcpu, (enum vcpu_reg)cr->reg, cpu->task_priority);
	} else if (vcpu_reg(cpu->vcpu, (enum vcpu_reg)cr->reg) > 15) {
		vcpu_inject_exception(cpu->vcpu, VECTOR_GP, 0);
		return;
	} else {
		cpu->task_priority = vcpu_reg(cpu->vcpu, (enum vcpu_reg)cr->reg);
	}
	vcpu_skip(cpu->vcpu, exit->length);
}

/* SDM "XSETBV": register 0 is the only one, and it takes only what CPUID leaf 0DH lists. */
static void answer_xsetbv(struct virtual_cpu *cpu, const struct vcpu_exit *exit)
{
	uint64_t value = vcpu_reg(cpu->vcpu, REG_RDX) << 32 |
			 (uint32_t)vcpu_reg(cpu->vcpu, REG_RAX);

	if ((uint32_t)vcpu_reg(cpu->vcpu, REG_RCX) ||
	    (value & ~(uint64_t)guest_cpuid(0xd, 0).eax) || vcpu_set_xcr0(cpu->vcpu, value))
		vcpu_inject_exception(cpu->vcpu, VECTOR_GP, 0);
	else
		vcpu_skip(cpu->vcpu, exit->length);
}

static void answer(struct machine *m, struct virtual_cpu *cpu, const struct vcpu_exit *exit)
{
	switch (exit->kind) {
	case EXIT_INTERRUPT:
	case EXIT_KICK:
	case EXIT_TIMER:
		break;			/* nothing of the guest's */
	case EXIT_IRQ_WINDOW:
		vcpu_want_irq_window(cpu->vcpu, false);
		break;
	case EXIT_CPUID:
		answer_cpuid(m, cpu, exit);
		break;
	case EXIT_HLT:
		answer_hlt(m, cpu, exit);
		break;
	case EXIT_VMCALL:
		answer_vmcall(m, cpu, exit);
		break;
	case EXIT_CR_ACCESS:
		answer_cr(m, cpu, exit);
		break;
	case EXIT_IO:
		answer_io(m, cpu, exit);
		break;
	case EXIT_RDMSR:
		answer_rdmsr(m, cpu, exit);
		break;
	case EXIT_WRMSR:
		answer_wrmsr(m, cpu, exit);
		break;
	case EXIT_EPT_VIOLATION:
		answer_ept_violation(m, cpu, exit);
		break;
	case EXIT_XSETBV:
		answer_xsetbv(cpu, exit);
		break;
	case EXIT_INVALID_INSTRUCTION:
		vcpu_inject_exception(cpu->vcpu, VECTOR_UD, NO_ERROR_CODE);
		break;
	case EXIT_EXCEPTION:
		answer_exception(cpu, exit);
		break;
	case EXIT_TRIPLE_FAULT:
		machine_end(m, END_TRIPLE_FAULT, 0, "triple fault at RIP %#lx, vCPU %u",
			    vcpu_reg(cpu->vcpu, REG_RIP), cpu->number);
		break;
	case EXIT_OTHER:
		answer_other(m, cpu, exit);
		break;
	case EXIT_EPT_MISCONFIGURATION:
	case EXIT_KINDS:
		end_by_exit(m, cpu, exit);
		break;
	}
}

/* ------------------------------------------------------------------ interrupts */

/* The PICs are wired to vCPU 0. True when it has something to do. */
static bool deliver(struct machine *m, struct virtual_cpu *cpu)
{
	bool runs = atomic_read(&cpu->state) == CPU_RUNNING;

	if (atomic_xchg(&m->attention, 0) || read_tsc() >= atomic_read(&m->next_look))
		devices_look(m);
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

/* No longer than until the devices want to be looked at. */
static uint64_t until_next_look(struct machine *m, uint64_t ticks)
{
	uint64_t now = read_tsc(), next = atomic_read(&m->next_look);
	uint64_t wait = next > now ? next - now : 0;

	if (wait < ticks)
		ticks = wait;
	return ticks ? ticks : 1;
}

/* ------------------------------------------------------------------ the loop */

enum machine_result machine_run(struct machine *m, unsigned vcpu, uint64_t ticks)
{
	struct virtual_cpu *cpu = &m->cpu[vcpu];
	uint64_t left = ticks ? ticks : 1, end = read_tsc() + left;
	struct vcpu_exit exit;

	check(vcpu < m->cpu_count);
	ept_ring_use(m->ept, cpu->ring);
	do {
		if (atomic_read(&m->ended))
			return MACHINE_ENDED;
		if (cpu->ring && ept_ring_is_full(cpu->ring))
			return MACHINE_IDLE;
		if (!(vcpu ? atomic_read(&cpu->state) == CPU_RUNNING : deliver(m, cpu)))
			return MACHINE_IDLE;
		vcpu_run(cpu->vcpu, vcpu ? left : until_next_look(m, left), &exit);
		atomic_bump(&cpu->exits[exit.kind], 1);
		answer(m, cpu, &exit);
		left = end - read_tsc();
	} while ((int64_t)left > 0);
	return atomic_read(&m->ended) ? MACHINE_ENDED : MACHINE_YIELD;
}
