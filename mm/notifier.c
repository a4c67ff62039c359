/*
 * The listeners of a space, and the brackets around what changes its present entries. Called by
 * space.c and migrate.c with space->lock held, so the list stands still and no listener comes or
 * goes inside a bracket. Linux: mm/mmu_notifier.c.
 */
#include "mm/space.h"

void notifier_register(struct space *space, struct notifier *notifier)
{
	write_lock(&space->lock);
	list_append(&space->notifiers, &notifier->link);
	write_unlock(&space->lock);
}

void notifier_unregister(struct space *space, struct notifier *notifier)
{
	write_lock(&space->lock);
	list_remove(&notifier->link);
	write_unlock(&space->lock);
}

struct mm_range notifier_range(struct space *space, uint64_t start, uint64_t end,
			       enum mm_event event)
{
	trace_step(space->host->trace, TRACE_RANGE_INIT, start, event);
	return (struct mm_range){ .start = hva(start), .end = hva(end), .event = event };
}

void notifier_open(struct space *space, const struct mm_range *range)
{
	host_count(space->host, HOST_BRACKETS, 1);
	list_for_each(node, &space->notifiers) {
		struct notifier *notifier = container_of(node, struct notifier, link);

		notifier->ops->start(notifier, range);
	}
	trace_step(space->host->trace, TRACE_RANGE_START, range->start.raw, range->event);
}

struct mm_range notifier_start(struct space *space, uint64_t start, uint64_t end,
			       enum mm_event event)
{
	struct mm_range range = notifier_range(space, start, end, event);

	notifier_open(space, &range);
	return range;
}

struct mm_range notifier_start_for(struct space *space, uint64_t start, uint64_t end,
				   const void *owner)
{
	struct mm_range range = notifier_range(space, start, end, EVENT_EXCLUSIVE);

	range.owner = owner;
	notifier_open(space, &range);
	return range;
}

/* To the listeners before `stop`, or all of them. */
static void end_until(struct space *space, const struct mm_range *range,
		      const struct list_node *stop) HOLDS_SHARED(space->lock)
{
	list_for_each(node, &space->notifiers) {
		struct notifier *notifier = container_of(node, struct notifier, link);

		if (node == stop)
			return;
		notifier->ops->end(notifier, range);
	}
}

static bool try_one(struct notifier *notifier, const struct mm_range *range)
{
	if (notifier->ops->try_start)
		return notifier->ops->try_start(notifier, range);
	notifier->ops->start(notifier, range);
	return true;
}

/* Linux: mn_hlist_invalidate_range_start: who has been told of a start is told of its end. */
bool notifier_try_start(struct space *space, uint64_t start, uint64_t end, enum mm_event event,
			struct mm_range *range)
{
	*range = notifier_range(space, start, end, event);
	list_for_each(node, &space->notifiers) {
		if (!try_one(container_of(node, struct notifier, link), range)) {
			end_until(space, range, node);
			return false;
		}
	}
	host_count(space->host, HOST_BRACKETS, 1);
	trace_step(space->host->trace, TRACE_RANGE_START, start, event);
	return true;
}

void notifier_end(struct space *space, const struct mm_range *range)
{
	trace_step(space->host->trace, TRACE_RANGE_END, range->start.raw, range->event);
	end_until(space, range, NULL);
}

/* ------------------------------------------------------------------ change_pte */

void host_set_change_pte(struct host *host, enum change_pte change_pte)
{
	host->change_pte = change_pte;
}

enum change_pte host_change_pte(const struct host *host) { return host->change_pte; }

struct mm_range notifier_start_change(struct space *space, uint64_t address, enum mm_event event)
{
	struct mm_range range = { .start = hva(address), .end = hva(address + PAGE_SIZE),
				  .event = event };

	trace_step(space->host->trace, TRACE_RANGE_INIT, address, event);
	host_count(space->host, HOST_BRACKETS, 1);
	list_for_each(node, &space->notifiers) {
		struct notifier *notifier = container_of(node, struct notifier, link);
		const struct notifier_ops *ops = notifier->ops;

		(ops->change_pte ? ops->start_change : ops->start)(notifier, &range);
	}
	trace_step(space->host->trace, TRACE_RANGE_START, address, event);
	return range;
}

/* A listener without change_pte, without a bracket, loses the page. Linux: invalidate_page. */
static void invalidate_page(struct space *space, struct notifier *notifier, uint64_t address)
{
	struct mm_range range = { .start = hva(address), .end = hva(address + PAGE_SIZE),
				  .event = EVENT_CLEAR };

	if (space->host->change_pte != CHANGE_PTE_UNBRACKETED)
		return;
	notifier->ops->start(notifier, &range);
	notifier->ops->end(notifier, &range);
}

void notifier_change(struct space *space, uint64_t address, pte_t new)
{
	struct mm_page page = { pte_frame(new), LEVEL_4K, .writable = pte_writable(new),
				.dirty = pte_dirty(new), .refcounted = true };

	trace_step(space->host->trace, TRACE_CHANGE_PTE, address, new.bits);
	list_for_each(node, &space->notifiers) {
		struct notifier *notifier = container_of(node, struct notifier, link);

		if (notifier->ops->change_pte)
			notifier->ops->change_pte(notifier, hva(address), &page);
		else
			invalidate_page(space, notifier, address);
	}
}

/* ------------------------------------------------------------------ aging */

typedef bool (*young_op)(struct notifier *self, const struct mm_range *range);

/* Of one listener, one of its three. */
static young_op flush_op(const struct notifier_ops *ops) { return ops->clear_flush_young; }
static young_op clear_op(const struct notifier_ops *ops) { return ops->clear_young; }
static young_op test_op(const struct notifier_ops *ops) { return ops->test_young; }

/* A yes ends nothing: the next listener has to forget as well. Linux: young |= ... */
static bool ask(struct space *space, uint64_t start, uint64_t end,
		young_op (*which)(const struct notifier_ops *ops)) HOLDS_SHARED(space->lock)
{
	struct mm_range range = { .start = hva(start), .end = hva(end), .event = EVENT_YOUNG };
	bool young = false;

	list_for_each(node, &space->notifiers) {
		struct notifier *notifier = container_of(node, struct notifier, link);
		young_op op = which(notifier->ops);

		if (op && op(notifier, &range))
			young = true;
	}
	trace_step(space->host->trace, TRACE_YOUNG_TEST, start, young);
	return young;
}

bool notifier_ask_all(struct space *space, uint64_t start, uint64_t end)
{
	return ask(space, start, end, flush_op);
}

bool notifier_clear_young(struct space *space, uint64_t start, uint64_t end)
{
	return ask(space, start, end, clear_op);
}

bool notifier_test_young(struct space *space, uint64_t start, uint64_t end)
{
	return ask(space, start, end, test_op);
}

/* Linux: __mmu_notifier_release. */
void notifier_release(struct space *space)
{
	trace_step(space->host->trace, TRACE_RANGE_INIT, 0, EVENT_RELEASE);
	while (!list_empty(&space->notifiers)) {
		struct list_node *node = space->notifiers.next;
		struct notifier *notifier = container_of(node, struct notifier, link);

		/* Unlinked first: the listener may free itself. */
		list_remove(node);
		notifier->ops->release(notifier);
	}
	trace_step(space->host->trace, TRACE_RANGE_START, 0, EVENT_RELEASE);
}
