/*
 * Small pages become a large one. Called by whoever thinks that it pays (Linux: khugepaged,
 * MADV_COLLAPSE); takes space->lock. For each 2 MiB, in the order of Linux's collapse_huge_page:
 *
 *	look: are there 512 pages, the process's own?		lock shared
 *	allocate						no lock
 *	look again						lock exclusive, to the end
 *	bracket, EVENT_CLEAR: the table goes, flush		nobody finds a page by it any more
 *	isolate: a count that is not explained?			the table comes back, all as it was
 *	copy
 *	the large leaf, set plainly				what was not mapped needs no
 *								change_pte (S70)
 *	old pages and the table are freed
 *
 * The bracket ends with the flush. What comes afterwards is nobody's business: a lookup finds
 * nothing there and waits for the lock, one from before the bracket is out of date.
 *
 * The pages' folios are not locked, as Linux does. Who holds such a lock has a reference, by which
 * isolation finds him; none can be had in between by who looks for entries, and one by who knows a
 * frame's number (folio_find) finds a page that nobody maps, to be freed when he has put it.
 *
 * Where the 512 are all of one folio already, in order, nothing is allocated or copied, and others
 * may hold it. Linux does that for files only (collapse_pte_mapped_thp).
 */
#include "mm/lru.h"
#include "mm/tlb.h"

enum verdict { NOTHING, COPY, IN_PLACE };

struct collapse {
	struct space *space;
	uint64_t start;
	struct vma vma;			/* a copy */
	struct place table;
	enum verdict verdict;
	pfn_t frame;			/* of the large leaf, with a reference */
};

static pte_t page_of(const struct collapse *collapse, unsigned i)
{
	const pte_slot_t *slots = pfn_to_ptr(pte_frame(collapse->table.pte));

	return pte_read(&slots[i]);
}

/* Linux: hugepage_vma_check. */
static bool wanted(const struct vma *vma, uint64_t start)
{
	return vma && vma->kind == VMA_PAGED && !vma->file &&
	       vma->protection != PROTECTION_NONE && vma->max_level >= LEVEL_2M &&
	       start >= vma->start && start + level_bytes(LEVEL_2M) <= vma->end;
}

/* A page whose content is this process's alone. */
static bool owned(const struct host *host, pte_t page)
{
	const struct folio *folio;

	if (!pte_present(page) || pte_special(page))
		return false;
	folio = folio_of(host, pte_frame(page));
	return (atomic_read(&folio->flags) & (FOLIO_ANON | FOLIO_KSM)) == FOLIO_ANON &&
	       (pte_own(page) || atomic_read(&folio->refcount) == 1);
}

static bool one_folio(const struct collapse *collapse)
{
	pfn_t first = pte_frame(page_of(collapse, 0));

	if (first.raw & (level_pages(LEVEL_2M) - 1) ||
	    folio_order(collapse->space->host, first) < ORDER_2M)
		return false;
	for (unsigned i = 0; i < 512; i++)
		if (pte_frame(page_of(collapse, i)).raw != first.raw + i)
			return false;
	return true;
}

/* Linux: hpage_collapse_scan_pmd. */
static void look(struct space *space, struct collapse *collapse) HOLDS_SHARED(space->lock)
{
	const struct vma *vma = vma_find(space, collapse->start);

	collapse->verdict = NOTHING;
	collapse->table = table_find_at(space, collapse->start, LEVEL_2M);
	if (!wanted(vma, collapse->start) || collapse->table.level != LEVEL_2M ||
	    !pte_table(collapse->table.pte, LEVEL_2M))
		return;
	for (unsigned i = 0; i < 512; i++)
		if (!owned(space->host, page_of(collapse, i)))
			return;
	collapse->vma = *vma;
	collapse->verdict = one_folio(collapse) ? IN_PLACE : COPY;
}

/*
 * Of every page all references are entries. Linux: __collapse_huge_page_isolate,
 * is_refcount_suitable.
 */
