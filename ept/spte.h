/*
 * An EPT entry as a value: a snapshot that is copied, tested, and built anew, never changed where
 * it stands. What stands in a table is a spte_slot_t (slot.h), and only that header turns one into
 * the other. All bits of the format are here and nowhere else.
 *
 * A leaf; SDM "Format of an EPT Page-Table Entry that Maps a 4-KByte Page", and the two formats
 * for larger pages:
 *
 *   63 62 61 60 59 58   56 55 54 53 52 51                       12 11 10 9 8  7    6    5..3 2 1 0
 *   -  SA  -    PF ignored SX SR MW HW frame (low bits 0 in large)  P  -  D A leaf IPAT type X W R
 *
 * A table; SDM "Format of an EPT PDE that References an EPT Page Table" and its like:
 *
 *   63         52 51                            12  11 10  9  8   7      6..3    2 1 0
 *   ignored        frame of the table               P   -  -  A   0   reserved 0  X W R
 *
 * Software's own: P (present), HW (host writable), MW (MMU writable), SR and SX (saved rights), PF
 * (prefetched), SA (A and D by software) stand where the processor looks at nothing, in every
 * format. Bit 7 is ignored in a 4 KiB leaf; it is set there too, so that a leaf is known without
 * its level.
 *
 * Where nothing is (mmio.h), at any level; P is clear, so software finds no entry there:
 *
 *   63         52 51                            12  11                    3  2 1 0
 *   0              generation, inverted             0                        1 1 0
 */
#ifndef EPT_SPTE_H
#define EPT_SPTE_H

#include "mm/base/addr.h"
#include "mm/base/check.h"
#include "mm/mm.h"

typedef struct { uint64_t bits; } spte_t;

#define SPTE_R             (UINT64_C(1) << 0)
#define SPTE_W             (UINT64_C(1) << 1)
#define SPTE_X             (UINT64_C(1) << 2)
#define SPTE_RIGHTS        (SPTE_R | SPTE_W | SPTE_X)
#define SPTE_TYPE          (UINT64_C(7) << 3)
#define SPTE_WRITE_BACK    (UINT64_C(6) << 3)
/* The guest's own PAT has no say: its memory is cached as the host that owns it caches it. */
#define SPTE_IGNORE_PAT    (UINT64_C(1) << 6)
#define SPTE_LEAF          (UINT64_C(1) << 7)
#define SPTE_A             (UINT64_C(1) << 8)
#define SPTE_D             (UINT64_C(1) << 9)
#define SPTE_PRESENT       (UINT64_C(1) << 11)
#define SPTE_FRAME         UINT64_C(0x000ffffffffff000)
/*
 * The host's mapping and the region both allow writes. It comes with a lookup that says so, and
 * goes, from an entry that stays, in a bracket that only protects.
 */
#define SPTE_HOST_WRITABLE (UINT64_C(1) << 52)
/* Nobody here write-protects it: W may be given back without asking. */
#define SPTE_MMU_WRITABLE  (UINT64_C(1) << 53)
/*
 * Where the processor has no A, a leaf that is to look unused has no rights, and keeps R and X
 * here: the next touch faults, and has them back (U9). W is not kept: MW says whether it comes
 * back.
 */
#define SPTE_SAVED_R       (UINT64_C(1) << 54)
#define SPTE_SAVED_X       (UINT64_C(1) << 55)
#define SPTE_SAVED         (SPTE_SAVED_R | SPTE_SAVED_X)
/*
 * In a leaf of 4 KiB alone: no fault asked for it, and nobody has said yet that it was used (S5).
 */
#define SPTE_PREFETCHED    (UINT64_C(1) << 59)
/*
 * In a leaf alone: no processor sets A and D here (the EPT's pointer has them off), software does,
 * by faults. Fixed when the leaf is made. Linux has a third mode, where the processor sets them and
 * software write-protects nevertheless (SPTE_TDP_AD_WRPROT_ONLY): for guests of guests under PML,
 * which lists the inner guest's addresses. No guest here has tables of its own behind these.
 */
#define SPTE_SOFT_AD       (UINT64_C(1) << 62)
/* Neither is of an entry that is present: what it is instead. */
#define SPTE_DEAD          (UINT64_C(1) << 56)
#define SPTE_FROZEN        (UINT64_C(1) << 57)
/* All that tells a leaf that may be written from one that may not. */
#define SPTE_WRITE_BITS    (SPTE_HOST_WRITABLE | SPTE_MMU_WRITABLE | SPTE_W | SPTE_D)

