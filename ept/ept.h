/*
 * The secondary MMU: from guest frames to host frames. A guest's memory is a set of regions, each
 * a range of guest frames backed by a range of one host space; the EPT maps what the host lends,
 * when the guest touches it, and lets go when the host takes it back (mm/notifier.h).
 *
 * What a CPU does around the guest (vmx/, or the soft CPU):
 *
 *	entry = ept_enter(ept);
 *	if (entry & EPT_INVALIDATE)
 *		INVEPT, single context, of ept_pointer(ept)
 *	page-modification logging on if entry & EPT_LOGGED, else off
 *	... guest runs ...
 *	ept_leave(ept);				or ept_leave_logged
 *	ept_fault(ept, ...)			when it left by an EPT violation
 *	ept_fault_misconfigured(ept, ...)	by an EPT misconfiguration
 */
#ifndef EPT_EPT_H
#define EPT_EPT_H

#include "mm/base/addr.h"
#include "mm/base/check.h"
#include "mm/mm.h"

struct ept;

/* What the CPU can do: SDM "VPID and EPT Capabilities" (IA32_VMX_EPT_VPID_CAP). */
struct ept_caps {
	unsigned max_level;		/* largest leaf: 1, 2 or 3 */
	bool accessed_dirty;		/* A and D flags in the EPT */
	bool pml;			/* page-modification logging, with them */
};

/* Tables come from the space's host. Registers with the space. STATUS_NO_MEMORY. */
MUST_USE enum status ept_create(struct space *space, const struct ept_caps *caps, struct ept **out);

/*
 * When the folio behind a leaf is marked dirty and accessed. Whichever it is, before anybody asks:
 * no store is lost (S49).
 *
 *	MAP	when the leaf is made, as if it were used and, if the host lets it be written,
 *		written at once. Linux since 6.13, and all architectures but x86 before
 *	ZAP	when it goes, or loses D, by what its flags have come to say. Linux on x86 till then
 *	RFC	dirty as by MAP, accessed as by ZAP: the series as it was posted
 *	BATCH	as by ZAP, once for a folio in each range that goes
 *	PTE	never: a leaf may be written where the process's own entry is dirty, and that is
 *		told of whoever cleans it
 *
 * A memfd's page has no process's entry: whichever it is, the memfd's own lookup marks it (S35).
 */
enum ept_policy {
	EPT_POLICY_MAP, EPT_POLICY_ZAP, EPT_POLICY_RFC, EPT_POLICY_BATCH, EPT_POLICY_PTE,
	EPT_POLICIES
};
/* MAP at first. Before any region is added. */
void ept_set_policy(struct ept *ept, enum ept_policy policy);
/*
 * A fault that maps a page of 4 KiB maps its neighbours as well: those of the aligned
 * block of so many pages that the host could be written through this moment, unused (S5,
 * U3). A power of two up to 512; 0, which it is at first: none. Before any region is
 * added. Linux: PTE_PREFETCH_NUM, which is 8.
 */
void ept_set_prefetch(struct ept *ept, unsigned pages);

/*
 * No CPU may be inside the guest. Drops every mapping, unregisters, frees every table. The space
 * may end first (space_destroy; then every fault is FAULT_NO_HOST), but not while ept_fault,
 * ept_read_guest or ept_write_guest runs, and nobody calls the latter two afterwards.
 */
void ept_destroy(struct ept *ept);

/* The EPTP for the VMCS and for INVEPT: SDM "Extended-Page-Table Pointer (EPTP)". Never changes. */
uint64_t ept_pointer(const struct ept *ept);
struct space *ept_space(const struct ept *ept);

/* ------------------------------------------------------------------ regions */

enum region_rights { REGION_READ_WRITE, REGION_READ_ONLY };

struct region {				/* Linux: kvm_memory_slot */
	gfn_t start;
	uint64_t pages;
	hva_t backing;			/* hva of the first page */
	enum region_rights rights;
	unsigned max_level;		/* largest leaf wanted here: 1, 2 or 3 */
};

enum { REGIONS_MAX = 32 };

/*
 * STATUS_BAD_RANGE: empty, wrapping, or beyond 48 bits; STATUS_EXISTS: overlaps; STATUS_LIMIT.
 * Takes ept->lock.
 */
