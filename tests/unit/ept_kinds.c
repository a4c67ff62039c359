/*
 * Guest memory that is not paged: named frames, with or without folios, and secret memory. Numbers
 * in names are rows of the propagation table.
 */
#include "tests/unit/ept_fixture.h"

static void name_frames(uint64_t bytes, pfn_t first, unsigned level, enum counting counting)
{
	assert_int_equal(space_map_frames(space, hva(BACKING), bytes, PROTECTION_READ_WRITE, first,
					  level, counting), STATUS_OK);
	add_region(0, bytes >> PAGE_SHIFT, BACKING, level);
}

static pfn_t driver_block(unsigned order)
{
	pfn_t frame;

	assert_int_equal(folio_alloc_zeroed(arena.host, order, &frame), STATUS_OK);
	return frame;
}

/* S85: tails of a block with one count, and frames that are reserved: they map, work, and unmap. */
static void s85_frames_without_a_count(void **state)
{
	pfn_t block = driver_block(2);

	(void)state;
	name_frames(3 * PAGE_SIZE, pfn_add(block, 1), LEVEL_4K, FRAMES_BARE);
	for (uint64_t i = 0; i < 3; i++) {
		store_on(1, i * PAGE_SIZE, i + 85);
		assert_int_equal(load_on(2, i * PAGE_SIZE), i + 85);
		assert_int_equal(*(uint64_t *)pfn_to_ptr(pfn_add(block, i + 1)), i + 85);
	}
	ept_verify(ept);
	assert_int_equal(folio_refcount(arena.host, block), 1);
	assert_int_equal(space_unmap(space, hva(BACKING), 3 * PAGE_SIZE), STATUS_OK);
	assert_int_equal(level_at(0), 0);
	assert_int_equal(fault(0, ACCESS_READ), FAULT_NO_HOST);
	assert_false(folio_dirty(arena.host, block) || folio_accessed(arena.host, block));
	assert_int_equal(folio_refcount(arena.host, block), 1);
	folio_put(arena.host, block);
}

/* S86: no RAM of the host's at all, in leaves of each size. */
static void s86_device_memory(void **state)
{
	(void)state;
	for (unsigned level = LEVEL_4K; level <= LEVEL_1G; level++) {
		pfn_t device = pfn(64 * GIB >> PAGE_SHIFT);

		name_frames(level_bytes(level), device, level, FRAMES_BARE);
		assert_int_equal(fault(level_bytes(level) - 1, ACCESS_WRITE), FAULT_FIXED);
		unsigned found;
		spte_t leaf = leaf_at(0, &found);

		assert_int_equal(found, level);
		assert_int_equal(spte_frame(leaf).raw, level == found ? device.raw : 0);
		ept_verify(ept);
		/* Once more: found in place. */
		assert_int_equal(fault(0, ACCESS_WRITE), FAULT_SPURIOUS);
		assert_int_equal(ept_region_remove(ept, gfn(0)), STATUS_OK);
		assert_int_equal(space_unmap(space, hva(BACKING), level_bytes(level)), STATUS_OK);
	}
	assert_int_equal(host_read_count(arena.host, HOST_MARKS_DIRTY), 0);
	assert_int_equal(host_read_count(arena.host, HOST_MARKS_ACCESSED), 0);
}

/* The same block, counted: it is marked, as every folio that the guest gets. */
static void counted_frames_are_marked(void **state)
{
	pfn_t block = driver_block(9);

	(void)state;
	name_frames(2 * MIB, block, LEVEL_2M, FRAMES_COUNTED);
	store_on(1, MIB, 1);
	assert_int_equal(level_at(0), LEVEL_2M);
	assert_true(folio_dirty(arena.host, block) && folio_accessed(arena.host, block));
	/* S95: the entry of the EPT has no reference. */
	assert_int_equal(folio_refcount(arena.host, block), 2);
	folio_put(arena.host, block);
}

/* S94, S7: entries over a page with a folio and over one without differ in their frame alone. */
static void s7_s94_entries_know_no_folio(void **state)
{
	pfn_t block = driver_block(0);
	unsigned level;

	(void)state;
	name_frames(PAGE_SIZE, block, LEVEL_4K, FRAMES_COUNTED);
	assert_int_equal(space_map_frames(space, hva(BACKING + PAGE_SIZE), PAGE_SIZE,
					  PROTECTION_READ_WRITE, pfn_add(block, 1 << 20), LEVEL_4K,
					  FRAMES_BARE), STATUS_OK);
	add_region(1, 1, BACKING + PAGE_SIZE, LEVEL_4K);
	assert_int_equal(fault(0, ACCESS_WRITE), FAULT_FIXED);
	assert_int_equal(fault(PAGE_SIZE, ACCESS_WRITE), FAULT_FIXED);
	uint64_t with = leaf_at(0, &level).bits, without = leaf_at(PAGE_SIZE, &level).bits;

	assert_int_equal(without - with, UINT64_C(1) << 32);
	folio_put(arena.host, block);
}

