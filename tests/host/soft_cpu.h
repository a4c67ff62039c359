/*
 * A processor for testing: it reaches guest memory by guest-physical addresses through the real
 * EPT, as the Intel SDM says and as nastily as it allows. It keeps what it has cached, stale or
 * not, until INVEPT, a violation at that address, another translation that takes the place, or
 * soft_evict. No guest paging: every address is guest-physical.
 *
 * The lower half is the processor alone. The upper half (soft_load and so on) does around it what
 * vmx does: enters, leaves on a kick, asks ept_fault after a violation.
 *
 * One thread, or one task, uses a soft CPU at a time; any may set `kicked`.
 */
#ifndef TESTS_HOST_SOFT_CPU_H
#define TESTS_HOST_SOFT_CPU_H

#include "ept/ept.h"
#include "mm/base/atomic.h"

enum { SOFT_CACHE_SETS = 64, SOFT_LEVELS = 4 };

/* An entry that was read on the way down: a leaf's translation, or a table's place. */
struct soft_cached {
	bool valid;
	uint64_t tag;			/* guest-physical address >> level_shift(level) */
	uint64_t entry;
	uint64_t rights;		/* R, W, X of it and of all above, and-ed */
};

struct soft_cpu {
	struct ept *ept;
	uint64_t eptp;
	unsigned physical_bits;		/* MAXPHYADDR */
	struct soft_cached cache[SOFT_LEVELS + 1][SOFT_CACHE_SETS];	/* by level */

	bool inside;			/* between ept_enter and ept_leave */
	bool polls;			/* looks for shootdowns itself: nobody sets `kicked` here */
	bool deaf;			/* the broken twin: leaves out the INVEPT of ept_enter */
	atomic32_t kicked;
	uint64_t entries, violations, kicks;
};

void soft_cpu_init(struct soft_cpu *cpu, struct ept *ept);

/* ------------------------------------------------------------------ the processor */

enum soft_kind { SOFT_DONE, SOFT_VIOLATION, SOFT_MISCONFIGURATION };

struct soft_exit {
	enum soft_kind kind;
	gpa_t address;
	uint64_t qualification;		/* SDM "Exit Qualification for EPT Violations" */
};

/*
 * One access of eight aligned bytes: write stores *value, read and fetch load it; read and write
 * together exchange it.
 */
struct soft_exit soft_access(struct soft_cpu *cpu, gpa_t address, enum access access,
			     uint64_t *value);
/* INVEPT, single context: everything that this CPU has cached. */
void soft_invept(struct soft_cpu *cpu);
/* What is cached for one address, on all levels: as if other translations had taken the places. */
void soft_evict(struct soft_cpu *cpu, gpa_t address);

/* ------------------------------------------------------------------ a guest on it */

/*
 * FAULT_FIXED: done; otherwise what ept_fault said that no entering again can help. The CPU stays
 * in the guest afterwards: before its thread does anything but the next access, soft_leave.
 */
MUST_USE enum fault_result soft_load(struct soft_cpu *cpu, gpa_t address, uint64_t *value);
MUST_USE enum fault_result soft_store(struct soft_cpu *cpu, gpa_t address, uint64_t value);
MUST_USE enum fault_result soft_fetch(struct soft_cpu *cpu, gpa_t address, uint64_t *value);
MUST_USE enum fault_result soft_exchange(struct soft_cpu *cpu, gpa_t address, uint64_t *value);
void soft_enter(struct soft_cpu *cpu);
void soft_leave(struct soft_cpu *cpu);

/*
 * In the image (tests/boot/test_soft.c): guests on soft CPUs, and a host that takes their memory
 * away and gives it back, with figures on the console. Returns 0 when all went well.
 */
int soft_demo(void);

#endif