MUST_USE enum status ept_region_add(struct ept *ept, const struct region *region);
/*
 * A region of memory that no process maps: its `backing` is bytes from the memfd's first page.
 * STATUS_BAD_RANGE: beyond the memfd's end, too; else as the one above. Devices do not reach it
 * (STATUS_NO_ACCESS below). The memfd stays until the region is removed, or the EPT destroyed, and
 * no ept_fault from before that runs any more.
 */
MUST_USE enum status ept_region_add_memfd(struct ept *ept, const struct region *region,
					  struct memfd *memfd);
/*
 * Each of the three waits until no bracket is open, so none is called in one (U23); takes
 * ept->lock, but holds it exclusively no longer for a large region than for a small one; is meant
 * for the region that starts at `start`, else STATUS_NOT_FOUND.
 *
 * remove unmaps it and returns when no CPU can reach it. Until then faults there are
 * FAULT_RETRY, and its place is taken.
 */
MUST_USE enum status ept_region_remove(struct ept *ept, gfn_t start);
/*
 * The same backing at other guest frames from now on, where nothing is mapped yet.
 * STATUS_BAD_RANGE, STATUS_EXISTS as ept_region_add, and EXISTS where it is logged: then it stays
 * where it was, though it may have lost what was mapped. Linux: KVM_MR_MOVE.
 */
MUST_USE enum status ept_region_move(struct ept *ept, gfn_t start, gfn_t to);
/*
 * On return no CPU can store to a region that may only be read now; what was mapped stays.
 * One that may be written gets W with the next store to each page. Linux:
 * KVM_MR_FLAGS_ONLY, KVM_MEM_READONLY.
 */
MUST_USE enum status ept_region_set_rights(struct ept *ept, gfn_t start, enum region_rights rights);
/* A copy of the region that holds the frame. */
MUST_USE enum status ept_region_find(struct ept *ept, gfn_t frame, struct region *out);

/*
 * Guest memory as a device's DMA would see it; crosses regions. STATUS_NOT_FOUND in a hole,
 * STATUS_NO_ACCESS for a write to a read-only region, STATUS_UNSUPPORTED for one where stores are
 * logged by LOG_RING_ONLY; what lies before it has been copied then.
 */
MUST_USE enum status ept_read_guest(struct ept *ept, gpa_t from, void *into, uint64_t bytes);
MUST_USE enum status ept_write_guest(struct ept *ept, gpa_t to, const void *from, uint64_t bytes);

/* ------------------------------------------------------------------ dirty logging */

/*
 * How a store to a page of a logged region is noticed. Linux: KVM_MEM_LOG_DIRTY_PAGES.
 *
 *	WRITE_PROTECT	leaves lose W; the store faults, and the fault notes it
 *	DIRTY_BIT	leaves of 4 KiB lose D, which the processor sets again; a harvest looks at
 *			all of them
 *	RING		as WRITE_PROTECT, and the fault lists the page in its vCPU's ring
 *	PML		leaves of 4 KiB lose D; the processor lists the pages where it sets it again
 *	RING_ONLY	as RING, and nothing else notes pages: there is no bitmap. A store that its
 *			vCPU's ring has no room for is not made: FAULT_RING_FULL. Nor is a device's
 */
enum log_kind { LOG_WRITE_PROTECT, LOG_DIRTY_BIT, LOG_RING, LOG_PML, LOG_RING_ONLY };

struct log_options {
	enum log_kind kind;
	bool manual;			/* ept_log_get clears nothing: ept_log_clear does */
	bool initially_set;		/* every bit is set at first, and no leaf changes before
					   it is cleared */
	bool lazy;			/* large leaves stay until somebody stores there */
};

/*
 * From now on, the stores to the region that starts there are logged; on return no processor can
 * store without a trace. Leaves are of 4 KiB from then on: those that are larger are split, as far
 * as there is memory for tables; the rest when they are stored to. STATUS_NOT_FOUND;
 * STATUS_EXISTS: it is logged; STATUS_UNSUPPORTED: the processor has no D, or no PML, or RING_ONLY
 * is to be manual or initially set; STATUS_NO_MEMORY. Takes ept->lock. By RING_ONLY it waits, with
 * no lock held, until each ept_write_guest from before has returned: what that has stored is in
 * what is read after. So the caller holds nothing that those take.
 */
