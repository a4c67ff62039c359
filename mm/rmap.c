/*
 * From a folio to the entries that name it, space after space. Called with the folio locked, so
 * that no fault maps it meanwhile, and no other lock.
 *
 * A file's folio and its VMAs agree in the file and the page's number there. An anonymous one was
 * made for a family of processes (those that have forked from each other), and its number in the
 * family is the one that its VMA had for it: fork copies the VMA, mremap moves it, and the number
 * goes with it. Linux finds the VMAs in trees (i_mmap, anon_vma: rmap_walk_file, rmap_walk_anon);
 * here all spaces of the host and all their VMAs are looked through.
 *
 * A space's struct is kept alive by `users` while its lock is waited for; one that ends meanwhile
 * has no VMAs any more.
 */
#include "mm/file.h"
#include "mm/rmap.h"
#include "mm/swap.h"
#include "mm/tlb.h"

/* What a walk looks for. The folio is locked, so none of it changes. */
struct target {
	pfn_t head;
	uint64_t pages;
	uint32_t number;
	uint32_t family;		/* NO_FRAME, which no space has: it is not anonymous */
	const struct file *file;
};

static inline struct target target_of(const struct host *host, struct block block)
{
	const struct folio *folio = block.folio;
	uint32_t flags = atomic_read(&folio->flags);

	return (struct target){
		.head = block.head,
		.pages = UINT64_C(1) << (flags & FOLIO_ORDER),
		.number = folio_number(host, folio),
		.family = flags & FOLIO_ANON ? folio->family : NO_FRAME,
		.file = folio_file(folio),
	};
}

static bool visit_leaf(struct space *space, uint64_t start, struct place place,
		       const struct target *target, const struct rmap *rmap) HOLDS(space->lock)
{
	uint64_t inside = pte_frame(place.pte).raw - target->head.raw;

	return pte_special(place.pte) || inside >= target->pages ||
	       rmap->visit(space, start, place, rmap->argument);
}

/* Calls `visit` for the leaves of [start, end) that name the folio: most often that is a page. */
static bool visit_range(struct space *space, uint64_t start, uint64_t end,
			const struct target *target, const struct rmap *rmap) HOLDS(space->lock)
{
	struct walk walk = { .at = start, .end = end };

	if (target->pages == 1) {
		struct place place = tlb_find(space, start);

		return place.level != LEVEL_4K || !pte_leaf(place.pte, LEVEL_4K) ||
		       visit_leaf(space, start, place, target, rmap);
	}
	while (walk_next(space, &walk))
		if (!visit_leaf(space, walk.start, walk.place, target, rmap))
			return false;
	return true;
}

/*
 * The pages of the VMA that have the folio's numbers. A folio may begin before the VMA or end after
 * it. A number is kept in 32 bits, so a VMA of more than 16 TiB has several candidates: an entry
 * decides.
 */
static bool visit_vma(struct space *space, const struct vma *vma, const struct target *target,
		      const struct rmap *rmap) HOLDS(space->lock)
{
	const int64_t turn = INT64_C(1) << 32;
	int64_t pages = (int64_t)((vma->end - vma->start) >> PAGE_SHIFT);
	int64_t at = (uint32_t)(target->number - (uint32_t)vma->first);

	if (at + (int64_t)target->pages > turn)
		at -= turn;
	for (; at < pages; at += turn) {
		int64_t first = at > 0 ? at : 0, last = at + (int64_t)target->pages;

		if (last > pages)
			last = pages;
		if (!visit_range(space, vma->start + ((uint64_t)first << PAGE_SHIFT),
				 vma->start + ((uint64_t)last << PAGE_SHIFT), target, rmap))
			return false;
	}
	return true;
}

static bool may_show(const struct space *space, const struct vma *vma, const struct target *target)
{
	if (vma->kind != VMA_PAGED)
		return false;
	if (target->file)
		return vma->file == target->file;
	return space->family == target->family &&
	       (!vma->file || vma->sharing == SHARING_PRIVATE);
}

static bool visit_space(struct space *space, const struct target *target, const struct rmap *rmap)
	HOLDS(space->lock)
{
	for (unsigned i = 0; i < space->vma_count; i++)
		if (may_show(space, &space->vmas[i], target) &&
		    !visit_vma(space, &space->vmas[i], target, rmap))
			return false;
	return true;
}

