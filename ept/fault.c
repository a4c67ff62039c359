/*
 * EPT violations: from a guest address that is not mapped to one that is. Called by fast.c, for
 * what needs more than W, from many CPUs at once.
 *
 *   fault                                    mm, in a bracket
 *   -----                                    ----------------
 *   sequence, the region as of it            start: brackets++, zap, shoot down  (ept->lock)
 *   bracket open?                            primary entries change
 *   mm_lookup -> frame          (no lock)    frames are freed
 *   lock shared                              end: sequence++, brackets--
 *   bracket open, or sequence moved: retry
 *   map
 *   unlock
 *
 * A lookup that saw the old entries came before they changed: their bracket's start had run, so
 * either the bracket is still open when the lock is held, or its end has moved the sequence since.
 * If neither, no bracket can begin before the unlock, and its zap will find what was mapped.
 * Linux: kvm_tdp_page_fault, kvm_faultin_pfn.
 *
 * The region, and its log, are those of this CPU's last fault, where the frame is in it and the
 * sequence is still the same: whoever changes a region or a log moves it before he lets go of
 * ept->lock. Else they are learned under the lock.
 */
#include "ept/change.h"
#include "ept/fault.h"
#include "ept/leave.h"
#include "ept/map.h"
#include "ept/memfd.h"
#include "ept/mmio.h"
#include "ept/notify.h"
#include "ept/policy.h"
#include "ept/prefetch.h"
#include "ept/region.h"
#include "ept/ring.h"
#include "ept/table.h"

struct fault {
	gfn_t frame;
	enum access access;
	uint64_t sequence;
	const struct region *region;	/* valid while the sequence stands, and on this CPU */
	struct ept_log *log;		/* the region's, as long; NULL: it has none */
	struct mm_page page;
};

/* Or not yet, or not any more. */
static enum fault_result nothing(struct ept *ept, gfn_t frame) HOLDS_SHARED(ept->lock)
{
	if (leave_holds(ept, frame))
		return FAULT_RETRY;
	mmio_install(ept, frame);
	return FAULT_NO_REGION;
}

/* This CPU learns where the frame is. FAULT_FIXED: it is somewhere. */
static __attribute__((noinline)) enum fault_result learn_ground(struct ept *ept,
								struct ept_cpu *cpu, gfn_t frame)
{
	enum fault_result result = FAULT_FIXED;

	read_lock(&ept->lock);
	const struct region *region = region_find(ept, frame);
	struct ept_log *log = log_find(ept, frame);

	if (!region)
		result = nothing(ept, frame);
	else if (ept->released)
		result = FAULT_NO_HOST;
	else
		cpu->ground = (struct ept_ground){ notify_sequence(ept), *region, log,
						   region->rights == REGION_READ_ONLY ||
						   (log && !log->bitmap) };
	read_unlock(&ept->lock);
	return result;
}

/* As of that value of the sequence. */
static inline bool knows_ground(const struct ept_ground *ground, uint64_t sequence, gfn_t frame)
{
	return ground->sequence == sequence &&
	       frame.raw - ground->region.start.raw < ground->region.pages;
}

/* A store to a region of which not every one may be made. */
static __attribute__((noinline)) enum fault_result judge_store(const struct ept_cpu *cpu)
{
	if (cpu->ground.region.rights == REGION_READ_ONLY)
		return FAULT_READ_ONLY;
	/* U33: once the leaf has W, it would be too late to find no room. */
	return log_has_room(cpu) ? FAULT_FIXED : FAULT_RING_FULL;
}

/* Everything that is decided before the host is asked. FAULT_FIXED: go on. */
static inline enum fault_result begin(struct ept *ept, struct ept_cpu *cpu, struct fault *fault)
{
	const struct ept_ground *ground = &cpu->ground;

	if (!knows_ground(ground, notify_sequence(ept), fault->frame)) {
		enum fault_result result = learn_ground(ept, cpu, fault->frame);

		if (result != FAULT_FIXED)
			return result;
	}
	fault->sequence = ground->sequence;
	fault->region = &ground->region;
	fault->log = ground->log;
	return fault->access & ACCESS_WRITE && ground->judged ? judge_store(cpu) : FAULT_FIXED;
}

