/*
 * A large folio becomes small ones: each page with what it had, and nobody notices but the
 * allocator.
 */
#include "mm/lru.h"
#include "mm/rmap.h"
#include "tests/unit/ept_fixture.h"
#include "tests/unit/lock_fixture.h"
#include "tests/unit/trace_fixture.h"

enum { PAGES = 512 };

static pfn_t head;			/* of the folio at BACKING */

static uint64_t address(uint64_t page) { return BACKING + page * PAGE_SIZE; }
static pte_t entry_of(struct space *of, uint64_t page) NOT_CHECKED
{
	return table_find(of, address(page)).pte;
}
static pte_t entry(uint64_t page) { return entry_of(space, page); }
static struct folio *folio(uint64_t page) { return page_folio(arena.host, pfn_add(head, page)); }

static void put(uint64_t page, uint64_t value)
{
	assert_int_equal(space_write(space, hva(address(page)), &value, 8), STATUS_OK);
}

static uint64_t get(struct space *of, uint64_t page)
{
	uint64_t value = 0;

	assert_int_equal(space_read(of, hva(address(page)), &value, 8), STATUS_OK);
	return value;
}

/* 2 MiB at BACKING in one folio, a value in each page, seen by the guest as well. */
static int open_huge(void **state)
{
	open_small(state);
	lend(2 * MIB, LEVEL_2M);
	for (uint64_t page = 0; page < PAGES; page++)
		put(page, page + 1);
	head = host_frame(BACKING);
	return folio_order(arena.host, head) == level_order(LEVEL_2M) ? 0 : -1;
}

static pfn_t kept_frame(uint64_t page) { return pfn_add(head, page); }

/* As a caller does who has found the folio: a reference and the lock; afterwards its page's. */
static enum status split(uint64_t page)
{
	folio_get(arena.host, kept_frame(page));
	folio_lock(arena.host, kept_frame(page));
	enum status status = folio_split(arena.host, kept_frame(page));

	assert_true(folio_is_locked(arena.host, kept_frame(page)));
	folio_unlock(arena.host, kept_frame(page));
	folio_put(arena.host, kept_frame(page));
	return status;
}

static void expect_small(uint64_t first, uint64_t last, uint32_t mapcount)
{
	for (uint64_t page = first; page < last; page++) {
		assert_int_equal(folio_order(arena.host, kept_frame(page)), 0);
		assert_int_equal(folio_head(arena.host, kept_frame(page)).raw, head.raw + page);
		assert_int_equal(folio_mapcount(arena.host, kept_frame(page)), mapcount);
		assert_int_equal(folio_refcount(arena.host, kept_frame(page)), mapcount);
		assert_false(folio_is_locked(arena.host, kept_frame(page)));
		assert_int_equal(folio(page)->index, (uint32_t)(address(page) >> PAGE_SHIFT));
		assert_int_equal(folio(page)->family, space->family);
	}
}

static void contents(uint64_t first, uint64_t last)
{
	for (uint64_t page = first; page < last; page++)
		assert_int_equal(get(space, page), page + 1);
}

static void whole_leaf(void **state)
{
	(void)state;
	assert_int_equal(entry(0).bits & PTE_PS, PTE_PS);
	assert_int_equal(split(300), STATUS_OK);
	expect_small(0, PAGES, 1);
	contents(0, PAGES);
	/* Small already: nothing to do. */
	assert_int_equal(split(3), STATUS_OK);
	expect_small(0, PAGES, 1);
}

/* What an entry says, it says afterwards: rights, A, D, whose it is. */
static void entries_are_kept(void **state) NOT_CHECKED
{
	static uint64_t before[PAGES];

	(void)state;
	assert_int_equal(space_split(space, hva(BACKING), 2 * MIB), STATUS_OK);
	assert_int_equal(space_protect(space, hva(address(7)), PAGE_SIZE, PROTECTION_READ),
			 STATUS_OK);
	assert_int_equal(space_protect(space, hva(address(8)), PAGE_SIZE, PROTECTION_NONE),
			 STATUS_OK);
	for (uint64_t page = 0; page < PAGES; page++) {
		pte_slot_t *slot = table_make(space, address(page), LEVEL_4K);

		if (page & 1)
			atomic_and(slot, ~PTE_A);
		if (page & 2)
			atomic_and(slot, ~PTE_D);
		if (page & 4)
			atomic_or(slot, PTE_SOFT);
		if (page & 16)
			atomic_and(slot, ~PTE_OWN);
		before[page] = entry(page).bits;
	}
	assert_int_equal(split(0), STATUS_OK);
	for (uint64_t page = 0; page < PAGES; page++)
		assert_int_equal(entry(page).bits, before[page]);
	expect_small(0, PAGES, 1);
}

