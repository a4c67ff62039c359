/*
 * Page faults of a process. Called by lookup.c without a lock, when a walk found nothing that
 * allows the access. Linux: handle_pte_fault, and here as there what comes is decided by what is
 * there:
 *
 *	nothing, anonymous VMA		demand zero	do_anonymous_page
 *	nothing, a file's VMA		file_fault	do_read_fault, do_cow_fault, do_shared_fault
 *	a leaf without W, for a write	write_fault	do_wp_page: reuse, share, or copy
 *	a leaf without P		numa.c		do_numa_page
 *	a page lent to a device		exclusive.c	remove_device_exclusive_entry
 *	a swap entry			swap_fault	do_swap_page (swap.c)
 *
 * What takes long (allocating, zeroing, copying, input) happens before space->lock is taken to
 * install; what was found first is looked at again under the lock, and if it has changed the fault
 * ends without a trace: whoever asked walks again.
 */
#include "mm/fault.h"
#include "mm/reclaim.h"
#include "mm/replace.h"
#include "mm/swap.h"

static enum status look(struct space *space, struct fault *fault) HOLDS_SHARED(space->lock)
{
	enum status status = vma_check_access(space, fault->address, fault->access);

	if (status == STATUS_OK) {
		fault->vma = *vma_find(space, fault->address);
		fault->place = table_find(space, fault->address);
		fault->of_file = pte_leaf(fault->place.pte, fault->place.level) &&
				 !pte_special(fault->place.pte) &&
				 file_of(space->host, pte_frame(fault->place.pte));
	}
	return status;
}

/* The same but for what the CPU sets; a hole may have grown or shrunk. */
static bool same_place(struct place a, struct place b)
{
	return !((a.pte.bits ^ b.pte.bits) & ~(PTE_A | PTE_D)) &&
	       (pte_is_empty(a.pte) || a.slot == b.slot);
}

bool fault_still(struct space *space, const struct fault *fault)
{
	struct fault now = { .address = fault->address, .access = fault->access };

	return look(space, &now) == STATUS_OK && now.vma.kind == fault->vma.kind &&
	       now.vma.file == fault->vma.file &&
	       now.vma.sharing == fault->vma.sharing &&
	       vma_page(&now.vma, now.address) == vma_page(&fault->vma, fault->address) &&
	       same_place(now.place, fault->place);
}

/* The reference that the caller has to the leaf's frame becomes the entry's. */
static enum status install(struct space *space, const struct fault *fault, pte_t leaf,
			   unsigned level) HOLDS(space->lock)
{
	pte_slot_t *slot = table_make(space, fault->address, level);

	if (!slot)
		return STATUS_NO_MEMORY;

	struct gather gather = gather_begin(space);

	table_change(space, fault->address, (struct place){ slot, pte_empty(), level },
		     pte_touched(leaf, fault->access), CONTENT_STAYS, &gather);
	if (atomic_read(&page_known(space->host, pte_frame(leaf))->flags) & FOLIO_ANON)
		lru_add(space->host, pte_frame(leaf));
	return STATUS_OK;
}

/* The leaf for a folio that becomes the space's own: nobody else has seen it. */
static pte_t own_leaf(struct space *space, const struct fault *fault, pfn_t frame, unsigned level,
		      enum protection protection)
{
	uint64_t start = fault->address & ~(level_bytes(level) - 1);

	folio_make_anon(space->host, frame, space->family, vma_page(&fault->vma, start));
	return (pte_t){ pte_make_leaf(frame, level, protection).bits | PTE_OWN | PTE_SOFT };
}

enum status fault_install(struct space *space, const struct fault *fault, pte_t leaf,
			  unsigned level, bool *installed)
{
	enum status status = STATUS_OK;

	write_lock(&space->lock);
	if (fault_still(space, fault)) {
		status = install(space, fault, leaf, level);
		*installed = status == STATUS_OK;
	}
	write_unlock(&space->lock);
	return status;
}

/* ------------------------------------------------------------------ demand zero */

/*
 * The level of the leaf that can go in: the largest that the VMA wants, that lies inside it and
 * where the tables have nothing yet. 0: somebody's page is there already.
 */
static unsigned level_wanted(const struct fault *fault)
{
	const struct vma *vma = &fault->vma;
	unsigned level = fault->place.level < vma->max_level ? fault->place.level
							      : vma->max_level;

	if (!pte_is_empty(fault->place.pte))
		return 0;
	for (; level > LEVEL_4K; level--) {
		uint64_t start = fault->address & ~(level_bytes(level) - 1);

		if (start >= vma->start && start + level_bytes(level) <= vma->end)
			break;
	}
	return level;
}

