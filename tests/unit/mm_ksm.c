/* Equal pages become one (mm/ksm.c): which, when, and how they part again. */
#include "mm/daemon.h"
#include "tests/unit/file_fixture.h"

#define OTHER (BASE + GIB)

static uint64_t word_at(struct space *of, uint64_t at)
{
	uint64_t value = 0;

	assert_int_equal(space_read(of, hva(at), &value, sizeof(value)), STATUS_OK);
	return value;
}

static pfn_t frame_at(uint64_t at) { return pte_frame(entry(at).pte); }

static struct ksm_stats ksm(void)
{
	struct ksm_stats now;

	ksm_read_stats(arena.host, &now);
	return now;
}

/* Three pages at BASE with a word in the middle of each, in mergeable memory. */
static void three_pages(uint64_t a, uint64_t b, uint64_t c)
{
	map(BASE, 3 * PAGE_SIZE, LEVEL_4K);
	put(BASE + 0x800, a);
	put(BASE + PAGE_SIZE + 0x800, b);
	put(BASE + 2 * PAGE_SIZE + 0x800, c);
	assert_int_equal(space_merge(space, hva(BASE), 3 * PAGE_SIZE), STATUS_OK);
}

/* A round, and the step that finds out that it is one. */
static void scan(void)
{
	ksm_scan(arena.host, 100);
	space_verify(space);
}

static int open_ksm(void **state)
{
	return open_file(state) || ksm_start(arena.host, 8) != STATUS_OK ? -1 : 0;
}

static int close_ksm(void **state)
{
	ksm_stop(arena.host);
	return close_file(state);
}

static void equal_pages_become_one(void **state)
{
	(void)state;
	three_pages(1, 2, 1);
	pfn_t first = frame_at(BASE);

	scan();
	assert_int_equal(frame_at(BASE).raw, first.raw);
	assert_int_equal(frame_at(BASE + 2 * PAGE_SIZE).raw, first.raw);
	assert_int_not_equal(frame_at(BASE + PAGE_SIZE).raw, first.raw);
	assert_int_equal(ksm().shared, 1);
	assert_int_equal(ksm().sharing, 1);
	assert_true(atomic_read(&folio_of(arena.host, first)->flags) & FOLIO_KSM);
	assert_false(pte_writable(entry(BASE).pte) || pte_own(entry(BASE).pte));
	assert_int_equal(folio_mapcount(arena.host, first), 2);
	assert_int_equal(folio_refcount(arena.host, first), 3);
	scan();						/* they are one: nothing more to do */
	assert_int_equal(ksm().sharing, 1);

	put(BASE + 0x800, 5);				/* a store parts them */
	assert_int_equal(word_at(space, BASE + 0x800), 5);
	assert_int_equal(word_at(space, BASE + 2 * PAGE_SIZE + 0x800), 1);
	put(BASE + 2 * PAGE_SIZE + 0x800, 6);		/* the last one, too */
	assert_int_not_equal(frame_at(BASE + 2 * PAGE_SIZE).raw, first.raw);
	assert_int_equal(ksm().shared, 0);
	uint64_t before = pages_free();

	scan();
	assert_int_equal(pages_free(), before + 1);
}

/* Linux: stable_tree_search. */
static void later_pages_join(void **state)
{
	(void)state;
	three_pages(1, 2, 1);
	scan();
	put(BASE + PAGE_SIZE + 0x800, 1);
	scan();
	assert_int_equal(ksm().shared, 1);
	assert_int_equal(ksm().sharing, 2);
	assert_int_equal(frame_at(BASE).raw, frame_at(BASE + PAGE_SIZE).raw);
}

static void across_processes(void **state)
{
	struct space *second;
	uint64_t value = 1;

	(void)state;
	three_pages(1, 2, 3);
	assert_int_equal(space_create(arena.host, &second), STATUS_OK);
	assert_int_equal(space_map(second, hva(OTHER), PAGE_SIZE, PROTECTION_READ_WRITE, LEVEL_4K),
			 STATUS_OK);
	assert_int_equal(space_write(second, hva(OTHER + 0x800), &value, 8), STATUS_OK);
	scan();
	assert_int_equal(ksm().shared, 0);		/* nobody has advised it */
	assert_int_equal(space_merge(second, hva(OTHER), PAGE_SIZE), STATUS_OK);
	scan();
	assert_int_equal(ksm().sharing, 1);
	space_verify(second);
	space_destroy(space);
	space = second;
	assert_int_equal(word_at(space, OTHER + 0x800), 1);
	value = 2;
	assert_int_equal(space_write(space, hva(OTHER + 0x800), &value, 8), STATUS_OK);
	assert_int_equal(word_at(space, OTHER + 0x800), 2);
}

