/*
 * Pages for those who use them without page tables: devices, the kernel's own copies. Called by
 * drivers; space->lock is taken and dropped.
 *
 * The reference keeps the frame, not the mapping: the page may be unmapped, copied, or written back
 * while it is held, and no entry tells what its user does with it. So the user says at the end whether it
 * wrote (gup_put_dirty); what it wrote between a writeback and that is noted only then.
 * A secondary MMU does not come here: it follows the notifiers instead (mm_lookup).
 */
#include "mm/space.h"

struct got {
	struct host *host;
	uint64_t address;
	unsigned flags;
	struct mm_page page;
};

static enum access access_of(unsigned flags)
{
	return flags & GUP_WRITE ? ACCESS_WRITE : ACCESS_READ;
}

/* In the entry, whatever its size: as if a CPU had made the access. */
static void touch_entry(struct place place, unsigned flags)
{
	uint64_t bits = pte_touched(pte_empty(), access_of(flags)).bits;

	if ((place.pte.bits & bits) != bits)
		atomic_or(place.slot, bits);
}

/*
 * Linux: follow_page_pte marks the page and leaves the entry; follow_trans_huge_pmd, touch_pmd
 * marks the entry and leaves the folio.
 */
static void touch_as_linux(struct host *host, struct place place, pfn_t frame, unsigned flags)
{
	if (place.level > LEVEL_4K) {
		touch_entry(place, flags);
		return;
	}
	if (flags & GUP_WRITE && !pte_dirty(place.pte))
		folio_set_dirty(host, frame);
	folio_mark_accessed(host, frame);
}

static void get(struct place place, void *argument)
{
	struct got *got = argument;
	uint64_t inside = got->address & (level_bytes(place.level) - 1);
	pfn_t frame = pfn_add(pte_frame(place.pte), inside >> PAGE_SHIFT);

	folio_get(got->host, frame);
	if (got->flags & GUP_TOUCH_SANE)
		touch_entry(place, got->flags);
	else if (got->flags & GUP_TOUCH)
		touch_as_linux(got->host, place, frame, got->flags);
	got->page = (struct mm_page){ frame, place.level, pte_writable(place.pte) };
}

enum status gup_get(struct space *space, hva_t address, unsigned flags, struct mm_page *out)
{
	struct got got = { .host = space->host, .address = address.raw, .flags = flags };
	enum hints hints = flags & GUP_HONOUR_HINTS ? HINTS_HONOURED : HINTS_IGNORED;
	enum status status = space_reach(space, address.raw, access_of(flags), hints, get, &got);

	if (status == STATUS_OK)
		*out = got.page;
	return status;
}

void gup_put(struct host *host, pfn_t frame)
{
	folio_put(host, frame);
}

/* Under the folio's lock: no writeback is between taking the mark and taking the content. */
void gup_put_dirty(struct host *host, pfn_t frame)
{
	folio_lock(host, frame);
	folio_mark_dirty(host, frame);
	folio_unlock(host, frame);
	folio_put(host, frame);
}
