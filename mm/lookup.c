/*
 * From an address to the page behind it: for secondary MMUs, which get its name, and for the
 * process itself, which gets its bytes. One walk without a lock (tlb.h); where it finds nothing
 * that allows the access, fault.c, which asks the VMA, and again. An entry allows no more than its
 * VMA does.
 */
#include "mm/tlb.h"

/* Field by field, and inlined: every fault of a guest comes by here. */
static inline __attribute__((always_inline)) void name_page(struct place place, uint64_t address,
							     bool dirty, struct mm_page *out)
{
	out->frame = place.level == LEVEL_4K ? pte_frame(place.pte) : place_frame(place, address);
	out->level = place.level;
	out->writable = pte_writable(place.pte);
	out->dirty = dirty;
	out->refcounted = !pte_special(place.pte);
}

struct mm_page place_page(struct place place, uint64_t address)
{
	struct mm_page page;

	name_page(place, address, pte_dirty(place.pte), &page);
	return page;
}

/* ------------------------------------------------------------------ for secondary MMUs */

struct lookup {
	struct host *host;
	uint64_t address;
	enum access access;
	unsigned flags;			/* enum lookup_flags */
};

/* Whether an entry is an answer, under the lock or without it. */
static inline bool answers(struct place place, const struct lookup *lookup)
{
	return place_allows(place, lookup->access) && !pte_secret(place.pte);
}

/*
 * What else a walk without the lock needs, which can't change the entry (S24), nor know who else
 * has the page of one that a store would copy (S88); nor count what has no folio, so that the slow
 * way refuses it.
 */
static bool answers_alone(struct place place, const struct lookup *lookup)
{
	if (lookup->flags & LOOKUP_TOUCH && place_untouched(place, lookup->access))
		return false;
	if (lookup->flags & LOOKUP_SHARED_SLOWLY && !(place.pte.bits & (PTE_W | PTE_OWN)))
		return false;
	return !(lookup->flags & LOOKUP_HOLD && pte_special(place.pte));
}

static inline void take(struct place place, const struct lookup *lookup, struct mm_page *out)
{
	name_page(place, lookup->address, lookup->flags & LOOKUP_TOUCH && pte_dirty(place.pte),
		  out);
	if (lookup->flags & LOOKUP_HOLD)
		folio_get(lookup->host, out->frame);
}

/*
 * The reference is taken before tlb_leave: until then whoever takes the page away waits in its
 * flush, so the entry's own reference is still there, and a frame that is counted afterwards has
 * ours. Linux's fast GUP isn't waited for by every flush, so it looks at the entry once more when
 * it has the reference.
 */
static inline __attribute__((always_inline)) bool
walk_alone(struct space *space, struct lookup lookup, struct mm_page *out)
{
	struct host_cpu *cpu = tlb_enter(lookup.host);
	struct place place = tlb_find(space, lookup.address);
	bool found = answers(place, &lookup) && (!lookup.flags || answers_alone(place, &lookup));

	if (found)
		take(place, &lookup, out);
	tlb_leave_cpu(cpu);
	atomic_bump(&cpu->counts[HOST_WALKS], 1);
	return found;
}

struct slow_lookup { struct lookup lookup; struct mm_page page; };

static enum reached walk_slowly(const struct vma *vma, struct place place, void *argument)
{
	struct slow_lookup *slow = argument;

	if (vma->kind == VMA_SECRET)
		return REFUSED;
	if (!answers(place, &slow->lookup))
		return NOT_YET;
	if (slow->lookup.flags & LOOKUP_HOLD && pte_special(place.pte))
		return REFUSED;
	if (slow->lookup.flags & LOOKUP_TOUCH) {
		place_touch(place, slow->lookup.access);
		place.pte = pte_read(place.slot);
	}
	take(place, &slow->lookup, &slow->page);
	return REACHED;
}

static enum status look_slowly(struct space *space, uint64_t address, enum access access,
			       unsigned flags, struct mm_page *out)
{
	struct slow_lookup slow = { .lookup = { space->host, address, access, flags } };

	if (address >= SPACE_END)
		return STATUS_NOT_FOUND;
	host_count(space->host, HOST_SLOW_LOOKUPS, 1);
	enum status status = space_reach(space, address, access, walk_slowly, &slow);

	if (status == STATUS_OK)
		*out = slow.page;
	return status;
}

enum status mm_lookup_with(struct space *space, hva_t address, enum access access, unsigned flags,
			   struct mm_page *out)
{
	const struct lookup lookup = { space->host, address.raw, access, flags };

	if (address.raw < SPACE_END && walk_alone(space, lookup, out))
		return STATUS_OK;
	return look_slowly(space, address.raw, access, flags, out);
}

/* What every fault of a guest calls: the same, and the compiler knows the flags. */
enum status mm_lookup(struct space *space, hva_t address, enum access access, struct mm_page *out)
{
	const struct lookup lookup = { space->host, address.raw, access, 0 };

