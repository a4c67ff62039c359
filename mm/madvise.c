/*
 * What a process says of memory that it does not need now: that its content may be lost, that it is
 * cold, or that it may go at once. Public; takes space->lock. Linux: mm/madvise.c.
 *
 * space_lazyfree takes the marks of being written from entry and folio, so that reclaim may drop
 * the page as long as nobody writes it again. W stays, and the next store sets D without a fault:
 * it is seen, since reclaim looks at D. A listener's store is not, unless the listener's leaf goes
 * (or its W) before the marks do, and comes back by a lookup that marks the folio anew:
 *
 *   guest                                  space_lazyfree
 *   -----                                  --------------
 *                                          start: no leaf may be written
 *                                          folio clean, D and A taken
 *                                          end
 *   a store faults: leaf, folio dirty
 *                                          (reclaim finds the folio dirty, and keeps it)
 *
 * Linux's order, and so ours: the process's own TLB is flushed after the end, for what a process
 * stores while it gives the page away may be lost; what it stores afterwards may not.
 */
#include "mm/reclaim.h"
#include "mm/tlb.h"

/*
 * A leaf of the range that is all of a folio. Linux splits folios of which a part is meant; here
 * they stay.
 */
static bool is_whole_folio(struct host *host, struct place place)
{
	return !pte_special(place.pte) &&
	       folio_order(host, pte_frame(place.pte)) == level_order(place.level);
}

/* ------------------------------------------------------------------ content that is not needed */

/* False: somebody else has the folio, too, or is working on it, and knows why it is dirty. */
static bool clean_folio(struct host *host, pfn_t frame)
{
	struct folio *folio = folio_of(host, frame);

	if (!(atomic_read(&folio->flags) & (FOLIO_DIRTY | FOLIO_SWAPCACHE)))
		return true;
	if (!folio_trylock(host, frame))
		return false;
	/* Mapped once, and the space's lock is ours: no fork makes it two. */
	bool ours = folio_mapcount(host, frame) == 1 &&
		    !(atomic_read(&folio->flags) & FOLIO_SWAPCACHE);

	if (ours) {
		atomic_and(&folio->flags, ~FOLIO_DIRTY);
		trace_step(host->trace, TRACE_FOLIO_CLEAN, frame.raw, 0);
	}
	folio_unlock(host, frame);
	return ours;
}

/* Linux: madvise_free_pte_range, madvise_free_huge_pmd. */
static void free_entry(struct space *space, const struct walk *walk, struct gather *gather)
	HOLDS(space->lock)
{
	pte_t pte = walk->place.pte;

	if (pte_is_swap(pte))
		table_change(space, walk->start, walk->place, pte_empty(), CONTENT_DIES, gather);
	if (!pte_leaf(pte, walk->place.level) || !is_whole_folio(space->host, walk->place) ||
	    !clean_folio(space->host, pte_frame(pte)))
		return;
	if (pte_dirty(pte) || pte_accessed(pte))
		table_take_bits(space, walk->start, walk->place, PTE_D | PTE_A, gather);
	folio_mark_lazyfree(space->host, pte_frame(pte));
}

/* Linux: madvise_free_single_vma. */
static void free_part(struct space *space, uint64_t start, uint64_t end) HOLDS(space->lock)
{
	struct host *host = space->host;
	struct walk walk = { .at = start, .end = end, .absent = true };
	struct mm_range range = notifier_range(space, start, end,
					       host_has(host, OPTION_WRITE_PROTECT)
						       ? EVENT_WRITE_PROTECT : EVENT_CLEAR);

	lru_drain(host);
	struct gather gather = gather_begin(space);

	notifier_open(space, &range);
	while (walk_next(space, &walk))
		free_entry(space, &walk, &gather);
	notifier_end(space, &range);
	gather_finish(&gather);
}

static enum status check_anonymous(const struct space *space, uint64_t start, uint64_t end)
	HOLDS_SHARED(space->lock)
{
	if (!vma_all(space, start, end))
		return STATUS_NOT_FOUND;
	for (unsigned i = vma_search(space, start);
	     i < space->vma_count && space->vmas[i].start < end; i++)
		if (space->vmas[i].file)
			return STATUS_NO_ACCESS;
	return STATUS_OK;
}

/*
 * Leaves lie across neither end: a large one of which a part is meant becomes small ones, and those
 * stay.
 */
static enum status split_ends(struct space *space, uint64_t start, uint64_t end) HOLDS(space->lock)
{
	enum status status = table_split(space, start);

