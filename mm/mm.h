/*
 * The host: a memory manager as far as a hypervisor can see one. It owns the machine's frames,
 * gives host processes (spaces) memory on demand, and takes it away again; who maps its frames
 * elsewhere listens (mm/notifier.h) and asks here for pages (mm_lookup).
 *
 * Ranges are bytes, multiples of PAGE_SIZE; a range that is empty, unaligned, wraps or leaves
 * [0, SPACE_END) is STATUS_BAD_RANGE and changes nothing.
 */
#ifndef MM_MM_H
#define MM_MM_H

#include "mm/base/addr.h"
#include "mm/base/check.h"

struct host;
struct space;

/* ------------------------------------------------------------------ frames and folios */

struct ram_range { hpa_t start, end; };	/* bytes [start, end) */

/*
 * Makes a host out of RAM that nobody uses. Partial pages at the ends of ranges are left out;
 * its own tables (struct host, folio metadata) are taken from the ranges. `ranges` may come in
 * any order. STATUS_BAD_RANGE: one ends before it starts, or beyond 16 TiB less a page;
 * STATUS_EXISTS: two overlap; STATUS_NO_MEMORY: none can hold the metadata.
 */
MUST_USE enum status host_create(const struct ram_range *ranges, unsigned count, struct host **out);

struct host_stats {
	uint64_t pages_total;		/* frames handed to the buddy allocator at creation */
	uint64_t pages_free;		/* exact while no CPU allocates or frees */
	uint64_t metadata_bytes;	/* all metadata; and for a 4 KiB page, rounded up */
	uint64_t metadata_bytes_per_page;
};
void host_read_stats(struct host *host, struct host_stats *out);

/* What has happened since the host was made, all CPUs together. */
enum host_count {
	HOST_FAULTS,			/* of processes and of lookups, each that looked at a VMA */
	HOST_TLB_FLUSHES,		/* of processes' translations */
	HOST_BRACKETS,			/* told to a space's listeners */
	HOST_MARKS_DIRTY, HOST_MARKS_ACCESSED,	/* calls, whatever they found */
	HOST_MARKS_LOCKED,		/* locked operations that set one of the two */
	HOST_WALKS,			/* of primary tables, without a lock, by mm_lookup */
	HOST_SLOW_LOOKUPS,		/* mm_lookup could not be answered by its walk alone */
	HOST_PAGES_IN, HOST_PAGES_OUT,	/* from and to backing stores */
	HOST_SCANNED, HOST_RECLAIMED,	/* folios that reclaim has judged; pages it has freed */
	HOST_MKCLEANS,			/* D taken from an entry that stays */
	HOST_HINTED,			/* entries made to wait for a hinting fault */
	HOST_HINT_FAULTS,		/* which came; and pages that went to another node by it */
	HOST_HINT_MOVES,
	HOST_COUNTS
};
uint64_t host_read_count(struct host *host, enum host_count what);

/*
 * What this host does that Linux only has proposals for; or-ed together, nothing by default. In
 * force for what begins afterwards.
 */
enum host_option {
	OPTION_WRITE_PROTECT = 1,	/* space_lazyfree is EVENT_WRITE_PROTECT to listeners */
	OPTION_MKCLEAN = 2,		/* writeback, file_clean_record, file_write_protect are
					   EVENT_MKCLEAN */
};
void host_set_options(struct host *host, unsigned options);

/*
 * A folio of 2^order frames, order 0 to ORDER_MAX, refcount 1, content undefined. Takes host->lock,
 * unless a frame of order 0 is among those that this CPU keeps for itself.
 *
 * STATUS_NO_MEMORY: there is none, or what there is (or, of a larger order, a part of it) is kept
 * by other CPUs: 32 frames each at most. They are asked, and give theirs back when they next free.
 */
MUST_USE enum status folio_alloc(struct host *host, unsigned order, pfn_t *out);
/* The same, filled with zeros. */
MUST_USE enum status folio_alloc_zeroed(struct host *host, unsigned order, pfn_t *out);
/*
 * Any frame of the folio names it, here and below. The last put frees. A frame that is free, or not
 * this host's memory, is a bug of the caller's and panics, as does a put without a get.
 */
void folio_get(struct host *host, pfn_t frame);
void folio_put(struct host *host, pfn_t frame);

