/*
 * The slots of swap.h, the swap cache, and the way to the store and back. Called by reclaim (out),
 * fault.c (in), and the funnel (table.c), which counts entries.
 *
 *   swapping out (reclaim.c)              a process that wants the page
 *   ------------------------              -----------------------------
 *   lock; slot; in the cache, dirty
 *   entry -> swap entry, flushed          finds the swap entry, and by it the folio in the cache
 *   clean; WRITEBACK; unlock; write       locks it, maps it: what it writes makes it dirty again
 *   lock; references, dirty: all mine?    has a reference: no
 *   out of the cache; freed               finds no folio: a new one, in the cache, read
 *
 * Linux: swap_state.c, swapfile.c, page_io.c, do_swap_page.
 */
#include "mm/fault.h"
#include "mm/file.h"
#include "mm/lru.h"
#include "mm/swap.h"
#include "mm/tlb.h"

uint32_t folio_number(const struct host *host, const struct folio *folio)
{
	if (atomic_read(&folio->flags) & FOLIO_SWAPCACHE)
		return host->swap->slot[folio->index].index;
	return folio->index;
}

/* ------------------------------------------------------------------ slots */

static uint32_t take_slot(struct swap *swap) HOLDS(swap->lock)
{
	uint32_t slot = swap->first_free;

	if (slot != NO_SLOT) {
		swap->first_free = swap->slot[slot].index;
		swap->used++;
	}
	return slot;
}

static void free_slot_if_unused(struct swap *swap, uint32_t slot) HOLDS(swap->lock)
{
	struct swap_slot *record = &swap->slot[slot];

	if (record->entries || record->frame != NO_FRAME)
		return;
	record->index = swap->first_free;
	swap->first_free = slot;
	swap->used--;
}

bool swap_has_room(struct host *host)
{
	struct swap *swap = host->swap;

	if (!swap)
		return false;
	spin_lock(&swap->lock);
	bool room = swap->first_free != NO_SLOT;

	spin_unlock(&swap->lock);
	return room;
}

bool swap_is_short(struct host *host)
{
	struct swap *swap = host->swap;

	spin_lock(&swap->lock);
	bool is_short = swap->used > swap->slots / 2;

	spin_unlock(&swap->lock);
	return is_short;
}

void swap_entry_comes(struct host *host, uint32_t slot)
{
	struct swap *swap = host->swap;

	spin_lock(&swap->lock);
	check(slot < swap->slots);
	swap->slot[slot].entries++;
	spin_unlock(&swap->lock);
}

void swap_entry_goes(struct host *host, uint32_t slot)
{
	struct swap *swap = host->swap;
	uint32_t orphan = NO_FRAME;

	spin_lock(&swap->lock);
	check(slot < swap->slots && swap->slot[slot].entries);
	if (!--swap->slot[slot].entries) {
		orphan = swap->slot[slot].frame;
		if (orphan != NO_FRAME)
			folio_get(host, pfn(orphan));
		free_slot_if_unused(swap, slot);
	}
	spin_unlock(&swap->lock);
	if (orphan != NO_FRAME) {
		swap_tidy(host, pfn(orphan));
		folio_put(host, pfn(orphan));
	}
}

/* ------------------------------------------------------------------ the cache */

/* A folio that nobody else can find, or a locked one; the reference is the cache's from now on. */
static void put_into_cache(struct swap *swap, uint32_t slot, pfn_t frame) HOLDS(swap->lock)
{
	struct folio *folio = page_folio(swap->host, frame);

	swap->slot[slot].frame = (uint32_t)frame.raw;
	swap->cached++;
	folio->index = slot;
	atomic_or(&folio->flags, FOLIO_SWAPCACHE);
}

static void take_from_cache(struct swap *swap, pfn_t frame) HOLDS(swap->lock)
{
	struct folio *folio = page_folio(swap->host, frame);
	uint32_t slot = folio->index;

	trace_step(swap->host->trace, TRACE_REMOVE_MAPPING, frame.raw, slot);
	folio->index = swap->slot[slot].index;
	atomic_and(&folio->flags, ~FOLIO_SWAPCACHE);
	swap->slot[slot].frame = NO_FRAME;
	swap->cached--;
	free_slot_if_unused(swap, slot);
}

