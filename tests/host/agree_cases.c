/*
 * The cases of agree.h: every fact about a processor that the soft CPU stands for, and the errata
 * of those that it was compared with. SDM sections: "EPT Translation Mechanism",
 * "EPT Misconfigurations", "EPT Violations", "Exit Qualification for EPT Violations",
 * "Accessed and Dirty Flags for EPT", "Page-Modification Logging", "Accessed and Dirty Flags",
 * "Page-Fault Exceptions".
 */
#include "tests/host/agree.h"

enum { R = 1, W = 2, X = 4, A = 1 << 8, D = 1 << 9, AD = A | D };
enum { GA = 0x20, GD = 0x40, GAD = 0x60, P = 1, GW = 2, PS = 0x80 };
#define NX (UINT64_C(1) << 63)
#define RETURNS AGREE_RETURNS

/* Steps: page 3 unless said otherwise. */
#define LOAD		{ AGREE_LOAD, 3, 0, 0 }
#define STORE		{ AGREE_STORE, 3, 0, 0x77 }
#define EXCHANGE	{ AGREE_EXCHANGE, 3, 0, 0x77 }
#define FETCH		{ AGREE_FETCH, 3, 0, 0 }
#define STORE_TO(p, o)	{ AGREE_STORE, p, o, 0x77 }
#define CLEAR(l, bits)	{ AGREE_CLEAR, 3, l, bits }
#define INVEPT		{ AGREE_INVEPT, 0, 0, 0 }

/* Entries to begin with. */
#define EPT(l, p, c, s)	 { AGREE_EPT, l, p, c, s, false }
#define RIGHTS(l, r)	 EPT(l, 3, 7, r)
#define BEYOND(l)	 { AGREE_EPT, l, 3, 0, 0, true }
#define GUEST(l, c, s)	 { AGREE_GUEST, l, 3, c, s, false }

/* Claims. */
#define DONE		 { AGREE_EXIT, 0, 0, SOFT_DONE, 0 }
#define FLAGS(l, p, f)	 { AGREE_EPT_FLAGS, l, p, f, 0 }
#define UPPER(f)	 FLAGS(4, 0, f), FLAGS(3, 0, f), FLAGS(2, 0, f)
#define GFLAGS(l, p, f)	 { AGREE_GUEST_FLAGS, l, p, f, 0 }
#define LOGGED(i, p)	 { AGREE_LOGGED, i, p, 0, 0 }
#define NOT_LOGGED(i)	 { AGREE_NOT_LOGGED, i, 0, 0, 0 }
#define INDEX(n)	 { AGREE_INDEX, 0, 0, n, 0 }
#define WORD(p, v)	 { AGREE_WORD, 0, p, v, 0 }
#define LOADED(s, v)	 { AGREE_LOADED, s, 0, v, 0 }
/* Bits of features that are off, or that tell of NMIs, are nobody's: 6, 9 and up. */
#define UNDEFINED	 (~UINT64_C(0x1bf))
#define QUALIFIED(q, f)	 { AGREE_QUALIFICATION, 0, 0, q, UNDEFINED | (f) }
#define VIOLATES_AT(p, o, q, linear, lo) \
	{ AGREE_EXIT, 0, 0, SOFT_VIOLATION, 0 }, QUALIFIED(q, 0), \
	{ AGREE_ADDRESS, 0, p, o, 0 }, { AGREE_LINEAR, 0, linear, lo, 0 }
#define VIOLATES(q)	 VIOLATES_AT(3, 0, q, 3, 0)
#define MISCONFIGURED	 { AGREE_EXIT, 0, 0, SOFT_MISCONFIGURATION, 0 }, { AGREE_ADDRESS, 0, 3, \
			   0, 0 }
#define FAULTS(code)	 { AGREE_EXIT, 0, 0, SOFT_PAGE_FAULT, 0 }, \
			 { AGREE_QUALIFICATION, 0, 0, code, 0 }, { AGREE_LINEAR, 0, 3, 0, 0 }
#define FULL		 { AGREE_EXIT, 0, 0, SOFT_PML_FULL, 0 }

/* One entry of level `l` lacks rights: what each access is told. */
#define VIOLATION(name, flags, l, rights, verb, q) \
	{ name, flags, 0, { RIGHTS(l, rights) }, { { verb, 3, 0, 0x77 } }, \
	  { VIOLATES(q), FLAGS(1, 3, 0), WORD(3, RETURNS) } }
