/*
 * Regions that leave: removed, or moved. However large one is, ept->lock is held exclusively only
 * for the entries at its top, of 1 GiB each or of what is left at its edges. Called by the machine
 * that builds a guest. Linux: kvm_invalidate_memslot, kvm_tdp_mmu_zap_invalidated_roots.
 *
 *	1. exclusive	the region moves to `leaving`; entries at the top become dead; one shootdown
 *	2. shared	tables of leaves are taken apart, so many at a time
 *	3. exclusive	the region leaves `leaving`, and the upper tables, empty by now, the tree
 *	4. no lock	those are freed
 *
 * After 1 the guest is out: no processor, no fault and no walk goes through a dead entry, so 2 owes
 * no flush (U28), and entries below it are nobody's but those who hold the lock and find the region
 * in `leaving`. But what is in them counts. By policies that mark late a leaf may be the only one
 * who knows of a store, and the host may consume that at any time, in a bracket: so a bracket does
 * not wait for 2, it takes apart what it overlaps itself.
 *
 *   who takes apart, lock shared             a bracket, lock held
 *   ----------------------------             --------------------
 *   slot: dead or table -> frozen (cmpxchg)  its range, in `leaving`
 *   its leaves' D, A -> folios               slot frozen: waits until it is not
 *   the table is freed                       slot dead or table: does the same as who takes apart
 *   slot: frozen -> empty       (release)    slot empty: all told. start returns
 *
 * - Whoever finds it empty comes after the marks: they stand before the release. To empty first and
 *   mark then would let the bracket return, and its caller consume dirtiness, between the two (I4).
 * - Who has frozen a slot waits for nothing until it thaws it, so waiting for it is short.
 * - A table of leaves is freed by who froze its slot: nobody else is in it. Those above are not
 *   frozen: everyone may be in them, so they stay until 3, which waits for all who hold the lock.
 * - A frame that a leaf here names is not freed before the leaf has gone: by its bracket, as ever.
 *
 * Linux puts a new root in the place of the old one. Here the root stays, since a CPU's VMCS names
 * it, and all that a removal must exchange is at most 511 entries at each edge and level and one
 * for each 512 GiB, or 1 GiB, between them.
 */
#include "ept/change.h"
#include "ept/leave.h"
#include "ept/log.h"
#include "ept/memfd.h"
#include "ept/region.h"

/* Entries that are looked at before the lock is dropped, and others have their turn. */
enum { PORTION = 4096 };

/* ------------------------------------------------------------------ taking apart */

static bool holds_entry(const struct region *region, const struct ept_walk *walk)
{
	uint64_t start = ept_walk_start(walk).raw;

	return start >= region->start.raw &&
	       start + walk->pages <= region->start.raw + region->pages;
}

/*
 * Tables that the region has all of are dead, or below one that is. Returns how many entries were
 * looked at.
 */
static unsigned take_entry(struct ept *ept, const struct region *region, struct ept_walk *walk,
			   struct flush_batch *batch) HOLDS_SHARED(ept->lock)
{
	if (!walk->old.bits || walk->level == LEVEL_4K || !holds_entry(region, walk))
		return 1;
	/*
	 * From before the region came; the next fault here, when it is gone, finds it out of date.
	 */
	if (spte_is_mmio(walk->old))
		return 1;
	if (walk->level > LEVEL_2M && spte_is_dead(walk->old))
		walk->old = spte_make_table(spte_dead_table(walk->old));
	/* And down there. */
	if (walk->level > LEVEL_2M && spte_is_table(walk->old))
		return 1;
	ept_take_dead(ept, walk->slot, walk->level, batch);
	walk->old = spte_empty();
	return EPT_ENTRIES;
}

/* From that frame on, no more than so many entries, or one table. Returns how far it came. */
static uint64_t take_part(struct ept *ept, const struct region *region, uint64_t from, uint64_t end,
			  uint64_t most) HOLDS_SHARED(ept->lock)
{
	struct ept_walk walk = ept_walk_begin(ept, gfn(from), end - from);
	struct flush_batch batch = flush_nothing();

	for (uint64_t seen = 0; ept_walk_next(&walk);) {
		if (seen >= most)
			return walk.at;
		seen += take_entry(ept, region, &walk, &batch);
	}
	return end;
}

