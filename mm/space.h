/*
 * A host process's address space, inside. For mm's own files and tests only. Everything in it is
 * under space->lock: shared to look, exclusive to change. Two things happen without it: the
 * process's CPU sets A and D in a leaf, by a locked operation, and tables are walked (tlb.h).
 */
#ifndef MM_SPACE_H
#define MM_SPACE_H

#include "mm/file.h"
#include "mm/host.h"
#include "mm/notifier.h"
#include "mm/pte.h"

/* Where the pages of a VMA come from, and what may be done to them. Linux: vm_flags, vm_ops. */
enum vma_kind {
	VMA_PAGED,			/* anonymous or a file's: come on demand, may move and go */
	VMA_POOLED,			/* large, from a pool, promised: hugetlb */
	VMA_SECRET,			/* the process's alone: memfd_secret */
	VMA_FRAMES,			/* all named by who mapped them: VM_PFNMAP, VM_MIXEDMAP */
};

struct vma {				/* Linux: vm_area_struct */
	uint64_t start, end;		/* bytes [start, end), multiples of PAGE_SIZE */
	enum vma_kind kind;
	enum protection protection;
	unsigned max_level;
	struct pool *pool;		/* VMA_POOLED */
	struct file *file;		/* NULL: anonymous, zero on demand */
	uint64_t first;			/* what the page at `start` is called in file or family */
	enum sharing sharing;
	enum advice advice;
	bool mergeable;			/* ksm.c may make its pages one with others */
};

struct space {
	struct host *host;
	struct list_node link;		/* host->spaces, under host->spaces_lock */
	atomic32_t users;		/* who may look at this struct; the last one frees it */
	uint32_t family;		/* of processes that share pages by fork: its number */
	rwlock_t lock;
	pfn_t root;			/* table of level 4 */
	struct vma *vmas;		/* sorted, disjoint; neighbours that could be one are one */
	unsigned vma_count, vma_capacity;
	struct list_node notifiers;
	uint64_t scan_at;		/* where space_scan goes on */
};

/* An empty space of that family, at the end of the host's list. */
MUST_USE enum status space_create_in(struct host *host, uint32_t family, struct space **out);
void space_put(struct space *space);
/*
 * The space behind `at` in the host's list, NULL: the first, with a user more; `at` loses its own.
 * NULL: the end. Takes host->spaces_lock.
 */
struct space *space_next(struct host *host, struct space *at);
/* A new VMA, if it overlaps none. STATUS_EXISTS, STATUS_NO_MEMORY. */
MUST_USE enum status space_insert(struct space *space, struct vma vma) HOLDS(space->lock);
/* The entries of a range go, in a bracket of that event. No leaf lies across its ends. */
void space_zap(struct space *space, uint64_t start, uint64_t end, enum mm_event event)
	HOLDS(space->lock);
/* STATUS_BAD_RANGE unless [start, start + bytes) is whole pages of [0, SPACE_END), at least one. */
MUST_USE enum status space_check_range(hva_t start, uint64_t bytes);

/*
 * All memory that a change of the VMAs of [start, end) may need; afterwards no leaf lies across the
 * range's ends, as none may lie across a VMA's. STATUS_NO_MEMORY: nothing but splits has happened;
 * STATUS_BAD_RANGE: an end cuts a page of a pool.
 */
MUST_USE enum status space_prepare(struct space *space, uint64_t start, uint64_t end)
	HOLDS(space->lock);

/* ------------------------------------------------------------------ vma.c */

/* The first VMA that ends above the address: vma_count when there is none. */
unsigned vma_search(const struct space *space, uint64_t address) HOLDS_SHARED(space->lock);
/* The VMA that holds the address, or NULL. */
struct vma *vma_find(const struct space *space, uint64_t address) HOLDS_SHARED(space->lock);
/* Whether some page, or every page, of [start, end) has a VMA. */
bool vma_any(const struct space *space, uint64_t start, uint64_t end) HOLDS_SHARED(space->lock);
bool vma_all(const struct space *space, uint64_t start, uint64_t end) HOLDS_SHARED(space->lock);
/* A VMA may end there: it has one inside a page of a pool nowhere. Linux: vm_ops->may_split. */
bool vma_may_cut(const struct space *space, uint64_t address) HOLDS_SHARED(space->lock);
/* Whether some page of it has a VMA of that kind. */
bool vma_any_kind(const struct space *space, uint64_t start, uint64_t end, enum vma_kind kind)
	HOLDS_SHARED(space->lock);
