/*
 * Address spaces and what a process asks of its own: map, unmap, protect, discard. The public face
 * of the rooms below (vma.c, table.c, gather.c, notifier.c). Every operation that takes something
 * away has one order, which is Linux's:
 *
 *	reserve all memory that can be needed	(may fail: nothing has changed)
 *	notifier_start				listeners let go
 *	entries change
 *	gather_finish				no CPU uses them; frames and tables are freed
 *	notifier_end
 *
 * Under space->lock, exclusively, from the first to the last.
 */
#include "mm/hugetlb.h"
#include "mm/tlb.h"

enum status space_check_range(hva_t start, uint64_t bytes)
{
	if (!bytes || (start.raw | bytes) & ~PAGE_MASK)
		return STATUS_BAD_RANGE;
	/* In this order, so that no sum wraps. */
	if (start.raw >= SPACE_END || bytes > SPACE_END - start.raw)
		return STATUS_BAD_RANGE;
	return STATUS_OK;
}

enum status space_create_in(struct host *host, uint32_t family, struct space **out)
{
	pfn_t frame;
	enum status status = folio_alloc_zeroed(host, ORDER_4K, &frame);

	if (status != STATUS_OK)
		return status;

	struct space *space = pfn_to_ptr(frame);

	space->host = host;
	space->family = family;
	list_init(&space->notifiers);
	status = table_create(space);
	if (status != STATUS_OK) {
		folio_put(host, frame);
		return status;
	}
	atomic_write(&space->users, 1);
	spin_lock(&host->spaces_lock);
	list_append(&host->spaces, &space->link);
	spin_unlock(&host->spaces_lock);
	*out = space;
	return STATUS_OK;
}

enum status space_create(struct host *host, struct space **out)
{
	return space_create_in(host, atomic_add(&host->families, 1), out);
}

/* Out of the list under its lock, so that nobody who walks it finds a space without users. */
void space_put(struct space *space)
{
	struct host *host = space->host;
	uint32_t users = atomic_read(&space->users);

	/* Only the last one must keep others from finding it. Linux: refcount_dec_and_lock. */
	while (users > 1)
		if (atomic_cmpxchg(&space->users, &users, users - 1))
			return;
	spin_lock(&host->spaces_lock);
	bool last = atomic_sub(&space->users, 1) == 1;

	if (last)
		list_remove(&space->link);
	spin_unlock(&host->spaces_lock);
	if (last)
		folio_put(host, ptr_to_pfn(space));
}

struct space *space_next(struct host *host, struct space *at)
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

/* Empties the range, inside a bracket: VMA after VMA, for what goes is marked as its VMA says. */
static void zap_vmas(struct space *space, uint64_t start, uint64_t end, struct gather *gather)
	HOLDS(space->lock)
{
	for (unsigned i = vma_search(space, start);
	     i < space->vma_count && space->vmas[i].start < end; i++) {
		const struct vma *vma = &space->vmas[i];

		uint64_t first = vma->start > start ? vma->start : start;
		uint64_t last = vma->end < end ? vma->end : end;

		if (vma->kind == VMA_POOLED)
			pool_unmapped(space, vma, first, last);
		gather->no_recency = vma->advice != ADVICE_NORMAL;
		table_zap(space, first, last, gather);
	}
}

/* Linux: exit_mmap. */
void space_destroy(struct space *space)
{
	struct gather gather = gather_begin(space);

	write_lock(&space->lock);
	notifier_release(space);
	zap_vmas(space, 0, SPACE_END, &gather);
	gather_finish(&gather);
	table_destroy(space);
	vma_free_all(space);
	write_unlock(&space->lock);
	space_put(space);
}

struct host *space_host(struct space *space)
{
	return space->host;
}

enum status space_insert(struct space *space, struct vma vma)
{
	enum status status = STATUS_EXISTS;

	if (!vma_any(space, vma.start, vma.end))
		status = vma_reserve(space);
	if (status == STATUS_OK)
		vma_insert(space, vma);
	return status;
}

static enum status insert(struct space *space, struct vma vma)
{
	write_lock(&space->lock);
	enum status status = space_insert(space, vma);

	write_unlock(&space->lock);
	return status;
}

enum status space_map(struct space *space, hva_t start, uint64_t bytes, enum protection protection,
		      unsigned max_level)
{
	enum status status = space_check_range(start, bytes);

	if (status != STATUS_OK)
		return status;
	if (max_level < LEVEL_4K || max_level > LEVEL_1G)
		return STATUS_BAD_RANGE;
	return insert(space, (struct vma){ .start = start.raw, .end = start.raw + bytes,
					   .protection = protection, .max_level = max_level,
					   .first = start.raw >> PAGE_SHIFT });
}

enum status space_map_file(struct space *space, hva_t start, uint64_t bytes,
			   enum protection protection, struct file *file, uint64_t first,
			   enum sharing sharing)
{
	enum status status = space_check_range(start, bytes);

