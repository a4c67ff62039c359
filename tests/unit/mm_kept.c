/*
 * The frames that a CPU keeps for itself: how many, in which order, counted by whom, and what
 * becomes of them when memory is short. Without a lock: mm_locks.c; side by side:
 * tests/explore/race_kept.c.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdlib.h>
#include <cmocka.h>

#include "tests/host/arena.h"

enum { FRAMES = 4096 };

static struct arena arena;
static struct block frames[FRAMES];

static int open_arena(void **state)
{
	(void)state;
	arena_open(&arena, 16);
	return 0;
}

static int close_arena(void **state)
{
	(void)state;
	port_set_cpu(0);
	arena_close(&arena);
	return 0;
}

static int abandon(void **state)
{
	(void)state;
	arena_abandon(&arena);
	return 0;
}

static struct host_cpu *cpu_of(unsigned cpu) { return &arena.host->cpus[cpu]; }
static uint32_t kept(unsigned cpu) { return kept_frames(atomic_read(&cpu_of(cpu)->kept)); }

static uint64_t pages_free(void)
{
	struct host_stats stats;

	host_read_stats(arena.host, &stats);
	return stats.pages_free;
}

static struct block take(void)
{
	struct block frame = { 0 };

	assert_int_equal(page_alloc(arena.host, ORDER_4K, &frame), STATUS_OK);
	return frame;
}

/* All there is into frames[], by this CPU. */
static unsigned take_all(void)
{
	unsigned count = 0;

	while (page_alloc(arena.host, ORDER_4K, &frames[count]) == STATUS_OK)
		count++;
	return count;
}

static void free_frames(unsigned first, unsigned end)
{
	for (; first < end; first++)
		page_free(arena.host, frames[first]);
}

static bool refused(unsigned order)
{
	struct block none;

	return page_alloc(arena.host, order, &none) == STATUS_NO_MEMORY;
}

/* ------------------------------------------------------------------ at peace */

static void some_at_a_time(void **state)
{
	struct block first = take(), second = take();

	(void)state;
	assert_int_equal(kept(0), KEPT_MAX / 2 - 1);
	page_free(arena.host, first);
	page_free(arena.host, second);
	assert_int_equal(take().head.raw, second.head.raw);	/* the warmest first */
	assert_int_equal(take().head.raw, first.head.raw);
	page_free(arena.host, first);
	page_free(arena.host, second);
}

static void never_too_many(void **state)
{
	uint64_t before = pages_free();

	(void)state;
	for (unsigned i = 0; i < 5 * KEPT_MAX; i++)
		frames[i] = take();
	for (unsigned i = 0; i < 5 * KEPT_MAX; i++) {
		assert_int_equal(pages_free(), before - 5 * KEPT_MAX + i);
		page_free(arena.host, frames[i]);
		assert_in_range(kept(0), 1, KEPT_MAX);
		host_verify(arena.host);
	}
	assert_true(kept(0) >= KEPT_MAX / 2);
}

/* Whose memory a CPU gives back does not matter: it is its own then. */
static void freed_elsewhere(void **state)
{
	struct block frame = take();

	(void)state;
	port_set_cpu(MAX_CPUS - 1);
	page_free(arena.host, frame);
	assert_int_equal(kept(MAX_CPUS - 1), 1);
	host_verify(arena.host);
	assert_int_equal(take().head.raw, frame.head.raw);
	page_free(arena.host, frame);
}

static void a_host_that_keeps_nothing(void **state)
{
	(void)state;
	page_keep(arena.host, 0);
	for (unsigned turn = 0; turn < 2; turn++) {
		struct block frame = take();

		assert_int_equal(arena.host->pages_free, arena.pages_free - 1);
		page_free(arena.host, frame);
		assert_int_equal(arena.host->pages_free, arena.pages_free);
	}
}

/* A test that refuses an allocation refuses this one, too. */
static void refused_by_the_watch(void **state)
{
	uint32_t before;

	(void)state;
	page_free(arena.host, take());
	before = kept(0);
	arena_fail_after(&arena, 0);
	assert_true(refused(ORDER_4K));
	assert_int_equal(arena.refused, 1);
	assert_int_equal(kept(0), before);
}

/* ------------------------------------------------------------------ when memory is short */

static int by_frame(const void *a, const void *b)
{
	const struct block *one = a, *other = b;

	return one->head.raw < other->head.raw ? -1 : one->head.raw > other->head.raw;
}

