/*
 * A place in an EPT table, shared with every processor that walks it: A and D may appear at any
 * moment. Read whole, exchanged whole, or bits taken away; there is no plain access, so neither
 * `spte_dirty(*slot)` nor `*slot = v` compiles.
 *
 * Who may change one: change.c alone, and table.c in tables that nothing reaches.
 */
#ifndef EPT_SLOT_H
#define EPT_SLOT_H

#include "ept/spte.h"
#include "mm/base/atomic.h"

typedef struct { uint64_t live; } spte_slot_t;

static inline spte_t slot_read(const spte_slot_t *slot) { return (spte_t){ atomic_read(slot) }; }

/* Each returns, or leaves in *old, what stood there. */
static inline spte_t slot_xchg(spte_slot_t *slot, spte_t new)
{
	return (spte_t){ atomic_xchg(slot, new.bits) };
}

static inline bool slot_cmpxchg(spte_slot_t *slot, spte_t *old, spte_t new)
{
	return atomic_cmpxchg(slot, &old->bits, new.bits);
}

static inline spte_t slot_and_not(spte_slot_t *slot, uint64_t bits)
{
	return (spte_t){ atomic_and(slot, ~bits) };
}

/*
 * From now on this CPU's alone; returns what stood there. Who finds it frozen waits until it is not
 * (U13).
 */
static inline spte_t slot_freeze(spte_slot_t *slot)
{
	spte_t old;

	do {
		await(!spte_is_frozen(old = slot_read(slot)));
	} while (!slot_cmpxchg(slot, &old, spte_frozen()));
	return old;
}
/* What this CPU has done with it is done. */
static inline void slot_thaw(spte_slot_t *slot, spte_t new)
{
	atomic_write(slot, new.bits);
}

/* In a table that nothing reaches yet: what links it publishes this as well. */
static inline void slot_fill(spte_slot_t *slot, spte_t new)
{
	atomic_write_relaxed(slot, new.bits);	/* relaxed: nobody reads it before the link */
}

/* The 512 places of the table in that frame. */
static inline spte_slot_t *table_slots(pfn_t table) { return pfn_to_ptr(table); }

static inline unsigned gfn_index(gfn_t frame, unsigned level)
{
	return level_index(gfn_to_gpa(frame).raw, level);
}

#endif
