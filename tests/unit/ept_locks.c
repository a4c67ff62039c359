/* What ept.h says of locks: each operation waits for who holds one that it takes. */
#include "tests/unit/ept_fixture.h"
#include "tests/unit/lock_fixture.h"

/* CPU 1 has a full store of tables, so that its faults allocate only what mm does. */
static int open_watched(void **state)
{
	open_small(state);
	port_set_cpu(1);
	assert_int_equal(fault(0, ACCESS_READ), FAULT_NO_REGION);
	watch_locks(arena.host);
	return 0;
}

static int close_watched(void **state)
{
	port_look_hook(NULL);
	return close_ept(state);
}

static void op_add(void) { add_region(100, 1, BACKING, LEVEL_4K); }
static void op_remove(void) { assert_int_equal(ept_region_remove(ept, gfn(100)), STATUS_OK); }

static void op_find(void)
{
	struct region found;

	assert_int_equal(ept_region_find(ept, gfn(0), &found), STATUS_OK);
}

static void op_fault_nowhere(void)
{
	assert_int_equal(fault(GIB, ACCESS_READ), FAULT_NO_REGION);
}

static struct mm_range range = {
	.start = { BACKING }, .end = { BACKING + PAGE_SIZE }, .event = EVENT_CLEAR,
};

static void op_start(void) { ept->notifier.ops->start(&ept->notifier, &range); }

static void of_an_ept(void **state)
{
	(void)state;
	lend(PAGE_SIZE, LEVEL_4K);
	for (enum hold how = SHARED; how <= EXCLUSIVE; how++) {
		assert_int_equal(waits_for(&ept->lock, how, op_add), 1);
		assert_int_equal(waits_for(&ept->lock, how, op_remove), 1);
		assert_int_equal(waits_for(&ept->lock, how, op_start), 1);
		ept->notifier.ops->end(&ept->notifier, &range);
	}
	takes(SHARED, &ept->lock, op_find);
	takes(SHARED, &ept->lock, op_fault_nowhere);
}

static void op_release(void)
{
	list_remove(&ept->notifier.link);
	ept->notifier.ops->release(&ept->notifier);
}

static void of_its_end(void **state)
{
	(void)state;
	assert_int_equal(waits_for(&ept->lock, SHARED, op_release), 1);
}

/* ------------------------------------------------------------------ in the middle of a fault */

static struct page_watch arena_watch;

static void flusher_comes(struct page_watch *self, pfn_t head, unsigned order)
{
	arena.watch.allocated = arena_watch.allocated;
	arena_watch.allocated(self, head, order);
	other_takes(&ept->lock, EXCLUSIVE);
	/* mm's own allocations go on. */
	other.host = NULL;
}

/* While mm was asked, somebody began to take away. */
static void fault_maps(void **state)
{
	(void)state;
	lend(PAGE_SIZE, LEVEL_4K);
	arena_watch = arena.watch;
	arena.watch.allocated = flusher_comes;
	other.waits = 0;
	assert_int_equal(fault(0, ACCESS_WRITE), FAULT_FIXED);
	assert_int_equal(other.waits, 1);
}

static void op_fault(void) { assert_int_equal(fault(PAGE_SIZE, ACCESS_WRITE), FAULT_FIXED); }

/* A table where a leaf should be: to take it away a fault waits for the others. */
static void fault_replaces(void **state)
{
	(void)state;
	lend(2 * MIB, LEVEL_2M);
	set_max_level(LEVEL_4K);
	assert_int_equal(fault(0, ACCESS_WRITE), FAULT_FIXED);
	set_max_level(LEVEL_2M);
	ept_verify(ept);
	/* The store is full again. */
	assert_int_equal(fault(GIB, ACCESS_WRITE), FAULT_NO_REGION);
	assert_int_equal(waits_for(&ept->lock, SHARED, op_fault), 1);
	assert_int_equal(level_at(0), LEVEL_2M);
}

/* ------------------------------------------------------------------ ept_verify */

static void op_verify(void) { ept_verify(ept); }

/* A primary entry that differs is the bracket's business while one is open. */
static void verify_judges(void **state) NOT_CHECKED
{
	(void)state;
	lend(PAGE_SIZE, LEVEL_4K);
	assert_int_equal(fault(0, ACCESS_WRITE), FAULT_FIXED);
	takes(EXCLUSIVE, &ept->lock, op_verify);
	atomic_and(table_find(space, BACKING).slot, ~PTE_W);
	assert_true(panics(op_verify(), "not writable"));
	atomic_write(&ept->bracket_start, BACKING);
	atomic_write(&ept->bracket_end, BACKING + PAGE_SIZE);
	atomic_write(&ept->brackets, 1);
	op_verify();
	atomic_write(&ept->brackets, 0);
	atomic_or(table_find(space, BACKING).slot, PTE_W);
}

#define LOCKED(test) cmocka_unit_test_setup_teardown(test, open_watched, close_watched)

int main(void)
{
	const struct CMUnitTest tests[] = {
		LOCKED(of_an_ept), LOCKED(of_its_end), LOCKED(fault_maps), LOCKED(fault_replaces),
		LOCKED(verify_judges),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
