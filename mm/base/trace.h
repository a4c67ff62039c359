/*
 * Steps, told in the order in which they are made, to whoever listens: a test of an order, a tool
 * that draws a race. Each is one load and a branch where nobody does.
 *
 * The subject is what the step is done to: an address for an entry, a bracket, a flush of it; a
 * frame for a folio. Linux: tracepoints, in place and meaning.
 */
#ifndef MM_BASE_TRACE_H
#define MM_BASE_TRACE_H

#include <stdint.h>

#define TRACE_STEPS(step)                                                            \
	step(RANGE_INIT)	/* mmu_notifier_range_init; value: the event */      \
	step(LRU_DRAIN)		/* lru_add_drain */                                  \
	step(GATHER)		/* tlb_gather_mmu */                                 \
	step(RANGE_START)	/* invalidate_range_start has returned; value: the event */ \
	step(RANGE_END)		/* invalidate_range_end begins; value: the event */  \
	step(PTE_SET)		/* an entry names a page, or another; value: the entry */ \
	step(PTE_CLEAR)		/* an entry stops to name one; value: what it was */ \
	step(PTE_PROTECT)	/* rights change in place; value: the entry now */   \
	step(PTE_MKCLEAN)	/* D goes; value: the entry now */                   \
	step(PTE_MKOLD)		/* A goes; value: the entry now */                   \
	step(TLB_FLUSH)		/* no CPU uses older entries of the space any more */ \
	step(CHANGE_PTE)	/* set_pte_at_notify's call; value: the entry to come */ \
	step(YOUNG_TEST)	/* listeners' test, clear, clear_flush_young; value: the answer */ \
	step(FOLIO_DIRTY)	/* the flag is set, by mark or set */                \
	step(FOLIO_CLEAN)	/* the flag is taken */                              \
	step(FOLIO_ACCESSED)	/* the flag is set */                                \
	step(FOLIO_COPY)	/* content goes to another folio; value: its frame */ \
	step(FOLIO_COMPARE)	/* content is compared */                            \
	step(FOLIO_FREE)	/* the last reference is gone */                     \
	step(REF_TEST)		/* the reference count is judged */                  \
	step(REF_FREEZE)	/* it is exchanged for none */                       \
	step(DIRTY_TEST)	/* the dirty flag is judged */                       \
	step(REMOVE_MAPPING)	/* the page leaves its cache */                      \
	step(STORE_READ)	/* content comes from a backing store */             \
	step(STORE_WRITE)	/* content goes to one */

enum trace_step {
#define TRACE_NAME(name) TRACE_##name,
	TRACE_STEPS(TRACE_NAME)
#undef TRACE_NAME
	TRACE_STEP_COUNT,
};

struct trace {
	void (*step)(struct trace *self, enum trace_step step, uint64_t subject, uint64_t value);
};

static inline void trace_step(struct trace *trace, enum trace_step step, uint64_t subject,
			      uint64_t value)
{
	if (__builtin_expect(trace != (void *)0, 0))
		trace->step(trace, step, subject, value);
}

#endif