static bool isolated(const struct collapse *collapse)
{
	struct host *host = collapse->space->host;

	for (unsigned i = 0; i < 512; i++) {
		pfn_t frame = pte_frame(page_of(collapse, i));

		trace_step(host->trace, TRACE_REF_TEST, frame.raw, 0);
		if (folio_refcount(host, frame) != folio_mapcount(host, frame))
			return false;
	}
	return true;
}

/* Linux: __collapse_huge_page_copy. */
static void copy_pages(const struct collapse *collapse)
{
	struct host *host = collapse->space->host;

	for (unsigned i = 0; i < 512; i++) {
		pfn_t from = pte_frame(page_of(collapse, i)), to = pfn_add(collapse->frame, i);

		trace_step(host->trace, TRACE_FOLIO_COPY, from.raw, to.raw);
		__builtin_memcpy(pfn_to_ptr(to), pfn_to_ptr(from), PAGE_SIZE);
	}
	folio_make_anon(host, collapse->frame, collapse->space->family,
			vma_page(&collapse->vma, collapse->start));
}

/* Used if a page was; dirty, since nothing else has its content. Linux: pmd_mkdirty there. */
static pte_t large_leaf(const struct collapse *collapse)
{
	pte_t leaf = pte_make_leaf(collapse->frame, LEVEL_2M, collapse->vma.protection);

	for (unsigned i = 0; i < 512; i++)
		leaf.bits |= page_of(collapse, i).bits & (PTE_A | PTE_SOFT);
	leaf.bits |= PTE_OWN | PTE_D;
	return leaf;
}

/* The reference to `frame` becomes the leaf's, if there is one. */
static bool collapse_locked(struct space *space, struct collapse *collapse) HOLDS(space->lock)
{
	uint64_t end = collapse->start + level_bytes(LEVEL_2M);
	struct gather gather = gather_begin(space);
	struct mm_range range = notifier_start(space, collapse->start, end, EVENT_CLEAR);

	table_detach(space, collapse->start, &collapse->table);
	notifier_end(space, &range);
	if (collapse->verdict == COPY && !isolated(collapse)) {
		table_attach(space, collapse->start, collapse->table);
		return false;
	}
	if (collapse->verdict == COPY)
		copy_pages(collapse);
	table_replace(space, collapse->start, collapse->table, large_leaf(collapse), &gather);
	if (collapse->verdict == COPY)
		lru_add(space->host, collapse->frame);
	gather_finish(&gather);
	return true;
}

/* What was found without the lock, or other pages of the same kind. */
static bool look_and_collapse(struct space *space, struct collapse *collapse)
{
	enum verdict before = collapse->verdict;
	bool done = false;

	write_lock(&space->lock);
	look(space, collapse);
	if (collapse->verdict == before) {
		if (before == IN_PLACE) {
			collapse->frame = pte_frame(page_of(collapse, 0));
			folio_get(space->host, collapse->frame);
		}
		done = collapse_locked(space, collapse);
	}
	write_unlock(&space->lock);
	return done;
}

static enum status collapse_one(struct space *space, uint64_t start, uint64_t *collapsed)
{
	struct collapse collapse = { .space = space, .start = start };
	enum status status = STATUS_OK;

	read_lock(&space->lock);
	look(space, &collapse);
	read_unlock(&space->lock);
	if (collapse.verdict == NOTHING)
		return STATUS_OK;
	if (collapse.verdict == COPY)
		status = folio_alloc(space->host, ORDER_2M, &collapse.frame);
	if (status != STATUS_OK)
		return status;

	enum verdict verdict = collapse.verdict;
	bool done = look_and_collapse(space, &collapse);

	*collapsed += done;
	if (!done && verdict == COPY)
		folio_put(space->host, collapse.frame);
	return STATUS_OK;
}

enum status space_collapse(struct space *space, hva_t start, uint64_t bytes, uint64_t *collapsed)
{
	const uint64_t step = level_bytes(LEVEL_2M);
	enum status status = space_check_range(start, bytes);

	*collapsed = 0;
	if (status != STATUS_OK)
		return status;
	for (uint64_t at = (start.raw + step - 1) & ~(step - 1);
	     status == STATUS_OK && at + step <= start.raw + bytes; at += step)
		status = collapse_one(space, at, collapsed);
	return status;
}
