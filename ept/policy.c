/*
 * Policies: when the folio behind a leaf is marked dirty and accessed. Called by fault.c and by the
 * funnel, which know nothing of which policy it is.
 *
 * Each is early enough for a reason of its own (S49):
 *
 * - what is marked when a leaf is made: the lookup behind it still holds, since ept->lock is held,
 *   no bracket speaks against it (fault.c), and a bracket can't begin without the lock. So the
 *   folio is live, and nobody who consumes dirtiness (they do it inside a bracket) has done so
 *   between lookup and mark. Outside the lock the mark could come after a writeback's decision and
 *   be lost.
 * - what is marked when a flag leaves a leaf: in a bracket that is before its start returns, so
 *   before anybody consumes, and outside of brackets under ept->lock, for which the next start
 *   waits. A CPU that stores by an old translation until the flush has set D before.
 * - what is never marked: no leaf may be written unless the primary entry is dirty, which a lookup
 *   to write has seen to, and who cleans it says so first, in a bracket. So the store is mm's own
 *   to know (S52).
 */
#include "ept/policy.h"

const struct policy policies[EPT_POLICIES] = {
	[EPT_POLICY_MAP] = { .made = SPTE_A | SPTE_D },
	[EPT_POLICY_ZAP] = { .taken = SPTE_A | SPTE_D },
	[EPT_POLICY_RFC] = { .made = SPTE_D, .taken = SPTE_A },
	[EPT_POLICY_BATCH] = { .taken = SPTE_A | SPTE_D, .by_range = true },
	[EPT_POLICY_PTE] = { .lookup = LOOKUP_TOUCH },
};

bool policy_marks_first(const struct ept *ept) { return policy_of(ept)->made & SPTE_D; }

void policy_mark(struct ept *ept, spte_t leaf, uint64_t marks)
{
	pfn_t frame = spte_frame(leaf);

	if (marks == (SPTE_A | SPTE_D))
		folio_mark_stored(ept->host, frame);
	else if (marks & SPTE_D)
		folio_mark_dirty(ept->host, frame);
	else if (marks & SPTE_A)
		folio_mark_accessed(ept->host, frame);
}

/*
 * An entry doesn't say whether it has a folio behind it (S7); its frame does, and what is mapped
 * lives until the host has been told (I1). Where A and D are off, software's own say as much: each
 * leaf was used, and each that has W was written. Linux, before 6.13:
 * handle_changed_spte_dirty_log, kvm_set_pfn_dirty.
 */
void policy_pass_on(struct ept *ept, spte_t leaf, uint64_t marks, struct flush_batch *batch)
{
	if (!folio_is_mapped(ept->host, spte_frame(leaf)))
		return;
	if (!policy_of(ept)->by_range) {
		policy_mark(ept, leaf, marks);
		return;
	}
	/*
	 * By its first leaf that has the flag: whoever waits
	 * for this leaf need not wait for the last.
	 */
	pfn_t head = folio_head(ept->host, spte_frame(leaf));

	if (batch->marked.raw != head.raw)
		batch->marks = 0;
	batch->marked = head;
	policy_mark(ept, leaf, marks & ~batch->marks);
	batch->marks |= marks;
}
