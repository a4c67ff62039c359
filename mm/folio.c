/*
 * Folios: reference counts, map counts, dirty and accessed marks. Called by everybody who holds a
 * frame. No lock: the counts and flags are atomic, the order is fixed while the folio lives.
 *
 * As in Linux, a leaf of a primary table holds one reference and counts once in mapcount, a
 * secondary MMU holds neither: refcount == mapcount means that nobody else uses the folio.
 */
#include "mm/file.h"
#include "mm/hugetlb.h"
#include "mm/lru.h"

static pfn_t begin(struct block block)
{
	/* Relaxed: nobody else knows the folio yet. */
	atomic_write_relaxed(&block.folio->mapcount, 0);
	block.folio->file = NO_FRAME;
	/* The last: now it can be had by its frame's number (folio_find). */
	atomic_write(&block.folio->refcount, 1);
	return block.head;
}

enum status folio_alloc(struct host *host, unsigned order, pfn_t *out)
{
	struct block block;
	enum status status = page_alloc(host, order, &block);

	if (status == STATUS_OK)
		*out = begin(block);
	return status;
}

enum status folio_alloc_within(struct host *host, pfn_t first, pfn_t end, pfn_t *out)
{
	struct block block;
	enum status status = page_alloc_within(host, first, end, &block);

	if (status == STATUS_OK)
		*out = begin(block);
	return status;
}

enum status folio_alloc_zeroed(struct host *host, unsigned order, pfn_t *out)
{
	enum status status = folio_alloc(host, order, out);

	if (status == STATUS_OK)
		__builtin_memset(pfn_to_ptr(*out), 0, PAGE_SIZE << order);
	return status;
}

void folio_get(struct host *host, pfn_t frame)
{
	if (!atomic_add(&folio_of(host, frame)->refcount, 1))
		port_panic("frame 0x%lx: a reference taken to a folio that has none", frame.raw);
}

/*
 * Without a reference the folio may be freed, split, lent again between any two steps, so what was
 * found is looked at again when it is held. Linux: page_idle_get_folio, folio_try_get and its
 * likes.
 */
bool folio_find(struct host *host, pfn_t frame, pfn_t *head)
{
	pfn_t now;

	if (!page_find_head(host, frame, head) || !folio_try_get(page_folio(host, *head)))
		return false;
	if (page_find_head(host, frame, &now) && now.raw == head->raw &&
	    atomic_read(&page_folio(host, now)->flags) & (FOLIO_ANON | FOLIO_UPTODATE))
		return true;
	folio_put(host, *head);
	return false;
}

void folio_make_anon(struct host *host, pfn_t frame, uint32_t family, uint64_t index)
{
	struct folio *folio = page_known(host, frame);

	folio->family = family;
	folio->index = (uint32_t)index;
	atomic_or(&folio->flags, FOLIO_ANON | FOLIO_SWAPBACKED);
}

/*
 * The end of a page that is not like others: a pool has it back, or the allocator gets it without
 * content.
 */
static bool goes_home(struct host *host, pfn_t head)
{
	bool pooled = atomic_read(&page_known(host, head)->flags) & FOLIO_POOLED;

	if (pooled)
		pool_take_back(host, head);
	else
		__builtin_memset(pfn_to_ptr(head), 0, PAGE_SIZE);
	return pooled;
}

void folio_put_block(struct host *host, struct block block, uint32_t references)
{
	struct folio *folio = block.folio;
	uint32_t before = atomic_sub(&folio->refcount, references);

	if (before < references)
		port_panic("frame 0x%lx: more references put than were taken", block.head.raw);
	if (before > references)
		return;
	if (!(atomic_read(&folio->flags) & FOLIO_TABLE) && atomic_read(&folio->mapcount))
		port_panic("frame 0x%lx: last reference put while it is mapped", block.head.raw);
	if (atomic_read(&folio->flags) & (FOLIO_LOCKED | FOLIO_WRITEBACK))
		port_panic("frame 0x%lx: last reference put while it is locked", block.head.raw);
	folio_free_frozen(host, block);
}

void folio_put_many(struct host *host, pfn_t frame, uint32_t references)
{
	folio_put_block(host, page_block(host, frame), references);
}