unsigned folio_order(struct host *host, pfn_t frame);
pfn_t folio_head(struct host *host, pfn_t frame);
/*
 * Whether the frame is of a folio that some process maps. For any frame; the answer lasts as long
 * as an entry that names it. Bare frames (space_map_frames) are not.
 */
bool folio_is_mapped(struct host *host, pfn_t frame);
uint32_t folio_refcount(struct host *host, pfn_t frame);
uint32_t folio_mapcount(struct host *host, pfn_t frame);

/*
 * Linux: folio_mark_dirty, folio_mark_accessed. The caller keeps the folio alive. A file's page is
 * also noted in its file, where writeback looks: takes file->lock then. folio_set_dirty (Linux:
 * folio_set_dirty, a bare flag) notes nothing, and a writeback that goes by the notes passes over
 * it. The second mark accessed makes a folio active (host->lru_lock), and one that was idle is not
 * so any more.
 */
void folio_mark_dirty(struct host *host, pfn_t frame);
void folio_set_dirty(struct host *host, pfn_t frame);
void folio_mark_accessed(struct host *host, pfn_t frame);
/* Both, dirty first, by one look for the folio. */
void folio_mark_stored(struct host *host, pfn_t frame);
/*
 * Whether a mark looks first if it stands already, and saves the locked operation: so at first. Or
 * it sets it always, as Linux's SetPageDirty does. Before other CPUs know the host.
 */
enum marking { MARKING_LOOKS, MARKING_SETS };
void host_set_marking(struct host *host, enum marking marking);
bool folio_dirty(struct host *host, pfn_t frame);
/* Marked once, or twice and so active: reclaim has not judged since. */
bool folio_accessed(struct host *host, pfn_t frame);

/* ------------------------------------------------------------------ reclaim */

/*
 * Frees pages that were not used lately: a file's and, if there is swap, processes' own, written
 * first if they are dirty; and those of processes that said that they need them no more. Returns
 * how many; at least so many if they can be found. No lock held. Linux: try_to_free_pages.
 */
uint64_t host_reclaim(struct host *host, uint64_t pages);
/*
 * host_balance, once fewer than `low` pages are free, reclaims until `high` are or no more can be
 * found, about `most` pages a call, and returns how many: what a background task calls again and
 * again. Zero, as at first: never. STATUS_BAD_RANGE: low is above high. Linux: kswapd,
 * balance_pgdat.
 */
MUST_USE enum status host_set_watermarks(struct host *host, uint64_t low, uint64_t high);
uint64_t host_balance(struct host *host, uint64_t most);

/*
 * From now on anonymous pages may go to the store's first `pages` pages. Nobody else uses the host
 * meanwhile, nor for the second: that ends it; STATUS_EXISTS, and it goes on, while some page is
 * only there. The store outlives it. A page that can't be read back is STATUS_IO_ERROR to the
 * process that wants it; one that can't be written stays in memory. STATUS_EXISTS,
 * STATUS_BAD_RANGE, STATUS_NO_MEMORY; STATUS_NOT_FOUND. Linux: swapon, swapoff.
 */
struct store;
MUST_USE enum status host_swap_on(struct host *host, struct store *store, uint64_t pages);
MUST_USE enum status host_swap_off(struct host *host);
/* In pages. `cached`: of those in use, how many are in memory as well. All zero without swap. */
struct swap_stats { uint64_t slots, used, cached; };
void host_read_swap(struct host *host, struct swap_stats *out);

/* ------------------------------------------------------------------ files */

/*
 * Where a file's pages are when they are not in memory: `bytes` bytes at the file's byte `at`,
 * *done of them transferred, at least one unless it is STATUS_IO_ERROR. Called by several CPUs at a
 * time, but by one for a page: its folio is locked for a read, and under writeback for a write. No
 * other lock is held.
 */
struct store_ops {
	enum status (*read)(struct store *self, uint64_t at, void *into, uint64_t bytes,
			    uint64_t *done);
	enum status (*write)(struct store *self, uint64_t at, const void *from, uint64_t bytes,
			     uint64_t *done);
};
struct store { const struct store_ops *ops; };

/*
 * Linux: an inode and its address_space. The store outlives it. STATUS_BAD_RANGE, STATUS_NO_MEMORY.
 */
