/*
 * Swap: where anonymous pages are when they are not in memory. For mm's own files and tests.
 *
 * A slot is a page of the swap's store. It is in use while entries name it (pte_swap), or while a
 * folio holds what belongs there: the swap cache, so that whoever comes for the page finds one
 * folio for all. Such a folio has FOLIO_SWAPCACHE, its `index` is the slot, and the slot's record
 * keeps the number that it had; that changes only under the folio's lock. A folio of 4 KiB
 * always: larger ones are not swapped.
 *
 *	entries > 0, no folio		the content is in the store
 *	entries > 0, a folio		just swapped out, or swapped in by one of several; clean:
 *					the content is in both
 *	no entry, a folio		all have it back: the slot waits to be used again, or to be
 *					given up
 *
 * Linux: swap_info_struct, swap_map, swap_state.c. The exclusive bit of an entry is PTE_OWN here,
 * too.
 */
#ifndef MM_SWAP_H
#define MM_SWAP_H

#include "mm/host.h"

struct fault;
struct space;

struct swap_slot {
	uint32_t family, index;		/* the page's (struct folio); free: index is the next one */
	uint32_t frame;			/* the swap cache's, or NO_FRAME */
	uint32_t entries;		/* that name the slot: Linux, swap_count */
};

struct swap {
	struct host *host;
	struct store *store;
	uint32_t slots;
	spinlock_t lock;		/* a leaf lock */
	/* Under lock. A folio in the cache has a reference for it. */
	uint32_t used, cached;
	uint32_t first_free;		/* NO_SLOT: none */
	struct swap_slot slot[];
};

#define NO_SLOT UINT32_MAX

/* What an anonymous folio is called in its family. Folio locked, or alone known to the caller. */
uint32_t folio_number(const struct host *host, const struct folio *folio);

/* Whether there is room for a page more. */
bool swap_has_room(struct host *host);
/*
 * More than half is in use: a slot is not kept for a page that is in memory. Linux: vm_swap_full.
 */
bool swap_is_short(struct host *host);
/*
 * Gives a locked folio a slot. It is dirty then: its entries, which know whether it is, will soon
 * be gone. False: there is none. Linux: add_to_swap.
 */
MUST_USE bool swap_add(struct host *host, pfn_t frame);
/*
 * A locked folio that no entry maps: written if it is dirty, and unlocked. Linux: pageout,
 * swap_writepage.
 */
void swap_pageout(struct host *host, pfn_t frame);
/*
 * A locked folio, clean, leaves the cache for good, its references (so many, the cache's among
 * them) all gone: the caller frees it. False: it is somebody's, or dirty. Linux:
 * __remove_mapping.
 */
MUST_USE bool swap_remove_mapping(struct host *host, pfn_t frame, uint32_t references);
/*
 * A locked folio keeps its content and gives its slot up, and the cache's reference, if no entry
 * needs it and it is not being written. Linux: folio_free_swap.
 */
bool swap_forget(struct host *host, pfn_t frame);
/*
 * The same, if nobody maps the folio either and its lock is to be had: for who has just unlocked
 * it, or given up an entry of it, and has a reference. So none is left behind in the cache
 * without users. Linux: free_swap_cache.
 */
void swap_tidy_cached(struct host *host, pfn_t frame);
static inline void swap_tidy(struct host *host, pfn_t frame)
{
	if (atomic_read(&page_known(host, frame)->flags) & FOLIO_SWAPCACHE)
		swap_tidy_cached(host, frame);
}

/* By the funnel, for each entry that names a slot. Linux: swap_duplicate, free_swap_and_cache. */
void swap_entry_comes(struct host *host, uint32_t slot);
void swap_entry_goes(struct host *host, uint32_t slot);

/* Where a swap entry stands. Linux: do_swap_page. */
MUST_USE enum status swap_fault(struct space *space, const struct fault *fault);

/* Panics at the first broken rule. */
void swap_verify(struct host *host);
/* The record of a slot that an entry names agrees with it. */
void swap_verify_entry(struct host *host, uint32_t slot, uint32_t family, uint64_t index);

#endif
