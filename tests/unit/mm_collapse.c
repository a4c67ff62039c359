/* Small pages become a large one, or stay as they are. */
#include "mm/lru.h"
#include "tests/unit/ept_fixture.h"
#include "tests/unit/lock_fixture.h"
#include "tests/unit/trace_fixture.h"

enum { PAGES = 512 };

static pte_t entry(uint64_t page) NOT_CHECKED
{
	return table_find(space, BACKING + page * PAGE_SIZE).pte;
}
static unsigned level(void) NOT_CHECKED { return table_find(space, BACKING).level; }
static hva_t address(uint64_t page) { return hva(BACKING + page * PAGE_SIZE); }

static void put(uint64_t page, uint64_t value)
{
	assert_int_equal(space_write(space, address(page), &value, 8), STATUS_OK);
}

/*
 * 4 MiB at BACKING, which want large leaves, the first 2 MiB touched while there was none to be
 * had.
 */
static int open_small_pages(void **state)
{
	open_small(state);
	lend(4 * MIB, LEVEL_2M);
	arena_fail_from_order(&arena, 1);
	for (uint64_t page = 0; page < PAGES; page++)
		put(page, page + 1);
	arena_fail_after(&arena, -1);
	return level() == LEVEL_4K ? 0 : -1;
}

static uint64_t collapse(void)
{
	uint64_t collapsed = 9;

	assert_int_equal(space_collapse(space, hva(BACKING), 4 * MIB, &collapsed), STATUS_OK);
	return collapsed;
}

static void contents(void)
{
	for (uint64_t page = 0; page < PAGES; page++) {
		uint64_t value = 0;

		assert_int_equal(space_read(space, address(page), &value, 8), STATUS_OK);
		assert_int_equal(value, page + 1);
	}
}

static uint64_t before[PAGES];

static void remember(void)
{
	for (uint64_t page = 0; page < PAGES; page++)
		before[page] = entry(page).bits;
}

/* Nothing was done, and nothing is left behind. */
static void stays(void)
{
	uint64_t free_pages = page_count_free(arena.host);

	remember();
	assert_int_equal(collapse(), 0);
	for (uint64_t page = 0; page < PAGES; page++)
		assert_int_equal(entry(page).bits, before[page]);
	assert_int_equal(page_count_free(arena.host), free_pages);
	space_verify(space);
}

static void copied(void **state)
{
	uint64_t free_pages = page_count_free(arena.host);

	(void)state;
	assert_int_equal(collapse(), 1);
	assert_int_equal(level(), LEVEL_2M);
	assert_int_equal(entry(0).bits & (PTE_W | PTE_A | PTE_D | PTE_OWN),
			 PTE_W | PTE_A | PTE_D | PTE_OWN);
	/* The table is free. */
	assert_int_equal(page_count_free(arena.host), free_pages + 1);
	assert_int_equal(folio_order(arena.host, host_frame(BACKING)), ORDER_2M);
	assert_int_equal(folio_mapcount(arena.host, host_frame(BACKING)), 1);
	assert_int_equal(folio_refcount(arena.host, host_frame(BACKING)), 1);
	assert_true(atomic_read(&folio_of(arena.host, host_frame(BACKING))->flags) & FOLIO_ON_LIST);
	contents();
	assert_int_equal(collapse(), 0);
	put(3, 4);
	contents();
}

/* Used if a page was, and dirty; no more rights than its VMA has. */
static void flags(void **state) NOT_CHECKED
{
	(void)state;
	for (uint64_t page = 0; page < PAGES; page++)
		atomic_and(table_make(space, address(page).raw, LEVEL_4K),
			   ~(PTE_A | PTE_D | PTE_SOFT));
	assert_int_equal(space_protect(space, hva(BACKING), 4 * MIB, PROTECTION_READ), STATUS_OK);
	assert_int_equal(collapse(), 1);
	assert_int_equal(entry(0).bits & (PTE_P | PTE_W | PTE_A | PTE_D | PTE_SOFT), PTE_P | PTE_D);
	assert_int_equal(space_split(space, hva(BACKING), 2 * MIB), STATUS_OK);
	atomic_or(table_make(space, address(511).raw, LEVEL_4K), PTE_A | PTE_SOFT);
	assert_int_equal(collapse(), 1);
	assert_int_equal(entry(0).bits & (PTE_P | PTE_W | PTE_A | PTE_D | PTE_SOFT),
			 PTE_P | PTE_A | PTE_D | PTE_SOFT);
	contents();
}

