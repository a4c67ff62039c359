/*
 * Long random sequences of operations of guests, host and devices (tests/host/operations.h), with
 * everything verified after each: what is stored is what is read, whoever takes the memory away.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/host/operations.h"

enum { STEPS = 2500, SEEDS = 8, SCHEDULE = 255 };

static uint8_t input[2 + STEPS * OPERATION_BYTES + SCHEDULE];

static void fill(uint64_t seed, unsigned options)
{
	seed *= UINT64_C(0x9e3779b97f4a7c15);
	for (size_t i = 0; i < sizeof(input); i++) {
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		input[i] = (uint8_t)(seed >> 33);
	}
	input[0] = (uint8_t)options;
	input[1] = SCHEDULE;
}

static void random_operations(void **state)
{
	uint64_t small_zapped = 0, large_zapped = 0, flushes = 0, tables_freed = 0, retries = 0;
	uint64_t prefetched = 0, used = 0;
	/*
	 * QUICK, which `make check` sets: seeds 1 and 6,
	 * which have each option once on and once off.
	 */
	unsigned apart = getenv("QUICK") ? 5 : 1, seeds = 0;

	(void)state;
	for (unsigned seed = 1; seed <= SEEDS; seed += apart, seeds++) {
		struct ept_stats stats;

		fill(seed, OPERATIONS_VERIFY_ALL | (seed & 1 ? OPERATIONS_ACCESSED_DIRTY : 0) |
			   (seed & 2 ? OPERATIONS_SPACE_FIRST : 0) |
			   (seed & 4 ? OPERATIONS_PREFETCH : 0));
		operations_run(input, sizeof(input), &stats);
		small_zapped += stats.zapped[0];
		large_zapped += stats.zapped[1];
		flushes += stats.flushes;
		tables_freed += stats.tables_freed;
		retries += stats.retries;
		prefetched += stats.prefetched;
		used += stats.prefetch_used;
	}
	print_message("# zapped %lu small, %lu large; %lu flushes, %lu tables freed, %lu retries; "
		      "prefetched %lu, used %lu\n",
		      small_zapped, large_zapped, flushes, tables_freed, retries, prefetched, used);
	/* It was worth the walk. */
	assert_true(small_zapped > 100 * seeds && large_zapped > 20 * seeds);
	assert_true(flushes > 50 * seeds && tables_freed > 20 * seeds && retries > seeds);
	assert_true(prefetched > 100 * seeds && used > seeds && used < prefetched);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(random_operations) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
