/*
 * Swap: anonymous pages out and in, slots and their counts, errors. Numbers in names are rows of
 * the propagation table.
 */
#include "mm/reclaim.h"
#include "mm/swap.h"
#include "tests/unit/disk_fixture.h"
#include "tests/unit/space_fixture.h"
#include "tests/unit/lock_fixture.h"
#include "tests/unit/trace_fixture.h"

enum { SLOTS = 8 };

static struct host *host(void) { return arena.host; }

static int open_swap(void **state)
{
	if (open_space(state))
		return -1;
	return host_swap_on(host(), disk_open(), SLOTS) == STATUS_OK ? 0 : -1;
}

static int close_swap(void **state)
{
	(void)state;
	host_verify(host());
	space_verify(space);
	space_destroy(space);
	assert_int_equal(host_swap_off(host()), STATUS_OK);
	arena_close(&arena);
	return 0;
}

#define swap_test(name) cmocka_unit_test_setup_teardown(name, open_swap, close_swap)

static void put_in(struct space *whose, uint64_t at, uint64_t value)
{
	assert_int_equal(space_write(whose, hva(at), &value, sizeof(value)), STATUS_OK);
}

static uint64_t get_from(struct space *whose, uint64_t at)
{
	uint64_t value = 0;

	assert_int_equal(space_read(whose, hva(at), &value, sizeof(value)), STATUS_OK);
	return value;
}

static void put(uint64_t at, uint64_t value) { put_in(space, at, value); }
static uint64_t get(uint64_t at) { return get_from(space, at); }
static pte_t pte_at(uint64_t at) { return entry(at).pte; }
static pfn_t frame_at(uint64_t at) { return pte_frame(pte_at(at)); }

static uint64_t reclaim_one(pfn_t frame)
{
	folio_get(host(), frame);
	return reclaim_frames(host(), &frame, 1);
}

static uint64_t swap_out(uint64_t at) { return reclaim_one(frame_at(at)); }

static void expect_swap(uint64_t used, uint64_t cached)
{
	struct swap_stats stats;

	host_read_swap(host(), &stats);
	assert_int_equal(stats.used, used);
	assert_int_equal(stats.cached, cached);
	host_verify(host());
	space_verify(space);
}

/* ------------------------------------------------------------------ there and back */

static void there_and_back(void **state)
{
	(void)state;
	map(BASE, 2 * PAGE_SIZE, LEVEL_4K);
	put(BASE, 7);
	put(BASE + PAGE_SIZE, 8);
	assert_int_equal(swap_out(BASE), 1);
	assert_true(pte_is_swap(pte_at(BASE)));
	expect_swap(1, 0);
	assert_int_equal(disk.writes, 1);
	assert_int_equal(get(BASE), 7);
	assert_int_equal(get(BASE + PAGE_SIZE), 8);
	/* Read: the slot still has the content, so it costs no write to take the page again. */
	expect_swap(1, 1);
	assert_true(pte_own(pte_at(BASE)) && pte_writable(pte_at(BASE)) &&
		    !pte_dirty(pte_at(BASE)));
	assert_int_equal(swap_out(BASE), 1);
	assert_int_equal(disk.writes, 1);
	assert_int_equal(get(BASE), 7);
	/* Stored to: it does. */
	put(BASE, 9);
	assert_int_equal(swap_out(BASE), 1);
	assert_int_equal(disk.writes, 2);
	expect_swap(1, 0);
	/* A store that comes for it: the slot is given up at once. */
	put(BASE + 8, 1);
	expect_swap(0, 0);
	assert_int_equal(get(BASE), 9);
	assert_true(folio_dirty(host(), frame_at(BASE)));
	assert_int_equal(disk.reads, 3);
}

/*
 * S13: only dirty moves from the entry to the folio; S96: an evicted page is not marked accessed.
 */
