/*
 * The primary page tables: true x86-64 tables of four levels, with leaves of 4 KiB, 2 MiB, 1 GiB.
 * Called by space.c, fault.c, lookup.c, migrate.c under space->lock. A table's page counts its
 * entries that are not empty (struct folio, `entries`); one that has none is not linked.
 *
 * A walk reads each entry once, whole, and believes only what it read; tables are linked when
 * they are complete and freed by way of the gather. That is what a walk without the lock needs
 * (tlb.h). Linux: gup_fast.
 */
#include "mm/swap.h"
#include "mm/tlb.h"

static pte_slot_t *slot_in(pfn_t table, uint64_t address, unsigned level)
{
	return (pte_slot_t *)pfn_to_ptr(table) + level_index(address, level);
}

static struct place place_at(pte_slot_t *slot, unsigned level)
{
	return (struct place){ slot, pte_read(slot), level };
}

static enum status alloc_table(struct space *space, pfn_t *out)
{
	enum status status = folio_alloc_zeroed(space->host, ORDER_4K, out);

	if (status == STATUS_OK) {
		struct folio *folio = page_folio(space->host, *out);

		atomic_or(&folio->flags, FOLIO_TABLE);
		folio->entries = 0;
	}
	return status;
}

enum status table_create(struct space *space)
{
	return alloc_table(space, &space->root);
}

void table_destroy(struct space *space)
{
	check(page_folio(space->host, space->root)->entries == 0);
	folio_put(space->host, space->root);
}

/* Down to `lowest`, or to the leaf or hole where the way ends. */
static struct place descend(const struct space *space, uint64_t address, unsigned lowest)
	HOLDS_SHARED(space->lock)
{
	pfn_t table = space->root;

	for (unsigned level = ROOT_LEVEL;; level--) {
		struct place place = place_at(slot_in(table, address, level), level);

		if (level == lowest || !pte_table(place.pte, level))
			return place;
		table = pte_frame(place.pte);
	}
}

struct place table_find(const struct space *space, uint64_t address)
{
	return tlb_find(space, address);
}

struct place table_find_at(const struct space *space, uint64_t address, unsigned lowest)
{
	return descend(space, address, lowest);
}

/* ------------------------------------------------------------------ the funnel */

static struct folio *table_of(const struct space *space, const pte_slot_t *slot)
{
	return page_known(space->host, ptr_to_pfn(slot));
}

/*
 * From an entry that goes to its folio. A file's page lives on: dirty, and accessed if that says
 * anything of a page in this VMA. The content of one that is anonymous and unmapped is gone for
 * good, and takes its marks with it; if it only moves, dirty is what counts. Linux:
 * zap_present_folio_ptes, try_to_migrate_one.
 */
static inline void pass_on_marks(struct host *host, const struct folio *folio, pte_t old,
				 enum content content, const struct gather *gather)
{
	bool anon = atomic_read(&folio->flags) & FOLIO_ANON;

	if (pte_dirty(old) && (!anon || content == CONTENT_MOVES))
		folio_mark_dirty(host, pte_frame(old));
	if (pte_accessed(old) && !anon && content == CONTENT_DIES && !gather->no_recency)
		folio_mark_accessed(host, pte_frame(old));
}

/* A page's entry comes or goes, to another frame, or to and from a place that is kept. */
static inline __attribute__((always_inline)) void
account_leaf(struct space *space, uint64_t address, pte_t old, bool was, pte_t new,
			 bool is, enum content content, struct gather *gather)
	HOLDS(space->lock)
{
	struct host *host = space->host;

	if (was && is && pte_frame(old).raw == pte_frame(new).raw) {
		trace_step(host->trace, TRACE_PTE_PROTECT, address, new.bits);
		return;
	}
	if (is)
		trace_step(host->trace, TRACE_PTE_SET, address, new.bits);
	else if (was)
		trace_step(host->trace, TRACE_PTE_CLEAR, address, old.bits);
	if (is && !pte_special(new))
		folio_map(host, pte_frame(new));
	if (was && !pte_special(old)) {
		struct block block = page_block(host, pte_frame(old));

		pass_on_marks(host, block.folio, old, content, gather);
		folio_unmap(block);
		gather_add(gather, block.head);
	}
}

