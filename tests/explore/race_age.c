/* Aging against those whose use it asks about: A and D that a processor sets, tables that go. */
#include "ept/age.h"
#include "ept/walk.h"
#include "tests/explore/world.h"

/* One page, writable, without those flags, in no cache. */
static void open_without(uint64_t flags)
{
	world_open_touched(1, 5);
	struct ept_walk walk = ept_walk_begin(world.ept, gfn(0), 1);

	while (ept_walk_next(&walk))
		slot_and_not(walk.slot, flags);
	for (unsigned i = 0; i < EXPLORE_ACTORS; i++)
		soft_invept(&world.cpus[i]);
}

static void open_clean(void) { open_without(SPTE_A | SPTE_D); }

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

	check(spte_dirty(ept_find(world.ept, gfn(0)).old));
	verify_seven();
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

/* ------------------------------------------------------------------ idle page tracking */

static pfn_t first_frame;
static uint64_t first_bit;

static struct place first_entry(void)
{
	read_lock(&world.space->lock);
	struct place place = table_find(world.space, WORLD_BACKING);

	read_unlock(&world.space->lock);
	return place;
}

/* Not used by the guest, and by the process neither used nor written. */
static void open_unused(void)
{
	open_without(SPTE_A);
	struct place place = first_entry();

	atomic_and(place.slot, ~(PTE_A | PTE_D));
	first_frame = pte_frame(place.pte);
	first_bit = UINT64_C(1) << first_frame.raw % 64;
}

static void process_stores(void)
{
	uint64_t value = 7;

	check(space_write(world.space, page_hva(0), &value, sizeof(value)) == STATUS_OK);
}

static pfn_t of_word(void) { return pfn(first_frame.raw & ~(uint64_t)63); }
static void mark_idle(void)
{
	check(idle_mark(world.host, of_word(), 64, &first_bit) == STATUS_OK);
}

static bool read_idle(void)
{
	uint64_t word;

	check(idle_read(world.host, of_word(), 64, &word) == STATUS_OK);
	return word & first_bit;
}

/* A use is in the entry still, or reclaim is told of it. A store is in the entry. */
static void verify_use(void)
{
	const struct folio *folio = page_folio(world.host, first_frame);
	pte_t entry = first_entry().pte;

	check(pte_dirty(entry));
	check(pte_accessed(entry) || atomic_read(&folio->flags) & FOLIO_YOUNG);
	check(!pte_accessed(entry) || !read_idle());
	verify_seven();
}

SCENARIO(idle_use, .rule = "marking a page idle loses no use of it, and no D (S97, S27)",
	 .setup = open_unused, .actors = { process_stores, mark_idle }, .verify = verify_use,
	 .name_word = world_name);

/* The folio's lock is one of the flags that they change. */
static void mark_and_read(void)
{
	mark_idle();
	(void)read_idle();
}

static void mark_dirty(void) { folio_mark_dirty(world.host, first_frame); }

static void verify_marks(void)
{
	check(folio_dirty(world.host, first_frame) && !folio_is_locked(world.host, first_frame));
	check(read_idle());
	check(folio_refcount(world.host, first_frame) == 1);
	world_verify();
}

static void open_marked(void)
{
	open_unused();
	atomic_and(&page_folio(world.host, first_frame)->flags, ~FOLIO_DIRTY);
}

SCENARIO(idle_marks, .rule = "two who mark a page idle, and one who marks it dirty, lose nothing",
	 .setup = open_marked, .actors = { mark_and_read, mark_idle, mark_dirty },
	 .verify = verify_marks, .name_word = world_name);

/* ------------------------------------------------------------------ a folio by its number */

static void open_pair(void)
{
	world_open(1, LEVEL_4K);
	check(folio_alloc(world.host, 1, &first_frame) == STATUS_OK);
	folio_make_anon(world.host, first_frame, 1, 0);
}

/* Held, it is what the frame belongs to. */
static void find(pfn_t frame)
{
	pfn_t head;

	if (!folio_find(world.host, frame, &head))
		return;
	check(folio_head(world.host, frame).raw == head.raw);
	folio_put(world.host, head);
}

static void find_both(void)
{
	find(pfn_add(first_frame, 1));
	find(first_frame);
}

/* The same frame, unless the other has the pair now; not one that a CPU keeps for itself. */
static void free_and_lend(void)
{
	pfn_t single;

	folio_put(world.host, first_frame);
	if (folio_alloc_within(world.host, first_frame, pfn_add(first_frame, 1), &single) !=
	    STATUS_OK)
		return;
	folio_make_anon(world.host, single, 1, 0);
	folio_put(world.host, single);
}

SCENARIO(find_lent_again, .rule = "who holds a folio by a frame's number has the one of that frame",
	 .setup = open_pair, .actors = { find_both, free_and_lend }, .verify = world_verify,
	 .name_word = world_name);
