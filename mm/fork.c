/*
 * A second process with the first one's memory. Called by whoever starts processes; takes the
 * parent's space->lock, then the child's. (Besides it only rmap_lock_all holds two, in this order.)
 *
 * VMA after VMA (Linux: dup_mmap, copy_page_range):
 *
 *	notifier_start, PROTECTION_PAGE		listeners of the parent let go
 *	what devices have is the parent's again	(copy_nonpresent_pte: restore_exclusive_pte)
 *	W goes from the parent's entries	(copy_present_ptes: ptep_set_wrprotect)
 *	tlb_flush				no CPU of the parent stores there by what it knew
 *	each page: pinned? a copy for the child	(copy_present_page)
 *	           else the same page for both, nobody's own
 *	notifier_end
 *
 * Linux flushes once, when all VMAs are done, and keeps fast GUP out by mm->write_protect_seq;
 * here the flush does both, so it comes before any page is judged.
 *
 * Who walks from a folio to its entries (rmap.c) takes one lock after the other. The child
 * comes after its parent in the host's list, and gets all its entries while both locks are
 * held: either the walk finds the page in both, or it has been to the parent first, and the
 * child got what it left there.
 */
#include "mm/lru.h"
#include "mm/tlb.h"

struct fork {
	struct space *parent, *child;
	struct vma vma;			/* a copy of the one that is being done */
};

/* A file's pages that stores go to: the child's faults find them again. Linux: vma_needs_copy. */
static bool needs_copy(const struct vma *vma)
{
	return !vma->file || vma->sharing == SHARING_PRIVATE;
}

static void write_protect(struct space *parent, const struct vma *vma) HOLDS(parent->lock)
{
	struct walk walk = { .at = vma->start, .end = vma->end };

	while (walk_next(parent, &walk)) {
		if (!pte_writable(walk.place.pte))
			continue;
		uint64_t was = atomic_and(walk.place.slot, ~PTE_W);

		trace_step(parent->host->trace, TRACE_PTE_PROTECT, walk.start, was & ~PTE_W);
	}
}

/* The entry becomes the child's, with the reference that the caller has to the page. */
static enum status give(struct space *child, uint64_t address, unsigned level, pte_t entry)
	HOLDS(child->lock)
{
	pte_slot_t *slot = table_make(child, address, level);

	if (!slot)
		return STATUS_NO_MEMORY;

	struct gather gather = gather_begin(child);

	table_change(child, address, (struct place){ slot, pte_empty(), level }, entry,
		     CONTENT_STAYS, &gather);
	return STATUS_OK;
}

/*
 * Somebody holds the page, who does not follow its entries, and what he writes, or reads, is
 * the parent's: so the parent keeps this page. Exact for a page that was the parent's own:
 * nobody else's entries name it. Linux: folio_needs_cow_for_dma.
 */
static bool is_pinned(struct host *host, pte_t pte)
{
	const struct folio *folio = folio_of(host, pte_frame(pte));

	trace_step(host->trace, TRACE_REF_TEST, pte_frame(pte).raw, 0);
	/* The swap cache is no such user: it has no entry, and changes nothing. */
	uint32_t cached = !!(atomic_read(&folio->flags) & FOLIO_SWAPCACHE);

	return pte_own(pte) &&
	       atomic_read(&folio->refcount) > atomic_read(&folio->mapcount) + cached;
}

/*
 * Linux: copy_present_page. The parent's store takes its page back as it is: it is still its
 * own.
 */
static enum status copy_page(struct fork *fork, const struct walk *walk)
	HOLDS(fork->child->lock)
{
	struct host *host = fork->child->host;
	pfn_t from = pte_frame(walk->place.pte), copy;
	enum status status = folio_alloc(host, ORDER_4K, &copy);

	if (status != STATUS_OK)
		return status;
	trace_step(host->trace, TRACE_FOLIO_COPY, from.raw, copy.raw);
	atomic_copy(pfn_to_ptr(copy), pfn_to_ptr(from), PAGE_SIZE);
	folio_make_anon(host, copy, fork->child->family, vma_page(&fork->vma, walk->start));

	pte_t leaf = { pte_make_leaf(copy, LEVEL_4K, fork->vma.protection).bits | PTE_D | PTE_OWN };

	status = give(fork->child, walk->start, LEVEL_4K, leaf);
	if (status == STATUS_OK)
		lru_add(host, copy);
	else
		folio_put(host, copy);
	return status;
}

