/*
 * Dirty logs: which pages a guest has stored to, no more and no less. Numbers in names are rows and
 * rules of the propagation table.
 */
#include "tests/unit/log_fixture.h"

static const struct log_options wp = { .kind = LOG_WRITE_PROTECT };
static const struct log_options dbit = { .kind = LOG_DIRTY_BIT };

/* ------------------------------------------------------------------ what is in it */

static void exactly_what_is_stored(const struct log_options *options)
{
	lend(PAGES * PAGE_SIZE, LEVEL_4K);
	for (uint64_t page = 0; page < PAGES; page += 3)
		store(1, page, 1);			/* before it is logged */
	enable(options);
	assert_int_equal(harvest(), 0);
	/* The same pages twice, then others. */
	for (unsigned round = 0; round < 3; round++) {
		uint64_t first = round / 2 * 3;

		for (uint64_t page = first; page < PAGES; page += 7) {
			load_on(1, (page + 1) % PAGES * PAGE_SIZE);
			store(1 + round, page, round);
		}
		assert_int_equal(harvest(), (PAGES - first + 6) / 7);
		for (uint64_t page = 0; page < PAGES; page++)
			assert_int_equal(has(page), page % 7 == first);
		assert_int_equal(harvest(), 0);
	}
	assert_int_equal(ept_log_disable(ept, gfn(0)), STATUS_OK);
}

static void s64_write_protection(void **state)
{
	(void)state;
	exactly_what_is_stored(&wp);
	/* The second round's stores are to leaves that stand, and take no lock. */
	assert_true(stats()->fast >= PAGES / 7);
}

/* A region that begins in the middle of a table, and another in front of and behind it. */
static void s64_a_word_of_two_tables(void **state)
{
	const uint64_t first = 480, pages = 100, all = 600;

	(void)state;
	map_host(BACKING, all * PAGE_SIZE, LEVEL_4K);
	add_region(0, first, BACKING, LEVEL_4K);
	add_region(first, pages, BACKING + first * PAGE_SIZE, LEVEL_4K);
	add_region(first + pages, all - first - pages, BACKING + (first + pages) * PAGE_SIZE,
		   LEVEL_4K);
	for (uint64_t page = 0; page < all; page++)
		store(1, page, 1);
	assert_int_equal(ept_log_enable(ept, gfn(first), &wp), STATUS_OK);
	assert_int_equal(stats()->made_read_only, pages);
	for (uint64_t round = 1; round < 4; round++) {
		for (uint64_t page = 0; page < all; page++)
			store(1, page, round);
		assert_int_equal(harvest_of(gfn(first)), pages);
		assert_int_equal(stats()->made_read_only, pages + round * pages);
	}
}

static void s64_dirty_bits(void **state)
{
	(void)state;
	exactly_what_is_stored(&dbit);
	assert_int_equal(stats()->made_read_only, 0);
}

/* What only D says is noted when the leaf goes. */
static void s64_leaves_that_go(void **state)
{
	(void)state;
	lend(PAGES * PAGE_SIZE, LEVEL_4K);
	enable(&dbit);
	load_on(1, 5 * PAGE_SIZE);
	load_on(1, 6 * PAGE_SIZE);
	assert_int_equal(harvest(), 0);
	store(1, 5, 1);
	assert_int_equal(space_discard(space, hva(BACKING), 64 * PAGE_SIZE), STATUS_OK);
	assert_int_equal(harvest(), 1);
	assert_true(has(5));
}

/* And when a bracket takes it from a leaf that stays. */
static void s64_leaves_that_lose_d(void **state)
{
	struct mm_range range;

	(void)state;
	lend(PAGES * PAGE_SIZE, LEVEL_4K);
	enable(&dbit);
	store(1, 5, 1);
	store(1, 6, 1);
	harvest();
	store(1, 5, 2);
	host_set_options(arena.host, OPTION_WRITE_PROTECT);
	write_lock(&space->lock);
	range = notifier_start(space, BACKING, BACKING + 64 * PAGE_SIZE, EVENT_WRITE_PROTECT);
	notifier_end(space, &range);
	write_unlock(&space->lock);
	assert_int_equal(level_at(5 * PAGE_SIZE), LEVEL_4K);
	assert_int_equal(harvest(), 1);
	assert_true(has(5));
}

