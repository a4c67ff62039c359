/*
 * What reclaim does to the entries of a folio: who has used it since the last time, and taking it
 * from all of them. Called by reclaim.c with the folio locked and isolated, so that no fault maps
 * it meanwhile.
 *
 * Linux: folio_referenced_one, try_to_unmap_one. The steps of the latter, for each entry:
 *
 *   notifier_start      no listener reaches the page; what it knew of D is in the folio's mark
 *   entry -> migration  nor does a new walk; D is marked
 *   flush               nor an older one
 *   lazyfree only:      references, then dirty: may it be thrown away?
 *   entry -> what it becomes: nothing, a swap entry, or what it was
 *   notifier_end
 */
#include "mm/reclaim.h"
#include "mm/rmap.h"
#include "mm/tlb.h"

/* ------------------------------------------------------------------ aging */

struct referenced { struct folio *folio; uint32_t left; unsigned count; };

/* A file that is read once, or anyhow, says so: there A means nothing. Linux: vma_has_recency. */
static bool has_recency(const struct vma *vma)
{
	return !vma || vma->advice == ADVICE_NORMAL;
}

static inline bool entry_used(struct space *space, uint64_t address, struct place place)
	HOLDS(space->lock)
{
	bool young = false;

	if (pte_accessed(place.pte)) {
		uint64_t was = atomic_and(place.slot, ~PTE_A);

		trace_step(space->host->trace, TRACE_PTE_MKOLD, address, was & ~PTE_A);
		young = true;
	}
	/*
	 * Not "or": the listeners are asked in any case, and forget. Linux:
	 * ptep_clear_flush_young_notify.
	 */
	return notifier_clear_flush_young(space, address, address + level_bytes(place.level)) ||
	       young;
}

/* Whether the folio was used by this leaf, or by whom idle tracking has asked since. */
static inline __attribute__((always_inline)) bool
leaf_used(struct space *space, const struct vma *vma, uint64_t address, struct place place,
	  struct folio *folio) HOLDS(space->lock)
{
	bool used = has_recency(vma) && entry_used(space, address, place);

	if (atomic_read(&folio->flags) & FOLIO_YOUNG)
		used = atomic_and(&folio->flags, ~FOLIO_YOUNG) & FOLIO_YOUNG || used;
	if (used && atomic_read(&folio->flags) & FOLIO_IDLE)
		atomic_and(&folio->flags, ~FOLIO_IDLE);
	return used;
}

static bool referenced_one(struct space *space, uint64_t address, struct place place,
			   void *argument) HOLDS(space->lock)
{
	struct referenced *found = argument;

	found->count += leaf_used(space, vma_find(space, address), address, place, found->folio);
	return --found->left;
}

unsigned folio_referenced(struct host *host, pfn_t frame)
{
	struct folio *folio = page_known(host, frame);
	struct referenced found = { .folio = folio, .left = atomic_read(&folio->mapcount) };

	if (found.left)
		rmap_walk(host, frame, (struct rmap){ referenced_one, &found });
	return found.count;
}

/* ------------------------------------------------------------------ unmapping */

/*
 * Whether nobody needs what is there: read and never written since it became lazyfree. The entry
 * is gone and flushed, so no user can come by it any more; who came before has a reference, and
 * may still write and mark. So references are judged first, and dirty, which such a user sets
 * before it puts its own, second.
 */
static bool may_discard(struct host *host, pfn_t frame, struct folio *folio)
{
	trace_step(host->trace, TRACE_REF_TEST, frame.raw, 0);
	/* Besides the entries': the caller's, and that of the entry that has just gone. */
	bool alone = folio_refcount(host, frame) == folio_mapcount(host, frame) + 2;

	trace_step(host->trace, TRACE_DIRTY_TEST, frame.raw, 0);
	if (atomic_read(&folio->flags) & FOLIO_DIRTY) {
		/* Not on a list now: it will be put on the right one. */
		atomic_or(&folio->flags, FOLIO_SWAPBACKED);
		return false;
	}
	return alone;
}

/* A page that its file has as well: the entry just goes. */
static void unmap_file_page(struct space *space, uint64_t address, struct place place,
			    struct gather *gather) HOLDS(space->lock)
{
	table_change(space, address, place, pte_empty(), CONTENT_MOVES, gather);
}

/*
 * What stands in the place of an entry: a swap entry, nothing, or itself: then the folio has to
 * stay.
 */
static pte_t remains(struct host *host, pfn_t frame, pte_t old)
{
	struct folio *folio = page_known(host, frame);
	uint32_t flags = atomic_read(&folio->flags);

	if (!(flags & FOLIO_SWAPBACKED))
		return may_discard(host, frame, folio) ? pte_empty() : old;
	check(flags & FOLIO_SWAPCACHE);
	return (pte_t){ pte_swap(folio->index).bits | (old.bits & (PTE_OWN | PTE_SOFT)) };
}

