/* Ranges that no call may accept, and the damage that space_verify must see. */
#include "tests/unit/space_fixture.h"

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
	case 6: return space_advise(space, start, bytes, ADVICE_RANDOM);
	case 7: return space_move(space, start, bytes, hva(0));
	case 8: return space_move(space, hva(0), bytes, start);
	case 9: return space_merge(space, start, bytes);
	case 10: return space_unmerge(space, start, bytes);
	case 11: return space_lazyfree(space, start, bytes);
	case 12: return space_cool(space, start, bytes);
	case 13: return space_page_out(space, start, bytes, &moved);
	case 14: return space_hint(space, start, bytes, HINT_AT_ONCE);
	case 15: return space_collapse(space, start, bytes, &moved);
	case 16: return space_map_secret(space, start, bytes, PROTECTION_READ);
	case 17: return space_map_frames(space, start, bytes, PROTECTION_READ, pfn(1), LEVEL_4K,
					 FRAMES_BARE);
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
		for (unsigned function = 0; function < 19; function++)
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
		{ &place.slot->live, (place.pte.bits & ~PTE_P) | PTE_NONE, "pte_present" },
		{ &place.slot->live, PTE_MIGRATION, "pte_keeps_page" },
		{ &place.slot->live, place.pte.bits & ~PTE_SOFT, "pte_soft" },
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
	folio_unmap(page_block(arena.host, pte_frame(place.pte)));
	atomic_write(&folio->refcount, 0);
	assert_true(panics(space_verify(space), "refcount"));
	space->lock = (rwlock_t){ 0 };
	atomic_write(&folio->refcount, 1);
}

/* An entry goes from a table that nothing names any more. */
static void way_is_lost(void **state) NOT_CHECKED
{
	struct gather gather = gather_begin(space);
	struct place place;

	(void)state;
	map(BASE, PAGE_SIZE, LEVEL_4K);
	look_up(BASE, ACCESS_WRITE);
	place = entry(BASE);
	atomic_write(table_make(space, BASE, LEVEL_2M), 0);
	assert_true(panics(table_change(space, BASE, place, pte_empty(), CONTENT_DIES, &gather),
			   "pte_table"));
}

/* Who forgot to reserve is stopped before anything is moved. */
static void no_room_for_a_vma(void **state) NOT_CHECKED
{
	static char before[PAGE_SIZE];
	struct vma vma = { .start = BASE, .end = BASE + PAGE_SIZE, .protection = PROTECTION_READ,
			   .max_level = LEVEL_4K };

	(void)state;
	map(GIB, PAGE_SIZE, LEVEL_4K);
	for (; space->vma_count < space->vma_capacity; vma.start += 2 * PAGE_SIZE) {
		vma.end = vma.start + PAGE_SIZE;
		vma_insert(space, vma);
	}
	vma.start = 0;
	vma.end = PAGE_SIZE;
	memcpy(before, space->vmas, PAGE_SIZE);
	assert_true(panics(vma_insert(space, vma), "vma_capacity"));
	assert_memory_equal(before, space->vmas, PAGE_SIZE);
}

static int abandon(void **state)
{
	(void)state;
	arena_abandon(&arena);
	return 0;
}

#define IN_SPACE(test) cmocka_unit_test_setup_teardown(test, open_space, close_space)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_SPACE(bad_ranges), IN_SPACE(damage_is_seen),
		cmocka_unit_test_setup_teardown(way_is_lost, open_space, abandon),
		cmocka_unit_test_setup_teardown(no_room_for_a_vma, open_space, abandon),
	};

	return cmocka_run_group_tests_name("mm/misuse", tests, NULL, NULL);
}
