/* Address spaces from the outside: demand zero, huge leaves, unmap, protect, discard, migrate. */
#include "tests/unit/space_fixture.h"

static void demand_zero(void **state)
{
	static char buffer[3 * PAGE_SIZE], zero[3 * PAGE_SIZE];

	(void)state;
	map(BASE, 4 * PAGE_SIZE, LEVEL_4K);
	memset(buffer, 1, sizeof(buffer));
	assert_int_equal(space_read(space, hva(BASE + 5), buffer, sizeof(buffer)), STATUS_OK);
	assert_memory_equal(buffer, zero, sizeof(buffer));
	memset(buffer, 7, sizeof(buffer));
	assert_int_equal(space_write(space, hva(BASE + 5), buffer, sizeof(buffer)), STATUS_OK);
	memset(zero, 7, sizeof(zero));
	memset(buffer, 0, sizeof(buffer));
	assert_int_equal(space_read(space, hva(BASE + 5), buffer, sizeof(buffer)), STATUS_OK);
	assert_memory_equal(buffer, zero, sizeof(buffer));
}

static void accessed_and_dirty(void **state)
{
	char byte = 1;

	(void)state;
	map(BASE, 3 * PAGE_SIZE, LEVEL_4K);
	assert_int_equal(space_read(space, hva(BASE), &byte, 1), STATUS_OK);
	assert_int_equal(entry(BASE).pte.bits & (PTE_A | PTE_D | PTE_W), PTE_A | PTE_W);
	assert_int_equal(space_write(space, hva(BASE), &byte, 1), STATUS_OK);
	assert_int_equal(entry(BASE).pte.bits & (PTE_A | PTE_D), PTE_A | PTE_D);
	/* A lookup is not an access by a CPU, but the fault on its way is one. */
	look_up(BASE + PAGE_SIZE, ACCESS_READ);
	assert_int_equal(entry(BASE + PAGE_SIZE).pte.bits & (PTE_A | PTE_D), PTE_A);
	look_up(BASE + PAGE_SIZE, ACCESS_WRITE);
	assert_int_equal(entry(BASE + PAGE_SIZE).pte.bits & (PTE_A | PTE_D), PTE_A);
	assert_int_equal(entry(BASE).pte.bits & (PTE_P | PTE_U | PTE_NX), PTE_P | PTE_U | PTE_NX);
	/* The slot's frame is a table. */
	assert_int_equal(folio_mapcount(arena.host, ptr_to_pfn(entry(BASE).slot)), 0);
}

static void lookup_says_frame_level_rights(void **state)
{
	struct mm_page page;

	(void)state;
	map(BASE, 4 * MIB, LEVEL_2M);
	map(BASE + 4 * MIB, 2 * PAGE_SIZE, LEVEL_2M);
	struct mm_page low = look_up(BASE + 2 * MIB, ACCESS_READ);
	struct mm_page high = look_up(BASE + 4 * MIB - 1, ACCESS_WRITE);

	assert_int_equal(low.level, LEVEL_2M);
	assert_true(low.writable);
	assert_int_equal(high.frame.raw, low.frame.raw + 511);
	assert_int_equal(high.level, LEVEL_2M);
	assert_int_equal(look_up(BASE + 4 * MIB + 5, ACCESS_WRITE).level, LEVEL_4K);
	assert_int_equal(mm_lookup(space, hva(BASE - 1), ACCESS_READ, &page), STATUS_NOT_FOUND);
	/* A peek says the same of what is there, and brings nothing in. */
	assert_int_equal(mm_peek(space, hva(BASE + 4 * MIB - 1), &page), STATUS_OK);
	assert_int_equal(page.frame.raw, high.frame.raw);
	assert_int_equal(page.level, high.level);
	assert_true(page.writable);
	assert_int_equal(mm_peek(space, hva(BASE), &page), STATUS_NOT_FOUND);
	assert_int_equal(mm_peek(space, hva(BASE), &page), STATUS_NOT_FOUND);
	assert_int_equal(mm_peek(space, hva(SPACE_END), &page), STATUS_NOT_FOUND);
	assert_int_equal(mm_lookup(space, hva(BASE + 4 * MIB + 2 * PAGE_SIZE), ACCESS_READ, &page),
			 STATUS_NOT_FOUND);
	assert_int_equal(mm_lookup(space, hva(SPACE_END), ACCESS_READ, &page), STATUS_NOT_FOUND);
	assert_int_equal(mm_lookup(space, hva(UINT64_MAX), ACCESS_READ, &page), STATUS_NOT_FOUND);
}

