/*
 * A large folio becomes 2^order small ones. Called by whoever wants a part of it: reclaim, or one
 * who gives back what a process has unmapped. Linux: split_huge_page_to_list, __split_huge_page.
 *
 * In the order of Linux (unmap_folio, folio_ref_freeze, __split_huge_page, remap_page):
 *
 *	the locks of all spaces that map it	no entry, so no count, changes meanwhile
 *	entries: leaves of 4 KiB		what may fail comes first
 *	brackets, EVENT_CLEAR			a listener marks folios by frames, and must not know
 *						a head that is about to be one no more
 *	entries parked, flush			nobody finds the folio by them; their references go
 *	freeze: the count, 1, becomes 0		or somebody else has one: all back as it was
 *	each page's metadata			below
 *	entries put back, each to its page	mapcounts of pages, found by counting their leaves
 *
 * A folio's count of leaves is one for all its pages (the head's), so which page has how many is
 * only known when they are put back one by one.
 *
 * Who looks for a head without a reference (folio_find) meets this half done:
 *
 *   finder, of a tail                     split, the head frozen
 *   -----------------                     ----------------------
 *   the tail's flags: 0? the head's       tail: its name; flags, USED; its count: 1
 *   a reference, unless there are none    head: order 0; its count: 1
 *   finds the head again: the same?
 *
 * A tail is a head when its flags say so, and can be had when its count says so, the last of its
 * writes. The head still claims its tails meanwhile, but has no references to give; when it has,
 * its order is 0, and the finder's second look finds the tail to be a head itself. host->lock keeps
 * out who reads all frames.
 */
#include "mm/lru.h"
#include "mm/rmap.h"

/* What a page inherits of the folio that it was part of. Linux: __split_huge_page_tail. */
#define INHERITED (FOLIO_USED | FOLIO_DIRTY | FOLIO_ACCESSED | FOLIO_LOCKED | FOLIO_UPTODATE | \
		   FOLIO_ANON | FOLIO_SWAPBACKED | FOLIO_ACTIVE | FOLIO_YOUNG | FOLIO_IDLE)

struct split {
	struct host *host;
	pfn_t head;
	unsigned order;
	struct rmap_spaces spaces;
	struct mm_range ranges[RMAP_SPACES];	/* one bracket a space: first leaf to last */
	struct gather gather;			/* of the space whose turn it is */
};

struct survey {
	struct mm_range *range;
	enum status status;
};

static bool survey_leaf(struct space *space, uint64_t address, struct place place, void *argument)
	HOLDS(space->lock)
{
	struct survey *survey = argument;
	uint64_t end = address + level_bytes(place.level);

	if (address < survey->range->start.raw)
		survey->range->start = hva(address);
	if (end > survey->range->end.raw)
		survey->range->end = hva(end);
	survey->status = table_split_all(space, address, end);
	return survey->status == STATUS_OK;
}

static bool park_leaf(struct space *space, uint64_t address, struct place place, void *argument)
	HOLDS(space->lock)
{
	table_park(space, address, place, argument);
	return true;
}

/* Nobody has a reference, or finds one; the name and the marks are every page's. */
static void divide(struct host *host, pfn_t head, unsigned order)
{
	struct folio *folio = page_folio(host, head);
	uint32_t flags = atomic_read(&folio->flags) & INHERITED;

	spin_lock(&host->lock);
	for (uint32_t i = 1; i < UINT32_C(1) << order; i++) {
		struct folio *page = page_folio(host, pfn_add(head, i));

		page->family = folio->family;
		page->index = folio->index + i;
		atomic_write(&page->mapcount, 0);
		atomic_write(&page->flags, flags);
		atomic_write(&page->refcount, 1);
	}
	atomic_and(&folio->flags, ~FOLIO_ORDER);
	atomic_write(&folio->refcount, 1);
	spin_unlock(&host->lock);
}

/* Linux: folio_ref_freeze. The reference is the caller's. */
static bool freeze(struct host *host, pfn_t head)
{
	uint32_t expected = 1;
	bool frozen = atomic_cmpxchg(&page_folio(host, head)->refcount, &expected, 0);

	trace_step(host->trace, TRACE_REF_FREEZE, head.raw, frozen);
	return frozen;
}