void rmap_walk(struct host *host, pfn_t frame, struct rmap rmap)
{
	struct block block = page_block(host, frame);
	const struct target target = target_of(host, block);

	check(atomic_read(&block.folio->flags) & FOLIO_LOCKED);
	for (struct space *space = NULL; (space = space_next(host, space));) {
		write_lock(&space->lock);
		bool on = visit_space(space, &target, &rmap);

		write_unlock(&space->lock);
		if (!on) {
			space_put(space);
			return;
		}
	}
}

/* The part of a VMA that shows some of the file's pages [first, end), if any. */
static bool visit_part(struct space *space, const struct vma *vma, uint64_t first, uint64_t end,
		       const struct rmap_part *part) HOLDS(space->lock)
{
	uint64_t low = vma->first, high = vma_page(vma, vma->end);

	if (first > low)
		low = first;
	if (end < high)
		high = end;
	return low >= high ||
	       part->visit(space, vma, vma->start + ((low - vma->first) << PAGE_SHIFT),
			   vma->start + ((high - vma->first) << PAGE_SHIFT), part->argument);
}

static bool visit_parts(struct space *space, const struct file *file, uint64_t first, uint64_t end,
			const struct rmap_part *part) HOLDS(space->lock)
{
	for (unsigned i = 0; i < space->vma_count; i++)
		if (space->vmas[i].file == file &&
		    !visit_part(space, &space->vmas[i], first, end, part))
			return false;
	return true;
}

void rmap_walk_mapping(struct file *file, uint64_t first, uint64_t pages, struct rmap_part part)
{
	for (struct space *space = NULL; (space = space_next(file->host, space));) {
		write_lock(&space->lock);
		bool on = visit_parts(space, file, first, first + pages, &part);

		write_unlock(&space->lock);
		if (!on) {
			space_put(space);
			return;
		}
	}
}

/* ------------------------------------------------------------------ all at once */

static bool find_one(struct space *space, uint64_t address, struct place place, void *argument)
{
	bool *found = argument;

	(void)space;
	(void)address;
	(void)place;
	*found = true;
	return false;
}

bool rmap_lock_all(struct host *host, pfn_t frame, struct rmap_spaces *out) NOT_CHECKED
{
	pfn_t head = page_head(host, frame);

	check(folio_is_locked(host, frame));
	out->count = 0;
	for (struct space *space = NULL; (space = space_next(host, space));) {
		bool found = false;

		write_lock(&space->lock);
		rmap_visit(space, head, (struct rmap){ find_one, &found });
		if (found && out->count < RMAP_SPACES) {
			atomic_add(&space->users, 1);
			out->at[out->count++] = space;
			continue;
		}
		write_unlock(&space->lock);
		if (found) {
			space_put(space);
			rmap_unlock_all(out);
			return false;
		}
	}
	return true;
}

void rmap_unlock_all(struct rmap_spaces *spaces) NOT_CHECKED
{
	while (spaces->count) {
		struct space *space = spaces->at[--spaces->count];

		write_unlock(&space->lock);
		space_put(space);
	}
}

void rmap_visit(struct space *space, pfn_t head, struct rmap rmap)
{
	const struct target target = target_of(space->host, page_block(space->host, head));

	(void)visit_space(space, &target, &rmap);
}

/* ------------------------------------------------------------------ clean, and read-only */

/*
 * Linux: page_vma_mkclean_one. W goes with D: the next store faults, and marks the folio dirty
 * again. What a listener allows goes first, so that nobody writes behind a clean entry.
 */
static bool mkclean_one(struct space *space, uint64_t address, struct place place, void *argument)
	HOLDS(space->lock)
{
	bool *was_dirty = argument;

	if (!pte_dirty(place.pte) && !pte_writable(place.pte))
		return true;
	uint64_t end = address + level_bytes(place.level);
	struct gather gather = gather_begin(space);
	struct mm_range range = notifier_start(space, address, end, mkclean_event(space->host));
	pte_t was = table_take_bits(space, address, place, PTE_D | PTE_W, &gather);

	/*
	 * Until then a CPU may store by what it knew of W, and where it knew of D, without a word.
	 */
	gather_flush(&gather, address);
	*was_dirty |= pte_dirty(was);
	notifier_end(space, &range);
	return true;
}

bool rmap_mkclean(struct host *host, pfn_t frame)
{
	bool was_dirty = false;

	/* Locked, it gets no entry either. */
	if (!folio_mapcount(host, frame))
		return false;
	rmap_walk(host, frame, (struct rmap){ mkclean_one, &was_dirty });
	return was_dirty;
}