enum { EPT_ROOT_LEVEL = 4, EPT_ENTRIES = 512 };

/* The format's, as we have the processor go by it; and software's, P to FROZEN. */
#define SPTE_FORMAT   (SPTE_RIGHTS | SPTE_TYPE | SPTE_IGNORE_PAT | SPTE_LEAF | SPTE_A | SPTE_D | \
		       SPTE_FRAME)
#define SPTE_SOFTWARE (SPTE_PRESENT | SPTE_HOST_WRITABLE | SPTE_MMU_WRITABLE | SPTE_SAVED | \
		       SPTE_PREFETCHED | SPTE_SOFT_AD | SPTE_DEAD | SPTE_FROZEN)
/*
 * With some control on, a leaf's: user execute, guest paging (two), shadow stacks, sub-pages, #VE.
 */
#define SPTE_CONTROLS (UINT64_C(1) << 10 | UINT64_C(0x36) << 56 | UINT64_C(1) << 63)

/* U6: nobody's bit is another's. */
_Static_assert(!(SPTE_FORMAT & SPTE_SOFTWARE), "software's bits and the processor's");
_Static_assert(__builtin_popcountll(SPTE_SOFTWARE) == 9, "software's, between each other");
_Static_assert(!(SPTE_CONTROLS & SPTE_SOFTWARE & ~(SPTE_DEAD | SPTE_FROZEN)),
	       "ignored in any leaf");

/* The rights are the bits of enum access. */
_Static_assert(SPTE_R == ACCESS_READ && SPTE_W == ACCESS_WRITE && SPTE_X == ACCESS_EXEC,
	       "access bits");

static inline bool spte_present(spte_t s) { return s.bits & SPTE_PRESENT; }
static inline bool spte_is_leaf(spte_t s)
{
	return (s.bits & (SPTE_PRESENT | SPTE_LEAF)) == (SPTE_PRESENT | SPTE_LEAF);
}
static inline bool spte_is_table(spte_t s)
{
	return (s.bits & (SPTE_PRESENT | SPTE_LEAF)) == SPTE_PRESENT;
}
static inline bool spte_writable(spte_t s) { return s.bits & SPTE_W; }
static inline bool spte_accessed(spte_t s) { return s.bits & SPTE_A; }
static inline bool spte_dirty(spte_t s) { return s.bits & SPTE_D; }
static inline bool spte_host_writable(spte_t s) { return s.bits & SPTE_HOST_WRITABLE; }
static inline bool spte_mmu_writable(spte_t s) { return s.bits & SPTE_MMU_WRITABLE; }
static inline bool spte_prefetched(spte_t s) { return s.bits & SPTE_PREFETCHED; }

/* Who sets A and D, as the bit of each leaf that says so. */
typedef struct { uint64_t bit; } ad_mode_t;
#define AD_PROCESSOR ((ad_mode_t){ 0 })
#define AD_SOFTWARE  ((ad_mode_t){ SPTE_SOFT_AD })
static inline bool spte_soft_ad(spte_t s) { return s.bits & SPTE_SOFT_AD; }
static inline bool spte_allows(spte_t s, enum access access)
{
	return (s.bits & access) == (uint64_t)access;
}
/*
 * The new leaf is the old one, and may be written besides; it is asked for, if the old one was not.
 */
static inline bool spte_adds_write(spte_t old, spte_t new)
{
	old.bits &= ~SPTE_PREFETCHED;
	return !((old.bits ^ new.bits) & ~(SPTE_WRITE_BITS | SPTE_A)) && !(old.bits & ~new.bits);
}
static inline bool spte_tracked(spte_t s) { return s.bits & SPTE_SAVED; }
/* The same leaf, to look unused; and with its rights again. */
static inline spte_t spte_track(spte_t s)
{
	uint64_t saved = (s.bits & SPTE_R ? SPTE_SAVED_R : 0) |
			 (s.bits & SPTE_X ? SPTE_SAVED_X : 0);

	return (spte_t){ (s.bits & ~(SPTE_RIGHTS | SPTE_A)) | saved };
}
static inline spte_t spte_restored(spte_t s)
{
	uint64_t rights = (s.bits & SPTE_SAVED_R ? SPTE_R : 0) |
			  (s.bits & SPTE_SAVED_X ? SPTE_X : 0);

	return (spte_t){ (s.bits & ~SPTE_SAVED) | rights };
}
static inline pfn_t spte_frame(spte_t s) { return pfn((s.bits & SPTE_FRAME) >> PAGE_SHIFT); }

static inline spte_t spte_empty(void) { return (spte_t){ 0 }; }

