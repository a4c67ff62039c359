/* Ranges that no call may accept, and the damage that space_verify must see. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "mm/space.h"
#include "tests/host/arena.h"

#define MIB UINT64_C(0x100000)
#define BASE (UINT64_C(64) << 30)

static struct arena arena;
static struct space *space;

static int open_space(void **state)
{
	(void)state;
	return space_create(arena_open(&arena, 64), &space) == STATUS_OK ? 0 : -1;
}

static int close_space(void **state)
{
	(void)state;
	space_verify(space);
	space_destroy(space);
	arena_close(&arena);
	return 0;
}

static void map(uint64_t start, uint64_t bytes, unsigned max_level)
{
	assert_int_equal(space_map(space, hva(start), bytes, PROTECTION_READ_WRITE, max_level),
			 STATUS_OK);
}

static struct mm_page look_up(uint64_t address, enum access access)
{
	struct mm_page page = { 0 };

	assert_int_equal(mm_lookup(space, hva(address), access, &page), STATUS_OK);
	return page;
}

/* The entry behind an address, as the tables have it. */
static struct place entry(uint64_t address) NOT_CHECKED
{
	return table_find(space, address);
}

static uint64_t pages_free(void)
{
	struct host_stats stats;

	host_read_stats(arena.host, &stats);
	return stats.pages_free;
}

static enum status call(unsigned function, hva_t start, uint64_t bytes)
{
	uint64_t moved;

	switch (function) {
	case 0: return space_map(space, start, bytes, PROTECTION_READ, LEVEL_4K);
	case 1: return space_unmap(space, start, bytes);
	case 2: return space_protect(space, start, bytes, PROTECTION_READ);
	case 3: return space_discard(space, start, bytes);
	case 4: return space_migrate(space, start, bytes, &moved);
	case 5: return space_split(space, start, bytes);
	default: return space_invalidate(space, start, bytes);
	}
}

static void bad_ranges(void **state)
{
	static const struct { uint64_t start, bytes; } cases[] = {
		{ BASE, 0 },
		{ BASE, 1 },
		{ BASE, PAGE_SIZE + 1 },
		{ BASE + 1, PAGE_SIZE },
		{ BASE + 0x800, 0x800 },
		{ SPACE_END, PAGE_SIZE },
		{ SPACE_END - PAGE_SIZE, 2 * PAGE_SIZE },
		{ BASE, SPACE_END },
		{ BASE, 0 - BASE },
		{ BASE, UINT64_MAX & PAGE_MASK },
		{ 0 - PAGE_SIZE, PAGE_SIZE },
		{ 0 - PAGE_SIZE, 2 * PAGE_SIZE },
		{ UINT64_MAX, 1 },
		{ UINT64_C(1) << 63, UINT64_C(1) << 63 },
	};
	char byte = 1;

	(void)state;
	map(BASE, 16 * PAGE_SIZE, LEVEL_4K);
	look_up(BASE, ACCESS_WRITE);
	uint64_t before = pages_free();

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		for (unsigned function = 0; function < 7; function++)
			assert_int_equal(call(function, hva(cases[i].start), cases[i].bytes),
					 STATUS_BAD_RANGE);
	assert_int_equal(pages_free(), before);
	assert_int_equal(space->vma_count, 1);
	assert_int_equal(space_map(space, hva(0), PAGE_SIZE, PROTECTION_READ, 0), STATUS_BAD_RANGE);
	assert_int_equal(space_map(space, hva(0), PAGE_SIZE, PROTECTION_READ, 4), STATUS_BAD_RANGE);

	assert_int_equal(space_read(space, hva(BASE), &byte, 0), STATUS_OK);
	assert_int_equal(space_read(space, hva(SPACE_END), &byte, 0), STATUS_OK);
	assert_int_equal(space_read(space, hva(SPACE_END), &byte, 1), STATUS_BAD_RANGE);
	assert_int_equal(space_read(space, hva(SPACE_END + 1), &byte, 0), STATUS_BAD_RANGE);
	assert_int_equal(space_write(space, hva(UINT64_MAX), &byte, 2), STATUS_BAD_RANGE);
	assert_int_equal(space_write(space, hva(BASE), &byte, UINT64_MAX), STATUS_BAD_RANGE);
	assert_int_equal(space_write(space, hva(BASE - 1), &byte, 1), STATUS_NOT_FOUND);
}

/* space_verify sees each kind of damage. A panic leaves space->lock held. */
static void damage_is_seen(void **state)
{
	static struct place place;			/* static: they outlive a longjmp */
	static struct folio *folio;

	(void)state;
	map(BASE, 4 * PAGE_SIZE, LEVEL_4K);
	look_up(BASE, ACCESS_WRITE);
	place = entry(BASE);
	folio = page_folio(arena.host, pte_frame(place.pte));

	const struct { uint64_t *word; uint64_t value; const char *seen; } cases[] = {
		{ &place.slot->live, place.pte.bits & ~PTE_W, "pte_writable" },
		{ &place.slot->live, (place.pte.bits & ~PTE_P) | PTE_NONE, "pte_present" },
		{ &place.slot->live, PTE_MIGRATION, "pte_leaf" },
		{ &place.slot->live, 0, "entries" },
		{ &place.slot[1].live, place.pte.bits, "entries" },
		{ &space->vmas[0].start, BASE + PAGE_SIZE, "vma" },
		{ &space->vmas[0].end, BASE, "start < vma->end" },
		{ &space->vmas[0].end, BASE + 1, "PAGE_MASK" },
	};
	static unsigned i;
	static uint64_t kept;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		kept = *cases[i].word;
		*cases[i].word = cases[i].value;
		assert_true(panics(space_verify(space), cases[i].seen));
		*cases[i].word = kept;
		space->lock = (rwlock_t){ 0 };
		space_verify(space);
	}
	folio_map(arena.host, pte_frame(place.pte));
	assert_true(panics(space_verify(space), "mapcount"));
	space->lock = (rwlock_t){ 0 };
	folio_unmap(arena.host, pte_frame(place.pte));
	atomic_write(&folio->refcount, 0);
	assert_true(panics(space_verify(space), "refcount"));
	space->lock = (rwlock_t){ 0 };
	atomic_write(&folio->refcount, 1);
}

#define IN_SPACE(test) cmocka_unit_test_setup_teardown(test, open_space, close_space)

int main(void)
{
	const struct CMUnitTest tests[] = { IN_SPACE(bad_ranges), IN_SPACE(damage_is_seen) };

	return cmocka_run_group_tests_name("mm/misuse", tests, NULL, NULL);
}
