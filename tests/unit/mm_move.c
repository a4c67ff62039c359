/*
 * Memory that goes to another place (mm/mremap.c), and pages that take another's place
 * (mm/replace.c).
 */
#include "mm/replace.h"
#include "mm/rmap.h"
#include "tests/unit/file_fixture.h"
#include "tests/unit/trace_fixture.h"

#define OTHER (BASE + GIB)

static uint64_t word_at(uint64_t at)
{
	uint64_t value = 0;

	assert_int_equal(space_read(space, hva(at), &value, sizeof(value)), STATUS_OK);
	return value;
}

static void move(uint64_t from, uint64_t bytes, uint64_t to)
{
	assert_int_equal(space_move(space, hva(from), bytes, hva(to)), STATUS_OK);
	space_verify(space);
}

static pfn_t frame_at(uint64_t at) { return pte_frame(entry(at).pte); }

/* ------------------------------------------------------------------ mremap */

static void content_and_entries_move(void **state)
{
	(void)state;
	map(BASE, 4 * PAGE_SIZE, LEVEL_4K);
	put(BASE + PAGE_SIZE, 1);
	put(BASE + 3 * PAGE_SIZE, 3);
	atomic_and(entry(BASE + PAGE_SIZE).slot, ~PTE_A);
	atomic_and(entry(BASE + 3 * PAGE_SIZE).slot, ~(PTE_SOFT | PTE_W));
	pte_t first = entry(BASE + PAGE_SIZE).pte, last = entry(BASE + 3 * PAGE_SIZE).pte;
	pte_t hole = entry(BASE).pte;

	move(BASE, 4 * PAGE_SIZE, OTHER);
	assert_int_equal(entry(OTHER + PAGE_SIZE).pte.bits, first.bits | PTE_SOFT);
	assert_int_equal(entry(OTHER + 3 * PAGE_SIZE).pte.bits, last.bits | PTE_SOFT);
	assert_int_equal(entry(OTHER).pte.bits, hole.bits);
	assert_int_equal(folio_refcount(arena.host, pte_frame(first)), 1);
	assert_int_equal(folio_mapcount(arena.host, pte_frame(first)), 1);
	assert_false(folio_dirty(arena.host, pte_frame(first)));
	assert_int_equal(word_at(OTHER + PAGE_SIZE), 1);
	assert_int_equal(word_at(OTHER + 3 * PAGE_SIZE), 3);
	assert_int_equal(space_write(space, hva(BASE), &first, 8), STATUS_NOT_FOUND);
	assert_int_equal(space->vma_count, 1);
}

/* A part, and back: one VMA again, since its pages go on where its neighbours' end. */
static void part_and_back(void **state)
{
	(void)state;
	map(BASE, 3 * PAGE_SIZE, LEVEL_4K);
	for (uint64_t i = 0; i < 3; i++)
		put(BASE + i * PAGE_SIZE, i);
	move(BASE + PAGE_SIZE, PAGE_SIZE, OTHER);
	assert_int_equal(space->vma_count, 3);
	map(BASE + PAGE_SIZE, PAGE_SIZE, LEVEL_4K);
	assert_int_equal(word_at(BASE + PAGE_SIZE), 0);
	assert_int_equal(space_unmap(space, hva(BASE + PAGE_SIZE), PAGE_SIZE), STATUS_OK);
	move(OTHER, PAGE_SIZE, BASE + PAGE_SIZE);
	assert_int_equal(space->vma_count, 1);
	assert_int_equal(word_at(BASE + PAGE_SIZE), 1);
}

static void large_leaves(void **state)
{
	(void)state;
	map(BASE, 4 * MIB, LEVEL_2M);
	put(BASE, 1);
	put(BASE + 2 * MIB + 5 * PAGE_SIZE, 2);
	move(BASE, 4 * MIB, OTHER);			/* aligned alike: they stay large */
	assert_int_equal(entry(OTHER).level, LEVEL_2M);
	move(OTHER, 4 * MIB, BASE + PAGE_SIZE);
	assert_int_equal(entry(BASE + PAGE_SIZE).level, LEVEL_4K);
	assert_int_equal(word_at(BASE + PAGE_SIZE), 1);
	assert_int_equal(word_at(BASE + 2 * MIB + 6 * PAGE_SIZE), 2);
}

static void refused(void **state)
{
	(void)state;
	map(BASE, 4 * PAGE_SIZE, LEVEL_4K);
	map(OTHER, PAGE_SIZE, LEVEL_4K);
	put(BASE, 1);
	assert_int_equal(space_move(space, hva(BASE), 4 * PAGE_SIZE, hva(BASE + PAGE_SIZE)),
			 STATUS_BAD_RANGE);
	assert_int_equal(space_move(space, hva(BASE), PAGE_SIZE, hva(BASE)), STATUS_BAD_RANGE);
	assert_int_equal(space_move(space, hva(BASE), PAGE_SIZE, hva(SPACE_END)), STATUS_BAD_RANGE);
	assert_int_equal(space_move(space, hva(BASE), 5 * PAGE_SIZE, hva(OTHER + GIB)),
			 STATUS_NOT_FOUND);
	assert_int_equal(space_move(space, hva(BASE - PAGE_SIZE), PAGE_SIZE, hva(OTHER + GIB)),
			 STATUS_NOT_FOUND);
	assert_int_equal(space_move(space, hva(BASE), 2 * PAGE_SIZE, hva(OTHER - PAGE_SIZE)),
			 STATUS_EXISTS);
	assert_int_equal(word_at(BASE), 1);
	move(BASE, PAGE_SIZE, BASE + 4 * PAGE_SIZE);	/* side by side is no overlap */
}

