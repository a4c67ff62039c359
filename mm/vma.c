/*
 * The VMAs of a space: one sorted array in a folio that doubles when it is full. Called by space.c
 * and fault.c under space->lock. An operation reserves room before it changes anything, so that
 * it can't fail half way. Linux: mm/vma.c; a maple tree there, for millions of them.
 */
#include "mm/space.h"

unsigned vma_search(const struct space *space, uint64_t address)
{
	unsigned low = 0, high = space->vma_count;

	while (low < high) {
		unsigned middle = low + (high - low) / 2;

		if (space->vmas[middle].end > address)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

struct vma *vma_find(const struct space *space, uint64_t address)
{
	unsigned i = vma_search(space, address);

	return i < space->vma_count && space->vmas[i].start <= address ? &space->vmas[i] : NULL;
}

bool vma_any(const struct space *space, uint64_t start, uint64_t end)
{
	unsigned i = vma_search(space, start);

	return i < space->vma_count && space->vmas[i].start < end;
}

bool vma_may_cut(const struct space *space, uint64_t address)
{
	const struct vma *vma = vma_find(space, address);

	return !vma || vma->kind != VMA_POOLED || !(address & (level_bytes(vma->max_level) - 1));
}

bool vma_any_kind(const struct space *space, uint64_t start, uint64_t end, enum vma_kind kind)
{
	for (unsigned i = vma_search(space, start);
	     i < space->vma_count && space->vmas[i].start < end; i++)
		if (space->vmas[i].kind == kind)
			return true;
	return false;
}

bool vma_all(const struct space *space, uint64_t start, uint64_t end)
{
	for (unsigned i = vma_search(space, start);
	     i < space->vma_count && space->vmas[i].start <= start; i++) {
		start = space->vmas[i].end;
		if (start >= end)
			return true;
	}
	return false;
}

enum status vma_check_access(const struct space *space, uint64_t address, enum access access)
{
	const struct vma *vma = vma_find(space, address);

	if (!vma)
		return STATUS_NOT_FOUND;
	if (vma->protection == PROTECTION_NONE ||
	    (vma->protection == PROTECTION_READ && access & ACCESS_WRITE))
		return STATUS_NO_ACCESS;
	return STATUS_OK;
}

enum status vma_reserve(struct space *space)
{
	if (space->vma_count + 2 <= space->vma_capacity)
		return STATUS_OK;

	struct vma *old = space->vmas;
	unsigned order = old ? folio_order(space->host, ptr_to_pfn(old)) + 1 : 0;
	pfn_t frame;
	enum status status = folio_alloc(space->host, order, &frame);

	if (status != STATUS_OK)
		return status;
	space->vmas = pfn_to_ptr(frame);
	space->vma_capacity = (unsigned)((PAGE_SIZE << order) / sizeof(struct vma));
	if (old) {
		__builtin_memcpy(space->vmas, old, space->vma_count * sizeof(struct vma));
		folio_put(space->host, ptr_to_pfn(old));
	}
	return STATUS_OK;
}

/* A VMA more, or less, shows the file. */
static void count_file(const struct vma *vma, bool more)
{
	if (vma->file && more)
		atomic_add(&vma->file->vmas, 1);
	else if (vma->file)
		check(atomic_sub(&vma->file->vmas, 1));
}

void vma_free_all(struct space *space)
{
	for (unsigned i = 0; i < space->vma_count; i++)
		count_file(&space->vmas[i], false);
	if (space->vmas)
		folio_put(space->host, ptr_to_pfn(space->vmas));
	space->vmas = NULL;
	space->vma_count = space->vma_capacity = 0;
}

static void insert_at(struct space *space, unsigned i, struct vma vma) HOLDS(space->lock)
{
	check(space->vma_count < space->vma_capacity);
	__builtin_memmove(&space->vmas[i + 1], &space->vmas[i],
			  (space->vma_count - i) * sizeof(vma));
	space->vmas[i] = vma;
	space->vma_count++;
	count_file(&vma, true);
}

static void remove_at(struct space *space, unsigned i, unsigned count) HOLDS(space->lock)
{
	for (unsigned k = i; k < i + count; k++)
		count_file(&space->vmas[k], false);
	__builtin_memmove(&space->vmas[i], &space->vmas[i + count],
			  (space->vma_count - i - count) * sizeof(struct vma));
	space->vma_count -= count;
}

/* Linux: __split_vma. */
static void split_at(struct space *space, uint64_t address) HOLDS(space->lock)
{
	struct vma *vma = vma_find(space, address);

	if (!vma || vma->start == address)
		return;

	struct vma upper = *vma;

	upper.start = vma->end = address;
	upper.first += (address - vma->start) >> PAGE_SHIFT;
	insert_at(space, (unsigned)(vma - space->vmas) + 1, upper);
}

/* Linux: can_vma_merge_after. */
bool vma_can_merge(const struct vma *low, const struct vma *high)
{
	uint64_t pages = (low->end - low->start) >> PAGE_SHIFT;

	return low->end == high->start && low->kind == high->kind &&
	       low->protection == high->protection &&
	       low->max_level == high->max_level && low->file == high->file &&
	       low->pool == high->pool &&
	       low->sharing == high->sharing && low->advice == high->advice &&
	       low->mergeable == high->mergeable &&
	       low->first + pages == high->first;
}

/* Joins what can be joined among the VMAs that touch [start, end]. */
static void merge(struct space *space, uint64_t start, uint64_t end) HOLDS(space->lock)
{
	unsigned i = vma_search(space, start ? start - 1 : 0);

	while (i + 1 < space->vma_count && space->vmas[i + 1].start <= end) {
		if (vma_can_merge(&space->vmas[i], &space->vmas[i + 1])) {
			space->vmas[i].end = space->vmas[i + 1].end;
			remove_at(space, i + 1, 1);
		} else {
			i++;
		}
	}
}

void vma_insert(struct space *space, struct vma vma)
{
	insert_at(space, vma_search(space, vma.start), vma);
	merge(space, vma.start, vma.end);
}

void vma_remove(struct space *space, uint64_t start, uint64_t end)
{
	split_at(space, start);
	split_at(space, end);

	unsigned first = vma_search(space, start), last = first;

	while (last < space->vma_count && space->vmas[last].start < end)
		last++;
	remove_at(space, first, last - first);
}

void vma_protect(struct space *space, uint64_t start, uint64_t end, enum protection protection)
{
	split_at(space, start);
	split_at(space, end);
	for (unsigned i = vma_search(space, start);
	     i < space->vma_count && space->vmas[i].start < end; i++)
		space->vmas[i].protection = protection;
	merge(space, start, end);
}

void vma_advise(struct space *space, uint64_t start, uint64_t end, enum advice advice)
{
	split_at(space, start);
	split_at(space, end);
	for (unsigned i = vma_search(space, start);
	     i < space->vma_count && space->vmas[i].start < end; i++)
		space->vmas[i].advice = advice;
	merge(space, start, end);
}

void vma_set_mergeable(struct space *space, uint64_t start, uint64_t end, bool mergeable)
{
	split_at(space, start);
	split_at(space, end);
	for (unsigned i = vma_search(space, start);
	     i < space->vma_count && space->vmas[i].start < end; i++)
		space->vmas[i].mergeable = mergeable;
	merge(space, start, end);
}
