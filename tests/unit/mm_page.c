/*
 * Frames: making a host of any ranges, the buddy allocator against a bitmap of what is used, and
 * what misuse of a folio says.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/host/arena.h"

#define MIB UINT64_C(0x100000)
#define GIB (1024 * MIB)

static struct arena arena;

static uint64_t pages_free(void)
{
	struct host_stats stats;

	host_read_stats(arena.host, &stats);
	return stats.pages_free;
}

static pfn_t take(unsigned order)
{
	pfn_t frame = pfn(0);

	assert_int_equal(folio_alloc(arena.host, order, &frame), STATUS_OK);
	return frame;
}

/* ------------------------------------------------------------------ the model */

/* One byte a frame: may not be lent, free, lent. A block of 2^n must be found if one is free. */
enum { NO_RAM, FREE, LENT };
enum { FRAMES = 1 << 15 };
static uint8_t model[FRAMES];
static struct { pfn_t head; unsigned order; } lent[FRAMES];
static unsigned lent_count;

static uint64_t next_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

static void model_of_arena(void)
{
	uint64_t own = ptr_to_pfn(arena.host).raw;
	uint64_t own_end = own + (arena.host->metadata_bytes >> PAGE_SHIFT);

	memset(model, NO_RAM, sizeof(model));
	lent_count = 0;
	for (unsigned i = 0; i < arena.count; i++) {
		uint64_t first = (arena.ranges[i].start.raw + PAGE_SIZE - 1) >> PAGE_SHIFT;

		for (uint64_t f = first; f < arena.ranges[i].end.raw >> PAGE_SHIFT; f++)
			model[f] = f >= own && f < own_end ? NO_RAM : FREE;
	}
}

static bool model_all(uint64_t head, unsigned order, uint8_t state)
{
	for (uint64_t i = 0; i < UINT64_C(1) << order; i++)
		if (head + i >= FRAMES || model[head + i] != state)
			return false;
	return true;
}

static bool model_has(unsigned order)
{
	for (uint64_t head = 0; head < FRAMES; head += UINT64_C(1) << order)
		if (model_all(head, order, FREE))
			return true;
	return false;
}

static uint64_t model_count(uint8_t state)
{
	uint64_t count = 0;

	for (unsigned i = 0; i < FRAMES; i++)
		count += model[i] == state;
	return count;
}

static void step_alloc(unsigned order)
{
	pfn_t head;

	if (folio_alloc(arena.host, order, &head) != STATUS_OK) {
		assert_false(model_has(order));
		return;
	}
	assert_int_equal(head.raw & ((UINT64_C(1) << order) - 1), 0);
	assert_true(model_all(head.raw, order, FREE));
	memset(&model[head.raw], LENT, UINT64_C(1) << order);
	lent[lent_count].head = head;
	lent[lent_count++].order = order;
}

static void step_free(unsigned i, uint64_t random)
{
	pfn_t head = lent[i].head;
	unsigned order = lent[i].order;
	pfn_t any = pfn_add(head, random & ((UINT64_C(1) << order) - 1));

	assert_int_equal(folio_head(arena.host, any).raw, head.raw);
	assert_int_equal(folio_order(arena.host, any), order);
	memset(&model[head.raw], FREE, UINT64_C(1) << order);
	lent[i] = lent[--lent_count];
	folio_put(arena.host, any);
}

static void run_against_model(uint64_t seed, unsigned steps)
{
	model_of_arena();
	assert_int_equal(arena.host->pages_total, model_count(FREE));
	for (unsigned i = 0; i < steps; i++) {
		/* Fills for a while, drains for a while. */
		uint64_t random = next_random(&seed);
		bool fill = random % 16 < (i / 512 % 2 ? 5 : 11);

		if (fill || !lent_count)
			step_alloc((unsigned)__builtin_ctzll(random >> 8 | 1 << 14));
		else
			step_free((unsigned)(random >> 8) % lent_count, random >> 32);
		if (i % 16 == 0)
			host_verify(arena.host);
		assert_int_equal(pages_free(), model_count(FREE));
	}
	while (lent_count)
		step_free(0, 0);
}

static void buddy_against_model(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 3; seed++) {
		arena_open(&arena, 128);
		run_against_model(seed * 0x9e3779b97f4a7c15, 2500);
		arena_close(&arena);
	}
}

