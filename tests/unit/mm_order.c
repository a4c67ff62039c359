/* The order in which mm does things: each a list of steps, as Linux has them. */
#include "tests/unit/file_fixture.h"
#include "tests/unit/trace_fixture.h"

#define ENTRIES_AND_BRACKET \
	(STEP(RANGE_START) | STEP(PTE_SET) | STEP(PTE_CLEAR) | STEP(PTE_MKCLEAN) | \
	 STEP(TLB_FLUSH) | STEP(FOLIO_FREE) | STEP(FOLIO_DIRTY) | STEP(FOLIO_COPY) | \
	 STEP(RANGE_END))

/* Linux: zap_pte_range, tlb_finish_mmu. */
static void unmapped(void **state)
{
	(void)state;
	map(BASE, PAGE_SIZE, LEVEL_4K);
	put(BASE, 1);
	record(arena.host, ENTRIES_AND_BRACKET);
	assert_int_equal(space_unmap(space, hva(BASE), PAGE_SIZE), STATUS_OK);
	expect_steps(TRACE_RANGE_START, TRACE_PTE_CLEAR, TRACE_TLB_FLUSH, TRACE_FOLIO_FREE,
		     TRACE_FOLIO_FREE, TRACE_FOLIO_FREE, TRACE_FOLIO_FREE, TRACE_RANGE_END);
}

/* Linux: wp_page_copy. The copy is made before the bracket, and a CPU has one page or the other. */
static void copied_on_write(void **state)
{
	uint64_t value;

	(void)state;
	map_file(BASE, 1, PROTECTION_READ_WRITE, SHARING_PRIVATE);
	assert_int_equal(space_read(space, hva(BASE), &value, sizeof(value)), STATUS_OK);
	record(arena.host, ENTRIES_AND_BRACKET);
	put(BASE, 1);
	expect_steps(TRACE_FOLIO_COPY, TRACE_RANGE_START, TRACE_PTE_CLEAR, TRACE_TLB_FLUSH,
		     TRACE_PTE_SET, TRACE_RANGE_END);
}

/* S91. Linux: page_vma_mkclean_one, folio_clear_dirty_for_io: start < W and D go < folio clean. */
static void written_back(void **state)
{
	(void)state;
	map_file(BASE, 1, PROTECTION_READ_WRITE, SHARING_SHARED);
	put(BASE, 1);
	record(arena.host, ENTRIES_AND_BRACKET | STEP(FOLIO_CLEAN) | STEP(STORE_WRITE));
	assert_int_equal(file_sync(file), STATUS_OK);
	expect_steps(TRACE_RANGE_START, TRACE_PTE_MKCLEAN, TRACE_TLB_FLUSH, TRACE_RANGE_END,
		     TRACE_FOLIO_DIRTY, TRACE_FOLIO_CLEAN, TRACE_STORE_WRITE);
}

/* Linux: migrate_pages_batch: nobody writes to a page that is being copied. */
static void moved(void **state)
{
	uint64_t count;

	(void)state;
	map(BASE, PAGE_SIZE, LEVEL_4K);
	put(BASE, 1);
	record(arena.host, ENTRIES_AND_BRACKET | STEP(REF_TEST));
	assert_int_equal(space_migrate(space, hva(BASE), PAGE_SIZE, &count), STATUS_OK);
	expect_steps(TRACE_RANGE_START, TRACE_PTE_CLEAR, TRACE_FOLIO_DIRTY, TRACE_TLB_FLUSH,
		     TRACE_REF_TEST, TRACE_FOLIO_COPY, TRACE_FOLIO_DIRTY, TRACE_PTE_SET,
		     TRACE_FOLIO_FREE, TRACE_RANGE_END);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		file_test(unmapped), file_test(copied_on_write), file_test(written_back),
		file_test(moved),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
