/*
 * The host's inside: frames, their metadata, the buddy allocator. For mm's own files and tests.
 *
 * Frame numbers find their metadata through sections of 128 MiB (Linux: SPARSEMEM), so a hole
 * between two ranges of RAM costs 16 bytes a section. Tables and sizes are fixed by host_create;
 * what moves afterwards is under host->lock, or atomic.
 */
#ifndef MM_HOST_H
#define MM_HOST_H

#include "mm/base/addr.h"
#include "mm/base/atomic.h"
#include "mm/base/check.h"
#include "mm/base/list.h"
#include "mm/base/lock.h"
#include "mm/base/trace.h"
#include "mm/daemon.h"
#include "mm/mm.h"
#include "mm/notifier.h"

/*
 * What is known of a frame. Only the first frame of a block (a free block of the buddy allocator,
 * or a folio) says anything: every other one is all zeros in `flags`, a tail. So a block is made,
 * split, merged by writing one or two words, and any tail finds its head by alignment
 * (page_head). Linux: struct folio, struct page.
 *
 *	flags	31   30   29    28    27       26     25       24
 *		FREE USED TABLE DIRTY ACCESSED LOCKED UPTODATE WRITEBACK
 *		23   22         21  20     19    18   17       16      15  14        5 4   0
 *		ANON SWAPBACKED LRU ACTIVE YOUNG IDLE RESERVED RECLAIM KSM SWAPCACHE   order
 *		13     12      11
 *		SECRET LRU_NEW POOLED
 *
 * 28 bytes of the 32 that a page may cost.
 */
struct folio {
	atomic32_t flags;
	atomic32_t refcount;
	union {
		uint32_t file;		/* the frame of its struct file, or NO_FRAME */
					/* FOLIO_POOLED: of the struct pool */
		uint32_t family;	/* FOLIO_ANON: of spaces that may map it (struct space) */
	};
	uint32_t index;			/* which page of file or family it is: the low 32 bits */
	union {
		atomic32_t mapcount;	/* leaves of primary tables that name its frames */
		uint32_t entries;	/* FOLIO_TABLE: slots in use, under space->lock */
	};
	uint32_t next, previous;	/* frames: its order's free list, under host->lock, or
					   its LRU list (older, newer) */
};

#define FOLIO_ORDER	UINT32_C(0x1f)
#define FOLIO_FREE	(UINT32_C(1) << 31)	/* head of a free block */
#define FOLIO_USED	(UINT32_C(1) << 30)	/* head of a folio */
#define FOLIO_KEPT	(FOLIO_FREE | FOLIO_USED)	/* free, kept by a CPU */
#define FOLIO_TABLE	(UINT32_C(1) << 29)	/* a page of primary tables */
#define FOLIO_DIRTY	(UINT32_C(1) << 28)
#define FOLIO_ACCESSED	(UINT32_C(1) << 27)
#define FOLIO_LOCKED	(UINT32_C(1) << 26)	/* held through input and output: folio_lock */
#define FOLIO_UPTODATE	(UINT32_C(1) << 25)	/* a file's page holds what the file does */
#define FOLIO_WRITEBACK	(UINT32_C(1) << 24)	/* on its way to the store */
#define FOLIO_ANON	(UINT32_C(1) << 23)	/* memory of a family of processes, of no file */
#define FOLIO_SWAPBACKED (UINT32_C(1) << 22)	/* goes by way of swap; not: lazyfree */
#define FOLIO_LRU	(UINT32_C(1) << 21)	/* on one of the lists that reclaim takes from */
#define FOLIO_ACTIVE	(UINT32_C(1) << 20)	/* on, or for, the active one */
#define FOLIO_YOUNG	(UINT32_C(1) << 19)	/* idle tracking took A: reclaim must not miss it */
#define FOLIO_IDLE	(UINT32_C(1) << 18)	/* not touched since it was set */
#define FOLIO_RESERVED	(UINT32_C(1) << 17)	/* not for lending, never marked */
#define FOLIO_RECLAIM	(UINT32_C(1) << 16)	/* to be freed when its writeback ends */
#define FOLIO_KSM	(UINT32_C(1) << 15)	/* one copy for many equal pages, never written */
#define FOLIO_SWAPCACHE	(UINT32_C(1) << 14)	/* has a swap slot, with its family and index */
#define FOLIO_SECRET	(UINT32_C(1) << 13)	/* one process's alone: zeroed before it is free */
#define FOLIO_POOLED	(UINT32_C(1) << 11)	/* a pool's, where it goes back to: hugetlb.c */

