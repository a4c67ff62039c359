/* The figures of a machine. Read while it runs, they are recent; when it has ended, exact. */
#include "guest/machine/parts.h"

uint64_t machine_exits(struct machine *m, enum exit_kind kind)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < m->cpu_count; i++)
		sum += atomic_read(&m->cpu[i].turn.exits[kind]);
	return sum;
}

void machine_read_unclaimed(struct machine *m, struct machine_unclaimed *out)
{
	spin_lock(&m->lock);
	*out = m->unclaimed;
	spin_unlock(&m->lock);
}

/* Where the TSC counts instructions (Bochs), these are instructions; waiting for locks included. */
static void print_fault_cost(struct machine *m)
{
	uint64_t ticks = 0, timed = 0;

	for (unsigned i = 0; i < m->cpu_count; i++) {
		ticks += atomic_read(&m->cpu[i].fault_ticks);
		timed += atomic_read(&m->cpu[i].turn.exits[EXIT_EPT_VIOLATION]) / FAULTS_TIMED;
	}
	if (timed)
		port_log("# stat %s.fault_ticks %lu ticks/fault", m->name, ticks / timed);
}

static void print_msrs(struct machine *m)
{
	struct machine_msr msrs[MSRS_LISTED];
	unsigned count;

	spin_lock(&m->lock);
	count = m->msr_count;
	__builtin_memcpy(msrs, m->msrs, sizeof(msrs));
	spin_unlock(&m->lock);
	for (unsigned i = 0; i < count; i++)
		port_log("# stat %s.unknown_msr.%x %lu accesses", m->name, msrs[i].number,
			 msrs[i].reads + msrs[i].writes);
}

void machine_print_stats(struct machine *m)
{
	struct machine_unclaimed unclaimed;

	for (unsigned kind = 0; kind < EXIT_KINDS; kind++) {
		uint64_t exits = machine_exits(m, (enum exit_kind)kind);

		if (exits)
			port_log("# stat %s.exits.%s %lu exits", m->name,
				 exit_kind_name((enum exit_kind)kind), exits);
	}
	print_fault_cost(m);
	machine_read_unclaimed(m, &unclaimed);
	port_log("# stat %s.unclaimed_port_reads %lu accesses", m->name, unclaimed.port_reads);
	port_log("# stat %s.unclaimed_port_writes %lu accesses", m->name, unclaimed.port_writes);
	port_log("# stat %s.unknown_msr_reads %lu accesses", m->name, unclaimed.msr_reads);
	port_log("# stat %s.unknown_msr_writes %lu accesses", m->name, unclaimed.msr_writes);
	print_msrs(m);
}
