/*
 * Reclaim: folios that were not used lately are taken from their users, written where they
 * belong, and freed. Called by fault.c when memory is short, by a background task (host_balance),
 * and for single pages (reclaim_frames); no lock held. In Linux's order (shrink_folio_list), for
 * one folio, or for neighbours in a file step by step:
 *
 *   trylock; under writeback: later
 *   used since the last time: keep, or make active		folio_check_references
 *   a process's own: a slot of the swap store			add_to_swap
 *   taken from its users					try_to_unmap
 *   dirty: written						pageout
 *   references, then dirty; out of its cache; freed		__remove_mapping
 *
 * At any step a user may come back: a reference, a mark, an entry keeps the folio, and it goes
 * back to its list.
 *
 *   a user with a reference (get_user_pages)	reclaim
 *   ----------------------------------------	-------
 *						takes the page's entries; D: marks it, writes it
 *   writes to the page				references: all mine, exchanged for none?
 *   marks it dirty				dirty?
 *   puts the reference				frees it
 *
 * The user's steps are all over before the references are found to be reclaim's alone, so the
 * mark is seen; or they are not over, then the references speak for it. The reverse loses the
 * store.
 */
#include "mm/file.h"
#include "mm/reclaim.h"
#include "mm/space.h"
#include "mm/swap.h"

/* Whether it counts that a folio was used lately. */
enum regard { REGARD_USE, REGARD_NOTHING };

enum outcome {
	OUTCOME_FREED,
	OUTCOME_KEPT,			/* back to the inactive list, as its newest */
	OUTCOME_ACTIVE,			/* to the active list */
};

/* What has to become of the folio, as far as its users say. Linux: folio_check_references. */
enum judgment { JUDGMENT_RECLAIM, JUDGMENT_RECLAIM_CLEAN, JUDGMENT_KEEP, JUDGMENT_ACTIVATE };

static enum judgment judge(struct folio *folio, unsigned used_entries)
{
	bool marked = atomic_read(&folio->flags) & FOLIO_ACCESSED;

	if (marked)
		atomic_and(&folio->flags, ~FOLIO_ACCESSED);
	if (used_entries) {
		atomic_or(&folio->flags, FOLIO_ACCESSED);
		return marked || used_entries > 1 ? JUDGMENT_ACTIVATE : JUDGMENT_KEEP;
	}
	/* Of a file, and marked: not worth a write now. */
	if (marked && !(atomic_read(&folio->flags) & FOLIO_SWAPBACKED))
		return JUDGMENT_RECLAIM_CLEAN;
	return JUDGMENT_RECLAIM;
}

/*
 * The content goes to where it belongs. The folio is unlocked meanwhile. True: it is locked
 * again, and clean as far as can be seen without judging the references. Linux: pageout, and what
 * follows it.
 */
static bool write_out(struct host *host, pfn_t frame, struct folio *folio)
{
	struct file *file = folio_file(folio);

	/* Others than a cache and we: they may write as well. Linux: is_page_cache_freeable. */
	if (atomic_read(&folio->refcount) != 2)
		return false;
	if (file)
		file_pageout(file, frame);
	else if (atomic_read(&folio->flags) & FOLIO_SWAPCACHE)
		swap_pageout(host, frame);
	else
		return false;
	folio_lock(host, frame);
	return !(atomic_read(&folio->flags) & (FOLIO_DIRTY | FOLIO_WRITEBACK));
}

/* The last word: nobody else has the folio, and nobody had who has written to it. */
static bool let_go(struct host *host, struct block block)
{
	uint32_t flags = atomic_read(&block.folio->flags);
	struct file *file = folio_file(block.folio);

	if (flags & FOLIO_SWAPCACHE)
		return swap_remove_mapping(host, block.head, 2);
	/*
	 * Lazyfree, and discarded: ours is the only reference, or it has a user, who will free
	 * it.
	 */
	if (flags & FOLIO_ANON)
		return !(flags & FOLIO_SWAPBACKED) && folio_freeze_clean(host, block, 1);
	return file && file_remove_mappings(file, &block, 1);
}