/* The folio's marks are every page's; no page's D is another's. */
static void marks_are_shared_out(void **state)
{
	uint32_t marks = FOLIO_DIRTY | FOLIO_ACCESSED | FOLIO_ANON | FOLIO_SWAPBACKED |
			 FOLIO_ACTIVE | FOLIO_YOUNG | FOLIO_IDLE | FOLIO_UPTODATE;

	(void)state;
	atomic_or(&folio(0)->flags, marks);
	assert_int_equal(split(0), STATUS_OK);
	for (uint64_t page = 0; page < PAGES; page++) {
		assert_int_equal(atomic_read(&folio(page)->flags) & ~FOLIO_ON_LIST,
				 FOLIO_USED | marks);
		assert_true(atomic_read(&folio(page)->flags) & FOLIO_ON_LIST);
	}
}

static void clean_stays_clean(void **state)
{
	(void)state;
	atomic_and(&folio(0)->flags, ~(FOLIO_DIRTY | FOLIO_ACCESSED | FOLIO_SWAPBACKED));
	assert_int_equal(split(0), STATUS_OK);
	for (uint64_t page = 0; page < PAGES; page++)
		assert_int_equal(atomic_read(&folio(page)->flags) & ~FOLIO_ON_LIST,
				 FOLIO_USED | FOLIO_ANON);
}

/* What nobody maps is free. The one that the caller holds is the caller's. */
static void unmapped_pages_are_freed(void **state)
{
	uint64_t free_before;

	(void)state;
	assert_int_equal(space_unmap(space, hva(address(0)), 100 * PAGE_SIZE), STATUS_OK);
	assert_int_equal(space_discard(space, hva(address(500)), 12 * PAGE_SIZE), STATUS_OK);
	free_before = page_count_free(arena.host);
	folio_get(arena.host, head);
	folio_lock(arena.host, kept_frame(3));
	assert_int_equal(folio_split(arena.host, kept_frame(3)), STATUS_OK);
	assert_int_equal(page_count_free(arena.host), free_before + 111);
	assert_int_equal(folio_refcount(arena.host, kept_frame(3)), 1);
	folio_unlock(arena.host, kept_frame(3));
	folio_put(arena.host, kept_frame(3));
	assert_int_equal(page_count_free(arena.host), free_before + 112);
	expect_small(100, 500, 1);
	contents(100, 500);
	host_verify(arena.host);
}

/* Nobody maps any of it: the caller keeps one page. */
static void nobody_maps_it(void **state)
{
	uint64_t free_before = page_count_free(arena.host);
	pfn_t frame;

	(void)state;
	assert_int_equal(folio_alloc(arena.host, 3, &frame), STATUS_OK);
	folio_make_anon(arena.host, frame, 1, 2);
	folio_lock(arena.host, frame);
	assert_int_equal(folio_split(arena.host, pfn_add(frame, 5)), STATUS_OK);
	assert_int_equal(page_count_free(arena.host), free_before - 1);
	folio_unlock(arena.host, pfn_add(frame, 5));
	folio_put(arena.host, pfn_add(frame, 5));
	host_verify(arena.host);
}

/* ------------------------------------------------------------------ several that map it */

