/*
 * Memory for guests alone: pages by number, which no process maps. Called by whoever builds a
 * guest, and by its secondary MMU. Linux: guest_memfd (kvm_gmem_get_pfn, kvm_gmem_punch_hole).
 *
 * There is no primary entry, so nothing of the primary MMU's has a say: no rights, no A and D to
 * collect later, no list, no swap, no migration. What a guest writes is marked where it asks for
 * the page (S35): the folio is dirty from then on, whatever the secondary MMU's policy, and nobody
 * ever cleans it.
 *
 *	a fault				punch
 *	-------				-----
 *	sequence, bracket open?		lock; start: listeners drop the range, wait for their CPUs
 *	memfd_lookup: lock shared	pages leave the array, and are freed
 *	bracket, sequence again: map	end: sequence moves; unlock
 */
#include "mm/host.h"
#include "mm/notifier.h"

struct memfd {
	struct host *host;
	uint64_t pages;
	rwlock_t lock;			/* before a listener's, and host->lock */
	/* Under lock. */
	struct list_node notifiers;
	uint64_t filled;
	uint32_t *frames;		/* by page: a frame, with its only reference, or NO_FRAME */
};

enum status memfd_create(struct host *host, uint64_t pages, struct memfd **out)
{
	uint64_t bytes = sizeof(struct memfd) + pages * sizeof(uint32_t);
	pfn_t frame;

	if (!pages || pages >= NO_FRAME)
		return STATUS_BAD_RANGE;
	enum status status = folio_alloc_zeroed(host, bytes_order(bytes), &frame);

	if (status != STATUS_OK)
		return status;

	struct memfd *memfd = pfn_to_ptr(frame);

	memfd->host = host;
	memfd->pages = pages;
	memfd->frames = (uint32_t *)(void *)(memfd + 1);
	list_init(&memfd->notifiers);
	for (uint64_t i = 0; i < pages; i++)
		memfd->frames[i] = NO_FRAME;
	*out = memfd;
	return STATUS_OK;
}

static void free_pages(struct memfd *memfd, uint64_t first, uint64_t count) HOLDS(memfd->lock)
{
	for (uint64_t i = first; i < first + count; i++) {
		if (memfd->frames[i] == NO_FRAME)
			continue;
		folio_put(memfd->host, pfn(memfd->frames[i]));
		memfd->frames[i] = NO_FRAME;
		memfd->filled--;
	}
}

enum status memfd_destroy(struct memfd *memfd)
{
	write_lock(&memfd->lock);
	bool heard = !list_empty(&memfd->notifiers);

	if (!heard)
		free_pages(memfd, 0, memfd->pages);
	write_unlock(&memfd->lock);
	if (heard)
		return STATUS_EXISTS;
	folio_put(memfd->host, ptr_to_pfn(memfd));
	return STATUS_OK;
}

uint64_t memfd_pages(const struct memfd *memfd) { return memfd->pages; }

uint64_t memfd_filled(struct memfd *memfd)
{
	read_lock(&memfd->lock);
	uint64_t filled = memfd->filled;

	read_unlock(&memfd->lock);
	return filled;
}

/* ------------------------------------------------------------------ who listens */

void memfd_register(struct memfd *memfd, struct notifier *notifier)
{
	write_lock(&memfd->lock);
	list_append(&memfd->notifiers, &notifier->link);
	write_unlock(&memfd->lock);
}

void memfd_unregister(struct memfd *memfd, struct notifier *notifier)
{
	write_lock(&memfd->lock);
	list_remove(&notifier->link);
	write_unlock(&memfd->lock);
}

static void tell_start(struct memfd *memfd, const struct mm_range *range) HOLDS(memfd->lock)
{
	host_count(memfd->host, HOST_BRACKETS, 1);
	list_for_each(node, &memfd->notifiers) {
		struct notifier *notifier = container_of(node, struct notifier, link);

		notifier->ops->start(notifier, range);
	}
	trace_step(memfd->host->trace, TRACE_RANGE_START, range->start.raw, range->event);
}

static void tell_end(struct memfd *memfd, const struct mm_range *range) HOLDS(memfd->lock)
{
	trace_step(memfd->host->trace, TRACE_RANGE_END, range->start.raw, range->event);
	list_for_each(node, &memfd->notifiers) {
		struct notifier *notifier = container_of(node, struct notifier, link);

		notifier->ops->end(notifier, range);
	}
}

/* ------------------------------------------------------------------ pages come and go */

/* Who may write is who has been seen to: a page that was only read is lent for reading. */
static struct mm_page name(const struct memfd *memfd, uint64_t index) HOLDS_SHARED(memfd->lock)
{
	pfn_t frame = pfn(memfd->frames[index]);
	bool dirty = folio_dirty(memfd->host, frame);

	return (struct mm_page){ frame, LEVEL_4K, .writable = dirty, .dirty = dirty };
}

/* Under the lock, so that the page can't go before it is marked. */
static bool find(struct memfd *memfd, uint64_t index, enum access access, struct mm_page *out)
	HOLDS_SHARED(memfd->lock)
{
	if (memfd->frames[index] == NO_FRAME)
		return false;
	*out = name(memfd, index);
	folio_mark_accessed(memfd->host, out->frame);
	if (access & ACCESS_WRITE && !out->writable) {
		folio_mark_dirty(memfd->host, out->frame);
		out->writable = true;
	}
	return true;
}

/*
 * Linux: kvm_gmem_get_folio. Zeroed without the lock; who comes second uses what the first put in.
 */
static enum status fill(struct memfd *memfd, uint64_t index)
{
	pfn_t frame;
	enum status status = folio_alloc_zeroed(memfd->host, ORDER_4K, &frame);

	if (status != STATUS_OK)
		return status;
	write_lock(&memfd->lock);
	bool mine = memfd->frames[index] == NO_FRAME;

	if (mine) {
		memfd->frames[index] = (uint32_t)frame.raw;
		memfd->filled++;
	}
	write_unlock(&memfd->lock);
	if (!mine)
		folio_put(memfd->host, frame);
	return STATUS_OK;
}

enum status memfd_lookup(struct memfd *memfd, uint64_t index, enum access access,
			 struct mm_page *out)
{
	enum status status = STATUS_OK;

	if (index >= memfd->pages)
		return STATUS_NOT_FOUND;
	while (status == STATUS_OK) {
		read_lock(&memfd->lock);
		bool found = find(memfd, index, access, out);

		read_unlock(&memfd->lock);
		if (found)
			return STATUS_OK;
		status = fill(memfd, index);
	}
	return status;
}

enum status memfd_peek(struct memfd *memfd, uint64_t index, struct mm_page *out)
{
	if (index >= memfd->pages)
		return STATUS_NOT_FOUND;
	read_lock(&memfd->lock);
	bool there = memfd->frames[index] != NO_FRAME;

	if (there)
		*out = name(memfd, index);
	read_unlock(&memfd->lock);
	return there ? STATUS_OK : STATUS_NOT_FOUND;
}

enum status memfd_punch(struct memfd *memfd, uint64_t first, uint64_t count)
{
	struct mm_range range = { .start = hva(first << PAGE_SHIFT),
				  .end = hva((first + count) << PAGE_SHIFT), .event = EVENT_UNMAP };

	/* In this order, so that no sum wraps. */
	if (!count || first >= memfd->pages || count > memfd->pages - first)
		return STATUS_BAD_RANGE;
	write_lock(&memfd->lock);
	tell_start(memfd, &range);
	free_pages(memfd, first, count);
	tell_end(memfd, &range);
	write_unlock(&memfd->lock);
	return STATUS_OK;
}