/* A folio for a leaf of that level or, where the buddy has none, a lower one. Returns the level. */
static unsigned alloc_largest(struct host *host, unsigned level, pfn_t *frame)
{
	while (level && folio_alloc_zeroed(host, level_order(level), frame) != STATUS_OK)
		level--;
	return level;
}

static enum status zero_fault(struct space *space, struct fault *fault)
{
	unsigned level = level_wanted(fault);
	bool installed = false;
	pfn_t frame;

	if (!level)
		return STATUS_OK;
	level = alloc_largest(space->host, level, &frame);
	if (!level)
		return STATUS_NO_MEMORY;

	write_lock(&space->lock);
	enum status status = look(space, fault);

	if (status == STATUS_OK && !fault->vma.file && level_wanted(fault) >= level) {
		status = install(space, fault,
				 own_leaf(space, fault, frame, level, fault->vma.protection),
				 level);
		installed = status == STATUS_OK;
	}
	write_unlock(&space->lock);
	if (!installed)
		folio_put(space->host, frame);
	return status;
}

/* ------------------------------------------------------------------ a file's page */

/*
 * The file's page itself: read-only, unless a shared store comes with it. Linux: do_shared_fault.
 */
static enum status map_file_page(struct space *space, const struct fault *fault, pfn_t frame)
{
	bool shared_store = fault_is_write(fault), installed = false;
	enum protection protection = shared_store ? PROTECTION_READ_WRITE : PROTECTION_READ;
	enum status status;

	folio_get(space->host, frame);
	status = fault_install(space, fault, pte_make_leaf(frame, LEVEL_4K, protection), LEVEL_4K,
			       &installed);
	if (!installed)
		folio_put(space->host, frame);
	else if (shared_store)
		folio_mark_dirty(space->host, frame);
	return status;
}

/* A copy of the process's own. Linux: do_cow_fault. */
static enum status map_copy(struct space *space, const struct fault *fault, pfn_t frame)
{
	bool installed = false;
	pfn_t copy;
	enum status status = folio_alloc(space->host, ORDER_4K, &copy);

	if (status != STATUS_OK)
		return status;
	atomic_copy(pfn_to_ptr(copy), pfn_to_ptr(frame), PAGE_SIZE);
	trace_step(space->host->trace, TRACE_FOLIO_COPY, frame.raw, copy.raw);
	status = fault_install(space, fault,
			       own_leaf(space, fault, copy, LEVEL_4K, PROTECTION_READ_WRITE),
			       LEVEL_4K, &installed);
	if (!installed)
		folio_put(space->host, copy);
	return status;
}

static enum status file_fault(struct space *space, const struct fault *fault)
{
	struct host *host = space->host;
	pfn_t frame;
	enum status status = file_get_folio(fault->vma.file, vma_page(&fault->vma, fault->address),
					    &frame);

	if (status != STATUS_OK)
		return status;
	if (fault_is_write(fault) && fault->vma.sharing == SHARING_PRIVATE)
		status = map_copy(space, fault, frame);
	else
		status = map_file_page(space, fault, frame);
	folio_unlock(host, frame);
	folio_put(host, frame);
	return status;
}

/* ------------------------------------------------------------------ a page without W */

/* W and D where the page stands: rights only grow, so no listener is told. Linux: wp_page_reuse. */
static void allow_write(struct space *space, const struct fault *fault, uint64_t own)
	HOLDS(space->lock)
{
	uint64_t was = atomic_or(fault->place.slot, PTE_W | PTE_SOFT | PTE_A | PTE_D | own);

	trace_step(space->host->trace, TRACE_PTE_PROTECT, fault->address, was | PTE_W | PTE_D);
}

/* Linux: wp_page_shared. The folio's lock keeps writeback out until the folio is marked. */
static void share(struct space *space, const struct fault *fault, pfn_t frame)
{
	bool allowed;

	folio_lock(space->host, frame);
	write_lock(&space->lock);
	allowed = fault_still(space, fault);
	if (allowed)
		allow_write(space, fault, 0);
	write_unlock(&space->lock);
	if (allowed)
		folio_mark_dirty(space->host, frame);
	folio_unlock(space->host, frame);
}

/* The copy goes in where the other stood. Linux: wp_page_copy. */
static void exchange(struct space *space, const struct fault *fault, pfn_t copy) HOLDS(space->lock)
{
	pte_t leaf = own_leaf(space, fault, copy, LEVEL_4K, PROTECTION_READ_WRITE);

	page_replace(space, fault->address & PAGE_MASK, fault->place,
		     pte_touched(leaf, fault->access), EVENT_CLEAR);
	lru_add(space->host, copy);
}

static enum status copy_on_write(struct space *space, const struct fault *fault, pfn_t frame)
{
	bool exchanged = false;
	pfn_t copy;
	enum status status = folio_alloc(space->host, ORDER_4K, &copy);

