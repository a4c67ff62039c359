/*
 * For tests of one space on a host of 64 MiB: opened before each test; verified and closed, with
 * nothing left behind, after it.
 */
#ifndef TESTS_UNIT_SPACE_FIXTURE_H
#define TESTS_UNIT_SPACE_FIXTURE_H

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

static inline int open_space(void **state)
{
	(void)state;
	return space_create(arena_open(&arena, 64), &space) == STATUS_OK ? 0 : -1;
}

static inline int close_space(void **state)
{
	(void)state;
	space_verify(space);
	space_destroy(space);
	arena_close(&arena);
	return 0;
}

static inline void map(uint64_t start, uint64_t bytes, unsigned max_level)
{
	assert_int_equal(space_map(space, hva(start), bytes, PROTECTION_READ_WRITE, max_level),
			 STATUS_OK);
}

static inline struct mm_page look_up(uint64_t address, enum access access)
{
	struct mm_page page = { 0 };

	assert_int_equal(mm_lookup(space, hva(address), access, &page), STATUS_OK);
	return page;
}

/* The entry behind an address, as the tables have it. */
static inline struct place entry(uint64_t address) NOT_CHECKED
{
	return table_find(space, address);
}

static inline uint64_t pages_free(void)
{
	struct host_stats stats;

	host_read_stats(arena.host, &stats);
	return stats.pages_free;
}

#endif
