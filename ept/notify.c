/*
 * The listener: what the host takes back, the guest loses first. Called by mm with space->lock
 * held, from any CPU, brackets nesting and overlapping. Linux:
 * kvm_mmu_notifier_invalidate_range_start and _end.
 *
 * The range of several open brackets is their union: a fault in the gap between two of them
 * tries again for nothing, which is rare and harmless. In host addresses, not guest frames: a
 * region that is added inside a bracket finds it in force.
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
	HOLDS(ept->lock)
{
	struct region_part part = region_behind(region, range->start, range->end);

	if (!part.pages)
		return batch;
	return event_only_protects(range->event)
		       ? ept_protect_range(ept, part.start, part.pages, batch)
		       : ept_zap_range(ept, part.start, part.pages, ZAP_LEAVES, batch);
}

void notify_start(struct ept *ept, const struct mm_range *range)
{
	struct flush_batch batch = flush_nothing();

	write_lock(&ept->lock);
	ept_count(ept, COUNT_INVALIDATIONS, 1);
	open_bracket(ept, range);
	for (unsigned i = 0; i < ept->region_count; i++)
		batch = zap_region(ept, &ept->regions[i], range, batch);
	leave_tell(ept, range->start, range->end);
	flush_settle(ept, batch);
	write_unlock(&ept->lock);
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
	spte_t leaf = page->writable ? spte_empty() : spte_make_leaf(page->frame, false);

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

	write_lock(&ept->lock);
	ept->released = true;
	atomic_add(&ept->sequence, 1);
	for (unsigned i = 0; i < ept->region_count; i++)
		batch = ept_zap_range(ept, ept->regions[i].start, ept->regions[i].pages, ZAP_LEAVES,
				      batch);
	flush_settle(ept, batch);
	write_unlock(&ept->lock);
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
