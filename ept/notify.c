/*
 * The listener: what the host takes back, the guest loses first. Called by mm with space->lock
 * held, from any CPU, brackets nesting and overlapping. Linux:
 * kvm_mmu_notifier_invalidate_range_start and _end.
 *
 * The range of several open brackets is their union: a fault in the gap between two of them
 * tries again for nothing, which is rare and harmless. In host addresses, not guest frames: a
 * region that is added inside a bracket finds it in force.
 *
 * Starts whose ranges have nothing in common take leaves side by side, and faults elsewhere go on
 * (beside_lock, mm/base/lock.h):
 *
 *   start                                    a fault, and another start
 *   -----                                    --------------------------
 *   beside_lock: no reader is in             what was mapped by then is found below
 *   meets a bracket that is open: nobody
 *   beside is in, either
 *   brackets++, the union
 *   beside_open                              fault: lock shared, busy: tries again
 *   takes leaves, marks folios               start, elsewhere: takes other leaves
 *   shootdown                                start, here: waits until beside_unlock
 *   beside_unlock
 *
 * - A fault that has compared before the union grew, has mapped before: it held the lock, shared.
 * - Two starts that took leaves of one range side by side would be wrong: the second finds the
 *   entry empty and returns, while the first has yet to mark the folio, and to shoot the
 *   translation down (I4, I8). So one waits for the other, and as a leaf may be larger than a
 *   range, for all that it may be part of.
 * - Nobody else makes less of a leaf here than it is: splits, joins, harvests and tables that go
 *   have the lock exclusively, faults add W, aging takes A. So what a walk found to be a leaf is
 *   one until it is taken.
 * - In what a large leaf had besides the range, a fault may map anew before the shootdown: the same
 *   frame, with no more rights than its process has, so it does not matter which of the two a CPU
 *   goes by (U27).
 */
#include "ept/age.h"
#include "ept/change.h"
#include "ept/leave.h"
#include "ept/notify.h"
#include "ept/region.h"

static struct ept *listener(struct notifier *notifier)
{
	return container_of(notifier, struct ept, notifier);
}

static void open_bracket(struct ept *ept, const struct mm_range *range) HOLDS(ept->lock)
{
	uint64_t start = range->start.raw, end = range->end.raw;

	if (atomic_add(&ept->brackets, 1)) {
		uint64_t other_start = atomic_read(&ept->bracket_start);
		uint64_t other_end = atomic_read(&ept->bracket_end);

		start = start < other_start ? start : other_start;
		end = end > other_end ? end : other_end;
	}
	atomic_write(&ept->bracket_start, start);
	atomic_write(&ept->bracket_end, end);
}

/* Of the part of the region that the host addresses back: what the event takes, a leaf or its W. */
static struct flush_batch zap_region(struct ept *ept, const struct region *region,
				     const struct mm_range *range, struct flush_batch batch)
	HOLDS_SHARED(ept->lock)
{
	struct region_part part = region_behind(region, range->start, range->end);

	if (!part.pages)
		return batch;
	return event_only_protects(range->event)
		       ? ept_protect_range(ept, part.start, part.pages, batch)
		       : ept_zap_range(ept, part.start, part.pages, ZAP_LEAVES, batch);
}

/* Whether another bracket is open that a leaf of ours may reach into. */
static bool meets_another(const struct ept *ept, const struct mm_range *range) HOLDS(ept->lock)
{
	uint64_t inside = level_bytes(ept->caps.max_level) - 1;

	return notify_busy(ept, hva(range->start.raw & ~inside),
			   hva((range->end.raw + inside) & ~inside));
}

/* No reader is in, and nobody beside takes what the range has. On return others may come again. */
static void begin(struct ept *ept, const struct mm_range *range) HOLDS(ept->lock)
{
	if (meets_another(ept, range))
		beside_alone(&ept->lock);
	open_bracket(ept, range);
}