static void s13_s96_swap_out_moves_only_dirty(void **state)
{
	(void)state;
	map(BASE, PAGE_SIZE, LEVEL_4K);
	put(BASE, 1);
	pfn_t frame = frame_at(BASE);
	uint64_t marks = host_read_count(host(), HOST_MARKS_ACCESSED);

	assert_int_equal(pte_at(BASE).bits & (PTE_A | PTE_D), PTE_A | PTE_D);
	assert_false(folio_dirty(host(), frame));
	folio_get(host(), frame);			/* so that it stays, to be looked at */
	assert_int_equal(reclaim_one(frame), 0);
	assert_true(pte_is_swap(pte_at(BASE)));
	assert_true(folio_dirty(host(), frame));
	assert_false(folio_accessed(host(), frame));
	assert_int_equal(host_read_count(host(), HOST_MARKS_ACCESSED), marks);
	/* Not written, not freed: its user may write to it still. It is found again. */
	assert_int_equal(disk.writes, 0);
	assert_int_equal(get(BASE), 1);
	assert_int_equal(frame_at(BASE).raw, frame.raw);
	folio_put(host(), frame);
}

/* S53. Linux: add_to_swap, try_to_unmap_one, pageout, __remove_mapping. */
static void s53_order_of_swapping_out(void **state)
{
	(void)state;
	map(BASE, 2 * PAGE_SIZE, LEVEL_4K);
	put(BASE, 1);
	put(BASE + PAGE_SIZE, 1);
	atomic_and(entry(BASE).slot, ~PTE_D);
	record(host(), STEP(RANGE_START) | STEP(PTE_CLEAR) | STEP(PTE_SET) | STEP(TLB_FLUSH) |
		       STEP(RANGE_END) | STEP(FOLIO_DIRTY) | STEP(FOLIO_CLEAN) | STEP(STORE_WRITE) |
		       STEP(REF_FREEZE) | STEP(DIRTY_TEST) | STEP(REMOVE_MAPPING) |
		       STEP(FOLIO_ACCESSED) | STEP(FOLIO_FREE));
	assert_int_equal(swap_out(BASE), 1);
	expect_steps(TRACE_FOLIO_DIRTY, TRACE_RANGE_START, TRACE_PTE_CLEAR, TRACE_TLB_FLUSH,
		     TRACE_RANGE_END, TRACE_FOLIO_CLEAN, TRACE_STORE_WRITE, TRACE_REF_FREEZE,
		     TRACE_DIRTY_TEST, TRACE_REMOVE_MAPPING, TRACE_FOLIO_FREE);
	assert_int_equal(get(BASE), 1);
}

static void without_swap_pages_stay(void **state)
{
	(void)state;
	assert_int_equal(host_swap_off(host()), STATUS_OK);
	assert_int_equal(host_swap_off(host()), STATUS_NOT_FOUND);
	map(BASE, PAGE_SIZE, LEVEL_4K);
	put(BASE, 1);
	atomic_and(entry(BASE).slot, ~PTE_A);
	assert_int_equal(host_reclaim(host(), 1), 0);
	assert_int_equal(swap_out(BASE), 0);
	assert_true(pte_present(pte_at(BASE)));
	assert_int_equal(host_swap_on(host(), disk_open(), 0), STATUS_BAD_RANGE);
	assert_int_equal(host_swap_on(host(), disk_open(), UINT64_MAX), STATUS_BAD_RANGE);
	assert_int_equal(host_swap_on(host(), disk_open(), SLOTS), STATUS_OK);
	assert_int_equal(host_swap_on(host(), disk_open(), SLOTS), STATUS_EXISTS);
	assert_int_equal(swap_out(BASE), 1);
	assert_int_equal(host_swap_off(host()), STATUS_EXISTS);
	assert_int_equal(get(BASE), 1);
	/* In memory and in its slot: memory is enough. */
	assert_int_equal(host_swap_off(host()), STATUS_OK);
	assert_int_equal(host_swap_on(host(), disk_open(), SLOTS), STATUS_OK);
	assert_int_equal(get(BASE), 1);
	assert_int_equal(swap_out(BASE), 1);
	assert_int_equal(disk.writes, 1);
}

/* ------------------------------------------------------------------ slots */