#define FOLIO_LRU_NEW	(UINT32_C(1) << 12)	/* in the batch of those that will be on a list */

#define SECTION_SHIFT	15			/* frames: 128 MiB */
#define SECTION_FRAMES	(UINT64_C(1) << SECTION_SHIFT)

/* Frame numbers are kept in 32 bits: RAM below 16 TiB, less the last frame. */
#define NO_FRAME	UINT32_MAX
#define RAM_END		(UINT64_C(1) << 44)

/* NULL: anonymous memory, or mm's own. */
static inline struct file *folio_file(const struct folio *folio)
{
	if (folio->file == NO_FRAME || atomic_read(&folio->flags) & (FOLIO_ANON | FOLIO_POOLED))
		return NULL;
	return pfn_to_ptr(pfn(folio->file));
}

struct section {
	struct folio *folios;			/* by frame number: frame 0's, if it went on so */
	uint32_t first, count;			/* of the section's frames, those that have one */
};

/*
 * A test's eye on the allocator: it may refuse an allocation, and sees every block that leaves or
 * comes back. Called without host->lock. The image has none.
 */
struct page_watch {
	bool (*may_alloc)(struct page_watch *self, unsigned order);
	void (*allocated)(struct page_watch *self, pfn_t head, unsigned order);
	void (*freeing)(struct page_watch *self, pfn_t head, unsigned order);
};

/* A job of daemon.h. But for `state`, it is whose who made it busy. */
struct daemon {
	atomic32_t state;
	bool started;			/* and `last` is when its last step began */
	uint64_t interval, last, pages;
	atomic64_t steps, done;
};

/*
 * Of one CPU: cache lines that others seldom look at. Some free frames of order 0 wait here for
 * their next use: the CPU alone takes and puts them, so that lending one takes no lock and no
 * locked operation. Between here and the buddy allocator they move by the dozen, under host->lock.
 * Linux: struct per_cpu_pages.
 *
 * Others may read `kept`, and set `limit` to 0: the CPU's next free then gives all of them back.
 * The changes in `kept` move by one before a frame comes or goes without host->lock, the frames
 * after, so their sum is even while nothing is under way; and who finds the same word before and
 * after has met frames that stood still.
 *
 *	kept	31     8 7    0
 *		 changes frames
 */
#define KEPT_MAX 32			/* frames */
#define HOST_CPU_BYTES 1024		/* a power of two: to find one's own is a shift */
#define KEPT_CHANGE UINT32_C(0x100)

/* A block by both its names: the one is to be had from the other by a look at its section only. */
struct block { struct folio *folio; pfn_t head; };

struct host_cpu {
	atomic32_t inside;		/* 1: uses page tables without a lock (tlb.h) */
	uint32_t refused_order;		/* not to be had with what was kept; nothing freed since */
	atomic32_t limit;		/* a free that finds so many gives half of them back */
	atomic32_t kept;
	struct block frames[KEPT_MAX];
	atomic64_t counts[HOST_COUNTS];
} __attribute__((aligned(HOST_CPU_BYTES)));

static inline uint32_t kept_frames(uint32_t kept) { return kept & (KEPT_CHANGE - 1); }

/*
 * Where reclaim takes from: the folios that can be given up, by what they need (a file, or swap)
 * and by when they were last used. An anonymous one that is lazyfree needs no swap, and is among
 * the files'. Linux: enum lru_list, struct lruvec; the last is the CPUs' folio_batch, here one for
 * all.
 */
enum lru {
	LRU_INACTIVE_ANON, LRU_ACTIVE_ANON, LRU_INACTIVE_FILE, LRU_ACTIVE_FILE,
	LRU_BATCH,
	LRU_LISTS
};
struct lru_list { uint32_t newest, oldest; atomic64_t folios; };

struct host {
	/* Fixed by host_create. */
	struct section *sections;
	uint64_t section_count;
	uint64_t pages_total;
	uint64_t metadata_bytes;
	struct page_watch *watch;
	struct trace *trace;			/* NULL: nobody listens */
	enum change_pte change_pte;		/* notifier.h: none, unless a test wants history */
	struct swap *swap;			/* NULL: anonymous pages stay (swap.h) */
	uint32_t kept_max;			/* KEPT_MAX; 0 for a host whose CPUs keep nothing */
	/* The flags of a folio whose mark stands, and is left so: host_set_marking. */
	uint32_t stands_dirty, stands_accessed;
	enum marking marking;
	uint32_t nodes;				/* and the frames of each but the last */
	uint64_t node_frames;