#define VIOLATIONS(n, flags, l) \
	VIOLATION("violation/" n "/none_read", flags, l, 0, AGREE_LOAD, 0x181), \
	VIOLATION("violation/" n "/none_write", flags, l, 0, AGREE_STORE, 0x182), \
	VIOLATION("violation/" n "/none_fetch", flags, l, 0, AGREE_FETCH, 0x184), \
	VIOLATION("violation/" n "/r_write", flags, l, R, AGREE_STORE, 0x18a), \
	VIOLATION("violation/" n "/r_fetch", flags, l, R, AGREE_FETCH, 0x18c), \
	VIOLATION("violation/" n "/rw_fetch", flags, l, R | W, AGREE_FETCH, 0x19c), \
	VIOLATION("violation/" n "/rx_write", flags, l, R | X, AGREE_STORE, 0x1aa), \
	VIOLATION("violation/" n "/x_read", (flags) | AGREE_EXECUTE_ONLY, l, X, AGREE_LOAD, \
		  0x1a1), \
	VIOLATION("violation/" n "/x_write", (flags) | AGREE_EXECUTE_ONLY, l, X, AGREE_STORE, \
		  0x1a2)
/* Those of a large leaf say nothing of a level 1. */
#define LARGE_VIOLATION(name, flags, l, rights, verb, q) \
	{ name, flags, 0, { RIGHTS(l, rights) }, { { verb, 3, 0, 0x77 } }, \
	  { VIOLATES(q), FLAGS(l, 0, 0), WORD(3, RETURNS) } }

#define MISCONFIGURATION(name, flags, ...) \
	{ "misconfiguration/" name, flags, 0, { __VA_ARGS__ }, { LOAD }, { MISCONFIGURED } }
#define TYPE(name, t, ...) \
	{ "type/" name, 0, 0, { EPT(1, 3, 0x38, (t) << 3) }, { LOAD }, { __VA_ARGS__ } }

/* The same accesses, with the guest's own tables in pages 8, 9, 10. */
#define TABLE_VIOLATION(name, flags, page, rights, step, q) \
	{ "walk/" name, AGREE_PAGING | (flags), 0, { EPT(1, page, 7, rights) }, { step }, \
	  { VIOLATES_AT(page, (page) == 10 ? 24 : 0, q, 3, 0), FLAGS(1, page, 0), FLAGS(1, 3, 0) } }
#define FAULT(name, step, code, ...) \
	{ "fault/" name, AGREE_PAGING, 0, { __VA_ARGS__ }, { step }, \
	  { FAULTS(code), FLAGS(1, 3, 0), WORD(3, RETURNS) } }

