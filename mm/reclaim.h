/* Getting pages back from those who use them least. For mm's own files; the rest is in mm.h. */
#ifndef MM_RECLAIM_H
#define MM_RECLAIM_H

#include "mm/lru.h"

/*
 * These folios now, however lately they were used; each comes with a reference, which is taken
 * over. Returns the pages that were freed. No lock held. Linux: reclaim_pages, for MADV_PAGEOUT.
 */
uint64_t reclaim_frames(struct host *host, const pfn_t *frames, unsigned count);

/*
 * A fault of the space found no memory: true if there may be some now; false, and a line in the
 * log that says who wanted it. No lock held. Linux: direct reclaim, and out_of_memory, which
 * would end a process.
 */
MUST_USE bool reclaim_for(struct space *space, uint64_t address);

/*
 * What has used a locked folio since this was last asked. By its first frame. Linux:
 * folio_referenced.
 */
unsigned folio_referenced(struct host *host, pfn_t frame);

/*
 * The two that frame this one by a single walk, for locked neighbours in a file, 32 at most, each
 * mapped by one entry: bit n of what it returns says that blocks[n] was used, and stays; the others
 * are mapped no more, unless they were so already. One bracket and one flush for all that lie
 * together.
 */
MUST_USE uint32_t folio_unmap_unused(const struct block *blocks, unsigned count);

/*
 * Of a locked, isolated folio of 4 KiB: takes it from all who map it. Afterwards mapcount says
 * whether it could; what was lazyfree and is written again is SWAPBACKED. Linux: try_to_unmap.
 */
void folio_try_to_unmap(struct host *host, pfn_t frame);

#endif
