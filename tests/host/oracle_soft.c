/* The content oracle's writers on soft CPUs (oracle.h): one for each CPU that they come to. */
#include "tests/host/oracle.h"

static enum status open_cpu(struct oracle *o, struct oracle_cpu *cpu)
{
	enum status status = folio_alloc_zeroed(o->memory->host, ORDER_4K, &cpu->list);

	if (status != STATUS_OK)
		return status;
	soft_cpu_init(&cpu->soft, o->ept);
	soft_give_list(&cpu->soft, cpu->list);
	return STATUS_OK;
}

static enum status soft_hands_open(struct oracle *o)
{
	enum status status = STATUS_OK;

	for (unsigned i = 0; i < ORACLE_CPUS && status == STATUS_OK; i++)
		status = open_cpu(o, &o->cpus[i]);
	return status;
}

static void soft_hands_close(struct oracle *o)
{
	for (unsigned i = 0; i < ORACLE_CPUS; i++)
		if (o->cpus[i].soft.ept)
			folio_put(o->memory->host, o->cpus[i].list);
}

static enum fault_result make_one(struct soft_cpu *cpu, struct oracle_access *access)
{
	enum fault_result result = FAULT_FIXED;

	if (access->what & ORACLE_LOAD)
		result = soft_load(cpu, gpa(access->address), &access->found);
	if (access->what & ORACLE_STORE && result == FAULT_FIXED)
		result = soft_store(cpu, gpa(access->address), access->value);
	return result;
}

static void make_all(struct oracle_writer *w, struct soft_cpu *cpu)
{
	bool by_rings = w->oracle->plan.log.kind == LOG_RING_ONLY;

	for (; w->made < ORACLE_TURN; w->made++) {
		enum fault_result result = make_one(cpu, &w->turn[w->made]);

		if (by_rings && result == FAULT_RING_FULL) {
			w->full++;
			return;
		}
		w->refused += result != FAULT_FIXED;
	}
}

static bool soft_hands_make(struct oracle_writer *w)
{
	struct oracle *o = w->oracle;

	check(port_cpu() < ORACLE_CPUS);
	ept_ring_use(o->ept, w->ring);
	make_all(w, &o->cpus[port_cpu()].soft);
	soft_leave(&o->cpus[port_cpu()].soft);
	ept_ring_use(o->ept, NULL);
	return w->made == ORACLE_TURN;
}

const struct oracle_hands oracle_soft_hands = { soft_hands_open, soft_hands_make,
						soft_hands_close };