/* The accounts of one change, but for the table's own. */
static inline __attribute__((always_inline)) void
account_entry(struct space *space, uint64_t address, unsigned level, pte_t old, pte_t new,
	      enum content content, struct gather *gather) HOLDS(space->lock)
{
	account_leaf(space, address, old, pte_keeps_page(old, level), new,
		     pte_keeps_page(new, level), content, gather);
	if (pte_table(old, level))
		gather_add(gather, pte_frame(old));
	/* The new first: a slot that only changes its entry is not given up between. */
	if (pte_is_swap(new))
		swap_entry_comes(space->host, pte_swap_slot(new));
	if (pte_is_swap(old))
		swap_entry_goes(space->host, pte_swap_slot(old));
}

static void account(struct space *space, uint64_t address, struct place place, pte_t old, pte_t new,
		    enum content content, struct gather *gather) HOLDS(space->lock)
{
	account_entry(space, address, place.level, old, new, content, gather);
	if (pte_is_empty(old) && !pte_is_empty(new))
		table_of(space, place.slot)->entries++;
	if (!pte_is_empty(old) && pte_is_empty(new))
		table_of(space, place.slot)->entries--;
}

/* Unlinks the tables on the way to an address that have become empty, from `level` upwards. */
static void prune(struct space *space, uint64_t address, unsigned level, struct gather *gather)
	HOLDS(space->lock)
{
	for (; level < ROOT_LEVEL; level++) {
		struct place parent = descend(space, address, level + 1);

		check(parent.level == level + 1 && pte_table(parent.pte, parent.level));
		if (page_folio(space->host, pte_frame(parent.pte))->entries)
			return;
		atomic_xchg(parent.slot, pte_empty().bits);
		account(space, address, parent, parent.pte, pte_empty(), CONTENT_DIES, gather);
	}
}

pte_t table_change(struct space *space, uint64_t address, struct place place, pte_t new,
		   enum content content, struct gather *gather)
{
	/* What the exchange returns counts, not place.pte: the CPU may have set A or D since. */
	pte_t old = { atomic_xchg(place.slot, new.bits) };

	account(space, address, place, old, new, content, gather);
	if (pte_is_empty(new) && !table_of(space, place.slot)->entries)
		prune(space, address, place.level, gather);
	return old;
}

void table_move(struct space *space, uint64_t from, struct place old, uint64_t to, struct place new,
		struct gather *gather)
{
	check(new.level == old.level && !pte_is_empty(new.pte) && !pte_leaf(new.pte, new.level));

	/* What the exchange returns counts: the CPU may have set A or D since old.pte was read. */
	pte_t entry = { atomic_xchg(old.slot, pte_empty().bits) };

	trace_step(space->host->trace, TRACE_PTE_CLEAR, from, entry.bits);
	table_of(space, old.slot)->entries--;
	prune(space, from, old.level, gather);
	if (pte_leaf(entry, old.level))
		entry.bits |= PTE_SOFT;		/* Linux: move_soft_dirty_pte */
	atomic_xchg(new.slot, entry.bits);
	trace_step(space->host->trace, TRACE_PTE_SET, to, entry.bits);
}

pte_t table_take_bits(struct space *space, uint64_t address, struct place place, uint64_t bits,
		      struct gather *gather)
{
	struct host *host = space->host;
	pte_t old = { atomic_and(place.slot, ~bits) }, new = { old.bits & ~bits };

	gather->flushed = false;
	if (bits & PTE_D) {
		trace_step(host->trace, TRACE_PTE_MKCLEAN, address, new.bits);
		host_count(host, HOST_MKCLEANS, pte_dirty(old));
	} else {
		trace_step(host->trace, bits & PTE_W ? TRACE_PTE_PROTECT : TRACE_PTE_MKOLD, address,
			   new.bits);
	}
	return old;
}

pte_t table_adjust(struct space *space, uint64_t address, struct place place, uint64_t clear,
		   uint64_t set)
{
	pte_t old = place.pte;

	/* A cmpxchg, not an exchange: A and D set meanwhile must stay. */
	while (!atomic_cmpxchg(place.slot, &old.bits, (old.bits & ~clear) | set))
		;
	trace_step(space->host->trace, TRACE_PTE_PROTECT, address, (old.bits & ~clear) | set);
	return old;
}