static void slots_come_back(void **state)
{
	(void)state;
	map(BASE, 4 * PAGE_SIZE, LEVEL_4K);
	for (uint64_t i = 0; i < 4; i++) {
		put(BASE + i * PAGE_SIZE, i);
		assert_int_equal(swap_out(BASE + i * PAGE_SIZE), 1);
	}
	expect_swap(4, 0);
	assert_int_equal(space_unmap(space, hva(BASE), PAGE_SIZE), STATUS_OK);
	expect_swap(3, 0);
	assert_int_equal(space_discard(space, hva(BASE + PAGE_SIZE), PAGE_SIZE), STATUS_OK);
	expect_swap(2, 0);
	assert_int_equal(get(BASE + PAGE_SIZE), 0);
	/* A page that is in memory as well: both are given up with its entry. */
	assert_int_equal(get(BASE + 2 * PAGE_SIZE), 2);
	expect_swap(2, 1);
	uint64_t before = pages_free();

	assert_int_equal(space_discard(space, hva(BASE + 2 * PAGE_SIZE), PAGE_SIZE), STATUS_OK);
	expect_swap(1, 0);
	assert_int_equal(pages_free(), before + 1);
	/* In the cache, but mapped by nobody: as its user has gone while it was swapped out. */
	assert_int_equal(get(BASE + 3 * PAGE_SIZE), 3);
	pfn_t frame = frame_at(BASE + 3 * PAGE_SIZE);

	folio_get(host(), frame);
	assert_int_equal(reclaim_one(frame), 0);
	expect_swap(1, 1);
	folio_put(host(), frame);
	assert_int_equal(space_discard(space, hva(BASE + 3 * PAGE_SIZE), PAGE_SIZE), STATUS_OK);
	expect_swap(0, 0);
}

static void no_room(void **state)
{
	(void)state;
	map(BASE, (SLOTS + 1) * PAGE_SIZE, LEVEL_4K);
	for (uint64_t i = 0; i <= SLOTS; i++) {
		put(BASE + i * PAGE_SIZE, i);
		assert_int_equal(swap_out(BASE + i * PAGE_SIZE), i < SLOTS);
	}
	expect_swap(SLOTS, 0);
	assert_true(pte_present(pte_at(BASE + SLOTS * PAGE_SIZE)));
	for (uint64_t i = 0; i <= SLOTS; i++)
		assert_int_equal(get(BASE + i * PAGE_SIZE), i);
}

/* ------------------------------------------------------------------ two processes */

static void a_slot_for_two(void **state)
{
	struct space *child;

	(void)state;
	map(BASE, 2 * PAGE_SIZE, LEVEL_4K);
	put(BASE, 5);
	assert_int_equal(swap_out(BASE), 1);
	assert_int_equal(space_fork(space, &child), STATUS_OK);
	expect_swap(1, 0);
	assert_false(pte_own(pte_at(BASE)));
	/* The first reads, the second stores: it gets a copy, and the first keeps the page. */
	assert_int_equal(get(BASE), 5);
	expect_swap(1, 1);
	assert_false(pte_writable(pte_at(BASE)));
	put_in(child, BASE, 6);
	assert_int_equal(get(BASE), 5);
	assert_int_equal(get_from(child, BASE), 6);
	/* The first is alone now: its store takes the page, and the slot is free. */
	pfn_t frame = frame_at(BASE);

	put(BASE, 7);
	assert_int_equal(frame_at(BASE).raw, frame.raw);
	expect_swap(0, 0);
	assert_int_equal(get_from(child, BASE), 6);
	space_verify(child);
	space_destroy(child);
}

/* Both map the page; both entries go, and both come back to one folio. */
static void a_page_of_two(void **state)
{
	struct space *child;

	(void)state;
	map(BASE, PAGE_SIZE, LEVEL_4K);
	put(BASE, 5);
	assert_int_equal(space_fork(space, &child), STATUS_OK);
	assert_int_equal(folio_mapcount(host(), frame_at(BASE)), 2);
	assert_int_equal(swap_out(BASE), 1);
	expect_swap(1, 0);
	assert_int_equal(get_from(child, BASE), 5);
	assert_int_equal(get(BASE), 5);
	assert_int_equal(folio_mapcount(host(), frame_at(BASE)), 2);
	assert_int_equal(disk.reads, 1);
	space_destroy(child);
	put(BASE, 6);
	expect_swap(0, 0);
	assert_int_equal(get(BASE), 6);
}

/* ------------------------------------------------------------------ errors */