/* What was a large folio's is one again without a copy, whoever holds it. */
static void in_place(void **state)
{
	pfn_t head;
	uint64_t free_pages;

	(void)state;
	assert_int_equal(collapse(), 1);
	head = host_frame(BACKING);
	free_pages = page_count_free(arena.host);
	assert_int_equal(space_split(space, hva(BACKING), 2 * MIB), STATUS_OK);
	folio_get(arena.host, head);
	arena_fail_after(&arena, 0);
	record(arena.host, STEP(FOLIO_COPY) | STEP(REF_TEST));
	assert_int_equal(collapse(), 1);
	expect_steps();
	assert_int_equal(arena.refused, 0);
	arena_fail_after(&arena, -1);
	assert_int_equal(host_frame(BACKING).raw, head.raw);
	assert_int_equal(folio_mapcount(arena.host, head), 1);
	assert_int_equal(folio_refcount(arena.host, head), 2);
	folio_put(arena.host, head);
	assert_int_equal(page_count_free(arena.host), free_pages);
	contents();
	/* Two pages changed places: they are no large page. */
	assert_int_equal(space_split(space, hva(BACKING), 2 * MIB), STATUS_OK);
	uint64_t moved;

	assert_int_equal(space_migrate(space, address(100), PAGE_SIZE, &moved), STATUS_OK);
	assert_int_equal(collapse(), moved);
	contents();
}

/* ------------------------------------------------------------------ what stays */

static void a_hole(void **state)
{
	(void)state;
	assert_int_equal(space_discard(space, address(77), PAGE_SIZE), STATUS_OK);
	stays();
	assert_int_equal(entry(77).bits, 0);
	put(77, 78);
	assert_int_equal(collapse(), 1);
	contents();
}

static void somebody_holds_a_page(void **state)
{
	pfn_t held = host_frame(address(200).raw);

	(void)state;
	folio_get(arena.host, held);
	record(arena.host, STEP(RANGE_START) | STEP(PTE_CLEAR) | STEP(TLB_FLUSH) | STEP(RANGE_END) |
			   STEP(PTE_SET) | STEP(FOLIO_COPY));
	assert_int_equal(collapse(), 0);
	expect_steps(TRACE_RANGE_START, TRACE_PTE_CLEAR, TRACE_TLB_FLUSH, TRACE_RANGE_END,
		     TRACE_PTE_SET);
	stays();
	contents();
	folio_put(arena.host, held);
	assert_int_equal(collapse(), 1);
}

static void others_share_a_page(void **state)
{
	struct space *child;

	(void)state;
	assert_int_equal(space_fork(space, &child), STATUS_OK);
	stays();
	space_destroy(child);
	/* Its own again, though no entry says so. */
	assert_false(pte_own(entry(0)));
	assert_int_equal(collapse(), 1);
	contents();
}

static void not_wanted(void **state) NOT_CHECKED
{
	(void)state;
	space->vmas[0].max_level = LEVEL_4K;
	stays();
	space->vmas[0].max_level = LEVEL_2M;
	assert_int_equal(space_protect(space, address(9), PAGE_SIZE, PROTECTION_READ), STATUS_OK);
	stays();
	assert_int_equal(space_protect(space, hva(BACKING), 4 * MIB, PROTECTION_NONE), STATUS_OK);
	stays();
	assert_int_equal(space_protect(space, hva(BACKING), 4 * MIB, PROTECTION_READ_WRITE),
			 STATUS_OK);
	atomic_and(table_make(space, BACKING, LEVEL_4K), ~PTE_P);
	atomic_or(table_make(space, BACKING, LEVEL_4K), PTE_NONE);
	assert_int_equal(collapse(), 0);
	atomic_and(table_make(space, BACKING, LEVEL_4K), ~PTE_NONE);
	atomic_or(table_make(space, BACKING, LEVEL_4K), PTE_P);
	atomic_or(&folio_of(arena.host, host_frame(BACKING))->flags, FOLIO_KSM);
	assert_int_equal(collapse(), 0);
	atomic_and(&folio_of(arena.host, host_frame(BACKING))->flags, ~FOLIO_KSM);
	assert_int_equal(collapse(), 1);
}

/* Whole, aligned 2 MiB of the range only. */
static void parts(void **state)
{
	uint64_t collapsed;

	(void)state;
	assert_int_equal(space_collapse(space, address(1), 4 * MIB - PAGE_SIZE, &collapsed),
			 STATUS_OK);
	assert_int_equal(collapsed, 0);
	assert_int_equal(space_collapse(space, address(0), 2 * MIB - PAGE_SIZE, &collapsed),
			 STATUS_OK);
	assert_int_equal(collapsed, 0);
	assert_int_equal(space_collapse(space, hva(BACKING - PAGE_SIZE), 2 * MIB + PAGE_SIZE,
					&collapsed),
			 STATUS_OK);
	assert_int_equal(collapsed, 1);
	assert_int_equal(space_collapse(space, hva(BACKING + 1), PAGE_SIZE, &collapsed),
			 STATUS_BAD_RANGE);
	assert_int_equal(collapsed, 0);
	assert_int_equal(space_collapse(space, hva(SPACE_END - PAGE_SIZE), 2 * PAGE_SIZE,
					&collapsed),
			 STATUS_BAD_RANGE);
	assert_int_equal(space_collapse(space, hva(BACKING), 0, &collapsed), STATUS_BAD_RANGE);
}

