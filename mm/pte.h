/*
 * Entries of the primary page tables: x86-64, four levels. SDM "4-Level Paging and 5-Level
 * Paging". A pte_t is a value: copied, tested, built anew. A pte_slot_t is a place in a table,
 * which the process's CPU may change at any time (A and D), so it is read and written only whole
 * and atomically.
 *
 *	63  62  55   54  53      52  51             12 11   10   9         8    7  6 5 4   3   2 1 0
 *	NX   -       SOFT SPECIAL OWN frame            ONLY SWAP MIGRATION none PS D A PCD PWT U W P
 *
 * PS: a leaf at level 2 or 3. In a leaf, OWN: the page is this process's alone, a store needs no
 * copy (Linux: PageAnonExclusive for an anonymous one); SPECIAL: the frame has no reference from
 * this entry (Linux: pte_special); SOFT: written since somebody asked (Linux: _PAGE_SOFT_DIRTY);
 * SECRET, bit 55: for the process's own CPU only (secret.c).
 *
 * With P clear the CPU ignores the other bits (same section), and software forms stand there. Two
 * keep a page: `none`, whose VMA allows nothing, or that waits for a NUMA hinting fault (Linux:
 * _PAGE_PROTNONE, the G bit too). Others keep the place of one: MIGRATION alone, of a page on the
 * move under the lock, or with all that the leaf said, P and `none` where PWT and PCD were (a leaf
 * that is parked); SWAP and a slot in place of the frame; ONLY and a frame, lent to a device alone
 * (Linux: migration entry, swap entry, device exclusive entry).
 */
#ifndef MM_PTE_H
#define MM_PTE_H

#include "mm/base/addr.h"
#include "mm/base/atomic.h"
#include "mm/mm.h"

typedef struct { uint64_t bits; } pte_t;
typedef struct { uint64_t live; } pte_slot_t;

#define PTE_P		UINT64_C(0x001)
#define PTE_W		UINT64_C(0x002)
#define PTE_U		UINT64_C(0x004)
#define PTE_WAS_P	UINT64_C(0x008)
#define PTE_WAS_NONE	UINT64_C(0x010)
#define PTE_A		UINT64_C(0x020)
#define PTE_D		UINT64_C(0x040)
#define PTE_PS		UINT64_C(0x080)
#define PTE_NONE	UINT64_C(0x100)
#define PTE_MIGRATION	UINT64_C(0x200)
#define PTE_SWAP	UINT64_C(0x400)
#define PTE_ONLY	UINT64_C(0x800)
#define PTE_OWN		(UINT64_C(1) << 52)
#define PTE_SPECIAL	(UINT64_C(1) << 53)
#define PTE_SOFT	(UINT64_C(1) << 54)
#define PTE_SECRET	(UINT64_C(1) << 55)
#define PTE_NX		(UINT64_C(1) << 63)
#define PTE_FRAME	UINT64_C(0x000ffffffffff000)

enum { ROOT_LEVEL = 4 };

static inline pte_t pte_empty(void) { return (pte_t){ 0 }; }
static inline pte_t pte_migration(void) { return (pte_t){ PTE_MIGRATION }; }
/* A leaf of 4 KiB that no CPU can use until it is put back as it was. */
static inline pte_t pte_parked(pte_t p)
{
	uint64_t was = (p.bits & PTE_P ? PTE_WAS_P : 0) | (p.bits & PTE_NONE ? PTE_WAS_NONE : 0);

	return (pte_t){ (p.bits & ~(PTE_P | PTE_NONE)) | PTE_MIGRATION | was };
}
static inline bool pte_is_parked(pte_t p)
{
	return !(p.bits & (PTE_P | PTE_NONE)) && p.bits & PTE_MIGRATION &&
	       p.bits & (PTE_WAS_P | PTE_WAS_NONE);
}
static inline pte_t pte_unparked(pte_t p)
{
	uint64_t is = (p.bits & PTE_WAS_P ? PTE_P : 0) | (p.bits & PTE_WAS_NONE ? PTE_NONE : 0);

	return (pte_t){ (p.bits & ~(PTE_MIGRATION | PTE_WAS_P | PTE_WAS_NONE)) | is };
}
static inline pte_t pte_swap(uint32_t slot)
{
	return (pte_t){ (uint64_t)slot << PAGE_SHIFT | PTE_SWAP };
}
static inline bool pte_is_empty(pte_t p) { return !p.bits; }
static inline bool pte_is_swap(pte_t p)
{
	return !(p.bits & (PTE_P | PTE_NONE)) && p.bits & PTE_SWAP;
}
static inline uint32_t pte_swap_slot(pte_t p) { return (uint32_t)(p.bits >> PAGE_SHIFT); }
static inline bool pte_is_only(pte_t p)
{
	return !(p.bits & (PTE_P | PTE_NONE)) && p.bits & PTE_ONLY;
}
static inline bool pte_own(pte_t p) { return p.bits & PTE_OWN; }
static inline bool pte_secret(pte_t p) { return p.bits & PTE_SECRET; }
static inline bool pte_special(pte_t p) { return p.bits & PTE_SPECIAL; }
static inline bool pte_soft(pte_t p) { return p.bits & PTE_SOFT; }
static inline bool pte_writable(pte_t p) { return p.bits & PTE_W; }
static inline bool pte_present(pte_t p) { return p.bits & PTE_P; }
static inline bool pte_dirty(pte_t p) { return p.bits & PTE_D; }
static inline bool pte_accessed(pte_t p) { return p.bits & PTE_A; }
static inline pfn_t pte_frame(pte_t p) { return pfn((p.bits & PTE_FRAME) >> PAGE_SHIFT); }

