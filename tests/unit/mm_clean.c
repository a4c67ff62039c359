/*
 * D that goes from entries which stay: for a record, and in every other operation that takes it. S
 * numbers are rows of the propagation table.
 */
#include "tests/unit/file_fixture.h"
#include "tests/unit/trace_fixture.h"

#define OTHER (BASE + GIB)

static uint64_t bitmap[1];
static struct clean_record record_of;

static uint64_t clean(uint64_t first, uint64_t pages)
{
	uint64_t count = 99;

	assert_int_equal(file_clean_record(file, first, pages, &record_of, &count), STATUS_OK);
	return count;
}

static int open_clean(void **state)
{
	bitmap[0] = 0;
	record_of = (struct clean_record){ .bitmap = bitmap };
	return open_file(state);
}

static pte_t pte_at(uint64_t at) { return entry(at).pte; }

/* S41, S42: D goes and W stays, so the next store sets D without a fault. */
static void s41_d_goes_and_w_stays(void **state)
{
	uint64_t faults;

	(void)state;
	map_file(BASE, PAGES, PROTECTION_READ_WRITE, SHARING_SHARED);
	put(BASE + 3 * PAGE_SIZE, 1);
	put(BASE + 5 * PAGE_SIZE, 1);
	assert_int_equal(clean(0, PAGES), 2);
	assert_int_equal(bitmap[0], 1 << 3 | 1 << 5);
	assert_int_equal(record_of.start, 3);
	assert_int_equal(record_of.end, 6);
	assert_false(pte_dirty(pte_at(BASE + 3 * PAGE_SIZE)));
	assert_true(pte_writable(pte_at(BASE + 3 * PAGE_SIZE)));
	assert_true(pte_accessed(pte_at(BASE + 3 * PAGE_SIZE)));

	assert_int_equal(clean(0, PAGES), 0);
	assert_int_equal(bitmap[0], 1 << 3 | 1 << 5);
	faults = host_read_count(arena.host, HOST_FAULTS);
	put(BASE + 3 * PAGE_SIZE, 2);
	assert_int_equal(host_read_count(arena.host, HOST_FAULTS), faults);
	assert_int_equal(clean(0, PAGES), 1);
	assert_int_equal(host_read_count(arena.host, HOST_MKCLEANS), 3);
	/* What the file is to be told it knows from the first store. */
	assert_int_equal(file_sync(file), STATUS_OK);
	assert_int_equal(stored(3), 2);
}

/*
 * Bits count from the page that was asked for, and only the pages that were asked for are touched.
 */
static void s41_part_of_a_file(void **state)
{
	(void)state;
	assert_int_equal(space_map_file(space, hva(BASE), 8 * PAGE_SIZE, PROTECTION_READ_WRITE,
					file, 4, SHARING_SHARED), STATUS_OK);
	for (uint64_t i = 0; i < 8; i++)
		put(BASE + i * PAGE_SIZE, 1);
	assert_int_equal(clean(2, 4), 2);		/* pages 4 and 5 of 2..5 */
	assert_int_equal(bitmap[0], 3 << 2);
	assert_int_equal(record_of.start, 2);
	assert_int_equal(record_of.end, 4);
	assert_true(pte_dirty(pte_at(BASE + 2 * PAGE_SIZE)));
	/* A second part, into the same record: its ends only move outwards. */
	assert_int_equal(clean(10, 2), 2);
	assert_int_equal(bitmap[0], 3 << 2 | 3);
	assert_int_equal(record_of.start, 0);
	assert_int_equal(record_of.end, 4);
	assert_int_equal(clean(12, 4), 0);
	assert_int_equal(clean(0, PAGES), 4);
}

