/*
 * What a processor does with an EPT and with a guest's page tables, as one list of cases: tables to
 * build, accesses to make, claims about what came of them, each from the SDM. The same list is run
 * by the soft CPU, hosted and in the image, and by the real CPU in the image; so the soft CPU is
 * compared with one that nobody here wrote.
 *
 * The guest's physical memory, the same for both:
 *
 *	0x1000   code, stack		as in tests/boot/box.h; A and D are set beforehand, so
 *	0x10000  page tables		that neither they nor the log see anything of it
 *	0x40000  the EPT's tables	of levels 3, 2, 1 of what follows: the guest can change them
 *	AT       the tested pages	16 of them, under tables of their own; linear = physical
 *
 * With AGREE_PAGING, pages 8, 9 and 10 are the guest's own tables of levels 3, 2, 1 for AT.
 */
#ifndef TESTS_HOST_AGREE_H
#define TESTS_HOST_AGREE_H

#include "tests/host/soft_cpu.h"

#define AGREE_AT     (UINT64_C(1) << 39)
#define AGREE_TABLES UINT64_C(0x10000)
#define AGREE_ALIAS  UINT64_C(0x40000)
/* What the tested pages are full of: whatever is called comes back at once. */
#define AGREE_RETURNS UINT64_C(0xc3c3c3c3c3c3c3c3)

enum { AGREE_PAGES = 16, AGREE_TABLES_ORDER = 3, AGREE_MEMORY_ORDER = 6 };
enum { AGREE_PATCHES = 4, AGREE_STEPS = 6, AGREE_CLAIMS = 14 };

/* What a case is like, and what it needs of the processor. */
enum {
	AGREE_PLAIN = 1,		/* the EPT's A and D off */
	AGREE_LOG = 2,			/* page-modification logging */
	AGREE_PAGING = 4,
	AGREE_2M = 8, AGREE_1G = 16,	/* one leaf of that size; only page `n` as an address */
	AGREE_EXECUTE_ONLY = 32, AGREE_NO_EXECUTE_ONLY = 64,
};

enum agree_place { AGREE_EPT = 1, AGREE_GUEST };

/* An entry that is not as agree_build makes it. A level's entries but the lowest's are one each. */
struct agree_patch {
	enum agree_place place;
	unsigned level, page;
	uint64_t clear, set;
	bool beyond;			/* and the first address bit that the processor lacks */
};

/* The first five are the guest's, in one entry: snippet `steps` knows the numbers. */
enum agree_verb { AGREE_END, AGREE_LOAD, AGREE_STORE, AGREE_EXCHANGE, AGREE_FETCH,
		  AGREE_CLEAR,		/* bits of an EPT entry, and nobody is told */
		  AGREE_INVEPT };	/* out of the guest, and in again */

struct agree_step {
	enum agree_verb verb;
	unsigned page, offset;		/* CLEAR: level in `offset` */
	uint64_t value;			/* to store; bits to clear */
};

enum agree_subject { AGREE_NOTHING, AGREE_EXIT, AGREE_QUALIFICATION, AGREE_ADDRESS, AGREE_LINEAR,
		     AGREE_EPT_FLAGS, AGREE_GUEST_FLAGS, AGREE_LOGGED, AGREE_NOT_LOGGED,
		     AGREE_INDEX, AGREE_WORD, AGREE_LOADED };

struct agree_claim {
	enum agree_subject subject;
	unsigned which;			/* level; place in the log; step; */
	unsigned page;
	uint64_t wanted;		/* for addresses the offset in `page` */
	uint64_t free;			/* bits that the SDM leaves to the processor */
};

struct agree_case {
	const char *name;
	unsigned flags;
	uint16_t index;			/* of the log, at first */
	struct agree_patch patches[AGREE_PATCHES];
	struct agree_step steps[AGREE_STEPS];
	struct agree_claim claims[AGREE_CLAIMS];
};
extern const struct agree_case agree_cases[];
extern const unsigned agree_case_count;

/* ------------------------------------------------------------------ one world for each case */

struct agree_world {
	/* The caller's: 8, 64 and 1 pages, each aligned to its size, of zeros at first. */
	uint64_t *tables;
	uint8_t *memory;
	uint64_t *log;
	unsigned physical_bits;
	bool accessed_dirty, pml, execute_only;
	unsigned max_level;

	/* agree_build's. */
	const struct agree_case *what;
	uint64_t eptp;
};

bool agree_can(const struct agree_world *world, const struct agree_case *what);
void agree_build(struct agree_world *world, const struct agree_case *what);
gpa_t agree_gpa(const struct agree_world *world, unsigned page);
/* The tested entries; page is of level 1. */
uint64_t *agree_entry(const struct agree_world *world, enum agree_place place, unsigned level,
		      unsigned page);

/* What came of it, beside what stands in memory. */
struct agree_seen {
	struct soft_exit exit;		/* of a page fault: error code and CR2 */
	uint16_t index;
	uint64_t loaded[AGREE_STEPS];
};

/* Runs the world's case on the soft CPU, which is initialized here. */
void agree_on_soft(const struct agree_world *world, struct soft_cpu *cpu, struct agree_seen *seen);

/* ------------------------------------------------------------------ the comparison */

/*
 * A claim that a known processor does not meet: what differs, and why that is not our error. Those
 * that follow from one fault stand together, with the same `why`.
 */
#define AGREE_ANYHOW (~UINT64_C(0))	/* an address, which is never so large */
struct agree_erratum {
	const char *name;		/* of the case; * at the end: all that begin so */
	enum agree_subject subject;
	uint64_t differs;		/* found ^ wanted */
	const char *why;
};
extern const struct agree_erratum agree_errata[];
extern const unsigned agree_erratum_count;

enum { AGREE_ERRATA_MAX = 32 };
struct agree_tally {
	unsigned cases, left_out, claims, agreed, wrong, excused;
	/* Claims that an erratum is about, and those that differ as it says. */
	unsigned asked[AGREE_ERRATA_MAX], met[AGREE_ERRATA_MAX];
	void (*say)(const char *format, ...) __attribute__((format(printf, 1, 2)));
};

/* Each claim of the world's case; says what is wrong. With `errata` those excuse. */
void agree_judge(const struct agree_world *world, const struct agree_seen *seen, bool errata,
		 struct agree_tally *tally);
/*
 * The figures, and each erratum with what became of it. False when claims were wrong, or when
 * a processor that has some of the errata does not have another: the list is out of date.
 */
bool agree_report(const struct agree_tally *tally, const char *whose);

#endif
