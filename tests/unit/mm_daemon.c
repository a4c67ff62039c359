/* The host's jobs (mm/daemon.h): when they are due, start and stop, and on threads of their own. */
#include <pthread.h>

#include "mm/daemon.h"
#include "tests/unit/file_fixture.h"

static enum status start(uint64_t interval, uint64_t pages)
{
	return daemon_start(arena.host, DAEMON_FLUSH, (struct daemon_rate){ interval, pages });
}

static bool step(uint64_t now) { return daemon_step(arena.host, DAEMON_FLUSH, now); }

static struct daemon_stats done(void)
{
	struct daemon_stats stats;

	daemon_read_stats(arena.host, DAEMON_FLUSH, &stats);
	return stats;
}

static void dirty_all(uint64_t value)
{
	for (uint64_t page = 0; page < PAGES; page++)
		put(BASE + page * PAGE_SIZE, value + page);
}

/* So many pages, every so often; the ticks may wrap. */
static void keeps_its_rate(void **state)
{
	const uint64_t begin = UINT64_MAX - 5;

	(void)state;
	map_file(BASE, PAGES, PROTECTION_READ_WRITE, SHARING_SHARED);
	dirty_all(100);
	assert_false(step(begin));
	assert_int_equal(start(10, 3), STATUS_OK);
	assert_true(step(begin));
	assert_int_equal(stats().dirty, PAGES - 3);
	assert_false(step(begin + 9));
	assert_int_equal(stats().dirty, PAGES - 3);
	assert_true(step(begin + 10));
	assert_int_equal(stats().dirty, PAGES - 6);
	for (unsigned i = 2; i < 7; i++)
		assert_true(step(begin + i * 10));
	assert_int_equal(stats().dirty, 0);
	assert_int_equal(done().steps, 7);
	assert_int_equal(done().pages, PAGES);
	for (uint64_t page = 0; page < PAGES; page++)
		assert_int_equal(stored(page), 100 + page);
	daemon_stop(arena.host, DAEMON_FLUSH);
	assert_false(step(begin + 1000));
}

static void start_and_stop(void **state)
{
	(void)state;
	daemon_stop(arena.host, DAEMON_FLUSH);
	assert_int_equal(start(0, 0), STATUS_BAD_RANGE);
	assert_int_equal(start(0, 1), STATUS_OK);
	assert_int_equal(start(0, 1), STATUS_EXISTS);
	daemon_stop(arena.host, DAEMON_FLUSH);
	assert_int_equal(start(0, 1), STATUS_OK);
	assert_true(step(0));
	daemon_stop(arena.host, DAEMON_FLUSH);
	for (enum daemon_kind kind = 0; kind < DAEMONS; kind++)
		assert_non_null(daemon_name(kind));
}

/*
 * A page that is dirtied again and again keeps no other from being written, in its file or another.
 */
static void nobody_waits_for_ever(void **state)
{
	struct file *other;

	(void)state;
	assert_int_equal(file_create(arena.host, ram_store_of(store), PAGES, &other), STATUS_OK);
	map_file(BASE, PAGES, PROTECTION_READ_WRITE, SHARING_SHARED);
	assert_int_equal(space_map_file(space, hva(BASE + GIB), PAGE_SIZE, PROTECTION_READ_WRITE,
					other, PAGES - 1, SHARING_SHARED), STATUS_OK);
	put(BASE + GIB, 77);
	dirty_all(100);
	for (unsigned i = 0; i < 2 * PAGES; i++) {
		put(BASE, 200 + i);
		assert_int_equal(host_flush(arena.host, 1), 1);
	}
	assert_in_range(stats().dirty, 0, 1);
	assert_int_equal(stored(PAGES - 2), 100 + PAGES - 2);
	assert_int_equal(space_unmap(space, hva(BASE + GIB), PAGE_SIZE), STATUS_OK);
	assert_int_equal(file_destroy(other), STATUS_OK);
}

