/*
 * Dirty logs by page-modification logging: what the processor lists comes into the log whenever it
 * leaves the guest. Numbers in names are rows and rules of the propagation table.
 */
#include "tests/unit/log_fixture.h"

static const struct log_options pml = { .kind = LOG_PML };
static pfn_t lists[SOFT_CPUS];

static int open_pml(void **state)
{
	(void)state;
	open_ept(64,
		 (struct ept_caps){ .max_level = LEVEL_1G, .accessed_dirty = true, .pml = true });
	for (unsigned i = 0; i < SOFT_CPUS; i++) {
		assert_int_equal(folio_alloc_zeroed(arena.host, ORDER_4K, &lists[i]), STATUS_OK);
		soft_give_list(&soft[i], lists[i]);
	}
	return 0;
}

static int close_pml(void **state)
{
	all_leave();
	for (unsigned i = 0; i < SOFT_CPUS; i++)
		folio_put(arena.host, lists[i]);
	return close_ept(state);
}

static void leave(unsigned cpu)
{
	port_set_cpu(cpu);
	soft_leave(&soft[cpu]);
	port_set_cpu(0);
}

static uint64_t violations(unsigned cpu) { return atomic_read(&soft[cpu].violations); }

/* ------------------------------------------------------------------ what is in it */

/* The CPUs stay inside from round to round: a harvest makes them hand over. */
static void s64_exactly_what_is_stored(void **state)
{
	(void)state;
	lend(PAGES * PAGE_SIZE, LEVEL_4K);
	for (uint64_t page = 0; page < PAGES; page += 3)
		store(1, page, 1);			/* before it is logged */
	enable(&pml);
	assert_int_equal(harvest(), 0);
	for (unsigned round = 0; round < 3; round++) {
		uint64_t first = round / 2 * 3;

		for (uint64_t page = first; page < PAGES; page += 7) {
			load_on(1, (page + 1) % PAGES * PAGE_SIZE);
			store(1 + round, page, round);
			store(1, page, round);
		}
		assert_int_equal(harvest(), (PAGES - first + 6) / 7);
		for (uint64_t page = 0; page < PAGES; page++)
			assert_int_equal(has(page), page % 7 == first);
		assert_int_equal(harvest(), 0);
	}
	assert_int_equal(stats()->made_read_only, 0);
	assert_int_equal(ept_log_disable(ept, gfn(0)), STATUS_OK);
	/* And with the log went the list. */
	store(1, 0, 1);
	assert_false(soft[1].logged || soft[1].pml);
}

/* No fault, no lock, no D to look for: a store to a leaf that stands costs the list's entry. */
static void s64_a_store_is_no_exit(void **state)
{
	(void)state;
	lend(PAGES * PAGE_SIZE, LEVEL_4K);
	for (uint64_t page = 0; page < 100; page++)
		load_on(1, page * PAGE_SIZE);
	enable(&pml);
	load_on(1, 0);
	uint64_t exits = violations(1);

	for (uint64_t page = 0; page < 100; page++)
		store(1, page, 1);
	assert_int_equal(violations(1), exits);
	assert_int_equal(soft[1].pml_index, EPT_PML_LAST - 100);
	assert_int_equal(harvest(), 100);
	assert_int_equal(soft[1].pml_index, EPT_PML_LAST);
}

/* By two CPUs, who are outside by then: nobody is kicked. */
static void u32_emptied_by_every_exit(void **state)
{
	(void)state;
	lend(PAGES * PAGE_SIZE, LEVEL_4K);
	enable(&pml);
	for (uint64_t page = 0; page < 8; page++)
		load_on(1, page * PAGE_SIZE);
	store(1, 3, 1);
	store(2, 4, 1);
	leave(1);
	leave(2);
	assert_int_equal(soft[1].pml_index, EPT_PML_LAST);
	uint64_t kicks = stats()->kicks;

	assert_int_equal(harvest(), 2);
	assert_true(has(3) && has(4));
	assert_int_equal(stats()->kicks, kicks);
}