struct file;
MUST_USE enum status file_create(struct host *host, struct store *store, uint64_t pages,
				 struct file **out);
/* What is dirty is lost. STATUS_EXISTS, and nothing happens, while a space maps the file. */
MUST_USE enum status file_destroy(struct file *file);
/*
 * Writes all that is noted as dirty to the store. STATUS_IO_ERROR: some page could not be written
 * since the last time that this was asked; that page is clean now, and its change lost (Linux:
 * mapping_set_error, filemap_check_errors). No lock held. Linux: filemap_write_and_wait.
 */
MUST_USE enum status file_sync(struct file *file);
/*
 * Writes at most so many of the pages noted as dirty, of all files in turn; returns their number.
 * An error is kept for file_sync. No lock held. Linux: wb_do_writeback, writeback_sb_inodes.
 */
uint64_t host_flush(struct host *host, uint64_t pages);
/*
 * For one who keeps its own record of what a file's shared mappings have written: a bit for each
 * page, apart from the folios' marks. file_clean_record takes D from every entry of shared VMAs
 * that shows one of the pages [first, first + pages), leaves W, and sets in the record the bits of
 * those that had it. A store that comes later sets D again without a fault: none is in neither.
 * (What a secondary MMU stores is in neither: it marks the folio.) file_write_protect takes W, for
 * who wants to see the next store's fault. *count entries were changed. STATUS_BAD_RANGE: not pages
 * of the file. No lock held. Linux: clean_record_shared_mapping_range, wp_shared_mapping_range.
 */
struct clean_record {
	uint64_t *bitmap;		/* the caller's; bit n is page first + n */
	uint64_t start, end;		/* what is set lies in [start, end); none: start >= end */
};
MUST_USE enum status file_clean_record(struct file *file, uint64_t first, uint64_t pages,
				       struct clean_record *record, uint64_t *count);
MUST_USE enum status file_write_protect(struct file *file, uint64_t first, uint64_t pages,
					uint64_t *count);
/* Pages in memory, and of those noted as dirty. */
struct file_stats { uint64_t cached, dirty; };
void file_read_stats(struct file *file, struct file_stats *out);

/*
 * Idle page tracking: which frames nobody has used since they were marked. Bit n of the bitmap is
 * frame first + n; `first` and `frames` are multiples of 64, and what is no process's or file's
 * page is passed over, and reads as not idle. A folio is idle, or not, as a whole.
 *
 * Marking forgets what entries and listeners know of uses so far (notifier's clear_young), and
 * tells reclaim that it has, by FOLIO_YOUNG. A use through an entry, a guest's too, ends it, as
 * does folio_mark_accessed; a guest's CPU that keeps its translation is not seen to use the page
 * (U36). STATUS_BAD_RANGE. No lock held. Linux: /sys/kernel/mm/page_idle/bitmap.
 */
MUST_USE enum status idle_mark(struct host *host, pfn_t first, uint64_t frames,
			       const uint64_t *bitmap);
MUST_USE enum status idle_read(struct host *host, pfn_t first, uint64_t frames, uint64_t *bitmap);

/* ------------------------------------------------------------------ host processes */

#define SPACE_END (UINT64_C(1) << 47)

/* Or-ed together. A fetch needs what a read needs: a space has no right of execution. */
enum access { ACCESS_NONE = 0, ACCESS_READ = 1, ACCESS_WRITE = 2, ACCESS_EXEC = 4 };
enum protection { PROTECTION_NONE, PROTECTION_READ, PROTECTION_READ_WRITE };

MUST_USE enum status space_create(struct host *host, struct space **out);
/* Tells the listeners (EVENT_RELEASE), unmaps everything, frees the tables. */
void space_destroy(struct space *space);
struct host *space_host(struct space *space);
/*
 * A second process with the same mappings. What stores have made a process's own is shared,
 * read-only, until one of the two stores again; a page that somebody holds (gup_get) stays the
 * parent's and is copied for the child. Tells the parent's listeners (EVENT_PROTECTION_PAGE);
 * the child has none. STATUS_NO_MEMORY: there is no child, and the parent has what it had.
 * Takes both locks. Linux: fork, dup_mmap.
 */
MUST_USE enum status space_fork(struct space *parent, struct space **child);

