/*
 * Pages for those who use them without page tables: devices, the kernel's own copies. Called by
 * drivers; space->lock is taken and dropped.
 *
 * The reference keeps the frame, not the mapping: the page may be unmapped, copied, or written back
 * while it is held, and no entry tells what its user does with it. So the user says at the end
 * whether it wrote (gup_put_dirty); what it wrote between a writeback and that is noted only then.
 * A secondary MMU does not come here: it follows the notifiers instead (mm_lookup).
 */
#include "mm/tlb.h"

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

/*
 * Linux: follow_page_pte marks the page and leaves the entry; follow_trans_huge_pmd, touch_pmd
 * marks the entry and leaves the folio.
 */
static void touch_as_linux(struct host *host, struct place place, pfn_t frame, unsigned flags)
{
	if (place.level > LEVEL_4K) {
		place_touch(place, access_of(flags));
		return;
	}
	if (flags & GUP_WRITE && !pte_dirty(place.pte))
		folio_set_dirty(host, frame);
	folio_mark_accessed(host, frame);
}

/* Nobody counts what has no folio behind it. Linux: check_vma_flags, vm_normal_page. */
static bool may_get(const struct vma *vma, struct place place)
{
	return vma->kind != VMA_SECRET &&
	       !(pte_leaf(place.pte, place.level) && pte_special(place.pte));
}

/*
 * An entry without rights in a VMA that has them waits for a fault of the process's own; a reader
 * without a CPU's table goes by. Linux: gup_can_follow_protnone.
 */
static bool follows(struct place place, unsigned flags)
{
	if (place_allows(place, access_of(flags)))
		return true;
	return leaf_is_hinted(place) && !(flags & (GUP_WRITE | GUP_HONOUR_HINTS));
}

static enum reached get(const struct vma *vma, struct place place, void *argument)
{
	struct got *got = argument;

	if (!may_get(vma, place))
		return REFUSED;
	if (!follows(place, got->flags))
		return NOT_YET;
	got->page = place_page(place, got->address);
	folio_get(got->host, got->page.frame);
	if (got->flags & GUP_TOUCH_SANE)
		place_touch(place, access_of(got->flags));
	else if (got->flags & GUP_TOUCH && vma->kind != VMA_POOLED)
		touch_as_linux(got->host, place, got->page.frame, got->flags);
	return REACHED;
}

enum status gup_get(struct space *space, hva_t address, unsigned flags, struct mm_page *out)
{
	struct got got = { .host = space->host, .address = address.raw, .flags = flags };
	enum status status = space_reach(space, address.raw, access_of(flags), get, &got);

	if (status == STATUS_OK)
		*out = got.page;
	return status;
}

/*
 * No entry is changed here: a touch that would have to is left to the slow way (the sane one), or
 * not done (Linux). The reference comes before tlb_leave: lookup.c says why. Linux:
 * gup_fast_pte_range.
 */
static bool get_alone(struct space *space, uint64_t address, unsigned flags, struct mm_page *out)
{
	enum access access = access_of(flags);

	tlb_enter(space->host);
	struct place place = tlb_find(space, address);
	bool found = place_allows(place, access) && !pte_special(place.pte) &&
		     !pte_secret(place.pte) &&
		     !(flags & GUP_TOUCH_SANE && place_untouched(place, access));

	if (found) {
		*out = place_page(place, address);
		folio_get(space->host, out->frame);
	}
	tlb_leave(space->host);
	return found;
}

enum status gup_get_fast(struct space *space, hva_t address, unsigned flags, struct mm_page *out)
{
	if (address.raw < SPACE_END && get_alone(space, address.raw, flags, out))
		return STATUS_OK;
	return flags & GUP_FAST_ONLY ? STATUS_NOT_FOUND : gup_get(space, address, flags, out);
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
