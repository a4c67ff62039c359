/*
 * What a process says of memory that it does not need; and all who take D from entries, each with
 * its bracket. S numbers are rows of the propagation table.
 */
#include "mm/lru.h"
#include "tests/unit/file_fixture.h"
#include "tests/unit/trace_fixture.h"

#define OTHER (BASE + GIB)

static pte_t pte_at(uint64_t at) { return entry(at).pte; }
static pfn_t frame_at(uint64_t at) { return pte_frame(pte_at(at)); }
static uint32_t flags_at(uint64_t at)
{
	return atomic_read(&folio_of(arena.host, frame_at(at))->flags);
}

static uint64_t get(uint64_t at)
{
	uint64_t value = 0;

	assert_int_equal(space_read(space, hva(at), &value, sizeof(value)), STATUS_OK);
	return value;
}

static void lazyfree(uint64_t at, uint64_t pages)
{
	assert_int_equal(space_lazyfree(space, hva(at), pages * PAGE_SIZE), STATUS_OK);
}

static void map_written(uint64_t at, uint64_t pages)
{
	map(at, pages * PAGE_SIZE, LEVEL_4K);
	for (uint64_t i = 0; i < pages; i++)
		put(at + i * PAGE_SIZE, i + 1);
	lru_drain(arena.host);
}

/* ------------------------------------------------------------------ lazyfree */

/*
 * S61: Linux's order: init, drain, gather, start, entries, end; the process's own flush after that.
 */
static void s61_order(void **state)
{
	(void)state;
	map_written(BASE, 2);
	folio_mark_dirty(arena.host, frame_at(BASE));
	record(arena.host, STEP_ALL);
	lazyfree(BASE, 2);
	assert_int_equal(recording.steps[0].value, EVENT_CLEAR);
	expect_steps(TRACE_RANGE_INIT, TRACE_LRU_DRAIN, TRACE_GATHER, TRACE_RANGE_START,
		     TRACE_FOLIO_CLEAN, TRACE_PTE_MKCLEAN, TRACE_PTE_MKCLEAN, TRACE_RANGE_END,
		     TRACE_TLB_FLUSH);
}

/* S41, S42: D and A go from the entry, W stays; the marks go from the folio. */
static void s41_marks_go_and_w_stays(void **state)
{
	(void)state;
	map_written(BASE, 2);
	folio_mark_dirty(arena.host, frame_at(BASE));
	folio_mark_accessed(arena.host, frame_at(BASE));
	lazyfree(BASE, 1);
	assert_true(pte_writable(pte_at(BASE)));
	assert_false(pte_dirty(pte_at(BASE)) || pte_accessed(pte_at(BASE)));
	assert_false(flags_at(BASE) & (FOLIO_DIRTY | FOLIO_ACCESSED | FOLIO_SWAPBACKED));
	assert_true(flags_at(BASE) & FOLIO_ANON);
	assert_true(pte_dirty(pte_at(BASE + PAGE_SIZE)));
	assert_true(flags_at(BASE + PAGE_SIZE) & FOLIO_SWAPBACKED);

	uint64_t faults = host_read_count(arena.host, HOST_FAULTS);

	assert_int_equal(get(BASE), 1);
	put(BASE, 9);
	assert_int_equal(host_read_count(arena.host, HOST_FAULTS), faults);
	assert_true(pte_dirty(pte_at(BASE)));
}

/*
 * Nobody has written: reclaim needs no store, and the next touch finds zeros. What was written anew
 * stays.
 */
static void dropped_or_kept(void **state)
{
	(void)state;
	map_written(BASE, 3);
	lazyfree(BASE, 3);
	put(BASE + PAGE_SIZE, 7);
	assert_int_equal(get(BASE + 2 * PAGE_SIZE), 3);
	for (unsigned i = 0; i < 4; i++)		/* what was read looks used at first */
		(void)!host_reclaim(arena.host, 3);
	assert_int_equal(get(BASE), 0);
	assert_int_equal(get(BASE + PAGE_SIZE), 7);
	assert_int_equal(get(BASE + 2 * PAGE_SIZE), 0);
	assert_true(flags_at(BASE + PAGE_SIZE) & FOLIO_SWAPBACKED);
}

