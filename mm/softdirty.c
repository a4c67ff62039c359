/*
 * Which pages were written since somebody asked. Called by who saves a process's memory piece by
 * piece; takes space->lock.
 *
 *   clear                                   a CPU
 *   -----                                   -----
 *   notifier_start     guests let go
 *   W and SOFT go, entry by entry           a store by what it knew of W sets no SOFT
 *   notifier_end
 *   tlb_flush                               the next store faults: W and SOFT (allow_write)
 *
 * Everything in one bracket, over the whole space. The flush follows its end, as in Linux: whoever
 * looks a page up has no W from the entries any more, and what CPUs store up to the flush is older
 * than the call's return. Linux: clear_refs_write, clear_soft_dirty.
 */
#include "mm/tlb.h"

static void clear_vma(struct space *space, const struct vma *vma) HOLDS(space->lock)
{
	struct walk walk = { .at = vma->start, .end = vma->end, .absent = true };

	while (walk_next(space, &walk))
		if (walk.place.pte.bits & (PTE_W | PTE_SOFT))
			table_adjust(space, walk.start, walk.place, PTE_W | PTE_SOFT, 0);
}

void space_clear_soft_dirty(struct space *space)
{
	write_lock(&space->lock);
	struct mm_range range = notifier_start(space, 0, SPACE_END, EVENT_SOFT_DIRTY);

	for (unsigned i = 0; i < space->vma_count; i++)
		clear_vma(space, &space->vmas[i]);
	notifier_end(space, &range);
	tlb_flush(space, 0);
	write_unlock(&space->lock);
}

enum status space_soft_dirty(struct space *space, hva_t address, bool *written)
{
	if (address.raw >= SPACE_END)
		return STATUS_NOT_FOUND;
	read_lock(&space->lock);
	bool found = vma_find(space, address.raw);

	if (found)
		*written = pte_soft(table_find(space, address.raw).pte);
	read_unlock(&space->lock);
	return found ? STATUS_OK : STATUS_NOT_FOUND;
}
