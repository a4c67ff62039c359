/*
 * The rules for an entry's value, as they are while ept->lock is held exclusively. Called by
 * verify.c, for every entry, and by tests. No lock.
 */
#include "ept/spte.h"

/* SDM "EPT Misconfigurations": with these rights and types no access would get that far. */
static const char *hardware_fault(spte_t s, unsigned level)
{
	uint64_t type = s.bits & SPTE_TYPE;

	if (!(s.bits & SPTE_RIGHTS) && !(s.bits & SPTE_SAVED_R))
		return "present, but without a right";
	if (s.bits & SPTE_RIGHTS && !(s.bits & SPTE_R))
		return "rights without R";
	if (spte_is_table(s))
		return s.bits & (SPTE_TYPE | SPTE_IGNORE_PAT) ? "reserved bits in a table" : NULL;
	if (level > LEVEL_1G)
		return "a leaf above level 3";
	if (spte_frame(s).raw & (level_pages(level) - 1))
		return "a large leaf whose frame is not aligned";
	if (type != SPTE_WRITE_BACK)
		return "memory type is not write-back";
	return s.bits & SPTE_IGNORE_PAT ? NULL : "memory type is left to the guest's PAT";
}

static const char *software_fault(spte_t s)
{
	if (spte_is_table(s) && spte_tracked(s))
		return "a table with saved rights";
	if (spte_is_table(s))
		return spte_soft_ad(s) ? "a table that says who keeps A and D" : NULL;
	if (spte_writable(s) && !spte_mmu_writable(s))
		return "writable, but not MMU-writable";
	if (spte_mmu_writable(s) && !spte_host_writable(s))
		return "MMU-writable, but not host-writable";
	if (spte_tracked(s) && s.bits & (SPTE_RIGHTS | SPTE_A))
		return "rights saved, and in force or used";
	if (spte_tracked(s) && !spte_soft_ad(s))
		return "rights saved, though the processor has A";
	/* Where the processor sets no D, whoever gives W does. */
	if (spte_writable(s) && !spte_dirty(s) && spte_soft_ad(s))
		return "writable, but not dirty";
	return NULL;
}

const char *spte_fault(spte_t s, unsigned level)
{
	const char *fault;

	if (spte_is_frozen(s))
		return "frozen, and nobody is at it";
	if (spte_is_dead(s))
		return level == LEVEL_4K || s.bits & ~(SPTE_DEAD | SPTE_FRAME) ? "no dead table"
									       : NULL;
	if (spte_is_mmio(s))
		return s.bits & ~(SPTE_W | SPTE_X | SPTE_FRAME) ? "more than a generation" : NULL;
	if (!spte_present(s))
		return s.bits ? "not present, but not zero" : NULL;
	fault = hardware_fault(s, level);
	if (!fault && level == LEVEL_4K && spte_is_table(s))
		fault = "a table below level 2";
	if (!fault && spte_prefetched(s) && (level > LEVEL_4K || spte_is_table(s)))
		fault = "prefetched, but no leaf of 4 KiB";
	return fault ? fault : software_fault(s);
}
