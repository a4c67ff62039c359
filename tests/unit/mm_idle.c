/* Idle page tracking: who uses a page ends its idleness, by whichever way; nobody else does. */
#include "mm/store.h"
#include "tests/unit/ept_fixture.h"
#include "tests/unit/lock_fixture.h"
#include "tests/unit/trace_fixture.h"

enum { PAGES = 8, WORDS = 64 * MIB / PAGE_SIZE / 64 };

static uint64_t bitmap[WORDS];

static uint64_t address(uint64_t page) { return BACKING + page * PAGE_SIZE; }

static int open_touched(void **state)
{
	open_small(state);
	lend(PAGES * PAGE_SIZE, LEVEL_4K);
	for (uint64_t page = 0; page < PAGES; page++)
		store_on(1, page * PAGE_SIZE, page);
	return 0;
}

/* The arena's frames: from which one, and how many. */
static pfn_t first(void) { return pfn(host_frame(BACKING).raw & ~(uint64_t)63); }

static void mark(uint64_t at, uint64_t pages)
{
	for (uint64_t page = 0; page < pages; page++) {
		uint64_t frame = host_frame(at + page * PAGE_SIZE).raw;
		uint64_t word = UINT64_C(1) << frame % 64;

		assert_int_equal(idle_mark(arena.host, pfn(frame & ~(uint64_t)63), 64, &word),
				 STATUS_OK);
	}
}

static bool idle(uint64_t at)
{
	uint64_t frame = host_frame(at).raw, word;

	assert_int_equal(idle_read(arena.host, pfn(frame & ~(uint64_t)63), 64, &word), STATUS_OK);
	return word >> frame % 64 & 1;
}

static uint32_t flags_of(uint64_t at)
{
	return atomic_read(&folio_of(arena.host, host_frame(at))->flags);
}

/* S97: set idle; the guest touches; idle is clear, and what is untouched stays idle. */
static void guest_touches(void **state)
{
	(void)state;
	for (uint64_t page = 0; page < PAGES; page++)
		assert_false(idle(address(page)));
	mark(BACKING, PAGES);
	for (unsigned times = 0; times < 2; times++)
		for (uint64_t page = 0; page < PAGES; page++)
			assert_true(idle(address(page)));
	soft_evict(&soft[1], gpa(3 * PAGE_SIZE));
	(void)load_on(1, 3 * PAGE_SIZE);
	soft_evict(&soft[1], gpa(5 * PAGE_SIZE));
	store_on(1, 5 * PAGE_SIZE, 1);
	for (unsigned times = 0; times < 2; times++)
		for (uint64_t page = 0; page < PAGES; page++)
			assert_int_equal(idle(address(page)), page != 3 && page != 5);
	assert_int_equal(stats()->zapped[0], 0);
}

/* S97: by the process, through its own entries; by one who holds the page and says so. */
static void process_touches(void **state)
{
	uint64_t value = 1;

	(void)state;
	mark(BACKING, PAGES);
	assert_int_equal(space_read(space, hva(address(1)), &value, 8), STATUS_OK);
	assert_int_equal(space_write(space, hva(address(2)), &value, 8), STATUS_OK);
	folio_mark_accessed(arena.host, host_frame(address(4)));
	for (uint64_t page = 0; page < PAGES; page++)
		assert_int_equal(idle(address(page)), page != 1 && page != 2 && page != 4);
}

static pte_t entry(uint64_t at) NOT_CHECKED { return table_find(space, at).pte; }

/* Reclaim looks at A, which is gone: it must find YOUNG instead, if there was a use. */
static void reclaim_is_told(void **state)
{
	(void)state;
	assert_false(flags_of(BACKING) & FOLIO_YOUNG);
	mark(BACKING, 1);
	assert_true(flags_of(BACKING) & FOLIO_YOUNG);
	atomic_and(&folio_of(arena.host, host_frame(BACKING))->flags, ~FOLIO_YOUNG);
	assert_true(idle(BACKING));
	mark(BACKING, 1);
	assert_false(flags_of(BACKING) & FOLIO_YOUNG);
	soft_evict(&soft[1], gpa(0));
	(void)load_on(1, 0);
	assert_false(idle(BACKING));
	assert_true(flags_of(BACKING) & FOLIO_YOUNG);
	assert_false(flags_of(BACKING) & FOLIO_LOCKED);
}

