/*
 * Neighbours: who touches a page will touch those beside it, and a lookup costs less than a fault.
 * Called by fault.c with a leaf that it has just installed, ept->lock still held, shared.
 *
 *   prefetch                                 mm, in a bracket
 *   --------                                 ----------------
 *   (ept->lock, shared, since the fault's    start: waits for the lock, then brackets++, zaps
 *   own leaf was judged)                     primary entries change
 *   a bracket open over the block: nothing   end: brackets--
 *   empty entry: lookup, fill by cmpxchg
 *   folio dirty
 *
 * The order is the reverse of a fault's, which looks up first and asks afterwards whether that
 * holds: here no bracket is open over the block, none can begin before the unlock, and so what a
 * lookup finds stays true until the leaf is in, where its zap will find it. Such a lookup must take
 * no lock and wait for nobody, since who has space->lock may be waiting for ours: mm_lookup_now.
 *
 * Only what may be written is taken (U3): a read-only leaf would cost another fault with the first
 * store; by policy PTE an entry that is clean or old doesn't answer (S25). What is taken counts as
 * written, as any leaf with W does, and is marked so by the policies that mark first: nobody asks
 * again before the guest stores there. As accessed it is marked by none of them (S5): A is clear,
 * or the rights are put aside, and aging, or the leaf's end, tells whether it was used. Linux:
 * direct_pte_prefetch, kvm_mmu_prefetch_sptes; it marks accessed as well.
 */
#include "ept/change.h"
#include "ept/log.h"
#include "ept/notify.h"
#include "ept/policy.h"
#include "ept/prefetch.h"
#include "ept/region.h"

static void prefetch_one(struct ept *ept, spte_slot_t *slot, hva_t address)
	HOLDS_SHARED(ept->lock)
{
	struct mm_page page;
	spte_t found;

	/*
	 * A memfd's page is at no address of the space. What has no folio is left to a fault:
	 * nobody could be told that it is dirty.
	 */
	if (!mm_lookup_now(ept->space, address, ACCESS_WRITE, policy_lookup_flags(ept), &page) ||
	    !page.refcounted)
		return;
	if (!ept_fill_entry(ept, slot, LEVEL_4K, spte_make_prefetched(page.frame, ept->ad), &found))
		return;
	if (policy_marks_first(ept))
		folio_mark_dirty(ept->host, page.frame);
	ept_count(ept, COUNT_PREFETCHED, 1);
}

void prefetch_around(struct ept *ept, const struct region *region, gfn_t frame)
{
	/* What both the block and the region have. */
	uint64_t block = frame.raw & ~((uint64_t)ept->prefetch - 1);
	uint64_t region_end = region->start.raw + region->pages;
	uint64_t start = block > region->start.raw ? block : region->start.raw;
	uint64_t end = block + ept->prefetch < region_end ? block + ept->prefetch : region_end;
	hva_t address = region_hva(region, gfn(start));

	if (region->rights == REGION_READ_ONLY)
		return;
	/* A store by a leaf that has W would be in no log. */
	if (log_find(ept, frame))
		return;
	if (notify_busy(ept, address, hva_add(address, (end - start) << PAGE_SHIFT)))
		return;

	struct ept_walk walk = ept_walk_begin(ept, gfn(start), end - start);

	while (ept_walk_next(&walk))
		if (walk.level == LEVEL_4K && !spte_present(walk.old))
			prefetch_one(ept, walk.slot, region_hva(region, ept_walk_start(&walk)));
}
