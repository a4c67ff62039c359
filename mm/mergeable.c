/*
 * What surrounds KSM's scan (ksm.c): its memory, its figures, and the ranges whose pages may be
 * merged, or must not stay so. The ranges take space->lock. Linux: ksm_madvise, break_ksm,
 * /sys/kernel/mm/ksm.
 */
#include "mm/ksm.h"
#include "mm/lru.h"
#include "mm/replace.h"

/* ------------------------------------------------------------------ beginning and end */

enum status ksm_start(struct host *host, uint32_t pages)
{
	uint64_t bytes = sizeof(struct ksm) +
			 pages * (sizeof(struct ksm_page) + sizeof(struct ksm_seen));
	unsigned order = 0;
	pfn_t frame;

	if (!pages || pages > UINT32_C(1) << 24)
		return STATUS_BAD_RANGE;
	if (host->ksm)
		return STATUS_EXISTS;
	while (PAGE_SIZE << order < bytes)
		order++;
	enum status status = folio_alloc_zeroed(host, order, &frame);

	if (status != STATUS_OK)
		return status;
	host->ksm = pfn_to_ptr(frame);
	host->ksm->capacity = pages;
	host->ksm->seen = (struct ksm_seen *)(host->ksm + 1);
	host->ksm->pages = (struct ksm_page *)(host->ksm->seen + pages);
	return STATUS_OK;
}

void ksm_stop(struct host *host)
{
	struct ksm *ksm = host->ksm;

	if (!ksm)
		return;
	for (uint32_t i = 0; i < ksm->count; i++)
		folio_put(host, pfn(ksm->pages[i].frame));
	host->ksm = NULL;
	folio_put(host, ptr_to_pfn(ksm));
}

void ksm_read_stats(struct host *host, struct ksm_stats *out)
{
	const struct ksm *ksm = host->ksm;

	*out = (struct ksm_stats){ 0 };
	for (uint32_t i = 0; ksm && i < ksm->count; i++) {
		uint32_t entries = folio_mapcount(host, pfn(ksm->pages[i].frame));

		out->shared += entries > 0;
		out->sharing += entries ? entries - 1 : 0;
	}
}

/* ------------------------------------------------------------------ ranges */

static enum status advise(struct space *space, uint64_t start, uint64_t end, bool mergeable)
{
	enum status status;

	write_lock(&space->lock);
	status = vma_all(space, start, end) ? space_prepare(space, start, end) : STATUS_NOT_FOUND;
	if (status == STATUS_OK)
		vma_set_mergeable(space, start, end, mergeable);
	write_unlock(&space->lock);
	return status;
}

enum status space_merge(struct space *space, hva_t start, uint64_t bytes)
{
	enum status status = space_check_range(start, bytes);

	return status == STATUS_OK ? advise(space, start.raw, start.raw + bytes, true) : status;
}

static bool is_ksm(const struct host *host, pte_t pte)
{
	return !pte_special(pte) &&
	       atomic_read(&folio_of(host, pte_frame(pte))->flags) & FOLIO_KSM;
}

/* The first merged page at the address or above it; false: none below the end. */
static bool next_merged(struct space *space, struct walk *walk) HOLDS_SHARED(space->lock)
{
	while (walk_next(space, walk))
		if (is_ksm(space->host, walk->place.pte))
			return true;
	return false;
}

/* A copy for this entry, with the rights that its VMA has. Linux: break_ksm, FAULT_FLAG_UNSHARE. */
static enum status break_next(struct space *space, struct walk *walk, bool *more)
{
	pfn_t copy;
	enum status status = folio_alloc(space->host, ORDER_4K, &copy);

	if (status != STATUS_OK)
		return status;
	write_lock(&space->lock);
	*more = next_merged(space, walk);
	if (*more) {
		const struct vma *vma = vma_find(space, walk->start);
		pte_t leaf = pte_make_leaf(copy, LEVEL_4K, vma->protection);

		atomic_copy(pfn_to_ptr(copy), pfn_to_ptr(pte_frame(walk->place.pte)), PAGE_SIZE);
		folio_make_anon(space->host, copy, space->family, vma_page(vma, walk->start));
		leaf.bits |= PTE_OWN | PTE_D;
		page_replace(space, walk->start, walk->place, leaf, EVENT_CLEAR);
		lru_add(space->host, copy);
	}
	write_unlock(&space->lock);
	if (!*more)
		folio_put(space->host, copy);
	return STATUS_OK;
}

enum status space_unmerge(struct space *space, hva_t start, uint64_t bytes)
{
	struct walk walk = { .at = start.raw, .end = start.raw + bytes };
	enum status status = space_check_range(start, bytes);
	bool more = true;

	if (status == STATUS_OK)
		status = advise(space, walk.at, walk.end, false);
	while (status == STATUS_OK && more)
		status = break_next(space, &walk, &more);
	return status;
}
