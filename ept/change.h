/* The funnel: the only ways in which an entry that a processor can reach is changed. */
#ifndef EPT_CHANGE_H
#define EPT_CHANGE_H

#include "ept/flush.h"
#include "ept/walk.h"

/*
 * Fills an empty entry, or one that says that nothing is there (mmio.h). False when something else
 * stands there, which is then in *found. A table that was not linked stays the caller's.
 */
MUST_USE static inline bool ept_fill_entry(struct ept *ept, spte_slot_t *slot, unsigned level,
					   spte_t new, spte_t *found) HOLDS_SHARED(ept->lock)
{
	*found = spte_empty();
	while (!slot_cmpxchg(slot, found, new))
		if (!spte_is_mmio(*found))
			return false;
	if (spte_is_leaf(new))
		ept_count(ept, COUNT_MAPPED_4K + level - LEVEL_4K, 1);
	else if (spte_is_table(new))
		ept_count(ept, COUNT_TABLES_ALLOCATED, 1);
	return true;
}

/*
 * Empties one that says that nothing is there, unless it has
 * changed. As ept_allow, without ept->lock.
 */
static inline void ept_forget_mmio(spte_slot_t *slot, spte_t old)
{
	(void)slot_cmpxchg(slot, &old, spte_empty());
}

enum zap { ZAP_LEAVES, ZAP_TABLES };

/*
 * Empties what translates the range, adding to the debt: every leaf that has a frame of it (all of
 * a large leaf, though part of it lie outside) and, for ZAP_TABLES, with the lock held exclusively,
 * every table that has nothing else. Nobody else takes these leaves meanwhile (notify.c).
 */
MUST_USE struct flush_batch ept_zap_range(struct ept *ept, gfn_t start, uint64_t pages,
					  enum zap what, struct flush_batch batch)
	HOLDS_SHARED(ept->lock);

/*
 * The same for all of a region that leaves, whose tables are only put out of use: what is in them
 * stays until it is taken apart. As many steps as there are entries at the top, not as there are
 * leaves.
 */
MUST_USE struct flush_batch ept_detach_range(struct ept *ept, gfn_t start, uint64_t pages,
					     struct flush_batch batch) HOLDS(ept->lock);
/*
 * What the slot has, out of use and no processor's any more: a leaf, a table of leaves, or nothing
 * since somebody else took it. On return whatever it had to tell has been told, and it is empty.
 */
void ept_take_dead(struct ept *ept, spte_slot_t *slot, unsigned level, struct flush_batch *batch)
	HOLDS_SHARED(ept->lock);

/*
 * The leaf that maps the frame goes, and `new` of 4 KiB, that only reads, comes in its place,
 * if it is no larger one and `new` not empty. False: none was there. The old one is exchanged
 * for nothing first, so no present leaf changes its frame (U8), and the debt is a zap's. Linux,
 * before 6.10: kvm_tdp_mmu_set_spte_gfn.
 */
MUST_USE bool ept_change_leaf(struct ept *ept, gfn_t frame, spte_t new, struct flush_batch *batch)
	HOLDS(ept->lock);

/*
 * Takes A from the leaf, which the processor sets again when it next walks there, or the next
 * fault, where software keeps A, as `leaf` says, read before: then its rights are put aside
 * (spte_track). True: it was set. No mark, no flush (U4, U27, U36). A D that comes meanwhile stays.
 */
bool ept_clear_accessed(struct ept *ept, spte_slot_t *slot, spte_t leaf)
	HOLDS_SHARED(ept->lock);
/*
 * Every leaf that has a frame of the range and may be written stays, read-only: the next store asks
 * the host.
 */
MUST_USE struct flush_batch ept_protect_range(struct ept *ept, gfn_t start, uint64_t pages,
					      struct flush_batch batch) HOLDS_SHARED(ept->lock);
/*
 * A leaf in place of one that it adds W to (spte_adds_write). No flush: a processor that knows the
 * old one faults once more at most. False: something else stands there by now, in *found.
 */
MUST_USE bool ept_grow_entry(struct ept *ept, spte_slot_t *slot, spte_t new, spte_t *found)
	HOLDS_SHARED(ept->lock);

/*
 * In place of the leaf `old` one that has rights besides, which only software kept from it. No
 * flush, no mark. False: something else stands there by now. Without ept->lock: between walk_enter
 * and walk_leave.
 */
MUST_USE static inline bool ept_allow(struct ept_cpu *cpu, spte_slot_t *slot, spte_t old,
				      spte_t new)
{
	if (!slot_cmpxchg(slot, &old, new))
		return false;
	ept_count_on(cpu, COUNT_FAST, 1);
	if (spte_writable(new) && !spte_writable(old))
		ept_count_on(cpu, COUNT_MADE_WRITABLE, 1);
	return true;
}
/*
 * For a dirty log: W or D, one of them, goes from leaves that stay; owed, if it was there. Of the
 * entries from `slots` on in one table, the nth if `which` has bit n. One that is no leaf has none.
 */
void ept_take_many(struct ept *ept, spte_slot_t *slots, uint64_t which, uint64_t bit,
		   struct flush_batch *batch) HOLDS(ept->lock);
static inline void ept_take_bits(struct ept *ept, spte_slot_t *slot, uint64_t bit,
				 struct flush_batch *batch) HOLDS(ept->lock)
{
	ept_take_many(ept, slot, 1, bit, batch);
}
/*
 * One large leaf becomes a table of 512 leaves that translate alike, but that those have not the
 * bits `less` of what it has: owed, if it has them. False: no memory for the table. Linux:
 * tdp_mmu_split_huge_page.
 */
MUST_USE bool ept_split_leaf(struct ept *ept, spte_slot_t *slot, unsigned level, uint64_t less,
			     struct flush_batch *batch) HOLDS(ept->lock);
/*
 * And back: the table in the slot, whose leaves name parts of the page at `frame` alone, becomes
 * one leaf of that level, with what they have between them, and W where MW is. `start` is the first
 * guest frame. False: it has no leaves, or tables. Linux: kvm_tdp_mmu_try_split_huge_pages's
 * reverse, recover_huge_pages_range.
 */
MUST_USE bool ept_join_leaves(struct ept *ept, spte_slot_t *slot, gfn_t start, unsigned level,
			      pfn_t frame, struct flush_batch *batch) HOLDS(ept->lock);

#endif