/* Who has no reference is on no list for long: reclaim leaves it there for us to take. */
void folio_free_frozen(struct host *host, struct block block)
{
	const struct folio *folio = block.folio;

	if (atomic_read(&folio->flags) & FOLIO_ON_LIST)
		lru_remove(host, block.head);
	trace_step(host->trace, TRACE_FOLIO_FREE, block.head.raw, 0);
	if (atomic_read(&folio->flags) & (FOLIO_POOLED | FOLIO_SECRET) &&
	    goes_home(host, block.head))
		return;
	page_free(host, block);
}

void folio_put(struct host *host, pfn_t frame)
{
	folio_put_many(host, frame, 1);
}

unsigned folio_order(struct host *host, pfn_t frame)
{
	return atomic_read(&folio_of(host, frame)->flags) & FOLIO_ORDER;
}

pfn_t folio_head(struct host *host, pfn_t frame)
{
	return page_head(host, frame);
}

uint32_t folio_refcount(struct host *host, pfn_t frame)
{
	return atomic_read(&folio_of(host, frame)->refcount);
}

uint32_t folio_mapcount(struct host *host, pfn_t frame)
{
	const struct folio *folio = folio_of(host, frame);

	return atomic_read(&folio->flags) & FOLIO_TABLE ? 0 : atomic_read(&folio->mapcount);
}

void folio_map(struct host *host, pfn_t frame)
{
	atomic_add(&folio_of(host, frame)->mapcount, 1);
}

/* ------------------------------------------------------------------ the folio's lock */

/* Linux: folio_lock. Held through input and output, so whoever holds a spinlock must not. */
void folio_lock(struct host *host, pfn_t frame)
{
	struct folio *folio = folio_of(host, frame);

	while (atomic_or(&folio->flags, FOLIO_LOCKED) & FOLIO_LOCKED)
		await(!(atomic_read(&folio->flags) & FOLIO_LOCKED));
}

bool folio_trylock(struct host *host, pfn_t frame)
{
	return folio_trylock_held(folio_of(host, frame));
}

void folio_unlock(struct host *host, pfn_t frame)
{
	folio_unlock_held(folio_of(host, frame));
}

bool folio_is_locked(const struct host *host, pfn_t frame)
{
	return atomic_read(&folio_of(host, frame)->flags) & FOLIO_LOCKED;
}

bool folio_is_mapped(struct host *host, pfn_t frame)
{
	pfn_t head;

	return page_find_head(host, frame, &head) && folio_mapcount(host, head);
}

/* ------------------------------------------------------------------ marks */

void host_set_marking(struct host *host, enum marking marking)
{
	const uint32_t never = FOLIO_USED;	/* it is none of the flags that are looked at */
	bool looks = marking == MARKING_LOOKS;

	host->marking = marking;
	host->stands_dirty = looks ? FOLIO_DIRTY : never;
	host->stands_accessed = looks ? FOLIO_ACCESSED | FOLIO_ACTIVE : never;
}

/* False: it stood already. */
static bool set_mark(struct host *host, struct folio *folio, uint32_t mark)
{
	host_count(host, HOST_MARKS_LOCKED, 1);
	return !(atomic_or(&folio->flags, mark) & mark);
}

void folio_set_dirty_mark(struct host *host, struct folio *folio)
{
	if (set_mark(host, folio, FOLIO_DIRTY) && folio_file(folio))
		file_note_dirty(folio_file(folio), folio->index);
}

/*
 * Inactive, unmarked -> inactive, marked -> active, unmarked -> active, marked. A folio that is on
 * no list for the moment, since reclaim looks at it, waits with the mark. Whoever uses it, it is
 * not idle.
 */
void folio_set_accessed_mark(struct host *host, struct block block)
{
	struct folio *folio = block.folio;
	bool stood = host->marking == MARKING_LOOKS && atomic_read(&folio->flags) & FOLIO_ACCESSED;

	if (!stood)
		stood = !set_mark(host, folio, FOLIO_ACCESSED);
	if (stood && !(atomic_read(&folio->flags) & FOLIO_ACTIVE) &&
	    folio_activate(host, block.head))
		atomic_and(&folio->flags, ~FOLIO_ACCESSED);
	if (atomic_read(&folio->flags) & FOLIO_IDLE)
		atomic_and(&folio->flags, ~FOLIO_IDLE);
}

