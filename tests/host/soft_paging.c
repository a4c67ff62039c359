/*
 * Linear addresses: SDM "4-Level Paging and 5-Level Paging", four levels, CR0.WP and EFER.NXE set.
 * The tables' addresses are guest-physical and go through the EPT, entry by entry; or, on a CPU
 * without EPT, they are the machine's: that is a host process on its primary tables (mm/pte.h).
 */
#include "mm/pte.h"
#include "mm/space.h"
#include "tests/host/soft_inside.h"

/* What is and-ed on the way down; the first three are of enum access. */
enum { MAY_READ = ACCESS_READ, MAY_WRITE = ACCESS_WRITE, MAY_FETCH = ACCESS_EXEC, MAY_USER = 8,
       ALL = 15 };

/* SDM "Page-Fault Exceptions": the error code. */
enum { PF_PROTECTION = 1, PF_WRITE = 2, PF_USER = 4, PF_RESERVED = 8, PF_FETCH = 16 };

/* Of an entry that is present. */
static bool is_leaf(pte_t entry, unsigned level)
{
	return level == LEVEL_4K || entry.bits & PTE_PS;
}

void soft_host_init(struct soft_cpu *cpu, const struct space *space)
{
	soft_cpu_init(cpu, NULL);
	cpu->paging = cpu->user = true;
	cpu->cr3 = pfn_to_hpa(space->root).raw;
}

/* ------------------------------------------------------------------ invalidation */

/* SDM "Operations that Invalidate TLBs and Paging-Structure Caches": tables of every address. */
void soft_invlpg(struct soft_cpu *cpu, uint64_t linear)
{
	for (unsigned level = 1; level <= SOFT_LEVELS; level++)
		for (unsigned i = 0; i < SOFT_CACHE_SETS; i++) {
			struct soft_cached *cached = &cpu->linear.sets[level - 1][i];
			bool leaf = is_leaf((pte_t){ cached->entry }, level);

			if (cached->valid && cached->context == soft_context(cpu) &&
			    (!leaf || cached->tag == linear >> level_shift(level)))
				*cached = (struct soft_cached){ 0 };
		}
}

void soft_flush_linear(struct soft_cpu *cpu)
{
	soft_cache_drop_context(&cpu->linear, soft_context(cpu), 1);
}

/* ------------------------------------------------------------------ one entry */

/* SDM "Page-Fault Exceptions": what must be zero in an entry that is present. */
static bool is_reserved(const struct soft_cpu *cpu, pte_t entry, unsigned level)
{
	uint64_t low = level_bytes(level) - 1;

	if (entry.bits & soft_beyond(cpu))
		return true;
	if (level == SOFT_LEVELS)
		return entry.bits & PTE_PS;
	/* In a large leaf bit 12 is PAT. */
	return level > LEVEL_4K && entry.bits & PTE_PS &&
	       entry.bits & low & PTE_FRAME & ~UINT64_C(0x1000);
}

static unsigned rights_of(pte_t entry)
{
	return MAY_READ | (entry.bits & PTE_W ? MAY_WRITE : 0) |
	       (entry.bits & PTE_NX ? 0 : MAY_FETCH) | (entry.bits & PTE_U ? MAY_USER : 0);
}

/* SDM "Determination of Access Rights", without SMEP and SMAP. */
static bool is_allowed(const struct soft_cpu *cpu, uint64_t rights, enum access access)
{
	uint64_t needed = (uint64_t)access | (cpu->user ? MAY_USER : 0);

	return (rights & needed) == needed;
}

/* SDM "Invalidation of TLBs": a page fault forgets what is cached for its address. */
static struct soft_exit page_fault(struct soft_cpu *cpu, uint64_t linear, enum access access,
				   unsigned why)
{
	uint64_t code = why | (access & ACCESS_WRITE ? PF_WRITE : 0) | (cpu->user ? PF_USER : 0) |
			(access & ACCESS_EXEC ? PF_FETCH : 0);

	if (access)
		soft_cache_drop(&cpu->linear, soft_context(cpu), linear);
	return (struct soft_exit){ SOFT_PAGE_FAULT, gpa(0), code, linear };
}

/* ------------------------------------------------------------------ the walk */

/*
 * Where an entry is in memory, for a look at it or for setting its flags. SDM "Accessed and Dirty
 * Flags for EPT": with the EPT's flags on, every access to a guest's paging structure counts as a
 * write. A walk of the processor's own accord reports nothing, but counts just so.
 */
enum { TO_WRITE = 1, QUIETLY = 2 };

static struct soft_exit reach(struct soft_cpu *cpu, gpa_t entry, uint64_t linear, unsigned how,
			      atomic64_t **place)
{
	struct soft_request request = { ACCESS_READ, QUALIFIED_LINEAR, linear, how & QUIETLY };
	hpa_t where = hpa(0);

	if (cpu->eptp & EPTP_ACCESSED_DIRTY)
		request.access = (enum access)(ACCESS_READ | ACCESS_WRITE);
	else if (how & TO_WRITE)
		request.access = ACCESS_WRITE;

	struct soft_exit exit = soft_translate(cpu, entry, &request, &where);

	*place = hpa_to_ptr(where);
	return exit;
}

/* Where the walk stands: the entry that was used last, and what it and those above it allow. */
struct at { unsigned level; pte_t entry; uint64_t rights; };