static inline enum status ask_space(struct ept *ept, hva_t address, enum access access,
			     struct mm_page *page)
{
	unsigned flags = policy_lookup_flags(ept);

	return flags ? mm_lookup_with(ept->space, address, access, flags, page)
		     : mm_lookup(ept->space, address, access, page);
}

/* A fetch asks the host for no more than a read: what a guest may read it may execute. */
static inline enum fault_result look_up(struct ept *ept, struct fault *fault)
{
	hva_t address = region_hva(fault->region, fault->frame);
	enum access access = fault->access & ACCESS_WRITE ? ACCESS_WRITE : ACCESS_READ;

	/* A page that is being changed is not worth a lookup. May be out of date: only a hint. */
	if (notify_busy(ept, address, hva_add(address, PAGE_SIZE)))
		return FAULT_RETRY;

	enum status status = memfd_is(address)
				     ? memfd_region_lookup(ept, address, access, &fault->page)
				     : ask_space(ept, address, access, &fault->page);

	if (status == STATUS_OK)
		return FAULT_FIXED;
	return status == STATUS_NO_MEMORY ? FAULT_NO_MEMORY : FAULT_NO_HOST;
}

/* The leaf that this fault should install. */
struct plan {
	gfn_t start;
	unsigned level;
	spte_t leaf;
	hva_t hva_start, hva_end;
};

/* Most are of 4 KiB, which need no judging. */
static inline unsigned leaf_level(const struct ept *ept, const struct fault *fault)
{
	const struct mm_page *page = &fault->page;
	unsigned most = page->level < ept->caps.max_level ? page->level : ept->caps.max_level;

	if (fault->log || most == LEVEL_4K)
		return LEVEL_4K;
	return region_level(fault->region, fault->frame, most);
}

static inline struct plan plan(const struct ept *ept, const struct fault *fault)
{
	const struct mm_page *page = &fault->page;
	unsigned level = leaf_level(ept, fault);
	uint64_t inside = level_pages(level) - 1;
	struct plan plan = { .start = gfn(fault->frame.raw & ~inside), .level = level };

	plan.leaf = spte_make_leaf(pfn(page->frame.raw & ~inside),
				   policy_allows_writes(ept, page) &&
				   fault->region->rights == REGION_READ_WRITE, ept->ad);
	/* Read, it is not stored to: the next store will tell. */
	if (fault->log && !(fault->access & ACCESS_WRITE))
		plan.leaf.bits &= ~(log_takes(fault->log, level) | SPTE_D);
	plan.hva_start = region_hva(fault->region, plan.start);
	plan.hva_end = hva_add(plan.hva_start, level_bytes(level));
	return plan;
}

static inline __attribute__((always_inline)) enum map_result
install(struct ept *ept, struct ept_cpu *cpu, const struct fault *fault, const struct plan *plan)
	HOLDS_SHARED(ept->lock)
{
	spte_t leaf = plan->leaf;
	enum map_result result = ept_map(ept, cpu, plan->start, plan->level, &leaf, fault->access);

	if (result == MAP_INSTALLED || result == MAP_FOUND)
		policy_mapped(ept, leaf, &fault->page);
	if (result == MAP_INSTALLED && fault->log && fault->access & ACCESS_WRITE)
		log_store(cpu, fault->log, fault->frame);
	return result;
}

/* Once more what was looked up, then the tables. */
static inline __attribute__((always_inline)) enum map_result
try_map(struct ept *ept, struct ept_cpu *cpu, const struct fault *fault, const struct plan *plan)
	HOLDS_SHARED(ept->lock)
{
	/* All of the leaf must stand still, not only the page that was asked for. */
	if (notify_changed(ept, fault->sequence, plan->hva_start, plan->hva_end))
		return MAP_STALE;
	return install(ept, cpu, fault, plan);
}

