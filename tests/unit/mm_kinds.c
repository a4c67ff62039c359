/*
 * VMAs whose pages are neither anonymous nor a file's: named frames, secret memory. Numbers in
 * names are rows of the propagation table.
 */
#include "tests/unit/space_fixture.h"

static void map_frames(uint64_t at, uint64_t bytes, pfn_t first, unsigned max_level,
		       enum counting counting)
{
	assert_int_equal(space_map_frames(space, hva(at), bytes, PROTECTION_READ_WRITE, first,
					  max_level, counting), STATUS_OK);
}

static pfn_t driver_folio(unsigned order)
{
	pfn_t frame;

	assert_int_equal(folio_alloc_zeroed(arena.host, order, &frame), STATUS_OK);
	return frame;
}

static void put(uint64_t at, uint64_t value)
{
	assert_int_equal(space_write(space, hva(at), &value, sizeof(value)), STATUS_OK);
}

static uint64_t get(uint64_t at)
{
	uint64_t value = 0;

	assert_int_equal(space_read(space, hva(at), &value, sizeof(value)), STATUS_OK);
	return value;
}

static void unmap(uint64_t at, uint64_t bytes)
{
	assert_int_equal(space_unmap(space, hva(at), bytes), STATUS_OK);
}

static uint64_t faults(void) { return host_read_count(arena.host, HOST_FAULTS); }

/* ------------------------------------------------------------------ named frames */

/*
 * S85: the tails of a driver's block have no count of their own, and a device has no count at all.
 */
static void s85_frames_without_a_count(void **state)
{
	pfn_t block = driver_folio(2);
	uint64_t before = faults();

	(void)state;
	map_frames(BASE, 2 * PAGE_SIZE, pfn_add(block, 1), LEVEL_1G, FRAMES_BARE);
	map_frames(BASE + GIB, PAGE_SIZE, pfn(64 * MIB >> PAGE_SHIFT), LEVEL_1G, FRAMES_BARE);
	put(BASE + PAGE_SIZE, 85);
	assert_int_equal(*(uint64_t *)pfn_to_ptr(pfn_add(block, 2)), 85);
	for (uint64_t at = BASE; at <= BASE + GIB; at += GIB) {
		struct mm_page page = look_up(at, ACCESS_WRITE);

		assert_false(page.refcounted);
		assert_true(page.writable);
	}
	assert_int_equal(look_up(BASE, ACCESS_READ).frame.raw, block.raw + 1);
	assert_int_equal(faults(), before);
	assert_int_equal(folio_refcount(arena.host, block), 1);
	assert_int_equal(folio_mapcount(arena.host, block), 0);
	space_verify(space);
	unmap(BASE, 2 * GIB);
	assert_int_equal(folio_refcount(arena.host, block), 1);
	assert_false(folio_dirty(arena.host, block) || folio_accessed(arena.host, block));
	folio_put(arena.host, block);
}

static void counted_frames_have_references(void **state)
{
	pfn_t block = driver_folio(2);

	(void)state;
	map_frames(BASE, 4 * PAGE_SIZE, block, LEVEL_1G, FRAMES_COUNTED);
	assert_true(look_up(BASE, ACCESS_WRITE).refcounted);
	assert_int_equal(folio_refcount(arena.host, block), 5);
	assert_int_equal(folio_mapcount(arena.host, block), 4);
	put(BASE, 1);
	folio_put(arena.host, block);		/* the entries keep it */
	assert_int_equal(get(BASE), 1);
	folio_get(arena.host, block);
	unmap(BASE, 4 * PAGE_SIZE);
	assert_int_equal(folio_refcount(arena.host, block), 1);
	assert_true(folio_dirty(arena.host, block));	/* not anonymous: its D is passed on */
	folio_put(arena.host, block);
}

/* Whoever maps it: a reserved frame is nobody's to count. */
static void reserved_frames_are_bare(void **state)
{
	pfn_t frame = driver_folio(0);

	(void)state;
	atomic_or(&page_folio(arena.host, frame)->flags, FOLIO_RESERVED);
	map_frames(BASE, PAGE_SIZE, frame, LEVEL_4K, FRAMES_COUNTED);
	assert_false(look_up(BASE, ACCESS_WRITE).refcounted);
	assert_int_equal(folio_refcount(arena.host, frame), 1);
	unmap(BASE, PAGE_SIZE);
	folio_put(arena.host, frame);
}

