/* Dirty logs, for ept's own files: who is told of a store, what a logged region's leaves lack. */
#ifndef EPT_LOG_H
#define EPT_LOG_H

#include "ept/flush.h"
#include "ept/walk.h"

/* The log of the region that holds the frame; NULL: there is none. */
static inline struct ept_log *log_find(struct ept *ept, gfn_t frame)
{
	for (uint64_t live = atomic_read(&ept->logs_live); live; live &= live - 1) {
		struct ept_log *log = &ept->logs[__builtin_ctzll(live)];

		if (frame.raw - log->start.raw < log->pages)
			return log;
	}
	return NULL;
}

/*
 * The frame has been, or is about to be, stored to: after its leaf has W, and before the guest goes
 * on (U19). A bit that is set already costs no locked operation: who harvests takes bits before W.
 * The log has a bitmap.
 */
static inline void log_mark(struct ept_log *log, gfn_t frame)
{
	uint64_t n = frame.raw - log->start.raw, bit = UINT64_C(1) << n % 64;
	atomic64_t *word = &log->bitmap[n / 64];

	if (!(atomic_read(word) & bit))
		atomic_or(word, bit);
}

/* The processor notes the stores, by D: not RING, whose stores fault as WRITE_PROTECT's do. */
static inline bool log_is_by_processor(enum log_kind kind)
{
	return kind == LOG_DIRTY_BIT || kind == LOG_PML;
}

/* The fault that lets a vCPU store lists the page in its ring. */
static inline bool log_is_by_rings(enum log_kind kind)
{
	return kind == LOG_RING || kind == LOG_RING_ONLY;
}

/* What a leaf loses so that the next store is noticed: by a fault, or by the processor's D. */
static inline uint64_t log_takes(const struct ept_log *log, unsigned level)
{
	return level == LEVEL_4K && log_is_by_processor(log->kind) ? SPTE_D : SPTE_W;
}

/* A leaf of 4 KiB has lost its D: by DIRTY_BIT that is a store to be noted. */
void log_note_dirty(struct ept *ept, gfn_t frame) HOLDS_SHARED(ept->lock);

/*
 * The leaf goes, or loses D, by the funnel: what only its D says is noted. By PML it is in a
 * processor's list as well, which outlives the leaf.
 */
static inline void log_note_taken(struct ept *ept, gfn_t frame, unsigned level, spte_t old)
	HOLDS_SHARED(ept->lock)
{
	/* Where nothing is logged, a leaf that goes costs two instructions here. */
	if (atomic_read(&ept->logs_live) && spte_dirty(old) && level == LEVEL_4K)
		log_note_dirty(ept, frame);
}

/* A device has stored these bytes. Takes ept->lock, shared. Linux: mark_page_dirty_in_slot. */
void log_stored(struct ept *ept, gpa_t at, uint64_t bytes);
/* With the region goes its log. No CPU walks without a lock afterwards that could know it. */
void log_drop(struct ept *ept, gfn_t start) HOLDS(ept->lock);
/* The EPT ends. */
void log_drop_all(struct ept *ept);

#endif
