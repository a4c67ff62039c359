/* Regions: what may be one, finding, removing, guest memory for devices. */
#include "tests/unit/ept_fixture.h"

#define GUEST_FRAMES (UINT64_C(1) << 36)
#define HOST_PAGES   (SPACE_END >> PAGE_SHIFT)

static void bad_input(void **state)
{
	static const struct {
		uint64_t start, pages, backing;
		unsigned level;
		enum status status;
	} cases[] = {
		{ 0, 0, BACKING, 1, STATUS_BAD_RANGE },
		{ 0, UINT64_MAX, BACKING, 1, STATUS_BAD_RANGE },
		{ UINT64_MAX, 1, BACKING, 1, STATUS_BAD_RANGE },
		{ UINT64_MAX, 2, BACKING, 1, STATUS_BAD_RANGE },
		{ GUEST_FRAMES, 1, BACKING, 1, STATUS_BAD_RANGE },
		{ GUEST_FRAMES - 1, 2, BACKING, 1, STATUS_BAD_RANGE },
		{ 1, GUEST_FRAMES, 0, 1, STATUS_BAD_RANGE },
		{ 100, 1, BACKING + 1, 1, STATUS_BAD_RANGE },
		{ 100, 1, BACKING + 0x800, 1, STATUS_BAD_RANGE },
		{ 100, 1, SPACE_END, 1, STATUS_BAD_RANGE },
		{ 100, 2, SPACE_END - PAGE_SIZE, 1, STATUS_BAD_RANGE },
		{ 100, 1, UINT64_MAX & PAGE_MASK, 1, STATUS_BAD_RANGE },
		{ 100, 2, UINT64_MAX & PAGE_MASK, 1, STATUS_BAD_RANGE },
		{ 100, HOST_PAGES + 1, 0, 1, STATUS_BAD_RANGE },
		{ 100, 1, BACKING, 0, STATUS_BAD_RANGE },
		{ 100, 1, BACKING, 4, STATUS_BAD_RANGE },
		{ 10, 1, BACKING, 1, STATUS_EXISTS },
		{ 13, 1, BACKING, 1, STATUS_EXISTS },
		{ 9, 2, BACKING, 1, STATUS_EXISTS },
		{ 12, 10, BACKING, 1, STATUS_EXISTS },
		{ 0, 100, BACKING, 1, STATUS_EXISTS },
		{ 14, 1, BACKING, 1, STATUS_OK },
		{ 9, 1, BACKING, 3, STATUS_OK },
		{ 0, 9, BACKING, 2, STATUS_OK },
		{ GUEST_FRAMES - 1, 1, SPACE_END - PAGE_SIZE, 1, STATUS_OK },
	};

	(void)state;
	add_region(10, 4, BACKING, LEVEL_4K);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct region region = { gfn(cases[i].start), cases[i].pages, hva(cases[i].backing),
					 REGION_READ_WRITE, cases[i].level };

		assert_int_equal(ept_region_add(ept, &region), cases[i].status);
	}
	for (uint64_t i = 0; i < ept->region_count; i++)
		assert_true(!i || ept->regions[i - 1].start.raw < ept->regions[i].start.raw);
	assert_int_equal(ept->region_count, 5);
}

static void limit(void **state)
{
	struct region region = { gfn(1000), 1, hva(BACKING), REGION_READ_ONLY, LEVEL_4K };

	(void)state;
	for (uint64_t i = REGIONS_MAX; i--;)
		add_region(2 * i, 1, BACKING, LEVEL_4K);
	assert_int_equal(ept_region_add(ept, &region), STATUS_LIMIT);
	assert_int_equal(ept_region_remove(ept, gfn(6)), STATUS_OK);
	assert_int_equal(ept_region_add(ept, &region), STATUS_OK);
	for (uint64_t frame = 0; frame < 2 * REGIONS_MAX + 2; frame++)
		assert_int_equal(ept_region_find(ept, gfn(frame), &region),
				 frame & 1 || frame == 6 || frame >= 2 * REGIONS_MAX
					 ? STATUS_NOT_FOUND : STATUS_OK);
}

static void find(void **state)
{
	struct region found;

	(void)state;
	add_region(10, 4, BACKING, LEVEL_4K);
	add_region(20, 1, BACKING + 16 * PAGE_SIZE, LEVEL_2M);
	assert_int_equal(ept_region_find(ept, gfn(9), &found), STATUS_NOT_FOUND);
	assert_int_equal(ept_region_find(ept, gfn(14), &found), STATUS_NOT_FOUND);
	assert_int_equal(ept_region_find(ept, gfn(21), &found), STATUS_NOT_FOUND);
	assert_int_equal(ept_region_find(ept, gfn(UINT64_MAX), &found), STATUS_NOT_FOUND);
	assert_int_equal(ept_region_find(ept, gfn(13), &found), STATUS_OK);
	assert_int_equal(found.start.raw, 10);
	assert_int_equal(found.pages, 4);
	assert_int_equal(ept_region_find(ept, gfn(20), &found), STATUS_OK);
	assert_int_equal(found.backing.raw, BACKING + 16 * PAGE_SIZE);
	assert_int_equal(found.max_level, LEVEL_2M);
}