/* S86: as large as both addresses, the VMA and, of counted frames, the folio allow. */
static void s86_large_leaves_of_named_frames(void **state)
{
	static const struct {
		uint64_t at, bytes, first;
		unsigned max_level, level;
	} cases[] = {
		{ BASE, GIB, 64 * GIB, LEVEL_1G, LEVEL_1G },
		{ BASE, GIB, 64 * GIB, LEVEL_2M, LEVEL_2M },
		{ BASE, GIB, 64 * GIB + 2 * MIB, LEVEL_1G, LEVEL_2M },
		{ BASE, 4 * MIB, 64 * GIB, LEVEL_1G, LEVEL_2M },
		{ BASE + 2 * MIB, GIB, 64 * GIB, LEVEL_1G, LEVEL_2M },
		{ BASE, 2 * MIB, 64 * GIB + PAGE_SIZE, LEVEL_1G, LEVEL_4K },
		{ BASE, 2 * MIB - PAGE_SIZE, 64 * GIB, LEVEL_1G, LEVEL_4K },
		{ BASE, 2 * MIB, 64 * GIB, LEVEL_4K, LEVEL_4K },
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		map_frames(cases[i].at, cases[i].bytes, pfn(cases[i].first >> PAGE_SHIFT),
			   cases[i].max_level, FRAMES_BARE);
		struct mm_page page = look_up(cases[i].at + 5 * PAGE_SIZE, ACCESS_WRITE);

		assert_int_equal(page.level, cases[i].level);
		assert_int_equal(page.frame.raw, (cases[i].first >> PAGE_SHIFT) + 5);
		space_verify(space);
		unmap(cases[i].at, cases[i].bytes);
	}
	pfn_t odd = driver_folio(8), small = driver_folio(8), next = driver_folio(8);
	pfn_t large = driver_folio(9);

	/* Two folios where one leaf would fit. */
	assert_int_equal(small.raw & 511, 0);
	assert_int_equal(next.raw, small.raw + 256);
	folio_put(arena.host, odd);
	map_frames(BASE, 2 * MIB, small, LEVEL_1G, FRAMES_COUNTED);
	map_frames(BASE + GIB, 2 * MIB, large, LEVEL_1G, FRAMES_COUNTED);
	assert_int_equal(look_up(BASE, ACCESS_READ).level, LEVEL_4K);
	assert_int_equal(look_up(BASE + GIB, ACCESS_READ).level, LEVEL_2M);
	folio_put(arena.host, small);
	folio_put(arena.host, next);
	folio_put(arena.host, large);
}

/* Cut, protected, given back: as others, but nothing comes back of what went. */
static void named_frames_change(void **state)
{
	struct mm_page page;

	(void)state;
	map_frames(BASE, 4 * MIB, pfn(64 * GIB >> PAGE_SHIFT), LEVEL_2M, FRAMES_BARE);
	unmap(BASE + MIB, PAGE_SIZE);
	assert_int_equal(look_up(BASE, ACCESS_WRITE).level, LEVEL_4K);
	assert_int_equal(mm_lookup(space, hva(BASE + MIB), ACCESS_READ, &page), STATUS_NOT_FOUND);
	assert_int_equal(look_up(BASE + MIB + PAGE_SIZE, ACCESS_READ).frame.raw,
			 (64 * GIB + MIB + PAGE_SIZE) >> PAGE_SHIFT);
	assert_int_equal(space_protect(space, hva(BASE), PAGE_SIZE, PROTECTION_READ), STATUS_OK);
	assert_int_equal(mm_lookup(space, hva(BASE), ACCESS_WRITE, &page), STATUS_NO_ACCESS);
	assert_int_equal(space_protect(space, hva(BASE), PAGE_SIZE, PROTECTION_READ_WRITE),
			 STATUS_OK);
	assert_true(look_up(BASE, ACCESS_WRITE).writable);
	assert_int_equal(space_discard(space, hva(BASE - PAGE_SIZE), 2 * PAGE_SIZE),
			 STATUS_BAD_RANGE);
	assert_int_equal(space_split(space, hva(BASE + 2 * MIB), PAGE_SIZE), STATUS_OK);
	assert_int_equal(look_up(BASE + 3 * MIB, ACCESS_WRITE).frame.raw,
			 (64 * GIB + 3 * MIB) >> PAGE_SHIFT);
}

