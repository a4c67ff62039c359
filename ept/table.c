/*
 * The stores of zeroed pages, one for each CPU, so that no lock protects them: a fault fills its
 * CPU's before it takes ept->lock, and uses it under the lock (map.c). Linux: struct
 * kvm_mmu_memory_cache.
 */
#include "ept/table.h"

enum status ept_table_prepare(struct ept *ept)
{
	struct ept_cpu *cpu = ept_this_cpu(ept);

	while (cpu->table_count < TABLES_PER_FAULT) {
		enum status status = folio_alloc_zeroed(ept->host, ORDER_4K,
							&cpu->tables[cpu->table_count]);

		if (status != STATUS_OK)
			return status;
		cpu->table_count++;
	}
	return STATUS_OK;
}

pfn_t ept_table_take(struct ept *ept)
{
	struct ept_cpu *cpu = ept_this_cpu(ept);

	check(cpu->table_count);
	return cpu->tables[--cpu->table_count];
}

void ept_table_untake(struct ept *ept, pfn_t table)
{
	struct ept_cpu *cpu = ept_this_cpu(ept);

	check(cpu->table_count < TABLES_PER_FAULT);
	cpu->tables[cpu->table_count++] = table;
}

void ept_table_free(struct ept *ept, pfn_t table)
{
	folio_put(ept->host, table);
}

void ept_table_drain(struct ept *ept)
{
	for (unsigned i = 0; i < MAX_CPUS; i++) {
		struct ept_cpu *cpu = &ept->cpus[i];

		while (cpu->table_count)
			ept_table_free(ept, cpu->tables[--cpu->table_count]);
	}
}
