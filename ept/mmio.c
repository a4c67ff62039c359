/*
 * Where nothing is. Called by fault.c when it finds no region, and by the CPU side after an EPT
 * misconfiguration, from many CPUs at once (U26).
 *
 *   a fault                              a misconfiguration           ept_region_add
 *   -------                              ------------------           --------------
 *   lock shared                                                       lock exclusive
 *   no region in all that an empty                                    the region
 *   entry translates: the entry = g      reads the entry: g           generation = g + 1
 *   unlock                               generation is g: NO_REGION   unlock
 *                                        it is not: empty again, and
 *                                        the guest's next try a fault
 *
 * - An entry is made and its generation read under one hold of the lock, so what it says was true
 *   as of that generation, and as long as it stands: a region comes with the next one. Who then
 *   reads an old entry and the old generation began before the addition returned.
 * - Only what is added makes an entry wrong. A region that goes, or gets other rights, had none.
 * - So an addition neither walks nor flushes: entries out of date go when somebody meets them, and
 *   no processor has cached what is misconfigured (SDM "Creating and Using Cached Translation
 *   Information").
 * - This exit does not tell which access it was, so nothing is said of a region by it: a violation
 *   is.
 * - No generation comes twice, so who empties an entry by what he has read takes no other.
 * - An entry stands at the level at which the way ends, and never has a table made for it: a guest
 *   that touches much of nothing costs no memory. Where a region is near, and nobody has been in
 *   the part of it that the same entry translates, there is no entry yet, and the lock is taken.
 * - Brackets, aging and logs pass them by, as empty entries; tables go with those in them.
 *
 * Linux: handle_ept_misconfig, check_mmio_spte, kvm_mmu_invalidate_mmio_sptes; there in entries of
 * 4 KiB, with a generation that wraps, so that all are then zapped.
 */
#include "ept/change.h"
#include "ept/mmio.h"
#include "ept/region.h"

void mmio_install(struct ept *ept, gfn_t frame)
{
	uint64_t generation = atomic_read(&ept->region_generation);
	spte_t found;

	if (frame.raw >= GUEST_FRAMES || generation == SPTE_GENERATION_LAST)
		return;
	struct ept_place at = ept_find(ept, frame);
	uint64_t pages = level_pages(at.level);
	struct region place = { .start = gfn(frame.raw & ~(pages - 1)), .pages = pages };

	if (!region_overlaps(ept, &place) &&
	    ept_fill_entry(ept, at.slot, at.level, spte_make_mmio(generation), &found))
		ept_count(ept, COUNT_MMIO_MADE, 1);
}

/* What stands there says; FAULT_RETRY: nothing that makes a processor leave so, any more. */
static enum fault_result judge(struct ept *ept, gfn_t frame)
{
	struct ept_walk walk = ept_walk_begin(ept, frame, 1);

	while (ept_walk_next(&walk)) {
		if (spte_is_mmio(walk.old) && mmio_is_current(ept, walk.old))
			return FAULT_NO_REGION;
		if (spte_is_mmio(walk.old))
			ept_forget_mmio(walk.slot, walk.old);
		/* Without rights it is empty to the processor, whatever it is to others. */
		else if (walk.old.bits & SPTE_RIGHTS && spte_fault(walk.old, walk.level))
			return FAULT_MISCONFIGURED;
	}
	return FAULT_RETRY;
}

enum fault_result ept_fault_misconfigured(struct ept *ept, gpa_t address)
{
	struct ept_cpu *cpu = ept_this_cpu(ept);

	walk_enter(ept, cpu);
	enum fault_result result = judge(ept, gpa_to_gfn(address));

	walk_leave(cpu);
	if (result == FAULT_NO_REGION)
		ept_count_on(cpu, COUNT_MMIO_HITS, 1);
	if (result == FAULT_RETRY)
		ept_count_on(cpu, COUNT_RETRIES, 1);
	return result;
}
