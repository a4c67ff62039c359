/* Pools of large pages, inside. For mm's own files. */
#ifndef MM_HUGETLB_H
#define MM_HUGETLB_H

#include "mm/space.h"

struct pool {				/* Linux: hstate */
	struct host *host;
	unsigned level;
	uint64_t total;			/* fixed by pool_create */
	spinlock_t lock;
	/* Under lock. */
	uint32_t first;			/* of the free ones, linked by folio->next; NO_FRAME */
	uint64_t free;
	uint64_t promised;		/* to mappings that have not touched them */
};

/* By folio_put: the last reference of a pool's folio is gone. */
void pool_take_back(struct host *host, pfn_t head);
/*
 * A part of a VMA is about to be emptied, and goes: what it was promised and has not touched is
 * free.
 */
void pool_unmapped(const struct space *space, const struct vma *vma, uint64_t start, uint64_t end)
	HOLDS(space->lock);

#endif
