/*
 * THE FUNNEL. Each change of an entry comes through here as an old and a new value, and what
 * follows from it is decided here: counts, marks on the folio, the debt of a flush, tables to
 * free. Called by map.c (shared lock, from empty only) and by all who take away: tables, with the
 * lock held exclusively; leaves, in a bracket, beside others (notify.c).
 * Linux: handle_changed_spte.
 */
#include "ept/change.h"
#include "ept/log.h"
#include "ept/policy.h"
#include "ept/table.h"

/*
 * Of a leaf that no fault has asked for: it goes, or loses
 * A, and can tell this once if it was of use.
 */
static __attribute__((noinline, cold)) void count_used(struct ept *ept, spte_t old)
{
	if (spte_accessed(old))
		ept_count(ept, COUNT_PREFETCH_USED, 1);
}

/* Most were asked for: two instructions of a leaf's end. */
static inline void note_used(struct ept *ept, spte_t old)
{
	if (spte_prefetched(old))
		count_used(ept, old);
}

static spte_t asked_for(spte_t s) { return (spte_t){ s.bits & ~SPTE_PREFETCHED }; }

/* Once: who has changed the leaf meanwhile has used it. */
static bool track_leaf(struct ept *ept, spte_slot_t *slot)
{
	spte_t old = slot_read(slot);
	bool young = spte_is_leaf(old) && spte_accessed(old);

	if (young && slot_cmpxchg(slot, &old, asked_for(spte_track(old))))
		note_used(ept, old);
	return young;
}

/* Where some leaves are prefetched: A and that mark go together, so that it is counted once. */
static bool age_leaf(struct ept *ept, spte_slot_t *slot)
{
	spte_t old = slot_read(slot);

	while (spte_accessed(old)) {
		spte_t new = asked_for((spte_t){ old.bits & ~SPTE_A });

		if (slot_cmpxchg(slot, &old, new)) {
			note_used(ept, old);
			return true;
		}
	}
	return false;
}

bool ept_clear_accessed(struct ept *ept, spte_slot_t *slot, spte_t leaf)
{
	if (spte_soft_ad(leaf))
		return track_leaf(ept, slot);
	if (ept->prefetch)
		return age_leaf(ept, slot);
	return spte_accessed(slot_and_not(slot, SPTE_A));
}

bool ept_grow_entry(struct ept *ept, spte_slot_t *slot, spte_t new, spte_t *found)
{
	if (!slot_cmpxchg(slot, found, new))
		return false;
	note_used(ept, *found);
	ept_count(ept, COUNT_MADE_WRITABLE, 1);
	return true;
}

/*
 * How many had it. Nobody else takes the bit from a leaf, so one that was read with it still has
 * it. Inlined, with the bit a constant: most of a harvest is spent here.
 */
static inline unsigned take_from_each(struct ept *ept, spte_slot_t *slots, uint64_t which,
				      uint64_t bit, struct flush_batch *batch) HOLDS(ept->lock)
{
	const uint64_t wanted = SPTE_PRESENT | SPTE_LEAF | bit;
	unsigned taken = 0;

	for (; which; which >>= 1, slots++) {
		/* Where one was stored to, the next one was. */
		if (!(which & 1)) {
			unsigned clean = (unsigned)__builtin_ctzll(which);

			which >>= clean;
			slots += clean;
		}

		spte_t old = slot_read(slots);

		if ((old.bits & wanted) != wanted)
			continue;
		slot_and_not(slots, bit);
		policy_taken(ept, old, bit, batch);
		taken++;
	}
	return taken;
}

void ept_take_many(struct ept *ept, spte_slot_t *slots, uint64_t which, uint64_t bit,
		   struct flush_batch *batch)
{
	unsigned taken = bit == SPTE_W ? take_from_each(ept, slots, which, SPTE_W, batch)
				       : take_from_each(ept, slots, which, SPTE_D, batch);

	if (!taken)
		return;
	batch->owed = true;
	if (bit == SPTE_W)
		ept_count(ept, COUNT_MADE_READ_ONLY, taken);
}

/* ---------------------------------- a table for a leaf, and back */

/* The bits that go are gone from all of the children, or still in the leaf. */
bool ept_split_leaf(struct ept *ept, spte_slot_t *slot, unsigned level, uint64_t less,
		    struct flush_batch *batch)
{
	spte_t old = slot_read(slot);
	pfn_t table;