/*
 * Anonymous private memory, zero on demand, in folios of up to `max_level` where start and
 * end allow. STATUS_EXISTS when it overlaps a mapping. Linux: mmap.
 */
MUST_USE enum status space_map(struct space *space, hva_t start, uint64_t bytes,
			       enum protection protection, unsigned max_level);
/*
 * The file's pages from `first` on, in pages of 4 KiB. Shared: stores go to the file. Private: a
 * page that is written becomes the process's own (copy-on-write). STATUS_BAD_RANGE: beyond the
 * file's end; STATUS_EXISTS. Linux: mmap with MAP_SHARED, MAP_PRIVATE.
 */
enum sharing { SHARING_PRIVATE, SHARING_SHARED };
MUST_USE enum status space_map_file(struct space *space, hva_t start, uint64_t bytes,
				    enum protection protection, struct file *file, uint64_t first,
				    enum sharing sharing);
/*
 * Frames that the caller names, from `first` on: the whole range is mapped when this returns, in
 * leaves of up to max_level where both addresses are aligned to it; what goes never comes back by
 * itself. Counted ones are folios' that the caller holds, and each entry takes a reference. Bare
 * ones are not looked at: they may be no RAM, reserved, part of a block of somebody's; they are the
 * caller's to keep as long as they are mapped. A reserved frame is mapped as a bare one.
 * STATUS_BAD_RANGE, STATUS_EXISTS, STATUS_NO_MEMORY. Linux: VM_MIXEDMAP, VM_PFNMAP;
 * remap_pfn_range, vmf_insert_pfn_pmd.
 */
enum counting { FRAMES_COUNTED, FRAMES_BARE };
MUST_USE enum status space_map_frames(struct space *space, hva_t start, uint64_t bytes,
				      enum protection protection, pfn_t first, unsigned max_level,
				      enum counting counting);
/*
 * Large pages set aside: `pages` of 2 MiB or 1 GiB (level 2 or 3). A mapping is promised all of its
 * pages or is STATUS_NO_MEMORY, so a touch finds its page there, and fails only for want of a
 * table. It begins and ends at whole pages: what would cut one (unmap, protect, advise) is
 * STATUS_BAD_RANGE, as is discard anywhere in it; split and migrate pass it over. pool_create:
 * STATUS_BAD_RANGE, STATUS_NO_MEMORY; pool_destroy: STATUS_EXISTS while a page is used or promised.
 * Linux: hugetlb.
 */
struct pool;
MUST_USE enum status pool_create(struct host *host, unsigned level, uint64_t pages,
				 struct pool **out);
MUST_USE enum status pool_destroy(struct pool *pool);
MUST_USE enum status space_map_pool(struct space *space, hva_t start, uint64_t bytes,
				    enum protection protection, struct pool *pool);
struct pool_stats { uint64_t total, free, promised; };
void pool_read_stats(struct pool *pool, struct pool_stats *out);
/*
 * Zero on demand, in pages of 4 KiB, for the process alone: mm_lookup and gup_get say
 * STATUS_NO_ACCESS. Its pages neither move nor leave memory, and are zeroed before anybody else has
 * them. Errors as space_map. Linux: memfd_secret.
 */
MUST_USE enum status space_map_secret(struct space *space, hva_t start, uint64_t bytes,
				      enum protection protection);
/*
 * How a file's pages will be used. Random and sequential ones are not marked accessed when they are
 * unmapped. STATUS_NOT_FOUND when some page has no VMA. Linux: madvise, vma_has_recency.
 */
enum advice { ADVICE_NORMAL, ADVICE_SEQUENTIAL, ADVICE_RANDOM };
MUST_USE enum status space_advise(struct space *space, hva_t start, uint64_t bytes,
				  enum advice advice);
/*
 * Linux: munmap. Parts without a mapping are passed over. Splits VMAs and huge entries; like the
 * two below, STATUS_NO_MEMORY when there is none for that, and then nothing is changed. A folio is
 * freed when the last of its pages is unmapped.
 */
MUST_USE enum status space_unmap(struct space *space, hva_t start, uint64_t bytes);
/*
 * Linux: mremap to a place of the caller's choice, without a change of size. The range is of
 * one VMA, else STATUS_NOT_FOUND; STATUS_EXISTS: something is mapped at the new place (Linux
 * would unmap it); STATUS_BAD_RANGE, too, when the two overlap. Contents, marks and references
 * stay the pages'.
 */
