/*
 * Page faults of a process. Called by lookup.c without a lock, when a walk found nothing that allows
 * the access. Linux: handle_pte_fault, and here as there what comes is decided by what is there:
 *
 *	nothing, anonymous VMA		demand zero	do_anonymous_page
 *	nothing, a file's VMA		file_fault	do_read_fault, do_cow_fault, do_shared_fault
 *	a leaf without W, for a write	write_fault	do_wp_page: reuse, share, or copy
 *
 * What takes long (allocating, zeroing, copying, input) happens before space->lock is taken to
 * install; what was found first is looked at again under the lock, and if it has changed the fault
 * ends without a trace: whoever asked walks again.
 */
#include "mm/space.h"

struct fault {
	uint64_t address;
	enum access access;
	struct vma vma;			/* copies of what was found */
	struct place place;
	bool of_file;			/* the page there, if there is one, is a file's */
};

static bool is_write(const struct fault *fault) { return fault->access & ACCESS_WRITE; }

static uint64_t page_of_file(const struct fault *fault)
{
	return fault->vma.first + ((fault->address - fault->vma.start) >> PAGE_SHIFT);
}

static enum status look(struct space *space, struct fault *fault) HOLDS_SHARED(space->lock)
{
	enum status status = vma_check_access(space, fault->address, fault->access);

	if (status == STATUS_OK) {
		fault->vma = *vma_find(space, fault->address);
		fault->place = table_find(space, fault->address);
		fault->of_file = pte_leaf(fault->place.pte, fault->place.level) &&
				 file_of(space->host, pte_frame(fault->place.pte));
	}
	return status;
}

/* Whether it is all as it was when the fault looked: under the lock again. */
static bool still(struct space *space, const struct fault *fault) HOLDS(space->lock)
{
	struct fault now = { .address = fault->address, .access = fault->access };

	return look(space, &now) == STATUS_OK && now.vma.file == fault->vma.file &&
	       now.vma.sharing == fault->vma.sharing &&
	       (!now.vma.file || page_of_file(&now) == page_of_file(fault)) &&
	       pte_leaf(now.place.pte, now.place.level) ==
		       pte_leaf(fault->place.pte, fault->place.level) &&
	       (!pte_leaf(now.place.pte, now.place.level) ||
		(now.place.slot == fault->place.slot &&
		 pte_frame(now.place.pte).raw == pte_frame(fault->place.pte).raw &&
		 pte_writable(now.place.pte) == pte_writable(fault->place.pte)));
}

/* The reference that the caller has to the frame becomes the entry's. */
static enum status install(struct space *space, const struct fault *fault, pfn_t frame,
			   unsigned level, enum protection protection) HOLDS(space->lock)
{
	pte_slot_t *slot = table_make(space, fault->address, level);

	if (!slot)
		return STATUS_NO_MEMORY;

	pte_t leaf = pte_touched(pte_make_leaf(frame, level, protection), fault->access);
	struct gather gather = gather_begin(space->host);

	table_change(space, fault->address, (struct place){ slot, pte_empty(), level }, leaf,
		     CONTENT_STAYS, &gather);
	return STATUS_OK;
}

/* A page of 4 KiB where nothing was. *installed: the reference is gone. */
static enum status install_page(struct space *space, const struct fault *fault, pfn_t frame,
				enum protection protection, bool *installed)
{
	enum status status = STATUS_OK;

	write_lock(&space->lock);
	if (still(space, fault)) {
		status = install(space, fault, frame, LEVEL_4K, protection);
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
		status = install(space, fault, frame, level, fault->vma.protection);
		installed = status == STATUS_OK;
	}
	write_unlock(&space->lock);
	if (!installed)
		folio_put(space->host, frame);
	return status;
}

/* ------------------------------------------------------------------ a file's page */

/* The file's page itself: read-only, unless a shared store comes with it. Linux: do_shared_fault. */
static enum status map_file_page(struct space *space, const struct fault *fault, pfn_t frame)
{
	bool shared_store = is_write(fault), installed = false;
	enum status status;

	folio_get(space->host, frame);
	status = install_page(space, fault, frame,
			      shared_store ? PROTECTION_READ_WRITE : PROTECTION_READ, &installed);
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
	status = install_page(space, fault, copy, PROTECTION_READ_WRITE, &installed);
	if (!installed)
		folio_put(space->host, copy);
	return status;
}

