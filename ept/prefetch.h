/* The neighbours of a page that a fault has mapped. */
#ifndef EPT_PREFETCH_H
#define EPT_PREFETCH_H

#include "ept/state.h"

/*
 * The frame has got its leaf under this very lock, by a lookup that still holds: so the region is
 * the one that stands there. What else its block has is mapped now as well, or is not.
 */
void prefetch_around(struct ept *ept, const struct region *region, gfn_t frame)
	HOLDS_SHARED(ept->lock);

#endif
