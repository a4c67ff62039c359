/*
 * Brackets that only protect: the leaf stays, W goes, and the next store asks the host. S numbers
 * are rows of the propagation table.
 */
#include "mm/store.h"
#include "tests/unit/ept_fixture.h"

static void bracket(enum mm_event event, uint64_t start, uint64_t bytes)
{
	write_lock(&space->lock);
	struct mm_range range = notifier_start(space, start, start + bytes, event);

	notifier_end(space, &range);
	write_unlock(&space->lock);
}

static uint64_t faults(void)
{
	return stats()->faults[0] + stats()->faults[1] + stats()->faults[2];
}

/* S56: the leaf stays, reads go on, the first store faults once and gets W where it is. */
static void s56_reads_go_on(void **state)
{
	(void)state;
	lend(4 * PAGE_SIZE, LEVEL_4K);
	for (uint64_t i = 0; i < 4; i++)
		store_on(1, i * PAGE_SIZE, 10 + i);
	struct ept_stats before = *stats();
	pfn_t frame = spte_frame(leaf(0));

	bracket(EVENT_WRITE_PROTECT, BACKING, 4 * PAGE_SIZE);
	assert_int_equal(kicked[1], 1);
	assert_int_equal(stats()->flushes, before.flushes + 1);
	assert_int_equal(stats()->zapped[0], 0);
	assert_int_equal(stats()->made_read_only, 4);
	assert_int_equal(leaf(0).bits & (SPTE_WRITE_BITS | SPTE_PRESENT), SPTE_PRESENT);
	assert_int_equal(spte_frame(leaf(0)).raw, frame.raw);
	ept_verify(ept);

	for (uint64_t i = 0; i < 4; i++)
		assert_int_equal(load_on(1, i * PAGE_SIZE), 10 + i);
	assert_int_equal(faults(), before.faults[1]);

	before = *stats();
	for (uint64_t i = 0; i < 4; i++)
		store_on(1, i * PAGE_SIZE, 20 + i);
	store_on(1, 0, 30);
	assert_int_equal(stats()->faults[1], before.faults[1] + 4);
	assert_int_equal(stats()->made_writable, 4);
	/* Rights only grow: nothing is flushed, nothing mapped anew. */
	assert_int_equal(stats()->flushes, before.flushes);
	assert_int_equal(stats()->mapped[0], 4);
	assert_true(spte_mmu_writable(leaf(0)) && spte_dirty(leaf(0)));
}

/*
 * The folio was marked when the leaf came; who has taken the mark finds it there after the next
 * store.
 */
static void next_store_marks_again(void **state)
{
	(void)state;
	lend(PAGE_SIZE, LEVEL_4K);
	store_on(1, 0, 1);
	atomic32_t *flags = &folio_of(arena.host, host_frame(BACKING))->flags;

	bracket(EVENT_MKCLEAN, BACKING, PAGE_SIZE);
	atomic_and(flags, ~FOLIO_DIRTY);
	load_on(1, 0);
	assert_int_equal(fault(0, ACCESS_READ), FAULT_SPURIOUS);
	assert_false(atomic_read(flags) & FOLIO_DIRTY);
	store_on(1, 0, 2);
	assert_true(atomic_read(flags) & FOLIO_DIRTY);
}

/* Of a large leaf all goes, and comes back in one. */
static void large_leaf(void **state)
{
	(void)state;
	lend(2 * MIB, LEVEL_2M);
	store_on(1, 0, 1);
	bracket(EVENT_WRITE_PROTECT, BACKING + 5 * PAGE_SIZE, PAGE_SIZE);
	assert_int_equal(level_at(0), LEVEL_2M);
	assert_false(spte_writable(leaf(0)));
	store_on(1, 3 * PAGE_SIZE, 2);
	assert_int_equal(level_at(0), LEVEL_2M);
	assert_true(spte_writable(leaf(0)));
	assert_int_equal(stats()->mapped[1], 1);
	assert_int_equal(stats()->zapped[1], 0);
}

/* A page of a leaf that the host has split meanwhile is no part of the large leaf: that goes. */
static void split_meanwhile(void **state)
{
	(void)state;
	lend(2 * MIB, LEVEL_2M);
	store_on(1, 0, 1);
	bracket(EVENT_WRITE_PROTECT, BACKING, PAGE_SIZE);
	assert_int_equal(space_split(space, hva(BACKING), 2 * MIB), STATUS_OK);
	/* The first page has the large leaf's frame, and its leaf all its bits. */
	store_on(1, 0, 2);
	assert_int_equal(level_at(0), LEVEL_4K);
	assert_int_equal(level_at(PAGE_SIZE), 0);
}

static void only_what_was_writable_costs(void **state)
{
	(void)state;
	lend(2 * PAGE_SIZE, LEVEL_4K);
	store_on(1, 0, 1);
	bracket(EVENT_WRITE_PROTECT, BACKING, PAGE_SIZE);
	uint64_t flushes = stats()->flushes;

	bracket(EVENT_WRITE_PROTECT, BACKING, 2 * PAGE_SIZE);
	assert_int_equal(stats()->flushes, flushes);
	assert_int_equal(stats()->made_read_only, 1);
}