MUST_USE enum status ept_log_enable(struct ept *ept, gfn_t start,
				    const struct log_options *options);
/*
 * And no more. Tables become large leaves again where the host's page is large and the region has
 * all of it, by one flush (U34). STATUS_NOT_FOUND. Takes ept->lock.
 */
MUST_USE enum status ept_log_disable(struct ept *ept, gfn_t start);
/*
 * Which pages were stored to: bit n of `words` for the region's page n, its length rounded up to
 * whole words. Each is clean again, and the next store to it is logged anew, unless the log is
 * manual. A store is in this harvest or in the next one; which are in it is certain for vCPUs that
 * are out of the guest and of ept_fault; by PML, for those inside, too, as of this call: they are
 * kicked. STATUS_NOT_FOUND; STATUS_UNSUPPORTED: by RING_ONLY, and `words` stay. Takes ept->lock.
 * Linux: KVM_GET_DIRTY_LOG.
 */
MUST_USE enum status ept_log_get(struct ept *ept, gfn_t start, uint64_t *words);
/*
 * Of a manual log: the pages of [first, first + pages) that have a bit in `words` (bit 0: page
 * `first`) are clean from now on. `first` is a multiple of 64, `pages` as well or up to the
 * region's end, else STATUS_BAD_RANGE. STATUS_NOT_FOUND: no log, or no manual one;
 * STATUS_UNSUPPORTED: by RING_ONLY. Linux: KVM_CLEAR_DIRTY_LOG.
 */
MUST_USE enum status ept_log_clear(struct ept *ept, gfn_t start, uint64_t first, uint64_t pages,
				   const uint64_t *words);

/* ---------------------------------- rings */

/*
 * Where LOG_RING and LOG_RING_ONLY list what one vCPU stores to. `entries`: a power of two, else
 * STATUS_BAD_RANGE. STATUS_NO_MEMORY. Destroyed when no CPU uses it. Linux:
 * KVM_CAP_DIRTY_LOG_RING, with KVM_CAP_DIRTY_LOG_RING_WITH_BITMAP and without.
 */
struct ept_ring;
enum { EPT_RING_LEAST = 64, EPT_RING_MOST = 65536, EPT_RING_RESERVE = 16 };
MUST_USE enum status ept_ring_create(struct ept *ept, unsigned entries, struct ept_ring **out);
void ept_ring_destroy(struct ept *ept, struct ept_ring *ring);
/*
 * What this CPU's faults let a guest store to is listed there from now on; NULL: in
 * the bitmaps, and where there is none its guest stores to nothing. Outside the guest;
 * one CPU uses a ring at a time.
 */
void ept_ring_use(struct ept *ept, struct ept_ring *ring);
/*
 * It has room for EPT_RING_RESERVE pages or less: its vCPU should wait until it is reset. One that
 * goes on loses nothing: what a full ring has no room for is in the bitmap, or not stored
 * (FAULT_RING_FULL).
 */
bool ept_ring_is_full(const struct ept_ring *ring);
/*
 * The frames that were stored to, oldest first; how many. One harvester at a time. Their pages are
 * read after ept_ring_reset, from which on stores to them are listed again: it returns how many
 * entries it has freed. Takes ept->lock. Linux: KVM_RESET_DIRTY_RINGS.
 */
unsigned ept_ring_harvest(struct ept_ring *ring, gfn_t *frames, unsigned most);
unsigned ept_ring_reset(struct ept *ept, struct ept_ring *ring);

/* ------------------------------------------------------------------ faults */

enum fault_result {
	FAULT_FIXED,			/* mapped: enter again */
	FAULT_SPURIOUS,			/* the entry allows it already: enter again */
	FAULT_RETRY,			/* the host is changing it: enter and fault again */
	FAULT_NO_REGION,		/* nothing stands at this guest address */
	FAULT_READ_ONLY,		/* a write to a read-only region */
	FAULT_NO_HOST,			/* the host has no mapping behind it, or fewer rights */
	FAULT_NO_MEMORY,		/* the host is out of memory, for the page or for a table */
	FAULT_MISCONFIGURED,		/* no entry that a processor can use: our fault */
	FAULT_RING_FULL,		/* the store can be listed nowhere, and is not made: reset
					   the vCPU's ring, then enter again. By LOG_RING_ONLY */
};