/* A folio that is locked, or that another maps, keeps its mark, its D and its place. */
static void passed_over(void **state)
{
	struct space *other;
	pfn_t frame;

	(void)state;
	map_written(BASE, 2);
	frame = frame_at(BASE);
	folio_mark_dirty(arena.host, frame);
	folio_lock(arena.host, frame);
	lazyfree(BASE, 2);
	folio_unlock(arena.host, frame);
	assert_true(pte_dirty(pte_at(BASE)) && flags_at(BASE) & FOLIO_DIRTY);
	assert_false(pte_dirty(pte_at(BASE + PAGE_SIZE)));

	put(BASE + PAGE_SIZE, 3);
	folio_mark_dirty(arena.host, frame_at(BASE + PAGE_SIZE));
	assert_int_equal(space_fork(space, &other), STATUS_OK);
	lazyfree(BASE, 2);
	assert_true(flags_at(BASE) & FOLIO_DIRTY && flags_at(BASE + PAGE_SIZE) & FOLIO_DIRTY);
	assert_true(flags_at(BASE) & FOLIO_SWAPBACKED);
	space_destroy(other);
	lazyfree(BASE, 2);
	assert_false(flags_at(BASE) & FOLIO_SWAPBACKED);
}

static void large_leaves(void **state)
{
	(void)state;
	map(BASE, 4 * MIB, LEVEL_2M);
	put(BASE, 1);
	put(BASE + 2 * MIB, 2);
	lru_drain(arena.host);
	assert_int_equal(space_lazyfree(space, hva(BASE), 2 * MIB + PAGE_SIZE), STATUS_OK);
	assert_int_equal(entry(BASE).level, LEVEL_2M);
	assert_false(pte_dirty(pte_at(BASE)) || flags_at(BASE) & FOLIO_SWAPBACKED);
	/* Part of the second: its leaf is split, and none of it is given away. */
	assert_int_equal(entry(BASE + 2 * MIB).level, LEVEL_4K);
	assert_true(pte_dirty(pte_at(BASE + 2 * MIB)) &&
		    flags_at(BASE + 2 * MIB) & FOLIO_SWAPBACKED);
}

static void whose_memory(void **state)
{
	(void)state;
	map_written(BASE, 1);
	map_file(BASE + PAGE_SIZE, 1, PROTECTION_READ_WRITE, SHARING_PRIVATE);
	map_written(BASE + 2 * PAGE_SIZE, 1);
	assert_int_equal(space_lazyfree(space, hva(BASE), 3 * PAGE_SIZE), STATUS_NO_ACCESS);
	assert_int_equal(space_lazyfree(space, hva(BASE + 2 * PAGE_SIZE), 2 * PAGE_SIZE),
			 STATUS_NOT_FOUND);
	assert_true(pte_dirty(pte_at(BASE)) && pte_dirty(pte_at(BASE + 2 * PAGE_SIZE)));
	/* Two VMAs: a bracket each. */
	assert_int_equal(space_unmap(space, hva(BASE + PAGE_SIZE), PAGE_SIZE), STATUS_OK);
	assert_int_equal(space_map(space, hva(BASE + PAGE_SIZE), PAGE_SIZE, PROTECTION_READ,
				   LEVEL_4K), STATUS_OK);
	record(arena.host, STEP(RANGE_INIT));
	lazyfree(BASE, 3);
	expect_steps(TRACE_RANGE_INIT, TRACE_RANGE_INIT, TRACE_RANGE_INIT);
	assert_false(pte_dirty(pte_at(BASE)) || pte_dirty(pte_at(BASE + 2 * PAGE_SIZE)));
}

/* ------------------------------------------------------------------ cold, and out */

/* Linux: no bracket, for A alone goes. */
static void cooled(void **state)
{
	(void)state;
	map_written(BASE, 2);
	for (uint64_t i = 0; i < 2; i++) {
		folio_mark_accessed(arena.host, frame_at(BASE + i * PAGE_SIZE));
		folio_activate(arena.host, frame_at(BASE + i * PAGE_SIZE));
	}
	assert_true(flags_at(BASE) & FOLIO_ACTIVE);
	record(arena.host, STEP_ALL);
	assert_int_equal(space_cool(space, hva(BASE), PAGE_SIZE), STATUS_OK);
	expect_steps(TRACE_LRU_DRAIN, TRACE_GATHER, TRACE_PTE_MKOLD, TRACE_TLB_FLUSH);
	assert_false(flags_at(BASE) & (FOLIO_ACTIVE | FOLIO_ACCESSED));
	assert_false(pte_accessed(pte_at(BASE)));
	assert_true(pte_dirty(pte_at(BASE)) && pte_writable(pte_at(BASE)));
	assert_true(flags_at(BASE + PAGE_SIZE) & FOLIO_ACTIVE);
	assert_true(pte_accessed(pte_at(BASE + PAGE_SIZE)));
	assert_int_equal(space_cool(space, hva(BASE), 3 * PAGE_SIZE), STATUS_NOT_FOUND);
}

