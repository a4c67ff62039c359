/*
 * Users without page tables (GUP), beside the lookup of a secondary MMU. Numbers in names are rows
 * of the propagation table.
 */
#include "tests/unit/file_fixture.h"

static int open_mapped(void **state)
{
	int failed = open_file(state);

	if (!failed)
		map_file(BASE, PAGES, PROTECTION_READ_WRITE, SHARING_SHARED);
	return failed;
}

static struct mm_page gup(uint64_t address, unsigned flags)
{
	struct mm_page page = { 0 };

	assert_int_equal(gup_get(space, hva(address), flags, &page), STATUS_OK);
	return page;
}

static uint64_t *alias(struct mm_page page) { return pfn_to_ptr(page.frame); }

static uint64_t bits(uint64_t address) { return entry(address).pte.bits & (PTE_A | PTE_D); }

/* As a process that has read and written there, and all of it is written back. */
static void touch_and_clean(uint64_t address)
{
	put(address, 1);
	assert_int_equal(file_sync(file), STATUS_OK);
	assert_int_equal(bits(address), PTE_A);
}

/* ------------------------------------------------------------------ */

static void s14_a_page_that_is_got_has_no_marks(void **state)
{
	(void)state;
	touch_and_clean(BASE);
	atomic_or(entry(BASE).slot, PTE_W);		/* writable and clean: S42 */
	struct mm_page page = gup(BASE, GUP_WRITE);

	*alias(page) = 9;
	assert_int_equal(bits(BASE), PTE_A);
	assert_false(folio_dirty(arena.host, page.frame));
	gup_put_dirty(arena.host, page.frame);
	assert_true(folio_dirty(arena.host, page.frame));
	assert_int_equal(bits(BASE), PTE_A);
}

static void s15_dirty_at_the_end_without_an_entry(void **state)
{
	(void)state;
	touch_and_clean(BASE + PAGE_SIZE);
	struct mm_page page = gup(BASE + PAGE_SIZE, GUP_WRITE);

	assert_int_equal(space_unmap(space, hva(BASE + PAGE_SIZE), PAGE_SIZE), STATUS_OK);
	assert_int_equal(file_sync(file), STATUS_OK);
	*alias(page) = 15;
	gup_put_dirty(arena.host, page.frame);
	assert_int_equal(file_sync(file), STATUS_OK);
	assert_int_equal(stored(1), 15);
}

/* S16: the one holds the page and not its translation, the other neither, but is told. */
static void s16_a_secondary_mmu_takes_no_reference(void **state)
{
	(void)state;
	touch_and_clean(BASE);
	pfn_t frame = pte_frame(entry(BASE).pte);
	uint32_t before = folio_refcount(arena.host, frame);

	look_up(BASE, ACCESS_READ);
	assert_int_equal(folio_refcount(arena.host, frame), before);
	struct mm_page page = gup(BASE, 0);

	assert_int_equal(page.frame.raw, frame.raw);
	assert_int_equal(folio_refcount(arena.host, frame), before + 1);
	gup_put(arena.host, page.frame);
	assert_int_equal(folio_refcount(arena.host, frame), before);
}

/* A page that is held can't move; one that a secondary MMU knows can. */
static void s95_what_is_held_stays(void **state)
{
	uint64_t moved;

	(void)state;
	map(BASE + GIB, PAGE_SIZE, LEVEL_4K);
	put(BASE + GIB, 3);
	look_up(BASE + GIB, ACCESS_WRITE);
	assert_int_equal(space_migrate(space, hva(BASE + GIB), PAGE_SIZE, &moved), STATUS_OK);
	assert_int_equal(moved, 1);
	struct mm_page page = gup(BASE + GIB, GUP_WRITE);

	assert_int_equal(space_migrate(space, hva(BASE + GIB), PAGE_SIZE, &moved), STATUS_OK);
	assert_int_equal(moved, 0);
	gup_put(arena.host, page.frame);
}

