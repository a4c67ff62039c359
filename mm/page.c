/*
 * The buddy allocator: blocks of 2^order frames, order 0 to 18, aligned to their size. Called by
 * folio.c and host.c. Free blocks of one order form a list linked by frame numbers inside their
 * metadata, so a free frame's bytes are never touched. All of it under host->lock, but for the few
 * frames of order 0 that each CPU keeps for itself (struct host_cpu).
 *
 * Linux: __alloc_pages, __free_one_page, rmqueue_pcplist, free_unref_page.
 */
#include "mm/host.h"

/* A path that is seldom taken costs the other one no registers. */
#define SELDOM __attribute__((noinline))
#define FAST inline __attribute__((always_inline))

enum { NOT_REFUSED = ORDER_MAX + 1 };

/*
 * A block of order n begins at its frame number with the low n bits cleared, and no frame inside
 * it but the first carries a kind. So clearing one bit after the other, lowest first, meets the
 * head before anything else. Lockless: whoever holds the folio keeps those words from changing.
 */
pfn_t page_search_head(const struct host *host, pfn_t frame)
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
	for (unsigned i = 0; i < MAX_CPUS; i++)
		host->cpus[i].refused_order = NOT_REFUSED;
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
	struct folio *folio = page_known(host, head);
	uint32_t next = host->free_heads[order];

	folio->previous = NO_FRAME;
	folio->next = next;
	if (next != NO_FRAME)
		page_known(host, pfn(next))->previous = (uint32_t)head.raw;
	host->free_heads[order] = (uint32_t)head.raw;
	host->free_orders |= UINT32_C(1) << order;
	atomic_write(&folio->flags, FOLIO_FREE | order);
}

/* Leaves the block a tail: what the caller makes of it is the caller's to write. */
static void take_free(struct host *host, struct folio *folio, unsigned order) HOLDS(host->lock)
{
	if (folio->next != NO_FRAME)
		page_known(host, pfn(folio->next))->previous = folio->previous;
	if (folio->previous != NO_FRAME)
		page_known(host, pfn(folio->previous))->next = folio->next;
	else
		host->free_heads[order] = folio->next;
	if (host->free_heads[order] == NO_FRAME)
		host->free_orders &= ~(UINT32_C(1) << order);
	atomic_write(&folio->flags, 0);
}

/* The same of the list's first one. */
static struct block pop_free(struct host *host, unsigned order) HOLDS(host->lock)
{
	pfn_t head = pfn(host->free_heads[order]);
	struct folio *folio = page_known(host, head);

	host->free_heads[order] = folio->next;
	if (folio->next == NO_FRAME)
		host->free_orders &= ~(UINT32_C(1) << order);
	else
		page_known(host, pfn(folio->next))->previous = NO_FRAME;
	return (struct block){ folio, head };
}

/* The smallest block that is large enough, its upper halves given back. False: none. */
static bool take_block(struct host *host, unsigned order, struct block *out) HOLDS(host->lock)
{
	uint32_t fitting = order > ORDER_MAX ? 0 : host->free_orders & (UINT32_MAX << order);

	if (!fitting)
		return false;

	unsigned have = (unsigned)__builtin_ctz(fitting);

	*out = pop_free(host, have);
	while (have > order) {
		have--;
		push_free(host, pfn_add(out->head, UINT64_C(1) << have), have);
	}
	atomic_write(&out->folio->flags, FOLIO_USED | order);
	host->pages_free -= UINT64_C(1) << order;
	return true;
}

/* A free block that has frames of [first, end), a small one if possible. False: none. */
static bool find_within(struct host *host, uint64_t first, uint64_t end, unsigned *order,
			uint64_t *head) HOLDS(host->lock)
{
	for (*order = 0; *order <= ORDER_MAX; (*order)++) {
		uint32_t at = host->free_heads[*order];

		for (; at != NO_FRAME; at = page_known(host, pfn(at))->next) {
			*head = at;
			if (at < end && at + (UINT64_C(1) << *order) > first)
				return true;
		}
	}
	return false;
}

