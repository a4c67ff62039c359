/*
 * Called by fault.c with a leaf to install. An entry is filled here, or its leaf may be written
 * from now on, never replaced: a present leaf does not change its frame (U8 of ept/README.md), and
 * a table goes only with the exclusive lock. So a conflict is handed back.
 */
#include "ept/change.h"
#include "ept/map.h"
#include "ept/table.h"

/* Returns what stands in the slot at the end: our table, or what another CPU put in before. */
static spte_t link_table(struct ept *ept, spte_slot_t *slot, unsigned level)
	HOLDS_SHARED(ept->lock)
{
	pfn_t table = ept_table_take(ept);
	spte_t new = spte_make_table(table), found;

	if (ept_fill_entry(ept, slot, level, new, &found))
		return new;
	ept_table_untake(ept, table);
	return found;
}

static enum map_result judge(spte_t found, spte_t *leaf, enum access access)
{
	if (!spte_is_leaf(found) || !spte_allows(found, access))
		return MAP_CONFLICT;
	*leaf = found;
	return MAP_FOUND;
}

/* A leaf of our level is there. */
static enum map_result grow(struct ept *ept, spte_slot_t *slot, spte_t *leaf, spte_t found,
			    enum access access) HOLDS_SHARED(ept->lock)
{
	while (!spte_allows(found, access) && spte_adds_write(found, *leaf))
		if (ept_grow_entry(ept, slot, *leaf, &found))
			return MAP_INSTALLED;
	return judge(found, leaf, access);
}

/*
 * From an empty entry down, by tables in it and below, to the level wanted; or to a leaf, if
 * another CPU puts one in before.
 */
static struct ept_place link_tables(struct ept *ept, struct ept_place at, gfn_t frame,
				    unsigned level) HOLDS_SHARED(ept->lock)
{
	while (at.level > level) {
		if (!spte_present(at.old))
			at.old = link_table(ept, at.slot, at.level);
		if (!spte_is_table(at.old))
			break;
		(void)ept_descend(&at, frame, at.level - 1);
	}
	return at;
}

enum map_result ept_map_into(struct ept *ept, struct ept_place at, gfn_t frame, unsigned level,
			     spte_t *leaf, enum access access)
{
	if (at.level > level && !spte_present(at.old))
		at = link_tables(ept, at, frame, level);
	/* The leaf's own place is higher up, and a table is there. */
	if (at.level < level)
		return MAP_CONFLICT;
	/* U10. */
	if (at.level > level)
		return spte_is_leaf(at.old) ? judge(at.old, leaf, access) : MAP_STALE;
	if (!spte_present(at.old) && ept_fill_entry(ept, at.slot, level, *leaf, &at.old))
		return MAP_INSTALLED;
	if (spte_is_frozen(at.old))
		return MAP_STALE;
	return grow(ept, at.slot, leaf, at.old, access);
}