/* All rights: those of the leaves below decide. A, D: the processor sets A, D has no meaning. */
static inline spte_t spte_make_table(pfn_t table)
{
	return (spte_t){ table.raw << PAGE_SHIFT | SPTE_PRESENT | SPTE_RIGHTS };
}

/*
 * A leaf for a page that is being used: A is set, and D as well where it may be written, so that
 * the processor need not come back to set them. Where A and D are off it ignores both bits, and
 * they are software's. Who logs stores takes W or D away.
 */
static inline spte_t spte_make_leaf(pfn_t frame, bool host_writable, ad_mode_t mode)
{
	uint64_t write = host_writable ? SPTE_WRITE_BITS : 0;

	return (spte_t){ frame.raw << PAGE_SHIFT | SPTE_PRESENT | SPTE_LEAF | SPTE_WRITE_BACK |
			 SPTE_IGNORE_PAT | SPTE_A | SPTE_R | SPTE_X | write | mode.bit };
}

/*
 * A leaf of 4 KiB for a page that may be written and that nobody has asked for yet: as above but
 * unused, so it is put aside where the processor has no A (U7).
 */
static inline spte_t spte_make_prefetched(pfn_t frame, ad_mode_t mode)
{
	spte_t leaf = spte_make_leaf(frame, true, mode);

	leaf.bits = (leaf.bits & ~SPTE_A) | SPTE_PREFETCHED;
	return spte_soft_ad(leaf) ? spte_track(leaf) : leaf;
}

/* The same memory and rights, one page of the next lower level. */
static inline spte_t spte_child(spte_t s, unsigned level, unsigned index)
{
	return (spte_t){ s.bits + index * level_bytes(level - 1) };
}

/*
 * The first entry of a table that waits to be freed: names the next one that waits (frame 0:
 * none). Bits 2:0 are clear, so to a processor that still walks there it is not present.
 */
static inline spte_t spte_make_waiting(pfn_t next) { return (spte_t){ next.raw << PAGE_SHIFT }; }

/*
 * A table out of use: not present to a processor, nor to a walk, but what its leaves know is still
 * to be passed on, by who finds it here (leave.c). Its address is kept inverted: a processor that
 * guesses what lies behind an entry without rights (L1TF) finds no memory there.
 */
static inline spte_t spte_make_dead(pfn_t table)
{
	return (spte_t){ SPTE_DEAD | (~(table.raw << PAGE_SHIFT) & SPTE_FRAME) };
}
static inline bool spte_is_dead(spte_t s)
{
	return (s.bits & (SPTE_PRESENT | SPTE_DEAD)) == SPTE_DEAD;
}
static inline pfn_t spte_dead_table(spte_t s) { return pfn((~s.bits & SPTE_FRAME) >> PAGE_SHIFT); }

/*
 * Some CPU is at it: nobody else changes the entry, or goes by it, until it has another value
 * (U10). No frame, no rights, and no bit that others take away unseen.
 */
static inline spte_t spte_frozen(void) { return (spte_t){ SPTE_FROZEN }; }
static inline bool spte_is_frozen(spte_t s) { return s.bits == SPTE_FROZEN; }

/*
 * Not present to software, and no entry at all to a processor: W without R is a misconfiguration
 * whatever else is set, at any level, and is not cached (SDM "EPT Misconfigurations", "Creating and
 * Using Cached Translation Information"). Says that nothing was there as of that generation of the
 * regions. Inverted: as in a dead entry, what looks like a frame is none that has memory. Linux:
 * make_mmio_spte, get_mmio_spte_generation.
 */
#define SPTE_GENERATION_LAST (SPTE_FRAME >> PAGE_SHIFT)
static inline spte_t spte_make_mmio(uint64_t generation)
{
	return (spte_t){ SPTE_W | SPTE_X | (~(generation << PAGE_SHIFT) & SPTE_FRAME) };
}
static inline bool spte_is_mmio(spte_t s)
{
	return (s.bits & (SPTE_PRESENT | SPTE_RIGHTS)) == (SPTE_W | SPTE_X);
}
static inline uint64_t spte_generation(spte_t s) { return (~s.bits & SPTE_FRAME) >> PAGE_SHIFT; }

/*
 * NULL when the value is one that this EPT may hold at this level, otherwise what is wrong: as the
 * processor sees it (SDM "EPT Misconfigurations") and as software does (U6. H, M, W: 111, 110, 100
 * or 000; rights are put aside, and W has D with it, where software keeps A and D).
 */
const char *spte_fault(spte_t s, unsigned level);

#endif
