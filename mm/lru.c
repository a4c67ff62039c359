/*
 * The lists of lru.h. Each is linked through its folios (next: older, previous: newer), newest
 * first; which one a folio is on follows from its flags, which is why ACTIVE, SWAPBACKED, LRU and
 * LRU_NEW change only under host->lru_lock, or while the folio is on none.
 */
#include "mm/lru.h"

void lru_init(struct host *host)
{
	for (unsigned i = 0; i < LRU_LISTS; i++)
		host->lists[i].newest = host->lists[i].oldest = NO_FRAME;
}

/* Linux: folio_lru_list. */
static struct lru_list *list_for(struct host *host, uint32_t flags) HOLDS(host->lru_lock)
{
	enum lru list = flags & FOLIO_SWAPBACKED ? LRU_INACTIVE_ANON : LRU_INACTIVE_FILE;

	if (flags & FOLIO_LRU_NEW)
		list = LRU_BATCH;
	else if (flags & FOLIO_ACTIVE)
		list++;
	return &host->lists[list];
}

static struct lru_list *list_of(struct host *host, const struct folio *folio) HOLDS(host->lru_lock)
{
	return list_for(host, atomic_read(&folio->flags));
}

static void push(struct host *host, pfn_t frame, struct folio *folio) HOLDS(host->lru_lock)
{
	struct lru_list *list = list_of(host, folio);

	folio->previous = NO_FRAME;
	folio->next = list->newest;
	if (list->newest != NO_FRAME)
		page_known(host, pfn(list->newest))->previous = (uint32_t)frame.raw;
	else
		list->oldest = (uint32_t)frame.raw;
	list->newest = (uint32_t)frame.raw;
	atomic_bump(&list->folios, 1);
}

static inline void take_from(struct host *host, struct lru_list *list, const struct folio *folio)
	HOLDS(host->lru_lock)
{
	if (folio->previous != NO_FRAME)
		page_known(host, pfn(folio->previous))->next = folio->next;
	else
		list->newest = folio->next;
	if (folio->next != NO_FRAME)
		page_known(host, pfn(folio->next))->previous = folio->previous;
	else
		list->oldest = folio->previous;
	atomic_bump(&list->folios, UINT64_MAX);
}

static void take(struct host *host, struct folio *folio) HOLDS(host->lru_lock)
{
	take_from(host, list_of(host, folio), folio);
}

/* From one list to another, as its newest: some flags go, others come. */
static void move(struct host *host, pfn_t frame, struct folio *folio, uint32_t go, uint32_t come)
	HOLDS(host->lru_lock)
{
	take(host, folio);
	atomic_and(&folio->flags, ~go);
	atomic_or(&folio->flags, come);
	push(host, frame, folio);
}

/* Oldest first: the order stays. */
static void drain(struct host *host) HOLDS(host->lru_lock)
{
	while (atomic_read(&host->lists[LRU_BATCH].folios)) {
		pfn_t frame = pfn(host->lists[LRU_BATCH].oldest);

		move(host, frame, page_known(host, frame), FOLIO_LRU_NEW, FOLIO_LRU);
	}
}

void lru_add(struct host *host, pfn_t frame)
{
	struct folio *folio = page_known(host, frame);

	spin_lock(&host->lru_lock);
	check(!(atomic_or(&folio->flags, FOLIO_LRU_NEW) & FOLIO_ON_LIST));
	push(host, frame, folio);
	if (atomic_read(&host->lists[LRU_BATCH].folios) == LRU_BATCH_MAX)
		drain(host);
	spin_unlock(&host->lru_lock);
}

void lru_drain(struct host *host)
{
	trace_step(host->trace, TRACE_LRU_DRAIN, 0, 0);
	spin_lock(&host->lru_lock);
	drain(host);
	spin_unlock(&host->lru_lock);
}

void lru_remove(struct host *host, pfn_t frame)
{
	struct folio *folio = page_known(host, frame);

	spin_lock(&host->lru_lock);
	take(host, folio);
	atomic_and(&folio->flags, ~FOLIO_ON_LIST);
	spin_unlock(&host->lru_lock);
}

