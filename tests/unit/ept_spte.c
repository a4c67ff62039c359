/* Entries as values: builders, predicates, and every rule of spte_fault. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "ept/slot.h"

/* A place is not a value: predicates take no slot, and a slot takes no value. */
_Static_assert(!__builtin_types_compatible_p(spte_t, spte_slot_t), "spte_dirty(*slot)");
_Static_assert(sizeof(spte_slot_t) == 8 && sizeof(spte_t) == 8, "an entry is eight bytes");
/* Software's bits are where SDM's formats say "ignored", for leaves and for tables. */
_Static_assert(SPTE_PRESENT == 0x800, "bit 11");
_Static_assert((SPTE_HOST_WRITABLE | SPTE_MMU_WRITABLE) == UINT64_C(3) << 52, "bits 53:52");
_Static_assert(SPTE_PREFETCHED == UINT64_C(1) << 59, "bit 59: with any control on, ignored");

_Static_assert(SPTE_SOFT_AD == UINT64_C(1) << 62, "bit 62: with any control on, ignored");

static spte_t leaf_of(pfn_t frame, bool host_writable)
{
	return spte_make_leaf(frame, host_writable, AD_PROCESSOR);
}

static void leaves(void **state)
{
	spte_t rw = leaf_of(pfn(0x12345), true), ro = leaf_of(pfn(0x12345), false);

	(void)state;
	assert_int_equal(rw.bits, 0x0030000012345bf7);
	assert_int_equal(ro.bits, 0x00000000123459f5);
	assert_true(spte_present(rw) && spte_is_leaf(rw) && !spte_is_table(rw));
	assert_true(spte_writable(rw) && spte_dirty(rw) && spte_accessed(rw));
	assert_true(spte_host_writable(rw) && spte_mmu_writable(rw));
	assert_true(spte_is_leaf(ro) && spte_accessed(ro));
	assert_false(spte_writable(ro) || spte_dirty(ro) || spte_host_writable(ro) ||
		     spte_mmu_writable(ro));
	assert_int_equal(spte_frame(rw).raw, 0x12345);
	assert_int_equal(spte_frame(leaf_of(pfn(0xfffffffff), true)).raw, 0xfffffffff);
}

static void tables(void **state)
{
	spte_t table = spte_make_table(pfn(0x777));

	(void)state;
	assert_int_equal(table.bits, 0x777807);
	assert_true(spte_present(table) && spte_is_table(table) && !spte_is_leaf(table));
	assert_int_equal(spte_frame(table).raw, 0x777);
}

static void neither(void **state)
{
	spte_t waiting = spte_make_waiting(pfn(0xabcdef));

	(void)state;
	assert_false(spte_present(spte_empty()) || spte_is_leaf(spte_empty()) ||
		     spte_is_table(spte_empty()));
	/* A processor that still walks the table finds nothing there. */
	assert_int_equal(waiting.bits & 0xfff, 0);
	assert_false(spte_present(waiting));
	assert_int_equal(spte_frame(waiting).raw, 0xabcdef);
}

static void allows(void **state)
{
	(void)state;
	for (unsigned access = 0; access < 8; access++) {
		assert_true(spte_allows(leaf_of(pfn(1), true), (enum access)access));
		assert_int_equal(spte_allows(leaf_of(pfn(1), false), (enum access)access),
				 !(access & ACCESS_WRITE));
		assert_int_equal(spte_allows(spte_empty(), (enum access)access), !access);
	}
}

static void slots(void **state)
{
	spte_slot_t slot = { 0 };
	spte_t one = leaf_of(pfn(1), true), two = leaf_of(pfn(2), true);
	spte_t old = spte_empty();

	(void)state;
	assert_true(slot_cmpxchg(&slot, &old, one));
	assert_false(slot_cmpxchg(&slot, &old, two));
	assert_int_equal(old.bits, one.bits);
	assert_int_equal(slot_and_not(&slot, SPTE_A).bits, one.bits);
	assert_int_equal(slot_read(&slot).bits, one.bits & ~SPTE_A);
	assert_int_equal(slot_xchg(&slot, two).bits, one.bits & ~SPTE_A);
	assert_int_equal(slot_read(&slot).bits, two.bits);
}

struct rule_case { uint64_t bits; unsigned level; const char *fault; };

