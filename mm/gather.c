/*
 * Frames whose entries are gone, on their way to the allocator. Called under space->lock, inside
 * the bracket that announced the change. gather_finish is the one place where frames and tables
 * that a primary entry named are given up: after the flush, when neither a process's CPU nor a
 * lockless walk can be using them. Linux: mm/mmu_gather.c.
 */
#include "mm/swap.h"
#include "mm/tlb.h"

void gather_flush(struct gather *gather, uint64_t address)
{
	if (!gather->flushed)
		tlb_flush(gather->space, address);
	gather->flushed = true;
}

void gather_finish(struct gather *gather)
{
	struct host *host = gather->space->host;

	gather_flush(gather, 0);
	for (unsigned i = 0; i < gather->count; i++) {
		pfn_t head = pfn(gather->folios[i].frame);

		/* Its slot, which has a reference, goes with its last user. */
		swap_tidy(host, head);
		folio_put_block(host, (struct block){ page_known(host, head), head },
				gather->folios[i].references);
	}
	gather->count = 0;
}
