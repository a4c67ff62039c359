/* For tests of one region's dirty log: what is in it, as of the last harvest. */
#ifndef TESTS_UNIT_LOG_FIXTURE_H
#define TESTS_UNIT_LOG_FIXTURE_H

#include "ept/log.h"
#include "tests/unit/ept_fixture.h"

enum { PAGES = 1100, WORDS = (PAGES + 63) / 64 };

static uint64_t words[WORDS];

static inline bool has(uint64_t page) { return words[page / 64] >> page % 64 & 1; }

/* All of the bits, which are none beyond the region's end; how many. */
static inline uint64_t harvest_of(gfn_t start)
{
	uint64_t pages = 0;

	memset(words, 0, sizeof(words));
	assert_int_equal(ept_log_get(ept, start, words), STATUS_OK);
	for (unsigned i = 0; i < WORDS; i++)
		pages += (unsigned)__builtin_popcountll(words[i]);
	return pages;
}

static inline uint64_t harvest(void) { return harvest_of(gfn(0)); }

static inline void enable(const struct log_options *options)
{
	assert_int_equal(ept_log_enable(ept, gfn(0), options), STATUS_OK);
}

static inline void store(unsigned cpu, uint64_t page, uint64_t value)
{
	store_on(cpu, page * PAGE_SIZE, value);
}

#endif
