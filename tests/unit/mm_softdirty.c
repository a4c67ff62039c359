/*
 * Soft dirty: what was written since somebody asked, by whom and whatever happened to the page
 * meanwhile.
 */
#include "tests/unit/file_fixture.h"
#include "tests/unit/trace_fixture.h"

static bool written(uint64_t address)
{
	bool was = false;

	assert_int_equal(space_soft_dirty(space, hva(address), &was), STATUS_OK);
	return was;
}

static uint64_t get(uint64_t at)
{
	uint64_t value = 0;

	assert_int_equal(space_read(space, hva(at), &value, sizeof(value)), STATUS_OK);
	return value;
}

static void pages_that_were_written(void **state)
{
	bool was;

	(void)state;
	map(BASE, 4 * PAGE_SIZE, LEVEL_4K);
	for (uint64_t i = 0; i < 3; i++)
		put(BASE + i * PAGE_SIZE, i);
	assert_true(written(BASE));
	assert_false(written(BASE + 3 * PAGE_SIZE));
	space_clear_soft_dirty(space);
	for (uint64_t i = 0; i < 4; i++)
		assert_false(written(BASE + i * PAGE_SIZE));
	put(BASE + PAGE_SIZE, 9);
	put(BASE + 3 * PAGE_SIZE, 9);
	assert_int_equal(get(BASE), 0);
	assert_false(written(BASE));
	assert_true(written(BASE + PAGE_SIZE));
	assert_false(written(BASE + 2 * PAGE_SIZE));
	assert_true(written(BASE + 3 * PAGE_SIZE));
	/* D says nothing of this, and stays. */
	assert_true(pte_dirty(entry(BASE).pte));
	assert_int_equal(space_soft_dirty(space, hva(BASE - 1), &was), STATUS_NOT_FOUND);
	assert_int_equal(space_soft_dirty(space, hva(SPACE_END), &was), STATUS_NOT_FOUND);
}

/* Linux: clear_refs_write: the bracket is about everything, and ends before the flush. */
static void order_of_steps(void **state)
{
	(void)state;
	map(BASE, 2 * PAGE_SIZE, LEVEL_4K);
	put(BASE, 1);
	put(BASE + PAGE_SIZE, 1);
	record(arena.host,
	       STEP(RANGE_START) | STEP(PTE_PROTECT) | STEP(TLB_FLUSH) | STEP(RANGE_END));
	space_clear_soft_dirty(space);
	expect_steps(TRACE_RANGE_START, TRACE_PTE_PROTECT, TRACE_PTE_PROTECT, TRACE_RANGE_END,
		     TRACE_TLB_FLUSH);
	assert_int_equal(recording.steps[0].subject, 0);
	assert_int_equal(recording.steps[0].value, EVENT_SOFT_DIRTY);
	/* What is clear already is not touched. */
	record(arena.host, STEP(PTE_PROTECT));
	space_clear_soft_dirty(space);
	expect_these(NULL, 0);
}

/* A right that comes back another way does not bring W without the mark. */
static void other_ways_to_a_right(void **state)
{
	(void)state;
	map(BASE, 3 * PAGE_SIZE, LEVEL_4K);
	put(BASE, 1);
	put(BASE + PAGE_SIZE, 1);
	space_clear_soft_dirty(space);
	assert_int_equal(space_protect(space, hva(BASE), PAGE_SIZE, PROTECTION_READ), STATUS_OK);
	assert_int_equal(space_protect(space, hva(BASE), PAGE_SIZE, PROTECTION_READ_WRITE),
			 STATUS_OK);
	assert_int_equal(space_hint(space, hva(BASE + PAGE_SIZE), PAGE_SIZE, HINT_AT_ONCE),
			 STATUS_OK);
	assert_int_equal(get(BASE + PAGE_SIZE), 1);
	for (uint64_t i = 0; i < 2; i++) {
		assert_false(pte_writable(entry(BASE + i * PAGE_SIZE).pte));
		assert_false(written(BASE + i * PAGE_SIZE));
		put(BASE + i * PAGE_SIZE, 2);
		assert_true(written(BASE + i * PAGE_SIZE));
	}
}

/* The mark moves with the page, and a hint does not hide it. */
static void mark_stays_with_the_page(void **state)
{
	uint64_t moved;

	(void)state;
	map(BASE, 2 * PAGE_SIZE, LEVEL_4K);
	put(BASE, 1);
	put(BASE + PAGE_SIZE, 1);
	space_clear_soft_dirty(space);
	put(BASE, 2);
	assert_int_equal(space_migrate(space, hva(BASE), 2 * PAGE_SIZE, &moved), STATUS_OK);
	assert_int_equal(moved, 2);
	assert_int_equal(space_hint(space, hva(BASE), 2 * PAGE_SIZE, HINT_AT_ONCE), STATUS_OK);
	assert_true(written(BASE));
	assert_false(written(BASE + PAGE_SIZE));
	space_clear_soft_dirty(space);
	assert_false(written(BASE));
	assert_int_equal(get(BASE), 2);
	assert_false(pte_writable(entry(BASE).pte));
}

static void large_and_shared(void **state)
{
	(void)state;
	map(BASE, 2 * MIB, LEVEL_2M);
	put(BASE, 1);
	map_file(2 * BASE, 1, PROTECTION_READ_WRITE, SHARING_SHARED);
	put(2 * BASE, 1);
	space_clear_soft_dirty(space);
	assert_false(written(BASE) || written(2 * BASE));
	put(BASE + MIB, 1);
	put(2 * BASE, 2);
	assert_true(written(BASE) && written(2 * BASE));
	assert_int_equal(file_sync(file), STATUS_OK);
	assert_int_equal(stored(0), 2);
}

/* A page that a device has keeps its place, and its mark there. */
static void page_lent_to_a_device(void **state)
{
	pfn_t frame;

	(void)state;
	map(BASE, PAGE_SIZE, LEVEL_4K);
	assert_int_equal(space_make_exclusive(space, hva(BASE), NULL, &frame), STATUS_OK);
	exclusive_done(arena.host, frame);
	assert_true(written(BASE));
	space_clear_soft_dirty(space);
	assert_false(written(BASE));
	assert_int_equal(get(BASE), 0);
	assert_false(pte_writable(entry(BASE).pte));
	put(BASE, 1);
	assert_true(written(BASE));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		file_test(pages_that_were_written), file_test(order_of_steps),
		file_test(other_ways_to_a_right), file_test(mark_stays_with_the_page),
		file_test(large_and_shared), file_test(page_lent_to_a_device),
	};

	return cmocka_run_group_tests_name("mm/softdirty", tests, NULL, NULL);
}