/* Cut down to one frame that is inside. */
static bool take_within(struct host *host, uint64_t first, uint64_t end, struct block *out)
	HOLDS(host->lock)
{
	unsigned order;
	uint64_t head;

	if (!find_within(host, first, end, &order, &head))
		return false;
	take_free(host, page_known(host, pfn(head)), order);
	while (order > ORDER_4K) {
		uint64_t upper = head + (UINT64_C(1) << --order);
		/* The lower half, if there is one frame of ours in it. */
		bool lower = upper > first;

		push_free(host, pfn(lower ? upper : head), order);
		head = lower ? head : upper;
	}
	*out = (struct block){ page_known(host, pfn(head)), pfn(head) };
	atomic_write(&out->folio->flags, FOLIO_USED);
	host->pages_free--;
	return true;
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

/* `kept` is the word as it was read: nobody else writes it. */
static FAST struct block take_kept(struct host_cpu *cpu, uint32_t kept)
{
	struct block top = cpu->frames[kept_frames(kept) - 1];

	atomic_write(&cpu->kept, kept + KEPT_CHANGE);
	atomic_write(&top.folio->flags, FOLIO_USED);
	atomic_write(&cpu->kept, kept + KEPT_CHANGE - 1);
	return top;
}

static FAST void keep(struct host_cpu *cpu, uint32_t kept, struct block frame)
{
	atomic_write(&cpu->kept, kept + KEPT_CHANGE);
	atomic_write(&frame.folio->flags, FOLIO_KEPT);
	cpu->frames[kept_frames(kept)] = frame;
	atomic_write(&cpu->kept, kept + KEPT_CHANGE + 1);
}

/* Who keeps none gets half of what it may, or what there is. */
static SELDOM void refill(struct host *host, struct host_cpu *cpu) HOLDS(host->lock)
{
	uint32_t got = 0;

	for (; got < host->kept_max / 2 && take_block(host, ORDER_4K, &cpu->frames[got]); got++)
		atomic_write(&cpu->frames[got].folio->flags, FOLIO_KEPT);
	atomic_write(&cpu->kept, atomic_read(&cpu->kept) + got * (KEPT_CHANGE + 1));
}

/* All but so many, the last that came first. */
static SELDOM void give_back(struct host *host, struct host_cpu *cpu, uint32_t rest)
	HOLDS(host->lock)
{
	uint32_t kept = atomic_read(&cpu->kept);

	for (; kept_frames(kept) > rest; kept += KEPT_CHANGE - 1) {
		struct block frame = cpu->frames[kept_frames(kept) - 1];

		atomic_write(&frame.folio->flags, 0);
		give_block(host, frame.head, ORDER_4K);
	}
	atomic_write(&cpu->kept, kept);
}

/*
 * All CPUs, for what they keep: their next free gives it back. They may go on lending it till then.
 */
static void ask_all(struct host *host) HOLDS(host->lock)
{
	for (unsigned i = 0; i < MAX_CPUS; i++)
		atomic_write(&host->cpus[i].limit, 0);
}

/*
 * What the CPU itself keeps may be the block's missing part. But a refusal is no reason to look for
 * it again before something was freed: a host without large blocks refuses them at every fault.
 */
static SELDOM bool take_with_kept(struct host *host, struct host_cpu *cpu, unsigned order,
			   struct block *out) HOLDS(host->lock)
{
	if (order >= cpu->refused_order)
		return false;
	give_back(host, cpu, 0);
	if (take_block(host, order, out))
		return true;
	cpu->refused_order = order;
	ask_all(host);
	return false;
}

/* From the buddy allocator; of order 0 when the CPU keeps none: then it keeps some more. */
static SELDOM enum status take_locked(struct host *host, struct host_cpu *cpu, unsigned order,
				      struct block *out)
{
	spin_lock(&host->lock);
	bool taken = take_block(host, order, out);

	if (!taken)
		taken = take_with_kept(host, cpu, order, out);
	else if (order >= cpu->refused_order)
		cpu->refused_order = NOT_REFUSED;
	if (taken && order == ORDER_4K)
		refill(host, cpu);
	spin_unlock(&host->lock);
	return taken ? STATUS_OK : STATUS_NO_MEMORY;
}

static SELDOM void give_locked(struct host *host, struct host_cpu *cpu, struct block block,
			       unsigned order)
{
	spin_lock(&host->lock);
	if (order == ORDER_4K) {
		/* Too many are kept, or some CPU found no memory. */
		give_back(host, cpu, atomic_read(&cpu->limit) / 2);
		atomic_write(&cpu->limit, host->kept_max);
	}
	cpu->refused_order = NOT_REFUSED;
	atomic_write(&block.folio->flags, 0);
	give_block(host, block.head, order);
	spin_unlock(&host->lock);
}

/* ------------------------------------------------------------------ blocks, for mm */

static FAST enum status take(struct host *host, unsigned order, struct block *out)
{
	struct host_cpu *cpu = this_cpu(host);
	uint32_t kept = atomic_read(&cpu->kept);

	if (order != ORDER_4K || !kept_frames(kept))
		return take_locked(host, cpu, order, out);
	*out = take_kept(cpu, kept);
	return STATUS_OK;
}

static SELDOM enum status take_watched(struct host *host, unsigned order, struct block *out)
{
	struct page_watch *watch = host->watch;

	if (!watch->may_alloc(watch, order))
		return STATUS_NO_MEMORY;

	enum status status = take(host, order, out);

	if (status == STATUS_OK)
		watch->allocated(watch, out->head, order);
	return status;
}

enum status page_alloc(struct host *host, unsigned order, struct block *out)
{
	return host->watch ? take_watched(host, order, out) : take(host, order, out);
}

enum status page_alloc_within(struct host *host, pfn_t first, pfn_t end, struct block *out)
{
	struct page_watch *watch = host->watch;

	if (watch && !watch->may_alloc(watch, ORDER_4K))
		return STATUS_NO_MEMORY;
	spin_lock(&host->lock);
	bool taken = take_within(host, first.raw, end.raw, out);

	spin_unlock(&host->lock);
	if (taken && watch)
		watch->allocated(watch, out->head, ORDER_4K);
	return taken ? STATUS_OK : STATUS_NO_MEMORY;
}

static FAST void give(struct host *host, struct block block, unsigned order)
{
	struct host_cpu *cpu = this_cpu(host);
	uint32_t kept = atomic_read(&cpu->kept);

	/* A request that comes a moment later is met by the next free. */
	if (order != ORDER_4K || kept_frames(kept) >= atomic_read(&cpu->limit))
		give_locked(host, cpu, block, order);
	else
		keep(cpu, kept, block);
}

static SELDOM void give_watched(struct host *host, struct block block, unsigned order)
{
	host->watch->freeing(host->watch, block.head, order);
	give(host, block, order);
}

void page_free(struct host *host, struct block block)
{
	unsigned order = atomic_read(&block.folio->flags) & FOLIO_ORDER;

	if (host->watch)
		give_watched(host, block, order);
	else
		give(host, block, order);
}

uint64_t page_count_free(const struct host *host)
{
	uint64_t pages = host->pages_free;

	for (unsigned i = 0; i < MAX_CPUS; i++)
		pages += kept_frames(atomic_read(&host->cpus[i].kept));
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
