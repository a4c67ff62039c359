/* Putting a leaf into the tables, and the tables above it. */
#ifndef EPT_MAP_H
#define EPT_MAP_H

#include "ept/change.h"

enum map_result {
	MAP_INSTALLED,		/* the leaf is in, or W is in the one that was there */
	MAP_FOUND,		/* a leaf that allows the access was there; it stays */
	MAP_CONFLICT,		/* something else is there, which must be zapped first */
	MAP_STALE,		/* the lookup behind it may be out of date, or an entry is frozen */
};

/* The same from there on: by ept_map, where anything is missing or in the way. */
MUST_USE enum map_result ept_map_into(struct ept *ept, struct ept_place at, gfn_t frame,
				      unsigned level, spte_t *leaf, enum access access)
	HOLDS_SHARED(ept->lock);
/*
 * Lock-free among those who hold the lock shared: entries go from empty to full by cmpxchg, and
 * whoever loses looks again. *leaf is what stands there afterwards, if it allows the access.
 * ept_table_prepare was called on this CPU.
 */
MUST_USE static inline __attribute__((always_inline)) enum map_result
ept_map(struct ept *ept, struct ept_cpu *cpu, gfn_t frame, unsigned level, spte_t *leaf,
	enum access access) HOLDS_SHARED(ept->lock)
{
	struct ept_place at = ept_knows_way(ept, cpu, frame) ? ept_by_way(cpu, frame)
							     : ept_learn_way(ept, cpu, frame);

	check(spte_allows(*leaf, access));
	/* Most often its table is there, and its place empty. */
	if (at.level == level && !spte_present(at.old) &&
	    ept_fill_entry(ept, at.slot, level, *leaf, &at.old))
		return MAP_INSTALLED;
	return ept_map_into(ept, at, frame, level, leaf, access);
}

#endif