/* Names a page of memory, with or without rights to it. */
static inline bool pte_leaf(pte_t p, unsigned level)
{
	return p.bits & (PTE_P | PTE_NONE) && (level == LEVEL_4K || p.bits & PTE_PS);
}

/* Has a reference to a page, and is counted as one of its entries. */
static inline bool pte_keeps_page(pte_t p, unsigned level)
{
	return pte_leaf(p, level) || (level == LEVEL_4K && pte_is_only(p));
}

/* Names a table. */
static inline bool pte_table(pte_t p, unsigned level)
{
	return p.bits & PTE_P && level > LEVEL_4K && !(p.bits & PTE_PS);
}

static inline pte_t pte_make_table(pfn_t table)
{
	return (pte_t){ table.raw << PAGE_SHIFT | PTE_P | PTE_W | PTE_U };
}

static inline pte_t pte_with_rights(pte_t p, enum protection protection)
{
	p.bits &= ~(PTE_P | PTE_W | PTE_NONE);
	switch (protection) {
	case PROTECTION_NONE: p.bits |= PTE_NONE; break;
	case PROTECTION_READ: p.bits |= PTE_P; break;
	case PROTECTION_READ_WRITE: p.bits |= PTE_P | PTE_W; break;
	}
	return p;
}

/*
 * A leaf that has not been touched. Nobody executes from a space: no entry allows it. W comes with
 * SOFT, here and wherever it is given: a page without SOFT has not been written.
 */
static inline pte_t pte_make_leaf(pfn_t frame, unsigned level, enum protection protection)
{
	uint64_t size = level == LEVEL_4K ? 0 : PTE_PS;
	uint64_t soft = protection == PROTECTION_READ_WRITE ? PTE_SOFT : 0;

	return pte_with_rights((pte_t){ frame.raw << PAGE_SHIFT | size | soft | PTE_U | PTE_NX },
			       protection);
}

/*
 * The place of a page of 4 KiB that a device has for itself. D: the device will write there.
 * Linux: make_device_exclusive_entry.
 */
static inline pte_t pte_only(pte_t leaf)
{
	return (pte_t){ (leaf.bits & ~(PTE_P | PTE_W | PTE_NONE)) | PTE_ONLY | PTE_D };
}

/* What the CPU does to the leaf of a page that it uses: SDM "Accessed and Dirty Flags". */
static inline pte_t pte_touched(pte_t p, enum access access)
{
	return (pte_t){ p.bits | PTE_A | (access & ACCESS_WRITE ? PTE_D : 0) };
}

/* The same memory and rights, one page of the next lower level. */
static inline pte_t pte_child(pte_t p, unsigned level, unsigned index)
{
	p.bits += index * level_bytes(level - 1);
	if (level - 1 == LEVEL_4K)
		p.bits &= ~PTE_PS;
	return p;
}

static inline pte_t pte_with_frame(pte_t p, pfn_t frame)
{
	return (pte_t){ (p.bits & ~PTE_FRAME) | frame.raw << PAGE_SHIFT };
}

static inline pte_t pte_read(const pte_slot_t *slot) { return (pte_t){ atomic_read(slot) }; }

#endif
