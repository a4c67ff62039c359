/*
 * When a folio learns what a guest did to it: as its leaf comes, or as the leaf goes. S numbers are
 * rows of the propagation table.
 */
#include "mm/file.h"
#include "tests/unit/ept_fixture.h"
#include "tests/unit/trace_fixture.h"

enum { PAGES = 4, BYTES = PAGES * PAGE_SIZE };

static const enum ept_policy policies[] = { EPT_POLICY_MAP, EPT_POLICY_ZAP };

static int open_zap(void **state)
{
	(void)state;
	open_policy(EPT_POLICY_ZAP);
	return 0;
}

static pfn_t frame_at(uint64_t at) { return host_frame(BACKING + at); }
static uint64_t dirty_marks(void) { return host_read_count(arena.host, HOST_MARKS_DIRTY); }
static uint64_t accessed_marks(void) { return host_read_count(arena.host, HOST_MARKS_ACCESSED); }
static void bracket(void)
{
	assert_int_equal(space_invalidate(space, hva(BACKING), BYTES), STATUS_OK);
}

/*
 * Entries that may be written and are clean, over clean folios: only the guest's leaf knows of its
 * stores.
 */
static void lend_clean(void)
{
	uint64_t value = 5;

	lend(BYTES, LEVEL_4K);
	for (uint64_t at = 0; at < BYTES; at += PAGE_SIZE)
		assert_int_equal(space_write(space, hva(BACKING + at), &value, 8), STATUS_OK);
	for (uint64_t at = 0; at < BYTES; at += PAGE_SIZE) {
		write_lock(&space->lock);
		atomic_and(table_find(space, BACKING + at).slot, ~(PTE_D | PTE_A));
		write_unlock(&space->lock);
		atomic_and(&folio_of(arena.host, frame_at(at))->flags,
			   ~(FOLIO_DIRTY | FOLIO_ACCESSED));
	}
}

/* ------------------------------------------------------------------ the order of events */

#define MARKS (STEP(FOLIO_DIRTY) | STEP(FOLIO_ACCESSED))

/* S1: by ZAP a fault says nothing, and a bracket's start does, before it returns. */
static void s1_marked_when_the_leaf_goes(void **state)
{
	(void)state;
	lend_clean();
	record(arena.host, MARKS | STEP(RANGE_START) | STEP(RANGE_END));
	store_on(1, 0, 1);
	store_on(1, 0, 2);
	assert_int_equal(recording.count, 0);
	assert_int_equal(fault(0, ACCESS_WRITE), FAULT_SPURIOUS);
	assert_int_equal(recording.count, 0);
	assert_false(folio_dirty(arena.host, frame_at(0)));
	bracket();
	expect_steps(TRACE_FOLIO_DIRTY, TRACE_FOLIO_ACCESSED, TRACE_RANGE_START, TRACE_RANGE_END);
	assert_int_equal(recording.steps[0].subject, frame_at(0).raw);
}

/*
 * S92, S6: by MAP it is the fault that does, and what goes is marked by nobody. S76: so it is
 * unless somebody asks for another policy; README.md says why.
 */
static void s92_a_zap_marks_nothing(void **state)
{
	struct mm_range range;

	(void)state;
	assert_int_equal(ept->policy, EPT_POLICY_MAP);
	lend_clean();
	record(arena.host, MARKS | STEP(RANGE_START) | STEP(RANGE_END));
	store_on(1, 0, 1);
	assert_int_equal(recording.count, 2);
	bracket();
	expect_steps(TRACE_FOLIO_DIRTY, TRACE_FOLIO_ACCESSED, TRACE_RANGE_START, TRACE_RANGE_END);

	/* Every way in which a leaf goes, or its D. */
	for (uint64_t at = 0; at < BYTES; at += PAGE_SIZE)
		store_on(1, at, 1);
	uint64_t dirty = dirty_marks(), accessed = accessed_marks();

	write_lock(&space->lock);
	range = notifier_start(space, BACKING, BACKING + PAGE_SIZE, EVENT_WRITE_PROTECT);
	notifier_end(space, &range);
	range = notifier_start(space, BACKING, BACKING + 2 * PAGE_SIZE, EVENT_CLEAR);
	notifier_end(space, &range);
	assert_true(notifier_clear_young(space, BACKING, BACKING + BYTES));
	write_unlock(&space->lock);
	assert_int_equal(ept_region_remove(ept, gfn(0)), STATUS_OK);
	assert_int_equal(stats()->zapped[0], 5);
	assert_int_equal(stats()->made_read_only, 1);
	assert_int_equal(dirty_marks(), dirty);
	assert_int_equal(accessed_marks(), accessed);
}