static void no_memory(void **state)
{
	uint64_t collapsed, free_pages = page_count_free(arena.host);

	(void)state;
	remember();
	arena_fail_after(&arena, 0);
	assert_int_equal(space_collapse(space, hva(BACKING), 4 * MIB, &collapsed),
			 STATUS_NO_MEMORY);
	arena_fail_after(&arena, -1);
	assert_int_equal(collapsed, 0);
	for (uint64_t page = 0; page < PAGES; page++)
		assert_int_equal(entry(page).bits, before[page]);
	assert_int_equal(page_count_free(arena.host), free_pages);
	/* One allocation was asked for. */
	assert_int_equal(collapse(), 1);
}

/* ------------------------------------------------------------------ order, locks, the guest */

/* Steps of one kind that come one after the other are one. */
static struct order {
	struct trace trace;
	enum trace_step steps[128];
	uint64_t values[128];
	unsigned count;
} order;

static void note(struct trace *self, enum trace_step step, uint64_t subject, uint64_t value)
{
	(void)self;
	(void)subject;
	if (order.count && order.steps[order.count - 1] == step)
		return;
	assert_true(order.count < 128);
	order.steps[order.count] = step;
	order.values[order.count++] = value;
}

/*
 * S70: khugepaged announces what it takes (CLEAR), and sets the new entry plainly: no change_pte.
 * Linux: collapse_huge_page.
 */
static void in_order(void **state)
{
	static const enum trace_step expected[] = {
		TRACE_GATHER, TRACE_RANGE_INIT, TRACE_RANGE_START, TRACE_PTE_CLEAR, TRACE_TLB_FLUSH,
		TRACE_RANGE_END, TRACE_REF_TEST, TRACE_FOLIO_COPY, TRACE_PTE_CLEAR,
	};

	(void)state;
	order.trace.step = note;
	order.count = 0;
	arena.host->trace = &order.trace;
	assert_int_equal(collapse(), 1);
	arena.host->trace = NULL;
	for (unsigned i = 0; i < sizeof(expected) / sizeof(*expected); i++)
		assert_int_equal(order.steps[i], expected[i]);
	assert_int_equal(order.values[2], EVENT_CLEAR);
	for (unsigned i = 0; i < order.count; i++)
		assert_int_not_equal(order.steps[i], TRACE_CHANGE_PTE);
	/* Old pages are freed after another flush at the earliest; the table last. */
	assert_int_equal(order.steps[order.count - 1], TRACE_FOLIO_FREE);
}

static void seen_by_a_guest(void **state)
{
	(void)state;
	for (uint64_t page = 0; page < PAGES; page++)
		store_on(1, page * PAGE_SIZE, page + 1);
	assert_int_equal(level_at(0), LEVEL_4K);
	assert_int_equal(collapse(), 1);
	assert_int_equal(level_at(0), 0);
	for (uint64_t page = 0; page < PAGES; page++)
		assert_int_equal(load_on(1, page * PAGE_SIZE), page + 1);
	assert_int_equal(level_at(0), LEVEL_2M);
	store_on(1, 5 * PAGE_SIZE, 6);
	contents();
}

static void op_collapse(void) { (void)collapse(); }

static void locks(void **state)
{
	(void)state;
	all_leave();
	watch_locks(arena.host);
	/* Nothing to be done there: it only looks. */
	assert_int_equal(space_discard(space, address(0), PAGE_SIZE), STATUS_OK);
	assert_int_equal(waits_for(&space->lock, SHARED, op_collapse), 0);
	assert_int_equal(waits_for(&space->lock, EXCLUSIVE, op_collapse), 1);
	put(0, 1);
	other.host = NULL;
	assert_int_equal(waits_for(&space->lock, SHARED, op_collapse), 1);
	assert_int_equal(level(), LEVEL_2M);
	port_look_hook(NULL);
}

int main(void)
{
#define collapse_test(name) cmocka_unit_test_setup_teardown(name, open_small_pages, close_ept)
	const struct CMUnitTest tests[] = {
		collapse_test(copied), collapse_test(flags), collapse_test(in_place),
		collapse_test(a_hole), collapse_test(somebody_holds_a_page),
		collapse_test(others_share_a_page), collapse_test(not_wanted), collapse_test(parts),
		collapse_test(no_memory), collapse_test(in_order), collapse_test(seen_by_a_guest),
		collapse_test(locks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