/* ------------------------------------------------------------------ off, and back */

bool lru_isolate(struct host *host, pfn_t frame)
{
	pfn_t head = page_head(host, frame);
	struct folio *folio = page_known(host, head);

	spin_lock(&host->lru_lock);
	bool on = atomic_read(&folio->flags) & FOLIO_ON_LIST;

	if (on) {
		take(host, folio);
		atomic_and(&folio->flags, ~FOLIO_ON_LIST);
	}
	spin_unlock(&host->lru_lock);
	return on;
}

unsigned lru_isolate_oldest(struct host *host, enum lru list, unsigned most, struct block *out)
{
	struct lru_list *from = &host->lists[list];
	unsigned count = 0;

	spin_lock(&host->lru_lock);
	for (uint32_t at = from->oldest; at != NO_FRAME && count < most;) {
		pfn_t frame = pfn(at);
		struct folio *folio = page_known(host, frame);

		at = folio->previous;
		/* None any more: it is about to be taken off by the CPU that put the last one. */
		if (!folio_try_get(folio))
			continue;
		take_from(host, from, folio);
		atomic_and(&folio->flags, ~FOLIO_LRU);
		out[count++] = (struct block){ folio, frame };
	}
	spin_unlock(&host->lru_lock);
	return count;
}

void lru_putback(struct host *host, pfn_t frame)
{
	pfn_t head = page_head(host, frame);
	struct folio *folio = page_known(host, head);

	spin_lock(&host->lru_lock);
	check(!(atomic_or(&folio->flags, FOLIO_LRU) & FOLIO_ON_LIST));
	push(host, head, folio);
	spin_unlock(&host->lru_lock);
	folio_put(host, head);
}

/* ------------------------------------------------------------------ from list to list */

bool folio_activate(struct host *host, pfn_t frame)
{
	pfn_t head = page_head(host, frame);
	struct folio *folio = page_known(host, head);

	spin_lock(&host->lru_lock);
	uint32_t flags = atomic_read(&folio->flags);

	if (flags & FOLIO_ON_LIST && !(flags & FOLIO_ACTIVE))
		move(host, head, folio, 0, FOLIO_ACTIVE);
	spin_unlock(&host->lru_lock);
	return flags & FOLIO_ON_LIST;
}

void folio_deactivate(struct host *host, pfn_t frame)
{
	pfn_t head = page_head(host, frame);
	struct folio *folio = page_known(host, head);

	spin_lock(&host->lru_lock);
	if (atomic_read(&folio->flags) & FOLIO_ON_LIST)
		move(host, head, folio, FOLIO_ACTIVE | FOLIO_ACCESSED, 0);
	spin_unlock(&host->lru_lock);
}

void folio_mark_lazyfree(struct host *host, pfn_t frame)
{
	pfn_t head = page_head(host, frame);
	struct folio *folio = page_known(host, head);

	spin_lock(&host->lru_lock);
	uint32_t flags = atomic_read(&folio->flags);

	if (flags & FOLIO_ON_LIST && flags & FOLIO_ANON && flags & FOLIO_SWAPBACKED &&
	    !(flags & FOLIO_SWAPCACHE))
		move(host, head, folio, FOLIO_ACTIVE | FOLIO_ACCESSED | FOLIO_SWAPBACKED, 0);
	spin_unlock(&host->lru_lock);
}

void lru_rotate(struct host *host, pfn_t frame)
{
	struct folio *folio = page_known(host, frame);

	spin_lock(&host->lru_lock);
	if ((atomic_read(&folio->flags) & (FOLIO_LRU | FOLIO_ACTIVE)) == FOLIO_LRU) {
		struct lru_list *list = list_of(host, folio);

		take(host, folio);
		folio->next = NO_FRAME;
		folio->previous = list->oldest;
		if (list->oldest != NO_FRAME)
			page_known(host, pfn(list->oldest))->next = (uint32_t)frame.raw;
		else
			list->newest = (uint32_t)frame.raw;
		list->oldest = (uint32_t)frame.raw;
		atomic_bump(&list->folios, 1);
	}
	spin_unlock(&host->lru_lock);
}