void notify_start(struct ept *ept, const struct mm_range *range)
{
	struct flush_batch batch = flush_nothing();

	beside_lock(&ept->lock);
	ept_count(ept, COUNT_INVALIDATIONS, 1);
	begin(ept, range);
	beside_open(&ept->lock);
	for (unsigned i = 0; i < ept->region_count; i++)
		batch = zap_region(ept, &ept->regions[i], range, batch);
	leave_tell(ept, range->start, range->end);
	flush_settle(ept, batch);
	beside_unlock(&ept->lock);
}

/* No lock: see notify_changed. A start that finds this bracket still counted joins its range. */
void notify_end(struct ept *ept)
{
	atomic_add(&ept->sequence, 1);
	check(atomic_sub(&ept->brackets, 1));
}

static void range_start(struct notifier *notifier, const struct mm_range *range)
{
	notify_start(listener(notifier), range);
}

static void range_end(struct notifier *notifier, const struct mm_range *range)
{
	(void)range;
	notify_end(listener(notifier));
}

/* ------------------------------------------------------------------ change_pte, off by default */

static void start_change(struct notifier *notifier, const struct mm_range *range)
{
	struct ept *ept = listener(notifier);

	write_lock(&ept->lock);
	ept_count(ept, COUNT_INVALIDATIONS, 1);
	open_bracket(ept, range);
	write_unlock(&ept->lock);
}

/*
 * A page that may be written now is lost instead: the guest's store must fault, and be marked.
 * The sequence moves with or without a leaf, for who has looked up the old page and not mapped
 * it yet. Linux: kvm_mmu_notifier_change_pte, and from c13fda237f08 on its assertion.
 */
static void change_pte(struct notifier *notifier, hva_t address, const struct mm_page *page)
{
	struct ept *ept = listener(notifier);
	struct flush_batch batch = flush_nothing();
	spte_t leaf = page->writable ? spte_empty() : spte_make_leaf(page->frame, false, ept->ad);

	write_lock(&ept->lock);
	check(atomic_read(&ept->brackets) ||
	      host_change_pte(ept->host) == CHANGE_PTE_UNBRACKETED);
	atomic_add(&ept->sequence, 1);
	for (unsigned i = 0; i < ept->region_count; i++) {
		struct region_part part = region_behind(&ept->regions[i], address,
							hva_add(address, PAGE_SIZE));

		if (part.pages && ept_change_leaf(ept, part.start, leaf, &batch))
			ept_count(ept, COUNT_CHANGES, 1);
	}
	leave_tell(ept, address, hva_add(address, PAGE_SIZE));
	flush_settle(ept, batch);
	write_unlock(&ept->lock);
}

static void release(struct notifier *notifier)
{
	struct ept *ept = listener(notifier);
	struct flush_batch batch = flush_nothing();
	const struct mm_range all = { .start = hva(0), .end = hva(UINT64_C(1) << 63) };

	/* As a bracket of everything: memfds have brackets of their own, which go on. */
	beside_lock(&ept->lock);
	ept->released = true;
	begin(ept, &all);
	beside_open(&ept->lock);
	for (unsigned i = 0; i < ept->region_count; i++)
		batch = ept_zap_range(ept, ept->regions[i].start, ept->regions[i].pages, ZAP_LEAVES,
				      batch);
	leave_tell(ept, all.start, all.end);
	flush_settle(ept, batch);
	beside_unlock(&ept->lock);
	notify_end(ept);
}

/* ------------------------------------------------------------------ aging: age.c */

/* U36: a CPU that holds a translation goes on by it, and is young again when it has lost it. */
static bool clear_young(struct notifier *notifier, const struct mm_range *range)
{
	return ept_clear_young(listener(notifier), range->start, range->end);
}

static bool test_young(struct notifier *notifier, const struct mm_range *range)
{
	return ept_test_young(listener(notifier), range->start, range->end);
}

const struct notifier_ops ept_notifier_ops = {
	.start = range_start,
	.end = range_end,
	.release = release,
	.clear_flush_young = clear_young,
	.clear_young = clear_young,
	.test_young = test_young,
	.start_change = start_change,
	.change_pte = change_pte,
};
