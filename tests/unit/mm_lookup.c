/*
 * What a secondary MMU may ask of a lookup, and what ordinary users without page tables get.
 * Numbers in names are rows of the propagation table.
 */
#include "tests/unit/space_fixture.h"

static uint64_t count(enum host_count what) { return host_read_count(arena.host, what); }

static enum status find(uint64_t address, enum access access, unsigned flags, struct mm_page *out)
{
	return mm_lookup_with(space, hva(address), access, flags, out);
}

static uint64_t bits(uint64_t address) { return entry(address).pte.bits & (PTE_A | PTE_D); }

/* As after madvise, or aging: the rights are there, and nothing has been done with them. */
static void clean(uint64_t address) { atomic_and(entry(address).slot, ~(PTE_A | PTE_D)); }

static void map_touched(uint64_t at, unsigned level)
{
	map(at, level_bytes(level), level);
	look_up(at, ACCESS_WRITE);
	clean(at);
}

static pfn_t frame_at(uint64_t address) { return pte_frame(entry(address).pte); }

/* ------------------------------------------------------------------ touch */

/* S24: the walk refuses, the slow way sets the bits, and the next one walks. */
static void s24_touch_is_slow_once(void **state)
{
	static const struct { enum access access; uint64_t bits; unsigned level; } cases[] = {
		{ ACCESS_READ, PTE_A, LEVEL_4K }, { ACCESS_WRITE, PTE_A | PTE_D, LEVEL_4K },
		{ ACCESS_READ, PTE_A, LEVEL_2M }, { ACCESS_WRITE, PTE_A | PTE_D, LEVEL_2M },
	};
	struct mm_page page;

	(void)state;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		uint64_t at = BASE + i * GIB, slow;

		map_touched(at, cases[i].level);
		slow = count(HOST_SLOW_LOOKUPS);
		assert_int_equal(find(at, cases[i].access, LOOKUP_TOUCH, &page), STATUS_OK);
		assert_int_equal(count(HOST_SLOW_LOOKUPS), slow + 1);
		assert_int_equal(bits(at), cases[i].bits);
		assert_int_equal(page.frame.raw, frame_at(at).raw);
		assert_int_equal(find(at, cases[i].access, LOOKUP_TOUCH, &page), STATUS_OK);
		assert_int_equal(count(HOST_SLOW_LOOKUPS), slow + 1);
		/* Folio flags are the primary entry's owner's affair. */
		assert_false(folio_dirty(arena.host, page.frame));
		assert_false(folio_accessed(arena.host, page.frame));
	}
	/* Young, and not dirty: enough to read, too little to write. */
	uint64_t slow = count(HOST_SLOW_LOOKUPS);

	assert_int_equal(find(BASE, ACCESS_WRITE, LOOKUP_TOUCH, &page), STATUS_OK);
	assert_int_equal(count(HOST_SLOW_LOOKUPS), slow + 1);
	assert_int_equal(bits(BASE), PTE_A | PTE_D);
}

/* Without the flag an old, clean entry is as good as any, and stays so. */
static void plain_lookups_touch_nothing(void **state)
{
	(void)state;
	map_touched(BASE, LEVEL_4K);
	uint64_t slow = count(HOST_SLOW_LOOKUPS);

	look_up(BASE, ACCESS_WRITE);
	assert_int_equal(bits(BASE), 0);
	assert_int_equal(count(HOST_SLOW_LOOKUPS), slow);
}

/* ------------------------------------------------------------------ one walk */

/* S87: whatever the leaf's size, one walk names frame and level. */
static void s87_one_walk(void **state)
{
	(void)state;
	for (unsigned level = LEVEL_4K; level <= LEVEL_2M; level++) {
		uint64_t at = BASE + level * GIB, walks, slow;

		map_touched(at, level);
		walks = count(HOST_WALKS);
		slow = count(HOST_SLOW_LOOKUPS);
		assert_int_equal(look_up(at, ACCESS_WRITE).level, level);
		assert_int_equal(count(HOST_WALKS), walks + 1);
		assert_int_equal(count(HOST_SLOW_LOOKUPS), slow);
	}
}

/*
 * S88: shared with a child, so a store would copy. A read may go either way; a write always asks.
 */