/* S4: what a folio says in the end is the same by both, whatever the guest has done. */
static void s4_same_marks_in_the_end(void **state)
{
	struct { bool dirty, accessed; } end[2][PAGES];

	(void)state;
	for (unsigned k = 0; k < 2; k++) {
		open_policy(policies[k]);
		lend_clean();
		store_on(1, 0, 1);
		(void)load_on(2, PAGE_SIZE);
		store_on(2, 3 * PAGE_SIZE, 2);
		(void)load_on(1, 3 * PAGE_SIZE);
		bracket();
		for (uint64_t i = 0; i < PAGES; i++) {
			end[k][i].dirty = folio_dirty(arena.host, frame_at(i * PAGE_SIZE));
			end[k][i].accessed = folio_accessed(arena.host, frame_at(i * PAGE_SIZE));
		}
		assert_true(end[k][0].dirty && end[k][3].dirty && end[k][1].accessed);
		assert_false(end[k][2].dirty || end[k][2].accessed);
		close_ept(NULL);
	}
	assert_memory_equal(end[0], end[1], sizeof(end[0]));
}

/* -------------------- ZAP: every way in which D leaves a leaf */

static void take_by_region(void) { assert_int_equal(ept_region_remove(ept, gfn(0)), STATUS_OK); }

static void take_by_protection(void)
{
	write_lock(&space->lock);
	struct mm_range range = notifier_start(space, BACKING, BACKING + BYTES, EVENT_MKCLEAN);

	notifier_end(space, &range);
	write_unlock(&space->lock);
}

static void take_by_release(void)
{
	write_lock(&space->lock);
	notifier_release(space);
	write_unlock(&space->lock);
}

/* Not its use, but what it does to a page that may be written, which it loses. */
static void take_by_change(void)
{
	write_lock(&space->lock);
	host_set_change_pte(arena.host, CHANGE_PTE_UNBRACKETED);
	for (uint64_t at = BACKING; at < BACKING + BYTES; at += PAGE_SIZE)
		notifier_change(space, at, table_find(space, at).pte);
	write_unlock(&space->lock);
}

static const struct way { void (*take)(void); bool accessed; } ways[] = {
	{ bracket, true }, { take_by_region, true }, { take_by_protection, false },
	{ take_by_release, true }, { take_by_change, true },
};

static void marked_however_it_goes(void **state)
{
	(void)state;
	for (unsigned i = 0; i < sizeof(ways) / sizeof(*ways); i++) {
		open_policy(EPT_POLICY_ZAP);
		lend_clean();
		store_on(1, 0, 1);
		store_on(1, PAGE_SIZE, 1);
		uint64_t dirty = dirty_marks(), accessed = accessed_marks();

		ways[i].take();
		assert_true(folio_dirty(arena.host, frame_at(0)));
		assert_true(folio_dirty(arena.host, frame_at(PAGE_SIZE)));
		assert_false(folio_dirty(arena.host, frame_at(2 * PAGE_SIZE)));
		assert_int_equal(dirty_marks(), dirty + 2);
		assert_int_equal(accessed_marks(), accessed + (ways[i].accessed ? 2 : 0));
		close_ept(NULL);
	}
}

/* A fault puts a leaf where a table was: what the table's leaves knew is passed on. */
static void marked_for_a_larger_leaf(void **state)
{
	struct region small = { gfn(0), 512, hva(BACKING), REGION_READ_WRITE, LEVEL_4K };

	(void)state;
	map_host(BACKING, 2 * MIB, LEVEL_2M);
	assert_int_equal(ept_region_add(ept, &small), STATUS_OK);
	store_on(1, 0, 1);
	store_on(1, PAGE_SIZE, 1);
	set_max_level(LEVEL_2M);
	uint64_t dirty = dirty_marks();

	store_on(1, 5 * PAGE_SIZE, 1);
	assert_int_equal(level_at(0), LEVEL_2M);
	assert_int_equal(dirty_marks(), dirty + 2);
	/* One mark for all of it. */
	bracket();
	assert_int_equal(dirty_marks(), dirty + 3);
}

/* The process ends first, or the EPT does. */
static void marked_at_the_end(void **state)
{
	(void)state;
	lend_clean();
	store_on(1, 0, 1);
	all_leave();
	pfn_t frame = frame_at(0);

	ept_destroy(ept);
	assert_true(folio_dirty(arena.host, frame));
	space_destroy(space);
	arena_close(&arena);
}

