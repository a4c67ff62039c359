/*
 * The secondary MMU: what brackets, dirty logs and faults cost for one page of 4 KiB. The guest is
 * played by ept_fault alone, so an exit is not in these figures; boot/bench.c has those with one.
 */
#include "ept/ept.h"
#include "tests/bench/bench.h"

#define BACKING UINT64_C(0x40000000)

enum { PAGES = 4096, BYTES = PAGES * PAGE_SIZE };	/* 16 MiB */

static const struct log_options write_protect = { .kind = LOG_WRITE_PROTECT };
static struct space *space;
static struct ept *ept;
static uint64_t words[PAGES / 64];
static bool logged;

static void must(enum status status) { check(status == STATUS_OK); }

/* ------------------------------------------------------------------ a guest's memory */

static void add_region(unsigned level)
{
	const struct region region = { gfn(0), PAGES, hva(BACKING), REGION_READ_WRITE, level };

	must(ept_region_add(ept, &region));
}

static void open(struct host *host, unsigned level)
{
	const struct ept_caps caps = { .max_level = level, .accessed_dirty = true };

	must(space_create(host, &space));
	must(space_map(space, hva(BACKING), BYTES, PROTECTION_READ_WRITE, level));
	must(ept_create(space, &caps, &ept));
	add_region(level);
	logged = false;
}

static void open_small(struct host *host) { open(host, LEVEL_4K); }
static void open_large(struct host *host) { open(host, LEVEL_2M); }

static void close(struct host *host)
{
	(void)host;
	ept_verify(ept);
	ept_destroy(ept);
	space_destroy(space);
}

/* The guest stores to a page, of which the leaf is there if it is logged, and has no W. */
static enum fault_result store_to(uint64_t page)
{
	return ept_fault(ept, gpa(page * PAGE_SIZE), ACCESS_WRITE,
			 (enum access)(logged ? ACCESS_READ | ACCESS_EXEC : 0));
}

/* The guest stores to every page; `step` pages share a leaf. */
static void store_all(uint64_t step)
{
	for (uint64_t page = 0; page < PAGES; page += step)
		check(store_to(page) <= FAULT_SPURIOUS);
}

static void touch(struct host *host)
{
	(void)host;
	store_all(1);
}

/* ------------------------------------------------------------------ what takes leaves away */

static void zap(struct host *host)
{
	(void)host;
	must(space_invalidate(space, hva(BACKING), BYTES));
}

static void remove_region(struct host *host)
{
	(void)host;
	must(ept_region_remove(ept, gfn(0)));
}

static void open_without_region(struct host *host)
{
	open_small(host);
	remove_region(host);
}

static void add_and_touch(struct host *host)
{
	add_region(LEVEL_4K);
	touch(host);
}

BENCHMARK(zap_4k, .setup = open_small, .before = touch, .body = zap, .end = close,
	  .operations = PAGES, .target = 40);
BENCHMARK(slot_delete_4k, .setup = open_without_region, .before = add_and_touch,
	  .body = remove_region, .end = close, .operations = PAGES, .target = 30);

/* ------------------------------------------------------------------ dirty logs */

static void disable(void)
{
	if (logged)
		must(ept_log_disable(ept, gfn(0)));
	logged = false;
}

static void enable(struct host *host)
{
	(void)host;
	must(ept_log_enable(ept, gfn(0), &write_protect));
	logged = true;
}

static void unlog_and_touch(struct host *host)
{
	disable();
	touch(host);
}

static void unlog_and_touch_large(struct host *host)
{
	disable();
	zap(host);
	store_all(level_pages(LEVEL_2M));
}

static void open_logged(struct host *host)
{
	open_small(host);
	touch(host);
	enable(host);
}

static void harvest(struct host *host)
{
	(void)host;
	must(ept_log_get(ept, gfn(0), words));
}

BENCHMARK(log_enable_wp_4k, .setup = open_small, .before = unlog_and_touch, .body = enable,
	  .end = close, .operations = PAGES, .target = 15);
BENCHMARK(log_enable_split_2m, .setup = open_large, .before = unlog_and_touch_large,
	  .body = enable, .end = close, .operations = PAGES, .target = 15);
BENCHMARK(log_get_dirty_4k, .setup = open_logged, .before = touch, .body = harvest, .end = close,
	  .operations = PAGES, .target = 15);
BENCHMARK(log_get_clean_4k, .setup = open_logged, .before = harvest, .body = harvest,
	  .end = close, .operations = PAGES);

/* ------------------------------------------------------------------ faults, without their exits */

enum { FAULTS = 256 };

static void fault_some(struct host *host)
{
	(void)host;
	for (uint64_t page = 0; page < FAULTS; page++)
		check(store_to(page) == FAULT_FIXED);
}

/* The leaf is there, and a log has taken its W. */
BENCHMARK(wp_fault_fast_path, .setup = open_logged, .before = harvest, .body = fault_some,
	  .end = close, .operations = FAULTS);
/* The host's page is there, the tables are, the leaf is not. */
BENCHMARK(populate_4k_path, .setup = open_small, .before = zap, .body = fault_some, .end = close,
	  .operations = FAULTS);

/* ---------------------------------- with neighbours */

enum { BLOCK = 8 };

static void open_prefetching(struct host *host)
{
	open_small(host);
	touch(host);
	remove_region(host);
	ept_set_prefetch(ept, BLOCK);
	add_region(LEVEL_4K);
}

/* The guest stores to every page, and faults once a block. */
static void fault_blocks(struct host *host)
{
	(void)host;
	for (uint64_t page = 0; page < FAULTS; page += BLOCK)
		check(store_to(page) == FAULT_FIXED);
}

static void close_prefetching(struct host *host)
{
	struct ept_stats stats;

	ept_read_stats(ept, &stats);
	check(stats.prefetched == (stats.mapped[0] - PAGES) / BLOCK * (BLOCK - 1));
	close(host);
}

BENCHMARK(populate_4k_prefetch, .setup = open_prefetching, .before = zap, .body = fault_blocks,
	  .end = close_prefetching, .operations = FAULTS);
