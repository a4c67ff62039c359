/* Two processes of one family: what fork shares, copies, leaves alone. */
#include "mm/rmap.h"
#include "tests/unit/file_fixture.h"
#include "tests/unit/trace_fixture.h"

#define OTHER (BASE + GIB)

static struct space *child;

static void fork_space(void) { assert_int_equal(space_fork(space, &child), STATUS_OK); }

static void end_child(void)
{
	space_verify(child);
	space_verify(space);
	space_destroy(child);
}

static uint64_t word_of(struct space *of, uint64_t at)
{
	uint64_t value = 0;

	assert_int_equal(space_read(of, hva(at), &value, sizeof(value)), STATUS_OK);
	return value;
}

static void store_to(struct space *of, uint64_t at, uint64_t value)
{
	assert_int_equal(space_write(of, hva(at), &value, sizeof(value)), STATUS_OK);
}

static struct place leaf_of(struct space *of, uint64_t at) NOT_CHECKED
{
	return table_find(of, at);
}

static pfn_t frame_of(struct space *of, uint64_t at) { return pte_frame(leaf_of(of, at).pte); }

/* ------------------------------------------------------------------ what is shared */

static void pages_are_shared_until_a_store(void **state)
{
	(void)state;
	map(BASE, 2 * PAGE_SIZE, LEVEL_4K);
	put(BASE, 1);
	pfn_t first = frame_of(space, BASE);

	fork_space();
	assert_int_equal(child->family, space->family);
	for (unsigned i = 0; i < 2; i++) {
		pte_t pte = leaf_of(i ? child : space, BASE).pte;

		assert_int_equal(pte_frame(pte).raw, first.raw);
		assert_false(pte_writable(pte) || pte_own(pte));
	}
	assert_false(pte_accessed(leaf_of(child, BASE).pte));
	assert_int_equal(folio_mapcount(arena.host, first), 2);
	assert_int_equal(folio_refcount(arena.host, first), 2);
	assert_true(pte_is_empty(leaf_of(child, BASE + PAGE_SIZE).pte));

	store_to(child, BASE, 2);			/* copies: the parent has the page, too */
	assert_int_not_equal(frame_of(child, BASE).raw, first.raw);
	assert_int_equal(word_of(space, BASE), 1);
	store_to(space, BASE, 3);			/* reuses: nobody else has it any more */
	assert_int_equal(frame_of(space, BASE).raw, first.raw);
	assert_int_equal(word_of(child, BASE), 2);
	assert_true(pte_own(leaf_of(space, BASE).pte) && pte_own(leaf_of(child, BASE).pte));
	end_child();
	assert_int_equal(word_of(space, BASE), 3);
}

static void either_may_end_first(void **state)
{
	(void)state;
	map(BASE, PAGE_SIZE, LEVEL_4K);
	put(BASE, 1);
	pfn_t frame = frame_of(space, BASE);

	fork_space();
	end_child();
	put(BASE, 2);
	assert_int_equal(frame_of(space, BASE).raw, frame.raw);

	fork_space();
	space_destroy(space);
	space = child;
	assert_int_equal(word_of(space, BASE), 2);
	put(BASE, 3);
	assert_int_equal(frame_of(space, BASE).raw, frame.raw);
}

static void grandchildren(void **state)
{
	struct space *first;

	(void)state;
	map(BASE, PAGE_SIZE, LEVEL_4K);
	put(BASE, 1);
	fork_space();
	first = child;
	assert_int_equal(space_fork(first, &child), STATUS_OK);
	assert_int_equal(folio_mapcount(arena.host, frame_of(space, BASE)), 3);
	store_to(first, BASE, 2);
	assert_int_equal(word_of(child, BASE), 1);
	end_child();
	child = first;
	end_child();
}

/* Linux: copy_huge_pmd. A store splits the leaf, and copies one page. */
static void large_leaves(void **state)
{
	(void)state;
	map(BASE, 2 * MIB, LEVEL_2M);
	put(BASE, 1);
	put(BASE + MIB, 2);
	fork_space();
	assert_int_equal(leaf_of(child, BASE).level, LEVEL_2M);
	assert_int_equal(folio_mapcount(arena.host, frame_of(space, BASE)), 2);
	store_to(child, BASE + MIB, 3);
	assert_int_equal(leaf_of(child, BASE).level, LEVEL_4K);
	assert_int_equal(leaf_of(space, BASE).level, LEVEL_2M);
	assert_int_equal(word_of(space, BASE + MIB), 2);
	assert_int_equal(word_of(child, BASE), 1);
	end_child();
	put(BASE, 4);
	assert_int_equal(leaf_of(space, BASE).level, LEVEL_2M);
}