static void s88_reads_of_shared_pages(void **state)
{
	struct space *child;
	struct mm_page page;

	(void)state;
	map_touched(BASE, LEVEL_4K);
	map_touched(BASE + GIB, LEVEL_4K);
	assert_int_equal(space_fork(space, &child), STATUS_OK);
	uint64_t slow = count(HOST_SLOW_LOOKUPS), faults = count(HOST_FAULTS);

	assert_int_equal(find(BASE, ACCESS_READ, 0, &page), STATUS_OK);
	assert_int_equal(count(HOST_SLOW_LOOKUPS), slow);
	assert_int_equal(find(BASE, ACCESS_READ, LOOKUP_SHARED_SLOWLY, &page), STATUS_OK);
	assert_int_equal(count(HOST_SLOW_LOOKUPS), slow + 1);
	assert_int_equal(count(HOST_FAULTS), faults);
	assert_false(page.writable);
	assert_int_equal(page.frame.raw, frame_at(BASE).raw);
	/* After its own copy, nobody shares. */
	assert_int_equal(find(BASE, ACCESS_WRITE, LOOKUP_SHARED_SLOWLY, &page), STATUS_OK);
	assert_int_equal(count(HOST_SLOW_LOOKUPS), slow + 2);
	assert_int_equal(find(BASE, ACCESS_READ, LOOKUP_SHARED_SLOWLY, &page), STATUS_OK);
	assert_int_equal(find(BASE, ACCESS_WRITE, LOOKUP_SHARED_SLOWLY, &page), STATUS_OK);
	assert_int_equal(count(HOST_SLOW_LOOKUPS), slow + 2);
	space_destroy(child);
}

/* ------------------------------------------------------------------ hold */

/* S89: the reference shows, fast or slow; the page stays put, and outlives its mapping. */
static void s89_a_page_that_is_held(void **state)
{
	struct mm_page first, second;
	uint64_t moved;

	(void)state;
	map(BASE, PAGE_SIZE, LEVEL_4K);
	uint64_t slow = count(HOST_SLOW_LOOKUPS);

	assert_int_equal(find(BASE, ACCESS_WRITE, LOOKUP_HOLD, &first), STATUS_OK);
	assert_int_equal(count(HOST_SLOW_LOOKUPS), slow + 1);
	assert_int_equal(folio_refcount(arena.host, first.frame), 2);
	assert_int_equal(find(BASE, ACCESS_WRITE, LOOKUP_HOLD, &second), STATUS_OK);
	assert_int_equal(count(HOST_SLOW_LOOKUPS), slow + 1);
	assert_int_equal(folio_refcount(arena.host, first.frame), 3);
	gup_put(arena.host, second.frame);
	assert_int_equal(space_migrate(space, hva(BASE), PAGE_SIZE, &moved), STATUS_OK);
	assert_int_equal(moved, 0);
	assert_int_equal(space_unmap(space, hva(BASE), PAGE_SIZE), STATUS_OK);
	assert_int_equal(folio_refcount(arena.host, first.frame), 1);
	gup_put(arena.host, first.frame);
}

/* S95: of all others no reference is left when the lookup returns. */
static void s95_a_page_that_is_named(void **state)
{
	static const unsigned flags[] = { 0, LOOKUP_TOUCH, LOOKUP_SHARED_SLOWLY,
					  LOOKUP_TOUCH | LOOKUP_SHARED_SLOWLY };
	struct mm_page page;
	uint64_t moved;

	(void)state;
	map(BASE, PAGE_SIZE, LEVEL_4K);
	for (unsigned i = 0; i < sizeof(flags) / sizeof(*flags); i++) {
		assert_int_equal(find(BASE, ACCESS_WRITE, flags[i], &page), STATUS_OK);
		assert_int_equal(folio_refcount(arena.host, page.frame), 1);
		assert_int_equal(space_migrate(space, hva(BASE), PAGE_SIZE, &moved), STATUS_OK);
		assert_int_equal(moved, 1);
	}
}

static void what_has_no_folio_is_not_held(void **state)
{
	struct mm_page page;

	(void)state;
	assert_int_equal(space_map_frames(space, hva(BASE), PAGE_SIZE, PROTECTION_READ_WRITE,
					  pfn(1 << 20), LEVEL_4K, FRAMES_BARE), STATUS_OK);
	assert_int_equal(find(BASE, ACCESS_READ, LOOKUP_HOLD, &page), STATUS_NO_ACCESS);
	assert_int_equal(find(BASE, ACCESS_WRITE, LOOKUP_TOUCH, &page), STATUS_OK);
	assert_int_equal(bits(BASE), PTE_A | PTE_D);
	assert_int_equal(gup_get(space, hva(BASE), 0, &page), STATUS_NO_ACCESS);
	assert_int_equal(gup_get_fast(space, hva(BASE), 0, &page), STATUS_NO_ACCESS);
	assert_int_equal(gup_get_fast(space, hva(BASE), GUP_FAST_ONLY, &page), STATUS_NOT_FOUND);
	assert_int_equal(space_map_secret(space, hva(BASE + GIB), PAGE_SIZE, PROTECTION_READ_WRITE),
			 STATUS_OK);
	assert_int_equal(space_read(space, hva(BASE + GIB), &page, 1), STATUS_OK);
	for (unsigned flags = 0; flags < 8; flags++)
		assert_int_equal(find(BASE + GIB, ACCESS_READ, flags, &page), STATUS_NO_ACCESS);
	assert_int_equal(gup_get_fast(space, hva(BASE + GIB), GUP_FAST_ONLY, &page),
			 STATUS_NOT_FOUND);
	assert_int_equal(gup_get_fast(space, hva(BASE + GIB), 0, &page), STATUS_NO_ACCESS);
	for (unsigned flags = 0; flags < 8; flags++)
		assert_int_equal(find(SPACE_END, ACCESS_READ, flags, &page), STATUS_NOT_FOUND);
}

