/* Pools of large pages: what is promised is there, whatever happens to the rest. */
#include "tests/unit/space_fixture.h"

enum { PAGES = 4 };

static struct pool *pool;

static int open_pool(void **state)
{
	if (open_space(state))
		return -1;
	return pool_create(arena.host, LEVEL_2M, PAGES, &pool) == STATUS_OK ? 0 : -1;
}

static int close_pool(void **state)
{
	(void)state;
	space_verify(space);
	space_destroy(space);
	assert_int_equal(pool_destroy(pool), STATUS_OK);
	arena_close(&arena);
	return 0;
}

static enum status map_pool(uint64_t at, uint64_t pages)
{
	return space_map_pool(space, hva(at), pages * 2 * MIB, PROTECTION_READ_WRITE, pool);
}

static void expect(uint64_t free, uint64_t promised)
{
	struct pool_stats stats;

	pool_read_stats(pool, &stats);
	assert_int_equal(stats.total, PAGES);
	assert_int_equal(stats.free, free);
	assert_int_equal(stats.promised, promised);
}

static void put(uint64_t at, uint64_t value)
{
	assert_int_equal(space_write(space, hva(at), &value, sizeof(value)), STATUS_OK);
}

static uint64_t get(uint64_t at)
{
	uint64_t value = 0;

	assert_int_equal(space_read(space, hva(at), &value, sizeof(value)), STATUS_OK);
	return value;
}

static void a_promise_is_kept(void **state)
{
	struct pool *none;

	(void)state;
	assert_int_equal(map_pool(BASE, 3), STATUS_OK);
	expect(4, 3);
	assert_int_equal(map_pool(BASE + GIB, 2), STATUS_NO_MEMORY);
	assert_int_equal(map_pool(BASE + GIB, 1), STATUS_OK);
	expect(4, 4);
	/* No large page anywhere else: tables alone are allocated. */
	arena_fail_from_order(&arena, ORDER_2M);
	for (uint64_t i = 0; i < 3; i++) {
		put(BASE + i * 2 * MIB + MIB, i + 1);
		assert_int_equal(look_up(BASE + i * 2 * MIB, ACCESS_WRITE).level, LEVEL_2M);
		assert_int_equal(get(BASE + i * 2 * MIB), 0);
	}
	assert_int_equal(pool_create(arena.host, LEVEL_2M, 1, &none), STATUS_NO_MEMORY);
	arena_fail_after(&arena, -1);
	expect(1, 1);
	assert_int_equal(pool_destroy(pool), STATUS_EXISTS);
}

static void pages_come_back_as_zeros(void **state)
{
	(void)state;
	assert_int_equal(map_pool(BASE, 4), STATUS_OK);
	put(BASE, 1);
	put(BASE + 2 * MIB, 2);
	folio_mark_dirty(arena.host, look_up(BASE, ACCESS_READ).frame);
	assert_int_equal(space_unmap(space, hva(BASE), 4 * MIB), STATUS_OK);
	expect(4, 2);		/* two pages, and no promise for those that were there */
	assert_int_equal(space_unmap(space, hva(BASE), 8 * MIB), STATUS_OK);
	expect(4, 0);
	assert_int_equal(map_pool(BASE, 4), STATUS_OK);
	for (uint64_t i = 0; i < 4; i++) {
		assert_int_equal(get(BASE + i * 2 * MIB), 0);
		assert_false(folio_dirty(arena.host,
					 look_up(BASE + i * 2 * MIB, ACCESS_READ).frame));
	}
}

/* Held by somebody when its mapping goes: not free, and promised to nobody. */
static void a_held_page_is_not_free(void **state)
{
	struct mm_page page;

	(void)state;
	assert_int_equal(map_pool(BASE, 1), STATUS_OK);
	assert_int_equal(gup_get(space, hva(BASE + MIB), GUP_WRITE, &page), STATUS_OK);
	assert_int_equal(space_unmap(space, hva(BASE), 2 * MIB), STATUS_OK);
	expect(3, 0);
	assert_int_equal(map_pool(BASE, 4), STATUS_NO_MEMORY);
	gup_put(arena.host, page.frame);
	expect(4, 0);
}

