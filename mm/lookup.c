/*
 * From an address to the page behind it: for secondary MMUs, which get its name, and for the
 * process itself, which gets its bytes. One walk under the shared lock; where it finds nothing,
 * fault.c, and again.
 */
#include "mm/space.h"

static bool found(struct place place)
{
	return pte_present(place.pte) && pte_leaf(place.pte, place.level);
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
	for (;;) {
		read_lock(&space->lock);
		enum status status = vma_check_access(space, address.raw, access);
		struct place place = { 0 };

		if (status == STATUS_OK)
			place = table_find(space, address.raw);
		read_unlock(&space->lock);

		if (status == STATUS_OK && found(place)) {
			name_page(place, address, out);
			return STATUS_OK;
		}
		if (status == STATUS_OK)
			status = fault_in(space, address.raw, access);
		if (status != STATUS_OK)
			return status;
	}
}

enum status mm_peek(struct space *space, hva_t address, struct mm_page *out)
{
	if (address.raw >= SPACE_END)
		return STATUS_NOT_FOUND;

	read_lock(&space->lock);
	struct place place = table_find(space, address.raw);

	read_unlock(&space->lock);
	if (!found(place))
		return STATUS_NOT_FOUND;
	name_page(place, address, out);
	return STATUS_OK;
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

/* The CPU's part: A, and D for a write, set by a locked operation if they are clear. */
static void touch(struct place place, enum access access)
{
	uint64_t bits = pte_touched(pte_empty(), access).bits;

	if ((place.pte.bits & bits) != bits)
		atomic_or(place.slot, bits);
}

/* Copies to the page's end at most, while the shared lock keeps the page where it is. */
static void copy_part(struct copy *copy, struct place place)
{
	uint64_t inside = copy->address & (level_bytes(place.level) - 1);
	uint64_t part = PAGE_SIZE - (copy->address & ~PAGE_MASK);
	char *bytes = hpa_to_ptr(hpa(pfn_to_hpa(pte_frame(place.pte)).raw + inside));

	if (part > copy->bytes)
		part = copy->bytes;
	touch(place, copy_access(copy));
	if (copy->into) {
		__builtin_memcpy(copy->into, bytes, part);
		copy->into = (char *)copy->into + part;
	} else {
		check(copy->from);
		__builtin_memcpy(bytes, copy->from, part);
		copy->from = (const char *)copy->from + part;
	}
	copy->address += part;
	copy->bytes -= part;
}

static enum status copy_all(struct space *space, struct copy copy)
{
	if (copy.address > SPACE_END || copy.bytes > SPACE_END - copy.address)
		return STATUS_BAD_RANGE;

	while (copy.bytes) {
		read_lock(&space->lock);
		enum status status = vma_check_access(space, copy.address, copy_access(&copy));
		bool present = false;

		if (status == STATUS_OK) {
			struct place place = table_find(space, copy.address);

			present = found(place);
			if (present)
				copy_part(&copy, place);
		}
		read_unlock(&space->lock);

		if (status == STATUS_OK && !present)
			status = fault_in(space, copy.address, copy_access(&copy));
		if (status != STATUS_OK)
			return status;
	}
	return STATUS_OK;
}

enum status space_read(struct space *space, hva_t from, void *into, uint64_t bytes)
{
	return copy_all(space, (struct copy){ .address = from.raw, .bytes = bytes, .into = into });
}

enum status space_write(struct space *space, hva_t to, const void *from, uint64_t bytes)
{
	return copy_all(space, (struct copy){ .address = to.raw, .bytes = bytes, .from = from });
}