static void judge(const struct rule_case *cases, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		const char *fault = spte_fault((spte_t){ cases[i].bits }, cases[i].level);

		if (cases[i].fault)
			assert_string_equal(fault ? fault : "none", cases[i].fault);
		else
			assert_null(fault);
	}
}

/* U6: of host-writable, MMU-writable and W the legal states are 111, 110, 100 and 000. */
static void rules(void **state)
{
	uint64_t rw = leaf_of(pfn(0x40000), true).bits;
	uint64_t ro = leaf_of(pfn(0x40000), false).bits;
	uint64_t table = spte_make_table(pfn(1)).bits;
	const struct rule_case cases[] = {
		{ 0, 1, NULL }, { 0, 4, NULL },
		{ rw, 1, NULL }, { rw, 2, NULL }, { rw, 3, NULL },
		{ ro, 1, NULL }, { ro, 3, NULL },
		{ table, 2, NULL }, { table, 3, NULL }, { table, 4, NULL },
		{ 0x1000, 1, "not present, but not zero" },
		{ SPTE_D, 1, "not present, but not zero" },
		{ rw & ~SPTE_RIGHTS, 1, "present, but without a right" },
		{ table & ~SPTE_RIGHTS, 2, "present, but without a right" },
		{ rw & ~SPTE_R, 1, "rights without R" },
		{ ro & ~SPTE_R, 1, "rights without R" },
		{ table | 0x40, 2, "reserved bits in a table" },
		{ table | 0x08, 4, "reserved bits in a table" },
		{ rw, 4, "a leaf above level 3" },
		{ rw + 0x1000, 2, "a large leaf whose frame is not aligned" },
		{ rw + 0x200000, 3, "a large leaf whose frame is not aligned" },
		{ rw & ~SPTE_TYPE, 1, "memory type is not write-back" },
		{ rw & ~SPTE_IGNORE_PAT, 1, "memory type is left to the guest's PAT" },
		{ table, 1, "a table below level 2" },
		{ rw & ~SPTE_MMU_WRITABLE, 1, "writable, but not MMU-writable" },
		{ rw & ~SPTE_HOST_WRITABLE, 1, "MMU-writable, but not host-writable" },
		/* The processor sets D, where stores are logged by it. */
		{ rw & ~SPTE_D, 1, NULL },
		/* Write-protected by tracking, from here or from the MMU: 110 and 100. */
		{ rw & ~SPTE_W, 1, NULL },
		{ rw & ~(SPTE_W | SPTE_MMU_WRITABLE), 1, NULL },
		{ rw & ~SPTE_A, 1, NULL },
	};

	(void)state;
	judge(cases, sizeof(cases) / sizeof(*cases));
}

/* U6, U9: put aside by aging, where software keeps A; not with rights, nor with A. */
static void rules_of_software(void **state)
{
	spte_t rw = leaf_of(pfn(0x40000), true);
	spte_t soft = spte_make_leaf(pfn(0x40000), true, AD_SOFTWARE);
	uint64_t table = spte_make_table(pfn(1)).bits;
	const struct rule_case cases[] = {
		{ soft.bits, 1, NULL }, { soft.bits, 3, NULL },
		{ spte_track(soft).bits, 1, NULL },
		{ spte_track(soft).bits | SPTE_A, 1, "rights saved, and in force or used" },
		{ soft.bits | SPTE_SAVED_R, 1, "rights saved, and in force or used" },
		{ spte_track(rw).bits, 1, "rights saved, though the processor has A" },
		{ soft.bits & ~SPTE_D, 1, "writable, but not dirty" },
		{ soft.bits & ~(SPTE_D | SPTE_W), 1, NULL },
		{ table | SPTE_SAVED_R, 2, "a table with saved rights" },
		{ table | SPTE_SOFT_AD, 2, "a table that says who keeps A and D" },
		{ SPTE_SOFT_AD, 1, "not present, but not zero" },
	};

	(void)state;
	judge(cases, sizeof(cases) / sizeof(*cases));
}

/*
 * U6: all that software's bits, the rights and the two flags can be between them. R and X go
 * together, so do the saved ones.
 */