static enum status file_fault(struct space *space, const struct fault *fault)
{
	struct host *host = space->host;
	pfn_t frame;
	enum status status = file_get_folio(fault->vma.file, page_of_file(fault), &frame);

	if (status != STATUS_OK)
		return status;
	if (is_write(fault) && fault->vma.sharing == SHARING_PRIVATE)
		status = map_copy(space, fault, frame);
	else
		status = map_file_page(space, fault, frame);
	folio_unlock(host, frame);
	folio_put(host, frame);
	return status;
}

/* ------------------------------------------------------------------ a page without W */

/* W and D where the page stands: rights only grow, so no listener is told. Linux: wp_page_reuse. */
static void allow_write(struct place place)
{
	atomic_or(place.slot, PTE_W | PTE_A | PTE_D);
}

/* Linux: wp_page_shared. The folio's lock keeps writeback out until the folio is marked. */
static void share(struct space *space, const struct fault *fault, pfn_t frame)
{
	bool allowed;

	folio_lock(space->host, frame);
	write_lock(&space->lock);
	allowed = still(space, fault);
	if (allowed)
		allow_write(fault->place);
	write_unlock(&space->lock);
	if (allowed)
		folio_mark_dirty(space->host, frame);
	folio_unlock(space->host, frame);
}

/*
 * The copy goes in where the other stood: listeners first, since they may be reading there.
 * Linux: wp_page_copy.
 */
static void exchange(struct space *space, const struct fault *fault, pfn_t copy) HOLDS(space->lock)
{
	uint64_t start = fault->address & PAGE_MASK;
	struct gather gather = gather_begin(space->host);
	struct mm_range range = notifier_start(space, start, start + PAGE_SIZE, EVENT_CLEAR);
	pte_t leaf = pte_touched(pte_make_leaf(copy, LEVEL_4K, PROTECTION_READ_WRITE),
				 fault->access);

	table_change(space, start, fault->place, leaf, CONTENT_STAYS, &gather);
	gather_finish(&gather);
	notifier_end(space, &range);
}

static enum status copy_on_write(struct space *space, const struct fault *fault, pfn_t frame)
{
	bool exchanged = false;
	pfn_t copy;
	enum status status = folio_alloc(space->host, ORDER_4K, &copy);

	if (status != STATUS_OK)
		return status;
	atomic_copy(pfn_to_ptr(copy), pfn_to_ptr(frame), PAGE_SIZE);
	write_lock(&space->lock);
	if (still(space, fault)) {
		exchange(space, fault, copy);
		exchanged = true;
	}
	write_unlock(&space->lock);
	if (!exchanged)
		folio_put(space->host, copy);
	return STATUS_OK;
}

/* The folio that the entry names, with a reference for us; false: it has changed meanwhile. */
static bool get_mapped(struct space *space, const struct fault *fault, pfn_t *frame)
{
	bool found;

	write_lock(&space->lock);
	found = still(space, fault);
	*frame = pte_frame(fault->place.pte);
	if (found)
		folio_get(space->host, *frame);
	write_unlock(&space->lock);
	return found;
}

/* An anonymous page: no other process has it. */
static void reuse(struct space *space, const struct fault *fault)
{
	write_lock(&space->lock);
	if (still(space, fault))
		allow_write(fault->place);
	write_unlock(&space->lock);
}

static enum status write_fault(struct space *space, const struct fault *fault)
{
	enum status status = STATUS_OK;
	pfn_t frame;

	if (!fault->of_file) {
		reuse(space, fault);
		return STATUS_OK;
	}
	if (!get_mapped(space, fault, &frame))
		return STATUS_OK;
	if (fault->vma.sharing == SHARING_SHARED)
		share(space, fault, frame);
	else
		status = copy_on_write(space, fault, frame);
	folio_put(space->host, frame);
	return status;
}

/* ------------------------------------------------------------------ which */

enum status fault_in(struct space *space, uint64_t address, enum access access)
{
	struct fault fault = { .address = address, .access = access };

	read_lock(&space->lock);
	enum status status = look(space, &fault);
	read_unlock(&space->lock);

	if (status != STATUS_OK || place_allows(fault.place, access))
		return status;
	if (pte_leaf(fault.place.pte, fault.place.level))
		return write_fault(space, &fault);
	return fault.vma.file ? file_fault(space, &fault) : zero_fault(space, &fault);
}