MUST_USE enum status space_move(struct space *space, hva_t from, uint64_t bytes, hva_t to);
/*
 * Linux: uprobe_write_opcode. Bytes of one page are exchanged in memory that the process itself
 * may only read: its page is replaced by a copy. STATUS_BAD_RANGE: none, or beyond the page's
 * end; STATUS_NO_ACCESS: the memory is writable, or shared with a file; else as space_write's.
 */
MUST_USE enum status space_patch(struct space *space, hva_t at, const void *from, uint64_t bytes);
/*
 * Linux: migrate_vma_insert_page. The folio of one page, which the caller has filled and alone
 * has, becomes the process's; with STATUS_OK the reference does. STATUS_EXISTS: there is a page
 * already; STATUS_NOT_FOUND: no anonymous mapping.
 */
MUST_USE enum status space_insert_page(struct space *space, hva_t address, pfn_t frame);
/* Linux: mprotect. STATUS_NOT_FOUND when some page has no VMA; then nothing is changed. */
MUST_USE enum status space_protect(struct space *space, hva_t start, uint64_t bytes,
				   enum protection protection);
/*
 * Linux: madvise(MADV_DONTNEED): contents are lost, the next touch finds zeros. Skips holes.
 * STATUS_BAD_RANGE, and nothing is changed, where frames were named or pages come from a pool.
 */
MUST_USE enum status space_discard(struct space *space, hva_t start, uint64_t bytes);
/*
 * Three things that a process says of memory that it has; STATUS_NOT_FOUND when some page has no
 * VMA, STATUS_NO_MEMORY when there is none for a table, and nothing is changed. Only folios that
 * lie in the range whole, under one leaf, and (but for the first, if nothing marked them) are
 * mapped once, are meant.
 *
 * space_lazyfree: contents may be lost from now on; each page keeps its own, or finds zeros, until
 * it is written to. STATUS_NO_ACCESS for a file's memory. Linux: madvise(MADV_FREE). space_cool:
 * this memory is to be reclaimed before other. Linux: madvise(MADV_COLD). space_page_out: it is
 * reclaimed now, as far as it can be; *freed pages were. Linux: madvise(MADV_PAGEOUT).
 */
MUST_USE enum status space_lazyfree(struct space *space, hva_t start, uint64_t bytes);
MUST_USE enum status space_cool(struct space *space, hva_t start, uint64_t bytes);
MUST_USE enum status space_page_out(struct space *space, hva_t start, uint64_t bytes,
				    uint64_t *freed);
/*
 * Linux: migrate_pages within one node: every mapped 4 KiB page of the range moves to a fresh
 * frame, contents kept; pages that are not mapped, or mapped by larger leaves, or referenced by
 * others (refcount != mapcount), or by other processes' entries, stay. *moved counts pages,
 * those before a STATUS_NO_MEMORY too. The old frame is poisoned.
 */
MUST_USE enum status space_migrate(struct space *space, hva_t start, uint64_t bytes,
				   uint64_t *moved);
/*
 * Linux: split_huge_pmd, split_huge_pud: every larger leaf of the range becomes leaves of 4 KiB
 * over the same frames. No translation changes, so no listener is told. STATUS_NO_MEMORY: for
 * a table; what is split by then stays so.
 */
MUST_USE enum status space_split(struct space *space, hva_t start, uint64_t bytes);
/*
 * Every aligned 2 MiB inside the range that 512 small pages of the process's own map become one
 * large leaf over one folio, contents kept; the VMA wants such leaves. What is not so, or is
 * referenced by others (refcount != mapcount), stays. *collapsed counts large leaves, those before
 * a STATUS_NO_MEMORY too. Takes space->lock. Linux: khugepaged, madvise(MADV_COLLAPSE).
 */
MUST_USE enum status space_collapse(struct space *space, hva_t start, uint64_t bytes,
				    uint64_t *collapsed);
/*
 * A bracket of invalidation (mm/notifier.h) that changes no primary entry: what a listener sees
 * of NUMA balancing or compaction that thinks better of it. The primary entries stay.
 */