static void u6_legal_states(void **state)
{
	const uint64_t pairs[] = { SPTE_R | SPTE_X, SPTE_SAVED, SPTE_HOST_WRITABLE,
				   SPTE_MMU_WRITABLE, SPTE_W, SPTE_A, SPTE_D, SPTE_SOFT_AD };
	unsigned legal = 0;

	(void)state;
	for (unsigned which = 0; which < 1 << 8; which++) {
		spte_t leaf = { SPTE_PRESENT | SPTE_LEAF | SPTE_WRITE_BACK | SPTE_IGNORE_PAT };
		bool in_force = which & 1, saved = which & 2, h = which & 4, m = which & 8;
		bool w = which & 16, a = which & 32, d = which & 64, soft = which & 128;

		for (unsigned i = 0; i < 8; i++)
			leaf.bits |= which & 1u << i ? pairs[i] : 0;

		bool rights = in_force ? !saved : saved && soft && !w && !a;
		bool writes = (!m || h) && (!w || m) && (!w || d || !soft);

		assert_int_equal(!spte_fault(leaf, LEVEL_4K), rights && writes);
		legal += rights && writes;
	}
	assert_int_equal(legal, 36);
}

/* U6: who keeps A and D is said once, when the leaf is made, and stays. */
static void u6_mode(void **state)
{
	spte_t leaf = spte_make_leaf(pfn(0x40000), true, AD_SOFTWARE);
	spte_t processor = leaf_of(pfn(0x40000), true);
	spte_t lesser = { leaf.bits & ~SPTE_WRITE_BITS };

	(void)state;
	assert_true(spte_soft_ad(leaf) && !spte_soft_ad(processor));
	assert_int_equal(leaf.bits, processor.bits | SPTE_SOFT_AD);
	assert_true(spte_soft_ad(spte_make_leaf(pfn(1), false, AD_SOFTWARE)));
	assert_true(spte_soft_ad(spte_make_prefetched(pfn(1), AD_SOFTWARE)));
	assert_false(spte_soft_ad(spte_make_prefetched(pfn(1), AD_PROCESSOR)));
	assert_true(spte_soft_ad(spte_track(leaf)) &&
		    spte_soft_ad(spte_restored(spte_track(leaf))));
	assert_int_equal(spte_child(leaf, LEVEL_2M, 511).bits, leaf.bits + 511 * PAGE_SIZE);
	assert_true(spte_adds_write(lesser, leaf));
	assert_false(spte_adds_write(lesser, processor));
}

/* U7: for a page that may be written and is unused; of 4 KiB alone. */
static void prefetched(void **state)
{
	spte_t leaf = leaf_of(pfn(0x40000), true);
	spte_t flag = spte_make_prefetched(pfn(0x40000), AD_PROCESSOR);
	spte_t aside = spte_make_prefetched(pfn(0x40000), AD_SOFTWARE);

	(void)state;
	assert_int_equal(flag.bits, (leaf.bits & ~SPTE_A) | SPTE_PREFETCHED);
	assert_int_equal(spte_restored(aside).bits | SPTE_W, flag.bits | SPTE_SOFT_AD);
	assert_true(spte_tracked(aside) && !(aside.bits & (SPTE_RIGHTS | SPTE_A)));
	assert_null(spte_fault(flag, LEVEL_4K));
	assert_null(spte_fault(aside, LEVEL_4K));
	assert_string_equal(spte_fault(flag, LEVEL_2M), "prefetched, but no leaf of 4 KiB");
	flag.bits = spte_make_table(pfn(1)).bits | SPTE_PREFETCHED;
	assert_string_equal(spte_fault(flag, LEVEL_2M), "prefetched, but no leaf of 4 KiB");
	/* It is asked for by what adds W to it. */
	flag = spte_make_prefetched(pfn(0x40000), AD_PROCESSOR);
	flag.bits &= ~SPTE_WRITE_BITS;
	assert_true(spte_adds_write(flag, leaf));
	assert_false(spte_adds_write(leaf, flag));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(leaves), cmocka_unit_test(tables), cmocka_unit_test(neither),
		cmocka_unit_test(allows), cmocka_unit_test(slots), cmocka_unit_test(rules),
		cmocka_unit_test(rules_of_software), cmocka_unit_test(u6_legal_states),
		cmocka_unit_test(u6_mode), cmocka_unit_test(prefetched),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