const struct agree_case agree_cases[] = {
	/* ---------------------------------------------------------- A and D */
	{ "flags/read", 0, 0, { { 0 } }, { LOAD },
	  { DONE, UPPER(A), FLAGS(1, 3, A), FLAGS(1, 4, 0), LOADED(0, RETURNS) } },
	{ "flags/write", 0, 0, { { 0 } }, { STORE },
	  { DONE, UPPER(A), FLAGS(1, 3, AD), FLAGS(1, 4, 0), WORD(3, 0x77) } },
	{ "flags/exchange", 0, 0, { { 0 } }, { EXCHANGE },
	  { DONE, UPPER(A), FLAGS(1, 3, AD), WORD(3, 0x77), LOADED(0, RETURNS) } },
	{ "flags/fetch", 0, 0, { { 0 } }, { FETCH }, { DONE, UPPER(A), FLAGS(1, 3, A) } },
	{ "flags/read_2m", AGREE_2M, 0, { { 0 } }, { LOAD },
	  { DONE, FLAGS(4, 0, A), FLAGS(3, 0, A), FLAGS(2, 0, A), LOADED(0, RETURNS) } },
	{ "flags/write_2m", AGREE_2M, 0, { { 0 } }, { STORE },
	  { DONE, FLAGS(4, 0, A), FLAGS(3, 0, A), FLAGS(2, 0, AD), WORD(3, 0x77) } },
	{ "flags/fetch_2m", AGREE_2M, 0, { { 0 } }, { FETCH },
	  { DONE, FLAGS(4, 0, A), FLAGS(3, 0, A), FLAGS(2, 0, A) } },
	{ "flags/read_1g", AGREE_1G, 0, { { 0 } }, { LOAD },
	  { DONE, FLAGS(4, 0, A), FLAGS(3, 0, A), LOADED(0, RETURNS) } },
	{ "flags/write_1g", AGREE_1G, 0, { { 0 } }, { STORE },
	  { DONE, FLAGS(4, 0, A), FLAGS(3, 0, AD), WORD(3, 0x77) } },
	{ "flags/fetch_1g", AGREE_1G, 0, { { 0 } }, { FETCH },
	  { DONE, FLAGS(4, 0, A), FLAGS(3, 0, A) } },
	{ "flags/read_of_dirty", 0, 0, { EPT(1, 3, 0, D) }, { LOAD },
	  { DONE, UPPER(A), FLAGS(1, 3, AD) } },
	{ "flags/write_of_accessed", 0, 0, { EPT(1, 3, 0, A), EPT(2, 0, 0, A) }, { STORE },
	  { DONE, UPPER(A), FLAGS(1, 3, AD) } },
	{ "flags/ignored_d_of_tables", 0, 0, { EPT(4, 0, 0, D), EPT(2, 0, 0, D) }, { STORE },
	  { DONE, FLAGS(4, 0, AD), FLAGS(3, 0, A), FLAGS(2, 0, AD), FLAGS(1, 3, AD) } },
	{ "flags/off_read", AGREE_PLAIN, 0, { { 0 } }, { LOAD },
	  { DONE, UPPER(0), FLAGS(1, 3, 0), LOADED(0, RETURNS) } },
	{ "flags/off_write", AGREE_PLAIN, 0, { { 0 } }, { STORE },
	  { DONE, UPPER(0), FLAGS(1, 3, 0), WORD(3, 0x77) } },
	{ "flags/off_fetch", AGREE_PLAIN, 0, { { 0 } }, { FETCH },
	  { DONE, UPPER(0), FLAGS(1, 3, 0) } },
	{ "flags/off_write_2m", AGREE_PLAIN | AGREE_2M, 0, { { 0 } }, { STORE },
	  { DONE, UPPER(0), WORD(3, 0x77) } },
	{ "flags/off_write_1g", AGREE_PLAIN | AGREE_1G, 0, { { 0 } }, { STORE },
	  { DONE, FLAGS(4, 0, 0), FLAGS(3, 0, 0), WORD(3, 0x77) } },
	{ "flags/several_pages", 0, 0, { { 0 } },
	  { LOAD, STORE_TO(4, 8), { AGREE_FETCH, 5, 16, 0 }, { AGREE_EXCHANGE, 6, 24, 1 } },
	  { DONE, UPPER(A), FLAGS(1, 3, A), FLAGS(1, 4, AD), FLAGS(1, 5, A), FLAGS(1, 6, AD),
	    FLAGS(1, 7, 0), LOADED(3, RETURNS) } },

	/* ---------------------------------------------------------- what is cached */
	{ "cached/write_behind_read", 0, 0, { { 0 } }, { LOAD, STORE },
	  { DONE, FLAGS(1, 3, AD), WORD(3, 0x77) } },
	{ "cached/write_behind_fetch", 0, 0, { { 0 } }, { FETCH, STORE },
	  { DONE, FLAGS(1, 3, AD), WORD(3, 0x77) } },
	{ "cached/dirty_not_set_again", 0, 0, { { 0 } }, { STORE, CLEAR(1, D), STORE },
	  { DONE, FLAGS(1, 3, A) } },
	{ "cached/dirty_set_after_invept", 0, 0, { { 0 } }, { STORE, CLEAR(1, D), INVEPT, STORE },
	  { DONE, FLAGS(1, 3, AD) } },
	{ "cached/clean_then_cleared", 0, 0, { { 0 } }, { LOAD, CLEAR(1, A), STORE },
	  { DONE, FLAGS(1, 3, AD) } },
	{ "cached/accessed_not_set_again", 0, 0, { { 0 } }, { LOAD, CLEAR(1, A), LOAD },
	  { DONE, FLAGS(1, 3, 0) } },
	{ "cached/accessed_set_after_invept", 0, 0, { { 0 } }, { LOAD, CLEAR(1, A), INVEPT, LOAD },
	  { DONE, FLAGS(1, 3, A) } },
	{ "cached/upper_accessed_after_invept", 0, 0, { { 0 } },
	  { LOAD, CLEAR(2, A), CLEAR(3, A), INVEPT, LOAD }, { DONE, UPPER(A), FLAGS(1, 3, A) } },
	{ "cached/stale_right", 0, 0, { { 0 } },
	  { STORE, CLEAR(1, W), { AGREE_STORE, 3, 0, 0x78 } },
	  { DONE, WORD(3, 0x78) } },
	{ "cached/right_gone_after_invept", 0, 0, { { 0 } },
	  { STORE, CLEAR(1, W), INVEPT, { AGREE_STORE, 3, 0, 0x78 } }, { VIOLATES(0x1aa),
	    WORD(3, 0x77) } },
	{ "cached/stale_page", 0, 0, { { 0 } }, { LOAD, CLEAR(1, 7), LOAD }, { DONE } },
	{ "cached/page_gone_after_invept", 0, 0, { { 0 } }, { LOAD, CLEAR(1, 7), INVEPT, LOAD },
	  { VIOLATES(0x181) } },
	{ "cached/table_gone_after_invept", 0, 0, { { 0 } }, { LOAD, CLEAR(2, 7), INVEPT, LOAD },
	  { VIOLATES(0x181) } },

	/* ---------------------------------------------------------- violations */
	VIOLATIONS("4k", 0, 1), VIOLATIONS("pde", 0, 2), VIOLATIONS("pdpte", 0, 3),
	VIOLATIONS("pml4e", 0, 4), VIOLATIONS("off", AGREE_PLAIN, 1),
	LARGE_VIOLATION("violation/2m/none_read", AGREE_2M, 2, 0, AGREE_LOAD, 0x181),
	LARGE_VIOLATION("violation/2m/r_write", AGREE_2M, 2, R, AGREE_STORE, 0x18a),
	LARGE_VIOLATION("violation/2m/rw_fetch", AGREE_2M, 2, R | W, AGREE_FETCH, 0x19c),
	LARGE_VIOLATION("violation/1g/none_read", AGREE_1G, 3, 0, AGREE_LOAD, 0x181),
	LARGE_VIOLATION("violation/1g/rx_write", AGREE_1G, 3, R | X, AGREE_STORE, 0x1aa),
	LARGE_VIOLATION("violation/1g/r_fetch", AGREE_1G, 3, R, AGREE_FETCH, 0x18c),
	{ "violation/levels_together", 0, 0, { RIGHTS(4, R | X), RIGHTS(1, R | W) }, { STORE },
	  { VIOLATES(0x18a), FLAGS(1, 3, 0) } },
	{ "violation/levels_together_fetch", 0, 0, { RIGHTS(3, R | X), RIGHTS(2, R | W) },
	  { FETCH },
	  { VIOLATES(0x18c), FLAGS(1, 3, 0) } },
	/* A read-modify-write may say that it reads, or not. */
	{ "violation/exchange", 0, 0, { RIGHTS(1, R) }, { EXCHANGE },
	  { { AGREE_EXIT, 0, 0, SOFT_VIOLATION, 0 }, QUALIFIED(0x18a, 1), FLAGS(1, 3, 0),
	    WORD(3, RETURNS) } },
	{ "violation/second_step", 0, 0, { EPT(1, 4, 7, R | X) }, { STORE, STORE_TO(4, 0x238) },
	  { VIOLATES_AT(4, 0x238, 0x1aa, 4, 0x238), FLAGS(1, 3, AD), FLAGS(1, 4, 0) } },
	{ "violation/rest_ignored", 0, 0, { EPT(1, 3, 7, ~UINT64_C(7)) }, { LOAD },
	  { VIOLATES(0x181) } },
	{ "violation/rest_ignored_pml4e", 0, 0, { EPT(4, 3, 7, ~UINT64_C(7)) }, { LOAD },
	  { VIOLATES(0x181) } },
	{ "violation/execute_only_fetch", AGREE_EXECUTE_ONLY, 0, { RIGHTS(1, X) }, { FETCH },
	  { DONE, FLAGS(1, 3, A) } },

	/* ---------------------------------------------------------- misconfigurations */
	MISCONFIGURATION("w", 0, RIGHTS(1, W)), MISCONFIGURATION("wx", 0, RIGHTS(1, W | X)),
	MISCONFIGURATION("w_pde", 0, RIGHTS(2, W)),
	MISCONFIGURATION("wx_pdpte", 0, RIGHTS(3, W | X)),
	MISCONFIGURATION("w_pml4e", 0, RIGHTS(4, W)),
	MISCONFIGURATION("wx_2m", AGREE_2M, RIGHTS(2, W | X)),
	MISCONFIGURATION("w_1g", AGREE_1G, RIGHTS(3, W)),
	MISCONFIGURATION("w_off", AGREE_PLAIN, RIGHTS(1, W)),
	MISCONFIGURATION("x", AGREE_NO_EXECUTE_ONLY, RIGHTS(1, X)),
	MISCONFIGURATION("x_pde", AGREE_NO_EXECUTE_ONLY, RIGHTS(2, X)),
	MISCONFIGURATION("type_2", 0, EPT(1, 3, 0x38, 2 << 3)),
	MISCONFIGURATION("type_3", 0, EPT(1, 3, 0x38, 3 << 3)),
	MISCONFIGURATION("type_7", 0, EPT(1, 3, 0x38, 7 << 3)),
	MISCONFIGURATION("type_2_2m", AGREE_2M, EPT(2, 3, 0x38, 2 << 3)),
	MISCONFIGURATION("type_7_1g", AGREE_1G, EPT(3, 3, 0x38, 7 << 3)),
	TYPE("uncacheable", 0, DONE),
	TYPE("write_combining", 1, DONE),
	TYPE("write_through", 4, DONE),
	TYPE("write_protected", 5, DONE), TYPE("write_back", 6, DONE),
	MISCONFIGURATION("beyond", 0, BEYOND(1)), MISCONFIGURATION("beyond_pde", 0, BEYOND(2)),
	MISCONFIGURATION("beyond_pdpte", 0, BEYOND(3)),
	MISCONFIGURATION("beyond_pml4e", 0, BEYOND(4)),
	MISCONFIGURATION("beyond_2m", AGREE_2M, BEYOND(2)),
	MISCONFIGURATION("beyond_1g", AGREE_1G, BEYOND(3)),
	MISCONFIGURATION("reserved_3_pde", 0, EPT(2, 3, 0, 1 << 3)),
	MISCONFIGURATION("reserved_4_pdpte", 0, EPT(3, 3, 0, 1 << 4)),
	MISCONFIGURATION("reserved_5_pml4e", 0, EPT(4, 3, 0, 1 << 5)),
	MISCONFIGURATION("reserved_6_pde", 0, EPT(2, 3, 0, 1 << 6)),
	MISCONFIGURATION("reserved_6_pdpte", 0, EPT(3, 3, 0, 1 << 6)),
	MISCONFIGURATION("large_pml4e", 0, EPT(4, 3, 0, 1 << 7)),
	MISCONFIGURATION("address_12_2m", AGREE_2M, EPT(2, 3, 0, 1 << 12)),
	MISCONFIGURATION("address_13_2m", AGREE_2M, EPT(2, 3, 0, 1 << 13)),
	MISCONFIGURATION("address_20_2m", AGREE_2M, EPT(2, 3, 0, 1 << 20)),
	MISCONFIGURATION("address_12_1g", AGREE_1G, EPT(3, 3, 0, 1 << 12)),
	MISCONFIGURATION("address_13_1g", AGREE_1G, EPT(3, 3, 0, 1 << 13)),
	MISCONFIGURATION("address_29_1g", AGREE_1G, EPT(3, 3, 0, 1 << 29)),
	/* It comes before rights, those of the levels above too. */
	{ "misconfiguration/before_rights", 0, 0, { RIGHTS(4, R), EPT(1, 3, 0x38 | W, 7 << 3) },
	  { STORE }, { MISCONFIGURED, FLAGS(1, 3, 0) } },
	{ "misconfiguration/not_below_a_hole", 0, 0, { RIGHTS(2, 0), RIGHTS(1, W) }, { LOAD },
	  { VIOLATES(0x181) } },

	/* ---------------------------------------------------------- guest paging */
	{ "walk/read", AGREE_PAGING, 0,
	  { GUEST(4, GA, 0), GUEST(3, GA, 0), GUEST(2, GA, 0), GUEST(1, GAD, 0) }, { LOAD },
	  { DONE, GFLAGS(4, 0, GA), GFLAGS(3, 0, GA), GFLAGS(2, 0, GA), GFLAGS(1, 3, GA),
	    FLAGS(1, 8, AD), FLAGS(1, 9, AD), FLAGS(1, 10, AD), FLAGS(1, 3, A), UPPER(A) } },
	{ "walk/write", AGREE_PAGING, 0, { GUEST(1, GAD, 0) }, { STORE },
	  { DONE, GFLAGS(2, 0, GA), GFLAGS(1, 3, GAD), GFLAGS(1, 4, GAD), FLAGS(1, 10, AD),
	    FLAGS(1, 3, AD), WORD(3, 0x77) } },
	{ "walk/fetch", AGREE_PAGING, 0, { GUEST(1, GAD, 0) }, { FETCH },
	  { DONE, GFLAGS(1, 3, GA), FLAGS(1, 10, AD), FLAGS(1, 3, A) } },
	{ "walk/flags_there_already", AGREE_PAGING, 0, { { 0 } }, { LOAD },
	  { DONE, FLAGS(1, 8, AD), FLAGS(1, 9, AD), FLAGS(1, 10, AD), FLAGS(1, 3, A) } },
	{ "walk/write_behind_read", AGREE_PAGING, 0, { GUEST(1, GAD, 0) }, { LOAD, STORE },
	  { DONE, GFLAGS(1, 3, GAD), FLAGS(1, 3, AD) } },
	{ "walk/large_guest_page", AGREE_PAGING, 0, { GUEST(2, GAD | UINT64_C(0xf000), PS) },
	  { STORE },
	  { DONE, GFLAGS(2, 0, GAD), FLAGS(1, 9, AD), FLAGS(1, 10, 0), FLAGS(1, 3, AD),
	    WORD(3, 0x77) } },
	{ "walk/off_read", AGREE_PAGING | AGREE_PLAIN, 0, { GUEST(3, GA, 0), GUEST(1, GAD, 0) },
	  { LOAD },
	  { DONE, GFLAGS(3, 0, GA), GFLAGS(1, 3, GA), FLAGS(1, 8, 0), FLAGS(1, 10, 0),
	    FLAGS(1, 3, 0) } },
	{ "walk/off_write", AGREE_PAGING | AGREE_PLAIN, 0, { GUEST(1, GAD, 0) }, { STORE },
	  { DONE, GFLAGS(1, 3, GAD), FLAGS(1, 10, 0), FLAGS(1, 3, 0), WORD(3, 0x77) } },
	{ "walk/flags_again_after_invept", AGREE_PAGING, 0, { { 0 } },
	  { LOAD, { AGREE_CLEAR, 10, 1, D }, INVEPT, LOAD }, { DONE, FLAGS(1, 10, AD) } },
	{ "walk/flags_not_again", AGREE_PAGING, 0, { { 0 } },
	  { LOAD, { AGREE_CLEAR, 10, 1, D }, LOAD }, { DONE, FLAGS(1, 10, A) } },
	TABLE_VIOLATION("hole_pdpt", 0, 8, 0, LOAD, 0x83),
	TABLE_VIOLATION("hole_pd", 0, 9, 0, STORE, 0x83),
	TABLE_VIOLATION("hole_pt", 0, 10, 0, FETCH, 0x83),
	TABLE_VIOLATION("read_only_pdpt", 0, 8, R, LOAD, 0x8b),
	TABLE_VIOLATION("read_only_pd", 0, 9, R | X, LOAD, 0xab),
	TABLE_VIOLATION("read_only_pt", 0, 10, R, STORE, 0x8b),
	TABLE_VIOLATION("execute_only_pt", AGREE_EXECUTE_ONLY, 10, X, LOAD, 0xa3),
	TABLE_VIOLATION("off_hole_pdpt", AGREE_PLAIN, 8, 0, LOAD, 0x81),
	TABLE_VIOLATION("off_hole_pt", AGREE_PLAIN, 10, 0, STORE, 0x81),
	{ "walk/off_read_only_tables", AGREE_PAGING | AGREE_PLAIN, 0,
	  { EPT(1, 8, W, 0), EPT(1, 9, W, 0), EPT(1, 10, W, 0) }, { STORE }, { DONE,
	    WORD(3, 0x77) } },
	/* The guest's own flags are written: SDM "EPT Violations". As a read-modify-write. */
	{ "walk/off_accessed_in_read_only", AGREE_PAGING | AGREE_PLAIN, 0,
	  { EPT(1, 9, W, 0), GUEST(2, GA, 0) }, { LOAD },
	  { { AGREE_EXIT, 0, 0, SOFT_VIOLATION, 0 }, QUALIFIED(0xaa, 1), GFLAGS(2, 0, 0) } },
	{ "walk/off_dirty_in_read_only", AGREE_PAGING | AGREE_PLAIN, 0,
	  { EPT(1, 10, W, 0), GUEST(1, GD, 0) }, { STORE },
	  { { AGREE_EXIT, 0, 0, SOFT_VIOLATION, 0 }, QUALIFIED(0xaa, 1), GFLAGS(1, 3, GA),
	    WORD(3, RETURNS) } },
	{ "walk/hole_behind", AGREE_PAGING, 0, { RIGHTS(1, 0) }, { LOAD },
	  { VIOLATES(0x181), FLAGS(1, 10, AD) } },
	{ "walk/read_only_behind", AGREE_PAGING, 0, { RIGHTS(1, R) }, { STORE },
	  { VIOLATES(0x18a), FLAGS(1, 3, 0) } },
	{ "walk/misconfigured_table", AGREE_PAGING, 0, { EPT(1, 9, R, 0) }, { LOAD },
	  { { AGREE_EXIT, 0, 0, SOFT_MISCONFIGURATION, 0 }, { AGREE_ADDRESS, 0, 9, 0, 0 } } },

	/* ---------------------------------------------------------- page faults */
	FAULT("pt_read", LOAD, 0, GUEST(1, P, 0)), FAULT("pt_write", STORE, 2, GUEST(1, P, 0)),
	FAULT("pt_fetch", FETCH, 0x10, GUEST(1, P, 0)), FAULT("pd_read", LOAD, 0, GUEST(2, P, 0)),
	FAULT("pdpt_write", STORE, 2, GUEST(3, P, 0)), FAULT("pml4_read", LOAD, 0, GUEST(4, P, 0)),
	FAULT("read_only", STORE, 3, GUEST(1, GW, 0)),
	FAULT("read_only_pd", STORE, 3, GUEST(2, GW, 0)),
	FAULT("read_only_pml4", STORE, 3, GUEST(4, GW, 0)),
	FAULT("no_execute", FETCH, 0x11, GUEST(1, 0, NX)),
	FAULT("no_execute_pdpt", FETCH, 0x11, GUEST(3, 0, NX)),
	FAULT("large_pml4", LOAD, 9, GUEST(4, 0, PS)),
	FAULT("address_13_2m", LOAD, 9, GUEST(2, 0xf000, PS | 0x2000)),
	FAULT("beyond", LOAD, 9, { AGREE_GUEST, 1, 3, 0, 0, true }),
	FAULT("beyond_pd", STORE, 11, { AGREE_GUEST, 2, 3, 0, 0, true }),
	/* Before the EPT is asked about the page. */
	FAULT("before_violation", STORE, 3, GUEST(1, GW, 0), RIGHTS(1, 0)),
	{ "fault/exchange", AGREE_PAGING, 0, { GUEST(1, GW, 0) }, { EXCHANGE },
	  { FAULTS(3), WORD(3, RETURNS) } },

	/* ---------------------------------------------------------- the log */
	{ "log/writes", AGREE_LOG, 511, { { 0 } }, { STORE, STORE_TO(5, 0x238), LOAD, STORE },
	  { DONE, INDEX(509), LOGGED(511, 3), LOGGED(510, 5), NOT_LOGGED(509), FLAGS(1, 3, AD),
	    FLAGS(1, 5, AD) } },
	{ "log/reads", AGREE_LOG, 511, { { 0 } }, { LOAD, FETCH },
	  { DONE, INDEX(511), NOT_LOGGED(511), FLAGS(1, 3, A) } },
	{ "log/exchange", AGREE_LOG, 511, { { 0 } }, { LOAD, EXCHANGE },
	  { DONE, INDEX(510), LOGGED(511, 3) } },
	{ "log/dirty_already", AGREE_LOG, 511, { EPT(1, 3, 0, D) }, { STORE },
	  { DONE, INDEX(511), NOT_LOGGED(511) } },
	{ "log/again_after_invept", AGREE_LOG, 300, { { 0 } },
	  { STORE, CLEAR(1, D), INVEPT, STORE },
	  { DONE, INDEX(298), LOGGED(300, 3), LOGGED(299, 3), FLAGS(1, 3, AD) } },
	{ "log/not_again_when_cached", AGREE_LOG, 300, { { 0 } }, { STORE, CLEAR(1, D), STORE },
	  { DONE, INDEX(299), LOGGED(300, 3), NOT_LOGGED(299) } },
	{ "log/page_of_2m", AGREE_LOG | AGREE_2M, 511, { { 0 } }, { STORE, STORE_TO(5, 0) },
	  { DONE, INDEX(510), LOGGED(511, 3), NOT_LOGGED(510), FLAGS(2, 0, AD) } },
	{ "log/page_of_1g", AGREE_LOG | AGREE_1G, 511, { { 0 } }, { STORE_TO(5, 0), STORE },
	  { DONE, INDEX(510), LOGGED(511, 5), FLAGS(3, 0, AD) } },
	{ "log/tables", AGREE_LOG | AGREE_PAGING, 511, { { 0 } }, { STORE },
	  { DONE, INDEX(507), LOGGED(511, 8), LOGGED(510, 9), LOGGED(509, 10), LOGGED(508, 3) } },
	{ "log/tables_of_read", AGREE_LOG | AGREE_PAGING, 511, { { 0 } }, { LOAD },
	  { DONE, INDEX(508), LOGGED(511, 8), LOGGED(510, 9), LOGGED(509, 10), NOT_LOGGED(508) } },
	{ "log/violation", AGREE_LOG, 511, { RIGHTS(1, R) }, { STORE },
	  { VIOLATES(0x18a), INDEX(511), NOT_LOGGED(511) } },
	{ "log/last", AGREE_LOG, 0, { { 0 } }, { STORE },
	  { DONE, INDEX(0xffff), LOGGED(0, 3), FLAGS(1, 3, AD), WORD(3, 0x77) } },
	{ "log/full", AGREE_LOG, 0, { { 0 } }, { STORE, STORE_TO(5, 0) },
	  { FULL, INDEX(0xffff), LOGGED(0, 3), FLAGS(1, 3, AD), { AGREE_EPT_FLAGS, 1, 5, 0, A },
	    WORD(3, 0x77), WORD(5, RETURNS) } },
	{ "log/full_at_512", AGREE_LOG, 512, { { 0 } }, { STORE },
	  { FULL, INDEX(512), { AGREE_EPT_FLAGS, 1, 3, 0, A }, WORD(3, RETURNS) } },
	{ "log/full_for_accessed", AGREE_LOG, 0xffff, { { 0 } }, { LOAD },
	  { FULL, INDEX(0xffff), FLAGS(1, 3, 0) } },
	{ "log/full_and_nothing_to_set", AGREE_LOG, 0xffff,
	  { EPT(4, 0, 0, A), EPT(3, 0, 0, A), EPT(2, 0, 0, A), EPT(1, 3, 0, AD) }, { STORE },
	  { DONE, INDEX(0xffff), WORD(3, 0x77) } },
};
const unsigned agree_case_count = sizeof(agree_cases) / sizeof(*agree_cases);