/* A leaf is as large as the VMA wants, as fits into it, and as the tables leave room for. */
static void levels_of_faults(void **state)
{
	(void)state;
	map(BASE + PAGE_SIZE, 5 * MIB, LEVEL_2M);
	/* The first 2 MiB begin before the VMA does, the last end after it. */
	assert_int_equal(look_up(BASE + MIB, ACCESS_READ).level, LEVEL_4K);
	assert_int_equal(look_up(BASE + 3 * MIB, ACCESS_READ).level, LEVEL_2M);
	assert_int_equal(look_up(BASE + 5 * MIB, ACCESS_READ).level, LEVEL_4K);
	map(BASE + 8 * MIB, 2 * MIB, LEVEL_4K);
	assert_int_equal(look_up(BASE + 8 * MIB, ACCESS_READ).level, LEVEL_4K);

	/* One small page in it keeps a large one out; when it is gone, so is its table. */
	map(BASE + 12 * MIB, MIB, LEVEL_2M);
	assert_int_equal(look_up(BASE + 12 * MIB, ACCESS_READ).level, LEVEL_4K);
	map(BASE + 13 * MIB, MIB, LEVEL_2M);
	assert_int_equal(look_up(BASE + 13 * MIB, ACCESS_READ).level, LEVEL_4K);
	assert_int_equal(space_discard(space, hva(BASE + 12 * MIB), 2 * MIB), STATUS_OK);
	assert_int_equal(look_up(BASE + 13 * MIB, ACCESS_READ).level, LEVEL_2M);
}

static void large_folios_run_out(void **state)
{
	(void)state;
	map(BASE, 8 * MIB, LEVEL_1G);
	arena_fail_from_order(&arena, ORDER_2M);
	struct mm_page small = look_up(BASE + 2 * MIB, ACCESS_WRITE);

	assert_int_equal(small.level, LEVEL_4K);
	assert_int_equal(folio_order(arena.host, small.frame), 0);
	arena_fail_after(&arena, -1);
	assert_int_equal(look_up(BASE + 4 * MIB, ACCESS_WRITE).level, LEVEL_2M);
	assert_int_equal(look_up(BASE + 3 * MIB, ACCESS_WRITE).level, LEVEL_4K);
}

static void memory_runs_out(void **state)
{
	struct mm_page page;
	uint64_t i = 0;

	(void)state;
	map(BASE, 256 * MIB, LEVEL_2M);
	while (mm_lookup(space, hva(BASE + i * PAGE_SIZE), ACCESS_WRITE, &page) == STATUS_OK)
		i++;
	assert_int_equal(pages_free(), 0);
	assert_int_equal(mm_lookup(space, hva(BASE + i * PAGE_SIZE), ACCESS_READ, &page),
			 STATUS_NO_MEMORY);
	assert_int_equal(space_write(space, hva(BASE + i * PAGE_SIZE - 8), "0123456789abcdef", 16),
			 STATUS_NO_MEMORY);
	char found[8];

	assert_int_equal(space_read(space, hva(BASE + i * PAGE_SIZE - 8), found, 8), STATUS_OK);
	assert_memory_equal(found, "01234567", 8);
	assert_int_equal(space_unmap(space, hva(BASE), 256 * MIB), STATUS_OK);
}

