/*
 * NUMA hinting: pages lose their rights, so that their next use, by a CPU or by a secondary MMU's
 * lookup, is a fault that says where it comes from. Called by tasks (space_scan) and by fault.c;
 * takes space->lock.
 *
 *   hint                                    a fault, or mm_lookup
 *   ----                                    ---------------------
 *   for each part of the VMA:
 *     notifier_start                        finds no P: waits for the lock
 *     P and W go from its leaves
 *     notifier_end                          (secondaries ask again, and get as far as the lock)
 *   tlb_flush, once
 *   unlock                                  P again, W if no other fault is due; maybe elsewhere
 *
 * The flush comes after the brackets' ends, for all parts together: until then a CPU may use what
 * it knew, but nobody has given up a frame, or judged one, and the lock keeps it so. What
 * secondaries pay is the other way round: a shootdown for each bracket. Linux:
 * change_protection_range, do_numa_page.
 */
#include "mm/file.h"
#include "mm/tlb.h"

/* ------------------------------------------------------------------ nodes */

void host_set_nodes(struct host *host, unsigned nodes)
{
	uint64_t huge = level_pages(LEVEL_2M), last = host->section_count - 1;
	uint64_t end = (last << SECTION_SHIFT) + host->sections[last].first +
		       host->sections[last].count;

	check(nodes);
	host->nodes = nodes;
	host->node_frames = (end / nodes + huge - 1) / huge * huge;
}

unsigned host_node(const struct host *host, pfn_t frame)
{
	if (host->nodes < 2)
		return 0;

	uint64_t node = frame.raw / host->node_frames;

	return (unsigned)(node < host->nodes ? node : host->nodes - 1);
}

static unsigned this_node(const struct host *host)
{
	return host->nodes < 2 ? 0 : port_cpu() % host->nodes;
}

static bool alloc_here(struct host *host, pfn_t *out)
{
	unsigned node = this_node(host);
	uint64_t first = node * host->node_frames;
	uint64_t end = node + 1 < host->nodes ? first + host->node_frames : NO_FRAME;

	return folio_alloc_within(host, pfn(first), pfn(end), out) == STATUS_OK;
}

/* ------------------------------------------------------------------ taking the rights */

/*
 * Where nothing is allowed, a page that waits could not be told from one that nobody may use.
 * Linux: vma_migratable, and no hugetlb.
 */
static bool may_hint(const struct vma *vma)
{
	if (vma->kind != VMA_PAGED)
		return false;
	return vma->protection != PROTECTION_NONE;
}

/* Linux: what change_pte_range passes over for MM_CP_PROT_NUMA. */
static bool worth_hinting(const struct space *space, const struct vma *vma, struct place place)
{
	if (!pte_present(place.pte) || pte_special(place.pte))
		return false;

	const struct folio *folio = folio_of(space->host, pte_frame(place.pte));
	uint32_t flags = atomic_read(&folio->flags);

	if (flags & FOLIO_KSM || (!(flags & FOLIO_ANON) && flags & FOLIO_DIRTY))
		return false;
	return vma->sharing == SHARING_SHARED || pte_own(place.pte) ||
	       atomic_read(&folio->mapcount) == 1;
}

/* Inside a bracket. True: an entry has changed. */
static bool hint_bracketed(struct space *space, const struct vma *vma, uint64_t start,
			   uint64_t end) HOLDS(space->lock)
{
	struct walk walk = { .at = start, .end = end };
	bool changed = false;

	while (walk_next(space, &walk)) {
		if (!worth_hinting(space, vma, walk.place))
			continue;
		table_adjust(space, walk.start, walk.place, PTE_P | PTE_W, PTE_NONE);
		host_count(space->host, HOST_HINTED, level_pages(walk.place.level));
		changed = true;
	}
	return changed;
}

/* Where the part ends that one bracket is for, which begins before the leaf that was found. */
static uint64_t part_end(const struct walk *walk, enum hinting how)
{
	uint64_t end = (walk->start | (level_bytes(LEVEL_2M) - 1)) + 1;

	if (how == HINT_AT_ONCE || walk->end < end)
		return walk->end;
	return walk->at > end ? walk->at : end;
}

/* No leaf lies across start or end. */
static void hint_vma(struct space *space, const struct vma *vma, uint64_t start, uint64_t end,
		     enum hinting how) HOLDS(space->lock)
{
	struct walk walk = { .at = start, .end = end };
	bool changed = false;

	while (walk_next(space, &walk)) {
		uint64_t from = walk.start & ~(level_bytes(LEVEL_2M) - 1);
		uint64_t to = part_end(&walk, how);

		if (from < start)
			from = start;
		struct mm_range range = notifier_start(space, from, to, EVENT_PROTECTION_VMA);

		changed |= hint_bracketed(space, vma, from, to);
		notifier_end(space, &range);
		walk.at = to;
	}
	if (changed)
		tlb_flush(space, start);
}

enum status space_hint(struct space *space, hva_t start, uint64_t bytes, enum hinting how)
{
	uint64_t end = start.raw + bytes;
	enum status status = space_check_range(start, bytes);

	if (status != STATUS_OK)
		return status;

