/*
 * What a process does with its memory: faults, unmapping, fork, large pages out of small ones. For
 * one page.
 */
#include "mm/space.h"
#include "tests/bench/bench.h"

#define BASE UINT64_C(0x40000000)
#define BYTES (512 * PAGE_SIZE)

enum { PAGES = 512, FAULTS = 8 };

static struct space *space, *child;

static void must(enum status status) { check(status == STATUS_OK); }

static void touch(unsigned pages)
{
	for (uint64_t i = 0; i < pages; i++)
		must(space_write(space, hva(BASE + i * PAGE_SIZE), &i, sizeof(i)));
}

static void create(struct host *host) { must(space_create(host, &space)); }

static void map(struct host *host)
{
	(void)host;
	must(space_map(space, hva(BASE), BYTES, PROTECTION_READ_WRITE, LEVEL_4K));
}

static void map_and_touch(struct host *host)
{
	map(host);
	touch(PAGES);
}

static void unmap(struct host *host)
{
	(void)host;
	must(space_unmap(space, hva(BASE), BYTES));
}

static void end(struct host *host)
{
	(void)host;
	space_destroy(space);
}

BENCHMARK(unmap_4k, .setup = create, .before = map_and_touch, .body = unmap, .end = end,
	  .operations = PAGES);

/* ------------------------------------------------------------------ faults */

static void create_and_map(struct host *host)
{
	create(host);
	map(host);
}

/* The tables stay: the last page does. */
static void discard(struct host *host)
{
	uint64_t word = 0;

	(void)host;
	must(space_write(space, hva(BASE + FAULTS * PAGE_SIZE), &word, sizeof(word)));
	must(space_discard(space, hva(BASE), FAULTS * PAGE_SIZE));
}

static void fault_in_all(struct host *host)
{
	(void)host;
	for (unsigned i = 0; i < FAULTS; i++)
		must(fault_in(space, BASE + i * PAGE_SIZE, ACCESS_WRITE));
}

static void fill_all(struct host *host)
{
	static char page[PAGE_SIZE];
	static uint64_t bytes = PAGE_SIZE;	/* no constant: memset is called, as by mm */

	(void)host;
	__asm__("" : "+m"(bytes));
	for (unsigned i = 0; i < FAULTS; i++)
		__builtin_memset(page, 0, bytes);
}

/* Less the zeros themselves. */
BENCHMARK(fault_in_zero_page, .setup = create_and_map, .before = discard, .body = fault_in_all,
	  .besides = fill_all, .end = end, .operations = FAULTS);

/* ------------------------------------------------------------------ fork */

static void create_and_touch(struct host *host)
{
	create(host);
	map_and_touch(host);
}

/* The parent's pages are its own again, or every fork but the first would have less to do. */
static void end_child(struct host *host)
{
	(void)host;
	if (child)
		space_destroy(child);
	child = NULL;
	touch(PAGES);
}

static void fork_it(struct host *host)
{
	(void)host;
	must(space_fork(space, &child));
}

static void end_both(struct host *host)
{
	end_child(host);
	end(host);
}

BENCHMARK(fork_page, .setup = create_and_touch, .before = end_child, .body = fork_it,
	  .end = end_both, .operations = PAGES);

/* ------------------------------------------------------------------ collapse */

/* Small pages where a large one is wanted: touched while there was none to be had. */
static bool is_small(struct page_watch *self, unsigned order)
{
	(void)self;
	return order == ORDER_4K;
}

static void look_on(struct page_watch *self, pfn_t head, unsigned order)
{
	(void)self, (void)head, (void)order;
}

static struct page_watch only_small = { is_small, look_on, look_on };

static void map_small(struct host *host)
{
	must(space_unmap(space, hva(BASE), BYTES));
	must(space_map(space, hva(BASE), BYTES, PROTECTION_READ_WRITE, LEVEL_2M));
	host->watch = &only_small;
	touch(PAGES);
	host->watch = NULL;
}

static void collapse(struct host *host)
{
	uint64_t collapsed;

	(void)host;
	must(space_collapse(space, hva(BASE), BYTES, &collapsed));
	check(collapsed == 1);
}

/* With the copy of each: 512 words. */
BENCHMARK(collapse_page, .setup = create, .before = map_small, .body = collapse, .end = end,
	  .operations = PAGES);
