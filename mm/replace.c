/*
 * Another page where one stood, and a page where none was. Called under space->lock by
 * copy-on-write (fault.c) and KSM (ksm.c), and below for two of the kind of uprobes and device
 * memory.
 *
 * There is one order of steps for all of them, as Linux has it in wp_page_copy,
 * write_protect_page and replace_page (KSM), and __replace_page (uprobes):
 *
 *	invalidate_range_start		listeners let go of the old page
 *	ptep_clear_flush		no CPU uses it any more
 *	[change_pte]			historical: listeners exchange it (notifier.h)
 *	set_pte_at			CPUs use the new one
 *	invalidate_range_end
 *
 * change_pte comes first of the last two: whenever a CPU can reach the new page, every listener
 * is there already. In the other order:
 *
 *   the process's CPU                       a listener
 *   -----------------                       ----------
 *   entry = new page, writable
 *   stores 7 there, without a fault
 *   tells its other half                    loads from the old page: finds no 7
 *                                           change_pte: too late
 *
 * Explored by tests/explore/race_share.c.
 */
#include "mm/lru.h"
#include "mm/replace.h"
#include "mm/tlb.h"

/* With change_pte alone there is no bracket: *range says nothing then. */
static bool open_bracket(struct space *space, uint64_t address, enum mm_event event,
			 struct mm_range *range) HOLDS(space->lock)
{
	switch (space->host->change_pte) {
	case CHANGE_PTE_UNBRACKETED:
		return false;
	case CHANGE_PTE_FORMER_GLORY:
		*range = notifier_start_change(space, address, event);
		return true;
	case CHANGE_PTE_NONE:
	case CHANGE_PTE_BRACKETED:
		break;
	}
	*range = notifier_start(space, address, address + PAGE_SIZE, event);
	return true;
}

void replace_begin(struct replace *replace, struct space *space, uint64_t address,
		   struct place place, enum mm_event event)
{
	replace->space = space;
	replace->address = address;
	replace->place = place;
	replace->gather = gather_begin(space);
	replace->bracket = open_bracket(space, address, event, &replace->range);
	replace->old = table_change(space, address, place, pte_migration(), CONTENT_STAYS,
				    &replace->gather);
	tlb_flush(space, address);
	replace->gather.flushed = true;
}

void replace_end(struct replace *replace, pte_t new)
{
	bool told = replace->space->host->change_pte != CHANGE_PTE_NONE;

	/* What is only put back is no change. */
	if (told && new.bits != replace->old.bits) {
		check(replace_keeps_stores(replace->old, new));
		notifier_change(replace->space, replace->address, new);
	}
	table_change(replace->space, replace->address, replace->place, new, CONTENT_STAYS,
		     &replace->gather);
	gather_finish(&replace->gather);
	if (replace->bracket)
		notifier_end(replace->space, &replace->range);
}

void page_replace(struct space *space, uint64_t address, struct place place, pte_t new,
		  enum mm_event event) NOT_CHECKED
{
	struct replace replace;

	replace_begin(&replace, space, address, place, event);
	replace_end(&replace, new);
}

/* ------------------------------------------------------------------ uprobes */

/* What a page is replaced for, in memory that the process itself only reads. Linux: valid_vma. */
static enum status check_patch(const struct space *space, uint64_t address)
	HOLDS_SHARED(space->lock)
{
	const struct vma *vma = vma_find(space, address);

	if (!vma)
		return STATUS_NOT_FOUND;
	if (vma->kind != VMA_PAGED)
		return STATUS_NO_ACCESS;
	return vma->protection == PROTECTION_READ && vma->sharing == SHARING_PRIVATE
		       ? STATUS_OK : STATUS_NO_ACCESS;
}