/*
 * S87: a fault over a page that is there walks the primary tables once; the level is the smaller
 * one.
 */
static void s87_one_walk_a_fault(void **state)
{
	static const struct { unsigned host, region, level; } cases[] = {
		{ LEVEL_4K, LEVEL_1G, LEVEL_4K }, { LEVEL_2M, LEVEL_1G, LEVEL_2M },
		{ LEVEL_2M, LEVEL_4K, LEVEL_4K },
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		uint64_t at = i * GIB, value = 1;

		map_host(BACKING + at, 2 * MIB, cases[i].host);
		add_region(at >> PAGE_SHIFT, 512, BACKING + at, cases[i].region);
		assert_int_equal(space_write(space, hva(BACKING + at), &value, 1), STATUS_OK);
		uint64_t walks = host_read_count(arena.host, HOST_WALKS);
		uint64_t slow = host_read_count(arena.host, HOST_SLOW_LOOKUPS);

		assert_int_equal(fault(at, ACCESS_WRITE), FAULT_FIXED);
		assert_int_equal(level_at(at), cases[i].level);
		assert_int_equal(host_read_count(arena.host, HOST_WALKS), walks + 1);
		assert_int_equal(host_read_count(arena.host, HOST_SLOW_LOOKUPS), slow);
	}
}

/* S90: a guest does not get at it, whether or not the process has used it. */
static void s90_secret_memory(void **state)
{
	uint64_t value = 90;

	(void)state;
	assert_int_equal(space_map_secret(space, hva(BACKING), PAGE_SIZE, PROTECTION_READ_WRITE),
			 STATUS_OK);
	add_region(0, 1, BACKING, LEVEL_4K);
	assert_int_equal(fault(0, ACCESS_READ), FAULT_NO_HOST);
	assert_int_equal(space_write(space, hva(BACKING), &value, sizeof(value)), STATUS_OK);
	assert_int_equal(fault(0, ACCESS_READ), FAULT_NO_HOST);
	assert_int_equal(fault(0, ACCESS_WRITE), FAULT_NO_HOST);
	assert_int_equal(level_at(0), 0);
}

/* ------------------------------------------------------------------ memory that no process maps */

static struct memfd *memfd;

static void lend_memfd(uint64_t frame, uint64_t pages, uint64_t from)
{
	struct region region = { gfn(frame), pages, hva(from * PAGE_SIZE), REGION_READ_WRITE,
				 LEVEL_1G };

	assert_int_equal(ept_region_add_memfd(ept, &region, memfd), STATUS_OK);
}

static int open_memfd(void **state)
{
	open_small(state);
	return memfd_create(arena.host, 16, &memfd) == STATUS_OK ? 0 : -1;
}

static int close_memfd(void **state)
{
	(void)state;
	all_leave();
	ept_verify(ept);
	ept_destroy(ept);
	assert_int_equal(memfd_destroy(memfd), STATUS_OK);
	space_destroy(space);
	arena_close(&arena);
	return 0;
}

/* S35: a guest's store makes the folio dirty when it asks for the page; a load does not. */
static void s35_a_guests_own_memory(void **state)
{
	struct mm_page page;

	(void)state;
	lend_memfd(512, 8, 2);
	assert_int_equal(load_on(1, 2 * MIB), 0);
	assert_int_equal(memfd_peek(memfd, 2, &page), STATUS_OK);
	assert_true(folio_accessed(arena.host, page.frame));
	assert_false(folio_dirty(arena.host, page.frame));
	uint64_t marks = host_read_count(arena.host, HOST_MARKS_DIRTY);

	store_on(1, 2 * MIB, 35);
	assert_int_equal(load_on(2, 2 * MIB), 35);
	assert_true(folio_dirty(arena.host, page.frame));
	assert_int_equal(host_read_count(arena.host, HOST_MARKS_DIRTY), marks + 1);
	assert_int_equal(*(uint64_t *)pfn_to_ptr(page.frame), 35);
	assert_int_equal(folio_refcount(arena.host, page.frame), 1);
	assert_int_equal(memfd_filled(memfd), 1);
	ept_verify(ept);
	/* No process's: a device finds no address for it, nor does a region of a space. */
	assert_int_equal(ept_read_guest(ept, gpa(2 * MIB), &marks, 1), STATUS_NO_ACCESS);
	assert_int_equal(ept_write_guest(ept, gpa(2 * MIB), &marks, 1), STATUS_NO_ACCESS);
}

