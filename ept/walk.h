/*
 * The one way through the tables: every entry of a range of guest frames, a table before what is
 * in it.
 *
 *	struct ept_walk walk = ept_walk_begin(ept, start, pages);
 *	while (ept_walk_next(&walk))
 *		... walk.slot, walk.old, walk.level, ept_walk_start(&walk)
 *
 * The first and the last entry at each level may reach beyond the range. walk.old is what was
 * read when the walk came to the slot, and decides whether it goes down there: who replaces the
 * entry writes the new value into walk.old. A table that was gone into is used without another
 * look, so ept->lock is held, exclusively by those who remove tables.
 */
#ifndef EPT_WALK_H
#define EPT_WALK_H

#include "ept/state.h"

struct ept_place { spte_slot_t *slot; spte_t old; unsigned level; };

/* From an entry to that of the next lower level; whether it names a table. */
static inline bool ept_descend(struct ept_place *at, gfn_t frame, unsigned level)
{
	at->slot = &table_slots(spte_frame(at->old))[gfn_index(frame, level)];
	at->old = slot_read(at->slot);
	at->level = level;
	return level > LEVEL_4K && spte_is_table(at->old);
}

/*
 * The entry that translates a frame: a leaf, or what stands where the way ends. Under ept->lock, or
 * between walk_enter and walk_leave (flush.h). Level by level, so that no shift is computed: this
 * is what a fault costs.
 */
static inline __attribute__((always_inline)) struct ept_place ept_find(const struct ept *ept,
								       gfn_t frame)
{
	struct ept_place at = { .old = spte_make_table(ept->root) };

	(void)(ept_descend(&at, frame, EPT_ROOT_LEVEL) && ept_descend(&at, frame, LEVEL_1G) &&
	       ept_descend(&at, frame, LEVEL_2M) && ept_descend(&at, frame, LEVEL_4K));
	return at;
}

/*
 * The table of leaves that this CPU came to last, which may be gone into again without a way down
 * while the generation stands: who takes a table from the tree shoots down before ept->lock is
 * free, and the table another's (flush.c). It is what a processor's paging-structure cache has.
 * Called as ept_find.
 */
static inline bool ept_knows_way(const struct ept *ept, const struct ept_cpu *cpu, gfn_t frame)
{
	return cpu->way.block == frame.raw / EPT_ENTRIES &&
	       cpu->way.generation == atomic_read(&ept->notice.generation);
}

static inline struct ept_place ept_by_way(const struct ept_cpu *cpu, gfn_t frame)
{
	spte_slot_t *slot = &cpu->way.slots[frame.raw % EPT_ENTRIES];

	return (struct ept_place){ slot, slot_read(slot), LEVEL_4K };
}

/* ept_find, and it is remembered. */
static inline struct ept_place ept_learn_way(const struct ept *ept, struct ept_cpu *cpu,
					     gfn_t frame)
{
	uint64_t generation = atomic_read(&ept->notice.generation);	/* before the tables */
	struct ept_place at = ept_find(ept, frame);

	if (at.level == LEVEL_4K)
		cpu->way = (struct ept_way){ generation, frame.raw / EPT_ENTRIES,
					     at.slot - frame.raw % EPT_ENTRIES };
	return at;
}

struct ept_walk {
	spte_slot_t *slot;
	spte_t old;
	unsigned level;
	uint64_t pages;					/* that an entry of this level translates */
	uint64_t at, end;				/* guest frames, from here, up to there */
	spte_slot_t *path[EPT_ROOT_LEVEL + 2];		/* by level: the way down */
};

static inline struct ept_walk ept_walk_begin(const struct ept *ept, gfn_t start, uint64_t pages)
{
	struct ept_walk walk = { .level = EPT_ROOT_LEVEL + 1, .at = start.raw,
				 .end = start.raw + pages };

	/* Above the root: the first step goes down into it. */
	walk.old = spte_make_table(ept->root);
	return walk;
}

/* The first frame that the entry translates, and whether the walk's range has all of it. */
static inline gfn_t ept_walk_start(const struct ept_walk *walk)
{
	return gfn(walk->at & ~(walk->pages - 1));
}

static inline bool ept_walk_covers(const struct ept_walk *walk)
{
	/* The range began before `at` or there: an entry that starts at `at` lies in it. */
	return !(walk->at & (walk->pages - 1)) && walk->at + walk->pages <= walk->end;
}

/*
 * Entries of 4 KiB that lie side by side, from this one on: at most so many, in this table and in
 * the walk's range. Who has dealt with them all skips those behind the first; none of them is a
 * table.
 */
static inline uint64_t ept_walk_side(const struct ept_walk *walk, uint64_t most)
{
	uint64_t table = EPT_ENTRIES - walk->at % EPT_ENTRIES, range = walk->end - walk->at;
	uint64_t side = table < range ? table : range;

	return side < most ? side : most;
}

static inline void ept_walk_skip(struct ept_walk *walk, uint64_t entries)
{
	walk->slot += entries;
	walk->at += entries;
}

static inline bool slot_begins_table(const spte_slot_t *slot)
{
	return !((uint64_t)slot & ~PAGE_MASK);
}

static inline bool ept_walk_next(struct ept_walk *walk)
{
	if (spte_is_table(walk->old)) {
		walk->path[walk->level] = walk->slot;
		walk->level--;
		walk->pages = level_pages(walk->level);
		walk->slot = &table_slots(spte_frame(walk->old))[
			gfn_index(gfn(walk->at), walk->level)];
	} else {
		walk->at = (walk->at | (walk->pages - 1)) + 1;
		walk->slot++;
		/* Past the last entry of a table: on with the one after that table's own. */
		while (slot_begins_table(walk->slot) && walk->level < EPT_ROOT_LEVEL) {
			walk->level++;
			walk->pages = level_pages(walk->level);
			walk->slot = walk->path[walk->level] + 1;
		}
	}
	if (walk->at >= walk->end)
		return false;
	walk->old = slot_read(walk->slot);
	return true;
}

#endif