static void gigabyte_leaf(void **state)
{
	static const struct ram_range range = { { 0 }, { 3 * GIB } };
	uint64_t value = 1, found = 0;

	(void)state;
	space_destroy(space);
	arena_close(&arena);
	assert_int_equal(space_create(arena_open_ranges(&arena, &range, 1), &space), STATUS_OK);
	map(BASE, 2 * GIB, LEVEL_1G);
	struct mm_page page = look_up(BASE + GIB + 5 * PAGE_SIZE, ACCESS_WRITE);

	assert_int_equal(page.level, LEVEL_1G);
	assert_int_equal(page.frame.raw & 0x3ffff, 5);
	assert_int_equal(space_write(space, hva(BASE + GIB), &value, sizeof(value)), STATUS_OK);
	space_verify(space);
	/* A hole of one page: 511 leaves of 2 MiB and 511 of 4 KiB are left. */
	assert_int_equal(space_unmap(space, hva(BASE + GIB + 4 * MIB), PAGE_SIZE), STATUS_OK);
	assert_int_equal(folio_mapcount(arena.host, page.frame), 1022);
	assert_int_equal(folio_refcount(arena.host, page.frame), 1022);
	assert_int_equal(entry(BASE + GIB).level, LEVEL_2M);
	assert_int_equal(entry(BASE + GIB + 4 * MIB + PAGE_SIZE).level, LEVEL_4K);
	assert_int_equal(look_up(BASE + GIB + 5 * PAGE_SIZE, ACCESS_WRITE).frame.raw,
			 page.frame.raw);
	/* The other gigabyte, for one of its pages: as far down as that page needs. */
	look_up(BASE, ACCESS_WRITE);
	assert_int_equal(space_split(space, hva(BASE + 4 * MIB), PAGE_SIZE), STATUS_OK);
	assert_int_equal(entry(BASE).level, LEVEL_2M);
	assert_int_equal(entry(BASE + 4 * MIB).level, LEVEL_4K);
	assert_int_equal(space_read(space, hva(BASE + GIB), &found, sizeof(found)), STATUS_OK);
	assert_int_equal(found, value);
}

static void split_leaves_every_translation(void **state)
{
	uint64_t value = 42, found = 0;

	(void)state;
	map(BASE, 8 * MIB, LEVEL_2M);
	struct mm_page first = look_up(BASE, ACCESS_WRITE);
	struct mm_page last = look_up(BASE + 8 * MIB - 1, ACCESS_WRITE);

	assert_int_equal(space_write(space, hva(BASE + MIB), &value, sizeof(value)), STATUS_OK);
	assert_int_equal(space_split(space, hva(BASE + MIB), PAGE_SIZE), STATUS_OK);
	assert_int_equal(look_up(BASE, ACCESS_READ).level, LEVEL_4K);
	assert_int_equal(look_up(BASE + 8 * MIB - 1, ACCESS_READ).level, LEVEL_2M);
	/* Across holes, and leaves that are small already. */
	assert_int_equal(space_split(space, hva(BASE), 8 * MIB), STATUS_OK);
	assert_int_equal(look_up(BASE + 8 * MIB - 1, ACCESS_READ).level, LEVEL_4K);
	assert_int_equal(look_up(BASE, ACCESS_READ).frame.raw, first.frame.raw);
	assert_int_equal(look_up(BASE + 8 * MIB - 1, ACCESS_READ).frame.raw, last.frame.raw);
	assert_int_equal(space_read(space, hva(BASE + MIB), &found, sizeof(found)), STATUS_OK);
	assert_int_equal(found, value);
	space_verify(space);
}

static void huge_is_split_and_partly_freed(void **state)
{
	uint64_t value = 42, found = 0, moved = 0;

	(void)state;
	map(BASE, 8 * MIB, LEVEL_2M);
	struct mm_page huge = look_up(BASE + 3 * MIB, ACCESS_READ);

	assert_int_equal(huge.level, LEVEL_2M);
	assert_int_equal(folio_order(arena.host, huge.frame), ORDER_2M);
	assert_int_equal(folio_mapcount(arena.host, huge.frame), 1);
	assert_int_equal(space_write(space, hva(BASE + 3 * MIB), &value, sizeof(value)), STATUS_OK);
	assert_int_equal(space_migrate(space, hva(BASE), 8 * MIB, &moved), STATUS_OK);
	assert_int_equal(moved, 0);			/* a larger leaf stays */
	assert_int_equal(space_discard(space, hva(BASE + 2 * MIB), PAGE_SIZE), STATUS_OK);
	assert_int_equal(folio_mapcount(arena.host, huge.frame), 511);
	assert_false(folio_dirty(arena.host, huge.frame));	/* the children have D */
	assert_true(pte_dirty(entry(BASE + 3 * MIB).pte));
	space_verify(space);
	assert_int_equal(space_migrate(space, hva(BASE), 8 * MIB, &moved), STATUS_OK);
	assert_int_equal(moved, 511);
	assert_int_equal(space_read(space, hva(BASE + 3 * MIB), &found, sizeof(found)), STATUS_OK);
	assert_int_equal(found, value);
	assert_int_not_equal(look_up(BASE + 3 * MIB, ACCESS_READ).frame.raw, huge.frame.raw);
}