/* Punched pages are gone from the guest before they are free; all others stay. */
static void punched_under_the_guest(void **state)
{
	(void)state;
	lend_memfd(0, 8, 0);
	lend_memfd(16, 8, 4);			/* pages 4 to 7 twice */
	map_host(BACKING, PAGE_SIZE, LEVEL_4K);
	add_region(64, 1, BACKING, LEVEL_4K);
	store_on(1, 64 * PAGE_SIZE, 64);
	for (uint64_t i = 0; i < 8; i++)
		store_on(1, i * PAGE_SIZE, i + 1);
	assert_int_equal(load_on(2, 16 * PAGE_SIZE), 5);
	assert_int_equal(memfd_punch(memfd, 4, 2), STATUS_OK);
	assert_int_equal(level_at(4 * PAGE_SIZE), 0);
	assert_int_equal(level_at(16 * PAGE_SIZE), 0);
	assert_int_equal(level_at(3 * PAGE_SIZE), LEVEL_4K);
	assert_int_equal(level_at(64 * PAGE_SIZE), LEVEL_4K);
	ept_verify(ept);
	assert_int_equal(load_on(1, 4 * PAGE_SIZE), 0);
	assert_int_equal(load_on(2, 16 * PAGE_SIZE), 0);
	assert_int_equal(load_on(2, 7 * PAGE_SIZE), 8);
	assert_int_equal(ept_region_remove(ept, gfn(0)), STATUS_OK);
	store_on(2, 18 * PAGE_SIZE, 9);
	assert_int_equal(memfd_punch(memfd, 0, 16), STATUS_OK);
	assert_int_equal(level_at(18 * PAGE_SIZE), 0);
	assert_int_equal(memfd_filled(memfd), 0);
}

static void regions_of_a_memfd(void **state)
{
	struct region region = { gfn(0), 16, hva(0), REGION_READ_WRITE, LEVEL_1G };
	struct region bad = region;

	(void)state;
	bad.pages = 17;
	assert_int_equal(ept_region_add_memfd(ept, &bad, memfd), STATUS_BAD_RANGE);
	bad.pages = 1;
	bad.backing = hva(16 * PAGE_SIZE);
	assert_int_equal(ept_region_add_memfd(ept, &bad, memfd), STATUS_BAD_RANGE);
	bad.backing = hva(1);
	assert_int_equal(ept_region_add_memfd(ept, &bad, memfd), STATUS_BAD_RANGE);
	bad.backing = hva(SPACE_END);
	assert_int_equal(ept_region_add(ept, &bad), STATUS_BAD_RANGE);
	/* What was refused listens no more: as often as one likes. */
	assert_int_equal(ept_region_add_memfd(ept, &region, memfd), STATUS_OK);
	for (unsigned i = 0; i < 2 * REGIONS_MAX; i++)
		assert_int_equal(ept_region_add_memfd(ept, &region, memfd), STATUS_EXISTS);
	for (unsigned i = 0; i < 2 * REGIONS_MAX; i++) {
		assert_int_equal(memfd_destroy(memfd), STATUS_EXISTS);
		assert_int_equal(ept_region_remove(ept, gfn(0)), STATUS_OK);
		assert_int_equal(ept_region_add_memfd(ept, &region, memfd), STATUS_OK);
	}
	for (unsigned i = 1; i < REGIONS_MAX; i++)
		lend_memfd(16 * i, 1, i % 16);
	region.start = gfn(1 << 20);
	assert_int_equal(ept_region_add_memfd(ept, &region, memfd), STATUS_LIMIT);
	assert_int_equal(fault(0, ACCESS_READ), FAULT_FIXED);
	arena_fail_after(&arena, 0);
	assert_int_equal(fault(PAGE_SIZE, ACCESS_READ), FAULT_NO_MEMORY);
	arena_fail_after(&arena, -1);
}

#define ept_test(name) cmocka_unit_test_setup_teardown(name, open_small, close_ept)
#define memfd_test(name) cmocka_unit_test_setup_teardown(name, open_memfd, close_memfd)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ept_test(s85_frames_without_a_count), ept_test(s86_device_memory),
		ept_test(counted_frames_are_marked), ept_test(s7_s94_entries_know_no_folio),
		ept_test(s87_one_walk_a_fault), ept_test(s90_secret_memory),
		memfd_test(s35_a_guests_own_memory), memfd_test(punched_under_the_guest),
		memfd_test(regions_of_a_memfd),
	};

	return cmocka_run_group_tests_name("ept/kinds", tests, NULL, NULL);
}
