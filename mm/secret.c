/*
 * Memory of one process alone. Called by fault.c and folio.c. The entry says what the page is
 * (PTE_SECRET), so that a walk without the lock refuses it as surely as one that asks the VMA:
 * neither another MMU nor a user without page tables gets at it, only the process's own CPU. Linux:
 * secretmem, whose walks look at the folio (gup_fast_folio_allowed), and whose pages leave the
 * kernel's own map.
 */
#include "mm/fault.h"

enum status space_map_secret(struct space *space, hva_t start, uint64_t bytes,
			     enum protection protection)
{
	enum status status = space_check_range(start, bytes);

	if (status != STATUS_OK)
		return status;
	write_lock(&space->lock);
	status = space_insert(space, (struct vma){ .start = start.raw, .end = start.raw + bytes,
						   .kind = VMA_SECRET, .protection = protection,
						   .max_level = LEVEL_4K,
						   .first = start.raw >> PAGE_SHIFT });
	write_unlock(&space->lock);
	return status;
}

/* Linux: secretmem_fault. On no list: nobody reclaims it, and no other place has its content. */
enum status secret_fault(struct space *space, const struct fault *fault)
{
	struct host *host = space->host;
	bool installed = false;
	pfn_t frame;
	enum status status = folio_alloc_zeroed(host, ORDER_4K, &frame);

	if (status != STATUS_OK)
		return status;
	atomic_or(&page_folio(host, frame)->flags, FOLIO_SECRET);
	pte_t leaf = pte_make_leaf(frame, LEVEL_4K, fault->vma.protection);

	leaf.bits |= PTE_OWN | PTE_SECRET;
	status = fault_install(space, fault, leaf, LEVEL_4K, &installed);
	if (!installed)
		folio_put(host, frame);
	return status;
}