static void buddy_over_torn_ranges(void **state)
{
	/* Unsorted, adjacent, odd ends; smaller than a page, without a whole page, empty. */
	static const struct ram_range ranges[] = {
		{ { 90 * MIB + 1 }, { 101 * MIB + 5 } },
		{ { 0x1001 }, { 0x9f000 } },
		{ { 32 * MIB }, { 64 * MIB } },
		{ { 64 * MIB }, { 70 * MIB + 0xfff } },
		{ { 80 * MIB + 0x800 }, { 80 * MIB + 0x900 } },
		{ { 81 * MIB + 0x800 }, { 81 * MIB + 0x1800 } },
		{ { 82 * MIB }, { 82 * MIB } },
	};

	(void)state;
	arena_open_ranges(&arena, ranges, sizeof(ranges) / sizeof(ranges[0]));
	assert_int_equal(arena.host->pages_total + (arena.host->metadata_bytes >> PAGE_SHIFT),
			 (11 * 256 - 1) + (0x9f - 2) + 32 * 256 + 6 * 256);
	run_against_model(77, 2500);
	arena_close(&arena);
}

/* ------------------------------------------------------------------ hosts */

/* The fewest frames that hold their own metadata, at an address below 128 MiB. */
static uint64_t fewest_frames(void)
{
	uint64_t bytes = sizeof(struct host) + sizeof(struct section), frames = 1;

	while (bytes + frames * sizeof(struct folio) > frames << PAGE_SHIFT)
		frames++;
	return frames;
}

/* The last frame's metadata end inside what was taken for all, on its last page. */
static void metadata_end(uint64_t last)
{
	struct host_stats stats;
	uint64_t end = (uint64_t)(page_folio(arena.host, pfn(last)) + 1) - (uint64_t)arena.host;

	host_read_stats(arena.host, &stats);
	assert_in_range(end, stats.metadata_bytes - PAGE_SIZE + 1, stats.metadata_bytes);
}

/* So many frames that one of them fills the last page to its end. */
static void metadata_end_where_they_say(void **state)
{
	(void)state;
	for (uint64_t more = 0; more <= 1 + PAGE_SIZE / sizeof(struct folio); more++) {
		uint64_t frames = fewest_frames() + more;
		const struct ram_range range = { { MIB }, { MIB + (frames << PAGE_SHIFT) } };

		arena_open_ranges(&arena, &range, 1);
		metadata_end((range.end.raw >> PAGE_SHIFT) - 1);
		arena_close(&arena);
	}
}

static void holes_cost_nothing(void **state)
{
	static const struct ram_range near[] = { { { 0 }, { 32 * MIB } } };
	static const struct ram_range far[] = {
		{ { 0 }, { 16 * MIB } }, { { 200 * GIB }, { 200 * GIB + 16 * MIB } },
	};
	struct host_stats near_stats, far_stats;

	(void)state;
	arena_open_ranges(&arena, near, 1);
	host_read_stats(arena.host, &near_stats);
	arena_close(&arena);
	arena_open_ranges(&arena, far, 2);
	host_read_stats(arena.host, &far_stats);
	assert_true(far_stats.metadata_bytes <=
		    near_stats.metadata_bytes + 200 * 8 * sizeof(struct section) + PAGE_SIZE);
	/* Besides what every host has, of any size. */
	assert_true((near_stats.metadata_bytes - sizeof(struct host)) / (32 * MIB >> PAGE_SHIFT) <=
		    32);

	metadata_end((far[1].end.raw >> PAGE_SHIFT) - 1);

	/* Both sides of the hole are usable, nothing in it is. */
	pfn_t low = take(ORDER_2M), high = take(ORDER_2M);

	while (high.raw < 200 * GIB >> PAGE_SHIFT) {
		folio_get(arena.host, high);	/* kept twice, so that the loop ends */
		high = take(ORDER_2M);
	}
	assert_true(panics(folio_get(arena.host, pfn(100 * GIB >> PAGE_SHIFT)), "not memory"));
	assert_true(panics(folio_get(arena.host, pfn(UINT64_C(1) << 31)), "not memory"));
	assert_true(panics(folio_put(arena.host, ptr_to_pfn(arena.host)), "not memory"));
	host_verify(arena.host);
	folio_put(arena.host, low);
	arena_abandon(&arena);
}