static void shared_by_fork(void **state)
{
	struct space *child;

	(void)state;
	assert_int_equal(space_fork(space, &child), STATUS_OK);
	assert_int_equal(folio_mapcount(arena.host, head), 2);
	assert_int_equal(space_unmap(child, hva(address(0)), 10 * PAGE_SIZE), STATUS_OK);
	assert_int_equal(space_unmap(space, hva(address(5)), 10 * PAGE_SIZE), STATUS_OK);
	assert_int_equal(split(200), STATUS_OK);
	/* 0 to 4: the parent's, 5 to 9: nobody's, 10 to 14: the child's. */
	expect_small(0, 5, 1);
	expect_small(10, 15, 1);
	expect_small(15, PAGES, 2);
	for (uint64_t page = 15; page < PAGES; page++)
		assert_int_equal(get(child, page), page + 1);
	contents(15, PAGES);
	space_verify(child);
	put(20, 7);
	assert_int_equal(get(child, 20), 21);
	expect_small(21, 22, 2);
	space_destroy(child);
	expect_small(21, PAGES, 1);
}

/* More than can be locked at once. */
static void shared_by_too_many(void **state)
{
	struct space *children[RMAP_SPACES];

	(void)state;
	for (unsigned i = 0; i < RMAP_SPACES; i++)
		assert_int_equal(space_fork(space, &children[i]), STATUS_OK);
	assert_int_equal(split(0), STATUS_IN_USE);
	assert_int_equal(folio_order(arena.host, head), level_order(LEVEL_2M));
	space_destroy(children[2]);
	assert_int_equal(split(0), STATUS_OK);
	expect_small(0, PAGES, RMAP_SPACES);
	for (unsigned i = 0; i < RMAP_SPACES; i++)
		if (i != 2)
			space_destroy(children[i]);
	assert_int_equal(atomic_read(&space->users), 1);
}

/* ------------------------------------------------------------------ refused */

static void somebody_holds_it(void **state)
{
	static uint64_t before[PAGES];

	(void)state;
	assert_int_equal(space_split(space, hva(BACKING), 2 * MIB), STATUS_OK);
	for (uint64_t page = 0; page < PAGES; page++)
		before[page] = entry(page).bits;
	folio_get(arena.host, kept_frame(9));
	record(arena.host, STEP(RANGE_START) | STEP(PTE_CLEAR));
	assert_int_equal(split(0), STATUS_IN_USE);
	expect_steps();
	folio_put(arena.host, kept_frame(9));
	for (uint64_t page = 0; page < PAGES; page++)
		assert_int_equal(entry(page).bits, before[page]);
	assert_int_equal(folio_refcount(arena.host, head), PAGES);
	assert_int_equal(split(0), STATUS_OK);
}

/* A reference that comes when all entries are parked: seen by the freeze alone. */
static struct { struct trace trace; bool done; } late;

static void get_late(struct trace *self, enum trace_step step, uint64_t subject, uint64_t value)
{
	(void)self;
	(void)subject;
	(void)value;
	if (step == TRACE_TLB_FLUSH && !late.done) {
		late.done = true;
		folio_get(arena.host, head);
	}
}

static void found_late(void **state)
{
	static uint64_t before[PAGES];

	(void)state;
	assert_int_equal(space_split(space, hva(BACKING), 2 * MIB), STATUS_OK);
	for (uint64_t page = 0; page < PAGES; page++)
		before[page] = entry(page).bits;
	late.trace.step = get_late;
	late.done = false;
	arena.host->trace = &late.trace;
	assert_int_equal(split(77), STATUS_IN_USE);
	arena.host->trace = NULL;
	assert_true(late.done);
	for (uint64_t page = 0; page < PAGES; page++)
		assert_int_equal(entry(page).bits, before[page]);
	assert_int_equal(folio_mapcount(arena.host, head), PAGES);
	assert_int_equal(folio_refcount(arena.host, head), PAGES + 1);
	folio_put(arena.host, head);
	contents(0, PAGES);
}

static void no_memory(void **state)
{
	(void)state;
	arena_fail_after(&arena, 0);
	assert_int_equal(split(0), STATUS_NO_MEMORY);
	arena_fail_after(&arena, -1);
	assert_int_equal(folio_order(arena.host, head), level_order(LEVEL_2M));
	assert_int_equal(folio_refcount(arena.host, head), 1);
	contents(0, PAGES);
}

