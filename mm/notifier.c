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

struct mm_range notifier_start(struct space *space, uint64_t start, uint64_t end,
			       enum mm_event event)
{
	struct mm_range range = { hva(start), hva(end), event };

	trace_step(space->host->trace, TRACE_RANGE_INIT, start, event);
	host_count(space->host, HOST_BRACKETS, 1);
	list_for_each(node, &space->notifiers) {
		struct notifier *notifier = container_of(node, struct notifier, link);

		notifier->ops->start(notifier, &range);
	}
	trace_step(space->host->trace, TRACE_RANGE_START, start, event);
	return range;
}

void notifier_end(struct space *space, const struct mm_range *range)
{
	trace_step(space->host->trace, TRACE_RANGE_END, range->start.raw, range->event);
	list_for_each(node, &space->notifiers) {
		struct notifier *notifier = container_of(node, struct notifier, link);

		notifier->ops->end(notifier, range);
	}
}

/* Linux: __mmu_notifier_release. */
void notifier_release(struct space *space)
{
	while (!list_empty(&space->notifiers)) {
		struct list_node *node = space->notifiers.next;
		struct notifier *notifier = container_of(node, struct notifier, link);

		/* Unlinked first: the listener may free itself. */
		list_remove(node);
		notifier->ops->release(notifier);
	}
}