/* Linux: the part of shrink_folio_list before try_to_unmap. */
static bool has_place_to_go(struct host *host, pfn_t frame, const struct folio *folio)
{
	uint32_t flags = atomic_read(&folio->flags);

	/* A large one is taken apart first, if that is of use. Linux: split_folio_to_list. */
	if (flags & FOLIO_ORDER) {
		if ((flags & FOLIO_SWAPBACKED && !host->swap) ||
		    folio_split(host, frame) != STATUS_OK)
			return false;
	}
	return !(flags & FOLIO_ANON) || !(flags & FOLIO_SWAPBACKED) || flags & FOLIO_SWAPCACHE ||
	       swap_add(host, frame);
}

/* Of a locked folio that stays locked, but for one that is freed. */
static enum outcome shrink_locked(struct host *host, struct block block, enum judgment judgment)
{
	struct folio *folio = block.folio;
	pfn_t frame = block.head;

	if (judgment == JUDGMENT_ACTIVATE)
		return OUTCOME_ACTIVE;
	if (judgment == JUDGMENT_KEEP)
		return OUTCOME_KEPT;
	if (!has_place_to_go(host, frame, folio))
		return OUTCOME_ACTIVE;
	if (atomic_read(&folio->mapcount))
		folio_try_to_unmap(host, frame);
	if (atomic_read(&folio->mapcount))
		return OUTCOME_ACTIVE;
	if (atomic_read(&folio->flags) & FOLIO_DIRTY &&
	    (judgment == JUDGMENT_RECLAIM_CLEAN || !write_out(host, frame, folio)))
		return OUTCOME_KEPT;
	if (!let_go(host, block))
		return OUTCOME_KEPT;
	folio_unlock_held(folio);
	folio_free_frozen(host, block);
	return OUTCOME_FREED;
}

static enum outcome shrink_folio(struct host *host, struct block block, enum regard regard)
{
	struct folio *folio = block.folio;
	enum outcome outcome = OUTCOME_KEPT;

	if (!folio_trylock_held(folio))
		return OUTCOME_KEPT;
	if (atomic_read(&folio->flags) & FOLIO_WRITEBACK)
		atomic_or(&folio->flags, FOLIO_RECLAIM);
	else
		outcome = shrink_locked(host, block, regard == REGARD_NOTHING ? JUDGMENT_RECLAIM :
					judge(folio, folio_referenced(host, block.head)));
	if (outcome != OUTCOME_FREED)
		folio_unlock_held(folio);
	return outcome;
}

/* Of an isolated folio, not locked any more. Whether it is freed. */
static bool settle(struct host *host, struct block block, enum outcome outcome)
{
	if (outcome == OUTCOME_FREED)
		return true;
	swap_tidy(host, block.head);
	if (outcome == OUTCOME_ACTIVE)
		atomic_or(&block.folio->flags, FOLIO_ACTIVE);
	lru_putback(host, block.head);
	return false;
}

/* ------------------------------------------------------------------ neighbours */

/*
 * Clean pages of a file that follow each other in it, each mapped by one entry: what is done for
 * each of the others is done once for all of these: their space locked, the listeners told, the
 * flush.
 */
struct run { const struct block *blocks; unsigned count; };

/* Locked, if the page is one of them: the file's number `index`. */
static bool join(struct folio *folio, uint32_t file, uint32_t index)
{
	const uint32_t others = FOLIO_ANON | FOLIO_ORDER | FOLIO_DIRTY | FOLIO_WRITEBACK;
	uint32_t flags;

	if (folio->file != file || folio->index != index)
		return false;
	flags = atomic_or(&folio->flags, FOLIO_LOCKED);
	if (flags & FOLIO_LOCKED)
		return false;
	/* Locked, it is not mapped again, nor written to the store, nor cut from its file. */
	if (!(flags & others) && folio->file == file && atomic_read(&folio->mapcount) == 1)
		return true;
	folio_unlock_held(folio);
	return false;
}

/* As many of the folios as are neighbours: none, if the first is not such a page. */
static struct run lock_run(const struct block *blocks, unsigned count)
{
	const struct folio *first = blocks[0].folio;
	struct run run = { .blocks = blocks };

	if (first->file == NO_FRAME)
		return run;
	while (run.count < count && join(blocks[run.count].folio, first->file,
					 first->index + run.count))
		run.count++;
	return run;
}

/* What becomes of the pages of a run: bit n, of blocks[n]. All others are kept. */
struct verdict { uint32_t clean, dirty, active; };

