/*
 * One page in another's place, as a guest sees it: by brackets alone, and in the three lives of
 * change_pte (mm/notifier.h).
 */
#include "tests/unit/ept_fixture.h"
#include "tests/unit/trace_fixture.h"

enum { A = 0, B = PAGE_SIZE };		/* guest addresses of two pages */

static int open_two(void **state)
{
	(void)state;
	open_ept(64, (struct ept_caps){ .max_level = LEVEL_1G, .accessed_dirty = true });
	lend(2 * PAGE_SIZE, LEVEL_4K);
	assert_int_equal(ksm_start(arena.host, 16), STATUS_OK);
	assert_int_equal(space_merge(space, hva(BACKING), 2 * PAGE_SIZE), STATUS_OK);
	return 0;
}

static int close_two(void **state)
{
	ksm_stop(arena.host);
	return close_ept(state);
}

static uint64_t faults(void)
{
	return stats()->faults[0] + stats()->faults[1] + stats()->faults[2];
}

/* Both pages are the guest's, equal, and mapped for it. */
static void two_equal_pages(void)
{
	store_on(1, A, 7);
	store_on(1, B, 7);
	all_leave();
}

static void merge(void)
{
	ksm_scan(arena.host, 2);
	ksm_scan(arena.host, 2);
	assert_int_equal(host_frame(BACKING).raw, host_frame(BACKING + PAGE_SIZE).raw);
	ept_verify(ept);
}

/* Faults that the guest takes to find both pages again after they were merged. */
static uint64_t refaults(enum change_pte mode)
{
	host_set_change_pte(arena.host, mode);
	two_equal_pages();
	merge();
	uint64_t before = faults();

	assert_int_equal(load_on(1, A), 7);
	assert_int_equal(load_on(1, B), 7);
	all_leave();
	return faults() - before;
}

/* S73, S74: brackets alone. S76: mm/notifier.h says why the other lives are off. */
static void s74_by_default_there_is_none(void **state)
{
	(void)state;
	assert_int_equal(host_change_pte(arena.host), CHANGE_PTE_NONE);
	record(arena.host, STEP(CHANGE_PTE));
	assert_int_equal(refaults(CHANGE_PTE_NONE), 2);
	expect_these(NULL, 0);
	assert_int_equal(stats()->changes, 0);
}

/* S72: the bracket's start has unmapped the page. */
static void s72_bracketed_finds_nothing(void **state)
{
	(void)state;
	record(arena.host, STEP(CHANGE_PTE));
	assert_int_equal(refaults(CHANGE_PTE_BRACKETED), 2);
	/* Of either page when it is write-protected, of the second when it is exchanged. */
	expect_steps(TRACE_CHANGE_PTE, TRACE_CHANGE_PTE, TRACE_CHANGE_PTE);
	assert_int_equal(stats()->changes, 0);
}

/*
 * S71, S77, S79, S81. Three flips: both lose W over the same frame, then the second gets the
 * first one's.
 */
static void exchanged_without_a_fault(enum change_pte mode)
{
	unsigned level;

	host_set_change_pte(arena.host, mode);
	two_equal_pages();
	uint64_t before = faults(), flushes = stats()->flushes;

	merge();
	assert_int_equal(load_on(1, A), 7);
	assert_int_equal(load_on(1, B), 7);
	all_leave();
	assert_int_equal(faults() - before, 0);
	assert_int_equal(stats()->changes, 3);
	assert_int_equal(stats()->flushes - flushes, 3);
	assert_int_equal(spte_frame(leaf_at(B, &level)).raw, host_frame(BACKING).raw);
	assert_false(spte_writable(leaf_at(A, &level)) || spte_writable(leaf_at(B, &level)));
	/* And a store of the guest's is its own. */
	store_on(1, B, 8);
	assert_int_equal(load_on(1, A), 7);
	assert_int_equal(load_on(1, B), 8);
	all_leave();
}

static void s71_former_glory(void **state)
{
	(void)state;
	exchanged_without_a_fault(CHANGE_PTE_FORMER_GLORY);
}

static void s71_unbracketed(void **state)
{
	(void)state;
	record(arena.host, STEP(RANGE_START));
	exchanged_without_a_fault(CHANGE_PTE_UNBRACKETED);
	expect_these(NULL, 0);
}

/*
 * S69, S83: cleared and flushed, told, set. S80: write-protected first, compared, exchanged
 * later.
 */
static void s83_order(void **state)
{
	(void)state;
	host_set_change_pte(arena.host, CHANGE_PTE_FORMER_GLORY);
	two_equal_pages();
	ksm_scan(arena.host, 1);
	record(arena.host, STEP(RANGE_START) | STEP(RANGE_END) | STEP(PTE_CLEAR) | STEP(PTE_SET) |
				   STEP(TLB_FLUSH) | STEP(CHANGE_PTE) | STEP(REF_TEST) |
				   STEP(FOLIO_COMPARE));
	ksm_scan(arena.host, 1);
	expect_steps(TRACE_FOLIO_COMPARE,			/* the hint */
		     TRACE_RANGE_START, TRACE_PTE_CLEAR, TRACE_TLB_FLUSH, TRACE_REF_TEST,
		     TRACE_CHANGE_PTE, TRACE_PTE_SET, TRACE_RANGE_END,
		     TRACE_RANGE_START, TRACE_PTE_CLEAR, TRACE_TLB_FLUSH, TRACE_REF_TEST,
		     TRACE_CHANGE_PTE, TRACE_PTE_SET, TRACE_RANGE_END, TRACE_FOLIO_COMPARE,
		     TRACE_RANGE_START, TRACE_PTE_CLEAR, TRACE_TLB_FLUSH, TRACE_CHANGE_PTE,
		     TRACE_PTE_SET, TRACE_RANGE_END);
}