/* What can be seen before anything is done. Linux: can_split_folio. */
static bool may_split(struct host *host, pfn_t head)
{
	const uint32_t busy = FOLIO_WRITEBACK | FOLIO_SWAPCACHE | FOLIO_KSM | FOLIO_POOLED |
			      FOLIO_SECRET;
	const struct folio *folio = page_folio(host, head);

	return (atomic_read(&folio->flags) & (busy | FOLIO_ANON)) == FOLIO_ANON &&
	       atomic_read(&folio->refcount) == atomic_read(&folio->mapcount) + 1;
}

static enum status make_small(struct split *split) NOT_CHECKED
{
	struct survey survey = { .status = STATUS_OK };

	for (unsigned i = 0; i < split->spaces.count && survey.status == STATUS_OK; i++) {
		split->ranges[i] = (struct mm_range){ .start = hva(SPACE_END),
							.event = EVENT_CLEAR };
		survey.range = &split->ranges[i];
		rmap_visit(split->spaces.at[i], split->head, (struct rmap){ survey_leaf, &survey });
	}
	return survey.status;
}

/* Linux: unmap_folio, try_to_migrate. */
static void park(struct split *split, struct space *space, const struct mm_range *range)
	HOLDS(space->lock)
{
	(void)notifier_start(space, range->start.raw, range->end.raw, EVENT_CLEAR);
	split->gather = gather_begin(space);
	rmap_visit(space, split->head, (struct rmap){ park_leaf, &split->gather });
	gather_finish(&split->gather);
}

/* What is parked here is the folio's: the lock was not dropped since. Linux: remap_page. */
static void unpark(struct split *split, struct space *space, const struct mm_range *range)
	HOLDS(space->lock)
{
	struct walk walk = { .at = range->start.raw, .end = range->end.raw, .absent = true };

	split->gather = gather_begin(space);
	while (walk_next(space, &walk)) {
		if (!pte_is_parked(walk.place.pte))
			continue;
		folio_get(space->host, pte_frame(walk.place.pte));
		table_change(space, walk.start, walk.place, pte_unparked(walk.place.pte),
			     CONTENT_STAYS, &split->gather);
	}
	notifier_end(space, range);
}

/* All that may show the folio is locked. Not inline: the sanitizer's frames add up. */
static __attribute__((noinline)) enum status split_locked(struct split *split) NOT_CHECKED
{
	enum status status = make_small(split);

	if (status != STATUS_OK)
		return status;
	for (unsigned i = 0; i < split->spaces.count; i++)
		park(split, split->spaces.at[i], &split->ranges[i]);
	if (freeze(split->host, split->head))
		divide(split->host, split->head, split->order);
	else
		status = STATUS_IN_USE;
	for (unsigned i = 0; i < split->spaces.count; i++)
		unpark(split, split->spaces.at[i], &split->ranges[i]);
	return status;
}

/*
 * All but the caller's: whose entries have references keep them, others are free. The head is on
 * the list that the folio was on, if any. Linux: lru_add_page_tail.
 */
static void let_go(const struct split *split, pfn_t kept)
{
	for (uint64_t i = 0; i < UINT64_C(1) << split->order; i++) {
		pfn_t frame = pfn_add(split->head, i);

		if (i)
			lru_add(split->host, frame);
		if (frame.raw == kept.raw)
			continue;
		folio_unlock(split->host, frame);
		folio_put(split->host, frame);
	}
}

enum status folio_split(struct host *host, pfn_t frame)
{
	struct split split = { .host = host, .head = page_head(host, frame),
			       .order = folio_order(host, frame) };

	check(folio_is_locked(host, frame));
	if (split.order == ORDER_4K)
		return STATUS_OK;
	if (!may_split(host, split.head) || !rmap_lock_all(host, frame, &split.spaces))
		return STATUS_IN_USE;

	enum status status = split_locked(&split);

	rmap_unlock_all(&split.spaces);
	if (status == STATUS_OK)
		let_go(&split, frame);
	return status;
}