	if (address.raw < SPACE_END && walk_alone(space, lookup, out))
		return STATUS_OK;
	return look_slowly(space, address.raw, access, 0, out);
}

bool mm_lookup_now(struct space *space, hva_t address, enum access access, unsigned flags,
		   struct mm_page *out)
{
	const struct lookup lookup = { space->host, address.raw, access, flags };

	return address.raw < SPACE_END && walk_alone(space, lookup, out);
}

enum status mm_peek(struct space *space, hva_t address, struct mm_page *out)
{
	if (address.raw >= SPACE_END)
		return STATUS_NOT_FOUND;

	tlb_enter(space->host);
	struct place place = tlb_find(space, address.raw);

	tlb_leave(space->host);
	if (!place_allows(place, ACCESS_READ))
		return STATUS_NOT_FOUND;
	*out = place_page(place, address.raw);
	return STATUS_OK;
}

enum status space_reach(struct space *space, uint64_t address, enum access access,
			enum reached (*use)(const struct vma *vma, struct place place,
					    void *argument), void *argument)
{
	if (address >= SPACE_END)
		return STATUS_NOT_FOUND;
	for (;;) {
		enum reached reached = NOT_YET;

		read_lock(&space->lock);
		enum status status = vma_check_access(space, address, access);

		if (status == STATUS_OK)
			reached = use(vma_find(space, address), table_find(space, address),
				      argument);
		read_unlock(&space->lock);
		if (status != STATUS_OK || reached == REACHED)
			return status;
		if (reached == REFUSED)
			return STATUS_NO_ACCESS;
		status = fault_in(space, address, access);
		if (status != STATUS_OK)
			return status;
	}
}

/* ------------------------------------------------------------------ the process's own accesses */

/* A copy between a process's memory and a buffer: one of the two pointers is set. */
struct copy {
	uint64_t address, bytes;
	void *into;			/* read */
	const void *from;		/* write */
};

static enum access copy_access(const struct copy *copy)
{
	return copy->into ? ACCESS_READ : ACCESS_WRITE;
}

/*
 * The CPU's part: A, and D for a write, by a locked operation if they are clear, and only in an
 * entry that still allows the access; false: it does not. SDM "Accessed and Dirty Flags".
 */
static bool touch(struct place *place, enum access access)
{
	while (place_allows(*place, access)) {
		uint64_t new = pte_touched(place->pte, access).bits;

		if (new == place->pte.bits ||
		    atomic_cmpxchg(place->slot, &place->pte.bits, new))
			return true;
	}
	return false;
}

/* To the page's end at most. */
static void copy_part(struct place place, struct copy *copy)
{
	uint64_t inside = copy->address & ~PAGE_MASK, part = PAGE_SIZE - inside;
	char *bytes = (char *)pfn_to_ptr(place_frame(place, copy->address)) + inside;

	if (part > copy->bytes)
		part = copy->bytes;
	if (copy->into) {
		atomic_copy(copy->into, bytes, part);
		copy->into = (char *)copy->into + part;
	} else {
		check(copy->from);
		atomic_copy(bytes, copy->from, part);
		copy->from = (const char *)copy->from + part;
	}
	copy->address += part;
	copy->bytes -= part;
}

/* One page's part, by whatever translation is found; no longer than that is it used. */
static enum status copy_page(struct space *space, struct copy *copy)
{
	enum access access = copy_access(copy);

	for (;;) {
		tlb_enter(space->host);
		struct place place = tlb_find(space, copy->address);
		bool there = touch(&place, access);

		if (there)
			copy_part(place, copy);
		tlb_leave(space->host);
		if (there)
			return STATUS_OK;
		enum status status = fault_in(space, copy->address, access);

		if (status != STATUS_OK)
			return status;
	}
}

static enum status copy_all(struct space *space, struct copy copy)
{
	enum status status = STATUS_OK;

	if (copy.address > SPACE_END || copy.bytes > SPACE_END - copy.address)
		return STATUS_BAD_RANGE;
	while (copy.bytes && status == STATUS_OK)
		status = copy_page(space, &copy);
	return status;
}

hpa_t space_enter(struct space *space)
{
	tlb_enter(space->host);
	return pfn_to_hpa(space->root);
}

void space_leave(struct space *space)
{
	tlb_leave(space->host);
}

enum status space_fault(struct space *space, hva_t address, enum access access)
{
	return address.raw < SPACE_END ? fault_in(space, address.raw, access) : STATUS_NOT_FOUND;
}

enum status space_read(struct space *space, hva_t from, void *into, uint64_t bytes)
{
	return copy_all(space, (struct copy){ .address = from.raw, .bytes = bytes, .into = into });
}

enum status space_write(struct space *space, hva_t to, const void *from, uint64_t bytes)
{
	return copy_all(space, (struct copy){ .address = to.raw, .bytes = bytes, .from = from });
}