/* Linux: folio_mark_dirty, filemap_dirty_folio: the flag, and what writeback looks for. */
void folio_mark_dirty(struct host *host, pfn_t frame)
{
	host_count(host, HOST_MARKS_DIRTY, 1);
	trace_step(host->trace, TRACE_FOLIO_DIRTY, frame.raw, 0);
	folio_mark_dirty_held(host, folio_of(host, frame));
}

void folio_set_dirty(struct host *host, pfn_t frame)
{
	struct folio *folio = folio_of(host, frame);

	host_count(host, HOST_MARKS_DIRTY, 1);
	trace_step(host->trace, TRACE_FOLIO_DIRTY, frame.raw, 0);
	if ((atomic_read(&folio->flags) & FOLIO_DIRTY) != host->stands_dirty)
		set_mark(host, folio, FOLIO_DIRTY);
}

void folio_mark_accessed(struct host *host, pfn_t frame)
{
	host_count(host, HOST_MARKS_ACCESSED, 1);
	trace_step(host->trace, TRACE_FOLIO_ACCESSED, frame.raw, 0);
	folio_mark_accessed_held(host, (struct block){ folio_of(host, frame), frame });
}

static __attribute__((noinline)) void mark_stored(struct host *host, pfn_t frame)
{
	struct folio *folio = folio_of(host, frame);

	trace_step(host->trace, TRACE_FOLIO_DIRTY, frame.raw, 0);
	trace_step(host->trace, TRACE_FOLIO_ACCESSED, frame.raw, 0);
	folio_mark_dirty_held(host, folio);
	folio_mark_accessed_held(host, (struct block){ folio, frame });
}

/*
 * True when nothing is left to do: both stand and can do no more, or there was none, on memory of
 * which no file has to be told. Then one locked operation sets both, and who finds that it came
 * second goes on as for a second use.
 */
static inline bool mark_at_once(struct host_cpu *cpu, struct folio *folio)
{
	const uint32_t both = FOLIO_DIRTY | FOLIO_ACCESSED;
	uint32_t flags = atomic_read(&folio->flags);

	if ((flags & (FOLIO_KEPT | both | FOLIO_ACTIVE | FOLIO_IDLE)) ==
	    (FOLIO_USED | both | FOLIO_ACTIVE))
		return true;
	if ((flags & (FOLIO_KEPT | both | FOLIO_ANON | FOLIO_IDLE)) != (FOLIO_USED | FOLIO_ANON))
		return false;
	atomic_bump(&cpu->counts[HOST_MARKS_LOCKED], 1);
	return !(atomic_or(&folio->flags, both) & FOLIO_ACCESSED);
}

void folio_mark_stored(struct host *host, pfn_t frame)
{
	struct host_cpu *cpu = &host->cpus[port_cpu()];
	struct folio *folio = page_folio(host, frame);

	atomic_bump(&cpu->counts[HOST_MARKS_DIRTY], 1);
	atomic_bump(&cpu->counts[HOST_MARKS_ACCESSED], 1);
	if (!folio || host->marking != MARKING_LOOKS || host->trace ||
	    !mark_at_once(cpu, folio))
		mark_stored(host, frame);
}

/* Linux: folio_migrate_flags, what it does for idle page tracking. */
void folio_copy_idle(struct host *host, pfn_t from, pfn_t to)
{
	uint32_t marks = atomic_read(&folio_of(host, from)->flags) & (FOLIO_YOUNG | FOLIO_IDLE);

	if (marks)
		atomic_or(&folio_of(host, to)->flags, marks);
}

bool folio_dirty(struct host *host, pfn_t frame)
{
	return atomic_read(&folio_of(host, frame)->flags) & FOLIO_DIRTY;
}

bool folio_accessed(struct host *host, pfn_t frame)
{
	return atomic_read(&folio_of(host, frame)->flags) & (FOLIO_ACCESSED | FOLIO_ACTIVE);
}
