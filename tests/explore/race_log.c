/*
 * Dirty logs against stores. Who harvests keeps a copy of the page, which he brings up to date by
 * the log alone: what the last harvest does not name, the copy has (S64, I6).
 */
#include "ept/log.h"
#include "tests/explore/world.h"

static uint64_t copy;
static const struct log_options wp = { .kind = LOG_WRITE_PROTECT },
				dbit = { .kind = LOG_DIRTY_BIT };

static void take_copy(void) { atomic_copy(&copy, pfn_to_ptr(pte_frame(
	table_find(world.space, WORLD_BACKING).pte)), sizeof(copy)); }

static void enable(const struct log_options *options)
{
	check(ept_log_enable(world.ept, gfn(0), options) == STATUS_OK);
}

static void harvest(void) NOT_CHECKED
{
	uint64_t words[512 / 64];

	check(ept_log_get(world.ept, gfn(0), words) == STATUS_OK);
	if (words[0] & 1)
		take_copy();
}

/* As a guest that is stopped for its last round. */
static void verify_copy(void)
{
	harvest();
	check(copy == process_loads(0));
	check(ept_log_disable(world.ept, gfn(0)) == STATUS_OK);
	world_verify();
}

/* Copied, and clean since. */
static void open_clean(const struct log_options *options)
{
	world_open_touched(1, 5);
	enable(options);
	take_copy();
}

/* Stored to since, and known to be. */
static void open_stored(const struct log_options *options)
{
	open_clean(options);
	guest_stores(0, 6);
	guest_leaves();
}

static void open_clean_wp(void) { open_clean(&wp); }
static void open_stored_wp(void) { open_stored(&wp); }
static void open_clean_dbit(void) { open_clean(&dbit); }
static void open_stored_dbit(void) { open_stored(&dbit); }

SCENARIO(log_fault, .rule = "a store by the fast fault is in this harvest or the next (U19, S65)",
	 .setup = open_clean_wp, .actors = { store_seven, harvest }, .verify = verify_copy,
	 .name_word = world_name);
SCENARIO(log_harvest, .rule = "a store behind a harvest's back is in what is read after it (U30)",
	 .setup = open_stored_wp, .actors = { store_seven, harvest }, .verify = verify_copy,
	 .name_word = world_name);
SCENARIO(log_bit, .rule = "a store that the processor notes is in this harvest or the next",
	 .setup = open_clean_dbit, .actors = { store_seven, harvest }, .verify = verify_copy,
	 .name_word = world_name);
SCENARIO(log_bit_harvest, .rule = "D is taken, and no CPU goes on by the one it knows (U27)",
	 .setup = open_stored_dbit, .actors = { store_seven, harvest }, .verify = verify_copy,
	 .name_word = world_name);

/* What a TLB has forgotten by then is found in the tables. */
static unsigned choose(struct soft_cpu *cpu, unsigned n)
{
	(void)cpu;
	return explore_choose(n);
}

static void open_forgetful(void)
{
	open_stored_wp();
	world.cpus[0].choose = choose;
}

SCENARIO(log_harvest_tlb, .rule = "the bit is taken first, W second (U30)",
	 .setup = open_forgetful, .actors = { store_seven, harvest }, .verify = verify_copy,
	 .name_word = world_name);

/* Two CPUs by one leaf; the one has W from the other, whose note comes later (U19). */
static void store_eight(void)
{
	guest_stores(0, 8);
	guest_leaves();
}

SCENARIO(log_two_faults, .rule = "two stores and a harvest: none is lost when all are out (U19)",
	 .setup = open_clean_wp, .actors = { store_seven, store_eight, harvest },
	 .verify = verify_copy, .name_word = world_name);

/* ------------------------------------------------------------------ a leaf that goes */

SCENARIO(log_migrate, .rule = "a store's note outlives its leaf",
	 .setup = open_clean_wp, .actors = { store_seven, migrate_first }, .verify = verify_copy,
	 .name_word = world_name);
SCENARIO(log_bit_migrate, .rule = "what only D says is noted when the leaf goes",
	 .setup = open_clean_dbit, .actors = { store_seven, migrate_first }, .verify = verify_copy,
	 .name_word = world_name);