/*
 * Linux: page_idle_clear_pte_refs_one, ptep_clear_young_notify: the entry, then who listens;
 * nothing else.
 */
static void in_order(void **state)
{
	(void)state;
	record(arena.host, STEP_ALL);
	mark(BACKING, 1);
	expect_steps(TRACE_PTE_MKOLD, TRACE_YOUNG_TEST);
	assert_int_equal(recording.steps[1].value, 1);
	assert_int_equal(recording.steps[1].subject, BACKING);
	/* The CPU's D stays. */
	assert_int_equal(space_write(space, hva(BACKING), &(uint64_t){ 1 }, 8), STATUS_OK);
	record(arena.host, STEP(PTE_MKOLD));
	mark(BACKING, 1);
	expect_steps(TRACE_PTE_MKOLD);
	assert_int_equal(recording.steps[0].value & (PTE_D | PTE_A | PTE_W), PTE_D | PTE_W);
	assert_int_equal(entry(BACKING).bits, recording.steps[0].value);
}

/* A folio is idle as a whole, whichever of its frames is asked about, and asked once. */
static void large(void **state)
{
	uint64_t words[8];

	(void)state;
	map_host(BACKING + 2 * GIB, 2 * MIB, LEVEL_2M);
	assert_int_equal(space_read(space, hva(BACKING + 2 * GIB), words, 8), STATUS_OK);

	pfn_t head = host_frame(BACKING + 2 * GIB);

	memset(words, 0xff, sizeof(words));
	record(arena.host, STEP(PTE_MKOLD));
	assert_int_equal(idle_mark(arena.host, head, 512, words), STATUS_OK);
	expect_steps(TRACE_PTE_MKOLD);
	memset(words, 0, sizeof(words));
	record(arena.host, STEP(PTE_MKOLD));
	assert_int_equal(idle_read(arena.host, head, 512, words), STATUS_OK);
	expect_steps(TRACE_PTE_MKOLD);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(words[i], UINT64_MAX);
	assert_int_equal(space_read(space, hva(BACKING + 2 * GIB + 300 * PAGE_SIZE), words, 8),
			 STATUS_OK);
	memset(words, 0xff, sizeof(words));
	assert_int_equal(idle_read(arena.host, head, 512, words), STATUS_OK);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(words[i], 0);
}

/* A page that moves is as idle as it was. Linux: folio_migrate_flags. */
static void moved(void **state)
{
	uint64_t count;

	(void)state;
	mark(BACKING, 2);
	store_on(2, PAGE_SIZE, 1);
	assert_int_equal(space_migrate(space, hva(BACKING), 2 * PAGE_SIZE, &count), STATUS_OK);
	assert_int_equal(count, 2);
	assert_true(flags_of(BACKING) & FOLIO_YOUNG);
	assert_true(idle(BACKING));
}

/* A file's page; its reader's entry counts as every other. */
static void of_a_file(void **state)
{
	struct ram_store *store;
	struct file *file;
	uint64_t at = BACKING + GIB, value;

	(void)state;
	assert_int_equal(ram_store_create(arena.host, 1, &store), STATUS_OK);
	assert_int_equal(file_create(arena.host, ram_store_of(store), 1, &file), STATUS_OK);
	assert_int_equal(space_map_file(space, hva(at), PAGE_SIZE, PROTECTION_READ, file, 0,
					SHARING_SHARED), STATUS_OK);
	assert_int_equal(space_read(space, hva(at), &value, 8), STATUS_OK);
	mark(at, 1);
	assert_true(idle(at));
	assert_int_equal(space_read(space, hva(at), &value, 8), STATUS_OK);
	assert_false(idle(at));
	assert_int_equal(space_unmap(space, hva(at), PAGE_SIZE), STATUS_OK);
	assert_int_equal(file_destroy(file), STATUS_OK);
	ram_store_destroy(store);
}

