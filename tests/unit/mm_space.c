/* Address spaces from the outside: demand zero, huge leaves, unmap, protect, discard, migrate. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "mm/space.h"
#include "tests/host/arena.h"

#define MIB UINT64_C(0x100000)
#define GIB (1024 * MIB)
#define BASE (64 * GIB)

static struct arena arena;
static struct space *space;

static int open_space(void **state)
{
	(void)state;
	return space_create(arena_open(&arena, 64), &space) == STATUS_OK ? 0 : -1;
}

static int close_space(void **state)
{
	(void)state;
	space_verify(space);
	space_destroy(space);
	arena_close(&arena);
	return 0;
}

static void map(uint64_t start, uint64_t bytes, unsigned max_level)
{
	assert_int_equal(space_map(space, hva(start), bytes, PROTECTION_READ_WRITE, max_level),
			 STATUS_OK);
}

static struct mm_page look_up(uint64_t address, enum access access)
{
	struct mm_page page = { 0 };

	assert_int_equal(mm_lookup(space, hva(address), access, &page), STATUS_OK);
	return page;
}

static void demand_zero(void **state)
{
	static char buffer[3 * PAGE_SIZE], zero[3 * PAGE_SIZE];

	(void)state;
	map(BASE, 4 * PAGE_SIZE, LEVEL_4K);
	memset(buffer, 1, sizeof(buffer));
	assert_int_equal(space_read(space, hva(BASE + 5), buffer, sizeof(buffer)), STATUS_OK);
	assert_memory_equal(buffer, zero, sizeof(buffer));
	memset(buffer, 7, sizeof(buffer));
	assert_int_equal(space_write(space, hva(BASE + 5), buffer, sizeof(buffer)), STATUS_OK);
	memset(zero, 7, sizeof(zero));
	memset(buffer, 0, sizeof(buffer));
	assert_int_equal(space_read(space, hva(BASE + 5), buffer, sizeof(buffer)), STATUS_OK);
	assert_memory_equal(buffer, zero, sizeof(buffer));
}

static void huge_is_split_and_partly_freed(void **state)
{
	uint64_t value = 42, found = 0, moved = 0;

	(void)state;
	map(BASE, 8 * MIB, LEVEL_2M);
	struct mm_page huge = look_up(BASE + 3 * MIB, ACCESS_WRITE);

	assert_int_equal(huge.level, LEVEL_2M);
	assert_int_equal(folio_order(arena.host, huge.frame), ORDER_2M);
	assert_int_equal(folio_mapcount(arena.host, huge.frame), 1);
	assert_int_equal(space_write(space, hva(BASE + 3 * MIB), &value, sizeof(value)), STATUS_OK);
	assert_int_equal(space_discard(space, hva(BASE + 2 * MIB), PAGE_SIZE), STATUS_OK);
	assert_int_equal(folio_mapcount(arena.host, huge.frame), 511);
	space_verify(space);
	assert_int_equal(space_migrate(space, hva(BASE), 8 * MIB, &moved), STATUS_OK);
	assert_int_equal(moved, 511);
	assert_int_equal(space_read(space, hva(BASE + 3 * MIB), &found, sizeof(found)), STATUS_OK);
	assert_int_equal(found, value);
	assert_int_not_equal(look_up(BASE + 3 * MIB, ACCESS_READ).frame.raw, huge.frame.raw);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(demand_zero, open_space, close_space),
		cmocka_unit_test_setup_teardown(huge_is_split_and_partly_freed, open_space,
						close_space),
	};

	return cmocka_run_group_tests_name("mm/space", tests, NULL, NULL);
}
