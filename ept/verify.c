/*
 * The invariants, checked by walking everything. Called by tests and by the console, with guests
 * running or not.
 *
 * What one lock protects is checked under it: formats and counts, with ept->lock held exclusively.
 * What EPT and primary tables have in common (I1) has no one lock: mm is asked without ept->lock.
 * A leaf is judged only if the sequence stood still and no bracket was open from before the leaf
 * was read until after the primary entry was: then neither can have gone in between.
 */
#include "ept/memfd.h"
#include "ept/mmio.h"
#include "ept/notify.h"
#include "ept/policy.h"
#include "ept/region.h"
#include "ept/walk.h"

static _Noreturn void broken(gfn_t frame, unsigned level, spte_t s, const char *rule)
{
	port_panic("EPT entry 0x%lx of guest frame 0x%lx, level %u: %s", s.bits, frame.raw, level,
		   rule);
}

/* ------------------------------------------------------------------ formats, counts */

/*
 * Whether the host has no folio to ask about. No entry of ours remembers it (S7): the primary one
 * says so, and can't have gone while ept->lock is held and a leaf of ours stands. A memfd's page is
 * no process's.
 */
static bool is_bare(const struct ept *ept, hva_t address)
{
	struct mm_page page;

	return memfd_is(address) ||
	       (mm_peek(ept->space, address, &page) == STATUS_OK && !page.refcounted);
}

/*
 * By the folio's mark; where that comes when the leaf goes, by the leaf's own D; where it never
 * comes, by the primary entry's (compare).
 */
static bool is_known_dirty(const struct ept *ept, pfn_t folio)
{
	return folio_dirty(ept->host, folio) || !policy_marks_first(ept);
}

/*
 * U2: the dirty mark comes with the right to write, under this lock, and is taken in a bracket
 * alone. (Under policy ZAP the leaf's D comes with the store, and tells when it goes.) I7, what
 * can be told under this lock: inside one region, no wider than it, the frame of a live folio
 * (folio_head panics if not) that some process maps. A leaf goes before its primary entry does, so
 * it never outlives the last one. That the process is this VM's is I1's: compare().
 */
static void check_leaf(struct ept *ept, gfn_t frame, unsigned level, spte_t s)
	HOLDS_SHARED(ept->lock)
{
	const struct region *region = region_find(ept, frame);

	if (!region)
		broken(frame, level, s, "no region there");
	if (region_level(region, frame, level) != level)
		broken(frame, level, s, "larger than its region allows");
	if (spte_host_writable(s) && region->rights == REGION_READ_ONLY)
		broken(frame, level, s, "writable in a read-only region");
	if (spte_soft_ad(s) == ept->caps.accessed_dirty)
		broken(frame, level, s, "A and D by another than this EPT's pointer says");
	if (spte_prefetched(s) && !ept->prefetch)
		broken(frame, level, s, "prefetched, though nobody prefetches here");
	if (level > ept->caps.max_level)
		broken(frame, level, s, "larger than the processor allows");
	if (is_bare(ept, region_hva(region, frame)))
		return;
	pfn_t folio = folio_head(ept->host, spte_frame(s));

	if (level_order(level) > folio_order(ept->host, folio))
		broken(frame, level, s, "larger than the folio behind it");
	if (!folio_mapcount(ept->host, folio))
		broken(frame, level, s, "names a frame that no process maps");
	if (spte_host_writable(s) && !is_known_dirty(ept, folio))
		broken(frame, level, s, "may be written, and its folio is not dirty");
}

/* U26: by one that is up to date a guest is told that nothing is here. */
static void check_mmio(struct ept *ept, const struct ept_walk *walk) HOLDS_SHARED(ept->lock)
{
	struct region place = { .start = ept_walk_start(walk), .pages = walk->pages };

	if (mmio_is_current(ept, walk->old) && region_overlaps(ept, &place))
		broken(place.start, walk->level, walk->old, "says that no region is here");
}

static void check_counts(struct ept *ept, const uint64_t leaves[EPT_ROOT_LEVEL], uint64_t tables)
	HOLDS(ept->lock)
{
	struct ept_stats stats;

	ept_read_stats(ept, &stats);
	for (unsigned level = LEVEL_4K; level <= LEVEL_1G; level++)
		if (stats.mapped[level - 1] - stats.zapped[level - 1] != leaves[level])
			port_panic("EPT: %lu leaves of level %u, counted %lu in and %lu out",
				   leaves[level], level, stats.mapped[level - 1],
				   stats.zapped[level - 1]);
	if (stats.tables_allocated - stats.tables_freed != tables)
		port_panic("EPT: %lu tables, counted %lu in and %lu out", tables,
			   stats.tables_allocated, stats.tables_freed);
}

