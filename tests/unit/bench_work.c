/*
 * The workloads of tests/bench: what must hold of their figures whatever they come to. S99: flushes
 * and faults of PTE, beside the other policies', for each workload.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/bench/work.h"
#include "tests/host/arena.h"

enum { PAGES = 512 };

static struct arena arena;

static int open_arena(void **state)
{
	(void)state;
	arena_open(&arena, 64);
	return 0;
}

static int close_arena(void **state)
{
	(void)state;
	arena_close(&arena);
	return 0;
}

static const struct workload *find(const char *name)
{
	for (const struct workload *w = workloads_start; w < workloads_end; w++)
		if (!strcmp(w->name, name))
			return w;
	fail_msg("no workload %s", name);
	return NULL;
}

static struct work_result run(const struct workload *workload, enum ept_policy policy)
{
	const struct work_place place = { .kind = &guest_soft, .host = arena.host, .pages = PAGES };
	struct work_result result;

	assert_true(work_run(workload, &place, policy, &result));
	assert_int_equal(result.pages, PAGES);
	return result;
}

static uint64_t faults(const struct work_result *of)
{
	return of->counts[WORK_FAST] + of->counts[WORK_SLOW];
}

static bool is_file(const struct workload *workload) { return workload->memory == MEMORY_FILE; }

/* S99: counted for each; S19: what PTE has marked the host has, for its files and what it moves. */
static void s99_each_workload_by_each_policy(void **state)
{
	(void)state;
	for (const struct workload *w = workloads_start; w < workloads_end; w++) {
		if (w->headline || !strncmp(w->name, "aging", 5))
			continue;
		for (enum ept_policy policy = 0; policy < EPT_POLICIES; policy++) {
			struct work_result got = run(w, policy);
			const uint64_t *counts = got.counts;

			assert_true(counts[WORK_FLUSHES] && counts[WORK_BRACKETS]);
			assert_true(faults(&got));
			if (policy != EPT_POLICY_PTE)
				assert_true(counts[WORK_DIRTY]);
			else if (!is_file(w) && w != find("work_writes"))
				assert_int_equal(counts[WORK_DIRTY], 0);
			if (policy == EPT_POLICY_PTE)
				assert_int_equal(counts[WORK_ACCESSED], 0);
		}
	}
}

/* S38, S39: by A nobody is disturbed; by zaps every pass costs a fault for each page, and more. */
static void s38_s39_aging(void **state)
{
	(void)state;
	for (enum ept_policy policy = 0; policy < EPT_POLICIES; policy++) {
		struct work_result flag = run(find("aging_flag"), policy);
		struct work_result zap = run(find("aging_zap"), policy);
		struct work_result range = run(find("aging_zap_range"), policy);

		assert_int_equal(faults(&flag), 0);
		assert_int_equal(flag.counts[WORK_FLUSHES], 0);
		assert_int_equal(faults(&zap), 4 * PAGES);
		assert_int_equal(zap.counts[WORK_FLUSHES], 4 * PAGES);
		assert_int_equal(faults(&range), 4 * PAGES);
		assert_int_equal(range.counts[WORK_FLUSHES], 4);
	}
}

/*
 * The known price of marking when a leaf is made, as Linux does since 6.13: a leaf that goes takes
 * what it knew of uses with it. Who marks when it goes loses nothing. A figure, not a failure
 * (S51): of a use less may be known than there was, of a store nothing may be lost.
 */
static void a_hint_takes_what_idle_tracking_asks_for(void **state)
{
	static const uint64_t idle[EPT_POLICIES] = {
		[EPT_POLICY_MAP] = PAGES / 2, [EPT_POLICY_PTE] = PAGES / 2,
	};

	(void)state;
	for (enum ept_policy policy = 0; policy < EPT_POLICIES; policy++)
		assert_int_equal(run(find("aging_accuracy"), policy).counts[WORK_IDLE],
				 idle[policy]);
}

/*
 * S59: who looks first does one locked operation for each mark of a folio; who sets, for each call.
 */
static void s59_locked_operations(void **state)
{
	(void)state;
	for (enum ept_policy policy = 0; policy < EPT_POLICIES; policy++) {
		struct work_result looks = run(find("work_log_large"), policy);
		struct work_result sets = run(find("work_log_large_sets"), policy);
		uint64_t calls = sets.counts[WORK_DIRTY] + sets.counts[WORK_ACCESSED];

		assert_int_equal(looks.counts[WORK_DIRTY] + looks.counts[WORK_ACCESSED], calls);
		assert_true(looks.counts[WORK_LOCKED] <= 3);
		assert_true(sets.counts[WORK_LOCKED] >= calls);
		assert_true((calls > 0) == (policy != EPT_POLICY_PTE));
	}
}

/* S55: D alone goes from as many entries as were stored to, by a bracket for a whole range each. */
static void s55_cleaned_entries(void **state)
{
	struct work_result got = run(find("work_record"), EPT_POLICY_MAP);

	(void)state;
	assert_int_equal(got.counts[WORK_CLEANED], 4 * PAGES);
	assert_true(got.counts[WORK_BRACKETS] <= 5);
}

/* S63: with the proposed event loads need no fault. What is stored to needs one either way. */
static void s62_s63_refaults(void **state)
{
	(void)state;
	struct work_result clear = run(find("work_lazyfree"), EPT_POLICY_PTE);
	struct work_result keep = run(find("work_lazyfree_keeps"), EPT_POLICY_PTE);

	assert_int_equal(faults(&clear), PAGES + 3 * 2 * PAGES);
	assert_int_equal(faults(&keep), PAGES + 3 * PAGES);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(s99_each_workload_by_each_policy, open_arena,
						close_arena),
		cmocka_unit_test_setup_teardown(s38_s39_aging, open_arena, close_arena),
		cmocka_unit_test_setup_teardown(a_hint_takes_what_idle_tracking_asks_for,
						open_arena, close_arena),
		cmocka_unit_test_setup_teardown(s59_locked_operations, open_arena, close_arena),
		cmocka_unit_test_setup_teardown(s55_cleaned_entries, open_arena, close_arena),
		cmocka_unit_test_setup_teardown(s62_s63_refaults, open_arena, close_arena),
	};

	return cmocka_run_group_tests_name("bench/work", tests, NULL, NULL);
}
