/* Memory for guests alone. Numbers in names are rows of the propagation table. */
#include "mm/reclaim.h"
#include "tests/unit/space_fixture.h"
#include "tests/unit/trace_fixture.h"

enum { PAGES = 16 };

static struct memfd *memfd;

static int open_memfd(void **state)
{
	return open_space(state) || memfd_create(arena.host, PAGES, &memfd) != STATUS_OK ? -1 : 0;
}

static int close_memfd(void **state)
{
	assert_int_equal(memfd_destroy(memfd), STATUS_OK);
	return close_space(state);
}

static struct mm_page find(uint64_t index, enum access access)
{
	struct mm_page page = { 0 };

	assert_int_equal(memfd_lookup(memfd, index, access, &page), STATUS_OK);
	return page;
}

/* S35: no entry says it later, so the folio does at once. */
static void s35_marked_where_it_is_found(void **state)
{
	struct mm_page page = find(3, ACCESS_READ);

	(void)state;
	assert_false(page.writable || page.refcounted);
	assert_int_equal(page.level, LEVEL_4K);
	assert_true(folio_accessed(arena.host, page.frame));
	assert_false(folio_dirty(arena.host, page.frame));
	assert_int_equal(*(uint64_t *)pfn_to_ptr(page.frame), 0);
	assert_int_equal(find(3, ACCESS_WRITE).frame.raw, page.frame.raw);
	assert_true(folio_dirty(arena.host, page.frame));
	assert_true(find(3, ACCESS_READ).writable);
	assert_int_equal(folio_refcount(arena.host, page.frame), 1);
	assert_int_equal(folio_mapcount(arena.host, page.frame), 0);
	assert_int_equal(memfd_filled(memfd), 1);
}

/* S36: on no list, so reclaim, which takes from lists and by name, takes nothing. */
static void s36_nothing_reclaims_it(void **state)
{
	pfn_t frames[PAGES];
	uint64_t value = 36, again;

	(void)state;
	for (unsigned i = 0; i < PAGES; i++) {
		frames[i] = find(i, i & 1 ? ACCESS_WRITE : ACCESS_READ).frame;
		assert_false(atomic_read(&page_folio(arena.host, frames[i])->flags) &
			     FOLIO_ON_LIST);
	}
	memcpy(pfn_to_ptr(frames[1]), &value, sizeof(value));
	assert_int_equal(host_reclaim(arena.host, 1000), 0);
	assert_int_equal(memfd_filled(memfd), PAGES);
	memcpy(&again, pfn_to_ptr(find(1, ACCESS_READ).frame), sizeof(again));
	assert_int_equal(again, 36);
}

static struct ear {
	struct notifier notifier;
	struct mm_range range;
	unsigned starts, ends;
	pfn_t frame;
} ear;

/* When it is told, the page is there still; nobody has it when start returns. */
static void on_start(struct notifier *self, const struct mm_range *range)
{
	struct ear *me = container_of(self, struct ear, notifier);

	me->range = *range;
	me->starts++;
	assert_int_equal(folio_refcount(arena.host, me->frame), 1);
}

static void on_end(struct notifier *self, const struct mm_range *range)
{
	struct ear *me = container_of(self, struct ear, notifier);

	assert_int_equal(range->start.raw, me->range.start.raw);
	assert_int_equal(me->starts, ++me->ends);
}

static const struct notifier_ops ear_ops = { .start = on_start, .end = on_end };

static void punched_in_a_bracket(void **state)
{
	(void)state;
	ear = (struct ear){ .notifier.ops = &ear_ops, .frame = find(5, ACCESS_WRITE).frame };
	find(4, ACCESS_READ);
	find(7, ACCESS_READ);
	memfd_register(memfd, &ear.notifier);
	assert_int_equal(memfd_destroy(memfd), STATUS_EXISTS);
	record(arena.host, STEP(RANGE_START) | STEP(FOLIO_FREE) | STEP(RANGE_END));
	assert_int_equal(memfd_punch(memfd, 5, 2), STATUS_OK);
	expect_steps(TRACE_RANGE_START, TRACE_FOLIO_FREE, TRACE_RANGE_END);
	assert_int_equal(ear.ends, 1);
	assert_int_equal(ear.range.start.raw, 5 * PAGE_SIZE);
	assert_int_equal(ear.range.end.raw, 7 * PAGE_SIZE);
	assert_int_equal(memfd_filled(memfd), 2);
	memfd_unregister(memfd, &ear.notifier);
	assert_int_equal(memfd_punch(memfd, 0, PAGES), STATUS_OK);
	assert_int_equal(ear.starts, 1);
	assert_int_equal(*(uint64_t *)pfn_to_ptr(find(5, ACCESS_READ).frame), 0);
	assert_false(find(5, ACCESS_READ).writable);
}

static void bad_pages(void **state)
{
	struct mm_page page;
	struct memfd *none;

	(void)state;
	assert_int_equal(memfd_create(arena.host, 0, &none), STATUS_BAD_RANGE);
	assert_int_equal(memfd_create(arena.host, NO_FRAME, &none), STATUS_BAD_RANGE);
	assert_int_equal(memfd_lookup(memfd, PAGES, ACCESS_READ, &page), STATUS_NOT_FOUND);
	assert_int_equal(memfd_peek(memfd, PAGES, &page), STATUS_NOT_FOUND);
	assert_int_equal(memfd_peek(memfd, 0, &page), STATUS_NOT_FOUND);
	assert_int_equal(memfd_punch(memfd, 0, 0), STATUS_BAD_RANGE);
	assert_int_equal(memfd_punch(memfd, 0, PAGES + 1), STATUS_BAD_RANGE);
	assert_int_equal(memfd_punch(memfd, PAGES, 1), STATUS_BAD_RANGE);
	assert_int_equal(memfd_punch(memfd, 1, UINT64_MAX), STATUS_BAD_RANGE);
	arena_fail_after(&arena, 0);
	assert_int_equal(memfd_lookup(memfd, 0, ACCESS_READ, &page), STATUS_NO_MEMORY);
	arena_fail_after(&arena, 0);
	assert_int_equal(memfd_create(arena.host, 1, &none), STATUS_NO_MEMORY);
	arena_fail_after(&arena, -1);
	find(0, ACCESS_READ);
	assert_int_equal(memfd_peek(memfd, 0, &page), STATUS_OK);
	assert_int_equal(page.frame.raw, find(0, ACCESS_READ).frame.raw);
	assert_int_equal(memfd_pages(memfd), PAGES);
}

#define memfd_test(name) cmocka_unit_test_setup_teardown(name, open_memfd, close_memfd)

int main(void)
{
	const struct CMUnitTest tests[] = {
		memfd_test(s35_marked_where_it_is_found), memfd_test(s36_nothing_reclaims_it),
		memfd_test(punched_in_a_bracket), memfd_test(bad_pages),
	};

	return cmocka_run_group_tests_name("mm/memfd", tests, NULL, NULL);
}
