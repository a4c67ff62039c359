/*
 * A processor for testing: it reaches memory through the real EPT, the guest's own page tables or
 * a host process's primary tables, as the Intel SDM says and as nastily as it allows. It keeps what
 * it has cached, stale or not, until something that the SDM names takes it away; `choose` may let
 * it forget earlier, which the SDM allows at any time.
 *
 *	soft_cache.c	what is cached: translations and paging-structure entries
 *	soft_cpu.c	guest-physical addresses through the EPT; A, D, the page-modification log
 *	soft_paging.c	linear addresses through four levels of paging, on top of the EPT or bare
 *	soft_guest.c	a guest, or a host process, on it: entries, kicks, faults, small programs
 *
 * The lower half is the processor alone. The upper half does around it what vmx does: enters,
 * leaves on a kick, asks ept_fault after a violation.
 *
 * One thread, or one task, uses a soft CPU at a time; any may set `kicked`. Left out: memory types,
 * PCIDs, protection keys, five levels, mode-based execute control; and one freedom of the SDM, a
 * D that is set in an entry whose W another processor clears in the same moment.
 */
#ifndef TESTS_HOST_SOFT_CPU_H
#define TESTS_HOST_SOFT_CPU_H

#include "ept/ept.h"
#include "mm/base/atomic.h"

/*
 * The explorer makes each soft CPU a part of its state: there it is small, and what it explores
 * must not use more pages than there are sets, or they take each other's places.
 */
#ifdef EXPLORE
enum { SOFT_CACHE_SETS = 4 };
#else
enum { SOFT_CACHE_SETS = 64 };
#endif
enum { SOFT_LEVELS = 4 };

/* An entry that was read on the way down: a leaf's translation, or a table's place. */
struct soft_cached {
	uint64_t context;		/* whose: SDM "Caching Translation Information", EP4TA */
	uint64_t tag;			/* address >> level_shift(level) */
	uint64_t entry;
	uint32_t rights;		/* of it and of all above, and-ed */
	bool valid;
};
struct soft_cache { struct soft_cached sets[SOFT_LEVELS][SOFT_CACHE_SETS]; };

struct soft_cpu {
	struct ept *ept;		/* NULL: a test's own tables, or a host CPU */
	uint64_t eptp;			/* 0: no EPT, physical addresses are the machine's */
	uint64_t cr3;			/* CR0.PG, WP, EFER.NXE are 1 where `paging` says so */
	bool paging, user;		/* user: CPL 3 */
	bool execute_only;		/* the EPT may allow fetches alone */
	bool pml;			/* SDM "Page-Modification Logging" */
	bool logged;			/* because the EPT has such a log: emptied by every exit */
	uint16_t pml_index;
	uint64_t pml_address;
	unsigned physical_bits;		/* MAXPHYADDR */
	struct soft_cache guest_physical, linear;

	/*
	 * A number below n, wherever the SDM leaves the processor a choice; 0 is plain behaviour.
	 * NULL: always 0. Asked only about an entry that is cached: 1 forgets it.
	 */
	unsigned (*choose)(struct soft_cpu *self, unsigned n);
	/* A test's foot in the door: called between the reading of an entry and the next step. */
	void (*between)(struct soft_cpu *self);
	/*
	 * The test's own log is full: empty it, and the access is tried again. Outside the guest.
	 */
	void (*pml_full)(struct soft_cpu *self);
	unsigned broken;		/* SOFT_TWIN_..., or-ed */

	bool inside;			/* between ept_enter and ept_leave */
	bool polls;			/* looks for shootdowns itself: nobody sets `kicked` here */
	atomic32_t kicked;
	atomic64_t entries, violations, kicks;	/* counters */
};

/* Broken twins: processors that tests must tell from a whole one. */
#define SOFT_TWIN_DEAF		1	/* leaves out the INVEPT of ept_enter */
#define SOFT_TWIN_CLEAN_WRITE	2	/* writes through a translation cached clean; no D */
#define SOFT_TWIN_PLAIN_STORE	4	/* sets A and D by a store of the entry it read */

