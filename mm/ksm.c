/*
 * Pages of the same content, in memory advised to be mergeable, become one that nobody may
 * write: KSM. One scan at a time, by a daemon or whoever calls; takes the pages' locks and
 * space->lock, one space's at a time.
 *
 *	a candidate: an anonymous page of 4 KiB, with a reference for us
 *	write_protect		no store is possible any more, nobody else can have a way to it
 *	compare			now that both stand still: before that, equal says nothing
 *	replace			an entry of the other page, read-only, in place of this one's
 *
 *   KSM                                     a guest, or the process
 *   ---                                     -----------------------
 *   bracket; entry cleared and flushed      stores before: the comparison sees it
 *   references judged; entry read-only
 *                                           stores: faults, waits for the lock, gets a copy
 *   equal?
 *   entry still this one, read-only?        no: it is left alone
 *   exchanged
 *
 * Our reference makes that true: a store to a page with more references than entries copies
 * (sole_owner). Without write_protect a store between the comparison and the exchange would be
 * lost.
 *
 * Linux: ksm.c, cmp_and_merge_page. Its stable tree is an array here, searched by checksum; its
 * unstable tree a table of what was seen, by checksum, so a page whose place another takes
 * waits for the next round; and there is no memory of a page's last checksum, so one that
 * changes often may be merged, and copied again, each time. A merged page keeps a reference of
 * ours until a scan finds that nobody maps it. It is not reclaimed and not migrated, for
 * nothing leads from it to its entries: they are of all families.
 */
#include "mm/ksm.h"
#include "mm/lru.h"
#include "mm/replace.h"
#include "mm/tlb.h"

struct candidate {
	struct space *space;		/* one of its users is ours */
	uint64_t address;
	pfn_t frame;			/* a reference is ours */
	uint32_t checksum;
};

/* ------------------------------------------------------------------ content */

enum { CHUNK = 64 };			/* bytes that are looked at together */

static uint32_t checksum(pfn_t frame)
{
	const char *bytes = pfn_to_ptr(frame);
	uint64_t words[CHUNK / 8], sum = 0;

	for (unsigned at = 0; at < PAGE_SIZE; at += CHUNK) {
		atomic_copy(words, bytes + at, CHUNK);
		for (unsigned i = 0; i < CHUNK / 8; i++)
			sum = (sum ^ words[i]) * UINT64_C(0x9e3779b97f4a7c15) + (sum >> 32);
	}
	return (uint32_t)(sum ^ sum >> 32);
}

static bool equal(struct host *host, pfn_t a, pfn_t b)
{
	const char *one = pfn_to_ptr(a), *other = pfn_to_ptr(b);
	uint64_t x[CHUNK / 8], y[CHUNK / 8];

	trace_step(host->trace, TRACE_FOLIO_COMPARE, a.raw, b.raw);
	for (unsigned at = 0; at < PAGE_SIZE; at += CHUNK) {
		atomic_copy(x, one + at, CHUNK);
		atomic_copy(y, other + at, CHUNK);
		for (unsigned i = 0; i < CHUNK / 8; i++)
			if (x[i] != y[i])
				return false;
	}
	return true;
}

/* ------------------------------------------------------------------ one page */

/* An anonymous page of its own size, with rights; in memory that is advised so. */
static bool may_merge(const struct host *host, struct place place)
{
	if (place.level != LEVEL_4K || !pte_present(place.pte) || pte_special(place.pte))
		return false;
	uint32_t flags = atomic_read(&folio_of(host, pte_frame(place.pte))->flags);

	return (flags & (FOLIO_ANON | FOLIO_KSM)) == FOLIO_ANON && !(flags & FOLIO_ORDER);
}

/* The candidate's entry, if it still is one. */
static bool find_again(const struct candidate *candidate, struct place *place)
	HOLDS_SHARED(candidate->space->lock)
{
	const struct vma *vma = vma_find(candidate->space, candidate->address);

	*place = table_find(candidate->space, candidate->address);
	return vma && vma->mergeable && may_merge(candidate->space->host, *place) &&
	       pte_frame(place->pte).raw == candidate->frame.raw;
}

/*
 * Nobody holds it: entries, with the gather's reference for the one that is out, and one of ours.
 * Linux: write_protect_page's comparison.
 */
static bool nobody_else(struct host *host, pfn_t frame)
{
	const struct folio *folio = folio_of(host, frame);
	uint32_t cache = atomic_read(&folio->flags) & FOLIO_SWAPCACHE ? 1 : 0;

	trace_step(host->trace, TRACE_REF_TEST, frame.raw, 0);
	return atomic_read(&folio->refcount) == atomic_read(&folio->mapcount) + 2 + cache;
}

