/* Aging by way of the notifier: what the guest has touched is young, once. */
#include "ept/age.h"
#include "tests/unit/ept_fixture.h"
#include "tests/unit/lock_fixture.h"
#include "tests/unit/trace_fixture.h"

enum { PAGES = 8 };

static int open_lent(void **state)
{
	open_small(state);
	lend(PAGES * PAGE_SIZE, LEVEL_4K);
	for (uint64_t page = 0; page < PAGES; page++)
		store_on(1, page * PAGE_SIZE, page);
	return 0;
}

static bool clear_young(uint64_t first, uint64_t pages) NOT_CHECKED
{
	return notifier_clear_young(space, BACKING + first * PAGE_SIZE,
				    BACKING + (first + pages) * PAGE_SIZE);
}

static bool clear_flush_young(uint64_t first, uint64_t pages) NOT_CHECKED
{
	return notifier_clear_flush_young(space, BACKING + first * PAGE_SIZE,
					  BACKING + (first + pages) * PAGE_SIZE);
}

static bool test_young(uint64_t first, uint64_t pages) NOT_CHECKED
{
	return notifier_test_young(space, BACKING + first * PAGE_SIZE,
				   BACKING + (first + pages) * PAGE_SIZE);
}

/*
 * S33: the three of accessed, beside brackets and change_pte nothing else: no op of dirty could be
 * called.
 */
static void ops(void **state)
{
	(void)state;
	assert_non_null(ept_notifier_ops.clear_flush_young);
	assert_non_null(ept_notifier_ops.clear_young);
	assert_non_null(ept_notifier_ops.test_young);
	assert_int_equal(sizeof(struct notifier_ops), 9 * sizeof(void (*)(void)));
}

/*
 * S33, S9: the guest's access is seen, and forgotten; the next is seen when the CPU walks for it.
 */
static void touched(void **state)
{
	(void)state;
	assert_true(test_young(3, 1));
	assert_true(test_young(3, 1));
	assert_true(clear_young(3, 1));
	assert_false(test_young(3, 1));
	assert_false(clear_young(3, 1));
	/* Its neighbours are as they were. */
	assert_true(test_young(2, 1) && test_young(4, 1));
	/* A translation that is kept sets no A: SDM "Accessed and Dirty Flags for EPT". */
	(void)load_on(1, 3 * PAGE_SIZE);
	assert_false(test_young(3, 1));
	soft_evict(&soft[1], gpa(3 * PAGE_SIZE));
	(void)load_on(1, 3 * PAGE_SIZE);
	assert_true(clear_flush_young(3, 1));
	assert_false(clear_flush_young(3, 1));
	/* Some page of the range. */
	assert_true(clear_young(0, PAGES));
	assert_false(test_young(0, PAGES));
	/* No bracket, nothing zapped: the pages are as writable and dirty as they were. */
	assert_int_equal(stats()->zapped[0], 0);
	for (uint64_t page = 0; page < PAGES; page++) {
		unsigned level;

		assert_true(spte_dirty(leaf_at(page * PAGE_SIZE, &level)));
	}
}

/* U4, U27, U36: neither a mark nor a flush, and the CPU in the guest is not disturbed. */
static void costs_nothing(void **state)
{
	uint64_t flushes = stats()->flushes;

	(void)state;
	record(arena.host, STEP_ALL);
	assert_true(clear_flush_young(0, PAGES));
	expect_steps(TRACE_YOUNG_TEST);
	assert_int_equal(recording.steps[0].value, 1);
	assert_int_equal(stats()->flushes, flushes);
	assert_int_equal(kicked[1], 0);
	assert_int_equal(stats()->invalidations, 0);
}

/* One page of a large leaf is as young as all of it. Several regions may show one page. */
static void large_and_aliased(void **state)
{
	(void)state;
	open_ept(64, (struct ept_caps){ .max_level = LEVEL_2M, .accessed_dirty = true });
	lend(2 * MIB, LEVEL_2M);
	add_region(1024, 2, BACKING, LEVEL_4K);
	store_on(1, 0, 1);
	assert_int_equal(level_at(0), LEVEL_2M);
	assert_true(clear_young(511, 1));
	assert_false(test_young(0, 512));
	assert_int_equal(fault(1025 * PAGE_SIZE, ACCESS_READ), FAULT_FIXED);
	assert_false(test_young(0, 1));
	assert_false(test_young(2, 510));
	assert_true(clear_young(1, 1));
	assert_false(test_young(0, 512));
	/* What no region shows is nobody's. */
	assert_false(clear_young(512, 1));
	close_ept(NULL);
}

/*
 * U9, S38, S39: without A in the processor a leaf puts its rights aside, and has them back by a
 * fault that asks nobody; W only if that stores.
 */
