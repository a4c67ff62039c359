/*
 * A host process's own accesses, made by this CPU through the process's page tables: they are
 * loaded in CR3, the processor walks them and sets A and D, and what they do not allow is a page
 * fault.
 */
#ifndef BOOT_PROCESS_H
#define BOOT_PROCESS_H

#include "mm/mm.h"

/*
 * One aligned word. Faults are taken, and the access tried again, until it succeeds or space_fault
 * refuses: its status then; STATUS_BAD_RANGE: not aligned. No lock held, interrupts off.
 */
MUST_USE enum status process_load(struct space *space, hva_t from, uint64_t *value);
MUST_USE enum status process_store(struct space *space, hva_t to, uint64_t value);

#endif