/* With that EPT, no paging: every address is guest-physical. */
void soft_cpu_init(struct soft_cpu *cpu, struct ept *ept);
/* Its list for an EPT that is logged by PML: a page of zeros that the machine has. */
void soft_give_list(struct soft_cpu *cpu, pfn_t frame);
/* A CPU that runs a host process: user accesses through the space's primary tables, no EPT. */
void soft_host_init(struct soft_cpu *cpu, const struct space *space);

/* ------------------------------------------------------------------ the processor */

enum soft_kind { SOFT_DONE, SOFT_VIOLATION, SOFT_MISCONFIGURATION, SOFT_PML_FULL, SOFT_PAGE_FAULT };

struct soft_exit {
	enum soft_kind kind;
	gpa_t address;			/* of an EPT violation or misconfiguration */
	/* SDM "Exit Qualification for EPT Violations"; of a page fault, the error code. */
	uint64_t qualification;
	uint64_t linear;
};

/*
 * One access of eight aligned bytes: write stores *value, read and fetch load it; read and write
 * together exchange it. By guest-physical address, paging or not.
 */
struct soft_exit soft_access(struct soft_cpu *cpu, gpa_t address, enum access access,
			     uint64_t *value);
/* By linear address: without paging the guest-physical one. */
struct soft_exit soft_linear_access(struct soft_cpu *cpu, uint64_t linear, enum access access,
				    uint64_t *value);

/*
 * What the processor may do at any time inside the guest: walk without being asked, set A, never D,
 * cache what it finds. SDM "Details of TLB Use": translations for speculative accesses. Nothing
 * happens where the walk would end in an exit. By linear address if there is paging.
 */
void soft_prefetch(struct soft_cpu *cpu, uint64_t address);

/* INVEPT, single context: what is cached with the EPTP's table. All contexts. */
void soft_invept(struct soft_cpu *cpu);
void soft_invept_all(struct soft_cpu *cpu);
/*
 * INVLPG; MOV to CR3, or INVVPID. SDM "Operations that Invalidate TLBs and Paging-Structure
 * Caches", "Operations that Invalidate Cached Mappings".
 */
void soft_invlpg(struct soft_cpu *cpu, uint64_t linear);
void soft_flush_linear(struct soft_cpu *cpu);
/* What is cached for one gpa, on all levels: as if other translations had taken the places. */
void soft_evict(struct soft_cpu *cpu, gpa_t address);

/* ------------------------------------------------------------------ a guest on it */

/*
 * FAULT_FIXED: done; otherwise what ept_fault said that no entering again can help. The CPU stays
 * in the guest afterwards: before its thread does anything but the next access, soft_leave. With
 * paging the address is linear; a page fault panics: this guest has no handler.
 */
MUST_USE enum fault_result soft_load(struct soft_cpu *cpu, gpa_t address, uint64_t *value);
MUST_USE enum fault_result soft_store(struct soft_cpu *cpu, gpa_t address, uint64_t value);
MUST_USE enum fault_result soft_fetch(struct soft_cpu *cpu, gpa_t address, uint64_t *value);
MUST_USE enum fault_result soft_exchange(struct soft_cpu *cpu, gpa_t address, uint64_t *value);
void soft_enter(struct soft_cpu *cpu);
void soft_leave(struct soft_cpu *cpu);

/* A program: one access after another. `value` is stored, and becomes what was loaded. */
struct soft_step {
	enum access access;
	uint64_t address;
	uint64_t value;
};
/* Up to the first step that is not FAULT_FIXED; its result. */
MUST_USE enum fault_result soft_run(struct soft_cpu *cpu, struct soft_step *steps, unsigned count);

/* ------------------------------------------------------------------ a host process on it */

/*
 * By a CPU of soft_host_init: what page faults the space can serve are served (space_fault), the
 * others come back. STATUS_OK: done, and the CPU stays inside the space's tables, with all that it
 * has cached of them: before its thread calls anything else of mm, soft_process_leave.
 */
MUST_USE enum status soft_process(struct soft_cpu *cpu, struct space *space, hva_t address,
				  enum access access, uint64_t *value);
void soft_process_leave(struct soft_cpu *cpu, struct space *space);

/*
 * In the image (tests/boot/test_soft.c): guests on soft CPUs, and a host that takes their memory
 * away and gives it back, with figures on the console. Returns 0 when all went well.
 */
int soft_demo(void);

#endif