/* A page that somebody holds keeps its entry, and the guest its own. */
static void put_back_is_no_change(void **state)
{
	struct mm_page page;

	(void)state;
	host_set_change_pte(arena.host, CHANGE_PTE_FORMER_GLORY);
	two_equal_pages();
	assert_int_equal(gup_get(space, hva(BACKING), GUP_WRITE, &page), STATUS_OK);
	assert_int_equal(gup_get(space, hva(BACKING + PAGE_SIZE), GUP_WRITE, &page), STATUS_OK);
	record(arena.host, STEP(CHANGE_PTE) | STEP(PTE_SET));
	ksm_scan(arena.host, 2);
	expect_steps(TRACE_PTE_SET);
	gup_put(arena.host, page.frame);
	gup_put(arena.host, host_frame(BACKING));
	store_on(1, A, 8);
	assert_int_equal(stats()->changes, 0);
	all_leave();
}

/* Copy-on-write, too: told of a writable page the guest loses the old one (kvm_set_spte_gfn). */
static void s81_copy_on_write(void **state)
{
	static const struct { enum change_pte mode; unsigned hits; } cases[] = {
		{ CHANGE_PTE_NONE, 0 }, { CHANGE_PTE_BRACKETED, 0 },
		{ CHANGE_PTE_UNBRACKETED, 1 }, { CHANGE_PTE_FORMER_GLORY, 1 },
	};
	struct space *child;
	uint64_t value = 7;

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		uint64_t hits = stats()->changes;

		host_set_change_pte(arena.host, cases[i].mode);
		assert_int_equal(space_write(space, hva(BACKING), &value, 8), STATUS_OK);
		assert_int_equal(space_fork(space, &child), STATUS_OK);
		assert_int_equal(load_on(1, A), 7);
		all_leave();
		record(arena.host, STEP(PTE_CLEAR) | STEP(TLB_FLUSH) | STEP(CHANGE_PTE) |
					   STEP(PTE_SET));
		value = 8 + i;
		assert_int_equal(space_write(space, hva(BACKING), &value, 8), STATUS_OK);
		if (cases[i].mode == CHANGE_PTE_NONE)
			expect_steps(TRACE_PTE_CLEAR, TRACE_TLB_FLUSH, TRACE_PTE_SET);
		else
			expect_steps(TRACE_PTE_CLEAR, TRACE_TLB_FLUSH, TRACE_CHANGE_PTE,
				     TRACE_PTE_SET);
		assert_int_equal(stats()->changes - hits, cases[i].hits);
		assert_int_equal(load_on(1, A), value);
		all_leave();
		ept_verify(ept);			/* S20 */
		space_destroy(child);
		value = 7;
	}
}

/* The primary leaf is split first, of which nobody is told: the guest's large one goes whole. */
static void large_leaf_goes(void **state)
{
	enum { HUGE = 2 << 20 };
	struct space *child;
	uint64_t value = 9;

	(void)state;
	map_host(BACKING + HUGE, HUGE, LEVEL_2M);
	add_region(HUGE >> PAGE_SHIFT, HUGE >> PAGE_SHIFT, BACKING + HUGE, LEVEL_2M);
	host_set_change_pte(arena.host, CHANGE_PTE_FORMER_GLORY);
	store_on(1, HUGE, 1);
	store_on(1, HUGE + PAGE_SIZE, 2);
	all_leave();
	assert_int_equal(space_fork(space, &child), STATUS_OK);
	assert_int_equal(load_on(1, HUGE), 1);
	all_leave();
	assert_int_equal(level_at(HUGE), LEVEL_2M);
	assert_int_equal(space_write(space, hva(BACKING + HUGE + PAGE_SIZE), &value, 8),
			 STATUS_OK);
	ept_verify(ept);
	assert_int_equal(level_at(HUGE + PAGE_SIZE), 0);
	assert_int_equal(stats()->changes, 1);
	assert_int_equal(load_on(1, HUGE), 1);
	assert_int_equal(load_on(1, HUGE + PAGE_SIZE), 9);
	all_leave();
	space_destroy(child);
}

