/*
 * The walk follows SDM "EPT Translation Mechanism": from the deepest entry that is cached, or the
 * root, down to a leaf. Each read of an entry, each setting of A and of D is a step of its own,
 * and A and D are set by compare-and-exchange: an entry that has changed since it was read is
 * read again, never written. Linked into the image as well.
 */
#include "ept/state.h"
#include "tests/host/soft_cpu.h"

enum { R = 1, W = 2, X = 4, RIGHTS = 7, LEAF = 1 << 7, A = 1 << 8, D = 1 << 9 };

#define EPTP_ACCESSED_DIRTY (UINT64_C(1) << 6)
#define ADDRESS             UINT64_C(0x000ffffffffff000)
#define QUALIFIED_LINEAR    UINT64_C(0x180)	/* a linear address is known; its translation */

void soft_cpu_init(struct soft_cpu *cpu, struct ept *ept)
{
	__builtin_memset(cpu, 0, sizeof(*cpu));
	cpu->ept = ept;
	cpu->eptp = ept_pointer(ept);
	cpu->physical_bits = 46;
}

/* ------------------------------------------------------------------ what is cached */

/* SDM "Information That May Be Cached": translations and paging-structure entries alike. */
static struct soft_cached *cache_place(struct soft_cpu *cpu, gpa_t address, unsigned level)
{
	return &cpu->cache[level][(address.raw >> level_shift(level)) % SOFT_CACHE_SETS];
}

static struct soft_cached *cache_find(struct soft_cpu *cpu, gpa_t address, unsigned level)
{
	struct soft_cached *cached = cache_place(cpu, address, level);

	return cached->valid && cached->tag == address.raw >> level_shift(level) ? cached : NULL;
}

void soft_invept(struct soft_cpu *cpu)
{
	for (unsigned level = 1; level <= SOFT_LEVELS; level++)
		for (unsigned i = 0; i < SOFT_CACHE_SETS; i++)
			cpu->cache[level][i].valid = false;
}

void soft_evict(struct soft_cpu *cpu, gpa_t address)
{
	for (unsigned level = 1; level <= SOFT_LEVELS; level++) {
		struct soft_cached *cached = cache_find(cpu, address, level);

		if (cached)
			cached->valid = false;
	}
}

/* ------------------------------------------------------------------ one entry */

static bool is_leaf(uint64_t entry, unsigned level)
{
	return level == 1 || (level <= 3 && entry & LEAF);
}

/* SDM "EPT Misconfigurations". Execute-only translations are not supported by this processor. */
static bool is_misconfigured(const struct soft_cpu *cpu, uint64_t entry, unsigned level)
{
	uint64_t rights = entry & RIGHTS, type = entry >> 3 & 7;
	uint64_t beyond = ADDRESS & ~((UINT64_C(1) << cpu->physical_bits) - 1);

	if (rights == W || rights == (W | X) || rights == X || entry & beyond)
		return true;
	if (!is_leaf(entry, level))
		return entry & (level == 4 ? 0xf8 : 0x78);
	return type == 2 || type == 3 || type == 7 ||
	       entry & (level_bytes(level) - 1) & ADDRESS;
}

/*
 * Sets flags in the entry that was read there. SDM "Accessed and Dirty Flags for EPT". False: it
 * is no longer what it was.
 */
static bool set_flags(const struct soft_cpu *cpu, atomic64_t *place, uint64_t *entry,
		      uint64_t flags)
{
	if (!(cpu->eptp & EPTP_ACCESSED_DIRTY) || (*entry & flags) == flags)
		return true;
	if (!atomic_cmpxchg(place, entry, *entry | flags))
		return false;
	*entry |= flags;
	return true;
}

/* ------------------------------------------------------------------ the walk */

static struct soft_exit violation(struct soft_cpu *cpu, gpa_t address, enum access access,
				  uint64_t rights)
{
	/* SDM "Operations that Invalidate Cached Mappings": a violation forgets that address. */
	soft_evict(cpu, address);
	cpu->violations++;
	return (struct soft_exit){ SOFT_VIOLATION, address,
				   (uint64_t)access | rights << 3 | QUALIFIED_LINEAR };
}

/* The deepest cached entry to go on from: its level, or 5 for the root. */
static unsigned cached_level(struct soft_cpu *cpu, gpa_t address, enum access access)
{
	unsigned level = 1;

	for (; level <= SOFT_LEVELS; level++) {
		struct soft_cached *cached = cache_find(cpu, address, level);

		if (!cached)
			continue;
		/* A write by a translation that was cached clean has to set D in memory. */
		if (is_leaf(cached->entry, level) && access & ACCESS_WRITE &&
		    cpu->eptp & EPTP_ACCESSED_DIRTY && !(cached->entry & D))
			continue;
		break;
	}
	return level;
}

