/*
 * What taking away leaves behind: translations that processors may still hold, and tables that
 * they may still walk. A struct flush_batch is that debt. It is handed on by value, must be used,
 * and flush_settle pays it: one shootdown for all of it, then the tables are freed.
 */
#ifndef EPT_FLUSH_H
#define EPT_FLUSH_H

#include "ept/state.h"

struct flush_batch {
	bool owed;		/* something present was taken away, or its W */
	pfn_t tables;		/* the first that waits, linked by spte_make_waiting; 0: none */
	uint64_t zapped[EPT_ROOT_LEVEL];	/* leaves, by level: counted when it is settled */
	pfn_t marked;		/* the folio that was marked last: policy.c */
	uint64_t marks;		/* by these; 0: none was */
};

static inline struct flush_batch flush_nothing(void) { return (struct flush_batch){ 0 }; }

/* The table is unlinked and empty; nobody but processors can still walk it. */
void flush_add_table(struct flush_batch *batch, pfn_t table);

/* Those that wait are freed, which neither a processor nor a walk can reach any more. */
void flush_free_tables(struct ept *ept, struct flush_batch *batch);

/*
 * Returns when no processor can use what was taken away. Nothing was, nothing happens. No CPU may
 * wait for ept->lock or for what this one holds between its ept_enter and ept_leave.
 */
void flush_settle(struct ept *ept, struct flush_batch batch) HOLDS_SHARED(ept->lock);

enum { WALKING = 2 };	/* of a CPU's presence, as EPT_IN_GUEST is (flush.c) */

/*
 * Between the two this CPU may walk the tables, and use what a dirty log is, without ept->lock:
 * tables are freed, and logs given up, when no walk from before is left. What stands between them
 * is short and waits for nothing. Outside the guest. Linux: rcu_read_lock in fast_page_fault,
 * walk_shadow_page_lockless_begin.
 */
static inline void walk_enter(struct ept *ept, struct ept_cpu *cpu)
{
	/* Relaxed: this CPU is the only writer. */
	uint64_t presence = atomic_read_relaxed(&cpu->visitor.presence);

	/* Neither inside nor walking so far: nobody looks at this CPU yet. */
	if (!presence)
		atomic_or(&ept->cpus_entered, UINT64_C(1) << port_cpu());
	atomic_xchg(&cpu->visitor.presence, presence + EPT_ONE_ENTRY + WALKING);
}

static inline void walk_leave(struct ept_cpu *cpu)
{
	/* Relaxed: as above. */
	atomic_write(&cpu->visitor.presence, atomic_read_relaxed(&cpu->visitor.presence) - WALKING);
}
/*
 * Returns when every CPU that was inside the guest, or walked, has left: those inside are kicked.
 * What they do last, before they say that they are outside, has happened then.
 */
void flush_expel(struct ept *ept) HOLDS_SHARED(ept->lock);
/* Returns when no walk from before this call is left. */
void walk_await(struct ept *ept) HOLDS(ept->lock);

#endif