void leave_tell(struct ept *ept, hva_t start, hva_t end)
{
	for (uint64_t i = 0, count = atomic_read(&ept->leaving_count); i < count; i++) {
		struct region_part part = region_behind(&ept->leaving[i], start, end);
		uint64_t from = part.start.raw;

		if (part.pages)
			(void)take_part(ept, &ept->leaving[i], from, from + part.pages, UINT64_MAX);
	}
}

static void take_all(struct ept *ept, const struct region *region)
{
	uint64_t end = region->start.raw + region->pages;

	for (uint64_t at = region->start.raw; at < end;) {
		read_lock(&ept->lock);
		at = take_part(ept, region, at, end, PORTION);
		read_unlock(&ept->lock);
	}
}

/* ------------------------------------------------------------------ leaving */

enum leaving { GOES, MOVES };

/* Steps 1 and 2. */
static enum status leave(struct ept *ept, gfn_t start, enum leaving how, struct region *region)
{
	region_lock_between_brackets(ept);
	enum status status = how == MOVES && log_find(ept, start) ? STATUS_EXISTS
								 : region_take(ept, start, region);

	if (status == STATUS_OK) {
		log_drop(ept, start);
		ept->leaving[atomic_add(&ept->leaving_count, 1)] = *region;
		atomic_add(&ept->sequence, 1);
		flush_settle(ept, ept_detach_range(ept, start, region->pages, flush_nothing()));
	}
	write_unlock(&ept->lock);
	if (status == STATUS_OK)
		take_all(ept, region);
	return status;
}

/* Empty ones, of which all but the topmost are found in another. */
static void take_upper(struct flush_batch *batch, pfn_t table, unsigned level)
{
	if (level > LEVEL_2M)
		for (unsigned i = 0; i < EPT_ENTRIES; i++) {
			spte_t below = slot_read(&table_slots(table)[i]);

			if (spte_is_table(below))
				take_upper(batch, spte_frame(below), level - 1);
		}
	flush_add_table(batch, table);
}

/* Step 3. */
static struct flush_batch gone(struct ept *ept, const struct region *region) HOLDS(ept->lock)
{
	struct ept_walk walk = ept_walk_begin(ept, region->start, region->pages);
	struct flush_batch batch = flush_nothing();
	unsigned i = 0;

	while (ept_walk_next(&walk))
		if (spte_is_dead(walk.old)) {
			slot_xchg(walk.slot, spte_empty());
			take_upper(&batch, spte_dead_table(walk.old), walk.level - 1);
		}
	while (ept->leaving[i].start.raw != region->start.raw)
		i++;
	ept->leaving[i] = ept->leaving[atomic_sub(&ept->leaving_count, 1) - 1];
	return batch;
}

enum status ept_region_remove(struct ept *ept, gfn_t start)
{
	struct region region;
	enum status status = leave(ept, start, GOES, &region);

	if (status != STATUS_OK)
		return status;
	write_lock(&ept->lock);
	struct flush_batch batch = gone(ept, &region);

	write_unlock(&ept->lock);
	flush_free_tables(ept, &batch);
	memfd_region_gone(ept, region.backing);
	return STATUS_OK;
}

/* At the new place, or, when that is none, where it was: nobody else has had that meanwhile. */
static enum status arrive(struct ept *ept, struct region *region, gfn_t to) HOLDS(ept->lock)
{
	struct region moved = *region;

	moved.start = to;
	enum status status = region_is_sound(&moved) ? region_place(ept, &moved) : STATUS_BAD_RANGE;

	if (status != STATUS_OK)
		check(region_place(ept, region) == STATUS_OK);
	return status;
}

enum status ept_region_move(struct ept *ept, gfn_t start, gfn_t to)
{
	struct region region;
	enum status status = leave(ept, start, MOVES, &region);

	if (status != STATUS_OK)
		return status;
	write_lock(&ept->lock);
	struct flush_batch batch = gone(ept, &region);

	status = arrive(ept, &region, to);
	atomic_add(&ept->sequence, 1);
	write_unlock(&ept->lock);
	flush_free_tables(ept, &batch);
	return status;
}