static void a_page_that_cannot_be_read(void **state)
{
	uint64_t value;

	(void)state;
	map(BASE, PAGE_SIZE, LEVEL_4K);
	put(BASE, 5);
	assert_int_equal(swap_out(BASE), 1);
	disk.fail_reads = true;
	assert_int_equal(space_read(space, hva(BASE), &value, 8), STATUS_IO_ERROR);
	assert_int_equal(space_write(space, hva(BASE), &value, 8), STATUS_IO_ERROR);
	expect_swap(1, 1);
	/* What was not read is no content: it goes without a write. */
	assert_int_equal(host_reclaim(host(), 1), 1);
	expect_swap(1, 0);
	disk.fail_reads = false;
	disk.piece = 100;
	assert_int_equal(get(BASE), 5);
	assert_int_equal(disk.writes, 1);
}

static void a_page_that_cannot_be_written(void **state)
{
	(void)state;
	map(BASE, PAGE_SIZE, LEVEL_4K);
	put(BASE, 5);
	disk.fail_writes = true;
	assert_int_equal(swap_out(BASE), 0);
	expect_swap(1, 1);
	assert_int_equal(get(BASE), 5);
	assert_int_equal(disk.reads, 0);
	pfn_t frame = frame_at(BASE);

	assert_int_equal(swap_out(BASE), 0);
	assert_true(pte_is_swap(pte_at(BASE)));
	disk.fail_writes = false;
	disk.piece = 1000;
	assert_int_equal(reclaim_one(frame), 1);
	assert_int_equal(get(BASE), 5);
}

/* Refused a frame to read into: nothing has changed, and the next try succeeds. */
static void no_memory_to_read_into(void **state)
{
	uint64_t value = 0;

	(void)state;
	map(BASE, PAGE_SIZE, LEVEL_4K);
	put(BASE, 5);
	assert_int_equal(swap_out(BASE), 1);
	arena_fail_from_order(&arena, 0);
	assert_int_equal(space_read(space, hva(BASE), &value, 8), STATUS_NO_MEMORY);
	arena_fail_after(&arena, -1);
	expect_swap(1, 0);
	assert_int_equal(get(BASE), 5);
}

/* ------------------------------------------------------------------ locks, damage */

static pfn_t held;

static void op_out(void)
{
	assert_int_equal(reclaim_one(held), 0);
	assert_int_equal(get(BASE), 5);
}

static void op_in(void)
{
	assert_int_equal(get(BASE), 5);
	assert_int_equal(reclaim_one(held), 0);
}

/* The page is held, so it stays in the cache: no allocation. */
static void locks(void **state)
{
	(void)state;
	map(BASE, PAGE_SIZE, LEVEL_4K);
	put(BASE, 5);
	held = frame_at(BASE);
	folio_get(host(), held);
	watch_locks(host());
	takes(EXCLUSIVE, &space->lock, op_out);
	assert_int_equal(reclaim_one(held), 0);
	takes(EXCLUSIVE, &space->lock, op_in);
	port_look_hook(NULL);
	folio_put(host(), held);
}

static void damage_is_seen(void **state)
{
	static struct swap *swap;		/* static: they outlive a longjmp */
	static struct folio *folio;

	(void)state;
	map(BASE, 2 * PAGE_SIZE, LEVEL_4K);
	put(BASE, 5);
	put(BASE + PAGE_SIZE, 6);
	assert_int_equal(swap_out(BASE), 1);
	assert_int_equal(swap_out(BASE + PAGE_SIZE), 1);
	assert_int_equal(get(BASE), 5);
	swap = host()->swap;
	folio = folio_of(host(), frame_at(BASE));

	uint32_t behind = pte_swap_slot(pte_at(BASE + PAGE_SIZE));
	const struct { uint32_t *word; uint32_t value; } cases[] = {
		{ &swap->used, 1 }, { &swap->cached, 0 }, { &folio->index, folio->index + 1 },
		{ &folio->family, folio->family + 1 },
		{ &swap->slot[folio->index].frame, NO_FRAME },
		{ &swap->slot[behind].entries, 0 }, { &swap->first_free, behind },
		{ &swap->first_free, swap->slots },
	};
	static unsigned i;
	static uint32_t kept;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		kept = *cases[i].word;
		*cases[i].word = cases[i].value;
		assert_true(panics(swap_verify(host()), "check failed"));
		*cases[i].word = kept;
		swap->lock = (spinlock_t){ 0 };
		swap_verify(host());
	}
	swap->slot[behind].index++;
	assert_true(panics(space_verify(space), "index"));
	swap->slot[behind].index--;
	swap->lock = (spinlock_t){ 0 };
	space->lock = (rwlock_t){ 0 };
	space_verify(space);
}