/* ------------------------------------------------------------------ a log begins, and ends */

static void open_unlogged(void) { world_open_touched(1, 5); }

static void enable_and_copy(void) NOT_CHECKED
{
	enable(&wp);
	take_copy();
}

static void enable_bits_and_copy(void) NOT_CHECKED
{
	enable(&dbit);
	take_copy();
}

SCENARIO(log_begins, .rule = "no store is unseen after a log has begun",
	 .setup = open_unlogged, .actors = { store_seven, enable_and_copy }, .verify = verify_copy,
	 .name_word = world_name);
SCENARIO(log_bit_begins, .rule = "nor by a D of before",
	 .setup = open_unlogged, .actors = { store_seven, enable_bits_and_copy },
	 .verify = verify_copy, .name_word = world_name);

/* Not touched yet: the fault has looked before, and maps after. */
static void open_untouched(void) { world_open(1, LEVEL_4K); }

static void enable_and_read(void)
{
	enable(&wp);
	copy = process_loads(0);
}

SCENARIO(log_begins_fault, .rule = "nor by a fault that knew of no log",
	 .setup = open_untouched, .actors = { store_seven, enable_and_read }, .verify = verify_copy,
	 .name_word = world_name);

static void disable(void)
{
	check(ept_log_disable(world.ept, gfn(0)) == STATUS_OK);
}

/* Logged once before: the leaf has no W, and a fast fault that has seen no log gives it. */
static void open_logged_before(void)
{
	open_clean(&wp);
	disable();
}

SCENARIO(log_begins_again, .rule = "nor by a fast fault that knew of no log",
	 .setup = open_logged_before, .actors = { store_seven, enable_and_copy },
	 .verify = verify_copy, .name_word = world_name);

SCENARIO(log_ends, .rule = "a log stays as long as a fault may note a store in it",
	 .setup = open_clean_wp, .actors = { store_seven, disable }, .verify = verify_seven,
	 .name_word = world_name);

/* A table goes while the fast fault is in it: it has nothing but the region. */
static void open_table(void)
{
	world_open(512, LEVEL_4K);
	guest_stores(0, 5);
	guest_leaves();
	enable(&wp);
}

static void remove_region(void)
{
	check(ept_region_remove(world.ept, gfn(0)) == STATUS_OK);
}

static void fault_fast(void)
{
	/* By itself: the guest would go on without a region. */
	check(ept_fault(world.ept, page_gpa(0), ACCESS_WRITE, ACCESS_READ) != FAULT_NO_MEMORY);
}

SCENARIO(log_region_goes, .rule = "tables stay as long as a walk without the lock may be in them",
	 .setup = open_table, .actors = { fault_fast, remove_region }, .verify = world_verify,
	 .name_word = world_name);
/*
 * The second actor's CPU has neither been inside nor walked: who waits for walks knows none of it.
 */
SCENARIO(log_region_goes_new, .rule = "nor under the first walk that a CPU makes",
	 .setup = open_table, .actors = { remove_region, fault_fast }, .verify = world_verify,
	 .name_word = world_name);

/* The second goes by what the first has learned. */
static void fault_twice(void)
{
	fault_fast();
	fault_fast();
}

SCENARIO(way_table_goes, .rule = "nor does a CPU go back to one that is gone",
	 .setup = open_table, .actors = { fault_twice, remove_region }, .verify = world_verify,
	 .name_word = world_name);

/* ------------------------------------------------------------------ large leaves */

static void open_large(void)
{
	world_open(512, LEVEL_2M);
	guest_stores(0, 5);
	guest_leaves();
}

static void open_split(void)
{
	open_large();
	enable(&wp);
	take_copy();
}

SCENARIO(log_splits, .rule = "no store is unseen when a large leaf has become small ones (U35)",
	 .setup = open_large, .actors = { store_seven, enable_and_copy }, .verify = verify_copy,
	 .name_word = world_name);
SCENARIO(log_joins, .rule = "a fault and a store go on while small leaves become a large one (U34)",
	 .setup = open_split, .actors = { store_seven, disable }, .verify = verify_seven,
	 .name_word = world_name);