bool swap_add(struct host *host, pfn_t frame)
{
	struct swap *swap = host->swap;
	const struct folio *folio = page_folio(host, frame);

	if (!swap)
		return false;
	spin_lock(&swap->lock);
	uint32_t slot = take_slot(swap);

	if (slot != NO_SLOT) {
		swap->slot[slot] = (struct swap_slot){ folio->family, folio->index, NO_FRAME, 0 };
		folio_get(host, frame);
		put_into_cache(swap, slot, frame);
	}
	spin_unlock(&swap->lock);
	if (slot == NO_SLOT)
		return false;
	atomic_or(&page_folio(host, frame)->flags, FOLIO_UPTODATE);
	folio_mark_dirty(host, frame);
	return true;
}

/* References first, dirty second: as of a file's page (file_remove_mapping). */
bool swap_remove_mapping(struct host *host, pfn_t frame, uint32_t references)
{
	struct swap *swap = host->swap;

	spin_lock(&swap->lock);
	bool gone = folio_freeze_clean(host, page_block(host, frame), references);

	if (gone)
		take_from_cache(swap, frame);
	spin_unlock(&swap->lock);
	return gone;
}

bool swap_forget(struct host *host, pfn_t frame)
{
	struct swap *swap = host->swap;
	const struct folio *folio = page_folio(host, frame);

	if ((atomic_read(&folio->flags) & (FOLIO_SWAPCACHE | FOLIO_WRITEBACK)) != FOLIO_SWAPCACHE)
		return false;
	spin_lock(&swap->lock);
	bool unused = !swap->slot[folio->index].entries;

	if (unused)
		take_from_cache(swap, frame);
	spin_unlock(&swap->lock);
	if (unused) {
		/* What the store had is not the page's any more. */
		folio_mark_dirty(host, frame);
		folio_put(host, frame);
	}
	return unused;
}

void swap_tidy_cached(struct host *host, pfn_t frame)
{
	const struct folio *folio = page_folio(host, frame);

	if (!(atomic_read(&folio->flags) & FOLIO_SWAPCACHE) || atomic_read(&folio->mapcount) ||
	    !folio_trylock(host, frame))
		return;
	if (!atomic_read(&folio->mapcount))
		swap_forget(host, frame);
	folio_unlock(host, frame);
}

/* ------------------------------------------------------------------ out */

/* Linux: swap_writepage, end_swap_bio_write: what can't be written stays dirty, and in memory. */
void swap_pageout(struct host *host, pfn_t frame)
{
	struct folio *folio = page_folio(host, frame);
	uint32_t slot = folio->index;

	if (swap_forget(host, frame) || !folio_clear_dirty_for_io(host, frame)) {
		folio_unlock(host, frame);
		return;
	}
	atomic_or(&folio->flags, FOLIO_WRITEBACK);
	folio_unlock(host, frame);
	if (store_transfer(host, host->swap->store, slot, pfn_to_ptr(frame), TRANSFER_OUT) !=
	    STATUS_OK)
		folio_mark_dirty(host, frame);
	if (atomic_and(&folio->flags, ~(FOLIO_WRITEBACK | FOLIO_RECLAIM)) & FOLIO_RECLAIM)
		lru_rotate(host, frame);
}

/* ------------------------------------------------------------------ in */

/* The folio in the cache, with a reference; NO_FRAME: none. */
static uint32_t find_cached(struct swap *swap, uint32_t slot)
{
	spin_lock(&swap->lock);
	uint32_t frame = swap->slot[slot].frame;

	if (frame != NO_FRAME)
		folio_get(swap->host, pfn(frame));
	spin_unlock(&swap->lock);
	return frame;
}

/*
 * A new folio, not read yet; *out is another's when that was quicker. With a reference.
 * STATUS_NOT_FOUND: no entry names the slot any more. Linux: __read_swap_cache_async.
 */
static enum status add_to_cache(struct swap *swap, uint32_t slot, uint32_t *out)
{
	struct host *host = swap->host;
	struct swap_slot *record = &swap->slot[slot];
	pfn_t frame;
	enum status status = folio_alloc(host, ORDER_4K, &frame);