/* Linux: vma_needs_copy. */
static void files(void **state)
{
	(void)state;
	map_file(BASE, 2, PROTECTION_READ_WRITE, SHARING_SHARED);
	map_file(OTHER, 2, PROTECTION_READ_WRITE, SHARING_PRIVATE);
	put(BASE, 1);
	put(OTHER + PAGE_SIZE, 2);
	assert_int_equal(word_of(space, OTHER), 1);
	fork_space();
	assert_int_equal(atomic_read(&file->vmas), 4);
	assert_true(pte_is_empty(leaf_of(child, BASE).pte));
	assert_true(pte_writable(leaf_of(space, BASE).pte));
	assert_int_equal(frame_of(child, OTHER).raw, frame_of(space, BASE).raw);
	assert_int_equal(frame_of(child, OTHER + PAGE_SIZE).raw,
			 frame_of(space, OTHER + PAGE_SIZE).raw);
	store_to(child, BASE, 5);				/* the file's, thus the parent's */
	assert_int_equal(word_of(space, BASE), 5);
	store_to(child, OTHER, 6);
	store_to(child, OTHER + PAGE_SIZE, 7);
	assert_int_equal(word_of(space, OTHER), 5);
	assert_int_equal(word_of(space, OTHER + PAGE_SIZE), 2);
	end_child();
	assert_int_equal(atomic_read(&file->vmas), 2);
}

static void rights_and_holes(void **state)
{
	uint64_t value = 0;

	(void)state;
	map(BASE, 4 * PAGE_SIZE, LEVEL_4K);
	put(BASE, 1);
	put(BASE + PAGE_SIZE, 2);
	assert_int_equal(space_protect(space, hva(BASE), PAGE_SIZE, PROTECTION_NONE), STATUS_OK);
	assert_int_equal(space_protect(space, hva(BASE + PAGE_SIZE), PAGE_SIZE, PROTECTION_READ),
			 STATUS_OK);
	assert_int_equal(space_unmap(space, hva(BASE + 2 * PAGE_SIZE), PAGE_SIZE), STATUS_OK);
	fork_space();
	assert_int_equal(child->vma_count, 3);
	assert_int_equal(space_read(child, hva(BASE), &value, 8), STATUS_NO_ACCESS);
	assert_int_equal(space_write(child, hva(BASE + PAGE_SIZE), &value, 8), STATUS_NO_ACCESS);
	assert_int_equal(space_read(child, hva(BASE + 2 * PAGE_SIZE), &value, 8), STATUS_NOT_FOUND);
	/* Rights that come back do not bring W to a page that both have. */
	assert_int_equal(space_protect(child, hva(BASE), PAGE_SIZE, PROTECTION_READ_WRITE),
			 STATUS_OK);
	assert_false(pte_writable(leaf_of(child, BASE).pte));
	store_to(child, BASE, 3);
	assert_int_equal(space_protect(space, hva(BASE), PAGE_SIZE, PROTECTION_READ_WRITE),
			 STATUS_OK);
	assert_int_equal(word_of(space, BASE), 1);
	end_child();
}

/* ------------------------------------------------------------------ what somebody holds */

/* Linux: copy_present_page: what a device wrote, or writes, is where the parent finds it. */
static void pinned_pages_stay_the_parents(void **state)
{
	struct mm_page page;

	(void)state;
	map(BASE, 2 * PAGE_SIZE, LEVEL_4K);
	put(BASE, 1);
	put(BASE + PAGE_SIZE, 1);
	assert_int_equal(gup_get(space, hva(BASE), GUP_WRITE, &page), STATUS_OK);
	fork_space();
	assert_int_not_equal(frame_of(child, BASE).raw, page.frame.raw);
	assert_int_equal(frame_of(child, BASE + PAGE_SIZE).raw,
			 frame_of(space, BASE + PAGE_SIZE).raw);
	assert_int_equal(word_of(child, BASE), 1);
	assert_true(pte_own(leaf_of(space, BASE).pte) && pte_own(leaf_of(child, BASE).pte));
	*(uint64_t *)pfn_to_ptr(page.frame) = 2;
	put(BASE + 8, 3);				/* the parent's own still: no copy */
	assert_int_equal(frame_of(space, BASE).raw, page.frame.raw);
	assert_int_equal(word_of(space, BASE), 2);
	assert_int_equal(word_of(child, BASE), 1);
	assert_int_equal(word_of(child, BASE + 8), 0);
	gup_put_dirty(arena.host, page.frame);
	end_child();
}

static void pinned_large_leaf(void **state)
{
	struct mm_page page;

	(void)state;
	map(BASE, 2 * MIB, LEVEL_2M);
	put(BASE, 1);
	put(BASE + 2 * MIB - PAGE_SIZE, 2);
	assert_int_equal(gup_get(space, hva(BASE + MIB), GUP_WRITE, &page), STATUS_OK);
	fork_space();
	assert_int_equal(leaf_of(child, BASE).level, LEVEL_4K);
	*(uint64_t *)pfn_to_ptr(page.frame) = 3;
	assert_int_equal(word_of(space, BASE + MIB), 3);
	assert_int_equal(word_of(child, BASE + MIB), 0);
	assert_int_equal(word_of(child, BASE), 1);
	assert_int_equal(word_of(child, BASE + 2 * MIB - PAGE_SIZE), 2);
	gup_put(arena.host, page.frame);
	end_child();
}

