/*
 * The lists that reclaim takes from. For mm's own files.
 *
 * Anonymous folios and files' pages are on one as long as they live, but for the moments in which
 * somebody works on them (lru_isolate). A new one waits in a small batch until lru_drain, or
 * until the batch is full: so reclaim drains before it looks. Unlike Linux's batches (struct
 * folio_batch) it holds no reference to those who wait in it: a count of references says the same
 * before and after, and a folio that is freed meanwhile is taken out at once. host->lru_lock is
 * inside all other locks.
 */
#ifndef MM_LRU_H
#define MM_LRU_H

#include "mm/host.h"

enum { LRU_BATCH_MAX = 15, LRU_CLUSTER = 32 };

/* On a list, or waiting for it. */
#define FOLIO_ON_LIST (FOLIO_LRU | FOLIO_LRU_NEW)

void lru_init(struct host *host);
/*
 * A folio's first list: FOLIO_ANON, or its file, is set, and the caller has a reference. Not for
 * pages that reclaim can't give up: KSM's, secret ones, tables. Linux: folio_add_lru.
 */
void lru_add(struct host *host, pfn_t frame);
/* Those that wait go to their lists. Linux: lru_add_drain. */
void lru_drain(struct host *host);
/* By the last put. */
void lru_remove(struct host *host, pfn_t frame);

/*
 * Off its list, so that nobody else works on it; the caller has a reference. False: it was on none.
 * Linux: folio_isolate_lru.
 */
MUST_USE bool lru_isolate(struct host *host, pfn_t frame);
/*
 * So many of the oldest of a list, isolated, each with a reference for the caller. Returns how
 * many.
 */
unsigned lru_isolate_oldest(struct host *host, enum lru list, unsigned most, struct block *out);
/*
 * Back, to the list that its flags ask for, as its newest; the reference is put. Linux:
 * folio_putback_lru.
 */
void lru_putback(struct host *host, pfn_t frame);
/* How many there are; while others come and go, a recent figure. */
static inline uint64_t lru_folios(const struct host *host, enum lru list)
{
	return atomic_read(&host->lists[list].folios);
}

/*
 * To the active list, or out of it; the second loses its mark accessed, too. The first is false
 * if the folio is on no list; it may wait for one. Linux: folio_activate, folio_deactivate.
 */
bool folio_activate(struct host *host, pfn_t frame);
void folio_deactivate(struct host *host, pfn_t frame);
/*
 * Its content is not needed any more unless it is written anew: clean, it will be freed without a
 * write. An anonymous folio that has no swap slot. Linux: folio_mark_lazyfree.
 */
void folio_mark_lazyfree(struct host *host, pfn_t frame);
/*
 * To be judged next. By the end of a writeback that reclaim waits for. Linux:
 * folio_rotate_reclaimable.
 */
void lru_rotate(struct host *host, pfn_t frame);

#endif
