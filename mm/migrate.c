/*
 * Moving pages to other frames under the feet of whoever uses them. Called by tests, benchmarks
 * and the demo; takes space->lock.
 *
 * One bracket, and one hold of the lock, for each 2 MiB of the range: a listener's shootdown is
 * paid once for up to 512 pages, and nobody waits longer than that many copies. Inside it, page by
 * page (Linux: migrate_pages, try_to_migrate, remove_migration_ptes):
 *
 *	a reference of our own		the frame stays while we look at it
 *	entry -> migration		nobody reaches the frame by it any more
 *	refcount == mapcount + 1?	if not, somebody may still write there: put the entry back
 *	copy; entry -> new frame; poison and put the old one
 */
#include "mm/lru.h"
#include "mm/space.h"

enum { POISON = 0xaa };

static void copy_folio(struct host *host, pfn_t from, pfn_t to)
{
	const struct folio *folio = folio_of(host, from);

	trace_step(host->trace, TRACE_FOLIO_COPY, from.raw, to.raw);
	__builtin_memcpy(pfn_to_ptr(to), pfn_to_ptr(from), PAGE_SIZE);
	folio_make_anon(host, to, folio->family,
			folio->index + (from.raw - page_head(host, from).raw));
	if (folio_dirty(host, from))
		folio_mark_dirty(host, to);
	if (folio_accessed(host, from))
		folio_mark_accessed(host, to);
	folio_copy_idle(host, from, to);
}

pfn_t migrate_page(struct space *space, uint64_t address, struct place place, pfn_t fresh)
{
	struct host *host = space->host;
	struct gather gather = gather_begin(space);
	pfn_t old_frame = pte_frame(place.pte);

	folio_get(host, old_frame);
	pte_t old = table_change(space, address, place, pte_migration(), CONTENT_MOVES, &gather);

	gather_flush(&gather, address);

	trace_step(host->trace, TRACE_REF_TEST, old_frame.raw, 0);
	/*
	 * Our reference, and the gather's that was the entry's; and no other process has the page.
	 */
	bool alone = (pte_own(old) || !folio_mapcount(host, old_frame)) &&
		     folio_refcount(host, old_frame) == folio_mapcount(host, old_frame) + 2;
	pte_t new = alone ? pte_with_frame(old, fresh) : old;

	if (alone)
		copy_folio(host, old_frame, fresh);
	/* The reference that we hold, to this frame or that, becomes the entry's. */
	table_change(space, address, place, new, CONTENT_STAYS, &gather);
	gather_finish(&gather);
	if (alone) {
		lru_add(host, fresh);
		__builtin_memset(pfn_to_ptr(old_frame), POISON, PAGE_SIZE);
	}
	return alone ? old_frame : fresh;
}

/* Linux: vma_migratable. A file's page has a place in its file, too, that would have to change. */
static bool may_move(const struct space *space, const struct walk *walk) HOLDS_SHARED(space->lock)
{
	return vma_find(space, walk->start)->kind == VMA_PAGED &&
	       !file_of(space->host, pte_frame(walk->place.pte));
}

static enum status migrate_bracketed(struct space *space, uint64_t start, uint64_t end,
				     uint64_t *moved) HOLDS(space->lock)
{
	struct walk walk = { .at = start, .end = end };

	while (walk_next(space, &walk)) {
		pfn_t fresh;

		if (!may_move(space, &walk))
			continue;
		/* Nothing leads to a merged page's other entries. */
		if (atomic_read(&folio_of(space->host, pte_frame(walk.place.pte))->flags) &
		    FOLIO_KSM)
			continue;
		enum status status = folio_alloc(space->host, ORDER_4K, &fresh);

		if (status != STATUS_OK)
			return status;

		pfn_t left = migrate_page(space, walk.start, walk.place, fresh);

		*moved += left.raw != fresh.raw;
		folio_put(space->host, left);
	}
	return STATUS_OK;
}

/* Inside one 2 MiB: a leaf there is 4 KiB, as all others are then, or it is alone and larger. */
static bool any_small_leaf(const struct space *space, uint64_t start, uint64_t end)
	HOLDS_SHARED(space->lock)
{
	struct walk walk = { .at = start, .end = end };

	return walk_next(space, &walk) && walk.place.level == LEVEL_4K;
}

enum status space_migrate(struct space *space, hva_t start, uint64_t bytes, uint64_t *moved)
{
	uint64_t last = start.raw + bytes;
	enum status status = space_check_range(start, bytes);

	*moved = 0;
	for (uint64_t at = start.raw, end; status == STATUS_OK && at < last; at = end) {
		end = (at | (level_bytes(LEVEL_2M) - 1)) + 1;
		if (end > last)
			end = last;
		write_lock(&space->lock);
		if (any_small_leaf(space, at, end)) {
			struct mm_range range = notifier_start(space, at, end, EVENT_MIGRATE);

			status = migrate_bracketed(space, at, end, moved);
			notifier_end(space, &range);
		}
		write_unlock(&space->lock);
	}
	return status;
}