/* -------------------- others who look for the page */

static bool count_leaf(struct space *of, uint64_t at, struct place place, void *argument)
{
	unsigned *seen = argument;

	(void)place;
	*seen |= of == space ? 1 : of == child ? 2 : 4;
	return at == BASE + PAGE_SIZE;
}

static void rmap_finds_both(void **state)
{
	unsigned seen = 0;

	(void)state;
	map(BASE, 4 * PAGE_SIZE, LEVEL_4K);
	put(BASE + PAGE_SIZE, 1);
	/* The VMA's upper half keeps the names of its pages. */
	assert_int_equal(space_protect(space, hva(BASE + PAGE_SIZE), PAGE_SIZE, PROTECTION_READ),
			 STATUS_OK);
	fork_space();
	pfn_t frame = frame_of(space, BASE + PAGE_SIZE);

	folio_lock(arena.host, frame);
	rmap_walk(arena.host, frame, (struct rmap){ count_leaf, &seen });
	folio_unlock(arena.host, frame);
	assert_int_equal(seen, 3);
	end_child();
}

/* A page that two processes have does not move under one of them. */
static void shared_pages_do_not_migrate(void **state)
{
	uint64_t moved;

	(void)state;
	map(BASE, PAGE_SIZE, LEVEL_4K);
	put(BASE, 1);
	fork_space();
	assert_int_equal(space_migrate(space, hva(BASE), PAGE_SIZE, &moved), STATUS_OK);
	assert_int_equal(moved, 0);
	assert_int_equal(word_of(child, BASE), 1);
	end_child();
	assert_int_equal(space_migrate(space, hva(BASE), PAGE_SIZE, &moved), STATUS_OK);
	assert_int_equal(moved, 1);
}

/* ------------------------------------------------------------------ order */

/* Linux: copy_page_range, and the flush before a page is judged. */
static void order(void **state)
{
	struct mm_page page;

	(void)state;
	map(BASE, 2 * PAGE_SIZE, LEVEL_4K);
	put(BASE, 1);
	put(BASE + PAGE_SIZE, 1);
	assert_int_equal(gup_get(space, hva(BASE), GUP_WRITE, &page), STATUS_OK);
	record(arena.host, STEP(RANGE_START) | STEP(RANGE_END) | STEP(PTE_PROTECT) | STEP(PTE_SET) |
				   STEP(TLB_FLUSH) | STEP(REF_TEST) | STEP(FOLIO_COPY));
	fork_space();
	assert_int_equal(recording.steps[0].value, EVENT_PROTECTION_PAGE);
	expect_steps(TRACE_RANGE_START, TRACE_PTE_PROTECT, TRACE_PTE_PROTECT, TRACE_TLB_FLUSH,
		     TRACE_REF_TEST, TRACE_FOLIO_COPY, TRACE_PTE_SET, TRACE_REF_TEST, TRACE_PTE_SET,
		     TRACE_RANGE_END);
	gup_put(arena.host, page.frame);
	end_child();
}

/* ------------------------------------------------------------------ 1 GiB at a time */

static void a_gigabyte(void **state)
{
	const uint64_t middle = 512 * MIB, second = BASE + 2 * GIB,
		       third = BASE + 4 * GIB + 2 * MIB;

	(void)state;
	arena_open(&arena, 2560);
	assert_int_equal(space_create(arena.host, &space), STATUS_OK);
	map(BASE, GIB, LEVEL_1G);
	put(BASE + middle, 5);
	assert_int_equal(entry(BASE).level, LEVEL_1G);
	fork_space();
	assert_int_equal(folio_mapcount(arena.host, frame_of(space, BASE)), 2);
	store_to(child, BASE + middle, 6);
	assert_int_equal(word_of(space, BASE + middle), 5);
	end_child();
	put(BASE, 7);
	assert_int_equal(entry(BASE).level, LEVEL_1G);
	/* It moves whole to where it fits, and in 2 MiB to where only they do. */
	assert_int_equal(space_move(space, hva(BASE), GIB, hva(second)), STATUS_OK);
	assert_int_equal(entry(second).level, LEVEL_1G);
	assert_int_equal(space_move(space, hva(second), GIB, hva(third)), STATUS_OK);
	assert_int_equal(entry(third).level, LEVEL_2M);
	assert_int_equal(word_of(space, third), 7);
	assert_int_equal(word_of(space, third + middle), 5);
	space_verify(space);
	space_destroy(space);
	arena_close(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		file_test(pages_are_shared_until_a_store), file_test(either_may_end_first),
		file_test(grandchildren), file_test(large_leaves), file_test(files),
		file_test(rights_and_holes), file_test(pinned_pages_stay_the_parents),
		file_test(pinned_large_leaf), file_test(rmap_finds_both),
		file_test(shared_pages_do_not_migrate), file_test(order),
		cmocka_unit_test(a_gigabyte),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