/* Whoever comes from the file finds the entry where it is now. */
static void file_pages_are_found(void **state)
{
	(void)state;
	map_file(BASE, PAGES, PROTECTION_READ_WRITE, SHARING_SHARED);
	put(BASE + 5 * PAGE_SIZE, 1);
	move(BASE + 4 * PAGE_SIZE, 2 * PAGE_SIZE, OTHER);
	assert_int_equal(atomic_read(&file->vmas), 3);
	assert_int_equal(word_at(OTHER + PAGE_SIZE), 1);
	assert_int_equal(file_sync(file), STATUS_OK);
	assert_int_equal(stored(5), 1);
	assert_false(pte_writable(entry(OTHER + PAGE_SIZE).pte));
	put(OTHER + PAGE_SIZE, 2);
	assert_int_equal(stats().dirty, 1);
	assert_int_equal(file_sync(file), STATUS_OK);
	assert_int_equal(stored(5), 2);
}

static bool found_at(struct space *of, uint64_t at, struct place place, void *argument)
{
	(void)of;
	(void)place;
	*(uint64_t *)argument = at;
	return true;
}

static void anonymous_pages_are_found(void **state)
{
	uint64_t at = 0;

	(void)state;
	map(BASE, 4 * PAGE_SIZE, LEVEL_4K);
	put(BASE + 2 * PAGE_SIZE, 1);
	move(BASE + PAGE_SIZE, 2 * PAGE_SIZE, OTHER);
	pfn_t frame = frame_at(OTHER + PAGE_SIZE);

	folio_lock(arena.host, frame);
	rmap_walk(arena.host, frame, (struct rmap){ found_at, &at });
	folio_unlock(arena.host, frame);
	assert_int_equal(at, OTHER + PAGE_SIZE);
}

/* Linux: move_page_tables: told of the old range alone, and flushed before the lock is dropped. */
static void order_of_a_move(void **state)
{
	(void)state;
	map(BASE, 2 * PAGE_SIZE, LEVEL_4K);
	put(BASE, 1);
	put(BASE + PAGE_SIZE, 1);
	map(OTHER + PAGE_SIZE * 2, PAGE_SIZE, LEVEL_4K);
	put(OTHER + PAGE_SIZE * 2, 1);
	record(arena.host, STEP(RANGE_START) | STEP(RANGE_END) | STEP(PTE_CLEAR) | STEP(PTE_SET) |
				   STEP(TLB_FLUSH) | STEP(FOLIO_FREE) | STEP(FOLIO_DIRTY));
	move(BASE, 2 * PAGE_SIZE, OTHER);
	assert_int_equal(recording.steps[0].value, EVENT_UNMAP);
	assert_int_equal(recording.steps[0].subject, BASE);
	/* Two tables go, after the flush. */
	expect_steps(TRACE_RANGE_START, TRACE_PTE_CLEAR, TRACE_PTE_SET, TRACE_PTE_CLEAR,
		     TRACE_PTE_SET, TRACE_TLB_FLUSH, TRACE_FOLIO_FREE, TRACE_FOLIO_FREE,
		     TRACE_RANGE_END);
}

/* -------------------- S70: pages that take another's place */

static void s70_a_patch_replaces_the_page(void **state)
{
	uint32_t breakpoint = 0xcccccccc;

	(void)state;
	map_file(OTHER, 1, PROTECTION_READ_WRITE, SHARING_SHARED);
	put(OTHER, 5);
	assert_int_equal(file_sync(file), STATUS_OK);
	map_file(BASE, 2, PROTECTION_READ, SHARING_PRIVATE);
	assert_int_equal(word_at(BASE), 5);
	pfn_t old = frame_at(BASE);

	record(arena.host, STEP(RANGE_START) | STEP(RANGE_END) | STEP(PTE_CLEAR) | STEP(PTE_SET) |
				   STEP(TLB_FLUSH) | STEP(FOLIO_COPY));
	assert_int_equal(space_patch(space, hva(BASE + 8), &breakpoint, 4), STATUS_OK);
	assert_int_equal(recording.steps[1].value, EVENT_CLEAR);
	expect_steps(TRACE_FOLIO_COPY, TRACE_RANGE_START, TRACE_PTE_CLEAR, TRACE_TLB_FLUSH,
		     TRACE_PTE_SET, TRACE_RANGE_END);
	assert_int_not_equal(frame_at(BASE).raw, old.raw);
	assert_false(pte_writable(entry(BASE).pte));
	assert_int_equal(word_at(BASE), 5);
	assert_int_equal(word_at(BASE + 8), breakpoint);
	assert_int_equal(folio_mapcount(arena.host, old), 1);
	assert_int_equal(word_at(OTHER + 8), 0);
	/* The next patch replaces the copy. */
	assert_int_equal(space_patch(space, hva(BASE + 12), &breakpoint, 4), STATUS_OK);
	assert_int_equal(word_at(BASE + 8), 0xcccccccccccccccc);
	assert_int_equal(stored(0), 5);
}