/* U32: 512 entries, then an exit that empties it, and on. */
static void u32_the_list_is_full(void **state)
{
	(void)state;
	lend(PAGES * PAGE_SIZE, LEVEL_4K);
	for (uint64_t page = 0; page < PAGES; page++)
		load_on(1, page * PAGE_SIZE);
	enable(&pml);
	load_on(1, 0);
	uint64_t entries = atomic_read(&soft[1].entries);

	for (uint64_t page = 0; page < PAGES; page++)
		store(1, page, page);
	assert_int_equal(atomic_read(&soft[1].entries), entries + 2);
	assert_int_equal(soft[1].pml_index, EPT_PML_LAST - (PAGES - 1024));
	assert_int_equal(harvest(), PAGES);
	for (uint64_t page = 0; page < PAGES; page++)
		assert_int_equal(load_on(2, page * PAGE_SIZE), page);
}

/* Full to the last place, and not one more: the index is 0xffff. */
static void u32_full_to_the_brim(void **state)
{
	(void)state;
	lend(PAGES * PAGE_SIZE, LEVEL_4K);
	for (uint64_t page = 0; page < 512; page++)
		load_on(1, page * PAGE_SIZE);
	enable(&pml);
	for (uint64_t page = 0; page < 512; page++)
		store(1, page, 1);
	assert_int_equal(soft[1].pml_index, UINT16_MAX);
	assert_int_equal(harvest(), 512);
	assert_true(has(0) && has(511));
}

/* ------------------------------------------------------------------ leaves that go */

static void u32_the_list_outlives_the_leaf(void **state)
{
	(void)state;
	lend(PAGES * PAGE_SIZE, LEVEL_4K);
	enable(&pml);
	for (uint64_t page = 5; page < 8; page++)
		load_on(1, page * PAGE_SIZE);
	store(1, 5, 1);
	assert_int_equal(soft[1].pml_index, EPT_PML_LAST - 1);
	assert_int_equal(space_discard(space, hva(BACKING), 64 * PAGE_SIZE), STATUS_OK);
	assert_int_equal(level_at(5 * PAGE_SIZE), 0);
	assert_int_equal(harvest(), 1);
	assert_true(has(5));
}

/* D goes alone; what it said is in the log. */
static void u32_leaves_that_lose_d(void **state)
{
	struct mm_range range;

	(void)state;
	lend(PAGES * PAGE_SIZE, LEVEL_4K);
	enable(&pml);
	store(1, 5, 1);
	store(1, 6, 1);
	harvest();
	store(1, 5, 2);
	host_set_options(arena.host, OPTION_WRITE_PROTECT);
	write_lock(&space->lock);
	range = notifier_start(space, BACKING, BACKING + 64 * PAGE_SIZE, EVENT_WRITE_PROTECT);
	notifier_end(space, &range);
	write_unlock(&space->lock);
	assert_int_equal(harvest(), 1);
	assert_true(has(5));
	store(1, 6, 3);					/* by a fault, in place */
	assert_int_equal(harvest(), 1);
	assert_true(has(6));
}

/* ------------------------------------------------------------------ whose the entries are */

static void list_and_leave(uint16_t index)
{
	port_set_cpu(3);
	(void)!ept_enter(ept);
	ept_leave_logged(ept, pfn_to_ptr(lists[3]), index);
	port_set_cpu(0);
}