/* The last page of a large folio frees it, and the tables go with what they held. */
static void frames_and_tables_come_back(void **state)
{
	uint64_t before = pages_free();

	(void)state;
	map(BASE, 4 * MIB, LEVEL_2M);			/* one page: the array of VMAs */
	look_up(BASE, ACCESS_WRITE);
	assert_int_equal(pages_free(), before - 1 - 512 - 2);
	assert_int_equal(space_discard(space, hva(BASE), MIB), STATUS_OK);
	assert_int_equal(pages_free(), before - 1 - 512 - 3);
	look_up(BASE + MIB, ACCESS_WRITE);
	assert_int_equal(space_discard(space, hva(BASE + MIB), MIB), STATUS_OK);
	assert_int_equal(pages_free(), before - 1);
	look_up(BASE, ACCESS_WRITE);
	assert_int_equal(space_unmap(space, hva(BASE), 4 * MIB), STATUS_OK);
	assert_int_equal(pages_free(), before - 1);
}

static void discard_finds_zeros(void **state)
{
	char byte = 9;

	(void)state;
	map(BASE, 4 * PAGE_SIZE, LEVEL_4K);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(space_write(space, hva(BASE + i * PAGE_SIZE), &byte, 1),
				 STATUS_OK);
	/* Reaching over both ends of the VMA is no error. */
	assert_int_equal(space_discard(space, hva(BASE - PAGE_SIZE), 3 * PAGE_SIZE), STATUS_OK);
	assert_int_equal(space_read(space, hva(BASE + PAGE_SIZE), &byte, 1), STATUS_OK);
	assert_int_equal(byte, 0);
	assert_int_equal(space_read(space, hva(BASE + 2 * PAGE_SIZE), &byte, 1), STATUS_OK);
	assert_int_equal(byte, 9);
	assert_int_equal(space_discard(space, hva(BASE + MIB), MIB), STATUS_OK);
}

static void rights(void **state)
{
	struct mm_page page;
	char byte = 3;

	(void)state;
	map(BASE, 4 * MIB, LEVEL_2M);
	assert_int_equal(space_write(space, hva(BASE + MIB), &byte, 1), STATUS_OK);
	assert_int_equal(space_protect(space, hva(BASE + MIB), 2 * PAGE_SIZE, PROTECTION_READ),
			 STATUS_OK);
	assert_int_equal(mm_lookup(space, hva(BASE + MIB), ACCESS_WRITE, &page), STATUS_NO_ACCESS);
	assert_int_equal(space_write(space, hva(BASE + MIB), &byte, 1), STATUS_NO_ACCESS);
	assert_int_equal(mm_lookup(space, hva(BASE + MIB), ACCESS_EXEC, &page), STATUS_OK);
	assert_false(page.writable);
	assert_true(look_up(BASE + MIB - 1, ACCESS_WRITE).writable);
	space_verify(space);

	/* No right at all keeps the page and its content. */
	assert_int_equal(space_protect(space, hva(BASE + MIB), PAGE_SIZE, PROTECTION_NONE),
			 STATUS_OK);
	assert_int_equal(mm_lookup(space, hva(BASE + MIB), ACCESS_READ, &page), STATUS_NO_ACCESS);
	assert_int_equal(mm_peek(space, hva(BASE + MIB), &page), STATUS_NOT_FOUND);
	assert_int_equal(space_read(space, hva(BASE + MIB), &byte, 1), STATUS_NO_ACCESS);
	space_verify(space);
	uint64_t moved;

	assert_int_equal(space_migrate(space, hva(BASE + MIB), PAGE_SIZE, &moved), STATUS_OK);
	assert_int_equal(moved, 1);
	assert_int_equal(space_protect(space, hva(BASE), 4 * MIB, PROTECTION_READ_WRITE),
			 STATUS_OK);
	byte = 0;
	assert_int_equal(space_read(space, hva(BASE + MIB), &byte, 1), STATUS_OK);
	assert_int_equal(byte, 3);
	assert_int_equal(space->vma_count, 1);

	/* A hole: nothing is changed. */
	assert_int_equal(space_protect(space, hva(BASE + 3 * MIB), 2 * MIB, PROTECTION_READ),
			 STATUS_NOT_FOUND);
	assert_int_equal(space_protect(space, hva(BASE - MIB), 2 * MIB, PROTECTION_READ),
			 STATUS_NOT_FOUND);
	assert_true(look_up(BASE + 3 * MIB, ACCESS_WRITE).writable);
}