/* Every shared VMA of every space; none that is private. */
static void s41_all_who_share(void **state)
{
	struct space *other;
	uint64_t value = 1;

	(void)state;
	map_file(BASE, PAGES, PROTECTION_READ_WRITE, SHARING_PRIVATE);
	map_file(OTHER, PAGES, PROTECTION_READ_WRITE, SHARING_SHARED);
	put(BASE, 1);
	assert_int_equal(clean(0, PAGES), 0);
	assert_true(pte_dirty(pte_at(BASE)));
	put(OTHER + PAGE_SIZE, 1);
	assert_int_equal(space_create(arena.host, &other), STATUS_OK);
	assert_int_equal(space_map_file(other, hva(BASE), PAGES * PAGE_SIZE, PROTECTION_READ_WRITE,
					file, 0, SHARING_SHARED), STATUS_OK);
	assert_int_equal(space_write(other, hva(BASE + PAGE_SIZE), &value, 8), STATUS_OK);
	assert_int_equal(space_write(other, hva(BASE + 2 * PAGE_SIZE), &value, 8), STATUS_OK);
	assert_int_equal(clean(0, PAGES), 3);
	assert_int_equal(bitmap[0], 1 << 1 | 1 << 2);
	space_destroy(other);
}

/* W goes, D stays; the next store faults, and the file is told once more. */
static void write_protect(void **state)
{
	uint64_t count;

	(void)state;
	map_file(BASE, PAGES, PROTECTION_READ_WRITE, SHARING_SHARED);
	put(BASE, 1);
	put(BASE + PAGE_SIZE, 1);
	assert_int_equal(file_write_protect(file, 1, 2, &count), STATUS_OK);
	assert_int_equal(count, 1);
	assert_true(pte_writable(pte_at(BASE)));
	assert_false(pte_writable(pte_at(BASE + PAGE_SIZE)));
	assert_true(pte_dirty(pte_at(BASE + PAGE_SIZE)));
	uint64_t faults = host_read_count(arena.host, HOST_FAULTS);

	put(BASE + PAGE_SIZE, 2);
	assert_int_equal(host_read_count(arena.host, HOST_FAULTS), faults + 1);
	assert_int_equal(file_sync(file), STATUS_OK);
	assert_int_equal(stored(1), 2);
}

static void ranges(void **state)
{
	static const struct { uint64_t first, pages; } cases[] = {
		{ 0, 0 }, { 0, PAGES + 1 }, { PAGES, 1 }, { 1, PAGES }, { 1, UINT64_MAX },
		{ UINT64_MAX, 1 }, { UINT64_MAX, 2 },
	};
	uint64_t count;

	(void)state;
	map_file(BASE, PAGES, PROTECTION_READ_WRITE, SHARING_SHARED);
	put(BASE, 1);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(file_clean_record(file, cases[i].first, cases[i].pages, &record_of,
						   &count), STATUS_BAD_RANGE);
		assert_int_equal(count, 0);
		assert_int_equal(file_write_protect(file, cases[i].first, cases[i].pages, &count),
				 STATUS_BAD_RANGE);
	}
	assert_true(pte_dirty(pte_at(BASE)) && pte_writable(pte_at(BASE)));
	assert_int_equal(bitmap[0], 0);
}

/* S43: listeners first, and no CPU that knows of the old D when they are let in again. */
static void s43_order(void **state)
{
	(void)state;
	map_file(BASE, PAGES, PROTECTION_READ_WRITE, SHARING_SHARED);
	put(BASE, 1);
	put(BASE + PAGE_SIZE, 1);
	record(arena.host, STEP_ALL & ~STEP(GATHER));
	clean(0, PAGES);
	assert_int_equal(recording.steps[0].value, EVENT_PROTECTION_PAGE);
	expect_steps(TRACE_RANGE_INIT, TRACE_RANGE_START, TRACE_PTE_MKCLEAN,
		     TRACE_PTE_MKCLEAN, TRACE_TLB_FLUSH, TRACE_RANGE_END);
}

#define clean_test(name) cmocka_unit_test_setup_teardown(name, open_clean, close_file)

int main(void)
{
	const struct CMUnitTest tests[] = {
		clean_test(s41_d_goes_and_w_stays), clean_test(s41_part_of_a_file),
		clean_test(s41_all_who_share), clean_test(write_protect), clean_test(ranges),
		clean_test(s43_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