/* No region, no log, a log of another kind, the page past the end; bits 11:0 are anything. */
static void u32_entries_of_nobody(void **state)
{
	static const struct log_options wp = { .kind = LOG_WRITE_PROTECT };
	uint64_t *list = pfn_to_ptr(lists[3]);

	(void)state;
	lend(64 * PAGE_SIZE, LEVEL_4K);
	map_host(BACKING + GIB, 64 * PAGE_SIZE, LEVEL_4K);
	add_region(1000, 64, BACKING + GIB, LEVEL_4K);
	map_host(BACKING + 2 * GIB, 64 * PAGE_SIZE, LEVEL_4K);
	add_region(2000, 64, BACKING + 2 * GIB, LEVEL_4K);
	enable(&pml);
	assert_int_equal(ept_log_enable(ept, gfn(1000), &wp), STATUS_OK);
	for (unsigned i = 0; i < 512; i++)
		list[i] = 63 * PAGE_SIZE;		/* what is not new */
	list[511] = 7 * PAGE_SIZE + 0xff8;
	list[510] = 64 * PAGE_SIZE;
	list[509] = 1003 * PAGE_SIZE;
	list[508] = 2003 * PAGE_SIZE;
	list[507] = UINT64_MAX;
	list[506] = 0;
	list_and_leave(505);
	assert_int_equal(harvest(), 2);
	assert_true(has(7) && has(0));
	assert_int_equal(harvest_of(gfn(1000)), 0);
	list_and_leave(EPT_PML_LAST);
	assert_int_equal(harvest(), 0);
	list_and_leave(UINT16_MAX);
	assert_int_equal(harvest(), 3);
	/* An entry of a log that has ended meanwhile is nobody's, too. */
	assert_int_equal(ept_log_disable(ept, gfn(0)), STATUS_OK);
	list_and_leave(505);
}

/* ------------------------------------------------------------------ large leaves */

static void large(const struct log_options *options)
{
	uint64_t at = 3 * PAGE_SIZE;

	lend(4 * MIB, LEVEL_2M);
	store_on(1, at, 7);
	assert_int_equal(level_at(at), LEVEL_2M);
	enable(options);
	assert_int_equal(level_at(at), options->lazy ? LEVEL_2M : LEVEL_4K);
	assert_int_equal(harvest(), 0);
	store_on(1, 5 * PAGE_SIZE, 8);
	assert_int_equal(level_at(at), LEVEL_4K);		/* one page is stored to, not 512 */
	assert_int_equal(harvest(), 1);
	assert_true(has(5));
	store_on(1, 5 * PAGE_SIZE, 9);
	store_on(1, 6 * PAGE_SIZE, 9);
	assert_int_equal(harvest(), 2);
	assert_true(has(5) && has(6));
	assert_int_equal(load_on(1, at), 7);
	store_on(2, 2 * MIB, 9);
	assert_int_equal(level_at(2 * MIB), LEVEL_4K);
	assert_int_equal(harvest(), 1);
	assert_true(has(512));
	assert_int_equal(stats()->split, 1);
	ept_verify(ept);
}

static void u35_split_at_once(void **state)
{
	(void)state;
	large(&pml);
}

static void u35_split_when_stored_to(void **state)
{
	(void)state;
	large(&(struct log_options){ .kind = LOG_PML, .lazy = true });
}

/* ------------------------------------------------------------------ by hand */

static void u30_read_then_cleared(void **state)
{
	const struct log_options manual = { .kind = LOG_PML, .manual = true };
	uint64_t all[2] = { UINT64_MAX, UINT64_MAX };

	(void)state;
	lend(PAGES * PAGE_SIZE, LEVEL_4K);
	for (uint64_t page = 0; page < PAGES; page++)
		load_on(1, page * PAGE_SIZE);
	enable(&manual);
	for (uint64_t page = 0; page < 256; page += 2)
		store(1, page, 1);
	assert_int_equal(harvest(), 128);
	assert_int_equal(harvest(), 128);
	store(1, 65, 1);				/* listed, not noted yet, and cleared */
	assert_int_equal(ept_log_clear(ept, gfn(0), 64, 128, all), STATUS_OK);
	assert_int_equal(harvest(), 64);
	store(1, 65, 2);
	store(1, 66, 2);
	store(1, 0, 2);
	assert_int_equal(harvest(), 66);
	assert_true(has(65) && has(66));
}