	atomic32_t options;			/* enum host_option */
	struct host_cpu cpus[MAX_CPUS];
	atomic64_t cpus_seen;			/* bit n: CPU n has been inside tables */
	struct ksm *ksm;			/* NULL: pages are not merged */
	atomic32_t ksm_busy;			/* 1: a scan is under way, and has *ksm to itself */
	atomic32_t families;			/* so many numbers were given out */

	spinlock_t spaces_lock;
	struct list_node spaces;		/* every space, under spaces_lock */

	spinlock_t files_lock;
	/* Under files_lock. */
	struct list_node files;			/* every file; first: flushed longest ago */
	uint64_t file_count;

	struct daemon daemons[DAEMONS];

	atomic64_t low, high;			/* watermarks, in free pages (host_balance) */
	atomic32_t balancing;			/* it was below low, and is not yet at high */

	spinlock_t lru_lock;
	struct lru_list lists[LRU_LISTS];	/* under lru_lock (lru.h), as their folios' links */

	spinlock_t lock;
	/* Under lock. */
	uint32_t free_heads[ORDER_MAX + 1];	/* NO_FRAME: none of this order */
	uint32_t free_orders;			/* bit n: free_heads[n] is not empty */
	uint64_t pages_free;			/* in the buddy allocator */
};

static inline void host_count(struct host *host, enum host_count what, uint64_t by)
{
	atomic_bump(&host->cpus[port_cpu()].counts[what], by);
}

static inline bool host_has(const struct host *host, enum host_option option)
{
	return atomic_read(&host->options) & option;
}

/* The frame's metadata, or NULL where this host has none. */
static inline struct folio *page_folio(const struct host *host, pfn_t frame)
{
	uint64_t number = frame.raw >> SECTION_SHIFT;

	if (number >= host->section_count)
		return NULL;

	const struct section *section = &host->sections[number];
	uint64_t i = (frame.raw & (SECTION_FRAMES - 1)) - section->first;

	return i < section->count ? &section->folios[frame.raw] : NULL;
}

/* The same of a frame that has some, surely: the first one of a block. */
static inline struct folio *page_known(const struct host *host, pfn_t frame)
{
	return &host->sections[frame.raw >> SECTION_SHIFT].folios[frame.raw];
}

/* page.c */
MUST_USE enum status page_alloc(struct host *host, unsigned order, struct block *out);
/* One of [first, end), not what CPUs keep for themselves. For who can do without. */
MUST_USE enum status page_alloc_within(struct host *host, pfn_t first, pfn_t end,
				       struct block *out);
void page_free(struct host *host, struct block block);
/* The first frame of the folio that holds this one; panics when it is in none. */
pfn_t page_search_head(const struct host *host, pfn_t frame);
/* The same by both its names. Most frames that are asked for are their folio's first. */
static inline struct block page_block(const struct host *host, pfn_t frame)
{
	struct folio *folio = page_folio(host, frame);

	if (folio && (atomic_read(&folio->flags) & FOLIO_KEPT) == FOLIO_USED)
		return (struct block){ folio, frame };
	frame = page_search_head(host, frame);
	return (struct block){ page_known(host, frame), frame };
}
static inline pfn_t page_head(const struct host *host, pfn_t frame)
{
	return page_block(host, frame).head;
}
static inline struct folio *folio_of(const struct host *host, pfn_t frame)
{
	return page_block(host, frame).folio;
}
/*
 * The same by who holds nothing: what it finds may be over at once. False: no folio that anybody
 * has.
 */
bool page_find_head(const struct host *host, pfn_t frame, pfn_t *head);
/* Gives [start, end) to the allocator: RAM that it has never seen. */
void page_add_range(struct host *host, pfn_t start, pfn_t end);
void page_lists_init(struct host *host);
/* So many frames a CPU may keep for itself. Before the first allocation. */
void page_keep(struct host *host, uint32_t kept_max);
/* Free frames, those on the CPUs' lists too. Exact while no CPU allocates or frees. */
uint64_t page_count_free(const struct host *host);

/*
 * folio.c: marks by who holds the metadata. One that stands already costs four instructions, and is
 * neither counted nor traced.
 */
void folio_set_dirty_mark(struct host *host, struct folio *folio);
void folio_set_accessed_mark(struct host *host, struct block block);

static inline void folio_mark_dirty_held(struct host *host, struct folio *folio)
{
	if ((atomic_read(&folio->flags) & FOLIO_DIRTY) != host->stands_dirty)
		folio_set_dirty_mark(host, folio);
}