/* From the low watermark to the high one, at its rate, and no further. */
static void reclaimer_keeps_the_watermark(void **state)
{
	const struct daemon_rate rate = { 0, 3 };
	uint64_t value, now = 0;

	(void)state;
	map_file(BASE, PAGES, PROTECTION_READ, SHARING_SHARED);
	for (uint64_t page = 0; page < PAGES; page++)
		assert_int_equal(space_read(space, hva(BASE + page * PAGE_SIZE), &value,
					    sizeof(value)), STATUS_OK);
	assert_int_equal(daemon_start(arena.host, DAEMON_RECLAIM, rate), STATUS_OK);
	assert_true(daemon_step(arena.host, DAEMON_RECLAIM, now++));
	assert_int_equal(stats().cached, PAGES);

	uint64_t before = pages_free();

	assert_int_equal(host_set_watermarks(arena.host, before + 1, before + 8), STATUS_OK);
	assert_true(daemon_step(arena.host, DAEMON_RECLAIM, now++));
	assert_true(pages_free() >= before + 3);
	for (unsigned i = 0; i < PAGES && pages_free() < before + 8; i++)
		assert_true(daemon_step(arena.host, DAEMON_RECLAIM, now++));
	assert_true(pages_free() >= before + 8);
	uint64_t cached = stats().cached;

	assert_true(daemon_step(arena.host, DAEMON_RECLAIM, now++));
	assert_int_equal(stats().cached, cached);
	daemon_stop(arena.host, DAEMON_RECLAIM);
	assert_int_equal(host_set_watermarks(arena.host, 0, 0), STATUS_OK);
}

/* ------------------------------------------------------------------ on a thread */

static atomic32_t over;
static atomic64_t ticks;	/* of the process: jobs that outrun it would leave it no page */

/* Serves all of the jobs as CPU 1, or backwards as CPU 2. */
static void *serve(void *backwards)
{
	port_set_cpu(backwards ? 2 : 1);
	while (!atomic_read(&over)) {
		bool any = false;

		for (unsigned i = 0; i < DAEMONS; i++) {
			enum daemon_kind kind = backwards ? DAEMONS - 1 - i : i;

			any |= daemon_step(arena.host, kind, atomic_read(&ticks));
		}
		if (!any)
			port_relax();
	}
	return NULL;
}

/*
 * Stores go on while the flusher writes; stop waits for its step; what is left is written at the
 * end.
 */
static void flusher_on_a_thread(void **state)
{
	pthread_t thread;

	(void)state;
	map_file(BASE, PAGES, PROTECTION_READ_WRITE, SHARING_SHARED);
	atomic_write(&over, 0);
	assert_int_equal(pthread_create(&thread, NULL, serve, NULL), 0);
	for (uint64_t round = 1; round <= 20; round++) {
		uint64_t steps = done().steps;

		assert_int_equal(start(round % 3, 1 + round % 5), STATUS_OK);
		while (done().steps < steps + 3) {
			dirty_all(round * 1000);
			atomic_add(&ticks, 1);
		}
		daemon_stop(arena.host, DAEMON_FLUSH);
		steps = done().steps;

		assert_int_equal(file_sync(file), STATUS_OK);
		assert_int_equal(done().steps, steps);
		for (uint64_t page = 0; page < PAGES; page++)
			assert_int_equal(stored(page), round * 1000 + page);
	}
	atomic_write(&over, 1);
	assert_int_equal(pthread_join(thread, NULL), 0);
}

/* ------------------------------------------------------------------ all of them */

/* A page is hinted, and used again; a page of two processes is one, until it is written. */
static void scanners(void **state)
{
	const struct daemon_rate rate = { 0, 8 };
	struct ksm_stats ksm;
	uint64_t value = 0;

	(void)state;
	map(BASE, 4 * PAGE_SIZE, LEVEL_4K);
	for (unsigned page = 0; page < 4; page++)
		put(BASE + page * PAGE_SIZE, 9);
	assert_int_equal(ksm_start(arena.host, 16), STATUS_OK);
	assert_int_equal(space_merge(space, hva(BASE), 4 * PAGE_SIZE), STATUS_OK);
	assert_int_equal(daemon_start(arena.host, DAEMON_NUMA, rate), STATUS_OK);
	assert_true(daemon_step(arena.host, DAEMON_NUMA, 0));
	assert_false(pte_present(entry(BASE).pte));
	for (unsigned page = 0; page < 4; page++)
		assert_int_equal(space_read(space, hva(BASE + page * PAGE_SIZE), &value,
					    sizeof(value)), STATUS_OK);
	assert_true(pte_present(entry(BASE).pte));
	assert_int_equal(value, 9);
	daemon_stop(arena.host, DAEMON_NUMA);
	assert_int_equal(daemon_start(arena.host, DAEMON_KSM, rate), STATUS_OK);
	for (unsigned i = 0; i < 4; i++)
		assert_true(daemon_step(arena.host, DAEMON_KSM, i));
	ksm_read_stats(arena.host, &ksm);
	assert_int_equal(ksm.shared, 1);
	assert_int_equal(ksm.sharing, 3);
	daemon_stop(arena.host, DAEMON_KSM);
	assert_int_equal(space_unmap(space, hva(BASE), 4 * PAGE_SIZE), STATUS_OK);
	(void)ksm_scan(arena.host, 8);
	ksm_stop(arena.host);
}

