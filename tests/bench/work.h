/*
 * Workloads: what a guest does and what its host does meanwhile, by each policy, with what that
 * costs, counted. The same functions run hosted (hosted.c) and in the image (image_work.c).
 *
 *	static void play(struct work *work) { store_all(work); take_back(work); ... }
 *	WORKLOAD(work_example, "what it is", .region_level = LEVEL_4K, .play = play);
 *
 * A file work_*.c of this folder is built without a change elsewhere.
 */
#ifndef TESTS_BENCH_WORK_H
#define TESTS_BENCH_WORK_H

#include "tests/bench/guest.h"

enum work_count {
	WORK_DIRTY, WORK_ACCESSED,	/* calls that mark a folio, whatever they found there */
	WORK_LOCKED,			/* of those, locked operations */
	WORK_FAST,			/* the guest's faults that took no lock */
	WORK_SLOW,			/* and those that did; spurious ones and retries too */
	WORK_FLUSHES, WORK_BRACKETS,	/* of its EPT */
	WORK_SLOW_LOOKUPS,		/* that the host could not answer by a walk */
	WORK_CLEANED,			/* entries of the host's that lost D and stayed */
	WORK_TICKS,			/* of the TSC: guest, host and exits; 0: not measured */
	WORK_IDLE,			/* pages that the host takes for unused, where it asked */
	WORK_COUNTS
};
/* What a count is called, and its unit. */
extern const struct work_name { const char *name, *unit; } work_names[WORK_COUNTS];
extern const char *const work_policies[EPT_POLICIES];

enum work_memory { MEMORY_ANON, MEMORY_FILE };

struct work {
	const struct workload *of;
	const struct guest_kind *kind;
	struct host *host;
	struct guest guest;
	uint64_t pages;
	struct file *file;		/* MEMORY_FILE: whose pages the guest has */
	uint64_t idle;			/* its answer, where it has one */
};

struct workload {
	const char *name;		/* `# stat NAME_POLICY_COUNT` */
	const char *about;
	enum work_memory memory;	/* of the process, behind the guest's */
	unsigned space_level;		/* its leaves, at most; 0: 4 KiB */
	unsigned region_level;		/* the EPT's; 0: 4 KiB */
	bool headline;			/* it is about one folio of 1 GiB */
	bool full_hosted;		/* hosted, 1 GiB, too, unless the run is a short one */
	unsigned options;		/* enum host_option, in force meanwhile */
	enum marking marking;		/* the same */
	void (*before)(struct work *work);	/* not counted; NULL: nothing */
	void (*play)(struct work *work);
};

extern const struct workload workloads_start[], workloads_end[];

#define WORKLOAD(workload_name, ...)                                                \
	static const struct workload work_##workload_name                           \
		__attribute__((section("workloads"), used, aligned(8))) = {         \
			.name = #workload_name, __VA_ARGS__ }

enum { HEADLINE_PAGES = 1 << ORDER_1G };

/* Where it runs. */
struct work_place {
	const struct guest_kind *kind;
	struct host *host;
	uint64_t pages;			/* of the guest, but for headlines. A multiple of 512 */
	uint64_t (*now)(void);		/* the TSC; NULL: ticks would mean nothing */
};

struct work_result { uint64_t pages, counts[WORK_COUNTS]; };

/*
 * A guest with its memory, as the workload wants it; and the end of it. False: there is not the
 * memory for it, or no folio of 1 GiB, and everything is given back.
 */
bool work_open(struct work *work, const struct workload *workload, const struct work_place *place,
	       enum ept_policy policy);
void work_close(struct work *work);
/* The whole of a workload, and what it cost. False as above. */
bool work_run(const struct workload *workload, const struct work_place *place,
	      enum ept_policy policy, struct work_result *out);

/* ------------------------------------------------------------------ for workloads */

static inline void must(enum status status) { check(status == STATUS_OK); }

static inline hva_t page_hva(uint64_t page) { return hva(GUEST_BACKING + page * PAGE_SIZE); }

static inline void store(struct work *work, uint64_t first, uint64_t pages)
{
	work->kind->touch(first, pages, ACCESS_WRITE);
}

static inline void load(struct work *work, uint64_t first, uint64_t pages)
{
	work->kind->touch(first, pages, ACCESS_READ);
}

static inline void store_all(struct work *work) { store(work, 0, work->pages); }
static inline void load_all(struct work *work) { load(work, 0, work->pages); }

/* A bracket that changes nothing of the host's. */
static inline void take_back(struct work *work, uint64_t first, uint64_t pages)
{
	must(space_invalidate(work->guest.space, page_hva(first), pages * PAGE_SIZE));
}

static inline void take_all(struct work *work) { take_back(work, 0, work->pages); }

#endif
