/*
 * All that one EPT is, its fields grouped by what protects them. For ept's own files, and tests.
 *
 * ept->lock: shared to look at regions and to map by cmpxchg; exclusive for what takes tables away,
 * or less than a leaf; beside others for brackets, which take leaves (notify.c). It nests inside
 * space->lock and outside host->lock, and is never held while mm is asked for a page.
 */
#ifndef EPT_STATE_H
#define EPT_STATE_H

#include "ept/enter.h"
#include "ept/ept.h"
#include "ept/slot.h"
#include "mm/base/lock.h"
#include "mm/base/port.h"
#include "mm/notifier.h"

enum count {
	COUNT_FAULTS, COUNT_FAULTS_LAST = COUNT_FAULTS + (ACCESS_READ | ACCESS_WRITE | ACCESS_EXEC),
	COUNT_MAPPED_4K, COUNT_MAPPED_2M, COUNT_MAPPED_1G,
	COUNT_ZAPPED_4K, COUNT_ZAPPED_2M, COUNT_ZAPPED_1G,
	COUNT_MADE_READ_ONLY, COUNT_MADE_WRITABLE,
	COUNT_SPURIOUS, COUNT_RETRIES, COUNT_INVALIDATIONS,
	COUNT_FLUSHES, COUNT_KICKS, COUNT_INVEPTS,
	COUNT_TABLES_ALLOCATED, COUNT_TABLES_FREED,
	COUNT_CHANGES,
	COUNT_FAST, COUNT_SPLIT, COUNT_JOINED,
	COUNT_PREFETCHED, COUNT_PREFETCH_USED,
	COUNT_MMIO_MADE, COUNT_MMIO_HITS,
	COUNTS
};

enum { TABLES_PER_FAULT = EPT_ROOT_LEVEL - 1 };

/*
 * What a CPU remembers of its last fault: a table of leaves, as of a generation, and a region with
 * its log, as of a value of the sequence. It holds while that stands (walk.h, fault.c). Of
 * 0 there is neither.
 */
struct ept_way { uint64_t generation, block; spte_slot_t *slots; };
struct ept_ground {
	uint64_t sequence;
	struct region region;
	struct ept_log *log;
	bool judged;			/* a store is: it is read-only, or logged by rings alone */
};

/*
 * One for each CPU. Only that CPU writes it; others read `presence` (flush.c), `device` (ring.c)
 * and the counts.
 */
struct ept_cpu {
	struct ept_visitor visitor;
	struct ept_way way;
	struct ept_ground ground;
	struct ept_ring *ring;		/* of the vCPU that it runs; NULL: none */
	pfn_t tables[TABLES_PER_FAULT];	/* zeroed, for the next fault: table.c */
	unsigned table_count;
	atomic64_t counts[COUNTS];
	atomic64_t device;		/* odd: it is in ept_write_guest */
} __attribute__((aligned(64)));

/* A memfd behind a region (memfd.c). NULL: this place is free; under ept->lock. */
struct ept_memfd {
	struct memfd *memfd;
	struct ept *ept;
	struct notifier notifier;
};

/*
 * A region's dirty log, bit n of the bitmap for its page n. All but the bitmap's words stands still
 * while the log's bit in `logs_live` is set, so whoever finds it there may use it: under ept->lock,
 * or between walk_enter and walk_leave (flush.h), for which log_drop waits.
 */
struct ept_log {
	gfn_t start;
	uint64_t pages;
	enum log_kind kind;
	bool manual;			/* reading clears nothing: ept_log_clear does */
	bool listed;			/* in its vCPU's ring, if there is room */
	atomic64_t *bitmap;		/* NULL: a store is in a ring, or is not made */
};

struct ept {
	/* Fixed by ept_create. */
	struct space *space;
	struct host *host;
	struct ept_caps caps;
	pfn_t root;
	enum ept_policy policy;		/* fixed before the first region, and so is the next */
	unsigned prefetch;		/* pages to a block, a power of two; 0: no prefetch */

	/* Under lock. The tables below root as well. */
	rwlock_t lock;
	struct region regions[REGIONS_MAX];	/* sorted by start, disjoint */
	unsigned region_count;
	atomic64_t region_generation;		/* of additions; read without the lock by mmio.c */
	struct region leaving[REGIONS_MAX];	/* disjoint from those, and each other: leave.c */
	atomic64_t leaving_count;
	struct ept_memfd memfds[REGIONS_MAX];
	struct ept_log logs[REGIONS_MAX];	/* those with a bit in logs_live */
	atomic64_t logs_live;
	bool released;				/* the space has ended: nothing is mapped again */

	/* The brackets of mm: notify.c. */
	struct notifier notifier;
	atomic64_t sequence, brackets, bracket_start, bracket_end;

	/* Fixed by ept_create; here, since those above are near for every fault. */
	ad_mode_t ad;			/* by caps, in all leaves */
	struct ept_cpu *cpu[MAX_CPUS];	/* of cpus below: saves the index's multiplication */

	/* Shootdowns: flush.c. */
	struct ept_notice notice __attribute__((aligned(64)));
	atomic64_t cpus_entered;		/* bit n: CPU n has been inside */

	struct ept_cpu cpus[MAX_CPUS];
};

_Static_assert(MAX_CPUS <= 64, "cpus_entered has a bit for each");

static inline struct ept_cpu *ept_this_cpu(struct ept *ept)
{
	return ept->cpu[port_cpu()];
}

/* For those to whom each instruction counts, by what is this CPU's. */
static inline void ept_count_on(struct ept_cpu *cpu, unsigned count, uint64_t by)
{
	atomic_bump(&cpu->counts[count], by);
}

static inline void ept_count(struct ept *ept, unsigned count, uint64_t by)
{
	ept_count_on(ept_this_cpu(ept), count, by);
}

#endif