static void paged_out(void **state)
{
	uint64_t freed;

	(void)state;
	map_file(BASE, PAGES, PROTECTION_READ_WRITE, SHARING_SHARED);
	for (uint64_t i = 0; i < PAGES; i++)
		put(BASE + i * PAGE_SIZE, i + 1);
	assert_int_equal(space_page_out(space, hva(BASE), 5 * PAGE_SIZE, &freed), STATUS_OK);
	assert_int_equal(freed, 5);
	assert_int_equal(stored(4), 5);
	assert_int_equal(stored(5), 0);
	assert_true(pte_is_empty(pte_at(BASE + 4 * PAGE_SIZE)));
	assert_true(pte_dirty(pte_at(BASE + 5 * PAGE_SIZE)));
	assert_int_equal(get(BASE + 4 * PAGE_SIZE), 5);
	assert_int_equal(space_page_out(space, hva(OTHER), PAGE_SIZE, &freed), STATUS_NOT_FOUND);
	assert_int_equal(freed, 0);
}

/* More than fit into one go, and no reference stays behind. */
static void paged_out_in_parts(void **state)
{
	enum { MANY = 100 };
	uint64_t freed, at = BASE;

	(void)state;
	map_written(at, MANY);
	lazyfree(at, MANY);
	assert_int_equal(space_page_out(space, hva(at), MANY * PAGE_SIZE, &freed), STATUS_OK);
	assert_int_equal(freed, MANY);
	assert_int_equal(get(at + 50 * PAGE_SIZE), 0);
}

/* ------------------------------------------------------------------ S40: all who take D */

/*
 * The address of the page that every operation below works on; mapped and written as it needs it.
 */
static void prepare_anonymous(void) { map_written(BASE, 1); }
static void prepare_shared(void)
{
	map_file(BASE, 1, PROTECTION_READ_WRITE, SHARING_SHARED);
	put(BASE, 1);
}
static void prepare_private(void)
{
	map_file(BASE, 1, PROTECTION_READ_WRITE, SHARING_PRIVATE);
	put(BASE, 1);
}
static void prepare_lazyfree(void)
{
	map_written(BASE, 1);
	lazyfree(BASE, 1);
	put(BASE, 2);
}

static void do_writeback(void) { assert_int_equal(file_sync(file), STATUS_OK); }
static void do_lazyfree(void) { lazyfree(BASE, 1); }
static void do_unmap(void)
{
	assert_int_equal(space_unmap(space, hva(BASE), PAGE_SIZE), STATUS_OK);
}
static void do_discard(void)
{
	assert_int_equal(space_discard(space, hva(BASE), PAGE_SIZE), STATUS_OK);
}
static void do_clean_record(void)
{
	uint64_t bits = 0, count;
	struct clean_record record = { .bitmap = &bits };

	assert_int_equal(file_clean_record(file, 0, 1, &record, &count), STATUS_OK);
}
static void do_migrate(void)
{
	uint64_t moved;

	assert_int_equal(space_migrate(space, hva(BASE), PAGE_SIZE, &moved), STATUS_OK);
	assert_int_equal(moved, 1);
}
static void do_page_out(void)
{
	uint64_t freed;

	assert_int_equal(space_page_out(space, hva(BASE), PAGE_SIZE, &freed), STATUS_OK);
}
static struct space *child;
static void do_fork(void)
{
	assert_int_equal(space_fork(space, &child), STATUS_OK);
	put(BASE, 3);				/* and the copy that follows */
}
static void do_move(void)
{
	assert_int_equal(space_move(space, hva(BASE), PAGE_SIZE, hva(OTHER)), STATUS_OK);
	assert_int_equal(space_move(space, hva(OTHER), PAGE_SIZE, hva(BASE)), STATUS_OK);
}
/* Two pages with the same content become one. */
static void prepare_equal(void)
{
	map(BASE, 2 * PAGE_SIZE, LEVEL_4K);
	put(BASE, 1);
	put(BASE + PAGE_SIZE, 1);
	assert_int_equal(ksm_start(arena.host, 16), STATUS_OK);
	assert_int_equal(space_merge(space, hva(BASE), 2 * PAGE_SIZE), STATUS_OK);
}
static void do_merge(void)
{
	for (unsigned i = 0; i < 4; i++)
		ksm_scan(arena.host, 16);
	assert_int_equal(frame_at(BASE).raw, frame_at(BASE + PAGE_SIZE).raw);
}
static void do_protect(void)
{
	assert_int_equal(space_protect(space, hva(BASE), PAGE_SIZE, PROTECTION_READ), STATUS_OK);
	assert_true(pte_dirty(pte_at(BASE)));	/* D stays, and it is told all the same */
}

