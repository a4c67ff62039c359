/* When a folio learns what a guest has done to it. For ept's own files. */
#ifndef EPT_POLICY_H
#define EPT_POLICY_H

#include "ept/flush.h"

extern const struct policy {
	uint64_t made;			/* flags that are passed on when a leaf is made */
	uint64_t taken;			/* when they leave one */
	bool by_range;			/* and then once for a folio and a range of leaves */
	unsigned lookup;
} policies[EPT_POLICIES];

static inline const struct policy *policy_of(const struct ept *ept)
{
	return &policies[ept->policy];
}

/* How the host is asked for a page (mm.h, enum lookup_flags). */
static inline unsigned policy_lookup_flags(const struct ept *ept) { return policy_of(ept)->lookup; }
/* Whether a leaf may be written: the page allows it, and by policy PTE is dirty as well. */
static inline bool policy_allows_writes(const struct ept *ept, const struct mm_page *page)
{
	return page->writable && (page->dirty || !(policy_of(ept)->lookup & LOOKUP_TOUCH));
}
/* A folio must be dirty as long as a leaf may be written, as no one else will say so. */
bool policy_marks_first(const struct ept *ept);

/*
 * The folio behind the leaf, which has one, is marked by these, of SPTE_A and SPTE_D; 0: by none.
 */
void policy_mark(struct ept *ept, spte_t leaf, uint64_t marks) HOLDS_SHARED(ept->lock);
/*
 * What a fault means for the folio behind the page that was looked up: `leaf` is what the lookup
 * allows, and stands there now, or another that was found does. A page without a folio is nobody's
 * to mark. Only under a policy that marks when it maps.
 */
static inline void policy_mapped(struct ept *ept, spte_t leaf, const struct mm_page *page)
	HOLDS_SHARED(ept->lock)
{
	/*
	 * Dirty even if W is not given now: it may be given
	 * back without asking (SPTE_MMU_WRITABLE).
	 */
	uint64_t written = spte_host_writable(leaf) ? SPTE_D : 0;

	if (page->refcounted)
		policy_mark(ept, leaf, policy_of(ept)->made & (SPTE_A | written));
}
/* These flags of a leaf are passed on to the folio behind it, if there is one. By policy_taken. */
void policy_pass_on(struct ept *ept, spte_t leaf, uint64_t marks, struct flush_batch *batch)
	HOLDS_SHARED(ept->lock);
/*
 * `bits` of those that the leaf had are gone from it, which nobody else can have taken. What it
 * means for the folio is done when this returns. Most leaves mean nothing: that is seen here.
 */
static inline void policy_taken(struct ept *ept, spte_t leaf, uint64_t bits,
				struct flush_batch *batch) HOLDS_SHARED(ept->lock)
{
	uint64_t marks = leaf.bits & bits & policy_of(ept)->taken;

	/* Where bits is W, and a constant, the compiler sees that there is nothing to do. */
	if (bits & (SPTE_A | SPTE_D) && marks)
		policy_pass_on(ept, leaf, marks, batch);
}
#endif
