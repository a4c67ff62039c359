/*
 * The soft CPU's upper half: what vmx, and an operating system below a process, do around the
 * processor. SDM names end here; the contracts are ept/ept.h's and mm/space.h's.
 */
#include "ept/state.h"
#include "mm/space.h"
#include "tests/host/soft_inside.h"

/* ------------------------------------------------------------------ a guest on it */

void soft_give_list(struct soft_cpu *cpu, pfn_t frame)
{
	cpu->pml_address = pfn_to_hpa(frame).raw;
}

/* A list that is a test's own stays as it is. */
static void switch_list(struct soft_cpu *cpu, bool logged)
{
	if (logged == cpu->logged)
		return;
	check(cpu->pml_address);
	cpu->pml = cpu->logged = logged;
}

void soft_enter(struct soft_cpu *cpu)
{
	check(!cpu->inside);
	atomic_bump(&cpu->entries, 1);
	/* Before ept_enter: a kick from then on is for this entry, and stays. */
	atomic_write(&cpu->kicked, 0);

	enum ept_entry entry = ept_enter(cpu->ept);

	if (entry & EPT_INVALIDATE && !(cpu->broken & SOFT_TWIN_DEAF))
		soft_invept(cpu);
	switch_list(cpu, entry & EPT_LOGGED);
	cpu->inside = true;
}

static void leave_logged(struct soft_cpu *cpu)
{
	uint16_t index = cpu->pml_index;

	ept_leave_logged(cpu->ept, hpa_to_ptr(hpa(cpu->pml_address)), index);
	cpu->pml_index = EPT_PML_LAST;
}

void soft_leave(struct soft_cpu *cpu)
{
	if (cpu->inside && cpu->logged)
		leave_logged(cpu);
	else if (cpu->inside)
		ept_leave(cpu->ept);
	cpu->inside = false;
}

static bool is_kicked(struct soft_cpu *cpu)
{
	if (cpu->polls)
		return atomic_read(&cpu->ept->notice.generation) !=
		       ept_this_cpu(cpu->ept)->visitor.invalidated_at;
	return atomic_read(&cpu->kicked);
}

/* Between two instructions: gone if somebody asked for it, then in again. */
static void take_kick(struct soft_cpu *cpu)
{
	if (cpu->inside && is_kicked(cpu)) {
		atomic_bump(&cpu->kicks, 1);
		soft_leave(cpu);
	}
	if (!cpu->inside)
		soft_enter(cpu);
}

/* FAULT_FIXED and its like: enter again. */
static enum fault_result answer(struct soft_cpu *cpu, struct soft_exit exit)
{
	enum fault_result result;

	switch (exit.kind) {
	case SOFT_VIOLATION:
		return ept_fault(cpu->ept, exit.address, (enum access)(exit.qualification & 7),
				 (enum access)(exit.qualification >> 3 & 7));
	case SOFT_PML_FULL:
		if (cpu->logged)
			return FAULT_FIXED;	/* soft_leave has emptied it */
		if (!cpu->pml_full)
			port_panic("the page-modification log is full, and nobody empties it");
		cpu->pml_full(cpu);
		return FAULT_FIXED;
	case SOFT_MISCONFIGURATION:
		result = ept_fault_misconfigured(cpu->ept, exit.address);
		if (result == FAULT_MISCONFIGURED)
			port_panic("EPT misconfiguration at 0x%lx", exit.address.raw);
		return result;
	case SOFT_PAGE_FAULT:
		port_panic("page fault in the guest at 0x%lx, error code 0x%lx", exit.linear,
			   exit.qualification);
	case SOFT_DONE:
		break;
	}
	return FAULT_FIXED;
}

/*
 * A guest tries again at once. Explored, it would do so without end: until the brackets are closed,
 * and the regions gone that are about to go, each attempt is like the one before.
 */
static void wait_for_host(struct soft_cpu *cpu)
{
#ifdef EXPLORE
	await(!atomic_read(&cpu->ept->brackets) && !atomic_read(&cpu->ept->leaving_count));
#else
	(void)cpu;
#endif
}

static enum fault_result run(struct soft_cpu *cpu, uint64_t address, enum access access,
			     uint64_t *value)
{
	for (;;) {
		take_kick(cpu);
		struct soft_exit exit = soft_linear_access(cpu, address, access, value);

		if (exit.kind == SOFT_DONE)
			return FAULT_FIXED;
		soft_leave(cpu);

		enum fault_result result = answer(cpu, exit);

		if (result == FAULT_RETRY)
			wait_for_host(cpu);
		else if (result != FAULT_FIXED && result != FAULT_SPURIOUS)
			return result;
	}
}

enum fault_result soft_load(struct soft_cpu *cpu, gpa_t address, uint64_t *value)
{
	return run(cpu, address.raw, ACCESS_READ, value);
}

enum fault_result soft_store(struct soft_cpu *cpu, gpa_t address, uint64_t value)
{
	return run(cpu, address.raw, ACCESS_WRITE, &value);
}

enum fault_result soft_fetch(struct soft_cpu *cpu, gpa_t address, uint64_t *value)
{
	return run(cpu, address.raw, ACCESS_EXEC, value);
}

enum fault_result soft_exchange(struct soft_cpu *cpu, gpa_t address, uint64_t *value)
{
	return run(cpu, address.raw, (enum access)(ACCESS_READ | ACCESS_WRITE), value);
}

enum fault_result soft_run(struct soft_cpu *cpu, struct soft_step *steps, unsigned count)
{
	enum fault_result result = FAULT_FIXED;

	for (unsigned i = 0; i < count && result == FAULT_FIXED; i++)
		result = run(cpu, steps[i].address, steps[i].access, &steps[i].value);
	return result;
}

/* ------------------------------------------------------------------ a host process on it */

/* MOV to CR3, and nothing of what was cached before is left. */
static void process_enter(struct soft_cpu *cpu, struct space *space)
{
	hpa_t root = space_enter(space);

	soft_flush_linear(cpu);
	check(root.raw == cpu->cr3);
	cpu->inside = true;
}

void soft_process_leave(struct soft_cpu *cpu, struct space *space)
{
	if (cpu->inside)
		space_leave(space);
	cpu->inside = false;
}

enum status soft_process(struct soft_cpu *cpu, struct space *space, hva_t address,
			 enum access access, uint64_t *value)
{
	for (;;) {
		if (!cpu->inside)
			process_enter(cpu, space);

		struct soft_exit exit = soft_linear_access(cpu, address.raw, access, value);

		if (exit.kind == SOFT_DONE)
			return STATUS_OK;
		check(exit.kind == SOFT_PAGE_FAULT);
		soft_process_leave(cpu, space);
		enum status status = space_fault(space, address, access);

		if (status != STATUS_OK)
			return status;
	}
}
