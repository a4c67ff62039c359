/*
 * Every fault begins here. Those that need no lock and do not ask the host end here, too: the leaf
 * is there, and software alone keeps the guest from storing. Called by the CPU side outside the
 * guest.
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
 * lets the page be written, and who has set it has marked the folio, or the policy asks the leaf's
 * D when it goes. The frame may have gone to another page meanwhile; then the leaf is another, and
 * the cmpxchg fails, or it is the same again, which is as good. Linux: fast_page_fault.
 */
#include "ept/change.h"
#include "ept/fault.h"
#include "ept/ring.h"

enum { TRIES = 5 };		/* with a way down of their own */

/* The rights that a store may have besides, where nobody here write-protects the leaf. */
static inline uint64_t given(spte_t old, enum access access, uint64_t bits)
{
	return access & ACCESS_WRITE && spte_mmu_writable(old) ? bits : 0;
}

/* Where software keeps A and D any right may be missing, and both are set here. */
static inline spte_t allowing_all(spte_t old, enum access access)
{
	return (spte_t){ spte_restored(old).bits | SPTE_A | given(old, access, SPTE_W | SPTE_D) };
}

/*
 * The leaf as the access needs it, as far as software alone forbids it. Where the processor has A
 * and D no right but W is ever missing, and D is the processor's to set.
 */
static inline spte_t allowing(spte_t old, enum access access)
{
	if (spte_soft_ad(old))
		return allowing_all(old, access);
	return (spte_t){ old.bits | given(old, access, SPTE_W) };
}

/*
 * FAULT_RETRY: the leaf changed meanwhile, or this takes longer than `at_once`;
 * FAULT_NO_HOST: it is for the slow way.
 */
static inline __attribute__((always_inline)) enum fault_result
try_leaf(struct ept *ept, struct ept_cpu *cpu, struct ept_place at, gfn_t frame, enum access access,
	 bool at_once)
{
	struct ept_log *log = NULL;

	if (!spte_is_leaf(at.old))
		return FAULT_NO_HOST;
	if (spte_allows(at.old, access))
		return FAULT_SPURIOUS;

	spte_t new = allowing(at.old, access);

	if (!spte_allows(new, access))
		return FAULT_NO_HOST;
	if (access & ACCESS_WRITE)
		log = log_find(ept, frame);
	/* One page is stored to, not all of the leaf: the slow way splits it. */
	if (log && at.level > LEVEL_4K)
		return FAULT_NO_HOST;
	if (log && !log->bitmap) {
		if (at_once)
			return FAULT_RETRY;
		/* U33: once the leaf has W, it would be too late. The slow way says so. */
		if (!log_has_room(cpu))
			return FAULT_NO_HOST;
	}
	if (!ept_allow(cpu, at.slot, at.old, new))
		return FAULT_RETRY;
	if (log)
		log_store(cpu, log, frame);
	return FAULT_FIXED;
}

/*
 * When the way was not known, or the leaf was another between two looks: a few times, then it is
 * for the slow way, as what nothing here helps.
 */
static __attribute__((noinline)) enum fault_result
not_at_once(struct ept *ept, struct ept_cpu *cpu, gfn_t frame, enum access access,
	    enum fault_result result)
{
	for (unsigned i = 0; i < TRIES && result == FAULT_RETRY; i++)
		result = try_leaf(ept, cpu, ept_learn_way(ept, cpu, frame), frame, access, false);
	walk_leave(cpu);
	if (result == FAULT_FIXED)
		return result;
	if (result != FAULT_SPURIOUS)
		return ept_fault_locked(ept, cpu, frame, access);
	ept_count_on(cpu, COUNT_SPURIOUS, 1);
	return result;
}

enum fault_result ept_fault(struct ept *ept, gpa_t address, enum access access, enum access allowed)
{
	struct ept_cpu *cpu = ept_this_cpu(ept);
	gfn_t frame = gpa_to_gfn(address);
	enum fault_result result = FAULT_RETRY;

	ept_count_on(cpu, COUNT_FAULTS + access, 1);
	/* U14: where a leaf stands no right but W is missing; or, without A and D, any may be. */
	if (!(allowed ? access & ACCESS_WRITE : !ept->caps.accessed_dirty))
		return ept_fault_locked(ept, cpu, frame, access);

	walk_enter(ept, cpu);
	if (access & ACCESS_WRITE && ept_knows_way(ept, cpu, frame)) {
		struct ept_place at = ept_by_way(cpu, frame);

		/* The others, and logs by rings alone, would make this way longer for all. */
		if (!spte_soft_ad(at.old))
			result = try_leaf(ept, cpu, at, frame, access, true);
	}
	if (__builtin_expect(result != FAULT_FIXED, 0))
		return not_at_once(ept, cpu, frame, access, result);
	walk_leave(cpu);
	return FAULT_FIXED;
}