/* S98: written after the page was cleaned, without a notice: nobody would write it back. */
static void s98_a_write_behind_a_writeback(void **state)
{
	(void)state;
	touch_and_clean(BASE + 2 * PAGE_SIZE);
	struct mm_page page = gup(BASE + 2 * PAGE_SIZE, GUP_WRITE);

	assert_int_equal(file_sync(file), STATUS_OK);
	*alias(page) = 98;
	assert_int_equal(stats().dirty, 0);
	assert_false(folio_dirty(arena.host, page.frame));
	assert_int_equal(file_sync(file), STATUS_OK);
	assert_int_equal(stored(2), 1);
	gup_put_dirty(arena.host, page.frame);
	assert_int_equal(file_sync(file), STATUS_OK);
	assert_int_equal(stored(2), 98);
}

/* ------------------------------------------------------------------ touch */

/* S31 as Linux does it, S60 as it might be: what each marks, for a page and for a large leaf. */
static void s31_s60_touch(void **state)
{
	static const struct {
		unsigned flags;
		bool large;
		uint64_t bits;			/* of the entry */
		bool accessed, dirty;		/* of the folio */
	} cases[] = {
		{ GUP_TOUCH | GUP_WRITE, false, 0, true, true },
		{ GUP_TOUCH, false, 0, true, false },
		{ GUP_TOUCH | GUP_WRITE, true, PTE_A | PTE_D, false, false },
		{ GUP_TOUCH, true, PTE_A, false, false },
		{ GUP_TOUCH_SANE | GUP_WRITE, false, PTE_A | PTE_D, false, false },
		{ GUP_TOUCH_SANE, false, PTE_A, false, false },
		{ GUP_TOUCH_SANE | GUP_WRITE, true, PTE_A | PTE_D, false, false },
		{ GUP_TOUCH_SANE, true, PTE_A, false, false },
		{ GUP_WRITE, false, 0, false, false }, { GUP_WRITE, true, 0, false, false },
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		uint64_t at = BASE + (i + 1) * GIB;

		map(at, 2 * MIB, cases[i].large ? LEVEL_2M : LEVEL_4K);
		look_up(at, ACCESS_READ);
		atomic_and(entry(at).slot, ~(PTE_A | PTE_D));
		struct mm_page page = gup(at, cases[i].flags);

		assert_int_equal(page.level, cases[i].large ? LEVEL_2M : LEVEL_4K);
		assert_int_equal(bits(at), cases[i].bits);
		assert_int_equal(folio_accessed(arena.host, page.frame), cases[i].accessed);
		assert_int_equal(folio_dirty(arena.host, page.frame), cases[i].dirty);
		gup_put(arena.host, page.frame);
	}
}

static void what_can_not_be_got(void **state)
{
	struct mm_page page;

	(void)state;
	assert_int_equal(gup_get(space, hva(BASE - 1), 0, &page), STATUS_NOT_FOUND);
	assert_int_equal(gup_get(space, hva(UINT64_MAX), 0, &page), STATUS_NOT_FOUND);
	assert_int_equal(space_protect(space, hva(BASE), PAGE_SIZE, PROTECTION_READ), STATUS_OK);
	assert_int_equal(gup_get(space, hva(BASE), GUP_WRITE, &page), STATUS_NO_ACCESS);
	arena_fail_after(&arena, 0);
	assert_int_equal(gup_get(space, hva(BASE + PAGE_SIZE), 0, &page), STATUS_NO_MEMORY);
	arena_fail_after(&arena, -1);
	assert_int_equal(gup(BASE + PAGE_SIZE + 5, GUP_WRITE).frame.raw,
			 look_up(BASE + PAGE_SIZE, ACCESS_READ).frame.raw);
	gup_put(arena.host, look_up(BASE + PAGE_SIZE, ACCESS_READ).frame);
}

#define mapped_test(name) cmocka_unit_test_setup_teardown(name, open_mapped, close_file)

int main(void)
{
	const struct CMUnitTest tests[] = {
		mapped_test(s14_a_page_that_is_got_has_no_marks),
		mapped_test(s15_dirty_at_the_end_without_an_entry),
		mapped_test(s16_a_secondary_mmu_takes_no_reference),
		mapped_test(s95_what_is_held_stays), mapped_test(s98_a_write_behind_a_writeback),
		mapped_test(s31_s60_touch), mapped_test(what_can_not_be_got),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