static void patches_refused(void **state)
{
	uint64_t value = 1;

	(void)state;
	map(BASE, PAGE_SIZE, LEVEL_4K);
	map_file(OTHER, 1, PROTECTION_READ, SHARING_SHARED);
	assert_int_equal(space_patch(space, hva(BASE), &value, 8), STATUS_NO_ACCESS);
	assert_int_equal(space_patch(space, hva(OTHER), &value, 8), STATUS_NO_ACCESS);
	assert_int_equal(space_patch(space, hva(OTHER + GIB), &value, 8), STATUS_NOT_FOUND);
	assert_int_equal(space_patch(space, hva(BASE), &value, 0), STATUS_BAD_RANGE);
	assert_int_equal(space_patch(space, hva(BASE + PAGE_SIZE - 4), &value, 8),
			 STATUS_BAD_RANGE);
	assert_int_equal(space_patch(space, hva(SPACE_END), &value, 8), STATUS_BAD_RANGE);
}

static void patch_of_a_large_page(void **state)
{
	uint64_t value = 7;

	(void)state;
	map(BASE, 2 * MIB, LEVEL_2M);
	put(BASE, 1);
	put(BASE + PAGE_SIZE, 2);
	assert_int_equal(space_protect(space, hva(BASE), 2 * MIB, PROTECTION_READ), STATUS_OK);
	assert_int_equal(space_patch(space, hva(BASE + PAGE_SIZE), &value, 8), STATUS_OK);
	assert_int_equal(word_at(BASE), 1);
	assert_int_equal(word_at(BASE + PAGE_SIZE), 7);
}

/* Linux: migrate_vma_insert_page, without a page of zeros. */
static void s70_a_page_is_inserted(void **state)
{
	pfn_t frame;

	(void)state;
	map(BASE, 2 * PAGE_SIZE, LEVEL_4K);
	map_file(OTHER, 1, PROTECTION_READ, SHARING_SHARED);
	assert_int_equal(folio_alloc_zeroed(arena.host, ORDER_4K, &frame), STATUS_OK);
	*(uint64_t *)pfn_to_ptr(frame) = 9;
	assert_int_equal(space_insert_page(space, hva(OTHER), frame), STATUS_NOT_FOUND);
	assert_int_equal(space_insert_page(space, hva(BASE + 1), frame), STATUS_BAD_RANGE);
	record(arena.host, STEP(RANGE_START) | STEP(RANGE_END) | STEP(PTE_SET) | STEP(CHANGE_PTE));
	assert_int_equal(space_insert_page(space, hva(BASE + PAGE_SIZE), frame), STATUS_OK);
	assert_int_equal(recording.steps[0].value, EVENT_MIGRATE);
	expect_steps(TRACE_RANGE_START, TRACE_PTE_SET, TRACE_RANGE_END);
	assert_int_equal(word_at(BASE + PAGE_SIZE), 9);
	assert_int_equal(folio_refcount(arena.host, frame), 1);
	put(BASE + PAGE_SIZE, 10);
	assert_int_equal(frame_at(BASE + PAGE_SIZE).raw, frame.raw);
	assert_int_equal(space_insert_page(space, hva(BASE + PAGE_SIZE), frame), STATUS_EXISTS);
}

/* ------------------------------------------------------------------ what change_pte may tell of */

static pte_t leaf_of(uint64_t frame, enum protection protection)
{
	return pte_make_leaf(pfn(frame), LEVEL_4K, protection);
}

static void s78_s79_s80_what_may_change(void **state)
{
	pte_t ro = leaf_of(1, PROTECTION_READ), rw = leaf_of(1, PROTECTION_READ_WRITE);

	(void)state;
	assert_true(replace_keeps_stores(ro, rw));	/* S78: who is alone takes it over */
	assert_true(replace_keeps_stores(ro, leaf_of(2, PROTECTION_READ)));		/* S79 */
	/* wp_page_copy */
	assert_true(replace_keeps_stores(ro, leaf_of(2, PROTECTION_READ_WRITE)));
	assert_true(replace_keeps_stores(rw, ro));
	assert_false(replace_keeps_stores(rw, leaf_of(2, PROTECTION_READ)));		/* S80 */
	assert_false(replace_keeps_stores(rw, leaf_of(2, PROTECTION_READ_WRITE)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		file_test(content_and_entries_move), file_test(part_and_back),
		file_test(large_leaves), file_test(refused), file_test(file_pages_are_found),
		file_test(anonymous_pages_are_found), file_test(order_of_a_move),
		file_test(s70_a_patch_replaces_the_page), file_test(patches_refused),
		file_test(patch_of_a_large_page), file_test(s70_a_page_is_inserted),
		file_test(s78_s79_s80_what_may_change),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