MUST_USE enum status space_invalidate(struct space *space, hva_t start, uint64_t bytes);

/* ------------------------------------------------------------------ NUMA hinting */

/*
 * Nodes are played: node n has the n-th part of all frames, in multiples of 2 MiB, and CPU c
 * belongs to node c modulo `nodes`. Before any space is made; a new host has one node.
 */
void host_set_nodes(struct host *host, unsigned nodes);
unsigned host_node(const struct host *host, pfn_t frame);

/*
 * Takes the rights from the present pages of the range, so that their next use says which CPU uses
 * them; the fault gives them back, and moves a page of 4 KiB to that CPU's node if nobody else uses
 * it. Holes are passed over, and what hinting would do no good to: memory without rights, pages
 * shared by copy-on-write or KSM, dirty pages of files. Processes' translations are flushed once
 * for each VMA. Secondary MMUs are told by a bracket for each 2 MiB that has tables, as the lists
 * describe it, or by one for each VMA, as change_pud_range does it now. STATUS_NO_MEMORY: to split
 * a large page, before anything has changed. Linux: task_numa_work, change_prot_numa,
 * change_protection.
 */
enum hinting { HINT_EACH_2M, HINT_AT_ONCE };
MUST_USE enum status space_hint(struct space *space, hva_t start, uint64_t bytes,
				enum hinting how);
/*
 * The same for the next so many pages of the space's VMAs, from where the last scan ended, and from
 * the start after the end. For a task that does it now and then. Linux: numa_scan_offset.
 */
MUST_USE enum status space_scan(struct space *space, uint64_t pages, enum hinting how);
/* So many pages of each space, a bracket for each VMA; returns their number. No lock held. */
uint64_t numa_scan(struct host *host, uint64_t pages);

/* ------------------------------------------------------------------ soft dirty */

/*
 * Which pages were written since space_clear_soft_dirty: W goes with the mark, and the write fault
 * that follows sets it again, a guest's too. Linux: clear_refs_write of 4, and bit 55 of pagemap.
 * space_soft_dirty: STATUS_NOT_FOUND without a VMA.
 */
void space_clear_soft_dirty(struct space *space);
MUST_USE enum status space_soft_dirty(struct space *space, hva_t address, bool *written);

/* ------------------------------------------------------------------ pages for a device alone */

/*
 * Takes an anonymous page from the process's CPUs and all listeners but the owner (struct
 * mm_range), as if it had been written. It comes locked and with a reference, so that the device
 * can map it (unless it has heard of another bracket meanwhile); then exclusive_done gives both
 * back. The process's next use, or another listener's, tells the device by EVENT_CLEAR, and the
 * page is the process's again. A larger page is split. Errors as mm_lookup's, and
 * STATUS_UNSUPPORTED for a file's page. No lock held. Linux: make_device_exclusive.
 */
MUST_USE enum status space_make_exclusive(struct space *space, hva_t address, const void *owner,
					  pfn_t *frame);
void exclusive_done(struct host *host, pfn_t frame);

/* ------------------------------------------------------------------ the end, from outside */

/*
 * Empties the anonymous and private VMAs of a space that will not run again, without waiting for
 * anything and without memory. False: some listener would have had to sleep, and what it listens to
 * is still there: try again. Linux: __oom_reap_task_mm.
 */
MUST_USE bool space_reap(struct space *space);

/* ------------------------------------------------------------------ a process's accesses */

/*
 * Reads and writes a process's memory as its own CPU would: faults pages in, honours rights, sets
 * accessed and dirty in the entries. Any address, any number of bytes, none too; what comes before
 * the first page that can't be reached has been copied.
 */
MUST_USE enum status space_read(struct space *space, hva_t from, void *into, uint64_t bytes);
MUST_USE enum status space_write(struct space *space, hva_t to, const void *from, uint64_t bytes);

/*
 * For a CPU that runs on the space's own tables. Between the two it may use any translation that it
 * finds or has cached since; the host waits for it before it reuses a page (mm/tlb.h). So it is
 * short, waits for nothing, and calls nothing of mm: a page fault is taken by space_fault
 * afterwards. Returns the root, for CR3; the entries of its upper half are the caller's to fill. No
 * lock held.
 */
