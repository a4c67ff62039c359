/*
 * Rings of dirty pages: in order, none lost, whatever is
 * full. U numbers are rules of the propagation table.
 */
#include "ept/ring.h"
#include "tests/unit/ept_fixture.h"

enum { PAGES = 512, ENTRIES = 64 };

static struct ept_ring *rings[SOFT_CPUS];
static gfn_t frames[ENTRIES];
static uint64_t words[PAGES / 64];

static void use(unsigned cpu)
{
	assert_int_equal(ept_ring_create(ept, ENTRIES, &rings[cpu]), STATUS_OK);
	port_set_cpu(cpu);
	ept_ring_use(ept, rings[cpu]);
	port_set_cpu(0);
}

static int open_rings(void **state)
{
	const struct log_options ring = { .kind = LOG_RING };

	open_small(state);
	lend(PAGES * PAGE_SIZE, LEVEL_4K);
	assert_int_equal(ept_log_enable(ept, gfn(0), &ring), STATUS_OK);
	use(1);
	use(2);
	return 0;
}

static int close_rings(void **state)
{
	all_leave();
	for (unsigned cpu = 1; cpu <= 2; cpu++)
		ept_ring_destroy(ept, rings[cpu]);
	return close_ept(state);
}

static void expect_frames(unsigned cpu, unsigned count, const uint64_t *wanted)
{
	assert_int_equal(ept_ring_harvest(rings[cpu], frames, ENTRIES), count);
	for (unsigned i = 0; i < count; i++)
		assert_int_equal(frames[i].raw, wanted[i]);
}

static uint64_t in_bitmap(void)
{
	uint64_t pages = 0;

	memset(words, 0, sizeof(words));
	assert_int_equal(ept_log_get(ept, gfn(0), words), STATUS_OK);
	for (unsigned i = 0; i < PAGES / 64; i++)
		pages += (unsigned)__builtin_popcountll(words[i]);
	return pages;
}

/* U33: each vCPU's stores, in their order, once; again after a reset, not before. */
static void u33_in_order(void **state)
{
	(void)state;
	store_on(1, 7 * PAGE_SIZE, 1);
	store_on(2, 9 * PAGE_SIZE, 1);
	store_on(1, 3 * PAGE_SIZE, 1);
	store_on(1, 7 * PAGE_SIZE, 2);
	(void)load_on(1, 4 * PAGE_SIZE);
	expect_frames(1, 2, (const uint64_t[]){ 7, 3 });
	expect_frames(2, 1, (const uint64_t[]){ 9 });
	store_on(1, 7 * PAGE_SIZE, 3);
	expect_frames(1, 0, NULL);
	assert_int_equal(ept_ring_reset(ept, rings[1]), 2);
	assert_int_equal(ept_ring_reset(ept, rings[1]), 0);
	store_on(2, 7 * PAGE_SIZE, 4);
	store_on(1, 3 * PAGE_SIZE, 4);
	store_on(2, 9 * PAGE_SIZE, 4);			/* not reset yet */
	expect_frames(2, 1, (const uint64_t[]){ 7 });
	expect_frames(1, 1, (const uint64_t[]){ 3 });
	assert_int_equal(in_bitmap(), 0);
}

/* Some at a time: what was not harvested is not reset. */
static void u33_in_parts(void **state)
{
	(void)state;
	for (uint64_t page = 0; page < 6; page++)
		store_on(1, page * PAGE_SIZE, 1);
	assert_int_equal(ept_ring_harvest(rings[1], frames, 4), 4);
	assert_int_equal(ept_ring_reset(ept, rings[1]), 4);
	store_on(1, 5 * PAGE_SIZE, 2);
	store_on(1, 0, 2);
	expect_frames(1, 3, (const uint64_t[]){ 4, 5, 0 });
}

/* U33: it says so before it is full; what there is no room for is in the bitmap. */
static void u33_full(void **state)
{
	(void)state;
	for (uint64_t page = 0; page < ENTRIES + 10; page++) {
		assert_int_equal(ept_ring_is_full(rings[1]), page >= ENTRIES - EPT_RING_RESERVE);
		store_on(1, page * PAGE_SIZE, 1);
	}
	assert_int_equal(in_bitmap(), 10);
	assert_int_equal(ept_ring_harvest(rings[1], frames, ENTRIES), ENTRIES);
	assert_true(ept_ring_is_full(rings[1]));
	store_on(1, 100 * PAGE_SIZE, 1);		/* harvested entries are not free */
	assert_int_equal(in_bitmap(), 1);
	assert_int_equal(ept_ring_reset(ept, rings[1]), ENTRIES);
	assert_false(ept_ring_is_full(rings[1]));
	store_on(1, 5 * PAGE_SIZE, 2);
	expect_frames(1, 1, (const uint64_t[]){ 5 });
}

/* A device has no ring, nor has a CPU that uses none. */
static void without_a_ring(void **state)
{
	const uint64_t word = 5;

	(void)state;
	assert_int_equal(ept_write_guest(ept, gpa(8 * PAGE_SIZE), &word, 8), STATUS_OK);
	store_on(3, 70 * PAGE_SIZE, 1);
	assert_int_equal(in_bitmap(), 2);
	assert_true(words[0] == 1 << 8 && words[1] == 1 << 6);
	expect_frames(1, 0, NULL);
}

/* What is listed when its log ends is nobody's to protect. */
static void of_a_log_that_has_ended(void **state)
{
	(void)state;
	store_on(1, 0, 1);
	assert_int_equal(ept_log_disable(ept, gfn(0)), STATUS_OK);
	expect_frames(1, 1, (const uint64_t[]){ 0 });
	assert_int_equal(ept_ring_reset(ept, rings[1]), 1);
	uint64_t faults = stats()->faults[1];

	store_on(1, 0, 2);
	assert_int_equal(stats()->faults[1], faults);
}

static void refused(void **state)
{
	static const unsigned bad[] = { 0, 1, 32, 63, 65, 96, 65537, 131072, 1u << 31 };
	struct ept_ring *ring;

	(void)state;
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(ept_ring_create(ept, bad[i], &ring), STATUS_BAD_RANGE);
	arena_fail_after(&arena, 0);
	assert_int_equal(ept_ring_create(ept, ENTRIES, &ring), STATUS_NO_MEMORY);
	arena_fail_after(&arena, -1);
}

int main(void)
{
#define ring_test(name) cmocka_unit_test_setup_teardown(name, open_rings, close_rings)
	const struct CMUnitTest tests[] = {
		ring_test(u33_in_order), ring_test(u33_in_parts), ring_test(u33_full),
		ring_test(without_a_ring), ring_test(of_a_log_that_has_ended), ring_test(refused),
	};

	return cmocka_run_group_tests_name("ept/ring", tests, NULL, NULL);
}