/* Nor does a page that is only read come in the place of a large leaf. */
static void large_leaf_is_not_filled(void **state)
{
	enum { HUGE = 2 << 20 };
	uint64_t value = 9;

	(void)state;
	map_host(BACKING + HUGE, HUGE, LEVEL_2M);
	add_region(HUGE >> PAGE_SHIFT, HUGE >> PAGE_SHIFT, BACKING + HUGE, LEVEL_2M);
	host_set_change_pte(arena.host, CHANGE_PTE_FORMER_GLORY);
	store_on(1, HUGE, 1);
	all_leave();
	assert_int_equal(space_protect(space, hva(BACKING + HUGE), HUGE, PROTECTION_READ),
			 STATUS_OK);
	assert_int_equal(load_on(1, HUGE), 1);
	all_leave();
	assert_int_equal(space_patch(space, hva(BACKING + HUGE + PAGE_SIZE), &value, 8), STATUS_OK);
	ept_verify(ept);
	assert_int_equal(load_on(1, HUGE), 1);
	assert_int_equal(load_on(1, HUGE + PAGE_SIZE), 9);
	all_leave();
}

/* S75: told outside a bracket, but in the life that had none. */
static void s75_asserted(void **state)
{
	struct mm_page page = { .level = LEVEL_4K };

	(void)state;
	host_set_change_pte(arena.host, CHANGE_PTE_FORMER_GLORY);
	assert_true(panics(ept_notifier_ops.change_pte(&ept->notifier, hva(BACKING), &page),
			   "brackets"));
	ept->lock = (rwlock_t){ 0 };
	host_set_change_pte(arena.host, CHANGE_PTE_UNBRACKETED);
	ept_notifier_ops.change_pte(&ept->notifier, hva(BACKING), &page);
}

/* S82: a lookup of the old page, made before, is worth nothing, in a bracket or without one. */
static void s82_lookups_of_before_are_void(void **state)
{
	struct mm_page page = { .level = LEVEL_4K };
	uint64_t sequence = notify_sequence(ept);

	(void)state;
	host_set_change_pte(arena.host, CHANGE_PTE_UNBRACKETED);
	ept_notifier_ops.change_pte(&ept->notifier, hva(BACKING), &page);
	assert_int_not_equal(notify_sequence(ept), sequence);
}

/* A listener of another kind, without the operation, gets a bracket in each life. */
static struct { struct notifier notifier; unsigned starts, ends; } plain;

static void plain_start(struct notifier *self, const struct mm_range *range)
{
	(void)self;
	(void)range;
	plain.starts++;
}

static void plain_end(struct notifier *self, const struct mm_range *range)
{
	(void)self;
	(void)range;
	plain.ends++;
}

static void others_get_a_bracket(void **state)
{
	static const struct notifier_ops ops = { .start = plain_start, .end = plain_end };
	uint64_t value = 1;

	(void)state;
	plain.notifier.ops = &ops;
	notifier_register(space, &plain.notifier);
	for (enum change_pte mode = CHANGE_PTE_NONE; mode <= CHANGE_PTE_FORMER_GLORY; mode++) {
		struct space *child;

		host_set_change_pte(arena.host, mode);
		assert_int_equal(space_write(space, hva(BACKING), &value, 8), STATUS_OK);
		assert_int_equal(space_fork(space, &child), STATUS_OK);
		plain.starts = plain.ends = 0;
		assert_int_equal(space_write(space, hva(BACKING), &value, 8), STATUS_OK);
		assert_int_equal(plain.starts, 1);
		assert_int_equal(plain.ends, 1);
		space_destroy(child);
	}
	notifier_unregister(space, &plain.notifier);
}

/* S20: what fork and mremap take from the process they take from the guest. */
static void s20_fork_and_move(void **state)
{
	struct space *child;
	unsigned level;

	(void)state;
	store_on(1, A, 1);
	all_leave();
	assert_int_equal(space_fork(space, &child), STATUS_OK);
	assert_false(spte_present(leaf_at(A, &level)));
	ept_verify(ept);
	assert_int_equal(load_on(1, A), 1);
	assert_false(spte_writable(leaf_at(A, &level)));
	ept_verify(ept);
	store_on(1, A, 2);
	all_leave();
	ept_verify(ept);
	space_destroy(child);
	ept_verify(ept);
	assert_int_equal(space_move(space, hva(BACKING), PAGE_SIZE, hva(BACKING + GIB)), STATUS_OK);
	assert_false(spte_present(leaf_at(A, &level)));
	ept_verify(ept);
	assert_int_equal(fault(A, ACCESS_READ), FAULT_NO_HOST);
	assert_int_equal(space_move(space, hva(BACKING + GIB), PAGE_SIZE, hva(BACKING)), STATUS_OK);
	assert_int_equal(load_on(1, A), 2);
	all_leave();
}

#define TWO(test) cmocka_unit_test_setup_teardown(test, open_two, close_two)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TWO(s74_by_default_there_is_none), TWO(s72_bracketed_finds_nothing),
		TWO(s71_former_glory), TWO(s71_unbracketed), TWO(s83_order),
		TWO(put_back_is_no_change), TWO(s81_copy_on_write), TWO(large_leaf_goes),
		TWO(large_leaf_is_not_filled), TWO(s75_asserted),
		TWO(s82_lookups_of_before_are_void),
		TWO(others_get_a_bracket), TWO(s20_fork_and_move),
	};

	return cmocka_run_group_tests_name("ept/change", tests, NULL, NULL);
}
