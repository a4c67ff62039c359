/*
 * Pages that a device has for itself: its atomic operations and the CPUs' would not see each other,
 * so while the device works on a page nobody else maps it. Called by drivers, and by fault.c when
 * the process wants the page back.
 *
 *   make                                    the process, or another listener's lookup
 *   ----                                    -----------------------------------------
 *   page written, and locked                (exclusive_fault waits for the page's lock)
 *   notifier_start, the owner exempt
 *   entry -> PTE_ONLY; tlb_flush            finds PTE_ONLY: a fault
 *   notifier_end
 *   the device maps it, exclusive_done      page locked
 *                                           notifier_start: the device, too, lets go
 *                                           entry -> leaf
 *                                           notifier_end
 *
 * The entry keeps its reference and counts as a mapping, so that nobody takes the page for one that
 * is used no more. Linux: make_device_exclusive, restore_exclusive_pte.
 */
#include "mm/file.h"
#include "mm/tlb.h"

/* The leaf of that frame, as the device may have it: judged under the lock. */
static enum status take(struct space *space, uint64_t address, pfn_t frame, const void *owner,
			bool *taken) HOLDS(space->lock)
{
	struct place place = table_find(space, address);

	if (place_allows(place, ACCESS_WRITE) && place.level > LEVEL_4K)
		return table_split(space, address | PAGE_SIZE);
	if (!place_allows(place, ACCESS_WRITE) || pte_frame(place.pte).raw != frame.raw)
		return STATUS_OK;

	struct gather gather = gather_begin(space);
	struct mm_range range = notifier_start_for(space, address, address + PAGE_SIZE, owner);

	table_change(space, address, place, pte_only(place.pte), CONTENT_STAYS, &gather);
	tlb_flush(space, address);
	notifier_end(space, &range);
	*taken = true;
	return STATUS_OK;
}

static bool is_lendable(const struct host *host, pfn_t frame)
{
	uint32_t flags = atomic_read(&folio_of(host, frame)->flags);

	return (flags & (FOLIO_ANON | FOLIO_KSM)) == FOLIO_ANON;
}

enum status space_make_exclusive(struct space *space, hva_t address, const void *owner,
				 pfn_t *frame)
{
	struct host *host = space->host;
	uint64_t page = address.raw & PAGE_MASK;

	for (;;) {
		struct mm_page got;
		bool taken = false;
		enum status status = gup_get(space, address, GUP_WRITE, &got);

		if (status != STATUS_OK)
			return status;
		folio_lock(host, got.frame);
		if (is_lendable(host, got.frame)) {
			write_lock(&space->lock);
			status = take(space, page, got.frame, owner, &taken);
			write_unlock(&space->lock);
		} else {
			status = STATUS_UNSUPPORTED;
		}
		*frame = got.frame;
		if (taken)
			return STATUS_OK;
		exclusive_done(host, got.frame);
		if (status != STATUS_OK)
			return status;
	}
}

void exclusive_done(struct host *host, pfn_t frame)
{
	folio_unlock(host, frame);
	folio_put(host, frame);
}

/* ------------------------------------------------------------------ back */

static void restore(struct space *space, uint64_t address, struct place place)
	HOLDS(space->lock)
{
	const struct vma *vma = vma_find(space, address);
	struct gather gather = gather_begin(space);

	check(vma && pte_is_only(place.pte));
	pte_t leaf = pte_with_rights((pte_t){ place.pte.bits & ~PTE_ONLY }, vma->protection);

	/* It was alone with the page when it was lent; W otherwise comes by a fault. */
	if (!pte_own(leaf) || !pte_soft(leaf))
		leaf.bits &= ~PTE_W;
	table_change(space, address, place, leaf, CONTENT_STAYS, &gather);
}

void exclusive_restore_all(struct space *space, uint64_t start, uint64_t end)
{
	struct walk walk = { .at = start, .end = end, .absent = true };

	while (walk_next(space, &walk))
		if (pte_is_only(walk.place.pte))
			restore(space, walk.start, walk.place);
}

/* The page behind a PTE_ONLY entry, with a reference for us; false: there is none any more. */
static bool get_lent(struct space *space, uint64_t address, pfn_t *frame)
{
	read_lock(&space->lock);
	struct place place = table_find(space, address);
	bool lent = pte_is_only(place.pte);

	*frame = pte_frame(place.pte);
	if (lent)
		folio_get(space->host, *frame);
	read_unlock(&space->lock);
	return lent;
}

static void take_back(struct space *space, uint64_t address, pfn_t frame) HOLDS(space->lock)
{
	struct place place = table_find(space, address);

	if (!pte_is_only(place.pte) || pte_frame(place.pte).raw != frame.raw)
		return;
	struct mm_range range = notifier_start(space, address, address + PAGE_SIZE, EVENT_CLEAR);

	restore(space, address, place);
	notifier_end(space, &range);
}

/* Linux: remove_device_exclusive_entry. */
enum status exclusive_fault(struct space *space, uint64_t address)
{
	uint64_t page = address & PAGE_MASK;
	pfn_t frame;

	if (!get_lent(space, page, &frame))
		return STATUS_OK;
	folio_lock(space->host, frame);
	write_lock(&space->lock);
	take_back(space, page, frame);
	write_unlock(&space->lock);
	folio_unlock(space->host, frame);
	folio_put(space->host, frame);
	return STATUS_OK;
}