/*
 * Under the page's lock. True: nobody can store to it by this entry any more. Linux:
 * write_protect_page.
 */
static bool write_protect(const struct candidate *candidate, struct place place)
	HOLDS(candidate->space->lock) NOT_CHECKED
{
	struct host *host = candidate->space->host;
	struct replace replace;

	replace_begin(&replace, candidate->space, candidate->address, place, EVENT_CLEAR);

	bool alone = nobody_else(host, candidate->frame);
	pte_t old = replace.old, clean = { old.bits & ~(PTE_W | PTE_D | PTE_OWN) };

	if (alone && pte_dirty(old))
		folio_mark_dirty(host, candidate->frame);
	folio_get(host, candidate->frame);
	replace_end(&replace, alone ? clean : old);
	return alone;
}

/* The page stands still from now on, as long as we have our reference. */
static bool freeze(const struct candidate *candidate)
{
	struct place place;
	bool frozen;

	write_lock(&candidate->space->lock);
	frozen = find_again(candidate, &place);
	if (frozen && place.pte.bits & (PTE_W | PTE_D | PTE_OWN))
		frozen = write_protect(candidate, place);
	write_unlock(&candidate->space->lock);
	return frozen;
}

/*
 * The entry, if nothing has happened to it since it was frozen, shows the merged page. Linux:
 * replace_page.
 */
static bool exchange(const struct candidate *candidate, pfn_t merged)
{
	struct place place;
	bool still;

	write_lock(&candidate->space->lock);
	still = find_again(candidate, &place) && !pte_writable(place.pte);
	if (still) {
		pte_t leaf = pte_make_leaf(merged, LEVEL_4K, PROTECTION_READ);

		/* Linux's replace_page forgets it. */
		leaf.bits |= place.pte.bits & PTE_SOFT;
		folio_get(candidate->space->host, merged);
		page_replace(candidate->space, candidate->address, place, leaf, EVENT_CLEAR);
	}
	write_unlock(&candidate->space->lock);
	return still;
}

/* Linux: try_to_merge_one_page, with the merged page that there is. */
static bool merge_with(const struct candidate *candidate, pfn_t merged)
{
	struct host *host = candidate->space->host;
	bool done;

	folio_lock(host, candidate->frame);
	done = freeze(candidate) && equal(host, candidate->frame, merged) &&
	       exchange(candidate, merged);
	folio_unlock(host, candidate->frame);
	return done;
}

/* ------------------------------------------------------------------ merged pages */

/* Linux: remove_stable_node, when ksm_get_folio finds the page unmapped. */
static void forget_unused(struct host *host, struct ksm *ksm)
{
	for (uint32_t i = 0; i < ksm->count;) {
		if (folio_refcount(host, pfn(ksm->pages[i].frame)) > 1) {
			i++;
			continue;
		}
		folio_put(host, pfn(ksm->pages[i].frame));
		ksm->pages[i] = ksm->pages[--ksm->count];
	}
}

/* Linux: stable_tree_search. */
static bool merge_with_known(struct ksm *ksm, const struct candidate *candidate)
{
	struct host *host = candidate->space->host;

	for (uint32_t i = 0; i < ksm->count; i++) {
		pfn_t merged = pfn(ksm->pages[i].frame);

		if (ksm->pages[i].checksum == candidate->checksum &&
		    equal(host, candidate->frame, merged) && merge_with(candidate, merged))
			return true;
	}
	return false;
}

/*
 * The candidate's page itself becomes a merged one, if it is still what it was. Linux:
 * try_to_merge_one_page, alone.
 */
static bool found(struct ksm *ksm, const struct candidate *candidate)
{
	struct host *host = candidate->space->host;
	bool frozen;

	if (ksm->count == ksm->capacity)
		return false;
	folio_lock(host, candidate->frame);
	/* Off its list for good: reclaim would not find its entries. */
	frozen = freeze(candidate) && checksum(candidate->frame) == candidate->checksum &&
		 lru_isolate(host, candidate->frame);
	if (frozen) {
		folio_get(host, candidate->frame);
		atomic_or(&folio_of(host, candidate->frame)->flags, FOLIO_KSM);
		ksm->pages[ksm->count++] =
			(struct ksm_page){ candidate->checksum, (uint32_t)candidate->frame.raw };
	}
	folio_unlock(host, candidate->frame);
	return frozen;
}

/* ------------------------------------------------------------------ candidates */

