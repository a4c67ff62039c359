/*
 * Guest-physical addresses. The walk follows SDM "EPT Translation Mechanism": from the deepest
 * entry that is cached, or the root, down to a leaf. Each read of an entry, each setting of A and
 * of D is a step of its own, and A and D are set by compare-and-exchange: an entry that has changed
 * since it was read is read again, never written.
 */
#include "tests/host/soft_inside.h"

enum { R = 1, W = 2, X = 4, RIGHTS = 7, LEAF = 1 << 7, A = 1 << 8, D = 1 << 9 };
enum { LOG_ENTRIES = 512 };

void soft_cpu_init(struct soft_cpu *cpu, struct ept *ept)
{
	__builtin_memset(cpu, 0, sizeof(*cpu));
	cpu->ept = ept;
	cpu->eptp = ept ? ept_pointer(ept) : 0;
	cpu->physical_bits = 46;
	cpu->pml_index = LOG_ENTRIES - 1;
}

/* ------------------------------------------------------------------ invalidation */

/*
 * SDM "Operations that Invalidate Cached Mappings": guest-physical and combined mappings alike. The
 * soft CPU has no combined ones: it puts linear and guest-physical mappings together at each
 * access, so both have to go.
 */
void soft_invept(struct soft_cpu *cpu)
{
	soft_cache_drop_context(&cpu->guest_physical, soft_context(cpu), 1);
	soft_cache_drop_context(&cpu->linear, soft_context(cpu), 1);
}

void soft_invept_all(struct soft_cpu *cpu)
{
	soft_cache_drop_all(&cpu->guest_physical);
	soft_cache_drop_all(&cpu->linear);
}

void soft_evict(struct soft_cpu *cpu, gpa_t address)
{
	soft_cache_drop(&cpu->guest_physical, soft_context(cpu), address.raw);
}

/* ------------------------------------------------------------------ one entry */

static bool is_leaf(uint64_t entry, unsigned level)
{
	return level == 1 || (level <= 3 && entry & LEAF);
}

/* SDM "EPT Misconfigurations". */
static bool is_misconfigured(const struct soft_cpu *cpu, uint64_t entry, unsigned level)
{
	uint64_t rights = entry & RIGHTS, type = entry >> 3 & 7;

	if (rights == W || rights == (W | X) || entry & soft_beyond(cpu))
		return true;
	if (rights == X && !cpu->execute_only)
		return true;
	if (!is_leaf(entry, level))
		return entry & (level == 4 ? 0xf8 : 0x78);
	return type == 2 || type == 3 || type == 7 ||
	       entry & (level_bytes(level) - 1) & SOFT_ADDRESS;
}

bool soft_set_flags(struct soft_cpu *cpu, atomic64_t *place, uint64_t *entry, uint64_t flags)
{
	if ((*entry & flags) == flags)
		return true;
	if (cpu->between)
		cpu->between(cpu);
	if (cpu->broken & SOFT_TWIN_PLAIN_STORE)
		atomic_write(place, *entry | flags);
	else if (!atomic_cmpxchg(place, entry, *entry | flags))
		return false;
	*entry |= flags;
	return true;
}

/* ------------------------------------------------------------------ A, D and the log */

/*
 * SDM "Page-Modification Logging": D first, then the log, then the index; the index may go from 0
 * to 0xffff. (Bochs writes the log first. On one processor that can't be seen.)
 */
static void log_page(struct soft_cpu *cpu, gpa_t address)
{
	atomic64_t *log = hpa_to_ptr(hpa(cpu->pml_address));

	atomic_write(&log[cpu->pml_index], address.raw & PAGE_MASK);
	cpu->pml_index--;
}

enum flagged { FLAGGED, CHANGED, LOG_FULL };

/*
 * SDM "Accessed and Dirty Flags for EPT": one flag of an entry that is being used. "Page-
 * Modification Logging": before any of them is set, the index has to be in range.
 */
static enum flagged set_flag(struct soft_cpu *cpu, gpa_t address, atomic64_t *place,
			     uint64_t *entry, uint64_t flag)
{
	if (!(cpu->eptp & EPTP_ACCESSED_DIRTY) || *entry & flag)
		return FLAGGED;
	if (cpu->pml && cpu->pml_index >= LOG_ENTRIES)
		return LOG_FULL;
	if (!soft_set_flags(cpu, place, entry, flag))
		return CHANGED;
	if (cpu->pml && flag == D)
		log_page(cpu, address);
	return FLAGGED;
}

static enum flagged set_both(struct soft_cpu *cpu, gpa_t address, atomic64_t *place,
			     uint64_t *entry, bool dirty)
{
	enum flagged flagged = set_flag(cpu, address, place, entry, A);

	return flagged == FLAGGED && dirty ? set_flag(cpu, address, place, entry, D) : flagged;
}

/* ------------------------------------------------------------------ the walk */

static struct soft_exit ends(enum soft_kind kind, gpa_t address, uint64_t linear)
{
	return (struct soft_exit){ kind, address, 0, linear };
}