/* Room for two more VMAs, which is what any one operation can add. */
MUST_USE enum status vma_reserve(struct space *space) HOLDS(space->lock);
/* These three never fail after vma_reserve. */
void vma_insert(struct space *space, struct vma vma) HOLDS(space->lock);
void vma_remove(struct space *space, uint64_t start, uint64_t end) HOLDS(space->lock);
void vma_protect(struct space *space, uint64_t start, uint64_t end, enum protection protection)
	HOLDS(space->lock);
void vma_advise(struct space *space, uint64_t start, uint64_t end, enum advice advice)
	HOLDS(space->lock);
void vma_set_mergeable(struct space *space, uint64_t start, uint64_t end, bool mergeable)
	HOLDS(space->lock);
void vma_free_all(struct space *space) HOLDS(space->lock);
/* The upper begins where the lower ends, and is its continuation. */
bool vma_can_merge(const struct vma *low, const struct vma *high);
/* STATUS_NOT_FOUND: no VMA; STATUS_NO_ACCESS. ACCESS_EXEC asks for no more than ACCESS_READ. */
MUST_USE enum status vma_check_access(const struct space *space, uint64_t address,
				      enum access access) HOLDS_SHARED(space->lock);

/* ------------------------------------------------------------------ gather.c */

/*
 * References of entries that are gone, kept until nothing can reach the frames any more: a
 * debt that gather_finish pays. Linux: struct mmu_gather.
 */
enum { GATHER_MAX = 32 };

struct gather {
	struct space *space;
	bool flushed;			/* since the last of them was added, or changed in place */
	bool no_recency;		/* A of what goes says nothing: Linux, vma_has_recency */
	unsigned count;
	struct { uint32_t frame, references; } folios[GATHER_MAX];
};

/* The places are left as they are: to clear them all costs more than most callers do with one. */
static inline struct gather gather_begin(struct space *space)
{
	struct gather gather;

	trace_step(space->host->trace, TRACE_GATHER, 0, 0);
	gather.space = space;
	gather.flushed = true;
	gather.no_recency = false;
	gather.count = 0;
	return gather;
}

/* The flush, as soon as it has to be, or with the rest. Once for all that was added. */
void gather_flush(struct gather *gather, uint64_t address);
void gather_finish(struct gather *gather);
/* A reference to the folio that begins there. Leaves of one folio come one after the other. */
static inline void gather_add(struct gather *gather, pfn_t first)
{
	uint32_t head = (uint32_t)first.raw;

	if (!gather->count || gather->folios[gather->count - 1].frame != head) {
		if (gather->count == GATHER_MAX)
			gather_finish(gather);
		gather->folios[gather->count].frame = head;
		gather->folios[gather->count++].references = 0;
	}
	gather->folios[gather->count - 1].references++;
	gather->flushed = false;
}

/* ------------------------------------------------------------------ table.c */

/* The place where the walk for an address ends: a leaf or an entry that holds none. */
struct place {
	pte_slot_t *slot;
	pte_t pte;			/* what stood there when the walk read it */
	unsigned level;
};

/* What becomes of a page's content when its entry changes. */
enum content {
	CONTENT_STAYS,			/* where it is, under this entry or those that replace it */
	CONTENT_MOVES,			/* it lives on, without an entry for now */
	CONTENT_DIES,			/* this was its last user */
};

MUST_USE enum status table_create(struct space *space);
struct place table_find(const struct space *space, uint64_t address) HOLDS_SHARED(space->lock);
/* The same, but no further down than `lowest`. */
struct place table_find_at(const struct space *space, uint64_t address, unsigned lowest)
	HOLDS_SHARED(space->lock);
/* The slot of that level for the address, tables above it made; NULL: out of memory. */
pte_slot_t *table_make(struct space *space, uint64_t address, unsigned level) HOLDS(space->lock);
/*
 * THE FUNNEL: every change of an entry. A leaf that comes takes over a reference of the caller's;
 * the reference of one that goes is `gather`'s. A table left empty is unlinked.
 * Returns what stood there.
 */
pte_t table_change(struct space *space, uint64_t address, struct place place, pte_t new,
		  enum content content, struct gather *gather) HOLDS(space->lock);
/*
 * An entry goes to another place of the same level, which is kept for it, with all that it
 * counts for: no mark, count or reference changes. Tables left empty are unlinked.
 */
void table_move(struct space *space, uint64_t from, struct place old, uint64_t to, struct place new,
		struct gather *gather) HOLDS(space->lock);
/*
 * The same for a leaf that stays: some of A, D, W go, by a locked operation. Returns what stood
 * there. D that a CPU sets later by what it still knows of W is in the entry; what it stores by
 * what it knows of D is told by nothing: the flush is `gather`'s.
 */
pte_t table_take_bits(struct space *space, uint64_t address, struct place place, uint64_t bits,
		      struct gather *gather) HOLDS(space->lock);