/* The entries of those that were unused are gone. */
static struct verdict judge_run(struct run run, uint32_t used)
{
	struct verdict verdict = { 0, 0, 0 };

	for (unsigned i = 0; i < run.count; i++) {
		struct folio *folio = run.blocks[i].folio;
		uint32_t bit = UINT32_C(1) << i;
		enum judgment judgment = judge(folio, used & bit ? 1 : 0);

		if (judgment == JUDGMENT_KEEP)
			continue;
		if (judgment == JUDGMENT_ACTIVATE || atomic_read(&folio->mapcount))
			verdict.active |= bit;
		else if (!(atomic_read(&folio->flags) & FOLIO_DIRTY))
			verdict.clean |= bit;
		else if (judgment == JUDGMENT_RECLAIM)
			verdict.dirty |= bit;
	}
	return verdict;
}

/*
 * A page that turned out dirty, when its entry was gone, waits until the others are unlocked:
 * writing takes long, and nobody may hold one folio's lock while waiting for another's. Returns
 * those.
 */
static uint32_t shrink_clean(struct host *host, struct run run, uint64_t *freed)
{
	struct file *file = folio_file(run.blocks[0].folio);
	uint32_t used = folio_unmap_unused(run.blocks, run.count);
	struct verdict verdict = judge_run(run, used);
	uint32_t gone = file_remove_mappings(file, run.blocks, verdict.clean);

	for (unsigned i = 0; i < run.count; i++) {
		struct block block = run.blocks[i];
		uint32_t bit = UINT32_C(1) << i;

		folio_unlock_held(block.folio);
		if (gone & bit) {
			folio_free_frozen(host, block);
			++*freed;
		} else if (!(verdict.dirty & bit)) {
			(void)settle(host, block, verdict.active & bit ? OUTCOME_ACTIVE :
							      OUTCOME_KEPT);
		}
	}
	return verdict.dirty;
}

static uint64_t shrink_run(struct host *host, struct run run)
{
	uint64_t freed = 0;

	for (uint32_t dirty = shrink_clean(host, run, &freed); dirty; dirty &= dirty - 1) {
		struct block block = run.blocks[__builtin_ctz(dirty)];

		freed += settle(host, block, shrink_folio(host, block, REGARD_NOTHING));
	}
	return freed;
}

/* Isolated folios, each with our reference. Returns the pages freed. Linux: shrink_folio_list. */
static uint64_t shrink(struct host *host, const struct block *blocks, unsigned count)
{
	uint64_t freed = 0;

	for (unsigned i = 0; i < count;) {
		struct run run = lock_run(blocks + i, count - i);

		if (run.count) {
			freed += shrink_run(host, run);
			i += run.count;
		} else {
			freed += settle(host, blocks[i], shrink_folio(host, blocks[i], REGARD_USE));
			i++;
		}
	}
	host_count(host, HOST_SCANNED, count);
	host_count(host, HOST_RECLAIMED, freed);
	return freed;
}

uint64_t reclaim_frames(struct host *host, const pfn_t *frames, unsigned count)
{
	uint64_t freed = 0, scanned = 0;

	lru_drain(host);
	for (unsigned i = 0; i < count; i++) {
		struct block block = page_block(host, frames[i]);

		if (lru_isolate(host, block.head)) {
			freed += settle(host, block, shrink_folio(host, block, REGARD_NOTHING));
			scanned++;
		} else {
			folio_put(host, block.head);
		}
	}
	host_count(host, HOST_SCANNED, scanned);
	host_count(host, HOST_RECLAIMED, freed);
	return freed;
}

/* ------------------------------------------------------------------ the lists */

/*
 * From the active list's end to the inactive one's beginning, used or not: A is cleared on the
 * way, so the next look tells whether the folio was used since. Linux: shrink_active_list.
 *
 * A call of its own, so that its cluster is off the stack when the caller's comes.
 */