/*
 * A leaf that is larger than a log wants it: its other pages stay. False: it is none, or there is
 * no memory for tables. Linux: tdp_mmu_split_huge_page, by a fault.
 */
static bool split(struct ept *ept, const struct fault *fault, const struct plan *plan,
		  struct flush_batch *batch) HOLDS(ept->lock)
{
	if (!fault->log)
		return false;
	for (;;) {
		struct ept_place at = ept_find(ept, fault->frame);
		uint64_t less = log_takes(fault->log, at.level - 1);

		if (!spte_is_leaf(at.old) || at.level == plan->level)
			return true;
		if (!ept_split_leaf(ept, at.slot, at.level, less, batch))
			return false;
	}
}

/*
 * A table where a leaf should be, a larger leaf, or one with fewer rights: away with it first. The
 * sequence moves, so that faults between their two locks begin again: the tables above their
 * conflict may be gone, and their store need not have others in their place.
 */
static void clear_way(struct ept *ept, const struct plan *plan) HOLDS(ept->lock)
{
	atomic_add(&ept->sequence, 1);
	flush_settle(ept, ept_zap_range(ept, plan->start, level_pages(plan->level), ZAP_TABLES,
					flush_nothing()));
}

static enum map_result replace(struct ept *ept, struct ept_cpu *cpu, const struct fault *fault,
			       const struct plan *plan)
	HOLDS(ept->lock)
{
	struct flush_batch batch = flush_nothing();
	enum map_result result = MAP_CONFLICT;

	if (notify_changed(ept, fault->sequence, plan->hva_start, plan->hva_end))
		return MAP_STALE;
	if (split(ept, fault, plan, &batch))
		result = install(ept, cpu, fault, plan);
	flush_settle(ept, batch);
	if (result != MAP_CONFLICT)
		return result;
	clear_way(ept, plan);
	return install(ept, cpu, fault, plan);
}

/* What is in the way goes. */
static __attribute__((noinline)) enum map_result map_alone(struct ept *ept, struct ept_cpu *cpu,
							   const struct fault *fault,
							   const struct plan *plan)
{
	write_lock(&ept->lock);
	enum map_result result = replace(ept, cpu, fault, plan);

	write_unlock(&ept->lock);
	return result;
}

static inline enum fault_result map(struct ept *ept, struct ept_cpu *cpu, const struct fault *fault)
{
	struct plan planned = plan(ept, fault);

	read_lock(&ept->lock);
	enum map_result result = try_map(ept, cpu, fault, &planned);

	if (result == MAP_INSTALLED && ept->prefetch)
		prefetch_around(ept, fault->region, fault->frame);
	read_unlock(&ept->lock);
	if (result == MAP_CONFLICT)
		result = map_alone(ept, cpu, fault, &planned);
	switch (result) {
	case MAP_INSTALLED: return FAULT_FIXED;
	case MAP_FOUND: return FAULT_SPURIOUS;
	case MAP_STALE: return FAULT_RETRY;
	case MAP_CONFLICT: break;
	}
	port_panic("guest frame 0x%lx: a conflict that was zapped", fault->frame.raw);
}

enum fault_result ept_fault_locked(struct ept *ept, struct ept_cpu *cpu, gfn_t frame,
				   enum access access)
{
	/* begin and look_up fill in the rest: zeros would cost, and nobody reads them. */
	struct fault fault;

	fault.frame = frame;
	fault.access = access;

	if (!ept_table_is_prepared(cpu) && ept_table_prepare(ept) != STATUS_OK)
		return FAULT_NO_MEMORY;
	enum fault_result result = begin(ept, cpu, &fault);

	if (result == FAULT_FIXED)
		result = look_up(ept, &fault);
	if (result == FAULT_FIXED)
		result = map(ept, cpu, &fault);
	if (result == FAULT_RETRY)
		ept_count_on(cpu, COUNT_RETRIES, 1);
	if (result == FAULT_SPURIOUS)
		ept_count_on(cpu, COUNT_SPURIOUS, 1);
	return result;
}