/*
 * In place: other bits of an entry that names the same page afterwards. What the CPU sets meanwhile
 * stays. Returns what stood there.
 */
pte_t table_adjust(struct space *space, uint64_t address, struct place place, uint64_t clear,
		   uint64_t set) HOLDS(space->lock);
/*
 * Afterwards no leaf lies across the address. The translations stay as they are. STATUS_NO_MEMORY;
 * STATUS_BAD_RANGE: it would cut a page of a pool.
 */
MUST_USE enum status table_split(struct space *space, uint64_t address) HOLDS(space->lock);
/*
 * Afterwards every leaf of [start, end) is one of 4 KiB. STATUS_NO_MEMORY: what is split by then
 * stays so.
 */
MUST_USE enum status table_split_all(struct space *space, uint64_t start, uint64_t end)
	HOLDS(space->lock);
/*
 * The leaf is parked (pte.h), with the A and D that the CPU has set up to then. Its reference is
 * `gather`'s.
 */
void table_park(struct space *space, uint64_t address, struct place place, struct gather *gather)
	HOLDS(space->lock);
/*
 * A table of leaves that is about to be one leaf. Detached, nobody finds a page by it (the flush is
 * done), and its entries stand still. Then either it comes back, or `leaf` takes its place, with a
 * reference of the caller's: the table and what its entries had are `gather`'s. Linux:
 * pmdp_collapse_flush, pmd_populate.
 */
void table_detach(struct space *space, uint64_t address, struct place *table) HOLDS(space->lock);
void table_attach(struct space *space, uint64_t address, struct place table) HOLDS(space->lock);
void table_replace(struct space *space, uint64_t address, struct place table, pte_t leaf,
		   struct gather *gather) HOLDS(space->lock);
/*
 * The same, by one table's `count` slots from that of the address on, which may be empty already.
 * Linux: zap_pte_range.
 */
void table_clear(struct space *space, uint64_t address, pte_slot_t *slot, unsigned count,
		 enum content content, struct gather *gather) HOLDS(space->lock);
/* How many pages of [start, end) are in the first one's table of level 4K. */
static inline unsigned pages_in_table(uint64_t start, uint64_t end)
{
	uint64_t next = (start | (level_bytes(LEVEL_2M) - 1)) + 1;

	return (unsigned)(((next < end ? next : end) - start) >> PAGE_SHIFT);
}
/* Empties [start, end), across which no leaf may lie. */
void table_zap(struct space *space, uint64_t start, uint64_t end, struct gather *gather)
	HOLDS(space->lock);
void table_protect(struct space *space, uint64_t start, uint64_t end, enum protection protection,
		   struct gather *gather) HOLDS(space->lock);
/* Frees the root, which must be empty. */
void table_destroy(struct space *space) HOLDS(space->lock);

/*
 * Leaf after leaf of [at, end), each search from the root: what the loop's body does to the
 * tables can't mislead it.
 *
 *	struct walk walk = { .at = start, .end = end };
 *	while (walk_next(space, &walk))
 *		... walk.place, walk.start
 */
struct walk {
	uint64_t at, end;		/* where to go on, and where to stop */
	uint64_t start;			/* of the leaf found */
	struct place place;
	bool absent;			/* stop at entries that only keep a page's place, too */
};
bool walk_next(const struct space *space, struct walk *walk) HOLDS_SHARED(space->lock);

/*
 * What the page at an address is called, in its VMA's file or the space's family. Linux:
 * linear_page_index.
 */
static inline uint64_t vma_page(const struct vma *vma, uint64_t address)
{
	return vma->first + ((address - vma->start) >> PAGE_SHIFT);
}

/* The frame of the address, which may be inside a large leaf. */
static inline pfn_t place_frame(struct place place, uint64_t address)
{
	uint64_t inside = address & (level_bytes(place.level) - 1);

	return pfn_add(pte_frame(place.pte), inside >> PAGE_SHIFT);
}

/* Present, and allows that access. */
static inline bool place_allows(struct place place, enum access access)
{
	return pte_present(place.pte) && pte_leaf(place.pte, place.level) &&
	       (!(access & ACCESS_WRITE) || pte_writable(place.pte));
}

/* As if no CPU had made such an access by this entry. */
static inline bool place_untouched(struct place place, enum access access)
{
	uint64_t bits = pte_touched(pte_empty(), access).bits;

	return (place.pte.bits & bits) != bits;
}

/*
 * And as if one had, in a leaf of any size, under space->lock: by a locked operation, since a CPU
 * may set the other flag in the same moment. Linux: touch_pmd; pte_mkyoung, pte_mkdirty.
 */
static inline void place_touch(struct place place, enum access access)
{
	if (place_untouched(place, access))
		atomic_or(place.slot, pte_touched(pte_empty(), access).bits);
}