static void verify_tables(struct ept *ept) HOLDS(ept->lock)
{
	uint64_t all = EPT_ENTRIES * level_pages(EPT_ROOT_LEVEL);
	struct ept_walk walk = ept_walk_begin(ept, gfn(0), all);
	uint64_t leaves[EPT_ROOT_LEVEL] = { 0 }, tables = 0, dead = 0;

	while (ept_walk_next(&walk)) {
		gfn_t start = ept_walk_start(&walk);
		const char *fault = spte_fault(walk.old, walk.level);

		if (fault)
			broken(start, walk.level, walk.old, fault);
		/* Counted until they are taken apart; what their leaves say holds no more. */
		if (spte_is_dead(walk.old)) {
			dead = walk.at + walk.pages;
			walk.old = spte_make_table(spte_dead_table(walk.old));
		}
		if (spte_is_mmio(walk.old))
			check_mmio(ept, &walk);
		if (spte_is_table(walk.old)) {
			tables++;
		} else if (spte_is_leaf(walk.old)) {
			leaves[walk.level]++;
			if (walk.at >= dead)
				check_leaf(ept, start, walk.level, walk.old);
		}
	}
	check_counts(ept, leaves, tables);
}

/* ------------------------------------------------------------------ against the primary tables */

struct leaf {
	gfn_t start;
	unsigned level;
	spte_t spte;
	hva_t hva;
	uint64_t sequence;
};

/* The first leaf of the frame or above it. */
static bool next_leaf(struct ept *ept, gfn_t from, struct leaf *leaf) HOLDS_SHARED(ept->lock)
{
	uint64_t all = EPT_ENTRIES * level_pages(EPT_ROOT_LEVEL);
	struct ept_walk walk = ept_walk_begin(ept, from, all - from.raw);

	while (ept_walk_next(&walk)) {
		if (!spte_is_leaf(walk.old))
			continue;
		leaf->start = ept_walk_start(&walk);
		leaf->level = walk.level;
		leaf->spte = walk.old;
		leaf->hva = region_hva(region_find(ept, leaf->start), leaf->start);
		leaf->sequence = notify_sequence(ept);
		return true;
	}
	return false;
}

/*
 * I1: rights within those of the primary entries; I7: their frames, thus frames of this VM's own;
 * I2, I3: by policy PTE, D as well. NULL: so it is.
 */
static const char *compare(struct ept *ept, const struct leaf *leaf)
{
	uint64_t bytes = level_bytes(leaf->level);
	struct mm_page page;

	for (uint64_t at = 0; at < bytes; at += level_bytes(page.level)) {
		if (region_peek(ept, hva_add(leaf->hva, at), &page) != STATUS_OK)
			return "nothing in the primary tables";
		if (page.frame.raw != spte_frame(leaf->spte).raw + (at >> PAGE_SHIFT))
			return "another frame in the primary tables";
		if (spte_host_writable(leaf->spte) && !page.writable)
			return "the primary entry is not writable";
		if (spte_host_writable(leaf->spte) && !policy_allows_writes(ept, &page))
			return "the primary entry is not dirty";
	}
	return NULL;
}

static void verify_leaf(struct ept *ept, const struct leaf *leaf)
{
	hva_t end = hva_add(leaf->hva, level_bytes(leaf->level));
	const char *difference = compare(ept, leaf);

	read_lock(&ept->lock);
	bool changed = notify_changed(ept, leaf->sequence, leaf->hva, end);

	read_unlock(&ept->lock);
	if (difference && !changed)
		broken(leaf->start, leaf->level, leaf->spte, difference);
}

void ept_verify(struct ept *ept)
{
	struct leaf leaf = { .start = gfn(0) };

	write_lock(&ept->lock);
	verify_tables(ept);
	write_unlock(&ept->lock);

	for (gfn_t from = gfn(0);; from = gfn_add(leaf.start, level_pages(leaf.level))) {
		read_lock(&ept->lock);
		bool more = next_leaf(ept, from, &leaf);

		read_unlock(&ept->lock);
		if (!more)
			break;
		verify_leaf(ept, &leaf);
	}
}
