/* ept_verify finds what is wrong: each rule broken by hand, once. */
#include "tests/unit/ept_fixture.h"

/* A sound EPT: leaves of both sizes, a read-only one, an empty table. */
static int open_sound(void **state)
{
	struct region rom = { gfn(0x1000), 1, hva(BACKING + 8 * MIB), REGION_READ_ONLY, LEVEL_4K };

	open_small(state);
	map_host(BACKING, 4 * MIB, LEVEL_4K);
	map_host(BACKING + 4 * MIB, 4 * MIB, LEVEL_2M);
	map_host(BACKING + 8 * MIB, MIB, LEVEL_4K);
	add_region(0, 1024, BACKING, LEVEL_4K);
	add_region(1024, 1024, BACKING + 4 * MIB, LEVEL_2M);
	assert_int_equal(ept_region_add(ept, &rom), STATUS_OK);
	assert_int_equal(fault(0, ACCESS_WRITE), FAULT_FIXED);
	assert_int_equal(fault(PAGE_SIZE, ACCESS_WRITE), FAULT_FIXED);
	assert_int_equal(fault(4 * MIB, ACCESS_WRITE), FAULT_FIXED);
	assert_int_equal(fault(0x1000000, ACCESS_READ), FAULT_FIXED);
	ept_verify(ept);
	return 0;
}

static int abandon(void **state)
{
	(void)state;
	arena_abandon(&arena);
	return 0;
}

static void put(uint64_t address, unsigned level, uint64_t bits)
{
	slot_xchg(slot_of(address, level), (spte_t){ bits });
}

/* Of another process, which has it lawfully. */
static pfn_t foreign_frame_of(void)
{
	struct mm_page page;
	struct space *other;

	assert_int_equal(space_create(arena.host, &other), STATUS_OK);
	assert_int_equal(space_map(other, hva(BACKING), PAGE_SIZE, PROTECTION_READ_WRITE, LEVEL_4K),
			 STATUS_OK);
	assert_int_equal(mm_lookup(other, hva(BACKING), ACCESS_WRITE, &page), STATUS_OK);
	folio_mark_dirty(arena.host, page.frame);
	return page.frame;
}

/* Tables are looked at with the lock held, and differences judged without: a panic leaves it so. */
#define damage(name, what, message) found_damage(name, RWLOCK_WRITER, what, message)
#define difference(name, what, message) found_damage(name, 0, what, message)
#define found_damage(name, readers_then, what, message)                                     \
	static void name(void **state)                                                      \
	{                                                                                   \
		uint64_t leaf = slot_read(slot_of(0, 1)).bits;                              \
		uint64_t other = slot_read(slot_of(PAGE_SIZE, 1)).bits;                     \
		uint64_t large = slot_read(slot_of(4 * MIB, 2)).bits;                       \
		uint64_t rom = slot_read(slot_of(0x1000000, 1)).bits;                       \
                                                                                            \
		(void)state, (void)leaf, (void)other, (void)large, (void)rom;               \
		what;                                                                       \
		assert_true(panics(ept_verify(ept), message));                              \
		assert_int_equal(atomic_read(&ept->lock.readers), readers_then);            \
	}

damage(format, put(0, 1, leaf & ~SPTE_R), "rights without R")
damage(software_bits, put(0, 1, leaf & ~SPTE_MMU_WRITABLE), "not MMU-writable")
damage(u6_mode, put(0, 1, leaf | SPTE_SOFT_AD), "by another than this EPT's pointer says")
damage(garbage, put(2 * PAGE_SIZE, 1, SPTE_A), "not present, but not zero")
damage(mmio_format, put(2 * PAGE_SIZE, 1, spte_make_mmio(0).bits | SPTE_D),
       "more than a generation")
damage(u26_mmio_over_a_region,
       put(2 * PAGE_SIZE, 1, spte_make_mmio(atomic_read(&ept->region_generation)).bits),
       "says that no region is here")
