/*
 * A and D, which a processor sets in an entry, against everything that changes the entry. The
 * flags are clear at the start and nothing is cached, so that the CPU's walk writes on each level.
 */
#include "ept/walk.h"
#include "tests/explore/world.h"

/* As if the entries had been aged, and their dirtiness been harvested. */
static void clear_flags(uint64_t pages)
{
	struct ept_walk walk = ept_walk_begin(world.ept, gfn(0), pages);

	while (ept_walk_next(&walk))
		slot_and_not(walk.slot, SPTE_A | SPTE_D);
	for (unsigned i = 0; i < EXPLORE_ACTORS; i++)
		soft_invept(&world.cpus[i]);
}

static void open_clear(void)
{
	world_open_touched(1, 5);
	clear_flags(1);
}

/* ------------------------------------------------------------------ a leaf that goes */

SCENARIO(flags_leaf, .rule = "no flag brings back an entry that was taken away (U8, U12)",
	 .setup = open_clear, .actors = { store_seven, migrate_first }, .verify = verify_seven,
	 .name_word = world_name);

/* ------------------------------------------------------------------ tables that go */

static void open_clear_table(void)
{
	world_open(512, LEVEL_4K);
	guest_stores(0, 5);
	guest_leaves();
	clear_flags(512);
}

static void store_or_nothing(void)
{
	enum fault_result result = soft_store(&world.cpus[port_cpu()], page_gpa(0), 7);

	check(result == FAULT_FIXED || result == FAULT_NO_REGION);
	guest_leaves();
}

/* And uses the memory again at once. */
static void remove_region(void)
{
	pfn_t frame;

	check(ept_region_remove(world.ept, gfn(0)) == STATUS_OK);
	check(folio_alloc_zeroed(world.host, ORDER_4K, &frame) == STATUS_OK);
	folio_put(world.host, frame);
}

SCENARIO(flags_table, .rule = "no flag is set in a table that was freed (I8, U12)",
	 .setup = open_clear_table, .actors = { store_or_nothing, remove_region },
	 .verify = world_verify, .name_word = world_name);

/* ------------------------------------------------------------------ a leaf for a table */

/* As if the region had been another so far, of which nobody remembers anything. */
static void want(unsigned level)
{
	world.ept->regions[0].max_level = level;
	atomic_add(&world.ept->sequence, 1);
}

/* The host has 2 MiB in one piece, the EPT a table there, from when it had not. */
static void open_table_for_leaf(void)
{
	world_open(512, LEVEL_2M);
	want(LEVEL_4K);
	for (uint64_t page = 0; page < 2; page++)
		guest_stores(page, 5);
	guest_leaves();
	check(space_invalidate(world.space, page_hva(0), PAGE_SIZE) == STATUS_OK);
	want(LEVEL_2M);
	clear_flags(2);
}

static void store_eight(void)
{
	guest_stores(1, 8);
	guest_leaves();
}

static void verify_both(void)
{
	check(process_loads(0) == 7 && process_loads(1) == 8);
	world_verify();
}

SCENARIO(flags_table_for_leaf,
	 .rule = "a CPU that walks a table loses it before a leaf stands there",
	 .setup = open_table_for_leaf, .actors = { store_seven, store_eight },
	 .verify = verify_both, .name_word = world_name);

/* ------------------------------------------------------------------ a table for a leaf */

/* A leaf of 2 MiB that the host's rights have outgrown. */
static void open_leaf_for_table(void)
{
	world_open(512, LEVEL_2M);
	for (uint64_t page = 0; page < 2; page++)
		guest_stores(page, 5);
	guest_leaves();
	want(LEVEL_4K);

	struct ept_walk walk = ept_walk_begin(world.ept, gfn(0), 1);

	while (ept_walk_next(&walk))
		if (spte_is_leaf(walk.old))
			slot_and_not(walk.slot, SPTE_W | SPTE_D | SPTE_HOST_WRITABLE |
						SPTE_MMU_WRITABLE);
	clear_flags(1);
}

SCENARIO(flags_leaf_for_table,
	 .rule = "a CPU that knows a leaf loses it before a table stands there",
	 .setup = open_leaf_for_table, .actors = { store_seven, store_eight },
	 .verify = verify_both, .name_word = world_name);

/* ------------------------------------------------------------------ the primary tables */

static void open_process(void)
{
	uint64_t value = 0;

	world_open(2, LEVEL_4K);
	for (uint64_t page = 0; page < 2; page++)
		check(space_read(world.space, page_hva(page), &value, sizeof(value)) == STATUS_OK);
	soft_host_init(&world.cpus[0], world.space);
}

static enum status stored;

static void process_stores(void)
{
	uint64_t value = 7;

	stored = soft_process(&world.cpus[0], world.space, page_hva(0), ACCESS_WRITE, &value);
	soft_process_leave(&world.cpus[0], world.space);
	check(stored == STATUS_OK || stored == STATUS_NO_ACCESS);
}

static void protect(void)
{
	check(space_protect(world.space, page_hva(0), PAGE_SIZE, PROTECTION_READ) == STATUS_OK);
}

static void verify_dirty(void)
{
	struct place place;

	read_lock(&world.space->lock);
	place = table_find(world.space, WORLD_BACKING);
	read_unlock(&world.space->lock);
	check(!pte_writable(place.pte));
	check(pte_dirty(place.pte) == (stored == STATUS_OK));
	check(process_loads(0) == (stored == STATUS_OK ? 7 : 0));
	world_verify();
}

SCENARIO(flags_protect, .rule = "a D that a processor sets while rights go is kept (S27)",
	 .setup = open_process, .actors = { process_stores, protect }, .verify = verify_dirty,
	 .name_word = world_name);