enum { OWN = 64, ROUNDS = 3000, ROUNDS_MAX = 1000 * ROUNDS };

static bool all_stepped(uint64_t times)
{
	for (enum daemon_kind kind = 0; kind < DAEMONS; kind++) {
		struct daemon_stats stats;

		daemon_read_stats(arena.host, kind, &stats);
		if (stats.steps < times)
			return false;
	}
	return true;
}

/* Memory of a process under all of them at once: what it stores, it finds. */
static void all_on_two_threads(void **state)
{
	static uint64_t expected[OWN];
	const struct daemon_rate rate = { 1, 8 };
	struct ram_store *swap;
	uint64_t seed = 77, value, first;
	pthread_t threads[2];

	(void)state;
	memset(expected, 0, sizeof(expected));
	assert_int_equal(ram_store_create(arena.host, 2 * OWN, &swap), STATUS_OK);
	assert_int_equal(host_swap_on(arena.host, ram_store_of(swap), 2 * OWN), STATUS_OK);
	assert_int_equal(ksm_start(arena.host, 64), STATUS_OK);
	map(BASE, OWN * PAGE_SIZE, LEVEL_4K);
	map_file(BASE + GIB, PAGES, PROTECTION_READ_WRITE, SHARING_SHARED);
	assert_int_equal(space_merge(space, hva(BASE), OWN * PAGE_SIZE), STATUS_OK);
	assert_int_equal(host_set_watermarks(arena.host, pages_free(), pages_free() + 8),
			 STATUS_OK);
	for (enum daemon_kind kind = 0; kind < DAEMONS; kind++)
		assert_int_equal(daemon_start(arena.host, kind, rate), STATUS_OK);
	atomic_write(&over, 0);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, serve,
						i ? &threads[i] : NULL), 0);
	for (unsigned i = 0; i < ROUNDS || (i < ROUNDS_MAX && !all_stepped(ROUNDS / 10)); i++) {
		seed = seed * 6364136223846793005 + 1;
		uint64_t page = seed >> 33 & (OWN - 1);

		assert_int_equal(space_read(space, hva(BASE + page * PAGE_SIZE), &value,
					    sizeof(value)), STATUS_OK);
		assert_int_equal(value, expected[page]);
		expected[page] = seed >> 40 & 3;	/* few values: pages are equal */
		put(BASE + page * PAGE_SIZE, expected[page]);
		first = i;
		put(BASE + GIB + (i % PAGES) * PAGE_SIZE, first);
		atomic_add(&ticks, 1);
	}
	assert_true(all_stepped(ROUNDS / 10));
	atomic_write(&over, 1);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	for (enum daemon_kind kind = 0; kind < DAEMONS; kind++)
		daemon_stop(arena.host, kind);
	for (unsigned page = 0; page < OWN; page++) {
		assert_int_equal(space_read(space, hva(BASE + page * PAGE_SIZE), &value,
					    sizeof(value)), STATUS_OK);
		assert_int_equal(value, expected[page]);
	}
	assert_int_equal(space_unmap(space, hva(BASE), OWN * PAGE_SIZE), STATUS_OK);
	(void)ksm_scan(arena.host, 8);
	ksm_stop(arena.host);
	assert_int_equal(host_set_watermarks(arena.host, 0, 0), STATUS_OK);
	assert_int_equal(host_swap_off(arena.host), STATUS_OK);
	ram_store_destroy(swap);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		file_test(keeps_its_rate), file_test(start_and_stop),
		file_test(nobody_waits_for_ever), file_test(reclaimer_keeps_the_watermark),
		file_test(flusher_on_a_thread), file_test(scanners),
		file_test(all_on_two_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