static void u9_without_flags(void **state)
{
	unsigned level;

	(void)state;
	open_ept(64, (struct ept_caps){ .max_level = LEVEL_2M });
	lend(PAGES * PAGE_SIZE, LEVEL_4K);
	store_on(1, 0, 5);
	assert_true(spte_soft_ad(leaf_at(0, &level)));	/* U6 */
	assert_true(test_young(0, PAGES));
	assert_true(clear_young(0, 1));
	assert_int_equal(kicked[1], 0);			/* U36 */
	assert_int_equal(leaf_at(0, &level).bits & (SPTE_RIGHTS | SPTE_A), 0);
	assert_false(test_young(0, PAGES));
	assert_false(clear_young(0, 1));
	ept_verify(ept);
	uint64_t walks = host_read_count(arena.host, HOST_WALKS);

	assert_int_equal(load_on(2, 0), 5);
	assert_true(test_young(0, PAGES));
	assert_int_equal(leaf_at(0, &level).bits & SPTE_RIGHTS, SPTE_R | SPTE_X);
	store_on(3, 0, 6);
	assert_int_equal(leaf_at(0, &level).bits & SPTE_RIGHTS, SPTE_RIGHTS);
	assert_true(clear_young(0, 1));
	store_on(2, 0, 7);				/* at once */
	assert_int_equal(leaf_at(0, &level).bits & (SPTE_RIGHTS | SPTE_A), SPTE_RIGHTS | SPTE_A);
	assert_int_equal(host_read_count(arena.host, HOST_WALKS), walks);
	assert_int_equal(stats()->fast, 3);
	assert_true(clear_flush_young(0, PAGES));
	close_ept(NULL);
}

/* W that aging has taken is stored by until somebody flushes: a harvest does. */
static void u27_stale_w_and_a_harvest(void **state)
{
	const struct log_options wp = { .kind = LOG_WRITE_PROTECT };
	uint64_t word;

	(void)state;
	open_ept(64, (struct ept_caps){ .max_level = LEVEL_2M });
	lend(PAGES * PAGE_SIZE, LEVEL_4K);
	assert_int_equal(ept_log_enable(ept, gfn(0), &wp), STATUS_OK);
	store_on(1, 0, 1);
	assert_true(clear_young(0, 1));
	(void)load_on(2, 0);
	assert_int_equal(ept_log_get(ept, gfn(0), &word), STATUS_OK);
	assert_int_equal(word, 1);
	store_on(1, 0, 2);
	assert_int_equal(ept_log_get(ept, gfn(0), &word), STATUS_OK);
	assert_int_equal(word, 1);
	close_ept(NULL);
}

/* ------------------------------------------------------------------ several listeners */

static struct other {
	struct notifier notifier;
	unsigned asked;
	bool young;
	struct mm_range range;
} others[2];

static bool other_young(struct notifier *self, const struct mm_range *range)
{
	struct other *listener = container_of(self, struct other, notifier);

	listener->asked++;
	listener->range = *range;
	return listener->young;
}

static const struct notifier_ops all_young = {
	.clear_flush_young = other_young, .clear_young = other_young, .test_young = other_young,
};
static const struct notifier_ops none_young = { .clear_young = NULL };

/* Each is asked, whatever others have said; one that has no such op is never young. */
static void every_listener(void **state)
{
	struct notifier silent = { .ops = &none_young };

	(void)state;
	notifier_register(space, &silent);
	for (unsigned i = 0; i < 2; i++) {
		others[i] = (struct other){ .notifier.ops = &all_young };
		notifier_register(space, &others[i].notifier);
	}
	assert_true(clear_young(0, PAGES));
	assert_false(clear_young(0, PAGES));
	others[0].young = true;
	assert_true(test_young(2, 1));
	assert_true(clear_flush_young(2, 1));
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(others[i].asked, 4);
		assert_int_equal(others[i].range.start.raw, BACKING + 2 * PAGE_SIZE);
		assert_int_equal(others[i].range.end.raw, BACKING + 3 * PAGE_SIZE);
		notifier_unregister(space, &others[i].notifier);
	}
	notifier_unregister(space, &silent);
}

/* ------------------------------------------------------------------ locks */

static void op_test(void) { (void)ept_test_young(ept, hva(BACKING), hva(BACKING + PAGE_SIZE)); }
static void op_clear(void) { (void)ept_clear_young(ept, hva(BACKING), hva(BACKING + PAGE_SIZE)); }

static void locks(void **state)
{
	(void)state;
	all_leave();
	watch_locks(arena.host);
	takes(SHARED, &ept->lock, op_test);
	takes(SHARED, &ept->lock, op_clear);
	port_look_hook(NULL);
}

int main(void)
{
#define lent_test(name) cmocka_unit_test_setup_teardown(name, open_lent, close_ept)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ops), lent_test(touched), lent_test(costs_nothing),
		cmocka_unit_test(large_and_aliased), cmocka_unit_test(u9_without_flags),
		cmocka_unit_test(u27_stale_w_and_a_harvest),
		lent_test(every_listener), lent_test(locks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