/* What a device stores is noted on each page that it touches. */
static void s64_a_device(void **state)
{
	static const char bytes[2 * PAGE_SIZE];

	(void)state;
	lend(PAGES * PAGE_SIZE, LEVEL_4K);
	enable(&wp);
	assert_int_equal(ept_write_guest(ept, gpa(6 * PAGE_SIZE - 1), bytes, PAGE_SIZE + 2),
			 STATUS_OK);
	assert_int_equal(harvest(), 3);
	assert_true(has(5) && has(6) && has(7));
}

/* ------------------------------------------------------------------ the fast way */

/* S65: another holds the lock, exclusively, as long as it likes. */
static void s65_no_lock_is_taken(void **state)
{
	(void)state;
	lend(PAGES * PAGE_SIZE, LEVEL_4K);
	load_on(1, 0);
	enable(&wp);
	load_on(1, 64 * PAGE_SIZE);
	write_lock(&ept->lock);
	assert_int_equal(fault(0, ACCESS_WRITE), FAULT_FIXED);
	assert_int_equal(fault(64 * PAGE_SIZE, ACCESS_WRITE), FAULT_FIXED);
	assert_int_equal(fault(0, ACCESS_WRITE), FAULT_SPURIOUS);
	write_unlock(&ept->lock);
	assert_int_equal(stats()->fast, 2);
	assert_int_equal(harvest(), 2);
	assert_true(has(0) && has(64));
}

/*
 * U14, U15, U18: what is for the slow way, whatever the
 * processor has seen there. U17, a large leaf: U35, below.
 */
static void u14_not_by_the_fast_way(void **state)
{
	const enum access nothing = ACCESS_NONE, reads = (enum access)(ACCESS_READ | ACCESS_EXEC);

	(void)state;
	lend(PAGES * PAGE_SIZE, LEVEL_4K);
	load_on(1, 0);
	enable(&wp);
	/* U15: no leaf by now; U18: one that the host protects. */
	assert_int_equal(ept_fault(ept, gpa(PAGE_SIZE), ACCESS_WRITE, reads), FAULT_FIXED);
	assert_int_equal(space_protect(space, hva(BACKING), PAGE_SIZE, PROTECTION_READ), STATUS_OK);
	load_on(1, 0);
	assert_int_equal(ept_fault(ept, gpa(0), ACCESS_WRITE, reads), FAULT_NO_HOST);
	/* Not present, to the processor, which has A and D: a walk is not worth its while. */
	load_on(1, 2 * PAGE_SIZE);
	assert_int_equal(ept_fault(ept, gpa(2 * PAGE_SIZE), ACCESS_WRITE, nothing), FAULT_FIXED);
	/* Nor is it for a fetch from, or a read of, what is present. */
	assert_int_equal(ept_fault(ept, gpa(2 * PAGE_SIZE), ACCESS_EXEC, reads), FAULT_SPURIOUS);
	assert_int_equal(stats()->fast, 0);
	assert_int_equal(harvest(), 2);
	assert_true(has(1) && has(2));
}

/* U20: no flush, no mark; U2: whoever set MW has marked; U5: the log has it all the same. */
static void u20_what_it_does_not(void **state)
{
	(void)state;
	lend(PAGES * PAGE_SIZE, LEVEL_4K);
	store(1, 0, 1);
	enable(&wp);
	uint64_t flushes = stats()->flushes;
	uint64_t marks = host_read_count(arena.host, HOST_MARKS_DIRTY);

	assert_int_equal(fault(0, ACCESS_WRITE), FAULT_FIXED);
	assert_int_equal(stats()->flushes, flushes);
	assert_int_equal(host_read_count(arena.host, HOST_MARKS_DIRTY), marks);
	assert_int_equal(harvest(), 1);
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
	large(&wp);
}

static void u35_split_when_stored_to(void **state)
{
	(void)state;
	large(&(struct log_options){ .kind = LOG_WRITE_PROTECT, .lazy = true });
}