/* All of Bochs 2.7. A real processor has none of them. */
static const char bit_12[] =
	"Bochs: bit 12 of a large leaf's address is not looked at; the SDM reserves it";
static const char bit_0[] =
	"Bochs: with the EPT's flags on, an access to a guest's paging structure is told as a "
	"write; the SDM says a read and a write";
static const char unasked[] =
	"Bochs: the guest's own A and D are set without asking the EPT; to the SDM that is a data "
	"write";
static const char offset[] = "Bochs: the log gets the address; the SDM clears bits 11:0";
static const char any_access[] =
	"Bochs: a full log ends every access; the SDM says those that need a flag set";

const struct agree_erratum agree_errata[] = {
	{ "misconfiguration/address_12*", AGREE_EXIT, SOFT_MISCONFIGURATION, bit_12 },
	{ "misconfiguration/address_12*", AGREE_ADDRESS, AGREE_ANYHOW, bit_12 },
	{ "walk/hole_p*", AGREE_QUALIFICATION, 1, bit_0 },
	{ "walk/read_only_p*", AGREE_QUALIFICATION, 1, bit_0 },
	{ "walk/execute_only_pt", AGREE_QUALIFICATION, 1, bit_0 },
	{ "walk/off_accessed_in_read_only", AGREE_EXIT, SOFT_VIOLATION, unasked },
	{ "walk/off_accessed_in_read_only", AGREE_QUALIFICATION, 0xaa, unasked },
	{ "walk/off_accessed_in_read_only", AGREE_GUEST_FLAGS, GA, unasked },
	{ "walk/off_dirty_in_read_only", AGREE_EXIT, SOFT_VIOLATION, unasked },
	{ "walk/off_dirty_in_read_only", AGREE_QUALIFICATION, 0xaa, unasked },
	{ "walk/off_dirty_in_read_only", AGREE_GUEST_FLAGS, GD, unasked },
	{ "walk/off_dirty_in_read_only", AGREE_WORD, 0x77 ^ RETURNS, unasked },
	{ "log/writes", AGREE_LOGGED, 0x238, offset },
	{ "log/tables*", AGREE_LOGGED, 0x18, offset },
	{ "log/full_and_nothing_to_set", AGREE_EXIT, SOFT_PML_FULL, any_access },
	{ "log/full_and_nothing_to_set", AGREE_WORD, 0x77 ^ RETURNS, any_access },
};
const unsigned agree_erratum_count = sizeof(agree_errata) / sizeof(*agree_errata);
_Static_assert(sizeof(agree_errata) / sizeof(*agree_errata) <= AGREE_ERRATA_MAX,
	"a tally holds them");