static void drop(const struct candidate *candidate)
{
	struct host *host = candidate->space->host;

	folio_put(host, candidate->frame);
	space_put(candidate->space);
}

/* The so-many-th space of the host, or the one of that frame, with a user more. */
static struct space *get_space(struct host *host, unsigned number, uint32_t frame)
{
	struct space *found = NULL;

	spin_lock(&host->spaces_lock);
	list_for_each(node, &host->spaces) {
		struct space *space = container_of(node, struct space, link);

		if (frame == NO_FRAME ? number-- == 0 : ptr_to_pfn(space).raw == frame) {
			atomic_add(&space->users, 1);
			found = space;
			break;
		}
	}
	spin_unlock(&host->spaces_lock);
	return found;
}

/* The first candidate at the address or above it. */
static bool next_in(struct space *space, uint64_t from, struct candidate *out)
	HOLDS_SHARED(space->lock)
{
	for (unsigned i = vma_search(space, from); i < space->vma_count; i++) {
		const struct vma *vma = &space->vmas[i];
		struct walk walk = { .at = vma->start > from ? vma->start : from, .end = vma->end };

		while (vma->mergeable && walk_next(space, &walk)) {
			if (!may_merge(space->host, walk.place))
				continue;
			*out = (struct candidate){ .space = space, .address = walk.start,
						   .frame = pte_frame(walk.place.pte) };
			folio_get(space->host, out->frame);
			return true;
		}
	}
	return false;
}

/* False: the round is over. The space is handed on to the candidate. */
static bool next_candidate(struct host *host, struct ksm *ksm, struct candidate *out)
{
	struct space *space;

	while ((space = get_space(host, ksm->space, NO_FRAME))) {
		read_lock(&space->lock);
		bool there = next_in(space, ksm->address, out);

		read_unlock(&space->lock);
		if (there) {
			ksm->address = out->address + PAGE_SIZE;
			return true;
		}
		space_put(space);
		ksm->space++;
		ksm->address = 0;
	}
	ksm->space = 0;
	return false;
}

/* What was seen there, if there is still a candidate. */
static bool see_again(struct host *host, const struct ksm_seen *seen, struct candidate *out)
{
	struct space *space = get_space(host, 0, seen->space);

	if (!space)
		return false;
	read_lock(&space->lock);
	struct place place = table_find(space, seen->address);
	const struct vma *vma = vma_find(space, seen->address);
	bool there = vma && vma->mergeable && may_merge(host, place);

	if (there) {
		*out = (struct candidate){ space, seen->address, pte_frame(place.pte),
					   seen->checksum };
		folio_get(host, out->frame);
	}
	read_unlock(&space->lock);
	if (!there)
		space_put(space);
	return there;
}

/* ------------------------------------------------------------------ the scan */

/* Two pages that nobody has merged yet. Linux: try_to_merge_two_pages. */
static void merge_two(struct ksm *ksm, const struct candidate *first,
		      const struct candidate *second)
{
	struct host *host = first->space->host;

	/*
	 * A hint, which saves work: they may change. Of one page with two entries there is
	 * nothing to gain.
	 */
	if (first->frame.raw == second->frame.raw || !equal(host, first->frame, second->frame) ||
	    !found(ksm, first))
		return;
	/*
	 * If it was not to be, the first is a merged page of one entry: the next of its kind
	 * will join it.
	 */
	(void)merge_with(second, first->frame);
}

/* Linux: cmp_and_merge_page. */
static void examine(struct host *host, struct ksm *ksm, struct candidate *candidate)
{
	struct candidate first;

	candidate->checksum = checksum(candidate->frame);
	if (merge_with_known(ksm, candidate))
		return;

	struct ksm_seen *seen = &ksm->seen[candidate->checksum % ksm->capacity];

	if (seen->space && seen->checksum == candidate->checksum &&
	    see_again(host, seen, &first)) {
		merge_two(ksm, &first, candidate);
		drop(&first);
	}
	*seen = (struct ksm_seen){ candidate->checksum,
				   (uint32_t)ptr_to_pfn(candidate->space).raw,
				   candidate->address };
}

uint64_t ksm_scan(struct host *host, uint64_t pages)
{
	struct candidate candidate;
	struct ksm *ksm = host->ksm;
	uint64_t done = 0;

	if (!ksm || atomic_xchg(&host->ksm_busy, 1))
		return 0;
	forget_unused(host, ksm);
	while (done < pages && next_candidate(host, ksm, &candidate)) {
		examine(host, ksm, &candidate);
		drop(&candidate);
		done++;
	}
	atomic_write(&host->ksm_busy, 0);
	return done;
}
