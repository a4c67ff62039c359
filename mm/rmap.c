/*
 * What is done to all entries of one file page, space after space. Called by file.c with the folio
 * locked and no other lock. Linux finds the VMAs of a file in a tree (i_mmap, rmap_walk_file); here
 * all spaces of the host and all their VMAs are looked through.
 *
 * A space's struct is kept alive by `users` while its lock is waited for; one that ends meanwhile
 * has no VMAs any more.
 */
#include "mm/file.h"
#include "mm/rmap.h"

/* The space behind `at` in the host's list, with a user more; `at` loses its own. NULL: the end. */
static struct space *next_space(struct host *host, struct space *at)
{
	struct space *next = NULL;

	spin_lock(&host->spaces_lock);
	struct list_node *node = at ? at->link.next : host->spaces.next;

	if (node != &host->spaces) {
		next = container_of(node, struct space, link);
		atomic_add(&next->users, 1);
	}
	spin_unlock(&host->spaces_lock);
	if (at)
		space_put(at);
	return next;
}

static bool shows(const struct vma *vma, const struct folio *folio)
{
	uint64_t pages = (vma->end - vma->start) >> PAGE_SHIFT;

	return vma->file == folio_file(folio) && folio->index >= vma->first &&
	       folio->index - vma->first < pages;
}

/*
 * Linux: page_vma_mkclean_one. W goes with D: the next store faults, and marks the folio dirty
 * again. What a listener allows goes first, so that nobody writes behind a clean entry.
 */
static bool mkclean_one(struct space *space, uint64_t address, struct place place)
	HOLDS(space->lock)
{
	if (!pte_dirty(place.pte) && !pte_writable(place.pte))
		return false;
	uint64_t end = address + PAGE_SIZE;
	struct mm_range range = notifier_start(space, address, end, EVENT_PROTECTION_PAGE);
	/* What the and returns counts: the CPU may have set D since the entry was read. */
	bool was_dirty = atomic_and(place.slot, ~(PTE_D | PTE_W)) & PTE_D;

	notifier_end(space, &range);
	return was_dirty;
}

static bool mkclean_space(struct space *space, pfn_t frame) HOLDS(space->lock)
{
	const struct folio *folio = folio_of(space->host, frame);
	bool was_dirty = false;

	for (unsigned i = 0; i < space->vma_count; i++) {
		const struct vma *vma = &space->vmas[i];

		if (!shows(vma, folio))
			continue;
		uint64_t address = vma->start + ((folio->index - vma->first) << PAGE_SHIFT);
		struct place place = table_find(space, address);

		/* A private VMA may have a copy there. */
		if (pte_leaf(place.pte, place.level) && pte_frame(place.pte).raw == frame.raw)
			was_dirty |= mkclean_one(space, address, place);
	}
	return was_dirty;
}

bool rmap_mkclean(struct host *host, pfn_t frame)
{
	bool was_dirty = false;

	check(folio_is_locked(host, frame));
	for (struct space *space = NULL; (space = next_space(host, space));) {
		write_lock(&space->lock);
		was_dirty |= mkclean_space(space, frame);
		write_unlock(&space->lock);
	}
	return was_dirty;
}