static void unmap_anon_page(struct space *space, uint64_t address, struct place place,
			    struct gather *gather) HOLDS(space->lock)
{
	struct host *host = space->host;
	pfn_t frame = pte_frame(place.pte);
	/* Something stands there meanwhile, so that the table stays. */
	pte_t old = table_change(space, address, place, pte_migration(), CONTENT_MOVES, gather);

	gather_flush(gather, address);
	pte_t new = remains(host, frame, old);

	if (pte_leaf(new, LEVEL_4K))
		folio_get(host, frame);
	table_change(space, address, place, new, CONTENT_STAYS, gather);
}

/* Goes on until no entry is left, or one had to be put back. */
static bool unmap_one(struct space *space, uint64_t address, struct place place, void *argument)
	HOLDS(space->lock)
{
	struct folio *folio = argument;
	struct gather gather = gather_begin(space);
	uint32_t before = atomic_read(&folio->mapcount);
	struct mm_range range = notifier_start(space, address, address + PAGE_SIZE, EVENT_CLEAR);

	if (atomic_read(&folio->flags) & FOLIO_ANON)
		unmap_anon_page(space, address, place, &gather);
	else
		unmap_file_page(space, address, place, &gather);
	gather_finish(&gather);
	notifier_end(space, &range);

	uint32_t after = atomic_read(&folio->mapcount);

	return after && after < before;
}

void folio_try_to_unmap(struct host *host, pfn_t frame)
{
	rmap_walk(host, frame, (struct rmap){ unmap_one, page_known(host, frame) });
}

/* ------------------------------------------------------------------ neighbours */

struct run {
	const struct block *blocks;
	uint64_t first;			/* the number of blocks[0] in the file */
	unsigned left;			/* pages whose entry was not met yet */
	uint32_t used;			/* bit n: blocks[n] was */
};

/* Whether the slot is that of the run's page n, and nobody has used it. */
static bool is_unused(struct space *space, const struct vma *vma, uint64_t address,
		      pte_slot_t *slot, struct run *run, uint64_t n) HOLDS(space->lock)
{
	struct block block = run->blocks[n];
	struct place place = { slot, pte_read(slot), LEVEL_4K };

	if (!pte_leaf(place.pte, LEVEL_4K) || pte_frame(place.pte).raw != block.head.raw)
		return false;
	run->left--;
	if (!leaf_used(space, vma, address, place, block.folio))
		return true;
	run->used |= UINT32_C(1) << n;
	return false;
}

/* One bracket, one flush. */
static void unmap_together(struct space *space, uint64_t start, pte_slot_t *slot, unsigned count)
	HOLDS(space->lock)
{
	if (!count)
		return;
	uint64_t end = start + count * PAGE_SIZE;
	struct gather gather = gather_begin(space);
	struct mm_range range = notifier_start(space, start, end, EVENT_CLEAR);

	table_clear(space, start, slot, count, CONTENT_MOVES, &gather);
	gather_finish(&gather);
	notifier_end(space, &range);
}

/* By one table's slots. The space stays locked between the look and the bracket. */
static void unmap_slots(struct space *space, const struct vma *vma, uint64_t start,
			pte_slot_t *slot, unsigned count, struct run *run) HOLDS(space->lock)
{
	uint64_t n = vma_page(vma, start) - run->first;
	unsigned unused = 0;		/* from here to i */

	for (unsigned i = 0; i < count; i++) {
		if (is_unused(space, vma, start + i * PAGE_SIZE, &slot[i], run, n + i))
			continue;
		unmap_together(space, start + unused * PAGE_SIZE, &slot[unused], i - unused);
		unused = i + 1;
	}
	unmap_together(space, start + unused * PAGE_SIZE, &slot[unused], count - unused);
}

static bool unmap_part(struct space *space, const struct vma *vma, uint64_t start, uint64_t end,
		       void *argument) HOLDS(space->lock)
{
	struct run *run = argument;

	while (start < end) {
		unsigned count = pages_in_table(start, end);
		struct place place = tlb_find(space, start);

		if (place.level == LEVEL_4K)
			unmap_slots(space, vma, start, place.slot, count, run);
		start += count * PAGE_SIZE;
	}
	return run->left;
}

uint32_t folio_unmap_unused(const struct block *blocks, unsigned count)
{
	const struct folio *first = blocks[0].folio;
	struct run run = { .blocks = blocks, .first = first->index, .left = count };

	rmap_walk_mapping(folio_file(first), first->index, count,
			  (struct rmap_part){ unmap_part, &run });
	return run.used;
}