/* As in the EPT: the deepest cached entry, but for a write not a leaf that was cached clean. */
static struct at begin(struct soft_cpu *cpu, uint64_t linear, enum access access)
{
	for (unsigned level = 1; level <= SOFT_LEVELS; level++) {
		const struct soft_cached *cached = soft_cache_find(cpu, &cpu->linear,
								   soft_context(cpu), linear,
								   	level);

		if (!cached)
			continue;

		pte_t entry = { cached->entry };

		if (is_leaf(entry, level) && access & ACCESS_WRITE && !pte_dirty(entry) &&
		    !(cpu->broken & SOFT_TWIN_CLEAN_WRITE))
			continue;
		return (struct at){ level, entry, cached->rights };
	}
	return (struct at){ SOFT_LEVELS + 1, { cpu->cr3 }, ALL };
}

/* SDM "Accessed and Dirty Flags": A in every entry used, D in the leaf of a write. */
static struct soft_exit set_flags(struct soft_cpu *cpu, gpa_t at, uint64_t linear, pte_t *entry,
				  uint64_t flags, unsigned how, bool *changed)
{
	atomic64_t *place;

	*changed = false;
	for (uint64_t flag = PTE_A; flag <= PTE_D; flag <<= 1) {
		if (!(flags & flag) || entry->bits & flag)
			continue;
		/* It is a data write of its own to the EPT. SDM "EPT Violations". */
		struct soft_exit exit = reach(cpu, at, linear, how | TO_WRITE, &place);

		if (exit.kind != SOFT_DONE)
			return exit;
		*changed = !soft_set_flags(cpu, place, &entry->bits, flag);
		if (*changed)
			break;
	}
	return (struct soft_exit){ SOFT_DONE, at, 0, linear };
}

static struct soft_exit descend(struct soft_cpu *cpu, uint64_t linear, enum access access,
				struct at *now)
{
	unsigned level = now->level - 1, how = access ? 0 : QUIETLY;
	gpa_t at = gpa((now->entry.bits & PTE_FRAME) + level_index(linear, level) * 8);
	atomic64_t *place;
	struct soft_exit exit = reach(cpu, at, linear, how, &place);
	uint64_t rights = 0, flags;
	bool changed = false;
	pte_t entry;

	if (exit.kind != SOFT_DONE)
		return exit;
	entry = (pte_t){ atomic_read(place) };
	do {
		bool leaf;

		if (!pte_present(entry))
			return page_fault(cpu, linear, access, 0);
		if (is_reserved(cpu, entry, level))
			return page_fault(cpu, linear, access, PF_PROTECTION | PF_RESERVED);
		leaf = is_leaf(entry, level);
		rights = now->rights & rights_of(entry);
		if (leaf && access && !is_allowed(cpu, rights, access))
			return page_fault(cpu, linear, access, PF_PROTECTION);
		flags = PTE_A | (leaf && access & ACCESS_WRITE ? PTE_D : 0);
		exit = set_flags(cpu, at, linear, &entry, flags, how, &changed);
		if (exit.kind != SOFT_DONE)
			return exit;
	} while (changed);
	soft_cache_keep(&cpu->linear, soft_context(cpu), linear, level, entry.bits, rights);
	*now = (struct at){ level, entry, rights };
	return exit;
}

/* SDM "Operations that Invalidate Cached Mappings": a violation forgets the linear address too. */
static struct soft_exit forget(struct soft_cpu *cpu, uint64_t linear, struct soft_exit exit)
{
	if (exit.kind == SOFT_VIOLATION)
		soft_cache_drop(&cpu->linear, soft_context(cpu), linear);
	return exit;
}

struct soft_exit soft_linear_translate(struct soft_cpu *cpu, uint64_t linear, enum access access,
				       gpa_t *out)
{
	struct at now = begin(cpu, linear, access);

	while (now.level > SOFT_LEVELS || !is_leaf(now.entry, now.level)) {
		struct soft_exit exit = descend(cpu, linear, access, &now);

		if (exit.kind != SOFT_DONE)
			return forget(cpu, linear, exit);
	}
	/* Rights that were cached count here, too. */
	if (access && !is_allowed(cpu, now.rights, access))
		return page_fault(cpu, linear, access, PF_PROTECTION);

	uint64_t within = level_bytes(now.level) - 1;

	*out = gpa((now.entry.bits & PTE_FRAME & ~within) | (linear & within));
	return (struct soft_exit){ SOFT_DONE, *out, 0, linear };
}

/* ------------------------------------------------------------------ one access */

struct soft_exit soft_linear_access(struct soft_cpu *cpu, uint64_t linear, enum access access,
				    uint64_t *value)
{
	struct soft_request request = { access, QUALIFIED_TRANSLATION, linear, false };
	hpa_t where = hpa(0);
	gpa_t address;

	if (!cpu->paging)
		return soft_access(cpu, gpa(linear), access, value);
	check(!(linear & 7) && access);

	struct soft_exit exit = soft_linear_translate(cpu, linear, access, &address);

	if (exit.kind == SOFT_DONE)
		exit = forget(cpu, linear, soft_translate(cpu, address, &request, &where));
	if (exit.kind == SOFT_DONE)
		soft_perform(where, access, value);
	return exit;
}

void soft_prefetch(struct soft_cpu *cpu, uint64_t address)
{
	static const struct soft_request quietly = { .quiet = true };
	enum access none = ACCESS_NONE;
	gpa_t at = gpa(address);
	hpa_t where;

	if (!cpu->paging || soft_linear_translate(cpu, address, none, &at).kind == SOFT_DONE)
		(void)soft_translate(cpu, at, &quietly, &where);
}
