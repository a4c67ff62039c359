/* mm's brackets (mm/notifier.h) as this side remembers them, and what a lookup is worth. */
#ifndef EPT_NOTIFY_H
#define EPT_NOTIFY_H

#include "ept/state.h"

extern const struct notifier_ops ept_notifier_ops;

/* A bracket's two ends, from whoever opened it. */
void notify_start(struct ept *ept, const struct mm_range *range);
void notify_end(struct ept *ept);

/* Before anything is looked up: what notify_changed will compare with. */
static inline uint64_t notify_sequence(const struct ept *ept)
{
	return atomic_read(&ept->sequence);
}

/* True while a bracket may be changing a page of [start, end). */
static inline bool notify_busy(const struct ept *ept, hva_t start, hva_t end)
{
	return atomic_read(&ept->brackets) && start.raw < atomic_read(&ept->bracket_end) &&
	       atomic_read(&ept->bracket_start) < end.raw;
}

/*
 * True when what was looked up in [start, end) since the sequence was read may be out of date.
 * Exact under ept->lock, shared at least: brackets begin when no reader is in. The count is read
 * first: end advances the sequence before it lets go of the count, so one of the two shows it.
 * Linux: mmu_invalidate_retry.
 */
static inline bool notify_changed(const struct ept *ept, uint64_t sequence, hva_t start, hva_t end)
	HOLDS_SHARED(ept->lock)
{
	return notify_busy(ept, start, end) || notify_sequence(ept) != sequence;
}

#endif