static void vmas_split_and_merge(void **state)
{
	(void)state;
	map(BASE + 2 * MIB, MIB, LEVEL_4K);
	map(BASE, MIB, LEVEL_4K);
	assert_int_equal(space->vma_count, 2);
	map(BASE + MIB, MIB, LEVEL_4K);
	assert_int_equal(space->vma_count, 1);
	map(BASE + 3 * MIB, MIB, LEVEL_2M);			/* another level: another VMA */
	assert_int_equal(space->vma_count, 2);
	assert_int_equal(space_protect(space, hva(BASE + MIB), MIB, PROTECTION_READ), STATUS_OK);
	assert_int_equal(space->vma_count, 4);
	assert_int_equal(space_unmap(space, hva(BASE + MIB / 2), 2 * MIB), STATUS_OK);
	assert_int_equal(space->vma_count, 3);
	assert_int_equal(space_map(space, hva(BASE), MIB, PROTECTION_READ, LEVEL_4K),
			 STATUS_EXISTS);
	assert_int_equal(space_map(space, hva(BASE + MIB), 4 * MIB, PROTECTION_READ, LEVEL_4K),
			 STATUS_EXISTS);
	assert_int_equal(space_unmap(space, hva(BASE), GIB), STATUS_OK);
	assert_int_equal(space->vma_count, 0);
	assert_int_equal(space_unmap(space, hva(BASE), GIB), STATUS_OK);
	map(0, PAGE_SIZE, LEVEL_4K);				/* the ends of the space */
	map(SPACE_END - PAGE_SIZE, PAGE_SIZE, LEVEL_4K);
	look_up(0, ACCESS_WRITE);
	look_up(SPACE_END - 1, ACCESS_WRITE);
}

static void many_vmas(void **state)
{
	(void)state;
	for (uint64_t i = 0; i < 1000; i++)
		map(BASE + (i * 389 % 1000) * 2 * PAGE_SIZE, PAGE_SIZE, LEVEL_4K);
	assert_int_equal(space->vma_count, 1000);
	space_verify(space);
	for (uint64_t i = 0; i < 1000; i++)
		look_up(BASE + i * 2 * PAGE_SIZE, ACCESS_WRITE);
}

static void migration(void **state)
{
	static char before[4 * PAGE_SIZE], after[4 * PAGE_SIZE];
	pfn_t old[4];
	uint64_t moved;

	(void)state;
	for (unsigned i = 0; i < sizeof(before); i++)
		before[i] = (char)(i * 7 + i / 4096);
	map(BASE, 8 * PAGE_SIZE, LEVEL_4K);
	assert_int_equal(space_write(space, hva(BASE), before, sizeof(before)), STATUS_OK);
	for (unsigned i = 0; i < 4; i++)
		old[i] = look_up(BASE + i * PAGE_SIZE, ACCESS_READ).frame;
	folio_mark_accessed(arena.host, old[0]);
	folio_get(arena.host, old[1]);			/* somebody else uses it: it stays */
	folio_get(arena.host, old[3]);
	assert_int_equal(space_migrate(space, hva(BASE), 8 * PAGE_SIZE, &moved), STATUS_OK);
	assert_int_equal(moved, 2);
	space_verify(space);
	for (unsigned i = 0; i < 4; i++) {
		pfn_t now = look_up(BASE + i * PAGE_SIZE, ACCESS_READ).frame;

		assert_int_equal(now.raw == old[i].raw, i & 1);
		assert_true(folio_dirty(arena.host, now));	/* D went to the folio */
		assert_int_equal(folio_accessed(arena.host, now), i == 0);
		assert_int_equal(folio_refcount(arena.host, now), i & 1 ? 2 : 1);
		assert_int_equal(folio_mapcount(arena.host, now), 1);
		assert_true(pte_dirty(entry(BASE + i * PAGE_SIZE).pte));
	}
	assert_int_equal(space_read(space, hva(BASE), after, sizeof(after)), STATUS_OK);
	assert_memory_equal(before, after, sizeof(before));
	folio_put(arena.host, old[1]);
	folio_put(arena.host, old[3]);
}

