/*
 * Dirty logs by page-modification logging: stores that a processor lists, against harvests, and
 * against logs that begin and end. As in race_log.c, who harvests keeps a copy by the log alone.
 */
#include "ept/log.h"
#include "tests/explore/world.h"

static uint64_t copy;
static const struct log_options pml = { .kind = LOG_PML };

static void take_copy(void) { atomic_copy(&copy, pfn_to_ptr(pte_frame(
	table_find(world.space, WORLD_BACKING).pte)), sizeof(copy)); }

static void enable(void) { check(ept_log_enable(world.ept, gfn(0), &pml) == STATUS_OK); }
static void disable(void) { check(ept_log_disable(world.ept, gfn(0)) == STATUS_OK); }

static uint64_t get(void)
{
	uint64_t word;

	check(ept_log_get(world.ept, gfn(0), &word) == STATUS_OK);
	return word;
}

static void harvest(void) NOT_CHECKED
{
	if (get() & 1)
		take_copy();
}

/* The lists are the CPUs' own, and stay until the end. */
static pfn_t lists[2];

static void give_lists(void)
{
	for (unsigned i = 0; i < 2; i++) {
		check(folio_alloc_zeroed(world.host, ORDER_4K, &lists[i]) == STATUS_OK);
		soft_give_list(&world.cpus[i], lists[i]);
	}
}

static void verify(void)
{
	for (unsigned i = 0; i < 2; i++)
		folio_put(world.host, lists[i]);
	world_verify();
}

static void verify_copy(void)
{
	harvest();
	check(copy == process_loads(0));
	disable();
	verify();
}

static void verify_seven_stored(void)
{
	check(process_loads(0) == 7);
	verify();
}

/* D in the leaf, and the CPU does not know it. */
static void open_unlogged(void)
{
	world_open_touched(1, 5);
	soft_evict(&world.cpus[0], page_gpa(0));
	give_lists();
}

/* Copied, and clean since. */
static void open_clean(void)
{
	open_unlogged();
	enable();
	take_copy();
}

/* Stored to since, and known to be: the leaf has D, the bitmap the bit. */
static void open_stored(void)
{
	open_clean();
	guest_stores(0, 6);
	guest_leaves();
}

/* ------------------------------------------------------------------ harvests */

SCENARIO(pml_store, .rule = "a store that the processor lists is in this harvest or the next (U32)",
	 .setup = open_clean, .actors = { store_seven, harvest }, .verify = verify_copy,
	 .name_word = world_name);
SCENARIO(pml_harvest, .rule = "a store behind a harvest's back is in what is read after it (U30)",
	 .setup = open_stored, .actors = { store_seven, harvest }, .verify = verify_copy,
	 .name_word = world_name);

/* The CPU has to look at the leaf again. */
static void open_forgotten(void)
{
	open_stored();
	soft_evict(&world.cpus[0], page_gpa(0));
}

/* Out in between: the list is handed over there. */
static void store_twice(void)
{
	guest_stores(0, 7);
	guest_leaves();
	guest_stores(0, 8);
	guest_leaves();
}

SCENARIO(pml_twice, .rule = "the bit is taken first, D second (U30)",
	 .setup = open_forgotten, .actors = { store_twice, harvest }, .verify = verify_copy,
	 .name_word = world_name);

/*
 * What the guest says that it has stored is in a harvest that begins after: although it is still
 * inside, and its list not full.
 */
static void open_two(void)
{
	world_open_touched(2, 5);
	give_lists();
	enable();
}

static void store_and_tell(void)
{
	guest_stores(0, 7);
	guest_stores(1, 1);
	guest_leaves();
}

static void harvest_when_told(void)
{
	bool told = process_loads(1) == 1;
	uint64_t word = get();

	check(!told || word & 1);
}

static void verify_two(void)
{
	check(process_loads(0) == 7);
	disable();
	verify();
}

SCENARIO(pml_told, .rule = "a harvest has what was stored before it began (U30, U32)",
	 .setup = open_two, .actors = { store_and_tell, harvest_when_told }, .verify = verify_two,
	 .name_word = world_name);

/* ------------------------------------------------------------------ a leaf that goes */

SCENARIO(pml_migrate, .rule = "what is in a list outlives its leaf",
	 .setup = open_clean, .actors = { store_seven, migrate_first }, .verify = verify_copy,
	 .name_word = world_name);

/* ------------------------------------------------------------------ a log begins, and ends */

static void enable_and_copy(void) NOT_CHECKED
{
	enable();
	take_copy();
}

static void store_twice_inside(void)
{
	guest_stores(0, 7);
	guest_stores(0, 8);
	guest_leaves();
}

SCENARIO(pml_begins,
	 .rule = "no store is unseen after a log has begun, by whoever was inside (U29)",
	 .setup = open_unlogged, .actors = { store_twice_inside, enable_and_copy },
	 .verify = verify_copy, .name_word = world_name);

/* The leaf has no D, and loses nothing: nothing is flushed. */
static void open_bare(void)
{
	open_clean();
	disable();
}

SCENARIO(pml_begins_bare, .rule = "nor where no leaf has anything to lose",
	 .setup = open_bare, .actors = { store_seven, enable_and_copy },
	 .verify = verify_copy, .name_word = world_name);
SCENARIO(pml_ends, .rule = "a log stays as long as a CPU on its way out may note a store in it",
	 .setup = open_clean, .actors = { store_seven, disable }, .verify = verify_seven_stored,
	 .name_word = world_name);
