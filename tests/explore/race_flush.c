/* Shootdowns against CPUs that enter, run and leave; ept/flush.c has the table. */
#include "tests/explore/world.h"

static void open_mapped(void) { world_open_touched(1, 5); }

static void verify_store(void)
{
	check(process_loads(0) == 7);
	world_verify();
}

static void store_seven(void)
{
	guest_stores(0, 7);
	guest_leaves();
}

static void migrate(void)
{
	uint64_t moved;

	check(space_migrate(world.space, page_hva(0), PAGE_SIZE, &moved) == STATUS_OK);
}

/* The guest's CPU has the translation cached, and enters while it is shot down. */
SCENARIO(entry_shootdown, .rule = "who enters sees the shootdown, or is waited for (I8)",
	 .setup = open_mapped, .actors = { store_seven, migrate }, .verify = verify_store,
	 .name_word = world_name);

static unsigned choose(struct soft_cpu *cpu, unsigned n)
{
	(void)cpu;
	return explore_choose(n);
}

static void open_forgetful(void)
{
	open_mapped();
	world.cpus[0].choose = choose;
}

SCENARIO(entry_shootdown_tlb, .rule = "whatever a TLB keeps or forgets",
	 .setup = open_forgetful, .actors = { store_seven, migrate }, .verify = verify_store,
	 .name_word = world_name);

/* ------------------------------------------------------------------ tables */

static void store_or_nothing(void)
{
	enum fault_result result = soft_store(&world.cpus[0], page_gpa(0), 7);

	check(result == FAULT_FIXED || result == FAULT_NO_REGION);
	guest_leaves();
}

static void remove_region(void)
{
	check(ept_region_remove(world.ept, gfn(0)) == STATUS_OK);
}

SCENARIO(tables_freed, .rule = "a table is freed when no CPU can walk it (I8, U12)",
	 .setup = open_mapped, .actors = { store_or_nothing, remove_region },
	 .verify = world_verify, .name_word = world_name);

/* ------------------------------------------------------------------ a first entry */

static void open_new_cpu(void)
{
	world_open(1, LEVEL_4K);
	guest_stores(0, 5);
	guest_leaves();
}

static void other_stores(void)
{
	guest_stores(0, 7);
	guest_leaves();
}

static void idle(void) { }

SCENARIO(first_entry, .rule = "a CPU that was never inside is waited for all the same",
	 .setup = open_new_cpu, .actors = { idle, other_stores, migrate }, .verify = verify_store,
	 .name_word = world_name);
