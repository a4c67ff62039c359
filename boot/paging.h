/*
 * The image's own page tables, 4 levels. Built on one CPU before the host exists; nothing changes
 * them after boot_main(), so every CPU reads them without a lock.
 */
#ifndef BOOT_PAGING_H
#define BOOT_PAGING_H

#include "boot/ranges.h"

/* SDM "Paging-Structure Entries": the bits used here. */
#define PTE_PRESENT   (UINT64_C(1) << 0)
#define PTE_WRITE     (UINT64_C(1) << 1)
#define PTE_PWT       (UINT64_C(1) << 3)
#define PTE_PCD       (UINT64_C(1) << 4)
#define PTE_LARGE     (UINT64_C(1) << 7)
#define PTE_GLOBAL    (UINT64_C(1) << 8)
#define PTE_NX        (UINT64_C(1) << 63)
#define PTE_ADDRESS   UINT64_C(0x000ffffffffff000)

enum stack_kind { STACK_MAIN, STACK_NMI, STACK_DOUBLE_FAULT, STACK_MACHINE_CHECK, STACK_KINDS };

/* The tables for the image and the direct map. They are not in use until paging_use(). */
void paging_build(const struct range_set *ram);
/* Stacks for CPUs 0 to count - 1. */
void paging_map_stacks(unsigned count);
/* A page of device registers, uncached, at its place in the direct map. */
void paging_map_device(hpa_t page);
/* Puts them in force on this CPU. */
void paging_use(void);
hpa_t paging_root(void);

/* Where a stack begins (it grows down); the bytes below its last page are never mapped. */
uint64_t stack_top(unsigned cpu, enum stack_kind kind);
uint64_t stack_bytes(enum stack_kind kind);
/* Whether the address lies in the stacks' window: mapped or, for an overflow, not. */
bool stack_window_holds(uint64_t address);

/* The leaf that translates an address: its level, with the entry in *entry; 0 when none does. */
unsigned paging_find(uint64_t address, uint64_t *entry);

#endif
