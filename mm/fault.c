/*
 * Demand zero: the first touch of an anonymous page. Called by lookup.c without a lock, when a walk
 * found nothing.
 *
 * The folio is allocated and filled with zeros before space->lock is taken to install it, so that
 * nobody waits for the zeroing of a gigabyte; what was planned is looked at again under the lock.
 */
#include "mm/space.h"

/*
 * The level of the leaf that can go in for this address: the largest that the VMA wants, that
 * lies inside it and where the tables have nothing yet. 0: somebody's page is there already.
 */
static enum status plan(const struct space *space, uint64_t address, enum access access,
			unsigned *level) HOLDS_SHARED(space->lock)
{
	enum status status = vma_check_access(space, address, access);

	if (status != STATUS_OK)
		return status;

	const struct vma *vma = vma_find(space, address);
	struct place place = table_find(space, address);

	*level = place.level < vma->max_level ? place.level : vma->max_level;
	if (!pte_is_empty(place.pte))
		*level = 0;
	for (; *level > LEVEL_4K; --*level) {
		uint64_t start = address & ~(level_bytes(*level) - 1);

		if (start >= vma->start && start + level_bytes(*level) <= vma->end)
			break;
	}
	return STATUS_OK;
}

/* A folio for a leaf of that level or, where the buddy has none, a lower one. Returns the level. */
static unsigned alloc_largest(struct host *host, unsigned level, pfn_t *frame)
{
	while (level && folio_alloc_zeroed(host, level_order(level), frame) != STATUS_OK)
		level--;
	return level;
}

static enum status install(struct space *space, uint64_t address, enum access access, pfn_t frame,
			   unsigned level) HOLDS(space->lock)
{
	pte_slot_t *slot = table_make(space, address, level);

	if (!slot)
		return STATUS_NO_MEMORY;

	const struct vma *vma = vma_find(space, address);
	pte_t leaf = pte_touched(pte_make_leaf(frame, level, vma->protection), access);
	struct gather gather = gather_begin(space->host);

	/* The reference of the allocation becomes the entry's. */
	table_change(space, address, (struct place){ slot, pte_empty(), level }, leaf,
		     CONTENT_STAYS, &gather);
	return STATUS_OK;
}

enum status fault_in(struct space *space, uint64_t address, enum access access)
{
	unsigned wanted = 0, possible = 0;
	pfn_t frame;

	read_lock(&space->lock);
	enum status status = plan(space, address, access, &wanted);
	read_unlock(&space->lock);
	if (status != STATUS_OK || !wanted)
		return status;

	unsigned level = alloc_largest(space->host, wanted, &frame);

	if (!level)
		return STATUS_NO_MEMORY;

	bool installed = false;

	write_lock(&space->lock);
	status = plan(space, address, access, &possible);
	if (status == STATUS_OK && possible >= level) {
		status = install(space, address, access, frame, level);
		installed = status == STATUS_OK;
	}
	write_unlock(&space->lock);
	if (!installed)
		folio_put(space->host, frame);
	return status;
}
