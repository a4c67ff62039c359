/*
 * Page tables that are used without space->lock: by lookups and by the processes' own CPUs.
 *
 *   a CPU                                  whoever changes an entry (space->lock held)
 *   -----                                  ------------------------
 *   tlb_enter: inside = 1   (locked)       entry = new                        (locked)
 *   reads entries, uses what they name     tlb_flush: waits until inside is 0
 *   tlb_leave: inside = 0                  frees the old frame, or its table; reads, cleans, copies it
 *
 * Either the CPU is inside before the change, then it is waited for, or it enters after, then it finds
 * the new entry: both sides write by a locked operation before they read. So a translation lives no
 * longer than from enter to leave, and one mechanism is the flush of processes' TLBs and the
 * end of lockless walks. What stands between the two is short and waits for nothing. Linux: flush_tlb_range, and
 * interrupts off in gup_fast against tlb_remove_table_sync_one.
 */
#ifndef MM_TLB_H
#define MM_TLB_H

#include "mm/space.h"

static inline void tlb_enter(struct host *host)
{
	unsigned cpu = port_cpu();

	if (!(atomic_read(&host->cpus_seen) >> cpu & 1))
		atomic_or(&host->cpus_seen, UINT64_C(1) << cpu);
	atomic_xchg(&host->cpus[cpu].inside, 1);
}

/*
 * Returns when no CPU uses what entries of the space said before this was called. Under space->lock, in
 * whichever way. The address is for the trace.
 */
void tlb_flush(struct space *space, uint64_t address);

static inline void tlb_leave(struct host *host)
{
	atomic_write(&host->cpus[port_cpu()].inside, 0);
}

#endif