/* ------------------------------------------------------------------ the whole of it */

/* More memory than there is: each byte is what was stored last. */
static void content_of_more_than_memory(void **state)
{
	enum { PAGES = 20000 };
	static uint64_t written[PAGES];
	uint64_t random = 1;

	(void)state;
	assert_int_equal(host_swap_off(host()), STATUS_OK);
	assert_int_equal(host_swap_on(host(), disk_open(), DISK_PAGES), STATUS_OK);
	map(BASE, PAGES * PAGE_SIZE, LEVEL_4K);
	memset(written, 0, sizeof(written));
	/* 64 MiB and the disk's 16 hold 20480 pages, less the host's own. */
	for (uint64_t i = 0; i < 3 * PAGES; i++) {
		random = random * 6364136223846793005 + 1442695040888963407;

		uint64_t page = i < PAGES ? i : (random >> 33) % PAGES;
		uint64_t at = BASE + page * PAGE_SIZE + page % 500 * 8;

		if (i >= PAGES)
			assert_int_equal(get(at), written[page]);
		if (i < PAGES || random >> 63)
			put(at, written[page] = random);
	}
	struct swap_stats stats;

	host_read_swap(host(), &stats);
	assert_true(stats.used > 3000);
	for (uint64_t page = 0; page < PAGES; page++) {
		static uint64_t words[512];
		uint64_t at = page % 500;

		assert_int_equal(space_read(space, hva(BASE + page * PAGE_SIZE), words,
					    sizeof(words)), STATUS_OK);
		for (unsigned i = 0; i < 512; i++)
			assert_int_equal(words[i], i == at ? written[page] : 0);
	}
}

/*
 * It is taken apart; the page that was meant goes, the others can. What the process gave back goes
 * at once.
 */
static void a_large_page_goes_page_by_page(void **state)
{
	uint64_t before = pages_free();

	(void)state;
	map(4 * BASE, 2 * MIB, LEVEL_2M);
	for (uint64_t page = 0; page < 512; page++)
		put(4 * BASE + page * PAGE_SIZE, page + 1);
	assert_int_equal(folio_order(host(), frame_at(4 * BASE)), ORDER_2M);
	assert_int_equal(space_unmap(space, hva(4 * BASE + MIB), MIB), STATUS_OK);
	assert_true(before - pages_free() >= 512);
	assert_int_equal(swap_out(4 * BASE), 1);
	assert_int_equal(folio_order(host(), frame_at(4 * BASE + PAGE_SIZE)), ORDER_4K);
	assert_true(before - pages_free() < 256 + 8);
	expect_swap(1, 0);
	assert_int_equal(swap_out(4 * BASE + 5 * PAGE_SIZE), 1);
	expect_swap(2, 0);
	for (uint64_t page = 0; page < 256; page++)
		assert_int_equal(get(4 * BASE + page * PAGE_SIZE), page + 1);
	assert_int_equal(space_unmap(space, hva(4 * BASE), MIB), STATUS_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		swap_test(there_and_back), swap_test(s13_s96_swap_out_moves_only_dirty),
		swap_test(s53_order_of_swapping_out), swap_test(without_swap_pages_stay),
		swap_test(slots_come_back), swap_test(no_room), swap_test(a_slot_for_two),
		swap_test(a_page_of_two), swap_test(a_page_that_cannot_be_read),
		swap_test(a_page_that_cannot_be_written), swap_test(no_memory_to_read_into),
		swap_test(locks), swap_test(damage_is_seen),
		swap_test(content_of_more_than_memory), swap_test(a_large_page_goes_page_by_page),
	};

	return cmocka_run_group_tests_name("mm/swap", tests, NULL, NULL);
}