/* Its leaves go, its neighbours' stay; tables that had nothing else are freed. */
static void remove_unmaps(void **state)
{
	(void)state;
	map_host(BACKING, 8 * MIB, LEVEL_4K);
	add_region(0, 1024, BACKING, LEVEL_4K);			/* 0 .. 4 MiB */
	add_region(1024, 513, BACKING + 4 * MIB, LEVEL_4K);	/* 4 MiB .. 6 MiB + 4 KiB */
	for (uint64_t at = 0; at < 6 * MIB; at += 256 * PAGE_SIZE)
		store_on(1, at, at + 1);
	store_on(1, 6 * MIB, 1);
	assert_int_equal(stats()->tables_allocated, 6);
	all_leave();

	assert_int_equal(ept_region_remove(ept, gfn(1)), STATUS_NOT_FOUND);
	assert_int_equal(ept_region_remove(ept, gfn(1024)), STATUS_OK);
	assert_int_equal(stats()->zapped[0], 3);
	assert_int_equal(stats()->tables_freed, 1);
	assert_int_equal(stats()->flushes, 1);
	assert_int_equal(level_at(4 * MIB), 0);
	assert_int_equal(level_at(6 * MIB), 0);
	assert_int_equal(level_at(2 * MIB), LEVEL_4K);
	assert_int_equal(fault(4 * MIB, ACCESS_READ), FAULT_NO_REGION);
	ept_verify(ept);
	assert_int_equal(ept_region_remove(ept, gfn(0)), STATUS_OK);
	assert_int_equal(stats()->tables_freed, 3);
	/* Nothing was mapped in it: no flush. */
	add_region(4096, 16, BACKING, LEVEL_4K);
	assert_int_equal(ept_region_remove(ept, gfn(4096)), STATUS_OK);
	assert_int_equal(stats()->flushes, 2);
}

static void devices(void **state)
{
	static char wrote[3 * PAGE_SIZE], read[3 * PAGE_SIZE];
	struct region rom = { gfn(8), 1, hva(BACKING + 8 * PAGE_SIZE), REGION_READ_ONLY, LEVEL_4K };

	(void)state;
	for (unsigned i = 0; i < sizeof(wrote); i++)
		wrote[i] = (char)(i * 7 + i / 256);
	map_host(BACKING, 16 * PAGE_SIZE, LEVEL_4K);
	/* Guest frames 2..7, backed in two parts, the second before the first. */
	add_region(2, 3, BACKING + 3 * PAGE_SIZE, LEVEL_4K);
	add_region(5, 3, BACKING, LEVEL_4K);
	assert_int_equal(ept_region_add(ept, &rom), STATUS_OK);

	assert_int_equal(ept_write_guest(ept, gpa(3 * PAGE_SIZE + 77), wrote, sizeof(wrote)),
			 STATUS_OK);
	assert_int_equal(ept_read_guest(ept, gpa(3 * PAGE_SIZE + 77), read, sizeof(read)),
			 STATUS_OK);
	assert_memory_equal(wrote, read, sizeof(read));
	assert_int_equal(space_read(space, hva(BACKING), read, 8), STATUS_OK);
	assert_memory_equal(read, wrote + 2 * PAGE_SIZE - 77, 8);
	assert_int_equal(ept_read_guest(ept, gpa(0), read, 0), STATUS_OK);

	assert_int_equal(ept_read_guest(ept, gpa(2 * PAGE_SIZE - 1), read, 2), STATUS_NOT_FOUND);
	assert_int_equal(ept_write_guest(ept, gpa(UINT64_MAX), wrote, 8), STATUS_NOT_FOUND);
	assert_int_equal(ept_read_guest(ept, gpa(8 * PAGE_SIZE), read, PAGE_SIZE), STATUS_OK);
	assert_int_equal(ept_read_guest(ept, gpa(9 * PAGE_SIZE - 1), read, 2), STATUS_NOT_FOUND);
	assert_int_equal(ept_write_guest(ept, gpa(8 * PAGE_SIZE), wrote, 1), STATUS_NO_ACCESS);
	assert_int_equal(space_unmap(space, hva(BACKING), PAGE_SIZE), STATUS_OK);
	assert_int_equal(ept_read_guest(ept, gpa(5 * PAGE_SIZE), read, 1), STATUS_NOT_FOUND);
}

/* A device and the guest see one memory. */
static void devices_and_guest(void **state)
{
	uint64_t value = 0;

	(void)state;
	lend(PAGE_SIZE, LEVEL_4K);
	store_on(1, 0x18, 0x1122334455667788);
	all_leave();
	assert_int_equal(ept_read_guest(ept, gpa(0x18), &value, 8), STATUS_OK);
	assert_int_equal(value, 0x1122334455667788);
	value = 99;
	assert_int_equal(ept_write_guest(ept, gpa(0x18), &value, 8), STATUS_OK);
	assert_int_equal(load_on(1, 0x18), 99);
}

#define ept_test(name) cmocka_unit_test_setup_teardown(name, open_small, close_ept)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ept_test(bad_input), ept_test(limit), ept_test(find), ept_test(remove_unmaps),
		ept_test(devices), ept_test(devices_and_guest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