static void u35_dirty_bits_split_at_once(void **state)
{
	(void)state;
	large(&dbit);
}

static void u35_dirty_bits_split_later(void **state)
{
	(void)state;
	large(&(struct log_options){ .kind = LOG_DIRTY_BIT, .lazy = true });
}

/* Without memory for tables a large leaf stays, and cannot be stored to unseen. */
static void u35_no_memory_for_tables(void **state)
{
	(void)state;
	lend(4 * MIB, LEVEL_2M);
	store_on(1, 0, 7);
	arena_fail_after(&arena, 1);			/* not the bitmap's */
	enable(&wp);
	arena_fail_after(&arena, -1);
	assert_int_equal(level_at(0), LEVEL_2M);
	store_on(1, PAGE_SIZE, 8);
	assert_int_equal(harvest(), 1);
	assert_true(has(1));
}

/* ------------------------------------------------------------------ and large again */

/*
 * U34: where the host's page is large, the region has all of it, and nobody is about to change it.
 */
static void u34_large_again(void **state)
{
	(void)state;
	lend(6 * MIB, LEVEL_2M);
	store_on(1, 0, 7);
	store_on(1, 2 * MIB, 8);
	enable(&wp);
	store_on(1, 5 * PAGE_SIZE, 9);
	assert_int_equal(space_split(space, hva(BACKING + 2 * MIB), PAGE_SIZE), STATUS_OK);
	store_on(1, 2 * MIB, 8);
	assert_int_equal(level_at(0), LEVEL_4K);
	uint64_t flushes = stats()->flushes;

	assert_int_equal(ept_log_disable(ept, gfn(0)), STATUS_OK);
	assert_int_equal(level_at(0), LEVEL_2M);
	assert_int_equal(level_at(2 * MIB), LEVEL_4K);	/* the host has small ones by now */
	assert_int_equal(level_at(4 * MIB), 0);
	assert_int_equal(stats()->flushes, flushes + 1);
	assert_int_equal(stats()->joined, 1);
	uint64_t faults = stats()->faults[1];

	store_on(1, 9 * PAGE_SIZE, 10);				/* W is back for all of it */
	assert_int_equal(stats()->faults[1], faults);
	assert_int_equal(load_on(2, 0), 7);
	assert_int_equal(load_on(2, 5 * PAGE_SIZE), 9);
	ept_verify(ept);
}

static void u34_not_in_a_bracket(void **state)
{
	struct mm_range range;

	(void)state;
	lend(2 * MIB, LEVEL_2M);
	store_on(1, 0, 7);
	enable(&wp);
	write_lock(&space->lock);
	range = notifier_start(space, BACKING + PAGE_SIZE, BACKING + 2 * PAGE_SIZE, EVENT_CLEAR);
	assert_int_equal(ept_log_disable(ept, gfn(0)), STATUS_OK);
	notifier_end(space, &range);
	write_unlock(&space->lock);
	assert_int_equal(level_at(0), LEVEL_4K);
}

/* By 1 GiB: tables of tables first become tables of leaves. */
static void u34_by_a_gigabyte(void **state)
{
	(void)state;
	open_ept(2304, (struct ept_caps){ .max_level = LEVEL_1G, .accessed_dirty = true });
	lend(GIB, LEVEL_1G);
	store_on(1, 0, 7);
	assert_int_equal(level_at(0), LEVEL_1G);
	enable(&wp);
	assert_int_equal(level_at(GIB - PAGE_SIZE), LEVEL_4K);
	assert_int_equal(ept_log_disable(ept, gfn(0)), STATUS_OK);
	assert_int_equal(level_at(0), LEVEL_1G);
	assert_int_equal(stats()->joined, 513);
	uint64_t faults = stats()->faults[1];

	store_on(1, GIB / 2, 8);		/* no small leaf had W; MW says that all may */
	assert_int_equal(stats()->faults[1], faults);
	assert_int_equal(load_on(1, 0), 7);
	close_ept(NULL);
}

/* ------------------------------------------------------------------ by hand */

