/*
 * Guest addresses where no region stands, kept in the tables: entries on which the processor leaves
 * the guest by an EPT misconfiguration, which then needs no lock to be known for what it is. For
 * ept's own files.
 */
#ifndef EPT_MMIO_H
#define EPT_MMIO_H

#include "ept/state.h"

/*
 * No region stands at the frame, nor leaves: an entry says so from now on, where one can without a
 * table for its own sake.
 */
void mmio_install(struct ept *ept, gfn_t frame) HOLDS_SHARED(ept->lock);

/* What it says still holds. */
static inline bool mmio_is_current(const struct ept *ept, spte_t s)
{
	return spte_generation(s) == atomic_read(&ept->region_generation);
}

/*
 * A region has come: all of the entries are out of date, wherever they are. The last generation
 * stays when it is reached, and no entry is made in it: so none ever comes to look new again.
 */
static inline void mmio_outdate(struct ept *ept) HOLDS(ept->lock)
{
	if (atomic_read(&ept->region_generation) < SPTE_GENERATION_LAST)
		atomic_add(&ept->region_generation, 1);
}

#endif
