/*
 * Faults that need no lock and do not ask the host: its leaf is there, and software alone keeps
 * the guest from storing. Called by fault.c before anything else.
 *
 *   fault                                    who takes away (ept->lock, exclusive)
 *   -----                                    -------------------------------------
 *   walk_enter                               entry changes by a locked operation
 *   reads the leaf: W is missing, MW there
 *   cmpxchg: the same leaf with W            ... then the cmpxchg fails, or it came before,
 *   note the store in the log                and what is taken is that leaf, W and all
 *   walk_leave                               walks of before are over; tables are freed
 *
 * Rights only grow, so nothing is flushed. A folio is not marked here (U2): MW says that the host
 * lets the page be written, and who has set it has marked the folio, or the policy asks the leaf's D
 * when it goes. The frame may have gone to another page meanwhile; then the leaf is another, and the
 * cmpxchg fails, or it is the same again, which is as good. Linux: fast_page_fault.
 */
#include "ept/change.h"
#include "ept/fast.h"
#include "ept/ring.h"

enum { TRIES = 5 };

/* The leaf as the access needs it, as far as software alone forbids it. */
static spte_t allowing(const struct ept *ept, spte_t old, enum access access)
{
	spte_t new = spte_restored(old);

	if (!ept->caps.accessed_dirty)
		new.bits |= SPTE_A;
	/* D is the processor's to set, where it does. */
	if (access & ACCESS_WRITE && spte_mmu_writable(old))
		new.bits |= SPTE_W | (ept->caps.accessed_dirty ? 0 : SPTE_D);
	return new;
}

/* FAULT_RETRY: the leaf changed meanwhile; FAULT_NO_HOST: it is for the slow way. */
static enum fault_result try_leaf(struct ept *ept, gfn_t frame, enum access access)
{
	unsigned level;
	spte_t old, new;
	spte_slot_t *slot = ept_find(ept, frame, &level, &old);
	struct ept_log *log = NULL;

	if (!spte_is_leaf(old))
		return FAULT_NO_HOST;
	if (spte_allows(old, access))
		return FAULT_SPURIOUS;
	new = allowing(ept, old, access);
	if (!spte_allows(new, access))
		return FAULT_NO_HOST;
	if (access & ACCESS_WRITE)
		log = log_find(ept, frame);
	/* One page is stored to, not all of the leaf: the slow way splits it. */
	if (log && level > LEVEL_4K)
		return FAULT_NO_HOST;
	if (!ept_allow(ept, slot, old, new))
		return FAULT_RETRY;
	if (log)
		log_store(ept, log, frame);
	return FAULT_FIXED;
}

enum fault_result ept_fault_fast(struct ept *ept, gfn_t frame, enum access access)
{
	enum fault_result result = FAULT_RETRY;

	walk_enter(ept);
	for (unsigned i = 0; i < TRIES && result == FAULT_RETRY; i++)
		result = try_leaf(ept, frame, access);
	walk_leave(ept);
	return result;
}