static void a_gigabyte_folio(void **state)
{
	static const struct ram_range range = { { 3 * MIB }, { 3 * GIB } };
	pfn_t head, second, none;

	(void)state;
	arena_open_ranges(&arena, &range, 1);
	head = take(ORDER_1G);
	second = take(ORDER_1G);
	assert_int_not_equal(head.raw, second.raw);
	assert_int_equal((head.raw | second.raw) & ((1 << 18) - 1), 0);
	assert_int_equal(folio_alloc(arena.host, ORDER_1G, &none), STATUS_NO_MEMORY);
	assert_int_equal(folio_alloc(arena.host, ORDER_MAX + 1, &none), STATUS_NO_MEMORY);
	assert_int_equal(folio_head(arena.host, pfn_add(head, 0x3ffff)).raw, head.raw);
	assert_int_equal(folio_order(arena.host, pfn_add(head, 0x2aaaa)), ORDER_1G);
	host_verify(arena.host);
	folio_put(arena.host, second);
	folio_put(arena.host, pfn_add(head, 12345));

	/* Lent in halves, and one again. */
	pfn_t halves[8];
	unsigned count = 0;

	while (folio_alloc(arena.host, ORDER_1G - 1, &halves[count]) == STATUS_OK)
		count++;
	assert_int_equal(count, 5);
	while (count)
		folio_put(arena.host, halves[--count]);
	head = take(ORDER_1G);
	second = take(ORDER_1G);
	folio_put(arena.host, head);
	folio_put(arena.host, second);
	arena_close(&arena);
}

/* host_verify wants two free halves to be one block, of every order that has a next. */
static void halves_are_one(void **state)
{
	static const struct ram_range range = { { 3 * MIB }, { 3 * GIB } };
	static unsigned order;				/* static: they outlive a longjmp */
	static struct folio *folio, *half;

	(void)state;
	arena_open_ranges(&arena, &range, 1);
	pfn_t head = take(ORDER_1G);

	folio = page_folio(arena.host, head);
	for (order = 0; order < ORDER_MAX; order++) {
		half = page_folio(arena.host, pfn_add(head, UINT64_C(1) << order));
		atomic_write(&folio->flags, FOLIO_FREE | order);
		atomic_write(&half->flags, FOLIO_FREE | order);
		assert_true(panics(host_verify(arena.host), "buddy"));
		arena.host->lock = (spinlock_t){ 0 };
		atomic_write(&half->flags, 0);
	}
	arena_abandon(&arena);
}

/* Aligned for more than the largest order. */
static void two_gigabytes_are_two_blocks(void **state)
{
	static const struct ram_range ranges[] = {
		{ { 0 }, { 16 * MIB } }, { { 2 * GIB }, { 4 * GIB } },
	};

	(void)state;
	arena_open_ranges(&arena, ranges, 2);
	host_verify(arena.host);
	pfn_t one = take(ORDER_1G), other = take(ORDER_1G);

	folio_put(arena.host, one);
	folio_put(arena.host, other);
	arena_close(&arena);
}

static void bad_ranges(void **state)
{
	const uint64_t fewest = fewest_frames() << PAGE_SHIFT;
	const struct {
		struct ram_range ranges[2];
		unsigned count;
		enum status wanted;
	} cases[] = {
		{ .count = 0, .wanted = STATUS_NO_MEMORY },
		{ { { { 0 }, { 0 } } }, 1, STATUS_NO_MEMORY },
		{ { { { 0x1000 }, { 0x1fff } } }, 1, STATUS_NO_MEMORY },
		{ { { { 0x1000 }, { fewest + 0xfff } } }, 1, STATUS_NO_MEMORY },
		{ { { { 0 }, { fewest } } }, 1, STATUS_OK },
		{ { { { 0x2000 }, { 0x1000 } } }, 1, STATUS_BAD_RANGE },
		{ { { { 0 }, { RAM_END } } }, 1, STATUS_BAD_RANGE },
		{ { { { MIB }, { RAM_END - PAGE_SIZE + 1 } } }, 1, STATUS_BAD_RANGE },
		{ { { { 0 }, { UINT64_MAX } } }, 1, STATUS_BAD_RANGE },
		{ { { { UINT64_MAX }, { 0 } } }, 1, STATUS_BAD_RANGE },
		{ { { { 0 }, { MIB } }, { { MIB - 1 }, { 2 * MIB } } }, 2, STATUS_EXISTS },
		{ { { { MIB }, { 2 * MIB } }, { { 0 }, { 3 * MIB } } }, 2, STATUS_EXISTS },
		{ { { { 0 }, { MIB } }, { { 0 }, { MIB } } }, 2, STATUS_EXISTS },
		{ { { { MIB }, { 2 * MIB } }, { { 0 }, { MIB } } }, 2, STATUS_OK },
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct host *host = NULL;

		arena_clear(cases[i].ranges, cases[i].count);
		enum status found = host_create(cases[i].ranges, cases[i].count, &host);

		if (found != cases[i].wanted)
			print_error("case %u: %s\n", i, status_name(found));
		assert_int_equal(found, cases[i].wanted);
		if (host)
			host_verify(host);
		arena_clear(cases[i].ranges, cases[i].count);
	}
}