/* Not a process's memory, or on its way elsewhere. */
static void other_kinds(void **state)
{
	const uint32_t busy[] = { FOLIO_WRITEBACK, FOLIO_SWAPCACHE, FOLIO_KSM, FOLIO_POOLED,
				  FOLIO_SECRET };
	pfn_t frame;

	(void)state;
	for (unsigned i = 0; i < sizeof(busy) / sizeof(*busy); i++) {
		atomic_or(&folio(0)->flags, busy[i]);
		assert_int_equal(split(0), STATUS_IN_USE);
		atomic_and(&folio(0)->flags, ~busy[i]);
	}
	assert_int_equal(folio_alloc(arena.host, 2, &frame), STATUS_OK);
	folio_lock(arena.host, frame);
	assert_int_equal(folio_split(arena.host, frame), STATUS_IN_USE);
	folio_unlock(arena.host, frame);
	assert_true(panics((void)(folio_split(arena.host, frame) == STATUS_OK), "folio_is_locked"));
	folio_put(arena.host, frame);
}

/* ------------------------------------------------------------------ order, locks, the guest */

/* Linux: unmap_folio, folio_ref_freeze, remap_page. */
static void in_order(void **state)
{
	enum { ALL = STEP(RANGE_START) | STEP(PTE_CLEAR) | STEP(TLB_FLUSH) | STEP(REF_FREEZE) |
		     STEP(PTE_SET) | STEP(RANGE_END) };

	(void)state;
	assert_int_equal(space_unmap(space, hva(address(0)), 510 * PAGE_SIZE), STATUS_OK);
	record(arena.host, ALL);
	assert_int_equal(split(511), STATUS_OK);
	assert_int_equal(recording.steps[0].value, EVENT_CLEAR);
	expect_steps(TRACE_RANGE_START, TRACE_PTE_CLEAR, TRACE_PTE_CLEAR, TRACE_TLB_FLUSH,
		     TRACE_REF_FREEZE, TRACE_PTE_SET, TRACE_PTE_SET, TRACE_RANGE_END);
}

/* One bracket, from the first leaf to the last; the guest finds everything again. */
static void seen_by_a_guest(void **state)
{
	uint64_t brackets;

	(void)state;
	for (uint64_t page = 0; page < PAGES; page++)
		store_on(1, page * PAGE_SIZE, page + 1);
	assert_int_equal(level_at(0), LEVEL_2M);
	brackets = stats()->invalidations;
	assert_int_equal(split(0), STATUS_OK);
	assert_int_equal(stats()->invalidations, brackets + 1);
	assert_int_equal(level_at(0), 0);
	for (uint64_t page = 0; page < PAGES; page++)
		assert_int_equal(load_on(1, page * PAGE_SIZE), page + 1);
	assert_int_equal(level_at(0), LEVEL_4K);
	for (uint64_t page = 0; page < PAGES; page++)
		store_on(1, page * PAGE_SIZE, page + 1);
	expect_small(0, PAGES, 1);
}

static pfn_t pairs[2];
static unsigned split_count;

static void op_split(void)
{
	pfn_t pair = pairs[split_count++];

	assert_int_equal(folio_split(arena.host, pair), STATUS_OK);
	folio_unlock(arena.host, pair);
	folio_put(arena.host, pair);
}

static void locks(void **state)
{
	(void)state;
	all_leave();
	split_count = 0;
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(folio_alloc(arena.host, 1, &pairs[i]), STATUS_OK);
		folio_make_anon(arena.host, pairs[i], 1, 2);
		folio_lock(arena.host, pairs[i]);
	}
	watch_locks(arena.host);
	takes(EXCLUSIVE, &space->lock, op_split);
	port_look_hook(NULL);
}

int main(void)
{
#define split_test(name) cmocka_unit_test_setup_teardown(name, open_huge, close_ept)
	const struct CMUnitTest tests[] = {
		split_test(whole_leaf), split_test(entries_are_kept),
		split_test(marks_are_shared_out),
		split_test(clean_stays_clean), split_test(unmapped_pages_are_freed),
		split_test(nobody_maps_it), split_test(shared_by_fork),
		split_test(shared_by_too_many), split_test(somebody_holds_it),
		split_test(found_late), split_test(no_memory), split_test(other_kinds),
		split_test(in_order), split_test(seen_by_a_guest), split_test(locks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
