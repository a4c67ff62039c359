/*
 * Page tables that are used without space->lock: by lookups and by the processes' own CPUs.
 *
 *   a CPU                                  whoever changes an entry (space->lock held)
 *   -----                                  ------------------------
 *   tlb_enter: inside = 1   (locked)       entry = new                        (locked)
 *   reads entries, uses what they name     tlb_flush: waits until inside is 0
 *   tlb_leave: inside = 0                  frees the old frame or table; reads, cleans, copies it
 *
 * Either the CPU is inside before the change, then it is waited for, or it enters after, then it
 * finds the new entry: both sides write by a locked operation before they read. So a translation
 * lives no longer than from enter to leave, and one mechanism is the flush of processes' TLBs and
 * the end of lockless walks. What stands between the two is short and waits for nothing. Linux:
 * flush_tlb_range, and interrupts off in gup_fast against tlb_remove_table_sync_one.
 */
#ifndef MM_TLB_H
#define MM_TLB_H

#include "mm/space.h"

/* Returns what is this CPU's, for those to whom each instruction counts. */
static inline struct host_cpu *tlb_enter(struct host *host)
{
	unsigned cpu = port_cpu();

	if (!(atomic_read(&host->cpus_seen) >> cpu & 1))
		atomic_or(&host->cpus_seen, UINT64_C(1) << cpu);
	atomic_xchg(&host->cpus[cpu].inside, 1);
	return &host->cpus[cpu];
}

/*
 * Returns when no CPU uses what entries of the space said before this was called. Under
 * space->lock, in whichever way. The address is for the trace.
 */
void tlb_flush(struct space *space, uint64_t address);

/* From an entry to that of the next lower level; whether it names a table. */
static inline bool tlb_descend(struct place *at, uint64_t address, unsigned level)
{
	at->slot = (pte_slot_t *)pfn_to_ptr(pte_frame(at->pte)) + level_index(address, level);
	at->pte = pte_read(at->slot);
	at->level = level;
	return pte_table(at->pte, level);
}

/*
 * table_find between tlb_enter and tlb_leave, which keep the tables as the lock would. Level by
 * level, so that no shift is computed: this is what a secondary MMU's fault and a process's access
 * cost.
 */
static inline __attribute__((always_inline)) struct place
tlb_find(const struct space *space, uint64_t address) NOT_CHECKED
{
	struct place at = { .pte = pte_make_table(space->root) };

	(void)(tlb_descend(&at, address, ROOT_LEVEL) && tlb_descend(&at, address, LEVEL_1G) &&
	       tlb_descend(&at, address, LEVEL_2M) && tlb_descend(&at, address, LEVEL_4K));
	return at;
}

static inline void tlb_leave_cpu(struct host_cpu *cpu)
{
	atomic_write(&cpu->inside, 0);
}

static inline void tlb_leave(struct host *host)
{
	tlb_leave_cpu(&host->cpus[port_cpu()]);
}

#endif
