/* The host's frames, marks and walks. */
#include "tests/bench/bench.h"
#include "mm/mm.h"

#define BASE UINT64_C(0x40000000)

enum { BATCH = 64 };			/* frames: twice what a CPU keeps */

static struct block blocks[BATCH];
static struct space *space;

static void must(enum status status) { check(status == STATUS_OK); }

/* ------------------------------------------------------------------ the allocator */

#define PAIR(name, order, alloc, free)					\
static void name(struct host *host)					\
{									\
	struct block block = { 0 };					\
									\
	must(alloc(host, order, &block));				\
	free(host, block);						\
}

PAIR(no_pair, ORDER_4K, bench_no_alloc, bench_no_free)
PAIR(pair_4k, ORDER_4K, page_alloc, page_free)
PAIR(pair_8k, 1, page_alloc, page_free)
PAIR(pair_2m, ORDER_2M, page_alloc, page_free)

/* From what the CPU keeps, and back. */
BENCHMARK(page_alloc_free_4k, .body = pair_4k, .besides = no_pair, .target = 60);

/* More than a CPU keeps: three of four come from the buddy allocator, and go there again. */
#define MANY(name, alloc, free)						\
static void name(struct host *host)					\
{									\
	for (unsigned i = 0; i < BATCH; i++)				\
		must(alloc(host, ORDER_4K, &blocks[i]));		\
	for (unsigned i = 0; i < BATCH; i++)				\
		free(host, blocks[i]);					\
}

MANY(no_many, bench_no_alloc, bench_no_free)
MANY(many_4k, page_alloc, page_free)

BENCHMARK(page_alloc_free_4k_many, .body = many_4k, .besides = no_many, .operations = BATCH,
	  .target = 250);

static void folio_pair(struct host *host)
{
	pfn_t frame;

	must(folio_alloc(host, ORDER_4K, &frame));
	folio_put(host, frame);
}

BENCHMARK(folio_alloc_put_4k, .body = folio_pair);

/* Some memory is in use, so that a block of the order is free, and its buddy is not. */
static unsigned used;

static void use_buddy(struct host *host, unsigned order)
{
	used = 0;
	do
		must(page_alloc(host, order, &blocks[used++]));
	while (used == 1 ||
	       blocks[used - 1].head.raw != (blocks[used - 2].head.raw ^ UINT64_C(1) << order));
	page_free(host, blocks[--used]);
}

static void use_8k(struct host *host) { use_buddy(host, 1); }
static void use_2m(struct host *host) { use_buddy(host, ORDER_2M); }

static void free_used(struct host *host)
{
	while (used)
		page_free(host, blocks[--used]);
}

BENCHMARK(page_alloc_free_8k, .setup = use_8k, .body = pair_8k, .besides = no_pair,
	  .end = free_used, .target = 250);
BENCHMARK(page_alloc_free_2m, .setup = use_2m, .body = pair_2m, .besides = no_pair,
	  .end = free_used, .target = 250);

/* ------------------------------------------------------------------ lookup */

static void map_page(struct host *host)
{
	struct mm_page page;

	must(space_create(host, &space));
	must(space_map(space, hva(BASE), 16 * PAGE_SIZE, PROTECTION_READ_WRITE, LEVEL_4K));
	must(mm_lookup(space, hva(BASE + PAGE_SIZE), ACCESS_WRITE, &page));
}

static void look_up(struct host *host)
{
	struct mm_page page;

	(void)host;
	must(mm_lookup(space, hva(BASE + PAGE_SIZE), ACCESS_READ, &page));
}

static void unmap_page(struct host *host)
{
	(void)host;
	space_destroy(space);
}

BENCHMARK(mm_lookup_4k, .setup = map_page, .body = look_up, .end = unmap_page, .target = 120);

/* ------------------------------------------------------------------ marks that stand already */

static struct folio *marked;
static pfn_t marked_frame;

static void take_marked(struct host *host)
{
	must(folio_alloc(host, ORDER_4K, &marked_frame));
	marked = folio_of(host, marked_frame);
	folio_mark_dirty(host, marked_frame);
	folio_mark_accessed(host, marked_frame);
	/* As if reclaim had it on a list: one that can rise is not done with its mark. */
	atomic_or(&marked->flags, FOLIO_ACTIVE);
}

static void put_marked(struct host *host)
{
	atomic_and(&marked->flags, ~FOLIO_ACTIVE);
	folio_put(host, marked_frame);
}

/* Often, so that what the function needs besides, callers' registers, does not count. */
#define FOUR_TIMES(what) do { what; what; what; what; } while (0)
#define OFTEN(what)                                                                 \
	do {                                                                        \
		FOUR_TIMES(what);                                                   \
		FOUR_TIMES(what);                                                   \
		FOUR_TIMES(what);                                                   \
		FOUR_TIMES(what);                                                   \
	} while (0)

static void mark_dirty_held(struct host *host)
{
	struct folio *folio = marked;

	OFTEN(folio_mark_dirty_held(host, folio));
}

static void mark_accessed_held(struct host *host)
{
	const struct block block = { marked, marked_frame };

	OFTEN(folio_mark_accessed_held(host, block));
}

static void mark_dirty_by_frame(struct host *host) { folio_mark_dirty(host, marked_frame); }

BENCHMARK(folio_mark_dirty_again, .setup = take_marked, .body = mark_dirty_held,
	  .end = put_marked, .operations = 16, .target = 5);
BENCHMARK(folio_mark_accessed_again, .setup = take_marked, .body = mark_accessed_held,
	  .end = put_marked, .operations = 16, .target = 5);
BENCHMARK(folio_mark_dirty_by_frame, .setup = take_marked, .body = mark_dirty_by_frame,
	  .end = put_marked);