/* A store while pages are looked at: before the scan's nth step of one kind. */
static struct {
	struct trace trace;
	enum trace_step step;
	unsigned nth;
	uint64_t at;
	bool by_cpu;			/* with the lock held: what a CPU does that knows of W */
	bool done;
} meddler;

static void on_step(struct trace *self, enum trace_step step, uint64_t subject, uint64_t value)
{
	(void)self;
	(void)subject;
	(void)value;
	if (step != meddler.step || meddler.nth--)
		return;
	arena.host->trace = NULL;
	meddler.done = true;
	if (!meddler.by_cpu) {
		put(meddler.at, 9);
		return;
	}
	struct place place = entry(meddler.at);

	assert_true(pte_writable(place.pte));
	((uint64_t *)pfn_to_ptr(pte_frame(place.pte)))[0x800 / 8] = 9;
}

static void meddle(enum trace_step step, unsigned nth, uint64_t at, bool by_cpu)
{
	meddler.trace.step = on_step;
	meddler.step = step;
	meddler.nth = nth;
	meddler.at = at;
	meddler.by_cpu = by_cpu;
	meddler.done = false;
	arena.host->trace = &meddler.trace;
	scan();
	assert_true(meddler.done);
	arena.host->trace = NULL;
	assert_int_equal(word_at(space, at), 9);
}

#define FIRST (BASE + 0x800)
#define SECOND (BASE + 2 * PAGE_SIZE + 0x800)

/* Before the hint; and before the comparison that counts, when a store must copy. */
static void stores_before_a_comparison(void **state)
{
	(void)state;
	three_pages(1, 2, 1);
	meddle(TRACE_FOLIO_COMPARE, 0, SECOND, false);
	assert_int_equal(ksm().shared, 0);
	put(SECOND, 1);
	meddle(TRACE_FOLIO_COMPARE, 1, SECOND, false);
	assert_int_equal(ksm().sharing, 0);
	assert_int_equal(word_at(space, FIRST), 1);
}

/*
 * Between the hint and the moment when the second page is write-protected: it is compared once
 * more.
 */
static void stores_after_the_hint(void **state)
{
	(void)state;
	three_pages(1, 2, 1);
	meddle(TRACE_REF_TEST, 0, SECOND, true);
	assert_int_equal(ksm().sharing, 0);
	assert_int_equal(word_at(space, FIRST), 1);
}

/* And the first: it is not what it was seen to be, so nothing comes of it. */
static void stores_to_what_was_seen(void **state)
{
	(void)state;
	three_pages(1, 2, 1);
	meddle(TRACE_RANGE_INIT, 0, FIRST, true);
	assert_int_equal(ksm().shared, 0);
	assert_int_equal(word_at(space, SECOND), 1);
}

/* Linux: write_protect_page: somebody may be writing there. */
static void held_pages_stay(void **state)
{
	struct mm_page page;

	(void)state;
	three_pages(1, 2, 1);
	assert_int_equal(gup_get(space, hva(BASE), GUP_WRITE, &page), STATUS_OK);
	scan();
	scan();
	assert_int_equal(ksm().sharing, 0);
	assert_true(pte_writable(entry(BASE).pte) && pte_own(entry(BASE).pte));
	((uint64_t *)pfn_to_ptr(page.frame))[0x800 / 8] = 4;
	gup_put_dirty(arena.host, page.frame);
	assert_int_equal(word_at(space, BASE + 0x800), 4);
	assert_int_equal(word_at(space, BASE + 2 * PAGE_SIZE + 0x800), 1);
}

static void who_is_left_alone(void **state)
{
	uint64_t moved;

	(void)state;
	map(BASE, 2 * MIB, LEVEL_2M);			/* large */
	map_file(OTHER, 2, PROTECTION_READ_WRITE, SHARING_SHARED);	/* a file's */
	put(BASE, 1);
	put(OTHER, 1);
	put(OTHER + PAGE_SIZE, 1);
	assert_int_equal(space_merge(space, hva(BASE), 2 * MIB), STATUS_OK);
	assert_int_equal(space_merge(space, hva(OTHER), 2 * PAGE_SIZE), STATUS_OK);
	assert_int_equal(ksm_scan(arena.host, 100), 0);
	assert_int_equal(space_unmap(space, hva(BASE), 2 * MIB), STATUS_OK);
	three_pages(1, 1, 2);
	scan();
	assert_int_equal(ksm().sharing, 1);
	assert_int_equal(space_migrate(space, hva(BASE), 2 * PAGE_SIZE, &moved), STATUS_OK);
	assert_int_equal(moved, 0);
	ksm_stop(arena.host);
	assert_int_equal(space_unmap(space, hva(BASE), PAGE_SIZE), STATUS_OK);
	assert_int_equal(space_migrate(space, hva(BASE + PAGE_SIZE), PAGE_SIZE, &moved), STATUS_OK);
	assert_int_equal(moved, 0);
	put(BASE + PAGE_SIZE, 3);
}

