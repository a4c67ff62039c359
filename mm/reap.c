/*
 * Memory taken from a process that is killed and does not get around to ending. Called by who has
 * run out of memory, so nothing here waits for a listener or allocates. Takes space->lock; Linux
 * tries mmap_lock, and comes again. Linux: __oom_reap_task_mm.
 */
#include "mm/space.h"

/*
 * As in Linux, frames are freed after the bracket's end: no entry names them, so a lookup in
 * between finds zeros, and CPUs that still know them are waited for by the gather's flush.
 */
static bool reap_vma(struct space *space, const struct vma *vma) HOLDS(space->lock)
{
	struct gather gather = gather_begin(space);
	struct mm_range range;

	if (!notifier_try_start(space, vma->start, vma->end, EVENT_CLEAR, &range))
		return false;
	gather.no_recency = vma->advice != ADVICE_NORMAL;
	table_zap(space, vma->start, vma->end, &gather);
	notifier_end(space, &range);
	gather_finish(&gather);
	return true;
}

/* Linux: can_madv_lru_vma. */
static bool may_reap(const struct vma *vma)
{
	return vma->kind == VMA_PAGED && vma->sharing == SHARING_PRIVATE;
}

bool space_reap(struct space *space)
{
	bool all = true;

	write_lock(&space->lock);
	for (unsigned i = 0; i < space->vma_count; i++)
		if (may_reap(&space->vmas[i]))
			all &= reap_vma(space, &space->vmas[i]);
	write_unlock(&space->lock);
	return all;
}