/* Neighbours are one VMA only if their frames are neighbours. */
static void named_frames_merge(void **state)
{
	(void)state;
	map_frames(BASE, PAGE_SIZE, pfn(1 << 20), LEVEL_4K, FRAMES_BARE);
	map_frames(BASE + PAGE_SIZE, PAGE_SIZE, pfn((1 << 20) + 1), LEVEL_4K, FRAMES_BARE);
	assert_int_equal(space->vma_count, 1);
	map_frames(BASE + 2 * PAGE_SIZE, PAGE_SIZE, pfn((1 << 20) + 1), LEVEL_4K, FRAMES_BARE);
	assert_int_equal(space->vma_count, 2);
	map(BASE + 3 * PAGE_SIZE, PAGE_SIZE, LEVEL_4K);
	assert_int_equal(space->vma_count, 3);
}

static void named_frames_do_not_move(void **state)
{
	pfn_t frame = driver_folio(0);
	uint64_t moved;

	(void)state;
	map_frames(BASE, PAGE_SIZE, frame, LEVEL_4K, FRAMES_COUNTED);
	map_frames(BASE + PAGE_SIZE, PAGE_SIZE, pfn(1 << 20), LEVEL_4K, FRAMES_BARE);
	folio_put(arena.host, frame);
	assert_int_equal(space_migrate(space, hva(BASE), 2 * PAGE_SIZE, &moved), STATUS_OK);
	assert_int_equal(moved, 0);
}

static void named_frames_refused(void **state)
{
	static const struct {
		uint64_t bytes, first;
		unsigned max_level;
		enum status status;
	} cases[] = {
		{ PAGE_SIZE, 0, 0, STATUS_BAD_RANGE }, { PAGE_SIZE, 0, 4, STATUS_BAD_RANGE },
		{ PAGE_SIZE, UINT64_C(1) << 40, 1, STATUS_BAD_RANGE },
		{ 2 * PAGE_SIZE, (UINT64_C(1) << 40) - 1, 1, STATUS_BAD_RANGE },
		{ PAGE_SIZE, UINT64_MAX, 1, STATUS_BAD_RANGE },
		{ PAGE_SIZE + 1, 0, 1, STATUS_BAD_RANGE },
		{ PAGE_SIZE, (UINT64_C(1) << 40) - 1, 1, STATUS_OK },
		{ PAGE_SIZE, 0, 1, STATUS_EXISTS },
	};
	uint64_t before = pages_free(), most;

	(void)state;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		assert_int_equal(space_map_frames(space, hva(BASE), cases[i].bytes, PROTECTION_READ,
						  pfn(cases[i].first), cases[i].max_level,
						  FRAMES_BARE), cases[i].status);
	unmap(BASE, PAGE_SIZE);
	/* The VMAs' array is there by now; each table refused in turn. */
	before = pages_free();
	for (most = 0;; most++) {
		arena_fail_after(&arena, (int64_t)most);
		enum status status = space_map_frames(space, hva(BASE), 4 * MIB, PROTECTION_READ,
						      pfn(1), LEVEL_4K, FRAMES_BARE);

		arena_fail_after(&arena, -1);
		space_verify(space);
		if (status == STATUS_OK)
			break;
		assert_int_equal(status, STATUS_NO_MEMORY);
		assert_int_equal(pages_free(), before);
		assert_int_equal(space->vma_count, 0);
	}
	assert_int_equal(most, 4);		/* two of level 1, one of each above it */
}

/* ------------------------------------------------------------------ secret memory */

static void map_secret(uint64_t at, uint64_t bytes)
{
	assert_int_equal(space_map_secret(space, hva(at), bytes, PROTECTION_READ_WRITE), STATUS_OK);
}

/* S90: there or not, and whatever a walk that asks nobody finds. */
static void s90_secret_memory_is_refused(void **state)
{
	struct mm_page page;

	(void)state;
	map_secret(BASE, 2 * PAGE_SIZE);
	for (unsigned touched = 0; touched < 2; touched++) {
		for (unsigned access = ACCESS_READ; access <= ACCESS_WRITE; access++) {
			uint64_t before = faults();

			assert_int_equal(mm_lookup(space, hva(BASE), (enum access)access, &page),
					 STATUS_NO_ACCESS);
			assert_int_equal(gup_get(space, hva(BASE),
						 access == ACCESS_WRITE ? GUP_WRITE : 0, &page),
					 STATUS_NO_ACCESS);
			assert_int_equal(faults(), before);
		}
		put(BASE, 90);
		assert_int_equal(get(BASE), 90);
	}
	assert_int_equal(get(BASE + PAGE_SIZE), 0);
}