	/* host->lock is inside ept->lock. Nobody reclaims for this. */
	if (folio_alloc(ept->host, ORDER_4K, &table) != STATUS_OK)
		return false;
	do {
		spte_t child = { old.bits & ~less };

		for (unsigned i = 0; i < EPT_ENTRIES; i++)
			slot_fill(&table_slots(table)[i], spte_child(child, level, i));
		/* The processor may have set A or D meanwhile. */
	} while (!slot_cmpxchg(slot, &old, spte_make_table(table)));
	batch->owed |= old.bits & less;
	policy_taken(ept, old, less, batch);
	ept_count(ept, COUNT_ZAPPED_4K + level - LEVEL_4K, 1);
	ept_count(ept, COUNT_MAPPED_4K + level - 1 - LEVEL_4K, EPT_ENTRIES);
	ept_count(ept, COUNT_TABLES_ALLOCATED, 1);
	ept_count(ept, COUNT_SPLIT, 1);
	return true;
}

static void empty_table(struct ept *ept, pfn_t table, gfn_t frame, unsigned level,
			struct flush_batch *batch) HOLDS_SHARED(ept->lock);

/* Of the frame that it translates first. Its flags are those of the exchange, not of before. */
static inline void empty_leaf(struct ept *ept, spte_slot_t *slot, gfn_t frame, unsigned level,
			      struct flush_batch *batch) HOLDS_SHARED(ept->lock)
{
	spte_t old = slot_xchg(slot, spte_empty());

	batch->owed = true;
	batch->zapped[level - 1]++;
	log_note_taken(ept, frame, level, old);
	note_used(ept, old);
	policy_taken(ept, old, SPTE_A | SPTE_D, batch);
}

/* What stands there, of which a leaf stays one and a table the same as long as the lock is held. */
static inline void empty_entry(struct ept *ept, spte_slot_t *slot, spte_t old, gfn_t frame,
			       unsigned level, struct flush_batch *batch) HOLDS_SHARED(ept->lock)
{
	if (spte_is_leaf(old)) {
		empty_leaf(ept, slot, frame, level, batch);
		return;
	}
	slot_xchg(slot, spte_empty());
	empty_table(ept, spte_frame(old), frame, level - 1, batch);
}

/*
 * The table is out of the tree, but processors that have its address in a paging-structure cache
 * still walk it, and still set A and D: so its entries go by exchange as well.
 */
static void empty_table(struct ept *ept, pfn_t table, gfn_t frame, unsigned level,
			struct flush_batch *batch)
{
	spte_slot_t *slots = table_slots(table);

	for (unsigned i = 0; i < EPT_ENTRIES; i++) {
		spte_t old = slot_read(&slots[i]);

		if (spte_present(old))
			empty_entry(ept, &slots[i], old, gfn_add(frame, i * level_pages(level)),
				    level, batch);
	}
	flush_add_table(batch, table);
}

/* What the leaves of a table have between them; empty: there are none, or tables. */
static spte_t joined(pfn_t table, unsigned level, pfn_t frame)
{
	spte_t leaf = spte_empty();

	for (unsigned i = 0; i < EPT_ENTRIES; i++) {
		spte_t child = slot_read(&table_slots(table)[i]);

		if (!spte_present(child))
			continue;
		if (!spte_is_leaf(child))
			return spte_empty();
		child.bits -= i * level_bytes(level - 1);
		check(spte_frame(child).raw == frame.raw);
		leaf.bits |= asked_for(spte_restored(child)).bits;
	}
	if (spte_mmu_writable(leaf))
		leaf.bits |= SPTE_W | (spte_soft_ad(leaf) ? SPTE_D : 0);
	return leaf;
}

/*
 * A processor that knows the table still sets A and D there: each of its leaves goes by exchange,
 * and tells what it has, as the large one will of what is set there from now on.
 */
bool ept_join_leaves(struct ept *ept, spte_slot_t *slot, gfn_t start, unsigned level, pfn_t frame,
		     struct flush_batch *batch)
{
	pfn_t table = spte_frame(slot_read(slot));
	spte_t leaf = joined(table, level, frame);

	if (!spte_present(leaf))
		return false;
	slot_xchg(slot, leaf);
	empty_table(ept, table, start, level - 1, batch);
	ept_count(ept, COUNT_MAPPED_4K + level - LEVEL_4K, 1);
	ept_count(ept, COUNT_JOINED, 1);
	return true;
}