/* ------------------------------------------------------------------ fault.c, lookup.c */

/*
 * Linux: handle_mm_fault. Nothing there, or not with these rights although the VMA has them. Takes
 * and drops space->lock, and a folio's before; another may unmap the page again at once.
 */
MUST_USE enum status fault_in(struct space *space, uint64_t address, enum access access);

/*
 * The slow way to a page: calls `use` with what is at an address, in a VMA that allows the access,
 * with space->lock held shared, so the page stays while it runs; and faults in, and calls again,
 * for as long as it says NOT_YET. REFUSED: STATUS_NO_ACCESS.
 */
enum reached { REACHED, NOT_YET, REFUSED };
MUST_USE enum status space_reach(struct space *space, uint64_t address, enum access access,
				 enum reached (*use)(const struct vma *vma, struct place place,
						     void *argument), void *argument);
/* What is there, as it is told to others. */
struct mm_page place_page(struct place place, uint64_t address);

/* ------------------------------------------------------------------ numa.c, exclusive.c */

/* A leaf that a fault makes present again, if its VMA allows anything. Linux: pte_protnone. */
static inline bool leaf_is_hinted(struct place place)
{
	return pte_leaf(place.pte, place.level) && !pte_present(place.pte);
}

/* What fault_in does about such a leaf, and about a page lent to a device. */
MUST_USE enum status hint_fault(struct space *space, uint64_t address);
MUST_USE enum status exclusive_fault(struct space *space, uint64_t address);
/*
 * Of a range that lent pages are in: the process has them again. Inside a bracket, so devices know.
 */
void exclusive_restore_all(struct space *space, uint64_t start, uint64_t end) HOLDS(space->lock);

/* ------------------------------------------------------------------ migrate.c */

/*
 * The page of a leaf of 4 KiB moves to the fresh frame, inside a bracket. Returns the frame that is
 * left over: the old one, or the new one when the page can't move.
 */
pfn_t migrate_page(struct space *space, uint64_t address, struct place place, pfn_t fresh)
	HOLDS(space->lock);

/* ------------------------------------------------------------------ brackets */

/*
 * Both, where nothing is to happen between them. Linux: mmu_notifier_range_init,
 * _invalidate_range_start.
 */
struct mm_range notifier_start(struct space *space, uint64_t start, uint64_t end,
			       enum mm_event event) HOLDS_SHARED(space->lock);
struct mm_range notifier_range(struct space *space, uint64_t start, uint64_t end,
			       enum mm_event event);
void notifier_open(struct space *space, const struct mm_range *range) HOLDS_SHARED(space->lock);
/* EVENT_EXCLUSIVE, for a device that listens, too. */
struct mm_range notifier_start_for(struct space *space, uint64_t start, uint64_t end,
				   const void *owner) HOLDS_SHARED(space->lock);
/* Where no listener may sleep. False: one would, and no bracket is open. */
MUST_USE bool notifier_try_start(struct space *space, uint64_t start, uint64_t end,
				 enum mm_event event, struct mm_range *range)
	HOLDS_SHARED(space->lock);
void notifier_end(struct space *space, const struct mm_range *range) HOLDS_SHARED(space->lock);
/*
 * A bracket around one page whose entry notifier_change will tell of: listeners that have
 * change_pte drop nothing. notifier_change: of the entry that will stand there, when no CPU
 * uses the old one any more.
 */
struct mm_range notifier_start_change(struct space *space, uint64_t address, enum mm_event event)
	HOLDS(space->lock);
void notifier_change(struct space *space, uint64_t address, pte_t new) HOLDS(space->lock);
void notifier_release(struct space *space) HOLDS(space->lock);
/*
 * Whether some listener has used a page of [start, end): all are asked, each forgets. A primary
 * entry's own A is the caller's. Linux: mmu_notifier_clear_flush_young, _clear_young, _test_young.
 */
MUST_USE bool notifier_ask_all(struct space *space, uint64_t start, uint64_t end)
	HOLDS_SHARED(space->lock);
MUST_USE static inline bool notifier_clear_flush_young(struct space *space, uint64_t start,
						       uint64_t end) HOLDS_SHARED(space->lock)
{
	/* Reclaim asks of every page, and most spaces have no listener. */
	if (!list_empty(&space->notifiers))
		return notifier_ask_all(space, start, end);
	trace_step(space->host->trace, TRACE_YOUNG_TEST, start, false);
	return false;
}
MUST_USE bool notifier_clear_young(struct space *space, uint64_t start, uint64_t end)
	HOLDS_SHARED(space->lock);
MUST_USE bool notifier_test_young(struct space *space, uint64_t start, uint64_t end)
	HOLDS_SHARED(space->lock);

#endif
