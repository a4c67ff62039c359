/*
 * A range of a process's memory goes to another place in it: its pages keep their names
 * (vma_page), so whoever comes from a folio finds them there. Called by the process; takes
 * space->lock.
 *
 *	leaves are split that don't fit the new place, tables made there	(may fail)
 *	notifier_start, UNMAP, the old range
 *	entry after entry: taken from the old place, set in the new one		Linux: move_ptes
 *	tlb_flush
 *	the VMA follows; notifier_end
 *
 * The entries of the new place may be used before the flush, by the same pages' other name:
 * that harms nobody. But whoever wants to take them away must find no CPU with the old name, so
 * the flush comes before the lock is dropped. Linux: the same, under the page tables' locks.
 */
#include "mm/tlb.h"

struct move {
	uint64_t from, to, end;		/* of the old range: [from, end) */
	struct walk walk;
	struct gather gather;
};

/* One way through the old range. */
static struct walk *begin(struct move *move, bool absent)
{
	move->walk = (struct walk){ .at = move->from, .end = move->end, .absent = absent };
	return &move->walk;
}

/* Leaves of [from, end) that the new place, aligned otherwise, can't hold as they are. */
static enum status split_misfits(struct space *space, struct move *move) HOLDS(space->lock)
{
	struct walk *walk = begin(move, false);

	while (walk_next(space, walk)) {
		if (!((move->to - move->from) & (level_bytes(walk->place.level) - 1)))
			continue;
		enum status status =
			table_split(space, walk->start + level_bytes(walk->place.level - 1));

		if (status != STATUS_OK)
			return status;
		walk->at = walk->start;
	}
	return STATUS_OK;
}

/* Empties the new place again. */
static void give_up(struct space *space, struct move *move) HOLDS(space->lock)
{
	table_zap(space, move->to, move->to + (move->end - move->from), &move->gather);
	gather_finish(&move->gather);
}

/* An entry that only keeps the place, for each that will come: no table is missing then. */
static enum status make_room(struct space *space, struct move *move) HOLDS(space->lock)
{
	struct walk *walk = begin(move, true);

	while (walk_next(space, walk)) {
		uint64_t to = walk->start - move->from + move->to;
		unsigned level = walk->place.level;
		pte_slot_t *slot = table_make(space, to, level);

		if (!slot) {
			give_up(space, move);
			return STATUS_NO_MEMORY;
		}
		table_change(space, to, (struct place){ slot, pte_empty(), level }, pte_migration(),
			     CONTENT_STAYS, &move->gather);
	}
	return STATUS_OK;
}

static void move_entries(struct space *space, struct move *move) HOLDS(space->lock)
{
	struct walk *walk = begin(move, true);

	while (walk_next(space, walk)) {
		uint64_t to = walk->start - move->from + move->to;

		table_move(space, walk->start, walk->place, to, table_find(space, to),
			   &move->gather);
	}
	tlb_flush(space, move->from);
	move->gather.flushed = true;
	gather_finish(&move->gather);
}

static void move_vma(struct space *space, const struct move *move) HOLDS(space->lock)
{
	struct vma vma = *vma_find(space, move->from);

	vma.first = vma_page(&vma, move->from);
	vma.start = move->to;
	vma.end = move->to + (move->end - move->from);
	/* Counted once more meanwhile: its file is never one that nobody shows. */
	if (vma.file)
		atomic_add(&vma.file->vmas, 1);
	vma_remove(space, move->from, move->end);
	vma_insert(space, vma);
	if (vma.file)
		atomic_sub(&vma.file->vmas, 1);
}

/* All that can fail. */
static enum status prepare(struct space *space, struct move *move) HOLDS(space->lock)
{
	const struct vma *vma = vma_find(space, move->from);
	enum status status;

	if (!vma || vma->end < move->end)
		return STATUS_NOT_FOUND;
	if (vma_any(space, move->to, move->to + (move->end - move->from)))
		return STATUS_EXISTS;
	status = space_prepare(space, move->from, move->end);
	if (status == STATUS_OK)
		status = split_misfits(space, move);
	return status == STATUS_OK ? make_room(space, move) : status;
}

enum status space_move(struct space *space, hva_t from, uint64_t bytes, hva_t to)
{
	struct move move = { .from = from.raw, .to = to.raw, .end = from.raw + bytes,
			     .gather = gather_begin(space) };
	enum status status = space_check_range(from, bytes);

	if (status == STATUS_OK)
		status = space_check_range(to, bytes);
	if (status != STATUS_OK)
		return status;
	if (from.raw < to.raw + bytes && to.raw < from.raw + bytes)
		return STATUS_BAD_RANGE;

	write_lock(&space->lock);
	status = prepare(space, &move);
	if (status == STATUS_OK) {
		struct mm_range range = notifier_start(space, move.from, move.end, EVENT_UNMAP);

		move_entries(space, &move);
		move_vma(space, &move);
		notifier_end(space, &range);
	}
	write_unlock(&space->lock);
	return status;
}