/* Nobody's own from now on: whose store comes first copies. Linux: folio_try_dup_anon_rmap_ptes. */
static enum status share_page(struct fork *fork, const struct walk *walk)
	HOLDS(fork->parent->lock) HOLDS(fork->child->lock)
{
	struct host *host = fork->child->host;
	pte_t old = { atomic_and(walk->place.slot, ~PTE_OWN) };
	pte_t leaf = { old.bits & ~(PTE_OWN | PTE_A) };

	if (!pte_special(old))
		folio_get(host, pte_frame(old));

	enum status status = give(fork->child, walk->start, walk->place.level, leaf);

	if (status != STATUS_OK && !pte_special(old))
		folio_put(host, pte_frame(old));
	return status;
}

/* One leaf, or one entry that keeps a page's place. */
static enum status copy_entry(struct fork *fork, struct walk *walk)
	HOLDS(fork->parent->lock) HOLDS(fork->child->lock)
{
	struct place place = walk->place;

	if (!pte_leaf(place.pte, place.level)) {
		check(pte_is_swap(place.pte));
		/* Linux: copy_nonpresent_pte. */
		pte_t shared = { atomic_and(place.slot, ~PTE_OWN) & ~PTE_OWN };

		return give(fork->child, walk->start, place.level, shared);
	}
	if (pte_special(place.pte) || !is_pinned(fork->child->host, place.pte))
		return share_page(fork, walk);
	if (place.level == LEVEL_4K)
		return copy_page(fork, walk);
	/* Pages of the next lower level first, then each of them again. Linux: copy_huge_pmd. */
	walk->at = walk->start;
	return table_split(fork->parent, walk->start + level_bytes(place.level - 1));
}

static enum status copy_vma(struct fork *fork) HOLDS(fork->parent->lock) HOLDS(fork->child->lock)
{
	struct walk walk = { .at = fork->vma.start, .end = fork->vma.end, .absent = true };

	/* Named frames and secrets are not inherited. Linux: VM_DONTCOPY, as drivers set it. */
	if (fork->vma.kind != VMA_PAGED)
		return STATUS_OK;

	enum status status = vma_reserve(fork->child);

	if (status != STATUS_OK)
		return status;
	vma_insert(fork->child, fork->vma);
	if (!needs_copy(&fork->vma))
		return STATUS_OK;

	struct mm_range range = notifier_start(fork->parent, fork->vma.start, fork->vma.end,
					       EVENT_PROTECTION_PAGE);

	exclusive_restore_all(fork->parent, fork->vma.start, fork->vma.end);
	write_protect(fork->parent, &fork->vma);
	tlb_flush(fork->parent, fork->vma.start);
	while (status == STATUS_OK && walk_next(fork->parent, &walk))
		status = copy_entry(fork, &walk);
	notifier_end(fork->parent, &range);
	return status;
}

enum status space_fork(struct space *parent, struct space **out)
{
	struct fork fork = { .parent = parent };
	enum status status = space_create_in(parent->host, parent->family, &fork.child);

	if (status != STATUS_OK)
		return status;

	write_lock(&fork.parent->lock);
	write_lock(&fork.child->lock);
	for (unsigned i = 0; status == STATUS_OK && i < parent->vma_count; i++) {
		fork.vma = parent->vmas[i];
		status = copy_vma(&fork);
	}
	write_unlock(&fork.child->lock);
	write_unlock(&fork.parent->lock);
	if (status == STATUS_OK)
		*out = fork.child;
	else
		space_destroy(fork.child);
	return status;
}
