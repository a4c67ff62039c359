/*
 * From an address to the page behind it: for secondary MMUs, which get its name, and for the
 * process itself, which gets its bytes. One walk without a lock (tlb.h); where it finds nothing that
 * allows the access, fault.c, which asks the VMA, and again. An entry allows no more than its VMA does.
 */
#include "mm/tlb.h"

/* Between tlb_enter and tlb_leave, which keep the tables, as the lock would. */
static struct place find(const struct space *space, uint64_t address) NOT_CHECKED
{
	return table_find(space, address);
}

static void name_page(struct place place, hva_t address, struct mm_page *out)
{
	uint64_t inside = address.raw & (level_bytes(place.level) - 1);

	out->frame = pfn_add(pte_frame(place.pte), inside >> PAGE_SHIFT);
	out->level = place.level;
	out->writable = pte_writable(place.pte);
}

enum status mm_lookup(struct space *space, hva_t address, enum access access, struct mm_page *out)
{
	if (address.raw >= SPACE_END)
		return STATUS_NOT_FOUND;
	for (;;) {
		tlb_enter(space->host);
		struct place place = find(space, address.raw);

		tlb_leave(space->host);
		if (place_allows(place, access)) {
			name_page(place, address, out);
			return STATUS_OK;
		}
		host_count(space->host, HOST_SLOW_LOOKUPS, 1);
		enum status status = fault_in(space, address.raw, access);

		if (status != STATUS_OK)
			return status;
	}
}

enum status mm_peek(struct space *space, hva_t address, struct mm_page *out)
{
	if (address.raw >= SPACE_END)
		return STATUS_NOT_FOUND;

	tlb_enter(space->host);
	struct place place = find(space, address.raw);

	tlb_leave(space->host);
	if (!place_allows(place, ACCESS_READ))
		return STATUS_NOT_FOUND;
	name_page(place, address, out);
	return STATUS_OK;
}

/*
 * A hinted leaf, for a read and not for a write, which Linux sends through the fault: there follow_page_pte
 * passes over what FOLL_HONOR_NUMA_FAULT does not ask to honour.
 */
static bool hint_can_wait(struct space *space, uint64_t address, struct place place,
			  enum access access) HOLDS_SHARED(space->lock)
{
	return leaf_is_hinted(place) && !(access & ACCESS_WRITE) &&
	       vma_check_access(space, address, access) == STATUS_OK;
}

enum status space_reach(struct space *space, uint64_t address, enum access access,
			enum hints hints, void (*use)(struct place place, void *argument), void *argument)
{
	if (address >= SPACE_END)
		return STATUS_NOT_FOUND;
	for (;;) {
		read_lock(&space->lock);
		struct place place = table_find(space, address);
		bool there = place_allows(place, access) ||
			     (hints == HINTS_IGNORED &&
			      hint_can_wait(space, address, place, access));

		if (there)
			use(place, argument);
		read_unlock(&space->lock);
		if (there)
			return STATUS_OK;
		enum status status = fault_in(space, address, access);

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
 * The CPU's part: A, and D for a write, by a locked operation if they are clear, and only in an entry that
 * still allows the access; false: it does not. SDM "Accessed and Dirty Flags".
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
	uint64_t inside = copy->address & (level_bytes(place.level) - 1);
	uint64_t part = PAGE_SIZE - (copy->address & ~PAGE_MASK);
	char *bytes = hpa_to_ptr(hpa(pfn_to_hpa(pte_frame(place.pte)).raw + inside));

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
		struct place place = find(space, copy->address);
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