static struct soft_exit translate(struct soft_cpu *cpu, gpa_t address, enum access access,
				  hpa_t *out)
{
	unsigned level = cached_level(cpu, address, access);
	struct soft_cached *cached = level <= SOFT_LEVELS ? cache_find(cpu, address, level) : NULL;
	uint64_t entry = cached ? cached->entry : cpu->eptp;
	uint64_t rights = cached ? cached->rights : RIGHTS;

	while (level > SOFT_LEVELS || !is_leaf(entry, level)) {
		atomic64_t *table = hpa_to_ptr(hpa(entry & ADDRESS));

		level--;
		atomic64_t *place = &table[level_index(address.raw, level)];
		uint64_t above = rights, flags;

		entry = atomic_read(place);
		do {
			if (!(entry & RIGHTS))
				return violation(cpu, address, access, 0);
			if (is_misconfigured(cpu, entry, level))
				return (struct soft_exit){ SOFT_MISCONFIGURATION, address, 0 };
			rights = above & entry;
			if (is_leaf(entry, level) && (rights & access) != access)
				return violation(cpu, address, access, rights);
			flags = is_leaf(entry, level) && access & ACCESS_WRITE ? D : 0;
		} while (!set_flags(cpu, place, &entry, A) ||
			 !set_flags(cpu, place, &entry, flags));
		*cache_place(cpu, address, level) = (struct soft_cached){
			true, address.raw >> level_shift(level), entry, rights };
	}
	/* Rights that were cached count, even if memory would allow more by now. */
	if ((rights & access) != access)
		return violation(cpu, address, access, rights);
	*out = hpa((entry & ADDRESS & ~(level_bytes(level) - 1)) |
		   (address.raw & (level_bytes(level) - 1)));
	return (struct soft_exit){ SOFT_DONE, address, 0 };
}

struct soft_exit soft_access(struct soft_cpu *cpu, gpa_t address, enum access access,
			     uint64_t *value)
{
	hpa_t where = hpa(0);

	check(!(address.raw & 7));
	struct soft_exit exit = translate(cpu, address, access, &where);

	if (exit.kind != SOFT_DONE)
		return exit;

	atomic64_t *word = hpa_to_ptr(where);

	if (!(access & ACCESS_WRITE))
		*value = atomic_read(word);
	else if (access & ACCESS_READ)
		*value = atomic_xchg(word, *value);
	else
		atomic_write(word, *value);
	return exit;
}

/* ------------------------------------------------------------------ a guest on it */

void soft_enter(struct soft_cpu *cpu)
{
	check(!cpu->inside);
	cpu->entries++;
	/* Before ept_enter: a kick from then on is for this entry, and stays. */
	atomic_write(&cpu->kicked, 0);
	if (ept_enter(cpu->ept) == EPT_INVALIDATE && !cpu->deaf)
		soft_invept(cpu);
	cpu->inside = true;
}

void soft_leave(struct soft_cpu *cpu)
{
	if (cpu->inside)
		ept_leave(cpu->ept);
	cpu->inside = false;
}

static bool is_kicked(struct soft_cpu *cpu)
{
	if (cpu->polls)
		return atomic_read(&cpu->ept->generation) !=
		       ept_this_cpu(cpu->ept)->invalidated_at;
	return atomic_read(&cpu->kicked);
}

/* Between two instructions: gone if somebody asked for it, then in again. */
static void take_kick(struct soft_cpu *cpu)
{
	if (cpu->inside && is_kicked(cpu)) {
		cpu->kicks++;
		soft_leave(cpu);
	}
	if (!cpu->inside)
		soft_enter(cpu);
}

static enum fault_result run(struct soft_cpu *cpu, gpa_t address, enum access access,
			     uint64_t *value)
{
	for (;;) {
		take_kick(cpu);
		struct soft_exit exit = soft_access(cpu, address, access, value);

		if (exit.kind == SOFT_DONE)
			return FAULT_FIXED;
		soft_leave(cpu);
		if (exit.kind == SOFT_MISCONFIGURATION)
			port_panic("EPT misconfiguration at 0x%lx", address.raw);

		enum fault_result result = ept_fault(cpu->ept, address, access);

		if (result != FAULT_FIXED && result != FAULT_SPURIOUS && result != FAULT_RETRY)
			return result;
	}
}

enum fault_result soft_load(struct soft_cpu *cpu, gpa_t address, uint64_t *value)
{
	return run(cpu, address, ACCESS_READ, value);
}

enum fault_result soft_store(struct soft_cpu *cpu, gpa_t address, uint64_t value)
{
	return run(cpu, address, ACCESS_WRITE, &value);
}

enum fault_result soft_fetch(struct soft_cpu *cpu, gpa_t address, uint64_t *value)
{
	return run(cpu, address, ACCESS_EXEC, value);
}

enum fault_result soft_exchange(struct soft_cpu *cpu, gpa_t address, uint64_t *value)
{
	return run(cpu, address, (enum access)(ACCESS_READ | ACCESS_WRITE), value);
}
