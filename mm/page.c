/*
 * The buddy allocator: blocks of 2^order frames, order 0 to 18, aligned to their size. Called by
 * folio.c and host.c. Free blocks of one order form a list linked by frame numbers inside their
 * metadata, so a free frame's bytes are never touched. All of it under host->lock, but for the few
 * frames of order 0 that each CPU keeps for itself (struct host_cpu).
 *
 * Linux: __alloc_pages, __free_one_page, rmqueue_pcplist, free_unref_page.
 */
#include "mm/host.h"

enum { NOT_REFUSED = ORDER_MAX + 1 };

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

bool page_find_head(const struct host *host, pfn_t frame, pfn_t *head)
{
	for (uint64_t at = frame.raw;; at &= at - 1) {
		const struct folio *folio = page_folio(host, pfn(at));
		uint32_t flags = folio ? atomic_read(&folio->flags) : 0;

		if (!flags && folio && at)
			continue;
		*head = pfn(at);
		return flags & FOLIO_USED && !(flags & FOLIO_FREE) &&
		       !((frame.raw - at) >> (flags & FOLIO_ORDER));
	}
}

void page_lists_init(struct host *host)
{
	for (unsigned order = 0; order <= ORDER_MAX; order++)
		host->free_heads[order] = NO_FRAME;
	for (unsigned i = 0; i < MAX_CPUS; i++) {
		host->cpus[i].first = NO_FRAME;
		host->cpus[i].refused_order = NOT_REFUSED;
	}
	page_keep(host, KEPT_MAX);
}

