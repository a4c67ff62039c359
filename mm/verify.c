/*
 * Every rule of the frames and of a space, checked by walking all of it. Called by tests, and by
 * the console's command; panics at the first rule that is broken. host_verify holds host->lock,
 * space_verify holds space->lock exclusively, so both may run beside everything else. What CPUs
 * keep of free frames moves without a lock: its number is compared when no list moved meanwhile.
 */
#include "mm/lru.h"
#include "mm/space.h"
#include "mm/swap.h"

/* ------------------------------------------------------------------ the host */

struct census { uint64_t free_blocks[ORDER_MAX + 1], free_pages, kept_pages, used_pages; };

static void check_tails(const struct host *host, uint64_t head, unsigned order)
{
	for (uint64_t i = 1; i < UINT64_C(1) << order; i++) {
		const struct folio *folio = page_folio(host, pfn(head + i));

		if (!folio || atomic_read(&folio->flags))
			port_panic("frame 0x%lx: in no metadata or in two blocks", head + i);
	}
}

/* One block, free or used; returns its pages. */
static uint64_t count_block(const struct host *host, uint64_t head, uint32_t flags,
			    struct census *census)
{
	unsigned order = flags & FOLIO_ORDER;
	uint64_t pages = UINT64_C(1) << order;

	check(order <= ORDER_MAX && !(head & (pages - 1)));
	check_tails(host, head, order);
	if (!(flags & FOLIO_FREE)) {
		check(flags & FOLIO_USED);
		census->used_pages += pages;
		return pages;
	}
	if (flags == FOLIO_KEPT) {
		census->kept_pages++;
		return pages;
	}
	check(flags == (FOLIO_FREE | order));
	census->free_blocks[order]++;
	census->free_pages += pages;
	if (order < ORDER_MAX) {
		const struct folio *buddy = page_folio(host, pfn(head ^ pages));

		check(!buddy || atomic_read(&buddy->flags) != flags);	/* else: one block */
	}
	return pages;
}

/* The next frame after `at`, which has no metadata, that may have some. */
static uint64_t skip_hole(const struct host *host, uint64_t at)
{
	uint64_t number = at >> SECTION_SHIFT;
	uint64_t first = (number << SECTION_SHIFT) + host->sections[number].first;

	return host->sections[number].count && at < first ? first : (number + 1) << SECTION_SHIFT;
}

static void count_blocks(const struct host *host, struct census *census)
{
	for (uint64_t at = 0; at < host->section_count << SECTION_SHIFT;) {
		const struct folio *folio = page_folio(host, pfn(at));
		uint32_t flags = folio ? atomic_read(&folio->flags) : 0;

		if (!folio)
			at = skip_hole(host, at);
		else
			at += flags ? count_block(host, at, flags, census) : 1;
	}
}

static void check_free_list(const struct host *host, unsigned order, uint64_t blocks)
	HOLDS(host->lock)
{
	uint32_t previous = NO_FRAME, at = host->free_heads[order];

	check(!(host->free_orders >> order & 1) == (at == NO_FRAME));
	while (at != NO_FRAME) {
		const struct folio *folio = page_folio(host, pfn(at));

		check(folio && atomic_read(&folio->flags) == (FOLIO_FREE | order));
		check(folio->previous == previous);
		check(blocks--);
		previous = at;
		at = folio->next;
	}
	check(!blocks);
}

/* In both directions, and each folio on the list that its flags ask for. Returns how many. */
static uint64_t check_lru_list(const struct host *host, enum lru list) HOLDS(host->lru_lock)
{
	const uint32_t said = FOLIO_ON_LIST | FOLIO_ACTIVE | FOLIO_SWAPBACKED;
	static const uint32_t wanted[] = {
		[LRU_INACTIVE_ANON] = FOLIO_LRU | FOLIO_SWAPBACKED,
		[LRU_ACTIVE_ANON] = FOLIO_LRU | FOLIO_SWAPBACKED | FOLIO_ACTIVE,
		[LRU_INACTIVE_FILE] = FOLIO_LRU, [LRU_ACTIVE_FILE] = FOLIO_LRU | FOLIO_ACTIVE,
	};
	uint32_t newer = NO_FRAME;
	uint64_t count = 0;

	for (uint32_t at = host->lists[list].newest; at != NO_FRAME; count++) {
		const struct folio *folio = page_folio(host, pfn(at));
		uint32_t flags = folio ? atomic_read(&folio->flags) : 0;

		check(flags & FOLIO_USED && !(flags & FOLIO_TABLE) && folio->previous == newer);
		check(list == LRU_BATCH ? (flags & FOLIO_ON_LIST) == FOLIO_LRU_NEW
					: (flags & said) == wanted[list]);
		newer = at;
		at = folio->next;
	}
	check(newer == host->lists[list].oldest && count == lru_folios(host, list));
	return count;
}

