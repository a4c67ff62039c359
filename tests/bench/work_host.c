/*
 * S99: what a host does beside a guest that stores and loads, and what that costs by each policy.
 * In the end a bracket takes all of the memory, so each has made all of its marks.
 */
#include "mm/lru.h"
#include "tests/bench/work.h"

enum { PASSES = 4 };

/* ------------------------------------------------------------------ stores, and pages that move */

/* A quarter of the pages is taken and given back, a sixteenth moves. */
static void harass(struct work *work)
{
	uint64_t moved;

	for (uint64_t page = 0; page < work->pages; page += 64) {
		take_back(work, page, 16);
		must(space_migrate(work->guest.space, page_hva(page + 32), 4 * PAGE_SIZE, &moved));
	}
}

static void write_passes(struct work *work)
{
	for (unsigned pass = 0; pass < PASSES; pass++) {
		store_all(work);
		harass(work);
	}
	take_all(work);
}

WORKLOAD(work_writes, "write passes; a quarter of it is taken, some of it moves",
	 .play = write_passes);

/* ------------------------------------------------------------------ dirty logs */

/* Every second piece of 64 pages is stored to between two harvests. */
static void log_passes(struct work *work, enum log_kind kind)
{
	static uint64_t words[HEADLINE_PAGES / 64];
	const struct log_options log = { .kind = kind };
	gfn_t start = gpa_to_gfn(GUEST_BASE);

	store_all(work);
	must(ept_log_enable(work->guest.ept, start, &log));
	for (unsigned pass = 0; pass < PASSES; pass++) {
		for (uint64_t page = 0; page < work->pages; page += 128)
			store(work, page, 64);
		must(ept_log_get(work->guest.ept, start, words));
	}
	must(ept_log_disable(work->guest.ept, start));
	take_all(work);
}

static void log_by_protection(struct work *work) { log_passes(work, LOG_WRITE_PROTECT); }
static void log_by_dirty(struct work *work) { log_passes(work, LOG_DIRTY_BIT); }

WORKLOAD(work_log_wp, "a dirty log by write protection; half of it stored to, harvested",
	 .play = log_by_protection);
WORKLOAD(work_log_dbit, "the same by D", .play = log_by_dirty);
WORKLOAD(work_log_large, "the same by write protection, of 2 MiB leaves",
	 .space_level = LEVEL_2M, .region_level = LEVEL_2M, .play = log_by_protection);
/* S59: as SetPageDirty does it. */
WORKLOAD(work_log_large_sets, "the same, and marks are set without a look whether they stand",
	 .space_level = LEVEL_2M, .region_level = LEVEL_2M, .marking = MARKING_SETS,
	 .play = log_by_protection);

/* ------------------------------------------------------------------ files */

static void write_back(struct work *work)
{
	for (unsigned pass = 0; pass < PASSES; pass++) {
		store_all(work);
		must(file_sync(work->file));
		load_all(work);
	}
	take_all(work);
}

WORKLOAD(work_writeback, "a file's pages stored to, written back, read", .memory = MEMORY_FILE,
	 .play = write_back);
WORKLOAD(work_writeback_keeps, "the same, writeback only takes W and D (OPTION_MKCLEAN)",
	 .memory = MEMORY_FILE, .options = OPTION_MKCLEAN, .play = write_back);

/* D alone goes from the host's entries, for a record of somebody's (S55). */
static void record(struct work *work)
{
	static uint64_t words[HEADLINE_PAGES / 64];
	struct clean_record record = { .bitmap = words };
	uint64_t count, word = 1;

	for (unsigned pass = 0; pass < PASSES; pass++) {
		store_all(work);
		for (uint64_t page = 0; page < work->pages; page++)
			must(space_write(work->guest.space, page_hva(page), &word, sizeof(word)));
		must(file_clean_record(work->file, 0, work->pages, &record, &count));
	}
	take_all(work);
}

WORKLOAD(work_record, "a file's pages stored to by both; D alone goes into a record",
	 .memory = MEMORY_FILE, .play = record);

static void reclaim(struct work *work)
{
	for (unsigned pass = 0; pass < PASSES; pass++) {
		store(work, 0, work->pages / 2);
		load(work, work->pages / 2, work->pages / 2);
		(void)host_reclaim(work->host, work->pages / 4);
	}
	take_all(work);
}

WORKLOAD(work_reclaim, "a file's pages, half stored to, half read; a quarter reclaimed",
	 .memory = MEMORY_FILE, .play = reclaim);

/* ------------------------------------------------------------------ hints, and what is free */

static void hint(struct work *work)
{
	for (unsigned pass = 0; pass < PASSES; pass++) {
		store_all(work);
		must(space_hint(work->guest.space, page_hva(0), work->pages * PAGE_SIZE,
				HINT_EACH_2M));
	}
	take_all(work);
}

WORKLOAD(work_numa, "write passes; all of it waits for hinting faults", .play = hint);

/* S62, S63: each page is read first, then stored to. */
static void lazyfree(struct work *work)
{
	for (unsigned pass = 0; pass < PASSES; pass++) {
		load_all(work);
		store_all(work);
		lru_drain(work->host);
		must(space_lazyfree(work->guest.space, page_hva(0), work->pages * PAGE_SIZE));
	}
	take_all(work);
}

WORKLOAD(work_lazyfree, "read and stored to, then madvise(MADV_FREE)", .play = lazyfree);
WORKLOAD(work_lazyfree_keeps, "the same, which only takes W and D (OPTION_WRITE_PROTECT)",
	 .options = OPTION_WRITE_PROTECT, .play = lazyfree);
