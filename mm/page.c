/*
 * The buddy allocator: blocks of 2^order frames, order 0 to 18, aligned to their size. Called by
 * folio.c and host.c. Free blocks of one order form a list linked by frame numbers inside their
 * metadata, so a free frame's bytes are never touched. All of it under host->lock.
 *
 * Linux: __alloc_pages, __free_one_page.
 */
#include "mm/host.h"

struct folio *page_folio(const struct host *host, pfn_t frame)
{
	uint64_t number = frame.raw >> SECTION_SHIFT;

	if (number >= host->section_count)
		return NULL;

	const struct section *section = &host->sections[number];
	uint64_t i = (frame.raw & (SECTION_FRAMES - 1)) - section->first;

	return i < section->count ? &section->folios[i] : NULL;
}

/* Of a frame that is known to have it: a member of a list, or the upper half of a block. */
static struct folio *known_folio(const struct host *host, uint64_t frame)
{
	struct folio *folio = page_folio(host, pfn(frame));

	check(folio);
	return folio;
}

/*
 * A block of order n begins at its frame number with the low n bits cleared, and no frame inside
 * it but the first carries a kind. So clearing one bit after the other, lowest first, meets the
 * head before anything else. Lockless: whoever holds the folio keeps those words from changing.
 */
pfn_t page_head(const struct host *host, pfn_t frame)
{
	for (uint64_t at = frame.raw;; at &= at - 1) {
		const struct folio *folio = page_folio(host, pfn(at));
		uint32_t flags = folio ? atomic_read(&folio->flags) : 0;

		if (!flags && folio && at)
			continue;
		if (!flags || (frame.raw - at) >> (flags & FOLIO_ORDER))
			port_panic("frame 0x%lx is not memory of this host", frame.raw);
		if (flags & FOLIO_FREE)
			port_panic("frame 0x%lx is used after it was freed", frame.raw);
		return pfn(at);
	}
}

void page_lists_init(struct host *host)
{
	for (unsigned order = 0; order <= ORDER_MAX; order++)
		host->free_heads[order] = NO_FRAME;
}

static void push_free(struct host *host, pfn_t head, unsigned order) HOLDS(host->lock)
{
	struct folio *folio = known_folio(host, head.raw);
	uint32_t next = host->free_heads[order];

	folio->previous = NO_FRAME;
	folio->next = next;
	if (next != NO_FRAME)
		known_folio(host, next)->previous = (uint32_t)head.raw;
	host->free_heads[order] = (uint32_t)head.raw;
	host->free_orders |= UINT32_C(1) << order;
	atomic_write(&folio->flags, FOLIO_FREE | order);
}

/* Leaves the block a tail: what the caller makes of it is the caller's to write. */
static void take_free(struct host *host, struct folio *folio, unsigned order) HOLDS(host->lock)
{
	if (folio->next != NO_FRAME)
		known_folio(host, folio->next)->previous = folio->previous;
	if (folio->previous != NO_FRAME)
		known_folio(host, folio->previous)->next = folio->next;
	else
		host->free_heads[order] = folio->next;
	if (host->free_heads[order] == NO_FRAME)
		host->free_orders &= ~(UINT32_C(1) << order);
	atomic_write(&folio->flags, 0);
}

/* The smallest block that is large enough, its upper halves given back. NO_FRAME: none. */
static uint32_t take_block(struct host *host, unsigned order) HOLDS(host->lock)
{
	uint32_t fitting = host->free_orders & (UINT32_MAX << order);

	if (!fitting)
		return NO_FRAME;

	unsigned have = (unsigned)__builtin_ctz(fitting);
	uint32_t head = host->free_heads[have];
	struct folio *folio = known_folio(host, head);

	take_free(host, folio, have);
	while (have > order) {
		have--;
		push_free(host, pfn(head + (UINT64_C(1) << have)), have);
	}
	atomic_write(&folio->flags, FOLIO_USED | order);
	host->pages_free -= UINT64_C(1) << order;
	return head;
}

static void give_block(struct host *host, pfn_t head, unsigned order) HOLDS(host->lock)
{
	host->pages_free += UINT64_C(1) << order;
	for (; order < ORDER_MAX; order++) {
		pfn_t buddy = pfn(head.raw ^ UINT64_C(1) << order);
		struct folio *folio = page_folio(host, buddy);

		if (!folio || atomic_read(&folio->flags) != (FOLIO_FREE | order))
			break;
		take_free(host, folio, order);
		head.raw &= buddy.raw;
	}
	push_free(host, head, order);
}

enum status page_alloc(struct host *host, unsigned order, pfn_t *out)
{
	struct page_watch *watch = host->watch;

	if (order > ORDER_MAX || (watch && !watch->may_alloc(watch, order)))
		return STATUS_NO_MEMORY;

	spin_lock(&host->lock);
	uint32_t head = take_block(host, order);
	spin_unlock(&host->lock);

	if (head == NO_FRAME)
		return STATUS_NO_MEMORY;
	*out = pfn(head);
	if (watch)
		watch->allocated(watch, *out, order);
	return STATUS_OK;
}

void page_free(struct host *host, pfn_t head)
{
	struct folio *folio = known_folio(host, head.raw);
	unsigned order = atomic_read(&folio->flags) & FOLIO_ORDER;

	if (host->watch)
		host->watch->freeing(host->watch, head, order);
	spin_lock(&host->lock);
	atomic_write(&folio->flags, 0);
	give_block(host, head, order);
	spin_unlock(&host->lock);
}

void page_add_range(struct host *host, pfn_t start, pfn_t end)
{
	host->pages_total += end.raw - start.raw;
	spin_lock(&host->lock);
	while (start.raw < end.raw) {
		unsigned order = 0;

		/* The largest block that is aligned here and ends inside. */
		while (order < ORDER_MAX && !(start.raw & ((UINT64_C(2) << order) - 1)) &&
		       start.raw + (UINT64_C(2) << order) <= end.raw)
			order++;
		give_block(host, start, order);
		start = pfn_add(start, UINT64_C(1) << order);
	}
	spin_unlock(&host->lock);
}