	return status == STATUS_OK ? table_split(space, end) : status;
}

enum status space_lazyfree(struct space *space, hva_t start, uint64_t bytes)
{
	uint64_t end = start.raw + bytes;
	enum status status = space_check_range(start, bytes);

	if (status != STATUS_OK)
		return status;

	write_lock(&space->lock);
	status = check_anonymous(space, start.raw, end);
	if (status == STATUS_OK)
		status = split_ends(space, start.raw, end);
	for (unsigned i = vma_search(space, start.raw);
	     status == STATUS_OK && i < space->vma_count && space->vmas[i].start < end; i++) {
		const struct vma *vma = &space->vmas[i];

		free_part(space, vma->start > start.raw ? vma->start : start.raw,
			  vma->end < end ? vma->end : end);
	}
	write_unlock(&space->lock);
	return status;
}

/* ---------------------------------- content that is not needed now */

enum { TOGETHER = 32 };

/* Folios on their way out, each with a reference. */
struct leaving {
	unsigned count;
	pfn_t frames[TOGETHER];
};

/* Linux: madvise_cold_or_pageout_pte_range. One that others map as well may be hot to them. */
static bool is_ours(struct space *space, struct place place) HOLDS_SHARED(space->lock)
{
	return is_whole_folio(space->host, place) &&
	       folio_mapcount(space->host, pte_frame(place.pte)) == 1;
}

static void cool_entry(struct space *space, const struct walk *walk, struct gather *gather)
	HOLDS(space->lock)
{
	struct host *host = space->host;
	pfn_t frame = pte_frame(walk->place.pte);

	if (pte_accessed(walk->place.pte))
		table_take_bits(space, walk->start, walk->place, PTE_A, gather);
	atomic_and(&folio_of(host, frame)->flags, ~FOLIO_YOUNG);
	folio_deactivate(host, frame);
}

/* No bracket: A alone goes, and no listener maps less for it. */
static void cool_range(struct space *space, uint64_t start, uint64_t end) HOLDS(space->lock)
{
	struct walk walk = { .at = start, .end = end };

	lru_drain(space->host);
	struct gather gather = gather_begin(space);

	while (walk_next(space, &walk))
		if (is_ours(space, walk.place))
			cool_entry(space, &walk, &gather);
	gather_finish(&gather);
}

/* Returns where it is to go on. */
static uint64_t collect(struct space *space, uint64_t start, uint64_t end, struct leaving *leaving)
	HOLDS_SHARED(space->lock)
{
	struct walk walk = { .at = start, .end = end };

	leaving->count = 0;
	while (leaving->count < TOGETHER && walk_next(space, &walk))
		if (is_ours(space, walk.place)) {
			pfn_t frame = pte_frame(walk.place.pte);

			folio_get(space->host, frame);
			leaving->frames[leaving->count++] = frame;
		}
	return walk.at;
}

/* Whether the range may be asked about: whole pages, all of VMAs, no leaf across an end. */
static enum status begin(struct space *space, hva_t start, uint64_t bytes) HOLDS(space->lock)
{
	if (!vma_all(space, start.raw, start.raw + bytes))
		return STATUS_NOT_FOUND;
	return split_ends(space, start.raw, start.raw + bytes);
}

enum status space_cool(struct space *space, hva_t start, uint64_t bytes)
{
	enum status status = space_check_range(start, bytes);

	if (status != STATUS_OK)
		return status;
	write_lock(&space->lock);
	status = begin(space, start, bytes);
	if (status == STATUS_OK)
		cool_range(space, start.raw, start.raw + bytes);
	write_unlock(&space->lock);
	return status;
}

enum status space_page_out(struct space *space, hva_t start, uint64_t bytes, uint64_t *freed)
{
	uint64_t end = start.raw + bytes;
	enum status status = space_check_range(start, bytes);
	struct leaving leaving;

	*freed = 0;
	if (status != STATUS_OK)
		return status;
	write_lock(&space->lock);
	status = begin(space, start, bytes);
	write_unlock(&space->lock);
	if (status != STATUS_OK)
		return status;
	lru_drain(space->host);
	for (uint64_t at = start.raw; at < end;) {
		read_lock(&space->lock);
		at = collect(space, at, end, &leaving);
		read_unlock(&space->lock);
		*freed += reclaim_frames(space->host, leaving.frames, leaving.count);
	}
	return STATUS_OK;
}
