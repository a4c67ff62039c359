/*
 * Frames whose entries are gone, on their way to the allocator. Called under space->lock, inside
 * the bracket that announced the change. gather_finish is the one place where frames and tables
 * that a primary entry named are given up: what has to come between the entry's end and that (a
 * flush of the processes' TLBs, the end of lockless walks) belongs here. Nothing of the kind
 * exists: no CPU runs on these tables and every walk holds the lock. Linux: mm/mmu_gather.c.
 */
#include "mm/space.h"

void gather_add(struct gather *gather, pfn_t frame)
{
	uint32_t head = (uint32_t)page_head(gather->host, frame).raw;

	/* Leaves of one folio come one after the other. */
	if (gather->count && gather->folios[gather->count - 1].frame == head) {
		gather->folios[gather->count - 1].references++;
		return;
	}
	if (gather->count == GATHER_MAX)
		gather_finish(gather);
	gather->folios[gather->count].frame = head;
	gather->folios[gather->count].references = 1;
	gather->count++;
}

void gather_finish(struct gather *gather)
{
	for (unsigned i = 0; i < gather->count; i++)
		folio_put_many(gather->host, pfn(gather->folios[i].frame),
			       gather->folios[i].references);
	gather->count = 0;
}
