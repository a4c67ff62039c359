/*
 * Neighbours that are mapped with a fault, against a host that takes one of them away, and against
 * who asks whether it was used. The second page is the one that faults, its neighbour the first.
 */
#include "ept/age.h"
#include "ept/state.h"
#include "mm/lru.h"
#include "tests/explore/world.h"

enum { PAGES = 2 };

/* The region comes again, prefetching. Nothing is mapped, but the tables are there. */
static void prefetch_by(enum ept_policy policy)
{
	struct region region = { .pages = PAGES, .backing = hva(WORLD_BACKING),
				 .rights = REGION_READ_WRITE, .max_level = LEVEL_4K };

	check(ept_region_remove(world.ept, gfn(0)) == STATUS_OK);
	ept_set_policy(world.ept, policy);
	ept_set_prefetch(world.ept, PAGES);
	check(ept_region_add(world.ept, &region) == STATUS_OK);
	guest_stores(0, 5);
	guest_leaves();
	check(space_invalidate(world.space, page_hva(0), PAGES * PAGE_SIZE) == STATUS_OK);
}

static void open_pages(void)
{
	world_open_touched(PAGES, 5);
	prefetch_by(EPT_POLICY_MAP);
}

static void touch_second(void)
{
	guest_stores(1, 6);
	guest_leaves();
}

/* To the first by whichever leaf is there: one that came with the other's, or its own. */
static void store_both(void)
{
	guest_stores(1, 6);
	guest_stores(0, 7);
	guest_leaves();
}

/* ------------------------------------------------------------------ what takes the neighbour */

SCENARIO(prefetch_migrate, .rule = "a prefetched leaf names the page that is there (I1, I6)",
	 .setup = open_pages, .actors = { store_both, migrate_first }, .verify = verify_seven,
	 .name_word = world_name);

static void unmap_first(void)
{
	check(space_unmap(world.space, page_hva(0), PAGE_SIZE) == STATUS_OK);
}

SCENARIO(prefetch_unmap, .rule = "no leaf of a neighbour outlives its mapping (I1, I8)",
	 .setup = open_pages, .actors = { touch_second, unmap_first }, .verify = world_verify,
	 .name_word = world_name);

static void protect_first(void)
{
	check(space_protect(world.space, page_hva(0), PAGE_SIZE, PROTECTION_READ) == STATUS_OK);
}

SCENARIO(prefetch_protect, .rule = "no neighbour has W where the process may not write (I1, U3)",
	 .setup = open_pages, .actors = { touch_second, protect_first }, .verify = world_verify,
	 .name_word = world_name);

/* ------------------------------------------------------------------ who consumes its dirtiness */

static void open_file_by(enum ept_policy policy)
{
	world_open_file(PAGES, SHARING_SHARED);
	guest_stores(0, 5);
	guest_stores(1, 5);
	guest_leaves();
	prefetch_by(policy);
}

static void open_file_map(void) { open_file_by(EPT_POLICY_MAP); }
static void open_file_zap(void) { open_file_by(EPT_POLICY_ZAP); }
static void open_file_pte(void) { open_file_by(EPT_POLICY_PTE); }

SCENARIO(prefetch_writeback, .rule = "a store to a neighbour is written, or dirty again (U3, S49)",
	 .setup = open_file_map, .actors = { store_both, sync_file },
	 .verify = verify_written_back, .name_word = world_name);
SCENARIO(prefetch_zap_writeback, .rule = "ZAP: a store to a neighbour is written, or dirty again",
	 .setup = open_file_zap, .actors = { store_both, sync_file },
	 .verify = verify_written_back, .name_word = world_name);
SCENARIO(prefetch_pte_writeback, .rule = "PTE: a store to a neighbour is written, or dirty again",
	 .setup = open_file_pte, .actors = { store_both, sync_file },
	 .verify = verify_written_back, .name_word = world_name);

/* The neighbour has been given away: its entry may be written, and is clean. */
static void open_given_by(enum ept_policy policy)
{
	world_open_touched(PAGES, 5);
	lru_drain(world.host);
	prefetch_by(policy);
	check(space_lazyfree(world.space, page_hva(0), PAGE_SIZE) == STATUS_OK);
}

static void open_given_map(void) { open_given_by(EPT_POLICY_MAP); }
static void open_given_pte(void) { open_given_by(EPT_POLICY_PTE); }

static void page_out(void)
{
	uint64_t freed;

	check(space_page_out(world.space, page_hva(0), PAGE_SIZE, &freed) == STATUS_OK);
}

/* Who looks for pages to free does it once more; then the content says it. */
static void verify_kept(void)
{
	page_out();
	verify_seven();
}

SCENARIO(prefetch_reclaim,
	 .rule = "a neighbour that was given away and stored to is kept (S45, U3)",
	 .setup = open_given_map, .actors = { store_both, page_out }, .verify = verify_kept,
	 .name_word = world_name);
SCENARIO(prefetch_pte_reclaim, .rule = "PTE: such a neighbour is asked for by a fault (S25, S45)",
	 .setup = open_given_pte, .actors = { store_both, page_out }, .verify = verify_kept,
	 .name_word = world_name);

/* ------------------------------------------------------------------ two faults; logs */

static void touch_first(void)
{
	guest_stores(0, 7);
	guest_leaves();
}

SCENARIO(prefetch_both_ways, .rule = "a page is asked for, or prefetched, once (U24)",
	 .setup = open_pages, .actors = { touch_first, touch_second }, .verify = verify_seven,
	 .name_word = world_name);

static uint64_t logged;

static void log_and_harvest(void)
{
	const struct log_options wp = { .kind = LOG_WRITE_PROTECT };

	check(ept_log_enable(world.ept, gfn(0), &wp) == STATUS_OK);
	check(ept_log_get(world.ept, gfn(0), &logged) == STATUS_OK);
	logged = process_loads(0);
}

/* What the copy that began behind the harvest has not, the next harvest reports. */
static void verify_logged(void)
{
	uint64_t bits;

	check(ept_log_get(world.ept, gfn(0), &bits) == STATUS_OK);
	check(logged == 7 || bits & 1);
	verify_seven();
}

SCENARIO(prefetch_log, .rule = "no store to a neighbour is missing from a log that has begun (I6)",
	 .setup = open_pages, .actors = { store_both, log_and_harvest }, .verify = verify_logged,
	 .name_word = world_name);

/* ------------------------------------------------------------------ used or not */

static void open_used(void)
{
	open_pages();
	store_both();
}

static void age_first(void) { (void)ept_clear_young(world.ept, page_hva(0), page_hva(1)); }

static void zap_first(void)
{
	check(space_invalidate(world.space, page_hva(0), PAGE_SIZE) == STATUS_OK);
}

/* The guest has used each that was prefetched. */
static void verify_counted(void)
{
	struct ept_stats stats;

	zap_first();
	ept_read_stats(world.ept, &stats);
	check(stats.prefetched == 2 && stats.prefetch_used == 1);
	world_verify();
}

SCENARIO(prefetch_used,
	 .rule = "whoever sees first that a neighbour was used, it is counted once (S5)",
	 .setup = open_used, .actors = { age_first, age_first, zap_first },
	 .verify = verify_counted, .name_word = world_name);