/* SDM "Exit Qualification for EPT Violations". */
static struct soft_exit violation(struct soft_cpu *cpu, gpa_t address,
				  const struct soft_request *request, uint64_t rights)
{
	if (request->quiet)
		return ends(SOFT_VIOLATION, address, 0);
	/* SDM "Operations that Invalidate Cached Mappings": a violation forgets that address. */
	soft_evict(cpu, address);
	atomic_bump(&cpu->violations, 1);
	return (struct soft_exit){ SOFT_VIOLATION, address,
				   (uint64_t)request->access | rights << 3 | request->about,
				   request->linear };
}

/* A write by a translation that was cached clean has to set D in memory. */
static bool needs_dirty(const struct soft_cpu *cpu, const struct soft_cached *cached,
			enum access access)
{
	return access & ACCESS_WRITE && cpu->eptp & EPTP_ACCESSED_DIRTY && !(cached->entry & D) &&
	       !(cpu->broken & SOFT_TWIN_CLEAN_WRITE);
}

/* The deepest cached entry to go on from, and its level; NULL and 5: the root. */
static const struct soft_cached *deepest(struct soft_cpu *cpu, gpa_t address, enum access access,
					 unsigned *level)
{
	for (*level = 1; *level <= SOFT_LEVELS; ++*level) {
		const struct soft_cached *cached = soft_cache_find(
			cpu, &cpu->guest_physical, soft_context(cpu), address.raw, *level);

		if (cached && !(is_leaf(cached->entry, *level) && needs_dirty(cpu, cached, access)))
			return cached;
	}
	return NULL;
}

/* Where the walk stands: the entry that was used last, and what it and those above it allow. */
struct walk { unsigned level; uint64_t entry, rights; };

/* One level further down. SOFT_DONE: `walk` stands on the next entry, which is cached. */
static struct soft_exit descend(struct soft_cpu *cpu, gpa_t address,
				const struct soft_request *request, struct walk *walk)
{
	unsigned level = walk->level - 1;
	atomic64_t *table = hpa_to_ptr(hpa(walk->entry & SOFT_ADDRESS));
	atomic64_t *place = &table[level_index(address.raw, level)];
	uint64_t entry = atomic_read(place), rights = 0;
	enum flagged flagged;

	do {
		bool leaf = is_leaf(entry, level);

		/* SDM "EPT Violations": not present. */
		if (!(entry & RIGHTS))
			return violation(cpu, address, request, 0);
		/* SDM "EPT Misconfigurations": they come before rights. */
		if (is_misconfigured(cpu, entry, level))
			return ends(SOFT_MISCONFIGURATION, address, request->linear);
		/* SDM "EPT Violations": the rights of all levels together. */
		rights = walk->rights & entry;
		if (leaf && (rights & request->access) != request->access)
			return violation(cpu, address, request, rights);
		flagged = set_both(cpu, address, place, &entry,
				   leaf && request->access & ACCESS_WRITE);
		if (flagged == LOG_FULL)
			return ends(SOFT_PML_FULL, address, request->linear);
	} while (flagged == CHANGED);
	soft_cache_keep(&cpu->guest_physical, soft_context(cpu), address.raw, level, entry, rights);
	*walk = (struct walk){ level, entry, rights };
	return ends(SOFT_DONE, address, request->linear);
}

struct soft_exit soft_translate(struct soft_cpu *cpu, gpa_t address,
				const struct soft_request *request, hpa_t *out)
{
	struct walk walk = { SOFT_LEVELS + 1, cpu->eptp, RIGHTS };

	if (!cpu->eptp) {
		*out = hpa(address.raw);
		return ends(SOFT_DONE, address, request->linear);
	}

	const struct soft_cached *cached = deepest(cpu, address, request->access, &walk.level);

	if (cached)
		walk = (struct walk){ walk.level, cached->entry, cached->rights };
	while (walk.level > SOFT_LEVELS || !is_leaf(walk.entry, walk.level)) {
		struct soft_exit exit = descend(cpu, address, request, &walk);

		if (exit.kind != SOFT_DONE)
			return exit;
	}
	/* Rights that were cached count, even if memory would allow more by now. */
	if ((walk.rights & request->access) != request->access)
		return violation(cpu, address, request, walk.rights);

	uint64_t within = level_bytes(walk.level) - 1;

	*out = hpa((walk.entry & SOFT_ADDRESS & ~within) | (address.raw & within));
	return ends(SOFT_DONE, address, request->linear);
}

/* ------------------------------------------------------------------ one access */

void soft_perform(hpa_t where, enum access access, uint64_t *value)
{
	atomic64_t *word = hpa_to_ptr(where);

	if (!(access & ACCESS_WRITE))
		*value = atomic_read(word);
	else if (access & ACCESS_READ)
		*value = atomic_xchg(word, *value);
	else
		atomic_write(word, *value);
}

struct soft_exit soft_access(struct soft_cpu *cpu, gpa_t address, enum access access,
			     uint64_t *value)
{
	struct soft_request request = { access, QUALIFIED_TRANSLATION, address.raw, false };
	hpa_t where = hpa(0);

	check(!(address.raw & 7) && access);
	struct soft_exit exit = soft_translate(cpu, address, &request, &where);

	if (exit.kind == SOFT_DONE)
		soft_perform(where, access, value);
	return exit;
}