	if (status != STATUS_OK)
		return status;
	atomic_copy(pfn_to_ptr(copy), pfn_to_ptr(frame), PAGE_SIZE);
	trace_step(space->host->trace, TRACE_FOLIO_COPY, frame.raw, copy.raw);
	write_lock(&space->lock);
	if (fault_still(space, fault)) {
		exchange(space, fault, copy);
		exchanged = true;
	}
	write_unlock(&space->lock);
	if (!exchanged)
		folio_put(space->host, copy);
	return STATUS_OK;
}

/*
 * Of an anonymous page: nobody else has it, so it may be written where it is. One reference is this
 * entry's; the swap cache's is given up if that is all that is left. Linux: PageAnonExclusive,
 * wp_can_reuse_anon_folio.
 */
static bool sole_owner(struct space *space, const struct fault *fault) HOLDS(space->lock)
{
	struct host *host = space->host;
	pfn_t frame = pte_frame(fault->place.pte);
	const struct folio *folio = folio_of(host, frame);
	uint32_t flags = atomic_read(&folio->flags);

	if (pte_own(fault->place.pte))
		return true;
	if (flags & FOLIO_KSM)
		return false;
	if (flags & FOLIO_SWAPCACHE && atomic_read(&folio->refcount) == 2 &&
	    folio_trylock(host, frame)) {
		swap_forget(host, frame);
		folio_unlock(host, frame);
	}
	return atomic_read(&folio->refcount) == 1;
}

/* What there is to do about a leaf without W, judged under the lock. */
enum remedy {
	REMEDY_NONE,			/* it has changed meanwhile, or it was enough to allow */
	REMEDY_SHARE,			/* tell the file */
	REMEDY_COPY,
};

/* For the last two: *frame is the page of the address, with a reference for us. */
static enum remedy judge(struct space *space, const struct fault *fault, pfn_t *frame,
			 enum status *status) HOLDS(space->lock)
{
	uint64_t inside = fault->address & (level_bytes(fault->place.level) - 1);

	*status = STATUS_OK;
	if (!fault_still(space, fault))
		return REMEDY_NONE;
	if (!fault->of_file && sole_owner(space, fault)) {
		allow_write(space, fault, PTE_OWN);
		return REMEDY_NONE;
	}
	if (fault->place.level > LEVEL_4K) {
		/* The border inside its pair of pages: then no larger leaf is left there. */
		*status = table_split(space, (fault->address & PAGE_MASK) | PAGE_SIZE);
		return REMEDY_NONE;
	}
	*frame = pfn_add(pte_frame(fault->place.pte), inside >> PAGE_SHIFT);
	folio_get(space->host, *frame);
	return fault->of_file && fault->vma.sharing == SHARING_SHARED ? REMEDY_SHARE : REMEDY_COPY;
}

static enum status write_fault(struct space *space, const struct fault *fault)
{
	enum status status;
	pfn_t frame;

	write_lock(&space->lock);
	enum remedy remedy = judge(space, fault, &frame, &status);

	write_unlock(&space->lock);
	if (remedy == REMEDY_NONE)
		return status;
	if (remedy == REMEDY_SHARE)
		share(space, fault, frame);
	else
		status = copy_on_write(space, fault, frame);
	folio_put(space->host, frame);
	return status;
}

/* ------------------------------------------------------------------ which */

static enum status handle(struct space *space, uint64_t address, enum access access)
{
	struct fault fault = { .address = address, .access = access };

	host_count(space->host, HOST_FAULTS, 1);
	read_lock(&space->lock);
	enum status status = look(space, &fault);
	read_unlock(&space->lock);

	if (status != STATUS_OK || place_allows(fault.place, access))
		return status;
	if (leaf_is_hinted(fault.place))
		return hint_fault(space, address);
	if (pte_is_only(fault.place.pte))
		return exclusive_fault(space, address);
	if (pte_leaf(fault.place.pte, fault.place.level))
		return write_fault(space, &fault);
	if (pte_is_swap(fault.place.pte))
		return swap_fault(space, &fault);
	switch (fault.vma.kind) {
	case VMA_PAGED: break;
	case VMA_POOLED: return pool_fault(space, &fault);
	case VMA_SECRET: return secret_fault(space, &fault);
	case VMA_FRAMES: return STATUS_NOT_FOUND;	/* Linux: SIGBUS */
	}
	return fault.vma.file ? file_fault(space, &fault) : zero_fault(space, &fault);
}

/* Nothing is held by now, neither locks nor a folio: reclaim may write, and wait. */
enum status fault_in(struct space *space, uint64_t address, enum access access)
{
	enum status status;

	do {
		status = handle(space, address, access);
	} while (status == STATUS_NO_MEMORY && reclaim_for(space, address));
	return status;
}