/* Whoever reads a page that has moved away reads poison: seen where the frame lives on. */
static void old_frame_is_poisoned(void **state)
{
	uint64_t moved;

	(void)state;
	map(BASE, 2 * MIB, LEVEL_2M);
	struct mm_page page = look_up(BASE, ACCESS_WRITE);

	assert_int_equal(space_discard(space, hva(BASE + PAGE_SIZE), PAGE_SIZE), STATUS_OK);
	assert_int_equal(space_migrate(space, hva(BASE), PAGE_SIZE, &moved), STATUS_OK);
	assert_int_equal(moved, 1);
	for (unsigned i = 0; i < PAGE_SIZE; i++)
		assert_int_equal(((uint8_t *)pfn_to_ptr(page.frame))[i], 0xaa);
}

static void two_spaces(void **state)
{
	struct space *other;
	char byte = 5;

	(void)state;
	assert_int_equal(space_create(arena.host, &other), STATUS_OK);
	assert_ptr_equal(space_host(other), arena.host);
	map(BASE, PAGE_SIZE, LEVEL_4K);
	assert_int_equal(space_map(other, hva(BASE), PAGE_SIZE, PROTECTION_READ_WRITE, LEVEL_4K),
			 STATUS_OK);
	assert_int_equal(space_write(space, hva(BASE), &byte, 1), STATUS_OK);
	assert_int_equal(space_read(other, hva(BASE), &byte, 1), STATUS_OK);
	assert_int_equal(byte, 0);
	space_verify(other);
	space_destroy(other);
}

/* A part of a large page: no leaf lies across a VMA's end. */
static void advice_splits_leaves(void **state)
{
	(void)state;
	map(BASE, 2 * MIB, LEVEL_2M);
	look_up(BASE, ACCESS_WRITE);
	assert_int_equal(space_advise(space, hva(BASE + PAGE_SIZE), PAGE_SIZE, ADVICE_RANDOM),
			 STATUS_OK);
	assert_int_equal(entry(BASE).level, LEVEL_4K);
	assert_int_equal(space_merge(space, hva(BASE + MIB), PAGE_SIZE), STATUS_OK);
	space_verify(space);
}

#define IN_SPACE(test) cmocka_unit_test_setup_teardown(test, open_space, close_space)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_SPACE(demand_zero),
		IN_SPACE(accessed_and_dirty),
		IN_SPACE(lookup_says_frame_level_rights),
		IN_SPACE(levels_of_faults),
		IN_SPACE(large_folios_run_out),
		IN_SPACE(memory_runs_out),
		IN_SPACE(gigabyte_leaf),
		IN_SPACE(split_leaves_every_translation),
		IN_SPACE(huge_is_split_and_partly_freed),
		IN_SPACE(frames_and_tables_come_back),
		IN_SPACE(discard_finds_zeros),
		IN_SPACE(rights),
		IN_SPACE(vmas_split_and_merge), IN_SPACE(advice_splits_leaves),
		IN_SPACE(many_vmas),
		IN_SPACE(migration),
		IN_SPACE(old_frame_is_poisoned),
		IN_SPACE(two_spaces),
	};

	return cmocka_run_group_tests_name("mm/space", tests, NULL, NULL);
}