static void all_regions(void **state)
{
	(void)state;
	lend(2 * PAGE_SIZE, LEVEL_4K);
	add_region(0x1000, 2, BACKING, LEVEL_4K);
	store_on(1, PAGE_SIZE, 1);
	store_on(1, 0x1001000, 1);
	store_on(1, 0, 1);
	bracket(EVENT_MKCLEAN, BACKING + PAGE_SIZE, PAGE_SIZE);
	assert_false(spte_writable(leaf(PAGE_SIZE)) || spte_writable(leaf(0x1001000)));
	assert_true(spte_writable(leaf(0)));
}

/* -------------------- who takes D, seen from the listener */

/*
 * The trace's ear: when D goes from the host's entry, or is judged, no leaf of the guest's page may
 * be written.
 */
static struct eye { struct trace trace; unsigned seen; enum mm_event event; } eye;

static void look(struct trace *self, enum trace_step step, uint64_t subject, uint64_t value)
{
	(void)self;
	(void)subject;
	if (step == TRACE_RANGE_INIT)
		eye.event = (enum mm_event)value;
	if (step != TRACE_PTE_MKCLEAN && step != TRACE_FOLIO_CLEAN && step != TRACE_DIRTY_TEST)
		return;
	assert_false(spte_writable(leaf(0)));
	eye.seen++;
}

static struct ram_store *store;
static struct file *file;

static int open_file(void **state)
{
	open_small(state);
	assert_int_equal(ram_store_create(arena.host, 1, &store), STATUS_OK);
	assert_int_equal(file_create(arena.host, ram_store_of(store), 1, &file), STATUS_OK);
	assert_int_equal(space_map_file(space, hva(BACKING), PAGE_SIZE, PROTECTION_READ_WRITE, file,
					0, SHARING_SHARED), STATUS_OK);
	add_region(0, 1, BACKING, LEVEL_4K);
	store_on(1, 0, 5);
	eye = (struct eye){ .trace.step = look };
	arena.host->trace = &eye.trace;
	return 0;
}

static int close_file(void **state)
{
	(void)state;
	arena.host->trace = NULL;
	all_leave();
	ept_verify(ept);
	ept_destroy(ept);
	space_destroy(space);
	assert_int_equal(file_destroy(file), STATUS_OK);
	ram_store_destroy(store);
	arena_close(&arena);
	return 0;
}

static void writeback(void) { assert_int_equal(file_sync(file), STATUS_OK); }

static void clean_record(void)
{
	uint64_t bits = 0, count;
	struct clean_record record = { .bitmap = &bits };

	assert_int_equal(file_clean_record(file, 0, 1, &record, &count), STATUS_OK);
	assert_int_equal(count, 1);
}

/* S43, S53: by what is in Linux, the leaf is gone. */
static void s53_zapped_before_dirtiness_is_used(void **state)
{
	(void)state;
	clean_record();
	assert_int_equal(eye.event, EVENT_PROTECTION_PAGE);
	assert_int_equal(leaf(0).bits, 0);
	assert_int_equal(eye.seen, 1);
	store_on(1, 0, 6);
	writeback();
	assert_int_equal(leaf(0).bits, 0);
	assert_int_equal(eye.seen, 3);
}

/* S23, S52: by what is proposed, it is read-only, and stays. */
static void s23_read_only_before_the_entry_is_clean(void **state)
{
	(void)state;
	host_set_options(arena.host, OPTION_MKCLEAN);
	uint64_t read = stats()->faults[0], zapped = stats()->zapped[0];

	clean_record();
	assert_int_equal(eye.event, EVENT_MKCLEAN);
	assert_int_equal(load_on(1, 0), 5);
	store_on(1, 0, 6);
	writeback();
	assert_int_equal(eye.seen, 3);
	assert_int_equal(load_on(1, 0), 6);
	assert_int_equal(stats()->faults[0], read);
	assert_int_equal(stats()->zapped[0], zapped);
	assert_false(folio_dirty(arena.host, host_frame(BACKING)));
	store_on(1, 0, 7);
	assert_true(folio_dirty(arena.host, host_frame(BACKING)));
}

/*
 * S42: the host's entry may be written and is clean, and so may the leaf over it. Its folio is
 * dirty.
 */
static void s42_writable_over_clean(void **state)
{
	(void)state;
	clean_record();
	arena.host->trace = NULL;
	store_on(1, 0, 6);

	write_lock(&space->lock);
	pte_t pte = table_find(space, BACKING).pte;

	write_unlock(&space->lock);
	assert_true(pte_writable(pte) && !pte_dirty(pte));
	assert_true(spte_writable(leaf(0)));
	assert_true(folio_dirty(arena.host, host_frame(BACKING)));
}

#define ept_test(name) cmocka_unit_test_setup_teardown(name, open_small, close_ept)
#define file_test(name) cmocka_unit_test_setup_teardown(name, open_file, close_file)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ept_test(s56_reads_go_on), ept_test(next_store_marks_again), ept_test(large_leaf),
		ept_test(split_meanwhile), ept_test(only_what_was_writable_costs),
		ept_test(all_regions), file_test(s53_zapped_before_dirtiness_is_used),
		file_test(s23_read_only_before_the_entry_is_clean),
		file_test(s42_writable_over_clean),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