damage(leaf_lost, put(0, 1, 0), "leaves of level 1, counted 3 in and 0 out")
damage(leaf_too_many, put(2 * PAGE_SIZE, 1, leaf), "leaves of level 1")
damage(large_leaf_lost, put(4 * MIB, 2, 0), "leaves of level 2")
damage(table_lost, put(0x1000000, 2, 0), "leaves of level 1, counted")
difference(other_frame, (put(0, 1, other), put(PAGE_SIZE, 1, leaf)), "another frame")
damage(rights_beyond, put(0x1000000, 1, rom | SPTE_W | SPTE_D | SPTE_HOST_WRITABLE |
			  SPTE_MMU_WRITABLE), "writable in a read-only region")
damage(no_region, ept->region_count--, "no region there")
damage(clean_folio, atomic_and(&folio_of(arena.host, host_frame(BACKING))->flags, ~FOLIO_DIRTY),
       "its folio is not dirty")
damage(level_beyond_region, ept->regions[1].max_level = 1, "larger than its region allows")
damage(level_beyond_cpu, ept->caps.max_level = 1, "larger than the processor allows")
damage(dead_folio, put(0, 1, (leaf & ~SPTE_FRAME) | UINT64_C(0x3000000)), "freed")
damage(table_frame, put(0, 1, (leaf & ~SPTE_FRAME) | pfn_to_hpa(ept->root).raw),
       "no process maps")
difference(foreign_frame,
	   put(0, 1, (leaf & ~SPTE_FRAME) | pfn_to_hpa(foreign_frame_of()).raw), "another frame")
damage(no_frame, put(0, 1, (leaf & ~SPTE_FRAME) | UINT64_C(1) << 45), "not memory of this host")

/* A page of 4 KiB that begins where a large one could. */
static uint64_t aligned_page(void)
{
	pfn_t frame;

	do
		assert_int_equal(folio_alloc(arena.host, ORDER_4K, &frame), STATUS_OK);
	while (frame.raw % 512);
	return pfn_to_hpa(frame).raw;
}

damage(small_folio, put(4 * MIB, 2, (large & ~SPTE_FRAME) | aligned_page()),
       "larger than the folio behind it")
damage(tables_counted, atomic_add(&ept->cpus[0].counts[COUNT_TABLES_FREED], 1), "tables, counted")

/* The primary entry changes with no bracket: found, by rights or by absence. */
static void set_primary(uint64_t address, uint64_t keep, uint64_t set)
{
	write_lock(&space->lock);
	struct place place = table_find(space, address);

	atomic_write(place.slot, (place.pte.bits & keep) | set);
	write_unlock(&space->lock);
}

difference(primary_gone, set_primary(BACKING, 0, 0), "nothing in the primary tables")
difference(primary_read_only, set_primary(BACKING, ~PTE_W, 0), "the primary entry is not writable")
difference(primary_large, set_primary(BACKING + 4 * MIB, ~PTE_W, 0), "not writable")

/* Inside a bracket the two may differ. */
static void inside_a_bracket(void **state)
{
	struct mm_range range = { .start = hva(BACKING), .end = hva(BACKING + PAGE_SIZE),
				  .event = EVENT_CLEAR };

	(void)state;
	atomic_write(&ept->brackets, 1);
	atomic_write(&ept->bracket_start, range.start.raw);
	atomic_write(&ept->bracket_end, range.end.raw);
	set_primary(BACKING, ~PTE_W, 0);
	ept_verify(ept);
	atomic_write(&ept->brackets, 0);
	assert_true(panics(ept_verify(ept), "not writable"));
}

#define verify_test(name) cmocka_unit_test_setup_teardown(name, open_sound, abandon)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		verify_test(format), verify_test(software_bits), verify_test(u6_mode),
		verify_test(garbage), verify_test(mmio_format), verify_test(u26_mmio_over_a_region),
		verify_test(leaf_lost), verify_test(leaf_too_many), verify_test(large_leaf_lost),
		verify_test(table_lost), verify_test(other_frame), verify_test(rights_beyond),
		verify_test(no_region), verify_test(clean_folio), verify_test(level_beyond_region),
		verify_test(level_beyond_cpu), verify_test(dead_folio), verify_test(no_frame),
		verify_test(table_frame), verify_test(foreign_frame),
		verify_test(small_folio), verify_test(tables_counted), verify_test(primary_gone),
		verify_test(primary_read_only), verify_test(primary_large),
		verify_test(inside_a_bracket),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