void page_keep(struct host *host, uint32_t kept_max)
{
	host->kept_max = kept_max;
	for (unsigned i = 0; i < MAX_CPUS; i++)
		atomic_write(&host->cpus[i].limit, kept_max);
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

/* ------------------------------------------------------------------ a CPU's own frames */

static struct host_cpu *this_cpu(struct host *host) { return &host->cpus[port_cpu()]; }

/* Relaxed, here and below: this CPU alone writes the word. */
static void add_relaxed(atomic32_t *word, uint32_t by)
{
	atomic_write_relaxed(word, atomic_read_relaxed(word) + by);
}

static uint32_t take_kept(struct host *host, struct host_cpu *cpu)
{
	uint32_t head = cpu->first;
	struct folio *folio = known_folio(host, head);

	add_relaxed(&cpu->changes, 1);
	atomic_write(&folio->flags, FOLIO_USED);
	cpu->first = folio->next;
	atomic_write(&cpu->kept, atomic_read_relaxed(&cpu->kept) - 1);
	return head;
}

static void keep(struct host_cpu *cpu, struct folio *folio, pfn_t head)
{
	add_relaxed(&cpu->changes, 1);
	atomic_write(&folio->flags, FOLIO_KEPT);
	folio->next = cpu->first;
	cpu->first = (uint32_t)head.raw;
	atomic_write(&cpu->kept, atomic_read_relaxed(&cpu->kept) + 1);
}

/* An empty list gets half of what it may hold, or what there is; lowest first, as blocks are cut. */
static void refill(struct host *host, struct host_cpu *cpu) HOLDS(host->lock)
{
	uint32_t wanted = host->kept_max / 2, got = 0;
	uint32_t *link = &cpu->first;

	for (uint32_t head; got < wanted && (head = take_block(host, 0)) != NO_FRAME; got++) {
		struct folio *folio = known_folio(host, head);

		atomic_write(&folio->flags, FOLIO_KEPT);
		*link = head;
		link = &folio->next;
	}
	*link = NO_FRAME;
	add_relaxed(&cpu->changes, got);
	add_relaxed(&cpu->kept, got);
}

/* All but so many. */
static void give_back(struct host *host, struct host_cpu *cpu, uint32_t rest) HOLDS(host->lock)
{
	for (; atomic_read_relaxed(&cpu->kept) > rest; add_relaxed(&cpu->kept, UINT32_MAX)) {
		pfn_t head = pfn(cpu->first);
		struct folio *folio = known_folio(host, head.raw);

		cpu->first = folio->next;
		atomic_write(&folio->flags, 0);
		give_block(host, head, 0);
		add_relaxed(&cpu->changes, 1);
	}
}

/* For what they keep: their next free gives it back. They may go on lending it till then. */
static void ask_others(struct host *host, const struct host_cpu *self) HOLDS(host->lock)
{
	for (struct host_cpu *cpu = host->cpus; cpu < &host->cpus[MAX_CPUS]; cpu++)
		if (cpu != self)
			atomic_write(&cpu->limit, 0);
}

/*
 * What the CPU itself keeps may be the block's missing part. But a refusal is no reason to look for
 * it again before something was freed: a host without large blocks refuses them at every fault.
 */
static uint32_t take_with_kept(struct host *host, struct host_cpu *cpu, unsigned order)
	HOLDS(host->lock)
{
	if (order >= cpu->refused_order)
		return NO_FRAME;
	give_back(host, cpu, 0);

	uint32_t head = take_block(host, order);

	if (head == NO_FRAME) {
		cpu->refused_order = order;
		ask_others(host, cpu);
	}
	return head;
}

/* From the buddy allocator; of order 0 when the CPU keeps nothing: then it keeps some more. */
static uint32_t take_locked(struct host *host, struct host_cpu *cpu, unsigned order)
{
	spin_lock(&host->lock);
	uint32_t head = take_block(host, order);

	if (head == NO_FRAME)
		head = take_with_kept(host, cpu, order);
	else if (order >= cpu->refused_order)
		cpu->refused_order = NOT_REFUSED;
	if (head != NO_FRAME && order == ORDER_4K)
		refill(host, cpu);
	spin_unlock(&host->lock);
	return head;
}

/* ------------------------------------------------------------------ blocks, for mm */

enum status page_alloc(struct host *host, unsigned order, pfn_t *out)
{
	struct page_watch *watch = host->watch;

	if (order > ORDER_MAX || (watch && !watch->may_alloc(watch, order)))
		return STATUS_NO_MEMORY;

	struct host_cpu *cpu = this_cpu(host);
	uint32_t head = order == ORDER_4K && cpu->first != NO_FRAME ? take_kept(host, cpu) :
		take_locked(host, cpu, order);

	if (head == NO_FRAME)
		return STATUS_NO_MEMORY;
	*out = pfn(head);
	if (watch)
		watch->allocated(watch, *out, order);
	return STATUS_OK;
}

/* The list is full, or was asked for by a CPU that found no memory, or the block is a large one. */
static void free_locked(struct host *host, struct host_cpu *cpu, struct folio *folio, pfn_t head)
{
	unsigned order = atomic_read(&folio->flags) & FOLIO_ORDER;

	spin_lock(&host->lock);
	if (order == ORDER_4K) {
		give_back(host, cpu, atomic_read(&cpu->limit) / 2);
		atomic_write(&cpu->limit, host->kept_max);
	}
	atomic_write(&folio->flags, 0);
	give_block(host, head, order);
	spin_unlock(&host->lock);
}

void page_free(struct host *host, pfn_t head)
{
	struct folio *folio = known_folio(host, head.raw);
	unsigned order = atomic_read(&folio->flags) & FOLIO_ORDER;
	struct host_cpu *cpu = this_cpu(host);

	if (host->watch)
		host->watch->freeing(host->watch, head, order);
	cpu->refused_order = NOT_REFUSED;
	/* Relaxed: a request that comes a moment too late is met by the next free. */
	if (order || atomic_read_relaxed(&cpu->kept) >= atomic_read_relaxed(&cpu->limit))
		free_locked(host, cpu, folio, head);
	else
		keep(cpu, folio, head);
}

uint64_t page_count_free(const struct host *host)
{
	uint64_t pages = host->pages_free;

	for (unsigned i = 0; i < MAX_CPUS; i++)
		pages += atomic_read(&host->cpus[i].kept);
	return pages;
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