/* Frames that say that they are on a list: that changes under host->lru_lock alone. */
static uint64_t count_listed(const struct host *host) HOLDS(host->lru_lock)
{
	uint64_t listed = 0;

	for (uint64_t at = 0; at < host->section_count << SECTION_SHIFT; at++) {
		const struct folio *folio = page_folio(host, pfn(at));

		listed += folio && atomic_read(&folio->flags) & FOLIO_ON_LIST;
	}
	return listed;
}

static void check_lru(struct host *host)
{
	uint64_t listed = 0;

	spin_lock(&host->lru_lock);
	for (unsigned list = 0; list < LRU_LISTS; list++)
		listed += check_lru_list(host, list);
	check(listed == count_listed(host));
	spin_unlock(&host->lru_lock);
}

/* Of other CPUs nobody knows which are in use. */
static void check_own_frames(const struct host *host)
{
	const struct host_cpu *cpu = &host->cpus[port_cpu()];

	for (uint32_t i = 0; i < kept_frames(atomic_read(&cpu->kept)); i++) {
		const struct block *frame = &cpu->frames[i];

		check(page_folio(host, frame->head) == frame->folio);
		check(atomic_read(&frame->folio->flags) == FOLIO_KEPT);
	}
}

/* What all CPUs keep, and the changes till then. False: one of them is about to change it. */
static bool count_kept(const struct host *host, uint64_t *pages, uint64_t *changes)
{
	*pages = *changes = 0;
	for (unsigned i = 0; i < MAX_CPUS; i++) {
		uint32_t kept = atomic_read(&host->cpus[i].kept);

		if ((kept ^ kept / KEPT_CHANGE) & 1)
			return false;
		*pages += kept_frames(kept);
		*changes += kept / KEPT_CHANGE;
	}
	return true;
}

void host_verify(struct host *host)
{
	struct census census = { 0 };
	uint64_t kept, changes, kept_after, changes_after;

	spin_lock(&host->lock);
	bool still = count_kept(host, &kept, &changes);

	count_blocks(host, &census);
	still = still && count_kept(host, &kept_after, &changes_after) && changes == changes_after;
	check(!still || census.kept_pages == kept);
	check_own_frames(host);
	for (unsigned order = 0; order <= ORDER_MAX; order++)
		check_free_list(host, order, census.free_blocks[order]);
	check(census.free_pages == host->pages_free);
	check(census.free_pages + census.kept_pages + census.used_pages == host->pages_total);
	spin_unlock(&host->lock);
	check_lru(host);
	swap_verify(host);
}

/* ------------------------------------------------------------------ a space */

static void check_vmas(const struct space *space) HOLDS_SHARED(space->lock)
{
	for (unsigned i = 0; i < space->vma_count; i++) {
		const struct vma *vma = &space->vmas[i], *next = vma + 1;

		check(vma->start < vma->end && vma->end <= SPACE_END);
		check(!((vma->start | vma->end) & ~PAGE_MASK));
		check(vma->max_level >= LEVEL_4K && vma->max_level <= LEVEL_1G);
		if (i + 1 == space->vma_count)
			break;
		check(vma->end <= next->start);
		check(!vma_can_merge(vma, next));
	}
}

/* One table and those below; returns the leaves. */
static uint64_t check_tables(const struct space *space, pfn_t table, unsigned level)
	HOLDS_SHARED(space->lock)
{
	const struct folio *folio = page_folio(space->host, table);
	const pte_slot_t *slots = pfn_to_ptr(table);
	uint64_t leaves = 0;
	uint32_t entries = 0;

	check(atomic_read(&folio->flags) == (FOLIO_USED | FOLIO_TABLE));
	check(atomic_read(&folio->refcount) == 1);
	/* The upper half of the root belongs to whoever's CPU runs on these tables. */
	for (unsigned i = 0; i < (level == ROOT_LEVEL ? 256 : 512); i++) {
		pte_t entry = pte_read(&slots[i]);

		if (pte_is_empty(entry))
			continue;
		entries++;
		if (pte_is_swap(entry)) {
			check(level == LEVEL_4K);
		} else if (pte_table(entry, level)) {
			leaves += check_tables(space, pte_frame(entry), level - 1);
		} else {
			check(pte_keeps_page(entry, level) && level <= LEVEL_1G);
			leaves += pte_leaf(entry, level);
		}
	}
	check(folio->entries == entries);
	check(entries || level == ROOT_LEVEL);
	return leaves;
}

/* The page that the VMA shows there; a store to it is one to the file, and the file knows. */
static void check_file_leaf(const struct walk *walk, const struct vma *vma,
			    const struct folio *folio)
{
	check(vma->file == folio_file(folio));
	check(folio->index == vma->first + ((walk->start - vma->start) >> PAGE_SHIFT));
	check(vma->sharing == SHARING_SHARED || !pte_writable(walk->place.pte));
	check(vma->file->cache[folio->index] != NO_FRAME);
}

