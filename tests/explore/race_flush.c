/* Shootdowns against CPUs that enter, run and leave; ept/flush.c has the table. */
#include "tests/explore/world.h"

static void open_mapped(void) { world_open_touched(1, 5); }

/* The guest's CPU has the translation cached, and enters while it is shot down. */
SCENARIO(entry_shootdown, .rule = "who enters sees the shootdown, or is waited for (I8)",
	 .setup = open_mapped, .actors = { store_seven, migrate_first }, .verify = verify_seven,
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
	 .setup = open_forgetful, .actors = { store_seven, migrate_first }, .verify = verify_seven,
	 .name_word = world_name);

/* ------------------------------------------------------------------ a guest that stays */

static atomic32_t moved_away;

static void open_staying(void)
{
	open_mapped();
	atomic_write(&moved_away, 0);
}

/* In, out, and in until a kick makes it leave, or until there is no reason for one. */
static void stay_inside(void)
{
	soft_enter(&world.cpus[0]);
	guest_leaves();
	soft_enter(&world.cpus[0]);
	await(atomic_read(&world.cpus[0].kicked) || atomic_read(&moved_away));
	guest_leaves();
}

static void migrate_and_say_so(void)
{
	migrate_first();
	atomic_write(&moved_away, 1);
}

SCENARIO(kick_arrives,
	 .rule = "no kick is lost between the entry and the guest's first instruction",
	 .setup = open_staying, .actors = { stay_inside, migrate_and_say_so },
	 .verify = world_verify, .name_word = world_name);

/* ------------------------------------------------------------------ tables */

static atomic32_t removed;

/* A region as large as a table covers, so that the table goes with it. */
static void open_table(void)
{
	world_open(512, LEVEL_4K);
	guest_stores(0, 5);
	guest_leaves();
	atomic_write(&removed, 0);
}

static void store_or_nothing(void)
{
	bool too_late = atomic_read(&removed);
	enum fault_result result = soft_store(&world.cpus[0], page_gpa(0), 7);

	check(result == FAULT_NO_REGION || (result == FAULT_FIXED && !too_late));
	guest_leaves();
}

/* And uses the table's memory again at once. */
static void remove_region(void)
{
	pfn_t frame;

	check(ept_region_remove(world.ept, gfn(0)) == STATUS_OK);
	atomic_write(&removed, 1);
	check(folio_alloc_zeroed(world.host, ORDER_4K, &frame) == STATUS_OK);
	folio_put(world.host, frame);
}

SCENARIO(tables_freed, .rule = "what a CPU knows of a table is gone before the table is (I8, U12)",
	 .setup = open_table, .actors = { store_or_nothing, remove_region },
	 .verify = world_verify, .name_word = world_name);

static void open_table_forgetful(void)
{
	open_table();
	world.cpus[0].choose = choose;
}

SCENARIO(tables_freed_tlb, .rule = "whatever a TLB keeps or forgets",
	 .setup = open_table_forgetful, .actors = { store_or_nothing, remove_region },
	 .verify = world_verify, .name_word = world_name);

/* ------------------------------------------------------------------ a first entry */

static void open_new_cpu(void)
{
	world_open(1, LEVEL_4K);
	guest_stores(0, 5);
	guest_leaves();
}

static void idle(void) { }

SCENARIO(first_entry, .rule = "a CPU that was never inside is waited for all the same",
	 .setup = open_new_cpu, .actors = { idle, store_seven, migrate_first },
	 .verify = verify_seven,
	 .name_word = world_name);