/* ------------------------------------------------------------------ fast GUP */

static void s16_fast_or_not_at_all(void **state)
{
	struct mm_page page;

	(void)state;
	map(BASE, 2 * PAGE_SIZE, LEVEL_4K);
	assert_int_equal(gup_get_fast(space, hva(BASE), GUP_FAST_ONLY, &page), STATUS_NOT_FOUND);
	assert_int_equal(gup_get_fast(space, hva(SPACE_END), 0, &page), STATUS_NOT_FOUND);
	assert_int_equal(gup_get_fast(space, hva(UINT64_MAX), GUP_FAST_ONLY, &page),
			 STATUS_NOT_FOUND);
	assert_int_equal(gup_get_fast(space, hva(BASE), GUP_WRITE, &page), STATUS_OK);
	gup_put(arena.host, page.frame);
	clean(BASE);
	uint64_t faults = count(HOST_FAULTS);

	/* S14: no entry is changed, no mark made. */
	assert_int_equal(gup_get_fast(space, hva(BASE + 5), GUP_WRITE | GUP_FAST_ONLY, &page),
			 STATUS_OK);
	assert_int_equal(folio_refcount(arena.host, page.frame), 2);
	assert_int_equal(bits(BASE), 0);
	assert_false(folio_dirty(arena.host, page.frame));
	gup_put_dirty(arena.host, page.frame);
	assert_true(folio_dirty(arena.host, page.frame));
	assert_int_equal(bits(BASE), 0);
	assert_int_equal(count(HOST_FAULTS), faults);
	assert_int_equal(space_protect(space, hva(BASE), PAGE_SIZE, PROTECTION_READ), STATUS_OK);
	assert_int_equal(gup_get_fast(space, hva(BASE), GUP_WRITE | GUP_FAST_ONLY, &page),
			 STATUS_NOT_FOUND);
	assert_int_equal(gup_get_fast(space, hva(BASE), GUP_WRITE, &page), STATUS_NO_ACCESS);
}

/* S17: an entry without rights in a VMA that has them. Readers go by, unless they ask not to. */
static void s17_hints_are_for_those_who_ask(void **state)
{
	struct mm_page page;
	pte_t before;

	(void)state;
	map(BASE, PAGE_SIZE, LEVEL_4K);
	look_up(BASE, ACCESS_WRITE);
	before = entry(BASE).pte;
	atomic_write(entry(BASE).slot, pte_with_rights(before, PROTECTION_NONE).bits);
	uint64_t faults = count(HOST_FAULTS);

	assert_int_equal(gup_get_fast(space, hva(BASE), GUP_FAST_ONLY, &page), STATUS_NOT_FOUND);
	assert_int_equal(gup_get_fast(space, hva(BASE), 0, &page), STATUS_OK);
	assert_int_equal(count(HOST_FAULTS), faults);
	assert_false(pte_present(entry(BASE).pte));
	assert_int_equal(page.frame.raw, pte_frame(before).raw);
	gup_put(arena.host, page.frame);
	atomic_write(entry(BASE).slot, before.bits);
}

static bool find_now(uint64_t address, enum access access, unsigned flags, struct mm_page *out)
{
	return mm_lookup_now(space, hva(address), access, flags, out);
}