static __attribute__((noinline)) void age(struct host *host, enum lru inactive, uint64_t most)
{
	struct block blocks[LRU_CLUSTER];
	unsigned count;

	for (; most; most -= count) {
		count = lru_isolate_oldest(host, inactive + 1,
					   most < LRU_CLUSTER ? (unsigned)most : LRU_CLUSTER,
					   blocks);
		if (!count)
			return;
		for (unsigned i = 0; i < count; i++) {
			struct block block = blocks[i];

			if (folio_trylock_held(block.folio)) {
				(void)folio_referenced(host, block.head);
				folio_unlock_held(block.folio);
			}
			atomic_and(&block.folio->flags, ~FOLIO_ACTIVE);
			lru_putback(host, block.head);
		}
	}
}

/*
 * A part of one pair of lists: all of it at priority 0. Linux: shrink_lruvec,
 * shrink_inactive_list.
 */
static uint64_t shrink_lists(struct host *host, enum lru inactive, unsigned priority,
			     uint64_t wanted)
{
	struct block blocks[LRU_CLUSTER];
	uint64_t active = lru_folios(host, inactive + 1), freed = 0;

	/*
	 * Linux: inactive_is_low, whose ratio grows with the square root of the size, from 1 at 1
	 * GiB.
	 */
	if (lru_folios(host, inactive) < active)
		age(host, inactive, active >> priority);
	for (uint64_t left = lru_folios(host, inactive) >> priority; left && freed < wanted;) {
		unsigned count = lru_isolate_oldest(host, inactive, left < LRU_CLUSTER ?
						    (unsigned)left : LRU_CLUSTER, blocks);

		if (!count)
			break;
		freed += shrink(host, blocks, count);
		left -= count;
	}
	return freed;
}

/*
 * Files first: what is clean costs nothing. Without room in swap anonymous pages are not looked
 * at.
 */
static uint64_t shrink_all(struct host *host, unsigned priority, uint64_t wanted)
{
	uint64_t freed = shrink_lists(host, LRU_INACTIVE_FILE, priority, wanted);

	if (freed < wanted && swap_has_room(host))
		freed += shrink_lists(host, LRU_INACTIVE_ANON, priority, wanted - freed);
	return freed;
}

uint64_t host_reclaim(struct host *host, uint64_t pages)
{
	/*
	 * Linux: DEF_PRIORITY; and the whole of it again if every folio had to be seen unused
	 * first.
	 */
	enum { PRIORITIES = 12, MORE = 2 };
	uint64_t freed = 0;

	lru_drain(host);
	for (unsigned round = 0; round <= PRIORITIES && freed < pages; round++)
		freed += shrink_all(host, PRIORITIES - round, pages - freed);
	for (unsigned round = 0; round < MORE && !freed; round++)
		freed += shrink_all(host, 0, pages);
	return freed;
}

/* ------------------------------------------------------------------ when memory is short */

bool reclaim_for(struct space *space, uint64_t address)
{
	struct host *host = space->host;
	struct host_stats stats;

	if (host_reclaim(host, LRU_CLUSTER))
		return true;
	host_read_stats(host, &stats);
	port_log("out of memory: process %u wants a page at 0x%lx; of %lu pages %lu are free; "
		 "%lu + %lu folios of processes, %lu + %lu of files (inactive + active) can't be "
		 "freed",
		 space->family, address, stats.pages_total, stats.pages_free,
		 lru_folios(host, LRU_INACTIVE_ANON), lru_folios(host, LRU_ACTIVE_ANON),
		 lru_folios(host, LRU_INACTIVE_FILE), lru_folios(host, LRU_ACTIVE_FILE));
	return false;
}

enum status host_set_watermarks(struct host *host, uint64_t low, uint64_t high)
{
	if (low > high)
		return STATUS_BAD_RANGE;
	atomic_write(&host->low, low);
	atomic_write(&host->high, high);
	return STATUS_OK;
}

/* Once awake, on until the high one is reached: Linux, kswapd_try_to_sleep, pgdat_balanced. */
uint64_t host_balance(struct host *host, uint64_t most)
{
	struct host_stats stats;

	host_read_stats(host, &stats);
	if (stats.pages_free < atomic_read(&host->low))
		atomic_write(&host->balancing, 1);
	if (stats.pages_free >= atomic_read(&host->high))
		atomic_write(&host->balancing, 0);
	if (!atomic_read(&host->balancing))
		return 0;

	uint64_t missing = atomic_read(&host->high) - stats.pages_free;

	return host_reclaim(host, missing < most ? missing : most);
}
