/*
 * Pages that are taken from a process: reclaim of a file's page and of an anonymous one, advice,
 * merging. For one page, when many are dealt with in one call.
 */
#include "mm/lru.h"
#include "tests/bench/bench.h"
#include "tests/bench/no_store.h"

#define BASE UINT64_C(0x40000000)

enum { BATCH = 32, FILE_PAGES = 256, EQUAL = 8, KSM_PAGES = 64 };

static struct space *space;
static struct file *file;

static void must(enum status status) { check(status == STATUS_OK); }

static hva_t page(unsigned i) { return hva(BASE + i * PAGE_SIZE); }

static void read_pages(unsigned pages)
{
	for (unsigned i = 0; i < pages; i++) {
		uint64_t word;

		must(space_read(space, page(i), &word, sizeof(word)));
	}
}

static void write_all(struct host *host)
{
	(void)host;
	for (uint64_t i = 0; i < BATCH; i++)
		must(space_write(space, page((unsigned)i), &i, sizeof(i)));
}

/*
 * In memory, on the inactive list, and unused: what reclaim takes at its first look. In the order
 * in which it comes to them, each `step` pages behind the one before.
 */
static void cool(struct host *host, unsigned pages, unsigned step)
{
	for (unsigned i = 0; i < pages; i++)
		must(space_cool(space, page(i * step % pages), PAGE_SIZE));
	lru_drain(host);
}

static void write_and_cool(struct host *host)
{
	write_all(host);
	cool(host, BATCH, 1);
}

static void read_on(struct host *host)
{
	read_pages(FILE_PAGES);
	cool(host, FILE_PAGES, 1);
}

static void read_about(struct host *host)
{
	read_pages(FILE_PAGES);
	cool(host, FILE_PAGES, 37);
}

static void map_file(struct host *host)
{
	must(file_create(host, &no_store, FILE_PAGES, &file));
	must(space_create(host, &space));
	must(space_map_file(space, page(0), FILE_PAGES * PAGE_SIZE, PROTECTION_READ_WRITE, file, 0,
			    SHARING_SHARED));
}

static void unmap_file(struct host *host)
{
	(void)host;
	space_destroy(space);
	must(file_destroy(file));
}

static void reclaim_file(struct host *host)
{
	check(host_reclaim(host, FILE_PAGES) == FILE_PAGES);
}

/* Pages that came one after the other, as when a file is read, are dealt with together. */
BENCHMARK(reclaim_clean_file_page, .setup = map_file, .before = read_on, .body = reclaim_file,
	  .end = unmap_file, .operations = FILE_PAGES, .target = 600);
BENCHMARK(reclaim_scattered_page, .setup = map_file, .before = read_about, .body = reclaim_file,
	  .end = unmap_file, .operations = FILE_PAGES);

/* ------------------------------------------------------------------ a process's own */

static void map_anon(struct host *host)
{
	must(space_create(host, &space));
	must(space_map(space, page(0), BATCH * PAGE_SIZE, PROTECTION_READ_WRITE, LEVEL_4K));
}

static void unmap_anon(struct host *host)
{
	(void)host;
	space_destroy(space);
}

static void map_swappable(struct host *host)
{
	must(host_swap_on(host, &no_store, 4 * BATCH));
	map_anon(host);
}

static void unmap_swappable(struct host *host)
{
	unmap_anon(host);
	must(host_swap_off(host));
}

static void swap_in_out(struct host *host)
{
	check(host_reclaim(host, BATCH) == BATCH);
	read_pages(BATCH);
}

/* To the store, which takes no time, and back. */
BENCHMARK(swap_out_in, .setup = map_swappable, .before = write_and_cool, .body = swap_in_out,
	  .end = unmap_swappable, .operations = BATCH);

static void lazyfree(struct host *host)
{
	(void)host;
	must(space_lazyfree(space, page(0), BATCH * PAGE_SIZE));
}

BENCHMARK(lazyfree_page, .setup = map_anon, .before = write_all, .body = lazyfree,
	  .end = unmap_anon, .operations = BATCH);

/* ------------------------------------------------------------------ merging */

static void map_mergeable(struct host *host)
{
	must(ksm_start(host, KSM_PAGES));
	map_anon(host);
	must(space_merge(space, page(0), EQUAL * PAGE_SIZE));
}

/*
 * Equal ones, each the process's own, as the first is: it was merged, and is what the others will
 * be.
 */
static void write_equal(struct host *host)
{
	(void)host;
	for (unsigned i = 1; i < EQUAL; i++) {
		uint64_t other = i, equal = 0;

		must(space_write(space, page(i), &other, sizeof(other)));
		must(space_write(space, page(i), &equal, sizeof(equal)));
	}
}

static void merge(struct host *host)
{
	/* The round's end, then all pages once, or twice if they are new. */
	while (ksm_scan(host, EQUAL))
		;
}

static void unmap_mergeable(struct host *host)
{
	unmap_anon(host);
	ksm_stop(host);
}

BENCHMARK(ksm_merge_page, .setup = map_mergeable, .before = write_equal, .body = merge,
	  .end = unmap_mergeable, .operations = EQUAL - 1);
