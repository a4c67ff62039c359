/*
 * THE FUNNEL. Each change of an entry comes through here as an old and a new value, and what
 * follows from it is decided here: counts, marks on the folio, the debt of a flush, tables to
 * free. Called by map.c (shared lock, from empty only) and by all who take away (exclusive lock).
 * Linux: handle_changed_spte.
 *
 * When a folio is marked is the policy's affair; each is early enough for a reason of its own
 * (S49):
 *
 * - MAP, when the entry is created: the lookup behind it still holds, since ept->lock is held, no
 *   bracket speaks against it (fault.c), and a bracket can't begin without the lock. So the folio is
 *   live, and nobody who consumes dirtiness (they do it inside a bracket) has done so between lookup
 *   and mark. Outside the lock the mark could come after a writeback's decision and be lost.
 * - ZAP, when a flag leaves an entry: in a bracket that is before its start returns, so before
 * anybody
 *   consumes, and outside of brackets under ept->lock, for which the next start waits. A CPU that
 *   stores by an old translation until the flush has set D before: no entry has W without D.
 */
#include "ept/change.h"

/* The flags that are passed on when a leaf is made, and when they leave one. */
static const struct { uint64_t map, zap; } policies[] = {
	[EPT_POLICY_MAP] = { .map = SPTE_A | SPTE_D },
	[EPT_POLICY_ZAP] = { .zap = SPTE_A | SPTE_D },
};

void ept_propagate_map(struct ept *ept, spte_t leaf, const struct mm_page *page)
{
	uint64_t marks = policies[ept->policy].map;

	if (!page->refcounted)
		return;
	/* Even if W is not given now: it may be given back without asking (SPTE_MMU_WRITABLE). */
	if (marks & SPTE_D && spte_host_writable(leaf))
		folio_mark_dirty(ept->host, spte_frame(leaf));
	if (marks & SPTE_A)
		folio_mark_accessed(ept->host, spte_frame(leaf));
}

/*
 * `taken` of the flags that the leaf had are gone from it, by the exchange that has shown them. An
 * entry doesn't say whether it has a folio behind it (S7); its frame does, and what is mapped lives
 * until the host has been told (I1). Where A and D are off, software's own say as much: each leaf
 * was used, and each that has W was written. Linux, before 6.13: handle_changed_spte_dirty_log,
 * kvm_set_pfn_dirty.
 */
static void propagate_taken(struct ept *ept, spte_t leaf, uint64_t taken) HOLDS(ept->lock)
{
	uint64_t marks = leaf.bits & taken & policies[ept->policy].zap;

	if (!marks || !folio_is_mapped(ept->host, spte_frame(leaf)))
		return;
	if (marks & SPTE_D)
		folio_mark_dirty(ept->host, spte_frame(leaf));
	if (marks & SPTE_A)
		folio_mark_accessed(ept->host, spte_frame(leaf));
}

bool ept_fill_entry(struct ept *ept, spte_slot_t *slot, unsigned level, spte_t new, spte_t *found)
{
	*found = spte_empty();
	if (!slot_cmpxchg(slot, found, new))
		return false;
	if (spte_is_leaf(new))
		ept_count(ept, COUNT_MAPPED_4K + level - LEVEL_4K, 1);
	else
		ept_count(ept, COUNT_TABLES_ALLOCATED, 1);
	return true;
}

bool ept_clear_accessed(struct ept *ept, spte_slot_t *slot)
{
	(void)ept;
	return spte_accessed(slot_and_not(slot, SPTE_A));
}

bool ept_grow_entry(struct ept *ept, spte_slot_t *slot, spte_t new, spte_t *found)
{
	if (!slot_cmpxchg(slot, found, new))
		return false;
	ept_count(ept, COUNT_MADE_WRITABLE, 1);
	return true;
}

static void empty_table(struct ept *ept, pfn_t table, unsigned level, struct flush_batch *batch)
	HOLDS(ept->lock);

static inline void empty_entry(struct ept *ept, spte_slot_t *slot, unsigned level,
			       struct flush_batch *batch) HOLDS(ept->lock)
{
	spte_t old = slot_xchg(slot, spte_empty());

	batch->owed = true;
	if (spte_is_table(old)) {
		empty_table(ept, spte_frame(old), level - 1, batch);
	} else {
		batch->zapped[level - 1]++;
		propagate_taken(ept, old, SPTE_A | SPTE_D);
	}
}

/*
 * The table is out of the tree, but processors that have its address in a paging-structure cache
 * still walk it, and still set A and D: so its entries go by exchange as well.
 */
static void empty_table(struct ept *ept, pfn_t table, unsigned level, struct flush_batch *batch)
{
	spte_slot_t *slots = table_slots(table);

	for (unsigned i = 0; i < EPT_ENTRIES; i++)
		if (spte_present(slot_read(&slots[i])))
			empty_entry(ept, &slots[i], level, batch);
	flush_add_table(batch, table);
}

struct flush_batch ept_zap_range(struct ept *ept, gfn_t start, uint64_t pages, enum zap what,
				 struct flush_batch batch)
{
	struct ept_walk walk = ept_walk_begin(ept, start, pages);

	while (ept_walk_next(&walk)) {
		bool whole_table = what == ZAP_TABLES && spte_is_table(walk.old) &&
				   ept_walk_covers(&walk);

		if (spte_is_leaf(walk.old) || whole_table) {
			empty_entry(ept, walk.slot, walk.level, &batch);
			walk.old = spte_empty();
		}
	}
	return batch;
}

bool ept_change_leaf(struct ept *ept, gfn_t frame, spte_t new, struct flush_batch *batch)
{
	struct ept_walk walk = ept_walk_begin(ept, frame, 1);
	spte_t found;

	while (ept_walk_next(&walk)) {
		if (!spte_is_leaf(walk.old))
			continue;
		empty_entry(ept, walk.slot, walk.level, batch);
		/* A larger one has outlived its primary leaf, which was split without a word. */
		if (spte_present(new) && walk.level == LEVEL_4K)
			check(ept_fill_entry(ept, walk.slot, walk.level, new, &found));
		return true;
	}
	return false;
}

/*
 * Host-writable goes with W, so that a fault can't give W back by itself. Bits are taken away, not
 * a value put in: the processor may be setting A.
 */
struct flush_batch ept_protect_range(struct ept *ept, gfn_t start, uint64_t pages,
				     struct flush_batch batch)
{
	struct ept_walk walk = ept_walk_begin(ept, start, pages);

	while (ept_walk_next(&walk)) {
		if (!spte_is_leaf(walk.old) || !spte_host_writable(walk.old))
			continue;
		spte_t old = slot_and_not(walk.slot, SPTE_WRITE_BITS);

		propagate_taken(ept, old, SPTE_WRITE_BITS);
		ept_count(ept, COUNT_MADE_READ_ONLY, 1);
		batch.owed = true;
	}
	return batch;
}