/* A leaf and the folio that it has a reference to. */
static void check_counted_leaf(const struct space *space, const struct walk *walk,
			       const struct vma *vma)
{
	const struct folio *folio = folio_of(space->host, pte_frame(walk->place.pte));
	uint32_t flags = atomic_read(&folio->flags);

	check((flags & FOLIO_ORDER) >= level_order(walk->place.level));
	check(!(flags & (FOLIO_TABLE | FOLIO_RESERVED)));
	check(!(flags & FOLIO_SECRET) == (vma->kind != VMA_SECRET));
	check(!(flags & FOLIO_POOLED) == (vma->kind != VMA_POOLED));
	check(vma->kind != VMA_POOLED || walk->place.level == vma->max_level);
	if (folio_file(folio))
		check_file_leaf(walk, vma, folio);
	check(atomic_read(&folio->mapcount) <= atomic_read(&folio->refcount));
	check(!(flags & FOLIO_KSM) ||
	      !(pte_writable(walk->place.pte) || pte_own(walk->place.pte)));
	/*
	 * Of a larger folio other pages may be others'; named frames are as often mapped as they
	 * are named.
	 */
	check(!pte_own(walk->place.pte) || flags & FOLIO_ORDER || vma->kind == VMA_FRAMES ||
	      atomic_read(&folio->mapcount) == 1);
}

static void check_leaf(const struct space *space, const struct walk *walk)
	HOLDS_SHARED(space->lock)
{
	pte_t pte = walk->place.pte;
	uint64_t frames = level_pages(walk->place.level);
	const struct vma *vma = vma_find(space, walk->start);

	check(!(pte_frame(pte).raw & (frames - 1)));
	check(vma && walk->start + (frames << PAGE_SHIFT) <= vma->end);
	/* Without P where the VMA allows something: a hint (numa.c). */
	check(!pte_present(pte) || vma->protection != PROTECTION_NONE);
	check(!pte_writable(pte) || (pte_present(pte) && pte_soft(pte)));
	check(!pte_writable(pte) || vma->protection == PROTECTION_READ_WRITE);
	check(!pte_special(pte) || vma->kind == VMA_FRAMES);
	check(!pte_secret(pte) == (vma->kind != VMA_SECRET));
	if (!pte_special(pte))
		check_counted_leaf(space, walk, vma);
}

/* Whether no other space can map its anonymous pages. */
static bool family_alone(struct space *space)
{
	unsigned members = 0;

	spin_lock(&space->host->spaces_lock);
	list_for_each(node, &space->host->spaces)
		members += container_of(node, struct space, link)->family == space->family;
	spin_unlock(&space->host->spaces_lock);
	return members == 1;
}

/* The mapcount of a page that this space alone maps; NULL: it may be others' too. */
static atomic32_t *own_mapcount(const struct space *space, const struct walk *walk)
{
	struct folio *folio;

	if (!pte_keeps_page(walk->place.pte, walk->place.level) || pte_special(walk->place.pte))
		return NULL;
	folio = folio_of(space->host, pte_frame(walk->place.pte));
	return (atomic_read(&folio->flags) & (FOLIO_ANON | FOLIO_KSM)) == FOLIO_ANON
		       ? &folio->mapcount : NULL;
}

/*
 * mapcount is the number of leaves: taken down to nothing by counting them, and up again, since the
 * leaves of one folio need not be neighbours. Only its own leaves change it, under this lock.
 */
static void check_mapcounts(struct space *space) HOLDS(space->lock)
{
	struct walk down = { .end = SPACE_END, .absent = true }, compare = down, up = down;
	atomic32_t *mapcount;

	while (walk_next(space, &down))
		if ((mapcount = own_mapcount(space, &down)))
			atomic_sub(mapcount, 1);
	while (walk_next(space, &compare))
		if ((mapcount = own_mapcount(space, &compare)))
			check(!atomic_read(mapcount));
	while (walk_next(space, &up))
		if ((mapcount = own_mapcount(space, &up)))
			atomic_add(mapcount, 1);
}

static void check_swap_entry(const struct space *space, const struct walk *walk)
	HOLDS_SHARED(space->lock)
{
	const struct vma *vma = vma_find(space, walk->start);

	check(vma && (!vma->file || vma->sharing == SHARING_PRIVATE));
	swap_verify_entry(space->host, pte_swap_slot(walk->place.pte), space->family,
			  vma_page(vma, walk->start));
}

static void check_leaves(struct space *space, uint64_t leaves) HOLDS(space->lock)
{
	struct walk walk = { .end = SPACE_END, .absent = true };

	while (walk_next(space, &walk)) {
		if (pte_is_swap(walk.place.pte))
			check_swap_entry(space, &walk);
		if (!pte_leaf(walk.place.pte, walk.place.level))
			continue;
		check_leaf(space, &walk);
		leaves--;
	}
	check(!leaves);
}

void space_verify(struct space *space)
{
	write_lock(&space->lock);
	check_vmas(space);
	check_leaves(space, check_tables(space, space->root, ROOT_LEVEL));
	if (family_alone(space))
		check_mapcounts(space);
	write_unlock(&space->lock);
}