/* Free memory, tables, mm's own: never idle, never touched, and no reference is left behind. */
static void everything(void **state)
{
	(void)state;
	memset(bitmap, 0xff, sizeof(bitmap));
	assert_int_equal(idle_mark(arena.host, first(), 64 * WORDS, bitmap), STATUS_OK);
	memset(bitmap, 0xff, sizeof(bitmap));
	assert_int_equal(idle_read(arena.host, first(), 64 * WORDS, bitmap), STATUS_OK);

	uint64_t idle_frames = 0;

	for (unsigned i = 0; i < WORDS; i++)
		idle_frames += (uint64_t)__builtin_popcountll(bitmap[i]);
	assert_int_equal(idle_frames, PAGES);
	host_verify(arena.host);
	for (uint64_t page = 0; page < PAGES; page++) {
		assert_true(idle(address(page)));
		assert_int_equal(folio_refcount(arena.host, host_frame(address(page))), 1);
	}
}

static void bad_ranges(void **state)
{
	static const struct { uint64_t first, frames; } cases[] = {
		{ 0, 0 }, { 1, 64 }, { 0, 1 }, { 32, 64 }, { 64, 63 },
		{ RAM_END >> PAGE_SHIFT, 64 }, { (RAM_END >> PAGE_SHIFT) - 64, 128 },
		{ UINT64_MAX - 63, 64 }, { UINT64_MAX - 63, 128 }, { 64, UINT64_MAX - 63 },
	};
	uint64_t words[2] = { UINT64_MAX, 5 };

	(void)state;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		assert_int_equal(idle_mark(arena.host, pfn(cases[i].first), cases[i].frames, words),
				 STATUS_BAD_RANGE);
		assert_int_equal(idle_read(arena.host, pfn(cases[i].first), cases[i].frames, words),
				 STATUS_BAD_RANGE);
	}
	assert_int_equal(words[0], UINT64_MAX);
	assert_int_equal(words[1], 5);
	/* No memory there. */
	assert_int_equal(idle_read(arena.host, pfn((RAM_END >> PAGE_SHIFT) - 64), 64, words),
			 STATUS_OK);
	assert_int_equal(words[0], 0);
	assert_int_equal(words[1], 5);
}

/* What looks like a folio, and has no reference any more or not yet, is none. */
static void on_its_way(void **state)
{
	pfn_t frame, found;

	(void)state;
	assert_int_equal(folio_alloc(arena.host, ORDER_4K, &frame), STATUS_OK);
	assert_false(folio_find(arena.host, frame, &found));
	folio_make_anon(arena.host, frame, 1, 2);
	assert_true(folio_find(arena.host, frame, &found));
	assert_int_equal(folio_refcount(arena.host, frame), 2);
	folio_put(arena.host, frame);
	atomic_write(&page_folio(arena.host, frame)->refcount, 0);
	assert_false(folio_find(arena.host, frame, &found));
	atomic_write(&page_folio(arena.host, frame)->refcount, 1);
	folio_put(arena.host, frame);
	assert_false(folio_find(arena.host, frame, &found));
}

static void op_idle(void) { (void)idle(BACKING); }

static void locks(void **state)
{
	(void)state;
	all_leave();
	mark(BACKING, 1);
	watch_locks(arena.host);
	takes(EXCLUSIVE, &space->lock, op_idle);
	port_look_hook(NULL);
}

int main(void)
{
#define idle_test(name) cmocka_unit_test_setup_teardown(name, open_touched, close_ept)
	const struct CMUnitTest tests[] = {
		idle_test(guest_touches), idle_test(process_touches), idle_test(reclaim_is_told),
		idle_test(in_order), idle_test(large), idle_test(moved), idle_test(of_a_file),
		idle_test(everything), idle_test(bad_ranges), idle_test(on_its_way),
		idle_test(locks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
