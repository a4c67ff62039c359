/*
 * Brackets that begin side by side (ept/notify.c): over one page, over two that one leaf maps, and
 * over two that have nothing in common. A guest stores meanwhile.
 */
#include "tests/explore/world.h"

static void bracket_page(uint64_t page) HOLDS_SHARED(world.space->lock)
{
	struct mm_range range = notifier_start(world.space, page_hva(page).raw,
					       page_hva(page + 1).raw, EVENT_CLEAR);
	struct mm_page first;
	uint64_t before = 0, after = 0;

	/* No store lands from here on, and by policy ZAP what has landed is told. */
	check(mm_peek(world.space, page_hva(page), &first) == STATUS_OK);
	atomic_copy(&before, pfn_to_ptr(first.frame), sizeof(before));
	check(before != 7 || folio_dirty(world.host, first.frame));
	atomic_copy(&after, pfn_to_ptr(first.frame), sizeof(after));
	check(before == after);
	notifier_end(world.space, &range);
}

static void bracket_first(void)
{
	read_lock(&world.space->lock);
	bracket_page(0);
	read_unlock(&world.space->lock);
}

static void bracket_second(void)
{
	read_lock(&world.space->lock);
	bracket_page(1);
	read_unlock(&world.space->lock);
}

/* The guest's CPU has the translation cached, and the folio's mark is gone. */
static void open_mapped(uint64_t pages, unsigned level)
{
	struct region region = { .pages = pages, .backing = hva(WORLD_BACKING),
				 .rights = REGION_READ_WRITE, .max_level = level };

	world_open(pages, level);
	check(ept_region_remove(world.ept, gfn(0)) == STATUS_OK);
	ept_set_policy(world.ept, EPT_POLICY_ZAP);
	check(ept_region_add(world.ept, &region) == STATUS_OK);
	guest_stores(0, 5);
	guest_leaves();
}

static void open_two(void) { open_mapped(2, LEVEL_4K); }

SCENARIO(starts_of_a_page, .rule = "the second start waits for what the first has taken (I4, I8)",
	 .setup = open_two, .actors = { store_seven, bracket_first, bracket_first },
	 .verify = verify_seven, .name_word = world_name);

static void store_both(void)
{
	guest_stores(0, 7);
	guest_stores(1, 7);
	guest_leaves();
}

static void open_both(void)
{
	open_two();
	guest_stores(1, 5);
	guest_leaves();
}

SCENARIO(starts_elsewhere, .rule = "starts that have nothing in common go side by side (U22)",
	 .setup = open_both, .actors = { store_both, bracket_first, bracket_second },
	 .verify = verify_seven, .name_word = world_name);

/* One leaf of 2 MiB for both. */
static void open_large(void) { open_mapped(512, LEVEL_2M); }

SCENARIO(starts_of_a_leaf, .rule = "a leaf that two ranges have a part of is taken once (I4, I8)",
	 .setup = open_large, .actors = { store_seven, bracket_first, bracket_second },
	 .verify = verify_seven, .name_word = world_name);
