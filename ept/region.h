/* Which part of the host's space backs which guest frames. */
#ifndef EPT_REGION_H
#define EPT_REGION_H

#include "ept/state.h"

/* What four levels of tables can translate. */
#define GUEST_FRAMES (UINT64_C(1) << (48 - PAGE_SHIFT))

/* NULL: nothing stands there. */
const struct region *region_find(const struct ept *ept, gfn_t frame) HOLDS_SHARED(ept->lock);

/* Whether another has some of its place, or has not left it yet. */
bool region_overlaps(const struct ept *ept, const struct region *region) HOLDS_SHARED(ept->lock);

/* As ept_region_add, of a backing that was judged. */
MUST_USE enum status region_insert(struct ept *ept, const struct region *region);

/* In the space that it is in, or the memfd. */
bool region_is_sound(const struct region *region);
/* Puts it among the others. STATUS_EXISTS, STATUS_LIMIT. */
MUST_USE enum status region_place(struct ept *ept, const struct region *region) HOLDS(ept->lock);
/* And takes it from there. STATUS_NOT_FOUND unless one starts at `start`. Nothing is unmapped. */
MUST_USE enum status region_take(struct ept *ept, gfn_t start, struct region *region)
	HOLDS(ept->lock);
/*
 * ept->lock exclusively, at a moment when no bracket is open: one that is was told of the regions
 * as they are (U23). Linux: kvm_swap_active_memslots, which waits for mn_active_invalidate_count.
 */
void region_lock_between_brackets(struct ept *ept) TAKES(ept->lock) NOT_CHECKED;

static inline hva_t region_hva(const struct region *region, gfn_t frame)
{
	return hva_add(region->backing, (frame.raw - region->start.raw) << PAGE_SHIFT);
}

/*
 * The part of the region that host addresses [start, end) back: its first guest frame and its
 * pages. No pages: none of it.
 */
struct region_part { gfn_t start; uint64_t pages; };
struct region_part region_behind(const struct region *region, hva_t start, hva_t end);

/* The largest leaf that may translate the frame: inside the region, aligned on both sides. */
unsigned region_level(const struct region *region, gfn_t frame, unsigned most);

#endif