	write_lock(&space->lock);
	status = table_split(space, start.raw);
	if (status == STATUS_OK)
		status = table_split(space, end);
	for (unsigned i = vma_search(space, start.raw);
	     status == STATUS_OK && i < space->vma_count && space->vmas[i].start < end; i++) {
		const struct vma *vma = &space->vmas[i];

		if (may_hint(vma))
			hint_vma(space, vma, vma->start > start.raw ? vma->start : start.raw,
				 vma->end < end ? vma->end : end, how);
	}
	write_unlock(&space->lock);
	return status;
}

/*
 * From where the last one ended, to a border of 2 MiB where it can be; `left`: bytes still to go.
 */
static enum status scan_vma(struct space *space, const struct vma *vma, uint64_t *left,
			    enum hinting how) HOLDS(space->lock)
{
	uint64_t huge = level_bytes(LEVEL_2M);
	uint64_t start = vma->start > space->scan_at ? vma->start : space->scan_at;
	uint64_t end = (start + *left + huge - 1) & ~(huge - 1);

	if (end > vma->end)
		end = vma->end;
	/* A large page may have come since, where the last scan ended. */
	enum status status = table_split(space, start);

	if (status == STATUS_OK)
		status = table_split(space, end);
	if (status != STATUS_OK)
		return status;
	hint_vma(space, vma, start, end, how);
	*left -= end - start < *left ? end - start : *left;
	space->scan_at = end;
	return STATUS_OK;
}

enum status space_scan(struct space *space, uint64_t pages, enum hinting how)
{
	uint64_t most = SPACE_END >> PAGE_SHIFT;
	uint64_t left = (pages < most ? pages : most) << PAGE_SHIFT;
	enum status status = STATUS_OK;

	write_lock(&space->lock);
	unsigned i = vma_search(space, space->scan_at);

	if (i == space->vma_count)
		i = 0, space->scan_at = 0;
	for (; left && status == STATUS_OK && i < space->vma_count; i++)
		if (may_hint(&space->vmas[i]))
			status = scan_vma(space, &space->vmas[i], &left, how);
	write_unlock(&space->lock);
	return status;
}

uint64_t numa_scan(struct host *host, uint64_t pages)
{
	uint64_t done = 0;

	/* Without memory for a table the space waits for the next scan. */
	for (struct space *space = NULL; (space = space_next(host, space));)
		done += space_scan(space, pages, HINT_AT_ONCE) == STATUS_OK ? pages : 0;
	return done;
}

/* ------------------------------------------------------------------ the fault */

/* A page that could be on this CPU's node and is not. Linux: numa_migrate_check. */
static bool is_misplaced(const struct space *space, struct place place) HOLDS_SHARED(space->lock)
{
	pfn_t frame = pte_frame(place.pte);
	const struct folio *folio = folio_of(space->host, frame);

	return place.level == LEVEL_4K && !pte_special(place.pte) &&
	       atomic_read(&folio->flags) & FOLIO_ANON &&
	       (pte_own(place.pte) || atomic_read(&folio->mapcount) == 1) &&
	       host_node(space->host, frame) != this_node(space->host);
}

/* A frame of this CPU's node, where the page at an address wants one. */
static bool alloc_for(struct space *space, uint64_t address, pfn_t *fresh)
{
	if (space->host->nodes < 2)
		return false;
	read_lock(&space->lock);
	struct place place = table_find(space, address);
	bool wanted = leaf_is_hinted(place) && is_misplaced(space, place);

	read_unlock(&space->lock);
	return wanted && alloc_here(space->host, fresh);
}

/* Returns the frame left over. Linux: migrate_misplaced_folio. */
static pfn_t move_here(struct space *space, uint64_t address, struct place place, pfn_t fresh)
	HOLDS(space->lock)
{
	struct mm_range range = notifier_start(space, address, address + PAGE_SIZE, EVENT_MIGRATE);
	pfn_t left = migrate_page(space, address, place, fresh);

	notifier_end(space, &range);
	if (left.raw != fresh.raw)
		host_count(space->host, HOST_HINT_MOVES, 1);
	return left;
}

/*
 * Rights only grow, so nobody is told. W where a write fault would only give it:
 * numa_rebuild_single_mapping.
 */
static void allow_again(struct space *space, const struct vma *vma, uint64_t address)
	HOLDS(space->lock)
{
	struct place place = table_find(space, address);
	bool plain = vma->sharing == SHARING_SHARED ? pte_dirty(place.pte) : pte_own(place.pte);
	bool writable = vma->protection == PROTECTION_READ_WRITE && plain && pte_soft(place.pte);

	table_adjust(space, address, place, PTE_NONE, PTE_P | PTE_A | (writable ? PTE_W : 0));
}

/* Linux: do_numa_page. */
enum status hint_fault(struct space *space, uint64_t address)
{
	uint64_t page = address & PAGE_MASK;
	pfn_t fresh;
	bool has_fresh = alloc_for(space, page, &fresh);

	write_lock(&space->lock);
	struct place place = table_find(space, page);
	const struct vma *vma = vma_find(space, page);

	if (vma && may_hint(vma) && leaf_is_hinted(place)) {
		host_count(space->host, HOST_HINT_FAULTS, 1);
		if (has_fresh && is_misplaced(space, place))
			fresh = move_here(space, page, place, fresh);
		allow_again(space, vma, page);
	}
	write_unlock(&space->lock);
	if (has_fresh)
		folio_put(space->host, fresh);
	return STATUS_OK;
}