/* Linux: __replace_page. The page may have gone meanwhile: then *done stays false. */
static enum status put_in(struct space *space, uint64_t address, pfn_t old, pfn_t copy, bool *done)
	HOLDS(space->lock)
{
	enum status status = check_patch(space, address);
	struct place place = table_find(space, address);
	pte_t leaf = pte_make_leaf(copy, LEVEL_4K, PROTECTION_READ);

	if (status != STATUS_OK)
		return status;
	if (place.level > LEVEL_4K && pte_leaf(place.pte, place.level))
		/* The border inside its pair of pages: then no larger leaf is left there. */
		return table_split(space, address | PAGE_SIZE);
	if (!place_allows(place, ACCESS_READ) || pte_frame(place.pte).raw != old.raw)
		return STATUS_OK;
	folio_make_anon(space->host, copy, space->family,
			vma_page(vma_find(space, address), address));
	leaf.bits |= PTE_OWN | PTE_SOFT;
	page_replace(space, address, place, leaf, EVENT_CLEAR);
	lru_add(space->host, copy);
	*done = true;
	return STATUS_OK;
}

static enum status patch_copy(struct space *space, hva_t at, const void *from, uint64_t bytes,
			      pfn_t old, bool *done)
{
	uint64_t inside = at.raw & ~PAGE_MASK;
	pfn_t copy;
	enum status status = folio_alloc(space->host, ORDER_4K, &copy);

	if (status != STATUS_OK)
		return status;
	atomic_copy(pfn_to_ptr(copy), pfn_to_ptr(old), PAGE_SIZE);
	trace_step(space->host->trace, TRACE_FOLIO_COPY, old.raw, copy.raw);
	__builtin_memcpy((char *)pfn_to_ptr(copy) + inside, from, bytes);
	write_lock(&space->lock);
	status = put_in(space, at.raw & PAGE_MASK, old, copy, done);
	write_unlock(&space->lock);
	if (!*done)
		folio_put(space->host, copy);
	return status;
}

/* Linux: uprobe_write_opcode. */
enum status space_patch(struct space *space, hva_t at, const void *from, uint64_t bytes)
{
	uint64_t inside = at.raw & ~PAGE_MASK;
	enum status status = STATUS_OK;
	struct mm_page page;
	bool done = false;

	if (!bytes || at.raw >= SPACE_END || bytes > PAGE_SIZE - inside)
		return STATUS_BAD_RANGE;
	while (status == STATUS_OK && !done) {
		read_lock(&space->lock);
		status = check_patch(space, at.raw);
		read_unlock(&space->lock);
		if (status == STATUS_OK)
			status = gup_get(space, at, 0, &page);
		if (status != STATUS_OK)
			return status;
		status = patch_copy(space, at, from, bytes, page.frame, &done);
		gup_put(space->host, page.frame);
	}
	return status;
}

/* ------------------------------------------------------------------ a page where none was */

/*
 * Linux: migrate_vma_insert_page, of a page that comes back from a device. There is no page of
 * zeros here that it could replace, so nothing is cleared or flushed, and nothing was told of
 * that change_pte could exchange.
 */
enum status space_insert_page(struct space *space, hva_t address, pfn_t frame)
{
	enum status status = space_check_range(address, PAGE_SIZE);
	const struct vma *vma;
	pte_slot_t *slot;

	if (status != STATUS_OK)
		return status;
	write_lock(&space->lock);
	vma = vma_find(space, address.raw);
	if (!vma || vma->file || vma->kind != VMA_PAGED)
		status = STATUS_NOT_FOUND;
	else if (!pte_is_empty(table_find(space, address.raw).pte))
		status = STATUS_EXISTS;
	else if (!(slot = table_make(space, address.raw, LEVEL_4K)))
		status = STATUS_NO_MEMORY;
	if (status == STATUS_OK) {
		struct gather gather = gather_begin(space);
		struct mm_range range = notifier_start(space, address.raw, address.raw + PAGE_SIZE,
						       EVENT_MIGRATE);
		pte_t leaf = pte_make_leaf(frame, LEVEL_4K, vma->protection);

		folio_make_anon(space->host, frame, space->family, vma_page(vma, address.raw));
		leaf.bits |= PTE_OWN | PTE_SOFT | PTE_D;
		table_change(space, address.raw, (struct place){ slot, pte_empty(), LEVEL_4K },
			     leaf, CONTENT_STAYS, &gather);
		lru_add(space->host, frame);
		notifier_end(space, &range);
	}
	write_unlock(&space->lock);
	return status;
}
