/* Regions that leave the guest: out of its reach at once, taken apart without haste. */
#ifndef EPT_LEAVE_H
#define EPT_LEAVE_H

#include "ept/state.h"

/* A fault there tries again: the region will be gone, or elsewhere. */
static inline bool leave_holds(const struct ept *ept, gfn_t frame) HOLDS_SHARED(ept->lock)
{
	for (uint64_t i = 0, count = atomic_read(&ept->leaving_count); i < count; i++)
		if (frame.raw - ept->leaving[i].start.raw < ept->leaving[i].pages)
			return true;
	return false;
}

static inline bool leave_overlaps(const struct ept *ept, const struct region *region)
	HOLDS_SHARED(ept->lock)
{
	for (uint64_t i = 0, count = atomic_read(&ept->leaving_count); i < count; i++)
		if (ept->leaving[i].start.raw < region->start.raw + region->pages &&
		    region->start.raw < ept->leaving[i].start.raw + ept->leaving[i].pages)
			return true;
	return false;
}

/*
 * What leaves of the host addresses [start, end) still know about their folios has been told when
 * this returns. By whoever is about to consume it: a bracket.
 */
void leave_tell(struct ept *ept, hva_t start, hva_t end) HOLDS_SHARED(ept->lock);

#endif