static void unmerged(void **state)
{
	(void)state;
	three_pages(1, 1, 1);
	assert_int_equal(space_protect(space, hva(BASE), PAGE_SIZE, PROTECTION_READ), STATUS_OK);
	scan();
	assert_int_equal(ksm().sharing, 2);
	assert_int_equal(space_unmerge(space, hva(BASE), 2 * PAGE_SIZE), STATUS_OK);
	assert_int_equal(ksm().sharing, 0);
	assert_int_not_equal(frame_at(BASE).raw, frame_at(BASE + PAGE_SIZE).raw);
	assert_false(pte_writable(entry(BASE).pte));
	assert_true(pte_writable(entry(BASE + PAGE_SIZE).pte));
	for (uint64_t i = 0; i < 3; i++)
		assert_int_equal(word_at(space, BASE + i * PAGE_SIZE + 0x800), 1);
	scan();
	assert_int_equal(ksm().sharing, 0);
	assert_int_equal(space_merge(space, hva(OTHER), PAGE_SIZE), STATUS_NOT_FOUND);
	assert_int_equal(space_unmerge(space, hva(OTHER), PAGE_SIZE), STATUS_NOT_FOUND);
}

/* The flag outlives KSM: the last entry's store copies, too. */
static void merged_for_ever(void **state)
{
	(void)state;
	three_pages(1, 1, 2);
	scan();
	pfn_t merged = frame_at(BASE);

	ksm_stop(arena.host);
	assert_int_equal(space_unmap(space, hva(BASE), PAGE_SIZE), STATUS_OK);
	assert_int_equal(folio_refcount(arena.host, merged), 1);
	put(BASE + PAGE_SIZE, 3);
	assert_int_not_equal(frame_at(BASE + PAGE_SIZE).raw, merged.raw);
	assert_int_equal(word_at(space, BASE + PAGE_SIZE + 0x800), 1);
}

/* No room for more merged pages: the rest stay as they are. */
static void limits(void **state)
{
	(void)state;
	assert_int_equal(ksm_start(arena.host, 8), STATUS_EXISTS);
	ksm_stop(arena.host);
	assert_int_equal(ksm_scan(arena.host, 8), 0);
	assert_int_equal(ksm().shared, 0);
	ksm_stop(arena.host);
	assert_int_equal(ksm_start(arena.host, 0), STATUS_BAD_RANGE);
	assert_int_equal(ksm_start(arena.host, (1 << 24) + 1), STATUS_BAD_RANGE);
	assert_int_equal(ksm_start(arena.host, 1), STATUS_OK);
	three_pages(1, 1, 2);
	map(OTHER, 2 * PAGE_SIZE, LEVEL_4K);
	put(OTHER, 3);
	put(OTHER + PAGE_SIZE, 3);
	assert_int_equal(space_merge(space, hva(OTHER), 2 * PAGE_SIZE), STATUS_OK);
	scan();
	scan();
	assert_int_equal(ksm().shared, 1);
	assert_int_equal(ksm().sharing, 1);
}

/* So many pages a step, round after round. */
static void as_a_job(void **state)
{
	(void)state;
	three_pages(1, 2, 1);
	assert_int_equal(daemon_start(arena.host, DAEMON_KSM, (struct daemon_rate){ 10, 2 }),
			 STATUS_OK);
	assert_true(daemon_step(arena.host, DAEMON_KSM, 0));
	assert_int_equal(ksm().sharing, 0);
	assert_true(daemon_step(arena.host, DAEMON_KSM, 10));
	assert_int_equal(ksm().sharing, 1);
	daemon_stop(arena.host, DAEMON_KSM);
	/* Another is at it. */
	atomic_write(&arena.host->ksm_busy, 1);
	assert_int_equal(ksm_scan(arena.host, 100), 0);
	atomic_write(&arena.host->ksm_busy, 0);
}

#define KSM(test) cmocka_unit_test_setup_teardown(test, open_ksm, close_ksm)

int main(void)
{
	const struct CMUnitTest tests[] = {
		KSM(equal_pages_become_one), KSM(later_pages_join), KSM(across_processes),
		KSM(stores_before_a_comparison),
		KSM(stores_after_the_hint), KSM(stores_to_what_was_seen), KSM(held_pages_stay),
		KSM(who_is_left_alone),
		KSM(unmerged), KSM(merged_for_ever), KSM(limits), KSM(as_a_job),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