void table_park(struct space *space, uint64_t address, struct place place, struct gather *gather)
{
	pte_t old = place.pte;

	/* A cmpxchg, since what is parked must say all that the CPU has set. */
	while (!atomic_cmpxchg(place.slot, &old.bits, pte_parked(old).bits))
		;
	account(space, address, place, old, pte_parked(old), CONTENT_STAYS, gather);
}

/* Links a table; the entry changes only if it is still what the place says. */
static bool link_table(struct space *space, uint64_t address, struct place *place, pfn_t table,
		       struct gather *gather) HOLDS(space->lock)
{
	pte_t new = pte_make_table(table);

	if (!atomic_cmpxchg(place->slot, &place->pte.bits, new.bits))
		return false;
	account(space, address, *place, place->pte, new, CONTENT_STAYS, gather);
	return true;
}

pte_slot_t *table_make(struct space *space, uint64_t address, unsigned level)
{
	struct gather gather = gather_begin(space);
	struct place place = descend(space, address, level);

	while (place.level > level) {
		pfn_t table;

		check(pte_is_empty(place.pte));
		if (alloc_table(space, &table) != STATUS_OK) {
			if (place.level < ROOT_LEVEL)
				prune(space, address, place.level, &gather);
			gather_finish(&gather);
			return NULL;
		}
		check(link_table(space, address, &place, table, &gather));
		place = place_at(slot_in(table, address, place.level - 1), place.level - 1);
	}
	return place.slot;
}

/* ------------------------------------------------------------------ splitting */

static void fill_children(pfn_t table, struct place leaf)
{
	pte_slot_t *slots = pfn_to_ptr(table);

	/* Relaxed: the table is not linked yet; the cmpxchg that links it publishes them. */
	for (unsigned i = 0; i < 512; i++)
		atomic_write_relaxed(&slots[i], pte_child(leaf.pte, leaf.level, i).bits);
}

/*
 * One leaf becomes a table of 512 that translate alike. The leaf's A and D are the children's; if
 * the CPU sets one meanwhile, the link fails and the children are filled again. No bracket: no
 * translation changes. Linux: __split_huge_pmd_locked, which leaves a hole for a moment.
 */
static enum status split_leaf(struct space *space, uint64_t address, struct place leaf)
	HOLDS(space->lock)
{
	struct gather gather = gather_begin(space);
	pfn_t table;
	enum status status = alloc_table(space, &table);

	if (status != STATUS_OK)
		return status;

	/* 512 entries come, each with a count and a reference; the funnel takes the leaf's. */
	if (!pte_special(leaf.pte)) {
		struct folio *folio = folio_of(space->host, pte_frame(leaf.pte));

		atomic_add(&folio->refcount, 512);
		atomic_add(&folio->mapcount, 512);
	}
	page_folio(space->host, table)->entries = 512;
	do {
		fill_children(table, leaf);
	} while (!link_table(space, address, &leaf, table, &gather));
	gather_finish(&gather);
	return STATUS_OK;
}

enum status table_split(struct space *space, uint64_t address)
{
	struct place place = table_find(space, address);

	while (pte_leaf(place.pte, place.level) && address & (level_bytes(place.level) - 1)) {
		if (!vma_may_cut(space, address))
			return STATUS_BAD_RANGE;

		enum status status = split_leaf(space, address, place);

		if (status != STATUS_OK)
			return status;
		place = table_find(space, address);
	}
	return STATUS_OK;
}

enum status table_split_all(struct space *space, uint64_t start, uint64_t end)
{
	struct walk walk = { .at = start, .end = end };
	enum status status = STATUS_OK;

	while (status == STATUS_OK && walk_next(space, &walk)) {
		uint64_t at = walk.start > start ? walk.start : start;

		if (walk.place.level == LEVEL_4K ||
		    vma_find(space, walk.start)->kind == VMA_POOLED)
			continue;
		/* The border inside its pair of pages: no leaf across that is larger than 4 KiB. */
		status = table_split(space, at | PAGE_SIZE);
		walk.at = at;
	}
	return status;
}

