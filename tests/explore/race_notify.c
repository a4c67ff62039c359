/* The host's brackets, which overlap and nest (mm/notifier.h), against a fault. */
#include "ept/walk.h"
#include "tests/explore/world.h"

static void open_host_pages(void)
{
	uint64_t zero = 0;

	world_open(2, LEVEL_4K);
	for (uint64_t page = 0; page < 2; page++)
		check(space_write(world.space, page_hva(page), &zero, sizeof(zero)) == STATUS_OK);
}

static bool is_mapped(uint64_t page)
{
	struct ept_walk walk = ept_walk_begin(world.ept, gfn(page), 1);

	while (ept_walk_next(&walk))
		if (spte_is_leaf(walk.old))
			return true;
	return false;
}

/* Which page the guest stores to: from here to the bracket's end, nothing maps it. */
enum { STORED = 1 };

static struct mm_range open_bracket(uint64_t first, uint64_t end) HOLDS_SHARED(world.space->lock)
{
	return notifier_start(world.space, page_hva(first).raw, page_hva(end).raw,
			      EVENT_PROTECTION_VMA);
}

static void close_bracket(const struct mm_range *range) HOLDS_SHARED(world.space->lock)
{
	if (range->end.raw > page_hva(STORED).raw)
		check(!is_mapped(STORED));
	notifier_end(world.space, range);
}

static void store_last(void)
{
	guest_stores(STORED, 7);
	guest_leaves();
}

static void verify_store(void)
{
	check(process_loads(STORED) == 7);
	world_verify();
}

/* ------------------------------------------------------------------ one in the other */

static void nest(void)
{
	read_lock(&world.space->lock);
	struct mm_range outer = open_bracket(0, 2), inner = open_bracket(0, 1);

	close_bracket(&inner);
	close_bracket(&outer);
	read_unlock(&world.space->lock);
}

SCENARIO(brackets_nest, .rule = "the end of an inner bracket frees nothing of the outer (U22)",
	 .setup = open_host_pages, .actors = { store_last, nest }, .verify = verify_store,
	 .name_word = world_name);

/* ------------------------------------------------------------------ two that overlap */

static void bracket_last(void)
{
	read_lock(&world.space->lock);
	struct mm_range range = open_bracket(1, 2);

	close_bracket(&range);
	read_unlock(&world.space->lock);
}

static void bracket_first(void)
{
	check(space_invalidate(world.space, page_hva(0), PAGE_SIZE) == STATUS_OK);
}

SCENARIO(brackets_overlap, .rule = "brackets that overlap are one to a fault (U22)",
	 .setup = open_host_pages, .actors = { store_last, bracket_first, bracket_last },
	 .verify = verify_store, .name_word = world_name);

/* ------------------------------------------------------------------ a listener that goes */

static struct { struct notifier notifier; unsigned open; bool gone; } listener;

static void count_start(struct notifier *self, const struct mm_range *range)
{
	(void)self;
	(void)range;
	check(!listener.gone);
	listener.open++;
}

static void count_end(struct notifier *self, const struct mm_range *range)
{
	(void)self;
	(void)range;
	check(!listener.gone && listener.open);
	listener.open--;
}

static const struct notifier_ops counting = { .start = count_start, .end = count_end };

static void open_listener(void)
{
	world_open(1, LEVEL_4K);
	listener.notifier.ops = &counting;
	listener.open = 0;
	listener.gone = false;
	notifier_register(world.space, &listener.notifier);
}

static void stop_listening(void)
{
	notifier_unregister(world.space, &listener.notifier);
	check(!listener.open);
	listener.gone = true;
}

SCENARIO(listener_goes,
	 .rule = "a listener that goes has seen the end of each bracket, and no more",
	 .setup = open_listener, .actors = { stop_listening, bracket_first },
	 .verify = world_verify, .name_word = world_name);

/* ------------------------------------------------------------------ ends beside other changes */

/* The brackets are about page 2, the fault and the regions about the two before it. */
static void open_regions(void)
{
	struct region region = { .pages = 1, .rights = REGION_READ_WRITE, .max_level = LEVEL_4K };
	uint64_t zero = 0;

	world_open(3, LEVEL_4K);
	check(space_write(world.space, page_hva(STORED), &zero, sizeof(zero)) == STATUS_OK);
	check(ept_region_remove(world.ept, gfn(0)) == STATUS_OK);
	region.start = gfn(STORED);
	region.backing = page_hva(STORED);
	check(ept_region_add(world.ept, &region) == STATUS_OK);
	region.start = gfn(2);
	region.backing = page_hva(2);
	check(ept_region_add(world.ept, &region) == STATUS_OK);
}

static void bracket_elsewhere(void)
{
	check(space_invalidate(world.space, page_hva(2), PAGE_SIZE) == STATUS_OK);
}

/* Its bracket ends without space->lock. */
static void protect_elsewhere(void)
{
	check(ept_region_set_rights(world.ept, gfn(2), REGION_READ_ONLY) == STATUS_OK);
}

static void discard_stored(void)
{
	check(space_discard(world.space, page_hva(STORED), PAGE_SIZE) == STATUS_OK);
}

static void bracket_and_fault(void)
{
	bracket_elsewhere();

	enum fault_result result = ept_fault(world.ept, page_gpa(STORED), ACCESS_WRITE,
					     ACCESS_NONE);

	check(result == FAULT_FIXED || result == FAULT_RETRY || result == FAULT_NO_REGION);
}

static void remove_region(void)
{
	check(ept_region_remove(world.ept, gfn(STORED)) == STATUS_OK);
}

SCENARIO(sequence_advances,
	 .rule = "the sequence never comes back to what a fault has seen (U22, U23)",
	 .setup = open_regions,
	 .actors = { bracket_elsewhere, bracket_and_fault, remove_region },
	 .verify = world_verify, .name_word = world_name);
SCENARIO(sequence_advances_rights,
	 .rule = "nor where a bracket is the secondary MMU's own (U22, U23)",
	 .setup = open_regions,
	 .actors = { protect_elsewhere, bracket_and_fault, discard_stored },
	 .verify = world_verify, .name_word = world_name);