hpa_t space_enter(struct space *space);
void space_leave(struct space *space);
/*
 * STATUS_OK: try the access again. STATUS_NOT_FOUND: no VMA; STATUS_NO_ACCESS; STATUS_NO_MEMORY;
 * STATUS_IO_ERROR. No lock held. Linux: handle_mm_fault.
 */
MUST_USE enum status space_fault(struct space *space, hva_t address, enum access access);

/* ------------------------------------------------------------------ merging equal pages */

/*
 * KSM: keeps so many merged pages at most (up to 2^24), and remembers as many that it has seen.
 * STATUS_BAD_RANGE, STATUS_EXISTS, STATUS_NO_MEMORY. Start and stop: while nobody scans.
 */
MUST_USE enum status ksm_start(struct host *host, uint32_t pages);
/* Pages that are merged stay so until somebody stores to them. */
void ksm_stop(struct host *host);
/*
 * Looks at so many pages of mergeable memory at most, and merges what it can; returns how many.
 * It ends early at the end of a round through all spaces. One at a time: 0 for who comes while
 * another is at it, or without ksm_start. No lock held. Linux: ksm_do_scan.
 */
uint64_t ksm_scan(struct host *host, uint64_t pages);
/* Linux: pages_shared, pages_sharing: merged pages, and the entries saved. While nobody scans. */
struct ksm_stats { uint64_t shared, sharing; };
void ksm_read_stats(struct host *host, struct ksm_stats *out);
/*
 * Linux: madvise, MADV_MERGEABLE and MADV_UNMERGEABLE. STATUS_NOT_FOUND when some page has no
 * VMA. The second gives back a page of its own to each merged one; STATUS_NO_MEMORY: not to
 * all, call again.
 */
MUST_USE enum status space_merge(struct space *space, hva_t start, uint64_t bytes);
MUST_USE enum status space_unmerge(struct space *space, hva_t start, uint64_t bytes);

/* ------------------------------------------------------------------ secondary MMUs */

/* What one walk of the primary tables finds: the frame of the address, not the leaf's first. */
struct mm_page {
	pfn_t frame;
	unsigned level;		/* of the primary leaf: 1, 2, 3 */
	bool writable;		/* the primary entry allows writes now */
	bool dirty;		/* and has D: not said by mm_lookup, which need not know */
	bool refcounted;	/* a folio is behind it: else nobody may mark or count the frame */
};

/*
 * The interface for secondary MMUs: the host page behind an address, faulted in when it has to be.
 * The page is named, not held (no reference): it may be used only under the protocol of
 * mm/notifier.h. STATUS_NOT_FOUND: no VMA, or one of named frames whose frame is gone;
 * STATUS_NO_ACCESS: its rights do not allow `access`, or it is secret; STATUS_NO_MEMORY. One walk
 * without a lock; where that finds no answer, takes space->lock (shared, exclusive to fault). Call
 * it without ept->lock. Linux: kvm_follow_pfn, hva_to_pfn.
 */
MUST_USE enum status mm_lookup(struct space *space, hva_t address, enum access access,
			       struct mm_page *out);
/*
 * The same, with more; flags are or-ed together. They may send it the slow way, under the lock
 * (HOST_SLOW_LOOKUPS).
 *
 * TOUCH: when it returns, the primary entry is young and, after a write, dirty, as if the process's
 * CPU had made the access, so that no mark need be made later. Linux would be a sane FOLL_TOUCH.
 * SHARED_SLOWLY: a read of a page that a store would copy is not answered by a walk without the
 * lock. HOLD: with a reference, that gup_put ends: for those whose hardware keeps the address and
 * follows no notifier. It keeps the frame, not the mapping. STATUS_NO_ACCESS where there is no
 * folio.
 */
enum lookup_flags { LOOKUP_TOUCH = 1, LOOKUP_SHARED_SLOWLY = 2, LOOKUP_HOLD = 4 };
MUST_USE enum status mm_lookup_with(struct space *space, hva_t address, enum access access,
				    unsigned flags, struct mm_page *out);

/*
 * What the walk without a lock says, by the same rules, or false: nothing is faulted in, changed or
 * waited for. Under any lock of a listener's: while no bracket is open over the address and none
 * can begin, what it says holds. Linux: get_user_pages_fast_only.
 */