/* ---------------------------------- a table for a leaf, and back */

/* No count changes: the entry keeps a place, and the table is the caller's for now. */
void table_detach(struct space *space, uint64_t address, struct place *table)
{
	/* The CPU may have set A in it since it was read. */
	table->pte = (pte_t){ atomic_xchg(table->slot, pte_migration().bits) };
	trace_step(space->host->trace, TRACE_PTE_CLEAR, address, table->pte.bits);
	tlb_flush(space, address);
}

void table_attach(struct space *space, uint64_t address, struct place table)
{
	atomic_write(table.slot, table.pte.bits);
	trace_step(space->host->trace, TRACE_PTE_SET, address, table.pte.bits);
}

void table_replace(struct space *space, uint64_t address, struct place table, pte_t leaf,
		   struct gather *gather)
{
	pte_slot_t *slots = pfn_to_ptr(pte_frame(table.pte));

	for (unsigned i = 0; i < 512; i++) {
		struct place child = place_at(&slots[i], table.level - 1);

		account(space, address + i * level_bytes(child.level), child, child.pte,
			pte_empty(), CONTENT_STAYS, gather);
	}
	atomic_write(table.slot, leaf.bits);
	account(space, address, table, table.pte, leaf, CONTENT_STAYS, gather);
}

/* ------------------------------------------------------------------ ranges */

bool walk_next(const struct space *space, struct walk *walk)
{
	while (walk->at < walk->end) {
		walk->place = tlb_find(space, walk->at);
		walk->start = walk->at & ~(level_bytes(walk->place.level) - 1);
		walk->at = walk->start + level_bytes(walk->place.level);
		if (pte_leaf(walk->place.pte, walk->place.level) ||
		    (walk->absent && !pte_is_empty(walk->place.pte)))
			return true;
	}
	return false;
}

void table_clear(struct space *space, uint64_t address, pte_slot_t *slot, unsigned count,
		 enum content content, struct gather *gather)
{
	struct folio *table = table_of(space, slot);

	for (unsigned i = 0; i < count; i++) {
		if (pte_is_empty(pte_read(&slot[i])))
			continue;
		account_entry(space, address + i * PAGE_SIZE, LEVEL_4K,
			      (pte_t){ atomic_xchg(&slot[i], pte_empty().bits) }, pte_empty(),
			      content, gather);
		table->entries--;
	}
	if (!table->entries)
		prune(space, address, LEVEL_4K, gather);
}

void table_zap(struct space *space, uint64_t start, uint64_t end, struct gather *gather)
{
	struct walk walk = { .at = start, .end = end, .absent = true };

	while (walk_next(space, &walk)) {
		if (walk.place.level > LEVEL_4K) {
			table_change(space, walk.start, walk.place, pte_empty(), CONTENT_DIES,
				     gather);
			continue;
		}
		unsigned count = pages_in_table(walk.start, end);

		table_clear(space, walk.start, walk.place.slot, count, CONTENT_DIES, gather);
		walk.at = walk.start + count * PAGE_SIZE;
	}
}

/*
 * W comes back only to pages that nobody shares; for others a fault comes first, which copies, or
 * tells the file. Nor to one that was not written since somebody asked. Linux:
 * can_change_pte_writable.
 */
static pte_t reprotected(pte_t old, enum protection protection)
{
	pte_t new = pte_with_rights(old, protection);

	if (pte_writable(new) && !pte_writable(old) && !(pte_own(old) && pte_soft(old)))
		new.bits &= ~PTE_W;
	return new;
}

void table_protect(struct space *space, uint64_t start, uint64_t end, enum protection protection,
		   struct gather *gather)
{
	struct walk walk = { .at = start, .end = end };

	while (walk_next(space, &walk)) {
		pte_t old = walk.place.pte, new;

		/* A cmpxchg, not the exchange of table_change: A and D set meanwhile must stay. */
		do {
			new = reprotected(old, protection);
		} while (!atomic_cmpxchg(walk.place.slot, &old.bits, new.bits));
		account(space, walk.start, walk.place, old, new, CONTENT_STAYS, gather);
	}
}