/* RAM that its metadata fill becomes a host that can lend nothing. */
static void metadata_alone(void **state)
{
	const struct ram_range range = { { 0x5000 }, { 0x5000 + (fewest_frames() << PAGE_SHIFT) } };
	pfn_t none;

	(void)state;
	arena_open_ranges(&arena, &range, 1);
	assert_int_equal(arena.host->pages_total, 0);
	assert_int_equal(folio_alloc(arena.host, 0, &none), STATUS_NO_MEMORY);
	arena_close(&arena);
}

static void metadata_goes_to_the_smallest_range(void **state)
{
	static const struct ram_range ranges[] = {
		{ { 16 * MIB }, { 48 * MIB } }, { { MIB }, { 4 * MIB } }, { { 0 }, { 0x8000 } },
	};

	(void)state;
	arena_open_ranges(&arena, ranges, 3);
	assert_int_equal(ptr_to_pfn(arena.host).raw, MIB >> PAGE_SHIFT);
	arena_close(&arena);
}

static void exhaustion(void **state)
{
	static pfn_t frames[FRAMES];
	unsigned count = 0;

	(void)state;
	arena_open(&arena, 16);
	while (folio_alloc(arena.host, 0, &frames[count]) == STATUS_OK)
		count++;
	assert_int_equal(count, arena.pages_free);
	assert_int_equal(pages_free(), 0);
	host_verify(arena.host);
	while (count)
		folio_put(arena.host, frames[--count]);
	arena_close(&arena);
}

/* ------------------------------------------------------------------ folios */

static int open_arena(void **state)
{
	(void)state;
	arena_open(&arena, 16);
	return 0;
}

static int close_arena(void **state)
{
	(void)state;
	arena_close(&arena);
	return 0;
}

static void references(void **state)
{
	pfn_t frame = take(3);

	(void)state;
	assert_int_equal(folio_refcount(arena.host, frame), 1);
	assert_int_equal(folio_mapcount(arena.host, frame), 0);
	folio_get(arena.host, pfn_add(frame, 7));
	assert_int_equal(folio_refcount(arena.host, pfn_add(frame, 3)), 2);
	folio_put(arena.host, pfn_add(frame, 1));
	folio_map(arena.host, frame);
	assert_true(panics(folio_put(arena.host, frame), "while it is mapped"));
	folio_get(arena.host, take(0));			/* the panic took a reference with it */
	atomic_write(&page_folio(arena.host, frame)->refcount, 1);
	folio_unmap(page_block(arena.host, frame));
	assert_true(panics(folio_unmap(page_block(arena.host, frame)), "more often than mapped"));
	atomic_write(&page_folio(arena.host, frame)->mapcount, 0);
	folio_put(arena.host, frame);
	arena_abandon(&arena);
	arena_open(&arena, 16);
}

static void misuse_is_named(void **state)
{
	static pfn_t frame, large;		/* static: they outlive a longjmp */

	(void)state;
	frame = take(0);
	large = take(4);
	folio_put(arena.host, frame);
	folio_put(arena.host, large);
	assert_true(panics(folio_put(arena.host, frame), "after it was freed"));
	assert_true(panics(folio_put(arena.host, pfn_add(large, 9)), "after it was freed"));
	assert_true(panics(folio_get(arena.host, frame), "after it was freed"));
	assert_true(panics(folio_mark_dirty(arena.host, frame), "after it was freed"));
	assert_true(panics(folio_order(arena.host, pfn(UINT32_MAX)), "not memory"));
	assert_true(panics(folio_order(arena.host, pfn(0)), "not memory"));	/* the host's own */

	frame = take(0);
	assert_true(panics(folio_put_many(arena.host, frame, 2), "more references put"));
	atomic_write(&page_folio(arena.host, frame)->refcount, 0);
	assert_true(panics(folio_get(arena.host, frame), "that has none"));
	atomic_write(&page_folio(arena.host, frame)->refcount, 1);
	folio_put(arena.host, frame);
}

static void marks(void **state)
{
	pfn_t frame = take(2);

	(void)state;
	assert_false(folio_dirty(arena.host, frame) || folio_accessed(arena.host, frame));
	folio_mark_dirty(arena.host, pfn_add(frame, 3));
	assert_true(folio_dirty(arena.host, frame) && !folio_accessed(arena.host, frame));
	folio_mark_accessed(arena.host, pfn_add(frame, 1));
	folio_mark_accessed(arena.host, frame);
	assert_true(folio_dirty(arena.host, frame) && folio_accessed(arena.host, frame));
	assert_int_equal(folio_order(arena.host, frame), 2);
	folio_put(arena.host, frame);

	/* They end with the folio. */
	pfn_t again = take(2);

	assert_int_equal(again.raw, frame.raw);
	assert_false(folio_dirty(arena.host, again) || folio_accessed(arena.host, again));
	folio_put(arena.host, again);
}

