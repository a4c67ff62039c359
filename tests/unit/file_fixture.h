/*
 * For tests of one file of 16 pages beside one space: opened before each test; closed, with nothing
 * left behind, after it.
 */
#ifndef TESTS_UNIT_FILE_FIXTURE_H
#define TESTS_UNIT_FILE_FIXTURE_H

#include "mm/store.h"
#include "tests/unit/space_fixture.h"

enum { PAGES = 16 };

static struct ram_store *store;
static struct file *file;

static int open_file(void **state)
{
	if (open_space(state) || ram_store_create(arena.host, PAGES, &store) != STATUS_OK)
		return -1;
	return file_create(arena.host, ram_store_of(store), PAGES, &file) == STATUS_OK ? 0 : -1;
}

static int close_file(void **state)
{
	(void)state;
	space_verify(space);
	space_destroy(space);
	assert_int_equal(file_destroy(file), STATUS_OK);
	ram_store_destroy(store);
	arena_close(&arena);
	return 0;
}

#define file_test(name) cmocka_unit_test_setup_teardown(name, open_file, close_file)

static inline void map_file(uint64_t at, uint64_t pages, enum protection protection,
			    enum sharing sharing)
{
	assert_int_equal(space_map_file(space, hva(at), pages * PAGE_SIZE, protection, file, 0,
					sharing), STATUS_OK);
}

static inline void put(uint64_t at, uint64_t value)
{
	assert_int_equal(space_write(space, hva(at), &value, sizeof(value)), STATUS_OK);
}

/* What the store has in the first word of a page. */
static inline uint64_t stored(uint64_t page)
{
	struct store *of = ram_store_of(store);
	uint64_t value = 0, done;

	assert_int_equal(of->ops->read(of, page * PAGE_SIZE, &value, sizeof(value), &done),
			 STATUS_OK);
	return value;
}

static inline struct file_stats stats(void)
{
	struct file_stats stats;

	file_read_stats(file, &stats);
	return stats;
}

#endif
