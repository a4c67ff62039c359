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

static int open_rings_only(void **state)
{
	const struct log_options only = { .kind = LOG_RING_ONLY };

	(void)open_rings(state);
	assert_int_equal(ept_log_disable(ept, gfn(0)), STATUS_OK);
	assert_int_equal(ept_log_enable(ept, gfn(0), &only), STATUS_OK);
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

/* ------------------------------------------------------------------ no bitmap */

static enum fault_result try_on(unsigned cpu, uint64_t page)
{
	port_set_cpu(cpu);
	enum fault_result result = soft_store(&soft[cpu], gpa(page * PAGE_SIZE), 0x11);

	soft_leave(&soft[cpu]);
	port_set_cpu(0);
	return result;
}

static void fill(unsigned cpu)
{
	for (uint64_t page = 0; page < ENTRIES; page++)
		store_on(cpu, page * PAGE_SIZE, 1);
	all_leave();
}

static uint64_t in_memory(uint64_t page)
{
	uint64_t value = 0;

	assert_int_equal(space_read(space, hva(BACKING + page * PAGE_SIZE), &value, 8), STATUS_OK);
	return value;
}

/* Nothing changes, and nothing is stored, as long as the ring has no room; then it is. */
static void expect_full(uint64_t page)
{
	spte_t before = leaf(page * PAGE_SIZE);

	assert_int_equal(try_on(1, page), FAULT_RING_FULL);
	assert_int_equal(leaf(page * PAGE_SIZE).bits, before.bits);
	assert_int_equal(in_memory(page), 0);
	assert_int_equal(ept_ring_harvest(rings[1], frames, ENTRIES), ENTRIES);
	assert_int_equal(try_on(1, page), FAULT_RING_FULL);	/* harvested entries are not free */
	assert_int_equal(ept_ring_reset(ept, rings[1]), ENTRIES);
	assert_int_equal(try_on(1, page), FAULT_FIXED);
	assert_int_equal(in_memory(page), 0x11);
	expect_frames(1, 1, &page);
	assert_int_equal(ept_ring_reset(ept, rings[1]), 1);
	assert_false(leaf(page * PAGE_SIZE).bits & SPTE_W);
}

/* U33: a leaf that lacks W alone. */
static void u33_only_full(void **state)
{
	(void)state;
	assert_int_equal(load_on(1, 100 * PAGE_SIZE), 0);
	fill(1);
	assert_false(leaf(100 * PAGE_SIZE).bits & SPTE_W);
	expect_full(100);
}

/* U33: one that nothing maps yet. */
static void u33_only_full_and_unmapped(void **state)
{
	(void)state;
	fill(1);
	assert_false(spte_present(leaf(100 * PAGE_SIZE)));
	expect_full(100);
}

/* U33: what another CPU has listed may be stored to, and read may be everything. */
static void u33_only_full_and_harmless(void **state)
{
	(void)state;
	fill(1);
	store_on(2, 100 * PAGE_SIZE, 5);
	assert_int_equal(try_on(1, 100), FAULT_FIXED);
	assert_int_equal(load_on(1, 200 * PAGE_SIZE), 0);
	assert_true(leaf(200 * PAGE_SIZE).bits & SPTE_R);
	assert_false(leaf(200 * PAGE_SIZE).bits & SPTE_W);
	expect_frames(2, 1, (const uint64_t[]){ 100 });
}

/* U33: it lists no store, so it makes none. */
static void u33_only_without_a_ring(void **state)
{
	(void)state;
	(void)load_on(3, 8 * PAGE_SIZE);
	assert_int_equal(try_on(3, 8), FAULT_RING_FULL);
	assert_int_equal(try_on(3, 9), FAULT_RING_FULL);
	assert_false(leaf(8 * PAGE_SIZE).bits & SPTE_W);
	assert_false(spte_present(leaf(9 * PAGE_SIZE)));
	assert_int_equal(ept_log_disable(ept, gfn(0)), STATUS_OK);
	assert_int_equal(try_on(3, 8), FAULT_FIXED);
}

/* U33: a device's store is made up to where the log begins, and no further. */
static void u33_only_and_a_device(void **state)
{
	const struct log_options only = { .kind = LOG_RING_ONLY };
	static uint64_t page[2 * PAGE_SIZE / 8];
	uint64_t frame = PAGES;

	(void)state;
	map_host(BACKING + PAGES * PAGE_SIZE, PAGE_SIZE, LEVEL_4K);
	add_region(PAGES + 1, 1, BACKING + PAGES * PAGE_SIZE, LEVEL_4K);
	memset(page, 0x33, sizeof(page));
	assert_int_equal(ept_write_guest(ept, gpa(8 * PAGE_SIZE), page, 8), STATUS_UNSUPPORTED);
	assert_int_equal(in_memory(8), 0);
	assert_int_equal(ept_write_guest(ept, gpa((PAGES + 1) * PAGE_SIZE), page, 8), STATUS_OK);
	assert_int_equal(in_memory(PAGES), page[0]);
	/* Beside it, and into it. */
	assert_int_equal(ept_region_move(ept, gfn(PAGES + 1), gfn(PAGES)), STATUS_OK);
	assert_int_equal(ept_log_disable(ept, gfn(0)), STATUS_OK);
	assert_int_equal(ept_log_enable(ept, gfn(PAGES), &only), STATUS_OK);
	page[PAGE_SIZE / 8] = 0x44;
	assert_int_equal(ept_write_guest(ept, gpa((PAGES - 1) * PAGE_SIZE), page, 2 * PAGE_SIZE),
			 STATUS_UNSUPPORTED);
	assert_int_equal(in_memory(PAGES - 1), page[0]);
	assert_int_equal(in_memory(PAGES), page[0]);
	store_on(2, frame * PAGE_SIZE, 6);
	expect_frames(2, 1, &frame);
	assert_int_equal(ept_log_disable(ept, gfn(PAGES)), STATUS_OK);
	assert_int_equal(ept_write_guest(ept, gpa(PAGES * PAGE_SIZE), page, 8), STATUS_OK);
}

static void only_refused(void **state)
{
	const struct log_options manual = { .kind = LOG_RING_ONLY, .manual = true };
	const struct log_options set = { .kind = LOG_RING_ONLY, .initially_set = true };

	(void)state;
	words[0] = 7;
	assert_int_equal(ept_log_get(ept, gfn(0), words), STATUS_UNSUPPORTED);
	assert_int_equal(ept_log_clear(ept, gfn(0), 0, PAGES, words), STATUS_UNSUPPORTED);
	assert_int_equal(words[0], 7);
	assert_int_equal(ept_log_get(ept, gfn(1), words), STATUS_NOT_FOUND);
	assert_int_equal(ept_log_disable(ept, gfn(0)), STATUS_OK);
	assert_int_equal(ept_log_clear(ept, gfn(0), 0, PAGES, words), STATUS_NOT_FOUND);
	assert_int_equal(ept_log_enable(ept, gfn(0), &manual), STATUS_UNSUPPORTED);
	assert_int_equal(ept_log_enable(ept, gfn(0), &set), STATUS_UNSUPPORTED);
}

/* It takes none for a bitmap, and gives none back. */
static void only_without_memory(void **state)
{
	const struct log_options only = { .kind = LOG_RING_ONLY }, with = { .kind = LOG_RING };
	struct host_stats before, now;

	(void)state;
	assert_int_equal(ept_log_disable(ept, gfn(0)), STATUS_OK);
	host_read_stats(arena.host, &before);
	arena_fail_after(&arena, 0);
	assert_int_equal(ept_log_enable(ept, gfn(0), &with), STATUS_NO_MEMORY);
	assert_int_equal(ept_log_enable(ept, gfn(0), &only), STATUS_OK);
	arena_fail_after(&arena, -1);
	host_read_stats(arena.host, &now);
	assert_int_equal(now.pages_free, before.pages_free);
	assert_int_equal(ept_log_disable(ept, gfn(0)), STATUS_OK);
	assert_int_equal(ept_log_enable(ept, gfn(0), &only), STATUS_OK);
	assert_int_equal(ept_region_remove(ept, gfn(0)), STATUS_OK);
	assert_int_equal(try_on(1, 8), FAULT_NO_REGION);
	add_region(0, PAGES, BACKING, LEVEL_4K);
	assert_int_equal(ept_log_enable(ept, gfn(0), &only), STATUS_OK);	/* until the end */
}

/* A large leaf, whose other pages stay; with the other kind beside it, in the same ring. */
static void u33_only_of_a_large_leaf(void **state)
{
	const struct log_options lazy = { .kind = LOG_RING_ONLY, .lazy = true };

	(void)state;
	assert_int_equal(ept_log_disable(ept, gfn(0)), STATUS_OK);
	map_host(BACKING + 2 * MIB, 2 * MIB, LEVEL_2M);
	add_region(512, 512, BACKING + 2 * MIB, LEVEL_2M);
	store_on(1, 2 * MIB, 1);
	assert_int_equal(level_at(2 * MIB), LEVEL_2M);
	assert_int_equal(ept_log_enable(ept, gfn(512), &lazy), STATUS_OK);
	assert_int_equal(ept_log_enable(ept, gfn(0), &(struct log_options){ .kind = LOG_RING }),
			 STATUS_OK);
	fill(1);
	assert_int_equal(try_on(1, 600), FAULT_RING_FULL);
	assert_int_equal(level_at(2 * MIB), LEVEL_2M);
	assert_int_equal(try_on(1, 100), FAULT_FIXED);
	assert_int_equal(in_bitmap(), 1);
	assert_int_equal(ept_ring_harvest(rings[1], frames, ENTRIES), ENTRIES);
	assert_int_equal(ept_ring_reset(ept, rings[1]), ENTRIES);
	assert_int_equal(try_on(1, 600), FAULT_FIXED);
	assert_int_equal(level_at(2 * MIB), LEVEL_4K);
	expect_frames(1, 1, (const uint64_t[]){ 600 });
}

/* ------------------------------------------------------------------ ends, and refusals */

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
#define only_test(name) cmocka_unit_test_setup_teardown(name, open_rings_only, close_rings)
	const struct CMUnitTest tests[] = {
		ring_test(u33_in_order), ring_test(u33_in_parts), ring_test(u33_full),
		ring_test(without_a_ring), ring_test(of_a_log_that_has_ended), ring_test(refused),
		only_test(u33_only_full), only_test(u33_only_full_and_unmapped),
		only_test(u33_only_full_and_harmless), only_test(u33_only_without_a_ring),
		only_test(u33_only_and_a_device), only_test(u33_only_of_a_large_leaf),
		only_test(only_refused), only_test(only_without_memory),
	};

	return cmocka_run_group_tests_name("ept/ring", tests, NULL, NULL);
}