/*
 * Where the processor has no flags software's own stand in: what may be written counts as written.
 */
static void without_flags(void **state)
{
	(void)state;
	open_ept(64, (struct ept_caps){ .max_level = LEVEL_1G });
	ept_set_policy(ept, EPT_POLICY_ZAP);
	lend_clean();
	store_on(1, 0, 1);
	bracket();
	assert_true(folio_dirty(arena.host, frame_at(0)) &&
		    folio_accessed(arena.host, frame_at(0)));
	close_ept(NULL);
}

/* A flag that aging took is no use; what was never written is not dirty. */
static void only_what_the_flags_say(void **state)
{
	(void)state;
	lend_clean();
	assert_int_equal(space_protect(space, hva(BACKING), BYTES, PROTECTION_READ), STATUS_OK);
	assert_int_equal(load_on(1, 0), 5);
	all_leave();
	write_lock(&space->lock);
	assert_true(notifier_clear_young(space, BACKING, BACKING + BYTES));
	write_unlock(&space->lock);
	uint64_t dirty = dirty_marks(), accessed = accessed_marks();

	bracket();
	assert_int_equal(stats()->zapped[0], 1);
	assert_int_equal(dirty_marks(), dirty);
	assert_int_equal(accessed_marks(), accessed);
}

/* ------------------------------------------------------------------ whose page it is */

/* S7, S85: the entry does not say what is behind it; bare frames are nobody's to mark. */
static void bare_frames_are_not_marked(void **state)
{
	pfn_t block;

	(void)state;
	assert_int_equal(folio_alloc_zeroed(arena.host, 2, &block), STATUS_OK);
	assert_int_equal(space_map_frames(space, hva(BACKING), BYTES, PROTECTION_READ_WRITE, block,
					  LEVEL_4K, FRAMES_BARE), STATUS_OK);
	assert_int_equal(space_map_frames(space, hva(BACKING + BYTES), PAGE_SIZE,
					  PROTECTION_READ_WRITE, pfn(64 * GIB >> PAGE_SHIFT),
					  LEVEL_4K, FRAMES_BARE),
			 STATUS_OK);
	add_region(0, PAGES + 1, BACKING, LEVEL_4K);
	store_on(1, PAGE_SIZE, 1);
	assert_int_equal(fault(BYTES, ACCESS_WRITE), FAULT_FIXED);
	assert_int_equal(space_invalidate(space, hva(BACKING), BYTES + PAGE_SIZE), STATUS_OK);
	assert_int_equal(stats()->zapped[0], 2);
	assert_int_equal(dirty_marks() + accessed_marks(), 0);
	assert_int_equal(space_unmap(space, hva(BACKING), BYTES), STATUS_OK);
	folio_put(arena.host, block);
}

/* S50: MAP, unless somebody wants another. */
static void chosen_before_the_regions(void **state)
{
	(void)state;
	assert_int_equal(ept->policy, EPT_POLICY_MAP);
	lend(BYTES, LEVEL_4K);
	assert_true(panics(ept_set_policy(ept, EPT_POLICY_MAP), "region_count"));
	arena_abandon(&arena);
}

/* U2, by ZAP: a leaf that may be written speaks for its folio, so it must be able to. */
static void verified(void **state)
{
	(void)state;
	lend_clean();
	store_on(1, 0, 1);
	assert_false(folio_dirty(arena.host, frame_at(0)));
	ept_verify(ept);
	ept->policy = EPT_POLICY_MAP;
	assert_true(panics(ept_verify(ept), "its folio is not dirty"));
	arena_abandon(&arena);
}

#define map_test(name) cmocka_unit_test_setup_teardown(name, open_small, close_ept)
#define zap_test(name) cmocka_unit_test_setup_teardown(name, open_zap, close_ept)

int main(void)
{
	const struct CMUnitTest tests[] = {
		zap_test(s1_marked_when_the_leaf_goes), map_test(s92_a_zap_marks_nothing),
		cmocka_unit_test(s4_same_marks_in_the_end),
		cmocka_unit_test(marked_however_it_goes),
		zap_test(marked_for_a_larger_leaf),
		cmocka_unit_test_setup(marked_at_the_end, open_zap),
		cmocka_unit_test(without_flags), zap_test(only_what_the_flags_say),
		zap_test(bare_frames_are_not_marked),
		cmocka_unit_test_setup(chosen_before_the_regions, open_small),
		cmocka_unit_test_setup(verified, open_zap),
	};

	return cmocka_run_group_tests_name("ept/policy", tests, NULL, NULL);
}
