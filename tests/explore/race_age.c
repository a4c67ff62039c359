/* Aging against those whose use it asks about: A and D that a processor sets, tables that go. */
#include "ept/age.h"
#include "ept/walk.h"
#include "tests/explore/world.h"

/* One page, writable, neither used nor dirty, in no cache. */
static void open_clean(void)
{
	world_open_touched(1, 5);
	struct ept_walk walk = ept_walk_begin(world.ept, gfn(0), 1);

	while (ept_walk_next(&walk))
		slot_and_not(walk.slot, SPTE_A | SPTE_D);
	for (unsigned i = 0; i < EXPLORE_ACTORS; i++)
		soft_invept(&world.cpus[i]);
}

static bool was_young[2];

static void age_first(void)
{
	was_young[0] = ept_clear_young(world.ept, page_hva(0), page_hva(1));
	was_young[1] = ept_test_young(world.ept, page_hva(0), page_hva(1));
}

/* The use is told of at some time: by the first question, or by one that is asked later. */
static void verify_flags(void)
{
	bool young = ept_test_young(world.ept, page_hva(0), page_hva(1));

	check(was_young[0] || young);
	check(young || !was_young[1]);
	verify_seven();		/* writable, so dirty: ept_verify */
}

SCENARIO(age_dirty, .rule = "aging loses no D, and no A but by telling of it (S27, U11, U36)",
	 .setup = open_clean, .actors = { store_seven, age_first }, .verify = verify_flags,
	 .name_word = world_name);

static void remove_region(void)
{
	pfn_t frame;

	check(ept_region_remove(world.ept, gfn(0)) == STATUS_OK);
	check(folio_alloc_zeroed(world.host, ORDER_4K, &frame) == STATUS_OK);
	folio_put(world.host, frame);
}

static void open_touched(void) { world_open_touched(1, 5); }

/* As mm asks: with the space held. */
static void age_held(void)
{
	read_lock(&world.space->lock);
	was_young[0] = notifier_clear_young(world.space, page_hva(0).raw, page_hva(1).raw);
	read_unlock(&world.space->lock);
}

SCENARIO(age_table, .rule = "no A is taken in a table that was freed (I8)",
	 .setup = open_touched, .actors = { age_held, remove_region },
	 .verify = world_verify, .name_word = world_name);