static void secret_memory_stays(void **state)
{
	uint64_t moved;

	(void)state;
	map_secret(BASE, PAGE_SIZE);
	put(BASE, 1);
	assert_int_equal(space_migrate(space, hva(BASE), PAGE_SIZE, &moved), STATUS_OK);
	assert_int_equal(moved, 0);
	assert_int_equal(space_protect(space, hva(BASE), PAGE_SIZE, PROTECTION_READ), STATUS_OK);
	assert_int_equal(space_protect(space, hva(BASE), PAGE_SIZE, PROTECTION_READ_WRITE),
			 STATUS_OK);
	put(BASE, 2);
	assert_int_equal(get(BASE), 2);
	assert_int_equal(space_map_secret(space, hva(BASE), PAGE_SIZE, PROTECTION_READ),
			 STATUS_EXISTS);
	arena_fail_after(&arena, 0);
	map_secret(BASE + PAGE_SIZE, PAGE_SIZE);
	assert_int_equal(space_write(space, hva(BASE + PAGE_SIZE), &moved, 1), STATUS_NO_MEMORY);
	arena_fail_after(&arena, -1);
}

/* The parent's stores need no fault afterwards. */
static void kinds_are_not_inherited(void **state)
{
	struct space *child;
	struct mm_page page;

	(void)state;
	map_secret(BASE, PAGE_SIZE);
	put(BASE, 1);
	map_frames(BASE + GIB, PAGE_SIZE, pfn(1 << 20), LEVEL_4K, FRAMES_BARE);
	assert_int_equal(space_fork(space, &child), STATUS_OK);
	assert_int_equal(mm_lookup(child, hva(BASE), ACCESS_READ, &page), STATUS_NOT_FOUND);
	assert_int_equal(mm_lookup(child, hva(BASE + GIB), ACCESS_READ, &page), STATUS_NOT_FOUND);
	put(BASE, 2);
	assert_true(look_up(BASE + GIB, ACCESS_WRITE).writable);
	space_verify(child);
	space_destroy(child);
}

static void kinds_stay_apart(void **state)
{
	(void)state;
	map_secret(BASE, PAGE_SIZE);
	map(BASE + PAGE_SIZE, PAGE_SIZE, LEVEL_4K);
	assert_int_equal(space->vma_count, 2);
}

/* What the frame held when it went back to the allocator. */
static struct { struct page_watch watch; uint64_t frame, word; unsigned seen; } eye;

static void see_freeing(struct page_watch *self, pfn_t head, unsigned order)
{
	if (head.raw == eye.frame) {
		eye.word = *(uint64_t *)pfn_to_ptr(head);
		eye.seen++;
	}
	(void)self;
	arena.watch.freeing(&arena.watch, head, order);
}

static bool see_alloc(struct page_watch *self, unsigned order)
{
	(void)self;
	return arena.watch.may_alloc(&arena.watch, order);
}

static void see_allocated(struct page_watch *self, pfn_t head, unsigned order)
{
	(void)self;
	arena.watch.allocated(&arena.watch, head, order);
}

static void secret_memory_is_zeroed(void **state)
{
	(void)state;
	map_secret(BASE, PAGE_SIZE);
	put(BASE, 90);
	eye.watch = (struct page_watch){ see_alloc, see_allocated, see_freeing };
	eye.frame = pte_frame(entry(BASE).pte).raw;
	eye.word = 1;
	eye.seen = 0;
	arena.host->watch = &eye.watch;
	assert_int_equal(space_discard(space, hva(BASE), PAGE_SIZE), STATUS_OK);
	arena.host->watch = &arena.watch;
	assert_int_equal(eye.seen, 1);
	assert_int_equal(eye.word, 0);
	assert_int_equal(get(BASE), 0);
}

#define kind_test(name) cmocka_unit_test_setup_teardown(name, open_space, close_space)

int main(void)
{
	const struct CMUnitTest tests[] = {
		kind_test(s85_frames_without_a_count), kind_test(counted_frames_have_references),
		kind_test(reserved_frames_are_bare), kind_test(s86_large_leaves_of_named_frames),
		kind_test(named_frames_change), kind_test(named_frames_merge),
		kind_test(named_frames_do_not_move), kind_test(named_frames_refused),
		kind_test(s90_secret_memory_is_refused), kind_test(secret_memory_stays),
		kind_test(kinds_stay_apart), kind_test(kinds_are_not_inherited),
		kind_test(secret_memory_is_zeroed),
	};

	return cmocka_run_group_tests_name("mm/kinds", tests, NULL, NULL);
}