/* Of a folio that is active, too, and so can't rise. */
static inline void folio_mark_accessed_held(struct host *host, struct block block)
{
	const uint32_t looked_at = FOLIO_ACCESSED | FOLIO_ACTIVE | FOLIO_IDLE;

	if ((atomic_read(&block.folio->flags) & looked_at) != host->stands_accessed)
		folio_set_accessed_mark(host, block);
}

/* folio.c: by any frame of it. Locks: a folio's before space->lock before file->lock. */
void folio_lock(struct host *host, pfn_t frame);
void folio_unlock(struct host *host, pfn_t frame);
/* Linux: folio_trylock. */
MUST_USE bool folio_trylock(struct host *host, pfn_t frame);
/* The same by who holds the metadata. */
MUST_USE static inline bool folio_trylock_held(struct folio *folio)
{
	return !(atomic_or(&folio->flags, FOLIO_LOCKED) & FOLIO_LOCKED);
}
static inline void folio_unlock_held(struct folio *folio)
{
	check(atomic_and(&folio->flags, ~FOLIO_LOCKED) & FOLIO_LOCKED);
}
bool folio_is_locked(const struct host *host, pfn_t frame);
/* folio_alloc of order 0, as page_alloc_within. */
MUST_USE enum status folio_alloc_within(struct host *host, pfn_t first, pfn_t end, pfn_t *out);
void folio_put_many(struct host *host, pfn_t frame, uint32_t references);
void folio_put_block(struct host *host, struct block block, uint32_t references);
/*
 * Exchanges so many references, which must be all, for none, if the folio is clean: whoever had
 * one could have marked it dirty, and nobody has any more, so what its mark says then is the last
 * word. The caller frees it (folio_free_frozen). False: there are others, or it is dirty.
 *
 * References first, dirty second. The other way round, what is found clean could be written,
 * marked, and put by the last user, all before the references are judged: its store would be lost.
 * Linux: folio_ref_freeze, in __remove_mapping.
 */
MUST_USE static inline bool folio_freeze_clean(struct host *host, struct block block,
					       uint32_t references)
{
	uint32_t count = references;

	trace_step(host->trace, TRACE_REF_FREEZE, block.head.raw, references);
	if (!atomic_cmpxchg(&block.folio->refcount, &count, 0))
		return false;
	trace_step(host->trace, TRACE_DIRTY_TEST, block.head.raw, 0);
	if (!(atomic_read(&block.folio->flags) & FOLIO_DIRTY))
		return true;
	atomic_write(&block.folio->refcount, references);
	return false;
}
void folio_free_frozen(struct host *host, struct block block);
/*
 * A reference, unless there is none any more: the folio may be on its way out. Linux:
 * folio_try_get.
 */
MUST_USE static inline bool folio_try_get(struct folio *folio)
{
	uint32_t count = atomic_read(&folio->refcount);

	while (count && !atomic_cmpxchg(&folio->refcount, &count, count + 1))
		;
	return count;
}
/*
 * By a frame's number alone: the folio that holds it, with a reference, if it is a process's or a
 * file's. Another may be making or freeing one there meanwhile; then there is none.
 */
MUST_USE bool folio_find(struct host *host, pfn_t frame, pfn_t *head);
/* It becomes a process's, and nobody has seen it yet. Linux: folio_add_new_anon_rmap. */
void folio_make_anon(struct host *host, pfn_t frame, uint32_t family, uint64_t index);
/*
 * Of a locked folio to which the caller has a reference, and its mappings all others: every page
 * becomes a folio of its own, with the entries, marks, and the name that it had. What nobody maps
 * is freed. The one that holds `frame` stays locked, and has the caller's reference. STATUS_IN_USE:
 * somebody else has one, or it is not a process's memory, or more than RMAP_SPACES map it;
 * STATUS_NO_MEMORY: for tables; then it is whole, and only its entries may be smaller. Takes the
 * lock of each space that maps it. Linux: split_huge_page.
 */
MUST_USE enum status folio_split(struct host *host, pfn_t frame);
/* How idle the one is, the other is: it takes over the content. */
void folio_copy_idle(struct host *host, pfn_t from, pfn_t to);
/* Linux: folio_add_anon_rmap_pte, folio_remove_rmap_pte. Leaves change under space->lock. */
void folio_map(struct host *host, pfn_t frame);
static inline void folio_unmap(struct block block)
{
	if (!atomic_sub(&block.folio->mapcount, 1))
		port_panic("frame 0x%lx: unmapped more often than mapped", block.head.raw);
}

#endif