/*
 * One EPT violation: what was tried, and what the entries allowed, by bits 2:0 and 5:3 of the exit
 * qualification. The second says which way is tried first, nothing else: a CPU may have it from an
 * entry that is another by now. Called outside the guest (after ept_leave), no lock held, from any
 * number of CPUs. Takes space->lock and ept->lock.
 */
MUST_USE enum fault_result ept_fault(struct ept *ept, gpa_t address, enum access access,
				     enum access allowed);
/*
 * One EPT misconfiguration: where ept_fault has found no region, the entry itself makes a processor
 * leave the next time. FAULT_NO_REGION, as long as no region was added since: what an access to
 * nothing means is the caller's to say. Else FAULT_RETRY: entered again, it is an EPT violation, or
 * none. FAULT_MISCONFIGURED: that is none of these entries. Called as ept_fault, and takes no lock.
 */
MUST_USE enum fault_result ept_fault_misconfigured(struct ept *ept, gpa_t address);

/* ------------------------------------------------------------------ CPUs entering, leaving */

/* Or-ed. */
enum ept_entry { EPT_CLEAN = 0, EPT_INVALIDATE = 1, EPT_LOGGED = 2 };

/*
 * This CPU is about to enter the guest. EPT_INVALIDATE: it must drop its cached translations
 * first. EPT_LOGGED: the guest has to run with page-modification logging, and leaves by
 * ept_leave_logged; without it, that must be off. From here until ept_leave a shootdown may kick it
 * (ept/port.h) and waits for it: a kick that comes between ept_enter and the guest's first
 * instruction must not be lost, and this CPU calls nothing of ept or mm. A CPU is inside one guest
 * at a time. ept/enter.h has both inline.
 */
MUST_USE enum ept_entry ept_enter(struct ept *ept);
void ept_leave(struct ept *ept);
/*
 * Instead of ept_leave: the stores that the processor has listed in this CPU's PML page since it
 * entered go to the logs first. `index` is the VMCS's PML index, afterwards EPT_PML_LAST again. Of
 * an entry the low 12 bits say nothing; one of no region with such a log is nobody's.
 */
enum { EPT_PML_LAST = 511 };
void ept_leave_logged(struct ept *ept, const uint64_t *page, uint16_t index);

/* ------------------------------------------------------------------ figures, and checking */

struct ept_stats {
	uint64_t faults[3];		/* by access: read, write, fetch (a fetch counts as one) */
	uint64_t mapped[3];		/* leaves installed, by level 1, 2, 3 */
	uint64_t zapped[3];		/* leaves removed, by level */
	uint64_t made_read_only;	/* leaves that lost W and stayed */
	uint64_t made_writable;		/* leaves that got it where they were */
	uint64_t spurious, retries;
	uint64_t invalidations;		/* brackets seen */
	uint64_t flushes;		/* shootdowns: generations advanced */
	uint64_t kicks;			/* CPUs that had to be interrupted for one */
	uint64_t invepts;		/* INVEPTs asked for at entry */
	uint64_t tables_allocated, tables_freed;	/* linked below the root; freed again */
	uint64_t changes;		/* leaves exchanged by change_pte */
	uint64_t fast;			/* faults that took no lock */
	uint64_t split, joined;		/* large leaves that became a table; and the reverse */
	uint64_t prefetched;		/* leaves installed that no fault has asked for */
	uint64_t prefetch_used;		/* of these, the used: known when one is aged or goes */
	uint64_t mmio_made, mmio_hits;	/* made where nothing is; faults that they answered */
};
void ept_read_stats(struct ept *ept, struct ept_stats *out);

/*
 * Walks all of it and panics at the first entry that breaks a rule: its format, its rights and
 * frame against the primary tables, its region, its folio, the counts. Slow. No lock held; guests,
 * faults and brackets may go on meanwhile. Takes space->lock and ept->lock, one after the other.
 */
void ept_verify(struct ept *ept);

#endif
