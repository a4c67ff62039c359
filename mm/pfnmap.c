/*
 * Frames that somebody else named: a device's memory, a driver's pages. All entries are made when
 * the memory is mapped, so no fault ever adds one. Linux: remap_pfn_range, vmf_insert_pfn_pmd,
 * vm_insert_mixed.
 *
 * A bare frame may be no RAM at all, reserved, or part of a block that has one count for all of it:
 * its entry is special, and whoever meets that asks for no folio behind it. A counted one is a
 * folio's as all others are, and its entry has a reference.
 */
#include "mm/fault.h"

/* Physical addresses that an entry can hold. */
#define FRAMES_END (PTE_FRAME >> PAGE_SHIFT)

struct run {
	uint64_t start, end;		/* addresses */
	uint64_t first;			/* the frame at start */
	unsigned max_level;
	enum protection protection;
	enum counting counting;
};

/* Whether the folio of a frame can be counted, and is as large as a leaf of that level. */
static bool counted(const struct host *host, const struct run *run, uint64_t frame, unsigned level)
{
	if (run->counting == FRAMES_BARE)
		return false;
	uint32_t flags = atomic_read(&folio_of(host, pfn(frame))->flags);

	return !(flags & FOLIO_RESERVED) && (flags & FOLIO_ORDER) >= level_order(level);
}

/* Linux: vmf_insert_pfn_pmd and _pud want both addresses aligned, and the whole leaf in the VMA. */
static unsigned level_at(const struct host *host, const struct run *run, uint64_t at,
			 uint64_t frame)
{
	unsigned level = run->max_level;

	for (; level > LEVEL_4K; level--) {
		uint64_t inside = level_bytes(level) - 1;

		if (!((at | frame << PAGE_SHIFT) & inside) && run->end - at > inside &&
		    (run->counting == FRAMES_BARE || counted(host, run, frame, level)))
			break;
	}
	return level;
}

static enum status fill(struct space *space, const struct run *run) HOLDS(space->lock)
{
	struct gather gather = gather_begin(space);

	for (uint64_t at = run->start, level; at < run->end; at += level_bytes((unsigned)level)) {
		pfn_t frame = pfn(run->first + ((at - run->start) >> PAGE_SHIFT));

		level = level_at(space->host, run, at, frame.raw);
		pte_slot_t *slot = table_make(space, at, (unsigned)level);
		pte_t leaf = pte_make_leaf(frame, (unsigned)level, run->protection);

		if (!slot)
			return STATUS_NO_MEMORY;
		leaf.bits |= PTE_OWN;
		if (counted(space->host, run, frame.raw, (unsigned)level))
			folio_get(space->host, frame);
		else
			leaf.bits |= PTE_SPECIAL;
		table_change(space, at, (struct place){ slot, pte_empty(), (unsigned)level }, leaf,
			     CONTENT_STAYS, &gather);
	}
	return STATUS_OK;
}

static enum status map_run(struct space *space, const struct run *run) HOLDS(space->lock)
{
	enum status status = space_insert(space, (struct vma){
		.start = run->start, .end = run->end, .kind = VMA_FRAMES,
		.protection = run->protection, .max_level = run->max_level, .first = run->first });

	if (status != STATUS_OK)
		return status;
	status = fill(space, run);
	if (status != STATUS_OK) {
		/* In a bracket: a walk without the lock may have found some of them already. */
		space_zap(space, run->start, run->end, EVENT_UNMAP);
		vma_remove(space, run->start, run->end);
	}
	return status;
}

enum status space_map_frames(struct space *space, hva_t start, uint64_t bytes,
			     enum protection protection, pfn_t first, unsigned max_level,
			     enum counting counting)
{
	struct run run = { start.raw, start.raw + bytes, first.raw,
			   max_level, protection, counting };
	enum status status = space_check_range(start, bytes);

	if (status != STATUS_OK)
		return status;
	if (max_level < LEVEL_4K || max_level > LEVEL_1G || first.raw > FRAMES_END ||
	    bytes >> PAGE_SHIFT > FRAMES_END + 1 - first.raw)
		return STATUS_BAD_RANGE;
	write_lock(&space->lock);
	status = map_run(space, &run);
	write_unlock(&space->lock);
	return status;
}
