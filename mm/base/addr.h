/*
 * Addresses and frame numbers, one type for each space, so that they cannot be mixed.
 *
 *   gpa, gfn   what a guest calls physical memory: byte address, 4 KiB frame number
 *   hva        a host process's virtual address, the name under which mm lends memory
 *   hpa, pfn   the machine's physical memory: byte address, 4 KiB frame number
 *
 * Counts, levels and orders are plain integers. Level 1 is 4 KiB, 2 is 2 MiB, 3 is 1 GiB,
 * both in the primary tables and in the EPT; order n is 2^n frames.
 */
#ifndef MM_BASE_ADDR_H
#define MM_BASE_ADDR_H

#include <stdbool.h>
#include <stdint.h>

#define PAGE_SHIFT 12
#define PAGE_SIZE  UINT64_C(4096)
#define PAGE_MASK  (~(PAGE_SIZE - 1))

enum { LEVEL_4K = 1, LEVEL_2M = 2, LEVEL_1G = 3, LEVEL_512G = 4 };
enum { ORDER_4K = 0, ORDER_2M = 9, ORDER_1G = 18, ORDER_MAX = 18 };

typedef struct { uint64_t raw; } gpa_t;
typedef struct { uint64_t raw; } gfn_t;
typedef struct { uint64_t raw; } hva_t;
typedef struct { uint64_t raw; } hpa_t;
typedef struct { uint64_t raw; } pfn_t;

static inline gpa_t gpa(uint64_t raw) { return (gpa_t){ raw }; }
static inline gfn_t gfn(uint64_t raw) { return (gfn_t){ raw }; }
static inline hva_t hva(uint64_t raw) { return (hva_t){ raw }; }
static inline hpa_t hpa(uint64_t raw) { return (hpa_t){ raw }; }
static inline pfn_t pfn(uint64_t raw) { return (pfn_t){ raw }; }

static inline gfn_t gpa_to_gfn(gpa_t a) { return gfn(a.raw >> PAGE_SHIFT); }
static inline gpa_t gfn_to_gpa(gfn_t f) { return gpa(f.raw << PAGE_SHIFT); }
static inline pfn_t hpa_to_pfn(hpa_t a) { return pfn(a.raw >> PAGE_SHIFT); }
static inline hpa_t pfn_to_hpa(pfn_t f) { return hpa(f.raw << PAGE_SHIFT); }

static inline gpa_t gpa_add(gpa_t a, uint64_t bytes) { return gpa(a.raw + bytes); }
static inline hva_t hva_add(hva_t a, uint64_t bytes) { return hva(a.raw + bytes); }
static inline gfn_t gfn_add(gfn_t f, uint64_t pages) { return gfn(f.raw + pages); }
static inline pfn_t pfn_add(pfn_t f, uint64_t pages) { return pfn(f.raw + pages); }

/* Bits of address below a leaf of this level: 12, 21, 30, 39. */
static inline unsigned level_shift(unsigned level) { return PAGE_SHIFT + 9 * (level - 1); }
/* Bytes and 4 KiB pages that one entry of this level translates. */
static inline uint64_t level_bytes(unsigned level) { return UINT64_C(1) << level_shift(level); }
static inline uint64_t level_pages(unsigned level) { return level_bytes(level) >> PAGE_SHIFT; }
/* The entry's place in its table. */
static inline unsigned level_index(uint64_t address, unsigned level)
{
	return (unsigned)(address >> level_shift(level)) & 511;
}
/* The order of a folio that fills a leaf of this level: 0, 9, 18. */
static inline unsigned level_order(unsigned level) { return 9 * (level - 1); }
/* The smallest order of a folio that holds so many bytes. */
static inline unsigned bytes_order(uint64_t bytes)
{
	unsigned order = 0;

	while (PAGE_SIZE << order < bytes)
		order++;
	return order;
}

#endif