static const struct taker {
	const char *name;
	void (*prepare)(void), (*run)(void);
	bool takes;				/* D is gone afterwards, or the entry */
	enum mm_event event;
} takers[] = {
	{ "writeback (folio_mkclean)", prepare_shared, do_writeback, true, EVENT_PROTECTION_PAGE },
	{ "lazyfree (madvise_free_pte_range)", prepare_anonymous, do_lazyfree, true, EVENT_CLEAR },
	{ "record (clean_record_pte)", prepare_shared, do_clean_record, true,
	  EVENT_PROTECTION_PAGE },
	{ "unmap (zap_present_ptes)", prepare_shared, do_unmap, true, EVENT_UNMAP },
	{ "discard (zap_present_ptes)", prepare_private, do_discard, true, EVENT_CLEAR },
	{ "migration (try_to_migrate_one)", prepare_anonymous, do_migrate, true, EVENT_MIGRATE },
	{ "reclaim of a file's (try_to_unmap_one)", prepare_shared, do_page_out, true,
	  EVENT_CLEAR },
	{ "reclaim of lazyfree (try_to_unmap_one)", prepare_lazyfree, do_page_out, true,
	  EVENT_CLEAR },
	{ "fork, copy (copy_present_page, wp_page_copy)", prepare_anonymous, do_fork, true,
	  EVENT_PROTECTION_PAGE },
	{ "mremap (move_ptes)", prepare_anonymous, do_move, true, EVENT_UNMAP },
	{ "KSM (write_protect_page, replace_page)", prepare_equal, do_merge, true, EVENT_CLEAR },
	{ "protect (change_pte_range)", prepare_anonymous, do_protect, false,
	  EVENT_PROTECTION_VMA },
};

static void expect_taken_inside(const struct taker *taker)
{
	int depth = 0;
	unsigned taken = 0;

	for (unsigned i = 0; i < recording.count; i++) {
		enum trace_step step = recording.steps[i].step;
		bool d_goes = step == TRACE_PTE_MKCLEAN ||
			      (step == TRACE_PTE_CLEAR && recording.steps[i].value & PTE_D);

		depth += (step == TRACE_RANGE_START) - (step == TRACE_RANGE_END);
		if (d_goes && !depth)
			fail_msg("%s: step %u takes D outside a bracket", taker->name, i);
		taken += d_goes;
	}
	assert_int_equal(depth, 0);
	if (taker->takes && !taken)
		fail_msg("%s: no D was taken", taker->name);
	if (recording.steps[0].value != taker->event)
		fail_msg("%s: event %lu", taker->name, recording.steps[0].value);
}

static void s40_each_with_its_bracket(void **state)
{
	(void)state;
	for (unsigned i = 0; i < sizeof(takers) / sizeof(takers[0]); i++) {
		takers[i].prepare();
		assert_true(pte_dirty(pte_at(BASE)));
		record(arena.host, STEP(RANGE_START) | STEP(RANGE_END) | STEP(PTE_MKCLEAN) |
					   STEP(PTE_CLEAR));
		takers[i].run();
		arena.host->trace = NULL;
		expect_taken_inside(&takers[i]);
		if (child)
			space_destroy(child);
		child = NULL;
		assert_int_equal(space_unmap(space, hva(BASE), 2 * PAGE_SIZE), STATUS_OK);
		if (takers[i].run == do_merge)
			ksm_stop(arena.host);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		file_test(s61_order), file_test(s41_marks_go_and_w_stays),
		file_test(dropped_or_kept), file_test(passed_over), file_test(large_leaves),
		file_test(whose_memory),
		file_test(cooled), file_test(paged_out), file_test(paged_out_in_parts),
		file_test(s40_each_with_its_bracket),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
