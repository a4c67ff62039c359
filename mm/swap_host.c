/* Swap of a host: begun, ended, and checked. Called by boot, a test, host_verify. */
#include "mm/lru.h"
#include "mm/swap.h"

enum status host_swap_on(struct host *host, struct store *store, uint64_t pages)
{
	uint64_t bytes = sizeof(struct swap) + pages * sizeof(struct swap_slot);
	pfn_t frame;

	if (host->swap)
		return STATUS_EXISTS;
	if (!pages || pages >= NO_SLOT)
		return STATUS_BAD_RANGE;
	enum status status = folio_alloc_zeroed(host, bytes_order(bytes), &frame);

	if (status != STATUS_OK)
		return status;

	struct swap *swap = pfn_to_ptr(frame);

	swap->host = host;
	swap->store = store;
	swap->slots = (uint32_t)pages;
	for (uint32_t slot = 0; slot < swap->slots; slot++) {
		swap->slot[slot].frame = NO_FRAME;
		swap->slot[slot].index = slot + 1 < swap->slots ? slot + 1 : NO_SLOT;
	}
	host->swap = swap;
	return STATUS_OK;
}

/* The first slot from `from` on that has a folio, with a reference; NO_FRAME: none has. */
static uint32_t next_cached(struct swap *swap, uint32_t *from)
{
	uint32_t frame = NO_FRAME;

	spin_lock(&swap->lock);
	for (; *from < swap->slots && frame == NO_FRAME; ++*from)
		frame = swap->slot[*from].frame;
	if (frame != NO_FRAME)
		folio_get(swap->host, pfn(frame));
	spin_unlock(&swap->lock);
	return frame;
}

/* Linux: swapoff, but for try_to_unuse: here pages that are only in the store stay there. */
enum status host_swap_off(struct host *host)
{
	struct swap *swap = host->swap;
	uint32_t at = 0, frame;

	if (!swap)
		return STATUS_NOT_FOUND;
	while ((frame = next_cached(swap, &at)) != NO_FRAME) {
		folio_lock(host, pfn(frame));
		await(!(atomic_read(&page_folio(host, pfn(frame))->flags) & FOLIO_WRITEBACK));
		swap_forget(host, pfn(frame));
		folio_unlock(host, pfn(frame));
		folio_put(host, pfn(frame));
	}
	if (swap->used)
		return STATUS_EXISTS;
	host->swap = NULL;
	folio_put(host, ptr_to_pfn(swap));
	return STATUS_OK;
}

void host_read_swap(struct host *host, struct swap_stats *out)
{
	struct swap *swap = host->swap;

	*out = (struct swap_stats){ 0 };
	if (!swap)
		return;
	spin_lock(&swap->lock);
	out->slots = swap->slots;
	out->used = swap->used;
	out->cached = swap->cached;
	spin_unlock(&swap->lock);
}

/* ------------------------------------------------------------------ the rules */

static void check_cached(const struct swap *swap, uint32_t slot) HOLDS(swap->lock)
{
	const struct swap_slot *record = &swap->slot[slot];
	const struct folio *folio = page_folio(swap->host, pfn(record->frame));
	uint32_t flags = folio ? atomic_read(&folio->flags) : 0;

	check((flags & (FOLIO_USED | FOLIO_ANON | FOLIO_SWAPCACHE)) ==
	      (FOLIO_USED | FOLIO_ANON | FOLIO_SWAPCACHE));
	check(!(flags & FOLIO_ORDER));
	check(folio->index == slot && folio->family == record->family);
}

void swap_verify(struct host *host)
{
	struct swap *swap = host->swap;
	uint32_t in_use = 0, cached = 0, free_slots = 0;

	if (!swap)
		return;
	spin_lock(&swap->lock);
	for (uint32_t slot = 0; slot < swap->slots; slot++) {
		in_use += swap->slot[slot].entries || swap->slot[slot].frame != NO_FRAME;
		if (swap->slot[slot].frame == NO_FRAME)
			continue;
		cached++;
		check_cached(swap, slot);
	}
	for (uint32_t slot = swap->first_free; slot != NO_SLOT; slot = swap->slot[slot].index) {
		check(slot < swap->slots && !swap->slot[slot].entries);
		check(++free_slots <= swap->slots);
	}
	check(in_use == swap->used && cached == swap->cached);
	check(free_slots + swap->used == swap->slots);
	spin_unlock(&swap->lock);
}

void swap_verify_entry(struct host *host, uint32_t slot, uint32_t family, uint64_t index)
{
	struct swap *swap = host->swap;

	spin_lock(&swap->lock);
	check(slot < swap->slots && swap->slot[slot].entries);
	check(swap->slot[slot].family == family && swap->slot[slot].index == (uint32_t)index);
	spin_unlock(&swap->lock);
}