/* Never cut, never split, never moved. */
static void whole_pages_only(void **state)
{
	static const struct { uint64_t start, bytes; } cases[] = {
		{ BASE + MIB, 2 * MIB }, { BASE, MIB }, { BASE + PAGE_SIZE, PAGE_SIZE },
		{ BASE - PAGE_SIZE, 2 * PAGE_SIZE }, { BASE + 3 * MIB, 8 * MIB },
	};
	uint64_t moved;

	(void)state;
	map(BASE - 2 * MIB, 2 * MIB, LEVEL_4K);
	map(BASE + 4 * MIB, 8 * MIB, LEVEL_4K);
	assert_int_equal(map_pool(BASE, 2), STATUS_OK);
	put(BASE, 1);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		hva_t at = hva(cases[i].start);
		uint64_t bytes = cases[i].bytes;

		assert_int_equal(space_unmap(space, at, bytes), STATUS_BAD_RANGE);
		assert_int_equal(space_protect(space, at, bytes, PROTECTION_READ),
				 STATUS_BAD_RANGE);
		assert_int_equal(space_advise(space, at, bytes, ADVICE_RANDOM), STATUS_BAD_RANGE);
		assert_int_equal(space_discard(space, at, bytes), STATUS_BAD_RANGE);
	}
	assert_int_equal(space_discard(space, hva(BASE), 2 * MIB), STATUS_BAD_RANGE);
	assert_int_equal(space_split(space, hva(BASE), 2 * MIB), STATUS_OK);
	assert_int_equal(space_migrate(space, hva(BASE), 2 * MIB, &moved), STATUS_OK);
	assert_int_equal(moved, 0);
	assert_int_equal(look_up(BASE, ACCESS_WRITE).level, LEVEL_2M);
	assert_int_equal(space_protect(space, hva(BASE), 2 * MIB, PROTECTION_READ), STATUS_OK);
	assert_int_equal(space_protect(space, hva(BASE), 2 * MIB, PROTECTION_READ_WRITE),
			 STATUS_OK);
	put(BASE, 2);
	expect(3, 1);
	assert_int_equal(space->vma_count, 3);
}

static void bad_mappings(void **state)
{
	struct pool *none;
	uint64_t before = pages_free();

	(void)state;
	assert_int_equal(pool_create(arena.host, LEVEL_4K, 1, &none), STATUS_BAD_RANGE);
	assert_int_equal(pool_create(arena.host, 4, 1, &none), STATUS_BAD_RANGE);
	assert_int_equal(pool_create(arena.host, LEVEL_2M, 0, &none), STATUS_BAD_RANGE);
	assert_int_equal(pool_create(arena.host, LEVEL_2M, 64, &none), STATUS_NO_MEMORY);
	assert_int_equal(pages_free(), before);
	assert_int_equal(map_pool(BASE + PAGE_SIZE, 1), STATUS_BAD_RANGE);
	assert_int_equal(map_pool(SPACE_END, 1), STATUS_BAD_RANGE);
	assert_int_equal(space_map_pool(space, hva(BASE), PAGE_SIZE, PROTECTION_READ, pool),
			 STATUS_BAD_RANGE);
	map(BASE, PAGE_SIZE, LEVEL_4K);
	assert_int_equal(map_pool(BASE, 1), STATUS_EXISTS);
	expect(4, 0);
	/* A fault without a table, twice; the promise stands. */
	assert_int_equal(map_pool(BASE + 64 * GIB, 1), STATUS_OK);
	arena_fail_after(&arena, 0);
	assert_int_equal(space_write(space, hva(BASE + 64 * GIB), &before, 1), STATUS_NO_MEMORY);
	arena_fail_after(&arena, -1);
	expect(4, 1);
	put(BASE + 64 * GIB, 1);
	expect(3, 0);
}

/* Two pools' mappings side by side are two, and each page goes home. */
static void two_pools(void **state)
{
	struct pool *other;
	struct pool_stats stats;

	(void)state;
	assert_int_equal(pool_create(arena.host, LEVEL_2M, 1, &other), STATUS_OK);
	assert_int_equal(map_pool(BASE, 1), STATUS_OK);
	assert_int_equal(space_map_pool(space, hva(BASE + 2 * MIB), 2 * MIB, PROTECTION_READ_WRITE,
					other), STATUS_OK);
	assert_int_equal(space->vma_count, 2);
	put(BASE, 1);
	put(BASE + 2 * MIB, 2);
	assert_int_equal(space_unmap(space, hva(BASE), 4 * MIB), STATUS_OK);
	expect(4, 0);
	pool_read_stats(other, &stats);
	assert_int_equal(stats.free, 1);
	assert_int_equal(pool_destroy(other), STATUS_OK);
}

#define pool_test(name) cmocka_unit_test_setup_teardown(name, open_pool, close_pool)

int main(void)
{
	const struct CMUnitTest tests[] = {
		pool_test(a_promise_is_kept), pool_test(pages_come_back_as_zeros),
		pool_test(a_held_page_is_not_free), pool_test(whole_pages_only),
		pool_test(bad_mappings), pool_test(two_pools),
	};

	return cmocka_run_group_tests_name("mm/pool", tests, NULL, NULL);
}
