/*
 * Aging: which pages the guest has used. Called by mm through notify.c, with space->lock held in
 * whichever way, while guests run and fault.
 *
 *   a CPU in the guest                     aging, ept->lock shared
 *   ------------------                     -----------------------
 *   walks, sets A, perhaps D  (locked)     takes A    (locked and-not: D stays)
 *   goes on by its translation             was A set: the answer. No mark, no flush
 *   ... loses it, walks, sets A
 *
 * A translation that a CPU keeps sets no new A (SDM "Accessed and Dirty Flags for EPT"), so a page
 * in constant use may look old until the CPU has lost it. That is an error of a statistic, and a
 * shootdown for each page and pass is its alternative. Linux: kvm_age_gfn,
 * kvm_tdp_mmu_age_gfn_range.
 *
 * Where the processor has no A, software keeps it: a leaf that loses it puts its rights aside, and
 * the next touch is a fault, which takes no lock (fast.c). To zap instead costs a host lookup and a
 * shootdown for each page and pass (S39). Linux: mark_spte_for_access_track.
 */
#include "ept/age.h"
#include "ept/change.h"
#include "ept/region.h"

enum age { AGE_TEST, AGE_CLEAR };

static bool age_part(struct ept *ept, struct region_part part, enum age what)
	HOLDS_SHARED(ept->lock)
{
	struct ept_walk walk = ept_walk_begin(ept, part.start, part.pages);
	bool young = false;

	while (ept_walk_next(&walk)) {
		if (!spte_is_leaf(walk.old) || !spte_accessed(walk.old))
			continue;
		young = true;
		if (what == AGE_CLEAR)
			(void)ept_clear_accessed(ept, walk.slot, walk.old);
	}
	return young;
}

static bool age(struct ept *ept, hva_t start, hva_t end, enum age what)
{
	bool young = false;

	read_lock(&ept->lock);
	for (unsigned i = 0; i < ept->region_count; i++) {
		struct region_part part = region_behind(&ept->regions[i], start, end);

		if (part.pages)
			young |= age_part(ept, part, what);
	}
	read_unlock(&ept->lock);
	return young;
}

bool ept_test_young(struct ept *ept, hva_t start, hva_t end)
{
	return age(ept, start, end, AGE_TEST);
}

bool ept_clear_young(struct ept *ept, hva_t start, hva_t end)
{
	return age(ept, start, end, AGE_CLEAR);
}
