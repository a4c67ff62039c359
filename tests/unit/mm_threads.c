/*
 * CPUs in parallel: some write and read their own pages and look up others, some take pages away
 * by discard, unmap, protect, migrate and invalidate. What a CPU wrote must stand until a discard
 * that it was told of; the listener's brackets balance; all rules hold at the end.
 *
 * Four threads on four lanes of 1 MiB: lane i belongs to writer i, and the disturbers do to all
 * lanes what keeps content (migrate, invalidate, protect to read and back are of that kind), to
 * lane DISCARDED what does not.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <pthread.h>
#include <cmocka.h>

#include "mm/space.h"
#include "tests/host/arena.h"

#define MIB  UINT64_C(0x100000)
#define BASE (UINT64_C(64) << 30)

enum { WRITERS = 2, DISTURBERS = 2, LANES = 3, DISCARDED = 2, PAGES = 256, ROUNDS = 40000 };

static struct arena arena;
static struct space *space;
static atomic64_t starts, ends, writers_left;

static void on_start(struct notifier *self, const struct mm_range *range)
{
	(void)self;
	(void)range;
	atomic_add(&starts, 1);
}

static void on_end(struct notifier *self, const struct mm_range *range)
{
	(void)self;
	(void)range;
	atomic_add(&ends, 1);
}

static void on_release(struct notifier *self) { (void)self; }

static const struct notifier_ops ops = {
	.start = on_start, .end = on_end, .release = on_release,
};
static struct notifier listener = { .ops = &ops };

static uint64_t next_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed >> 11;
}

static hva_t lane(uint64_t i, uint64_t page) { return hva(BASE + i * MIB + page * PAGE_SIZE); }

/* A thread can't use cmocka's assertions: a failure is a panic. */
static void write_own(uint64_t self, uint64_t page, uint64_t value)
{
	enum status status;

	/* A disturber may have made it read-only for a moment. */
	do
		status = space_write(space, lane(self, page), &value, sizeof(value));
	while (status == STATUS_NO_ACCESS);
	check(status == STATUS_OK);
}

static void *writer(void *argument)
{
	static uint64_t written[WRITERS][PAGES];
	uint64_t self = (uint64_t)argument, seed = self + 77;

	port_set_cpu((unsigned)self);
	memset(written[self], 0, sizeof(written[self]));
	for (uint64_t i = 1; i <= ROUNDS; i++) {
		uint64_t page = next_random(&seed) % PAGES, found;
		struct mm_page seen;

		check(space_read(space, lane(self, page), &found, sizeof(found)) == STATUS_OK);
		check(found == written[self][page]);
		write_own(self, page, i);
		written[self][page] = i;
		enum status status = mm_lookup(space, lane(DISCARDED, page), ACCESS_READ, &seen);

		check(status == STATUS_OK || status == STATUS_NOT_FOUND);
		status = space_write(space, lane(DISCARDED, page), &i, sizeof(i));
		check(status == STATUS_OK || status == STATUS_NOT_FOUND);
	}
	atomic_sub(&writers_left, 1);
	return NULL;
}

static void disturb(uint64_t *seed)
{
	uint64_t first = next_random(seed) % PAGES, pages = 1 + next_random(seed) % 16, moved;
	uint64_t bytes = (pages < PAGES - first ? pages : PAGES - first) * PAGE_SIZE;
	hva_t any = lane(next_random(seed) % LANES, first);
	hva_t own = lane(next_random(seed) % WRITERS, first);
	hva_t lost = lane(DISCARDED, first);
	enum status status;

	switch (next_random(seed) % 6) {
	case 0:
		check(space_migrate(space, any, bytes, &moved) == STATUS_OK);
		break;
	case 1:
		check(space_invalidate(space, any, bytes) == STATUS_OK);
		break;
	case 2:
		check(space_protect(space, own, bytes, PROTECTION_READ) == STATUS_OK);
		check(space_protect(space, own, bytes, PROTECTION_READ_WRITE) == STATUS_OK);
		break;
	case 3:
		check(space_discard(space, lost, bytes) == STATUS_OK);
		break;
	case 4:
		check(space_unmap(space, lost, bytes) == STATUS_OK);
		break;
	default:
		status = space_map(space, lost, bytes, PROTECTION_READ_WRITE, LEVEL_2M);
		check(status == STATUS_OK || status == STATUS_EXISTS);
		break;
	}
}

static void *disturber(void *argument)
{
	uint64_t self = (uint64_t)argument, seed = self + 99;

	port_set_cpu((unsigned)self);
	/* Some, even if the writers are through before it begins. */
	for (unsigned i = 0; i < 50 || atomic_read(&writers_left); i++)
		disturb(&seed);
	return NULL;
}

static void cpus_in_parallel(void **state)
{
	pthread_t threads[WRITERS + DISTURBERS];

	(void)state;
	assert_int_equal(space_create(arena_open(&arena, 64), &space), STATUS_OK);
	assert_int_equal(space_map(space, hva(BASE), LANES * MIB, PROTECTION_READ_WRITE, LEVEL_2M),
			 STATUS_OK);
	notifier_register(space, &listener);
	atomic_write(&writers_left, WRITERS);
	for (uint64_t i = 0; i < WRITERS + DISTURBERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL,
						i < WRITERS ? writer : disturber, (void *)i), 0);
	for (unsigned i = 0; i < WRITERS + DISTURBERS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_true(atomic_read(&starts) > 0);
	assert_int_equal(atomic_read(&starts), atomic_read(&ends));
	space_verify(space);
	space_destroy(space);
	arena_close(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(cpus_in_parallel) };

	return cmocka_run_group_tests_name("mm/threads", tests, NULL, NULL);
}