struct flush_batch ept_zap_range(struct ept *ept, gfn_t start, uint64_t pages, enum zap what,
				 struct flush_batch batch)
{
	struct ept_walk walk = ept_walk_begin(ept, start, pages);

	while (ept_walk_next(&walk)) {
		bool whole_table = what == ZAP_TABLES && spte_is_table(walk.old) &&
				   ept_walk_covers(&walk);

		if (spte_is_leaf(walk.old) || whole_table) {
			empty_entry(ept, walk.slot, walk.old, ept_walk_start(&walk), walk.level,
				    &batch);
			walk.old = spte_empty();
		}
	}
	return batch;
}

/* ------------------------------------------------------------------ out of use, then apart */

struct flush_batch ept_detach_range(struct ept *ept, gfn_t start, uint64_t pages,
				    struct flush_batch batch)
{
	struct ept_walk walk = ept_walk_begin(ept, start, pages);

	while (ept_walk_next(&walk)) {
		if (spte_is_leaf(walk.old)) {
			empty_leaf(ept, walk.slot, ept_walk_start(&walk), walk.level, &batch);
		} else if (spte_is_table(walk.old) && ept_walk_covers(&walk)) {
			slot_xchg(walk.slot, spte_make_dead(spte_frame(walk.old)));
			batch.owed = true;
			walk.old = spte_empty();
		}
	}
	return batch;
}

/* Its one reader is this CPU: no processor walks there, and its slot is frozen. */
static unsigned tell_all(struct ept *ept, pfn_t table, struct flush_batch *batch)
	HOLDS_SHARED(ept->lock)
{
	const spte_slot_t *slots = table_slots(table);
	unsigned leaves = 0;

	for (unsigned i = 0; i < EPT_ENTRIES; i++) {
		spte_t old = slot_read(&slots[i]);

		if (!spte_present(old))
			continue;
		leaves++;
		note_used(ept, old);
		policy_taken(ept, old, SPTE_A | SPTE_D, batch);
	}
	return leaves;
}

void ept_take_dead(struct ept *ept, spte_slot_t *slot, unsigned level, struct flush_batch *batch)
{
	spte_t old = slot_freeze(slot);

	if (spte_is_leaf(old)) {
		note_used(ept, old);
		policy_taken(ept, old, SPTE_A | SPTE_D, batch);
		ept_count(ept, COUNT_ZAPPED_4K + level - LEVEL_4K, 1);
	} else if (old.bits) {
		pfn_t table = spte_is_dead(old) ? spte_dead_table(old) : spte_frame(old);

		ept_count(ept, COUNT_ZAPPED_4K, tell_all(ept, table, batch));
		ept_count(ept, COUNT_TABLES_FREED, 1);
		ept_table_free(ept, table);
	}
	slot_thaw(slot, spte_empty());
}

bool ept_change_leaf(struct ept *ept, gfn_t frame, spte_t new, struct flush_batch *batch)
{
	struct ept_walk walk = ept_walk_begin(ept, frame, 1);
	spte_t found;

	while (ept_walk_next(&walk)) {
		if (!spte_is_leaf(walk.old))
			continue;
		empty_leaf(ept, walk.slot, ept_walk_start(&walk), walk.level, batch);
		/* A larger one has outlived its primary leaf, which was split without a word. */
		if (spte_present(new) && walk.level == LEVEL_4K)
			check(ept_fill_entry(ept, walk.slot, walk.level, new, &found));
		return true;
	}
	return false;
}

/*
 * Host-writable goes with W, so that a fault can't give W back by itself. Bits are taken away, not
 * a value put in: the processor may be setting A.
 */
struct flush_batch ept_protect_range(struct ept *ept, gfn_t start, uint64_t pages,
				     struct flush_batch batch)
{
	struct ept_walk walk = ept_walk_begin(ept, start, pages);

	while (ept_walk_next(&walk)) {
		if (!spte_is_leaf(walk.old) || !spte_host_writable(walk.old))
			continue;
		spte_t old = slot_and_not(walk.slot, SPTE_WRITE_BITS);

		log_note_taken(ept, ept_walk_start(&walk), walk.level, old);
		policy_taken(ept, old, SPTE_WRITE_BITS, &batch);
		ept_count(ept, COUNT_MADE_READ_ONLY, 1);
		batch.owed = true;
	}
	return batch;
}