static void u30_read_then_cleared(void **state)
{
	const struct log_options manual = { .kind = LOG_WRITE_PROTECT, .manual = true };

	(void)state;
	lend(PAGES * PAGE_SIZE, LEVEL_4K);
	enable(&manual);
	for (uint64_t page = 0; page < PAGES; page += 2)
		store(1, page, 1);
	assert_int_equal(harvest(), PAGES / 2);
	assert_int_equal(harvest(), PAGES / 2);
	uint64_t flushes = stats()->flushes;

	/* Pages 64 to 191, all bits: those that stood. */
	assert_int_equal(ept_log_clear(ept, gfn(0), 64, 128,
				       (uint64_t[]){ UINT64_MAX, UINT64_MAX }),
			 STATUS_OK);
	assert_int_equal(stats()->flushes, flushes + 1);
	assert_int_equal(harvest(), PAGES / 2 - 64);
	assert_int_equal(ept_log_clear(ept, gfn(0), 64, 128,
				       (uint64_t[]){ UINT64_MAX, UINT64_MAX }),
			 STATUS_OK);
	assert_int_equal(stats()->flushes, flushes + 1);	/* none was really cleared */
	store(1, 190, 2);
	store(1, 0, 2);
	assert_int_equal(harvest(), PAGES / 2 - 63);
	assert_true(has(190) && has(0));
}

/*
 * S66: a guest stores to each page once while a harvester copies, 64 pages at a time; where it has
 * not been yet, before it comes there. Cleared all at once, each such store faults, and is reported
 * by the next harvest, though the copy has it. Cleared piece by piece, each before it is copied:
 * none.
 */
enum { PIECE = 64, COPIED = 8 * PIECE };

static uint64_t faults_while_copied(bool manual, uint64_t *again)
{
	const struct log_options options = { .kind = LOG_WRITE_PROTECT, .manual = manual };

	enable(&options);
	for (uint64_t page = 0; page < COPIED; page++)
		store(1, page, 1);
	assert_int_equal(harvest(), COPIED);
	uint64_t faults = stats()->faults[1];

	for (uint64_t first = 0; first < COPIED; first += PIECE) {
		for (uint64_t page = first; page < first + PIECE; page++)
			store(1, page, 2);
		all_leave();
		if (manual)
			assert_int_equal(ept_log_clear(ept, gfn(0), first, PIECE,
						       &words[first / 64]),
					 STATUS_OK);
	}
	faults = stats()->faults[1] - faults;
	*again = harvest();
	assert_int_equal(ept_log_disable(ept, gfn(0)), STATUS_OK);
	return faults;
}

static void s66_cleared_at_once_or_in_pieces(void **state)
{
	uint64_t again;

	(void)state;
	lend(PAGES * PAGE_SIZE, LEVEL_4K);
	assert_int_equal(faults_while_copied(false, &again), COPIED);
	assert_int_equal(again, COPIED);
	assert_int_equal(faults_while_copied(true, &again), 0);
	assert_int_equal(again, 0);
}

static void u31_initially_set(void **state)
{
	const struct log_options set = { .kind = LOG_WRITE_PROTECT, .manual = true,
					 .initially_set = true };

	(void)state;
	lend(4 * MIB, LEVEL_2M);
	store_on(1, 0, 1);
	uint64_t flushes = stats()->flushes;

	enable(&set);
	assert_int_equal(stats()->flushes, flushes);		/* nothing at all */
	assert_int_equal(level_at(0), LEVEL_2M);
	assert_int_equal(harvest(), 1024);
	store_on(1, PAGE_SIZE, 2);				/* no fault: its bit is set */
	assert_int_equal(level_at(0), LEVEL_2M);
	assert_int_equal(ept_log_clear(ept, gfn(0), 0, 1024, words), STATUS_OK);
	assert_int_equal(harvest(), 0);
	store_on(1, PAGE_SIZE, 3);
	assert_int_equal(level_at(0), LEVEL_4K);
	assert_int_equal(harvest(), 1);
	assert_true(has(1));
}

/* ------------------------------------------------------------------ refused, and ended */

