/*
 * The content oracle by threads (tests/host/oracle.h): 1, 2 and 4 vCPUs, by each policy, kind of
 * log and size of leaves, while the host does all that it does (S64, I6). Broken twins show that it
 * sees a store that no log has.
 */
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "ept/log.h"
#include "tests/host/arena.h"
#include "tests/host/kick.h"
#include "tests/host/oracle.h"

enum { HOST_CPU = ORACLE_WRITERS + 1 };

static struct arena arena;
static struct oracle_memory memory;
static struct oracle oracle;

static void *writer_thread(void *argument)
{
	struct oracle_writer *writer = argument;

	port_set_cpu(writer->number + 1);
	while (oracle_write(writer))
		if (atomic_read(&writer->parked) || writer->on_its_way)
			sched_yield();
	return NULL;
}

static void *host_thread(void *argument)
{
	(void)argument;
	port_set_cpu(HOST_CPU);
	for (uint64_t now = 0; oracle_host(&oracle, now); now++)
		sched_yield();
	return NULL;
}

static void by_threads(unsigned count)
{
	pthread_t writers[ORACLE_WRITERS], host;

	for (unsigned i = 0; i < count; i++) {
		kick_attach(i + 1, &oracle.cpus[i + 1].soft);
		pthread_create(&writers[i], NULL, writer_thread, &oracle.writers[i]);
	}
	pthread_create(&host, NULL, host_thread, NULL);
	while (oracle_harvest(&oracle))
		sched_yield();
	for (unsigned i = 0; i < count; i++)
		pthread_join(writers[i], NULL);
	pthread_join(host, NULL);
	for (unsigned i = 0; i < count; i++)
		kick_attach(i + 1, NULL);
}

/* By one thread, the same each time. */
static void by_turns(unsigned count)
{
	for (uint64_t now = 0; oracle_harvest(&oracle); now++) {
		for (unsigned i = 0; i < count; i++) {
			port_set_cpu(i + 1);
			(void)oracle_write(&oracle.writers[i]);
		}
		port_set_cpu(HOST_CPU);
		(void)oracle_host(&oracle, now);
		port_set_cpu(0);
	}
}

static uint64_t full(void)
{
	uint64_t stores = 0;

	for (unsigned i = 0; i < ORACLE_WRITERS; i++)
		stores += oracle.writers[i].full;
	return stores;
}

/* How many things were wrong. */
static uint64_t play(const struct oracle_plan *plan, unsigned twin, void (*actors)(unsigned count))
{
	assert_int_equal(oracle_open(&oracle, &memory, plan), STATUS_OK);
	for (unsigned i = 0; i < ORACLE_CPUS; i++)
		oracle.cpus[i].soft.broken = twin;
	actors(plan->writers);
	print_message("# policy %u, log %u%s, level %u, %u vCPUs: %lu harvests, "
		      "%lu pages reported, %lu of them for nothing, %lu acts of the host, "
		      "%lu stores held up, %lu + %lu words lost\n",
		      plan->policy, plan->log.kind, plan->log.lazy ? " lazy" : "", memory.level,
		      plan->writers, oracle.harvests, oracle.reported, oracle.early,
		      atomic_read(&oracle.acts), full(), oracle.lost, oracle.stale);
	oracle_close(&oracle);
	return oracle_errors(&oracle);
}

/* By QUICK, which `make check` sets, every policy meets every kind once, in leaves of one size. */
static bool is_left_out(const struct oracle_plan *plan)
{
	return getenv("QUICK") &&
	       ((unsigned)plan->log.kind + plan->policy + plan->log.lazy + memory.level) % 3;
}

/* The number of vCPUs goes around, so that each policy and each kind meets each of them. */
static void each(const struct log_options *log, bool flags)
{
	for (enum ept_policy policy = 0; policy < EPT_POLICIES; policy++) {
		struct oracle_plan plan = { .policy = policy, .log = *log,
					    .hands = &oracle_soft_hands,
					    .caps = { .accessed_dirty = flags, .pml = flags },
					    .writers = 1u << ((unsigned)log->kind + policy) % 3,
					    .rounds = 8 };

		if (!is_left_out(&plan))
			assert_int_equal(play(&plan, 0, by_threads), 0);
	}
}

static void each_kind(unsigned level, uint64_t mebibytes)
{
	assert_int_equal(oracle_memory_open(&memory, arena_open(&arena, mebibytes), level),
			 STATUS_OK);
	each(&(struct log_options){ .kind = LOG_WRITE_PROTECT }, true);
	each(&(struct log_options){ .kind = LOG_WRITE_PROTECT, .manual = true, .lazy = true,
				    .initially_set = level < LEVEL_1G }, false);
	each(&(struct log_options){ .kind = LOG_DIRTY_BIT }, true);
	each(&(struct log_options){ .kind = LOG_RING }, true);
	each(&(struct log_options){ .kind = LOG_RING_ONLY, .lazy = level == LEVEL_2M }, true);
	each(&(struct log_options){ .kind = LOG_PML, .lazy = true }, true);
	oracle_memory_close(&memory);
	arena_close(&arena);
}

static void s64_by_small_pages(void **state)
{
	(void)state;
	each_kind(LEVEL_4K, 64);
}

static void s64_by_2m(void **state)
{
	(void)state;
	each_kind(LEVEL_2M, 64);
}

static void s64_by_1g(void **state)
{
	(void)state;
	each_kind(LEVEL_1G, 3072);
}

/*
 * A processor that stores by what it has cached as clean sets no D: no log by D has such a store.
 */
static void clean_write_is_caught(void **state)
{
	static const enum log_kind kinds[] = { LOG_DIRTY_BIT, LOG_PML };

	(void)state;
	assert_int_equal(oracle_memory_open(&memory, arena_open(&arena, 64), LEVEL_4K), STATUS_OK);
	for (unsigned i = 0; i < 2; i++) {
		struct oracle_plan plan = { .log.kind = kinds[i], .hands = &oracle_soft_hands,
					    .caps = { .accessed_dirty = true, .pml = true },
					    .writers = 2, .rounds = 8 };

		assert_int_equal(play(&plan, 0, by_turns), 0);
		assert_int_not_equal(play(&plan, SOFT_TWIN_CLEAN_WRITE, by_turns), 0);
		assert_int_not_equal(oracle.stale, 0);
	}
	oracle_memory_close(&memory);
	arena_close(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(s64_by_small_pages), cmocka_unit_test(s64_by_2m),
		cmocka_unit_test(s64_by_1g), cmocka_unit_test(clean_write_is_caught),
	};

	return cmocka_run_group_tests_name("ept/oracle_live", tests, NULL, NULL);
}