static void u31_initially_set(void **state)
{
	const struct log_options set = { .kind = LOG_PML, .manual = true, .initially_set = true };

	(void)state;
	lend(4 * MIB, LEVEL_2M);
	store_on(1, 0, 1);
	uint64_t flushes = stats()->flushes;

	enable(&set);
	assert_int_equal(stats()->flushes, flushes);
	assert_int_equal(level_at(0), LEVEL_2M);
	assert_int_equal(harvest(), 1024);
	store_on(1, PAGE_SIZE, 2);
	assert_int_equal(level_at(0), LEVEL_2M);
	assert_int_equal(ept_log_clear(ept, gfn(0), 0, 1024, words), STATUS_OK);
	assert_int_equal(harvest(), 0);
	store_on(1, PAGE_SIZE, 3);
	assert_int_equal(level_at(0), LEVEL_4K);
	assert_int_equal(harvest(), 1);
	assert_true(has(1));
}

/* ---------------------------------- who is inside when it begins */

/*
 * CPU 1 runs without a list; no leaf has anything to lose, so nothing is flushed. It has to leave
 * all the same: it would set D unseen.
 */
static void u29_who_is_inside_leaves(void **state)
{
	(void)state;
	lend(PAGES * PAGE_SIZE, LEVEL_4K);
	enable(&pml);
	load_on(1, 5 * PAGE_SIZE);
	assert_int_equal(harvest(), 0);
	assert_int_equal(ept_log_disable(ept, gfn(0)), STATUS_OK);
	load_on(1, 5 * PAGE_SIZE);
	assert_false(soft[1].logged);
	enable(&pml);
	store(1, 5, 1);
	assert_true(soft[1].logged);
	assert_int_equal(harvest(), 1);
	assert_true(has(5));
}

/* Another region's log goes on when one ends. */
static void the_last_log_ends_it(void **state)
{
	(void)state;
	lend(64 * PAGE_SIZE, LEVEL_4K);
	map_host(BACKING + GIB, 64 * PAGE_SIZE, LEVEL_4K);
	add_region(1000, 64, BACKING + GIB, LEVEL_4K);
	load_on(1, 1003 * PAGE_SIZE);
	enable(&pml);
	assert_int_equal(ept_log_enable(ept, gfn(1000), &pml), STATUS_OK);
	load_on(1, 1003 * PAGE_SIZE);
	assert_int_equal(ept_region_remove(ept, gfn(0)), STATUS_OK);
	store(1, 1003, 1);
	assert_int_equal(harvest_of(gfn(1000)), 1);
	assert_true(has(3));
	assert_int_equal(ept_log_disable(ept, gfn(1000)), STATUS_OK);
	load_on(1, 1003 * PAGE_SIZE);
	assert_false(soft[1].logged);
}

static void refused(void **state)
{
	(void)state;
	lend(PAGES * PAGE_SIZE, LEVEL_4K);
	ept->caps.pml = false;
	assert_int_equal(ept_log_enable(ept, gfn(0), &pml), STATUS_UNSUPPORTED);
	ept->caps.pml = true;
	ept->caps.accessed_dirty = false;
	assert_int_equal(ept_log_enable(ept, gfn(0), &pml), STATUS_UNSUPPORTED);
	ept->caps.accessed_dirty = true;
	enable(&pml);
	assert_int_equal(ept_log_enable(ept, gfn(0), &pml), STATUS_EXISTS);
}

#define pml_test(name) cmocka_unit_test_setup_teardown(name, open_pml, close_pml)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		pml_test(s64_exactly_what_is_stored), pml_test(s64_a_store_is_no_exit),
		pml_test(u32_emptied_by_every_exit), pml_test(u32_the_list_is_full),
		pml_test(u32_full_to_the_brim), pml_test(u32_the_list_outlives_the_leaf),
		pml_test(u32_leaves_that_lose_d), pml_test(u32_entries_of_nobody),
		pml_test(u35_split_at_once), pml_test(u35_split_when_stored_to),
		pml_test(u30_read_then_cleared), pml_test(u31_initially_set),
		pml_test(u29_who_is_inside_leaves), pml_test(the_last_log_ends_it),
		pml_test(refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
