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

enum map_result ept_map(struct ept *ept, gfn_t frame, unsigned level, spte_t *leaf,
			enum access access)
{
	spte_slot_t *table = table_slots(ept->root);
	spte_t found;

	check(spte_allows(*leaf, access));
	for (unsigned at = EPT_ROOT_LEVEL; at > level; at--) {
		spte_slot_t *slot = &table[gfn_index(frame, at)];

		found = slot_read(slot);
		if (!spte_present(found))
			found = link_table(ept, slot, at);
		if (spte_is_leaf(found))
			return judge(found, leaf, access);
		/* U10. */
		if (!spte_is_table(found))
			return MAP_STALE;
		table = table_slots(spte_frame(found));
	}

	spte_slot_t *slot = &table[gfn_index(frame, level)];

	if (ept_fill_entry(ept, slot, level, *leaf, &found))
		return MAP_INSTALLED;
	if (spte_is_frozen(found))
		return MAP_STALE;
	return grow(ept, slot, leaf, found, access);
}