	if (status != STATUS_OK)
		return status;
	spin_lock(&swap->lock);
	if (record->frame != NO_FRAME) {
		*out = record->frame;
		folio_get(host, pfn(*out));
	} else if (record->entries) {
		*out = (uint32_t)frame.raw;
		folio_make_anon(host, frame, record->family, record->index);
		folio_get(host, frame);
		put_into_cache(swap, slot, frame);
	} else {
		status = STATUS_NOT_FOUND;
	}
	spin_unlock(&swap->lock);
	if (status == STATUS_OK && *out == frame.raw)
		lru_add(host, frame);
	else
		folio_put(host, frame);
	return status;
}

static enum status read_in(struct swap *swap, uint32_t slot, pfn_t frame)
{
	struct folio *folio = page_folio(swap->host, frame);

	/* It may have left the cache while its lock was waited for. */
	if (!(atomic_read(&folio->flags) & FOLIO_SWAPCACHE) || folio->index != slot)
		return STATUS_NOT_FOUND;
	if (atomic_read(&folio->flags) & FOLIO_UPTODATE)
		return STATUS_OK;

	enum status status = store_transfer(swap->host, swap->store, slot, pfn_to_ptr(frame),
					    TRANSFER_IN);

	if (status == STATUS_OK)
		atomic_or(&folio->flags, FOLIO_UPTODATE);
	return status;
}

/*
 * The slot's folio: locked, up to date, with a reference. STATUS_NOT_FOUND: it is not the slot's
 * any more.
 */
static enum status get_folio(struct swap *swap, uint32_t slot, pfn_t *out)
{
	uint32_t frame = find_cached(swap, slot);
	enum status status = STATUS_OK;

	if (frame == NO_FRAME)
		status = add_to_cache(swap, slot, &frame);
	if (status != STATUS_OK)
		return status;
	*out = pfn(frame);
	folio_lock(swap->host, *out);
	status = read_in(swap, slot, *out);
	if (status != STATUS_OK) {
		folio_unlock(swap->host, *out);
		swap_tidy(swap->host, *out);
		folio_put(swap->host, *out);
	}
	return status;
}

/*
 * The entry's place in the slot's count goes first, so that a store by the last user of all gets
 * the page as its own, and the slot is free again. W comes only with that. Linux: do_swap_page,
 * should_try_to_free_swap.
 */
static void bring_back(struct space *space, const struct fault *fault, pfn_t frame)
	HOLDS(space->lock)
{
	struct host *host = space->host;
	struct gather gather = gather_begin(space);
	uint64_t start = fault->address & PAGE_MASK;
	pte_t swapped = table_change(space, start, fault->place, pte_migration(), CONTENT_STAYS,
				     &gather);

	/* References: ours, and the cache's. */
	if ((fault_is_write(fault) && folio_refcount(host, frame) == 2) || swap_is_short(host))
		swap_forget(host, frame);

	bool own = pte_own(swapped) || folio_refcount(host, frame) == 1;
	pte_t leaf = pte_make_leaf(frame, LEVEL_4K, own ? fault->vma.protection : PROTECTION_READ);

	leaf.bits |= (swapped.bits & PTE_SOFT) | (own ? PTE_OWN : 0);
	folio_get(host, frame);
	table_change(space, start, fault->place,
		     pte_touched(leaf, own ? fault->access : ACCESS_READ), CONTENT_STAYS, &gather);
}

enum status swap_fault(struct space *space, const struct fault *fault)
{
	struct host *host = space->host;
	pfn_t frame = pfn(NO_FRAME);
	enum status status = get_folio(host->swap, pte_swap_slot(fault->place.pte), &frame);

	/* Whoever asked walks again. */
	if (status == STATUS_NOT_FOUND)
		return STATUS_OK;
	if (status != STATUS_OK)
		return status;
	write_lock(&space->lock);
	if (fault_still(space, fault))
		bring_back(space, fault, frame);
	write_unlock(&space->lock);
	folio_unlock(host, frame);
	swap_tidy(host, frame);
	folio_put(host, frame);
	return STATUS_OK;
}