	if (status != STATUS_OK)
		return status;
	if (first >= file->pages || bytes >> PAGE_SHIFT > file->pages - first)
		return STATUS_BAD_RANGE;
	return insert(space, (struct vma){ .start = start.raw, .end = start.raw + bytes,
					   .protection = protection, .max_level = LEVEL_4K,
					   .file = file, .first = first, .sharing = sharing });
}

enum status space_prepare(struct space *space, uint64_t start, uint64_t end)
{
	enum status status;

	if (!vma_may_cut(space, start) || !vma_may_cut(space, end))
		return STATUS_BAD_RANGE;
	status = vma_reserve(space);
	if (status == STATUS_OK)
		status = table_split(space, start);
	if (status == STATUS_OK)
		status = table_split(space, end);
	return status;
}

enum status space_advise(struct space *space, hva_t start, uint64_t bytes, enum advice advice)
{
	uint64_t end = start.raw + bytes;
	enum status status = space_check_range(start, bytes);

	if (status != STATUS_OK)
		return status;

	write_lock(&space->lock);
	status = vma_all(space, start.raw, end) ? space_prepare(space, start.raw, end)
						: STATUS_NOT_FOUND;
	if (status == STATUS_OK)
		vma_advise(space, start.raw, end, advice);
	write_unlock(&space->lock);
	return status;
}

void space_zap(struct space *space, uint64_t start, uint64_t end, enum mm_event event)
{
	struct gather gather = gather_begin(space);
	struct mm_range range = notifier_start(space, start, end, event);

	zap_vmas(space, start, end, &gather);
	gather_finish(&gather);
	notifier_end(space, &range);
}

/*
 * Linux: madvise_dontneed_free_valid_vma. Nothing would bring a named frame back; and a page of a
 * pool that somebody holds would be gone for the one who was promised it.
 */
static bool may_discard(const struct space *space, uint64_t start, uint64_t end)
	HOLDS_SHARED(space->lock)
{
	return !vma_any_kind(space, start, end, VMA_FRAMES) &&
	       !vma_any_kind(space, start, end, VMA_POOLED);
}

/* EVENT_UNMAP: the mapping goes too. EVENT_CLEAR: it stays, the next touch finds zeros. */
static enum status take_away(struct space *space, hva_t start, uint64_t bytes,
			     enum mm_event event)
{
	uint64_t end = start.raw + bytes;
	enum status status = space_check_range(start, bytes);

	if (status != STATUS_OK)
		return status;

	write_lock(&space->lock);
	if (event == EVENT_CLEAR && !may_discard(space, start.raw, end)) {
		status = STATUS_BAD_RANGE;
	} else if (vma_any(space, start.raw, end)) {
		status = space_prepare(space, start.raw, end);
		if (status == STATUS_OK) {
			space_zap(space, start.raw, end, event);
			if (event == EVENT_UNMAP)
				vma_remove(space, start.raw, end);
		}
	}
	write_unlock(&space->lock);
	return status;
}

enum status space_unmap(struct space *space, hva_t start, uint64_t bytes)
{
	return take_away(space, start, bytes, EVENT_UNMAP);
}

enum status space_discard(struct space *space, hva_t start, uint64_t bytes)
{
	return take_away(space, start, bytes, EVENT_CLEAR);
}

static void change_rights(struct space *space, uint64_t start, uint64_t end,
			  enum protection protection) HOLDS(space->lock)
{
	struct gather gather = gather_begin(space);
	struct mm_range range = notifier_start(space, start, end, EVENT_PROTECTION_VMA);

	table_protect(space, start, end, protection, &gather);
	gather_finish(&gather);
	tlb_flush(space, start);
	vma_protect(space, start, end, protection);
	notifier_end(space, &range);
}

enum status space_protect(struct space *space, hva_t start, uint64_t bytes,
			  enum protection protection)
{
	uint64_t end = start.raw + bytes;
	enum status status = space_check_range(start, bytes);

	if (status != STATUS_OK)
		return status;

	write_lock(&space->lock);
	status = vma_all(space, start.raw, end) ? space_prepare(space, start.raw, end)
						: STATUS_NOT_FOUND;
	if (status == STATUS_OK)
		change_rights(space, start.raw, end, protection);
	write_unlock(&space->lock);
	return status;
}

enum status space_split(struct space *space, hva_t start, uint64_t bytes)
{
	enum status status = space_check_range(start, bytes);

	if (status != STATUS_OK)
		return status;

	write_lock(&space->lock);
	status = table_split_all(space, start.raw, start.raw + bytes);
	write_unlock(&space->lock);
	return status;
}

enum status space_invalidate(struct space *space, hva_t start, uint64_t bytes)
{
	enum status status = space_check_range(start, bytes);

	if (status != STATUS_OK)
		return status;

	/* Shared, as Linux's NUMA balancing holds mmap_lock: brackets overlap, lookups go on. */
	read_lock(&space->lock);
	struct mm_range range = notifier_start(space, start.raw, start.raw + bytes,
					       EVENT_PROTECTION_VMA);

	notifier_end(space, &range);
	read_unlock(&space->lock);
	return STATUS_OK;
}