/* S25: what the walk alone can tell, and nothing is faulted in or touched for the rest. */
static void s25_now_or_not_at_all(void **state)
{
	struct mm_page page;

	(void)state;
	map(BASE, 2 * PAGE_SIZE, LEVEL_4K);
	look_up(BASE, ACCESS_WRITE);
	clean(BASE);
	uint64_t faults = count(HOST_FAULTS), slow = count(HOST_SLOW_LOOKUPS);

	assert_false(find_now(BASE + PAGE_SIZE, ACCESS_READ, 0, &page));
	/* The same to a walk, which looks at 48 bits. */
	assert_false(find_now((UINT64_C(1) << 48) + BASE, ACCESS_READ, 0, &page));
	assert_false(find_now(BASE, ACCESS_WRITE, LOOKUP_TOUCH, &page));
	assert_int_equal(bits(BASE), 0);
	assert_true(find_now(BASE, ACCESS_WRITE, 0, &page));
	assert_true(page.writable && page.refcounted);
	assert_int_equal(page.frame.raw, frame_at(BASE).raw);
	assert_int_equal(bits(BASE), 0);
	assert_int_equal(count(HOST_FAULTS), faults);
	assert_int_equal(count(HOST_SLOW_LOOKUPS), slow);
	/* Young and dirty, it is an answer to those who want it so. */
	assert_int_equal(find(BASE, ACCESS_WRITE, LOOKUP_TOUCH, &page), STATUS_OK);
	assert_true(find_now(BASE, ACCESS_WRITE, LOOKUP_TOUCH, &page) && page.dirty);
}

/* ------------------------------------------------------------------ FOLL_TOUCH */

enum kind { PAGE, LARGE, POOLED, FAST, KINDS };

static struct pool *pool;

/* A page of that kind, mapped, its entry and folio without a mark. */
static uint64_t page_of(enum kind kind, uint64_t at)
{
	switch (kind) {
	case LARGE: map(at, 2 * MIB, LEVEL_2M); break;
	case POOLED:
		assert_int_equal(space_map_pool(space, hva(at), 2 * MIB, PROTECTION_READ_WRITE,
						pool),
				 STATUS_OK);
		break;
	case PAGE: case FAST: case KINDS: map(at, PAGE_SIZE, LEVEL_4K);
	}
	look_up(at, ACCESS_WRITE);
	clean(at);
	return at;
}

/*
 * S60: what might be, alike for all: the entry, and nothing else. S31, S32: what is: a page's
 * folio, a large leaf's entry, and nothing for hugetlb and for fast GUP.
 */
static void s60_s31_s32_touch(void **state)
{
	static const struct marks { uint64_t bits; bool accessed, dirty; }
		sane[2] = { { PTE_A, false, false }, { PTE_A | PTE_D, false, false } },
		quirky[KINDS][2] = {
			[PAGE] = { { 0, true, false }, { 0, true, true } },
			[LARGE] = { { PTE_A, false, false }, { PTE_A | PTE_D, false, false } },
			[POOLED] = { { 0, false, false }, { 0, false, false } },
			[FAST] = { { 0, false, false }, { 0, false, false } },
		};

	(void)state;
	assert_int_equal(pool_create(arena.host, LEVEL_2M, 4, &pool), STATUS_OK);
	for (unsigned i = 0; i < KINDS * 4; i++) {
		enum kind kind = i / 4;
		unsigned write = i & 1, is_sane = i >> 1 & 1;
		unsigned flags = (write ? GUP_WRITE : 0) | (is_sane ? GUP_TOUCH_SANE : GUP_TOUCH);
		struct marks expected = is_sane ? sane[write] : quirky[kind][write];
		uint64_t at = page_of(kind, BASE + i * GIB);
		struct mm_page page;

		assert_int_equal((kind == FAST ? gup_get_fast : gup_get)(space, hva(at), flags,
									 &page), STATUS_OK);
		assert_int_equal(bits(at), expected.bits);
		assert_int_equal(folio_accessed(arena.host, page.frame), expected.accessed);
		assert_int_equal(folio_dirty(arena.host, page.frame), expected.dirty);
		assert_int_equal(folio_refcount(arena.host, page.frame), 2);
		gup_put(arena.host, page.frame);
	}
	assert_int_equal(space_unmap(space, hva(BASE), KINDS * 4 * GIB), STATUS_OK);
	assert_int_equal(pool_destroy(pool), STATUS_OK);
}

#define lookup_test(name) cmocka_unit_test_setup_teardown(name, open_space, close_space)

int main(void)
{
	const struct CMUnitTest tests[] = {
		lookup_test(s24_touch_is_slow_once), lookup_test(plain_lookups_touch_nothing),
		lookup_test(s87_one_walk), lookup_test(s88_reads_of_shared_pages),
		lookup_test(s89_a_page_that_is_held), lookup_test(s95_a_page_that_is_named),
		lookup_test(what_has_no_folio_is_not_held), lookup_test(s16_fast_or_not_at_all),
		lookup_test(s17_hints_are_for_those_who_ask),
		lookup_test(s25_now_or_not_at_all), lookup_test(s60_s31_s32_touch),
	};

	return cmocka_run_group_tests_name("mm/lookup", tests, NULL, NULL);
}