static void zeroed(void **state)
{
	pfn_t frame = take(1), again;

	(void)state;
	memset(pfn_to_ptr(frame), 0xff, 2 * PAGE_SIZE);
	folio_put(arena.host, frame);
	assert_int_equal(folio_alloc_zeroed(arena.host, 1, &again), STATUS_OK);
	assert_int_equal(again.raw, frame.raw);
	for (unsigned i = 0; i < 2 * PAGE_SIZE; i++)
		assert_int_equal(((uint8_t *)pfn_to_ptr(again))[i], 0);
	folio_put(arena.host, again);
	arena_fail_after(&arena, 0);
	assert_int_equal(folio_alloc_zeroed(arena.host, 1, &again), STATUS_NO_MEMORY);
	assert_int_equal(arena.refused, 1);
}

/* A hole inside a section has metadata, and a block of RAM below it that is not its own. */
static void holes_beside_blocks(void **state)
{
	static const struct ram_range ranges[] = {
		{ { 0 }, { 0x2000 } }, { { 0x10000 }, { 4 * MIB } },
	};

	(void)state;
	arena_open_ranges(&arena, ranges, 2);
	for (uint64_t frame = 2; frame < 16; frame++)
		assert_true(panics(folio_get(arena.host, pfn(frame)), "not memory"));
	arena_close(&arena);
}

/* host_verify sees each kind of damage. A panic leaves host->lock held. */
static void damage_is_seen(void **state)
{
	static const struct { uint32_t flags; const char *seen; } cases[] = {
		{ 0, "pages_total" },			/* lost */
		{ FOLIO_FREE | 4, "check failed" },	/* free, but in no list */
		{ FOLIO_FREE | 4 | FOLIO_DIRTY, "flags == " },
		{ FOLIO_DIRTY | 4, "FOLIO_USED" },
		{ FOLIO_USED | 3, "pages_total" },
		{ FOLIO_USED | 19, "ORDER_MAX" },
	};
	static struct folio *folio;			/* static: they outlive a longjmp */
	static unsigned i;

	(void)state;
	folio = page_folio(arena.host, take(4));
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		atomic_write(&folio->flags, cases[i].flags);
		assert_true(panics(host_verify(arena.host), cases[i].seen));
		arena.host->lock = (spinlock_t){ 0 };
	}
	atomic_write(&folio->flags, FOLIO_USED | 4);
	atomic_write(&folio[1].flags, FOLIO_USED);
	assert_true(panics(host_verify(arena.host), "two blocks"));
	arena.host->lock = (spinlock_t){ 0 };
	atomic_write(&folio[1].flags, 0);
	arena.host->pages_free--;
	assert_true(panics(host_verify(arena.host), "pages_free"));
	arena.host->lock = (spinlock_t){ 0 };
	arena.host->pages_free++;
	host_verify(arena.host);

	unsigned order = (unsigned)__builtin_ctz(arena.host->free_orders);
	static uint32_t *previous;

	previous = &page_folio(arena.host, pfn(arena.host->free_heads[order]))->previous;
	*previous = 3;
	assert_true(panics(host_verify(arena.host), "previous"));
	arena.host->lock = (spinlock_t){ 0 };
	*previous = NO_FRAME;
	folio_put(arena.host, pfn((uint64_t)(folio - page_folio(arena.host, pfn(0)))));
}

#define IN_ARENA(test) cmocka_unit_test_setup_teardown(test, open_arena, close_arena)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(buddy_against_model),
		cmocka_unit_test(buddy_over_torn_ranges),
		cmocka_unit_test(metadata_end_where_they_say),
		cmocka_unit_test(holes_cost_nothing),
		cmocka_unit_test(a_gigabyte_folio),
		cmocka_unit_test(halves_are_one),
		cmocka_unit_test(two_gigabytes_are_two_blocks),
		cmocka_unit_test(bad_ranges),
		cmocka_unit_test(metadata_alone),
		cmocka_unit_test(metadata_goes_to_the_smallest_range),
		cmocka_unit_test(exhaustion),
		cmocka_unit_test(holes_beside_blocks),
		IN_ARENA(references),
		IN_ARENA(misuse_is_named),
		IN_ARENA(marks),
		IN_ARENA(zeroed),
		IN_ARENA(damage_is_seen),
	};

	return cmocka_run_group_tests_name("mm/page", tests, NULL, NULL);
}