MUST_USE bool mm_lookup_now(struct space *space, hva_t address, enum access access, unsigned flags,
			    struct mm_page *out);

/*
 * What is mapped there now: faults nothing in, judges nothing. STATUS_NOT_FOUND: nothing that may
 * be read. For those who compare two MMUs, not for mapping. No lock.
 */
MUST_USE enum status mm_peek(struct space *space, hva_t address, struct mm_page *out);

/* ------------------------------------------------------------------ memory for guests alone */

/*
 * Pages by number that no process maps: no primary entry, no rights, no swap, nothing that
 * reclaims, moves or writes back (S36). Each is a zeroed page of 4 KiB from its first lookup until
 * it is punched. memfd_create: STATUS_BAD_RANGE, STATUS_NO_MEMORY; memfd_destroy: STATUS_EXISTS
 * while somebody listens. Linux: guest_memfd.
 */
struct memfd;
MUST_USE enum status memfd_create(struct host *host, uint64_t pages, struct memfd **out);
MUST_USE enum status memfd_destroy(struct memfd *memfd);
uint64_t memfd_pages(const struct memfd *memfd);
/* Of those, the ones that are there. */
uint64_t memfd_filled(struct memfd *memfd);
/*
 * mm_lookup's counterpart, under the same protocol; brackets come by memfd_register
 * (mm/notifier.h), in bytes from the first page. The folio is marked here, accessed, and dirty if
 * the access is a write, so the caller has nothing to mark (not `refcounted`) and nothing to
 * collect; `writable` says that it is dirty. It stays so. STATUS_NOT_FOUND: no such page;
 * STATUS_NO_MEMORY. Takes the memfd's lock, shared, exclusive to fill; call it without ept->lock.
 * Linux: kvm_gmem_get_pfn.
 */
MUST_USE enum status memfd_lookup(struct memfd *memfd, uint64_t index, enum access access,
				  struct mm_page *out);
/* What is there now, as mm_peek. Takes the lock shared, and nothing inside it. */
MUST_USE enum status memfd_peek(struct memfd *memfd, uint64_t index, struct mm_page *out);
/* Pages go, and their content. STATUS_BAD_RANGE. Linux: fallocate(FALLOC_FL_PUNCH_HOLE). */
MUST_USE enum status memfd_punch(struct memfd *memfd, uint64_t first, uint64_t count);

/* ------------------------------------------------------------------ users without page tables */

/*
 * Or-ed together. The two touches say what Linux's FOLL_TOUCH does: as it is (a page's folio is
 * marked and its entry not; a large leaf's entry is marked and its folio not; of a pool's page
 * neither is), and as it might be (the entry is, of any size). A page that waits for a NUMA hinting
 * fault is read where it is, unless hints are to be honoured (Linux: FOLL_HONOR_NUMA_FAULT); a
 * write takes the fault in any case. FAST_ONLY, of gup_get_fast: without a lock or not at all.
 */
enum gup_flags {
	GUP_WRITE = 1, GUP_TOUCH = 2, GUP_TOUCH_SANE = 4, GUP_HONOUR_HINTS = 8, GUP_FAST_ONLY = 16,
};

/*
 * The page behind an address, with a reference for the caller; faulted in as for a read, or with
 * GUP_WRITE a write, and otherwise no entry changes. Errors as mm_lookup's, and STATUS_NO_ACCESS
 * for a page that has no folio. No lock held. Linux: get_user_pages, pin_user_pages.
 */
MUST_USE enum status gup_get(struct space *space, hva_t address, unsigned flags,
			     struct mm_page *out);
/*
 * The same, by a walk without the lock where that is enough. GUP_TOUCH does nothing on that way;
 * STATUS_NOT_FOUND: it would not have been enough, and GUP_FAST_ONLY. Linux: get_user_pages_fast.
 */
MUST_USE enum status gup_get_fast(struct space *space, hva_t address, unsigned flags,
				  struct mm_page *out);
/* The end of it. The second: the caller wrote there. Linux: unpin_user_pages_dirty_lock. */
void gup_put(struct host *host, pfn_t frame);
void gup_put_dirty(struct host *host, pfn_t frame);

/* Walks everything and panics at the first broken rule: counts, flags, free lists, tables. Slow. */
void host_verify(struct host *host);
void space_verify(struct space *space);

#endif