/* A block of order 3, freed in pieces that the CPU keeps. */
static unsigned block_in_pieces(void)
{
	unsigned count = take_all(), first = 0;

	qsort(frames, count, sizeof(frames[0]), by_frame);
	while (frames[first].head.raw & 7)
		first++;
	assert_int_equal(frames[first + 7].head.raw, frames[first].head.raw + 7);
	free_frames(first, first + 8);
	memmove(&frames[first], &frames[first + 8], (count - first - 8) * sizeof(frames[0]));
	assert_int_equal(kept(0), 7);	/* the first one went further: memory was short */
	return count - 8;
}

static void own_frames_make_a_block(void **state)
{
	unsigned count = block_in_pieces();
	struct block block;

	(void)state;
	assert_true(refused(4));
	assert_int_equal(page_alloc(arena.host, 3, &block), STATUS_OK);
	page_free(arena.host, block);
	free_frames(0, count);
}

/* A large block that can't be had is no reason to empty the list each time. */
static void refused_once(void **state)
{
	unsigned count = block_in_pieces();
	struct block frame;

	(void)state;
	assert_true(refused(ORDER_2M));
	assert_int_equal(kept(0), 0);
	frame = take();
	assert_int_equal(kept(0), 7);
	assert_true(refused(ORDER_2M));
	assert_int_equal(kept(0), 7);
	page_free(arena.host, frame);		/* it may be had now */
	frame = take();
	assert_int_equal(kept(0), 7);
	assert_true(refused(ORDER_2M));
	assert_int_equal(kept(0), 0);
	page_free(arena.host, frame);
	free_frames(0, count);
}

/* No more than KEPT_MAX frames are out of reach, and they come back when their CPU frees. */
static void others_give_back(void **state)
{
	unsigned count = take_all();

	(void)state;
	port_set_cpu(1);
	page_free(arena.host, frames[count - 1]);	/* the question came before it kept any */
	assert_int_equal(kept(1), 0);
	port_set_cpu(0);
	frames[count - 1] = take();
	for (unsigned turn = 0; turn < 2; turn++) {
		port_set_cpu(1);
		free_frames(count - KEPT_MAX - 1, count - 1);
		assert_int_equal(kept(1), KEPT_MAX);
		port_set_cpu(0);
		assert_true(refused(ORDER_4K));
		assert_int_equal(pages_free(), KEPT_MAX);
		port_set_cpu(1);
		page_free(arena.host, frames[count - 1]);
		assert_int_equal(kept(1), 0);
		port_set_cpu(0);
		for (unsigned i = count - KEPT_MAX - 1; i < count; i++)
			frames[i] = take();
	}
	free_frames(0, count);
}

/* ------------------------------------------------------------------ host_verify */

static void damage_is_seen(void **state)
{
	static struct folio *folio;			/* static: they outlive a longjmp */
	static struct block used;

	(void)state;
	used = take();
	page_free(arena.host, take());
	atomic_add(&cpu_of(1)->kept, 2);
	assert_true(panics(host_verify(arena.host), "census.kept_pages == kept"));
	arena.host->lock = (spinlock_t){ 0 };

	/* Another CPU is about to change its list: nothing can be said. */
	atomic_add(&cpu_of(1)->kept, KEPT_CHANGE);
	host_verify(arena.host);
	atomic_sub(&cpu_of(1)->kept, KEPT_CHANGE);
	atomic_sub(&cpu_of(1)->kept, 2);

	folio = cpu_of(0)->frames[0].folio;
	atomic_write(&folio->flags, FOLIO_USED);
	assert_true(panics(host_verify(arena.host), "census.kept_pages == kept"));
	arena.host->lock = (spinlock_t){ 0 };
	atomic_write(&folio->flags, FOLIO_KEPT);
	cpu_of(0)->frames[0].head.raw++;
	assert_true(panics(host_verify(arena.host), "== frame->folio"));
	arena.host->lock = (spinlock_t){ 0 };
	cpu_of(0)->frames[0] = used;
	assert_true(panics(host_verify(arena.host), "FOLIO_KEPT"));
}

#define IN_ARENA(test) cmocka_unit_test_setup_teardown(test, open_arena, close_arena)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_ARENA(some_at_a_time),
		IN_ARENA(never_too_many),
		IN_ARENA(freed_elsewhere),
		IN_ARENA(a_host_that_keeps_nothing),
		IN_ARENA(refused_by_the_watch),
		IN_ARENA(own_frames_make_a_block),
		IN_ARENA(refused_once),
		IN_ARENA(others_give_back),
		cmocka_unit_test_setup_teardown(damage_is_seen, open_arena, abandon),
	};

	return cmocka_run_group_tests_name("mm/kept", tests, NULL, NULL);
}
