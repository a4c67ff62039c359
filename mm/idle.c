/*
 * Idle page tracking. Called by tools that ask which memory is in use; takes a folio's lock, and
 * under it each space->lock (rmap_walk). Linux: mm/page_idle.c.
 *
 *   marking                              a use, by process or guest
 *   -------                              --------------------------
 *   takes A from all entries             sets A in its entry    (locked)
 *     was set somewhere: YOUNG
 *   IDLE
 *   ... later: takes A from all entries; was set somewhere: YOUNG, not IDLE
 *
 * A is taken before IDLE is set: a use between the two is found by the next look, and one before
 * them is none since. Entries lose A, so reclaim, which would have looked there, finds YOUNG.
 */
#include "mm/rmap.h"

/* Linux: page_idle_clear_pte_refs_one. No flush: see clear_young in notifier.h. */
static bool forget_one(struct space *space, uint64_t address, struct place place, void *argument)
	HOLDS(space->lock)
{
	bool *used = argument;
	uint64_t end = address + level_bytes(place.level);
	uint64_t was = atomic_and(place.slot, ~PTE_A);

	trace_step(space->host->trace, TRACE_PTE_MKOLD, address, was & ~PTE_A);
	*used |= (was & PTE_A) != 0;
	*used |= notifier_clear_young(space, address, end);
	return true;
}

/* Linux: page_idle_clear_pte_refs. */
static void forget_uses(struct host *host, pfn_t head)
{
	struct folio *folio = page_folio(host, head);
	bool used = false;

	folio_lock(host, head);
	rmap_walk(host, head, (struct rmap){ forget_one, &used });
	folio_unlock(host, head);
	if (used) {
		atomic_and(&folio->flags, ~FOLIO_IDLE);
		atomic_or(&folio->flags, FOLIO_YOUNG);
	}
}

static void mark(struct host *host, pfn_t head)
{
	forget_uses(host, head);
	atomic_or(&page_folio(host, head)->flags, FOLIO_IDLE);
}

static bool is_idle(struct host *host, pfn_t head)
{
	const struct folio *folio = page_folio(host, head);

	if (!(atomic_read(&folio->flags) & FOLIO_IDLE))
		return false;
	forget_uses(host, head);
	return atomic_read(&folio->flags) & FOLIO_IDLE;
}

static bool bad_frames(pfn_t first, uint64_t frames)
{
	const uint64_t all = RAM_END >> PAGE_SHIFT;

	return !frames || (first.raw | frames) & 63 || first.raw >= all || frames > all - first.raw;
}

/* Frames of one folio come one after the other, and it is asked once. */
enum status idle_mark(struct host *host, pfn_t first, uint64_t frames, const uint64_t *bitmap)
{
	pfn_t last = pfn(NO_FRAME);

	if (bad_frames(first, frames))
		return STATUS_BAD_RANGE;
	for (uint64_t i = 0; i < frames; i++) {
		pfn_t head;

		if (!(bitmap[i / 64] >> i % 64 & 1) || !folio_find(host, pfn_add(first, i), &head))
			continue;
		if (head.raw != last.raw)
			mark(host, head);
		last = head;
		folio_put(host, head);
	}
	return STATUS_OK;
}

enum status idle_read(struct host *host, pfn_t first, uint64_t frames, uint64_t *bitmap)
{
	pfn_t last = pfn(NO_FRAME);
	bool idle = false;

	if (bad_frames(first, frames))
		return STATUS_BAD_RANGE;
	for (uint64_t i = 0; i < frames; i++) {
		uint64_t bit = UINT64_C(1) << i % 64;
		pfn_t head;

		bitmap[i / 64] &= ~bit;
		if (!folio_find(host, pfn_add(first, i), &head))
			continue;
		if (head.raw != last.raw)
			idle = is_idle(host, head);
		if (idle)
			bitmap[i / 64] |= bit;
		last = head;
		folio_put(host, head);
	}
	return STATUS_OK;
}