static void refused(void **state)
{
	const struct log_options manual = { .kind = LOG_WRITE_PROTECT, .manual = true };

	(void)state;
	lend(PAGES * PAGE_SIZE, LEVEL_4K);
	assert_int_equal(ept_log_enable(ept, gfn(1), &wp), STATUS_NOT_FOUND);
	assert_int_equal(ept_log_enable(ept, gfn(PAGES), &wp), STATUS_NOT_FOUND);
	assert_int_equal(ept_log_get(ept, gfn(0), words), STATUS_NOT_FOUND);
	assert_int_equal(ept_log_disable(ept, gfn(0)), STATUS_NOT_FOUND);
	arena_fail_after(&arena, 0);
	assert_int_equal(ept_log_enable(ept, gfn(0), &wp), STATUS_NO_MEMORY);
	arena_fail_after(&arena, -1);
	enable(&wp);
	assert_int_equal(ept_log_enable(ept, gfn(0), &wp), STATUS_EXISTS);
	assert_int_equal(ept_log_clear(ept, gfn(0), 0, 64, words), STATUS_NOT_FOUND);
	assert_int_equal(ept_log_get(ept, gfn(1), words), STATUS_NOT_FOUND);
	assert_int_equal(ept_log_disable(ept, gfn(0)), STATUS_OK);
	enable(&manual);
	static const struct { uint64_t first, pages; } bad[] = {
		{ 0, 0 }, { 1, 64 }, { 0, 63 }, { 0, PAGES + 1 }, { UINT64_C(1) << 63, 64 },
		{ 64, UINT64_MAX }, { 1152, 64 },
	};

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(ept_log_clear(ept, gfn(0), bad[i].first, bad[i].pages, words),
				 STATUS_BAD_RANGE);
	memset(words, 0xff, sizeof(words));
	assert_int_equal(ept_log_clear(ept, gfn(0), 1088, PAGES - 1088, words), STATUS_OK);
}

static uint64_t pages_free(void)
{
	struct host_stats now;

	host_read_stats(arena.host, &now);
	return now.pages_free;
}

static void a_region_goes_with_its_log(void **state)
{
	(void)state;
	lend(PAGES * PAGE_SIZE, LEVEL_4K);
	uint64_t free = pages_free();

	enable(&wp);
	assert_int_equal(ept_region_remove(ept, gfn(0)), STATUS_OK);
	assert_int_equal(ept_log_get(ept, gfn(0), words), STATUS_NOT_FOUND);
	assert_int_equal(pages_free(), free);
}

static int open_bitless(void **state)
{
	(void)state;
	open_ept(64, (struct ept_caps){ .max_level = LEVEL_2M });
	return 0;
}

static void no_bits_but_software_s(void **state)
{
	unsigned level;

	(void)state;
	exactly_what_is_stored(&wp);
	assert_int_equal(ept_log_enable(ept, gfn(0), &dbit), STATUS_UNSUPPORTED);
	enable(&wp);
	assert_int_equal(space_discard(space, hva(BACKING), PAGE_SIZE), STATUS_OK);
	load_on(1, 0);
	assert_false(spte_dirty(leaf_at(0, &level)));
	store(1, 0, 9);
	assert_true(spte_dirty(leaf_at(0, &level)));
}

#define log_test(name) cmocka_unit_test_setup_teardown(name, open_small, close_ept)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		log_test(s64_write_protection), log_test(s64_dirty_bits),
		log_test(s64_a_word_of_two_tables),
		log_test(s64_leaves_that_go), log_test(s64_leaves_that_lose_d),
		log_test(s64_a_device), log_test(s65_no_lock_is_taken),
		log_test(u14_not_by_the_fast_way),
		log_test(u20_what_it_does_not), log_test(u35_split_at_once),
		log_test(u35_split_when_stored_to), log_test(u35_dirty_bits_split_at_once),
		log_test(u35_dirty_bits_split_later), log_test(u35_no_memory_for_tables),
		log_test(u34_large_again), log_test(u34_not_in_a_bracket),
		cmocka_unit_test(u34_by_a_gigabyte), log_test(u30_read_then_cleared),
		log_test(s66_cleared_at_once_or_in_pieces), log_test(u31_initially_set),
		log_test(refused), log_test(a_region_goes_with_its_log),
		cmocka_unit_test_setup_teardown(no_bits_but_software_s, open_bitless, close_ept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
