/* EPT violations: every result, every level, what is installed and what is marked. */
#include "tests/unit/ept_fixture.h"

/* ------------------------------------------------------------------ results */

static void no_region(void **state)
{
	(void)state;
	lend(4 * PAGE_SIZE, LEVEL_4K);
	assert_int_equal(fault(4 * PAGE_SIZE, ACCESS_READ), FAULT_NO_REGION);
	assert_int_equal(fault(UINT64_MAX, ACCESS_WRITE), FAULT_NO_REGION);
	assert_int_equal(fault(UINT64_C(1) << 48, ACCESS_EXEC), FAULT_NO_REGION);
	assert_int_equal(stats()->tables_allocated, 0);
}

static void read_only_region(void **state)
{
	struct region region = { gfn(16), 1, hva(BACKING), REGION_READ_ONLY, LEVEL_4K };
	unsigned level;

	(void)state;
	map_host(BACKING, PAGE_SIZE, LEVEL_4K);
	assert_int_equal(ept_region_add(ept, &region), STATUS_OK);
	assert_int_equal(fault(0x10000, ACCESS_WRITE), FAULT_READ_ONLY);
	assert_int_equal(fault(0x10000, ACCESS_READ | ACCESS_WRITE), FAULT_READ_ONLY);
	assert_int_equal(fault(0x10000, ACCESS_READ), FAULT_FIXED);
	assert_int_equal(fault(0x10000, ACCESS_WRITE), FAULT_READ_ONLY);

	spte_t leaf = leaf_at(0x10000, &level);

	assert_true(spte_allows(leaf, (enum access)(ACCESS_READ | ACCESS_EXEC)));
	assert_false(spte_writable(leaf) || spte_host_writable(leaf) || spte_dirty(leaf));
	/* The guest can't have written it. */
	assert_false(folio_dirty(arena.host, spte_frame(leaf)));
	assert_true(folio_accessed(arena.host, spte_frame(leaf)));
}

static void no_host(void **state)
{
	(void)state;
	add_region(0, 4, BACKING, LEVEL_4K);
	assert_int_equal(fault(0, ACCESS_READ), FAULT_NO_HOST);
	map_host(BACKING, 4 * PAGE_SIZE, LEVEL_4K);
	assert_int_equal(space_protect(space, hva(BACKING), PAGE_SIZE, PROTECTION_READ), STATUS_OK);
	assert_int_equal(fault(0, ACCESS_WRITE), FAULT_NO_HOST);
	assert_int_equal(fault(0, ACCESS_READ), FAULT_FIXED);
	assert_int_equal(space_protect(space, hva(BACKING), PAGE_SIZE, PROTECTION_NONE), STATUS_OK);
	assert_int_equal(fault(0, ACCESS_READ), FAULT_NO_HOST);
}

/* U7: A, and where W is given D as well. */
static void first_touch(void **state)
{
	unsigned level;

	(void)state;
	lend(4 * PAGE_SIZE, LEVEL_4K);
	assert_int_equal(fault(PAGE_SIZE + 5, ACCESS_READ), FAULT_FIXED);

	spte_t leaf = leaf_at(PAGE_SIZE, &level);

	assert_int_equal(level, LEVEL_4K);
	assert_int_equal(spte_frame(leaf).raw, host_frame(BACKING + PAGE_SIZE).raw);
	assert_null(spte_fault(leaf, level));
	/* A read fault of a page that the host may write: all rights at once, marked dirty. */
	assert_true(spte_allows(leaf, (enum access)(ACCESS_READ | ACCESS_WRITE | ACCESS_EXEC)));
	assert_true(folio_dirty(arena.host, spte_frame(leaf)));
	assert_true(folio_accessed(arena.host, spte_frame(leaf)));
	assert_int_equal(folio_refcount(arena.host, spte_frame(leaf)), 1);
	assert_int_equal(stats()->faults[0], 1);
	assert_int_equal(stats()->mapped[0], 1);
	assert_int_equal(stats()->tables_allocated, 3);
}

/* U16: what allows the access already is left as it is. */
static void second_fault_is_spurious(void **state)
{
	unsigned level;

	(void)state;
	lend(PAGE_SIZE, LEVEL_4K);
	assert_int_equal(fault(0, ACCESS_WRITE), FAULT_FIXED);

	spte_t leaf = leaf_at(0, &level);

	assert_int_equal(fault(0, ACCESS_WRITE), FAULT_SPURIOUS);
	assert_int_equal(fault(0, ACCESS_EXEC), FAULT_SPURIOUS);
	assert_int_equal(leaf_at(0, &level).bits, leaf.bits);
	assert_int_equal(stats()->spurious, 2);
	assert_int_equal(stats()->faults[1], 2);
	assert_int_equal(stats()->faults[2], 1);
	assert_int_equal(stats()->mapped[0], 1);
}

/* U1: marks are taken away as writeback would, then a fault that finds the leaf in place. */
static void reused_leaf_marks(void **state)
{
	(void)state;
	lend(PAGE_SIZE, LEVEL_4K);
	assert_int_equal(fault(0, ACCESS_READ), FAULT_FIXED);

	pfn_t frame = host_frame(BACKING);

	atomic_and(&folio_of(arena.host, frame)->flags, ~(FOLIO_DIRTY | FOLIO_ACCESSED));
	assert_int_equal(fault(0, ACCESS_READ), FAULT_SPURIOUS);
	assert_true(folio_dirty(arena.host, frame));
	assert_true(folio_accessed(arena.host, frame));
}

static void read_only_host(void **state)
{
	unsigned level;

	(void)state;
	lend(PAGE_SIZE, LEVEL_4K);
	assert_int_equal(space_protect(space, hva(BACKING), PAGE_SIZE, PROTECTION_READ), STATUS_OK);
	assert_int_equal(fault(0, ACCESS_EXEC), FAULT_FIXED);
	assert_false(spte_writable(leaf_at(0, &level)));
	assert_false(folio_dirty(arena.host, host_frame(BACKING)));
	assert_true(folio_accessed(arena.host, host_frame(BACKING)));

	assert_int_equal(space_protect(space, hva(BACKING), PAGE_SIZE, PROTECTION_READ_WRITE),
			 STATUS_OK);
	assert_int_equal(leaf_at(0, &level).bits, 0);
	assert_int_equal(fault(0, ACCESS_READ), FAULT_FIXED);
	assert_true(spte_writable(leaf_at(0, &level)));
	assert_true(folio_dirty(arena.host, host_frame(BACKING)));
}

static void no_accessed_dirty(void **state)
{
	unsigned level;

	(void)state;
	open_ept(16, (struct ept_caps){ .max_level = LEVEL_2M, .accessed_dirty = false });
	lend(PAGE_SIZE, LEVEL_4K);
	assert_int_equal(ept_pointer(ept) & 0xfff, 0x1e);
	store_on(1, 0, 7);
	assert_int_equal(load_on(1, 0), 7);
	assert_true(spte_writable(leaf_at(0, &level)));
	close_ept(NULL);
}

static void pointer(void **state)
{
	(void)state;
	assert_int_equal(ept_pointer(ept) & 0xfff, 0x5e);
	assert_int_equal(ept_pointer(ept) & SPTE_FRAME, pfn_to_hpa(ept->root).raw);
	assert_ptr_equal(ept_space(ept), space);
}

/* ------------------------------------------------------------------ levels */

/* What a region of 8 MiB gets at guest address 4 MiB, with the two sides shifted by pages. */
static unsigned level_for(uint64_t guest_shift, uint64_t host_shift, unsigned host_level,
			  unsigned region_level_wanted)
{
	unsigned level;

	open_ept(64, (struct ept_caps){ .max_level = LEVEL_1G, .accessed_dirty = true });
	map_host(BACKING, 16 * MIB, host_level);
	add_region(guest_shift, 8 * MIB >> PAGE_SHIFT, BACKING + host_shift * PAGE_SIZE,
		   region_level_wanted);
	assert_int_equal(fault(4 * MIB, ACCESS_WRITE), FAULT_FIXED);
	level = level_at(4 * MIB);
	close_ept(NULL);
	return level;
}

/* U25: the least of what the region, both alignments and the host allow. */
static void misalignments(void **state)
{
	(void)state;
	assert_int_equal(level_for(0, 0, LEVEL_2M, LEVEL_2M), LEVEL_2M);
	assert_int_equal(level_for(0, 0, LEVEL_2M, LEVEL_1G), LEVEL_2M);
	assert_int_equal(level_for(0, 0, LEVEL_4K, LEVEL_2M), LEVEL_4K);
	assert_int_equal(level_for(0, 0, LEVEL_2M, LEVEL_4K), LEVEL_4K);
	/* One side shifted: never; both alike: where 2 MiB fit. */
	for (unsigned shift = 1; shift < 512; shift <<= 1) {
		assert_int_equal(level_for(shift, 0, LEVEL_2M, LEVEL_2M), LEVEL_4K);
		assert_int_equal(level_for(0, shift, LEVEL_2M, LEVEL_2M), LEVEL_4K);
		assert_int_equal(level_for(shift, shift, LEVEL_2M, LEVEL_2M), LEVEL_2M);
	}
	assert_int_equal(level_for(512, 0, LEVEL_2M, LEVEL_2M), LEVEL_2M);
}

/* The ends of a region that begins and ends inside a large page. */
static void region_edges(void **state)
{
	(void)state;
	map_host(BACKING, 8 * MIB, LEVEL_2M);
	add_region(1, 1791, BACKING + PAGE_SIZE, LEVEL_2M);	/* 4 KiB .. 7 MiB */
	assert_int_equal(fault(PAGE_SIZE, ACCESS_READ), FAULT_FIXED);
	assert_int_equal(fault(2 * MIB, ACCESS_READ), FAULT_FIXED);
	assert_int_equal(fault(6 * MIB - 1, ACCESS_READ), FAULT_FIXED);
	assert_int_equal(fault(7 * MIB - 1, ACCESS_READ), FAULT_FIXED);
	assert_int_equal(level_at(PAGE_SIZE), LEVEL_4K);
	assert_int_equal(level_at(0), 0);
	assert_int_equal(level_at(2 * MIB), LEVEL_2M);
	assert_int_equal(level_at(4 * MIB), LEVEL_2M);
	assert_int_equal(level_at(7 * MIB - 1), LEVEL_4K);
	assert_int_equal(level_at(6 * MIB), 0);
	assert_int_equal(fault(7 * MIB, ACCESS_READ), FAULT_NO_REGION);
}

static void cpu_without_large_pages(void **state)
{
	(void)state;
	open_ept(64, (struct ept_caps){ .max_level = LEVEL_4K, .accessed_dirty = true });
	lend(4 * MIB, LEVEL_2M);
	assert_int_equal(fault(0, ACCESS_WRITE), FAULT_FIXED);
	assert_int_equal(level_at(0), LEVEL_4K);
	assert_int_equal(level_at(PAGE_SIZE), 0);
	close_ept(NULL);
}

static void gigabyte(void **state)
{
	unsigned level;
	struct ram_range range = { hpa(0), hpa(GIB * 2 + 64 * MIB) };
	struct ept_caps caps = { .max_level = LEVEL_1G, .accessed_dirty = true };

	(void)state;
	assert_int_equal(space_create(arena_open_ranges(&arena, &range, 1), &space), STATUS_OK);
	assert_int_equal(ept_create(space, &caps, &ept), STATUS_OK);
	map_host(BACKING, GIB, LEVEL_1G);
	add_region(GIB >> PAGE_SHIFT, GIB >> PAGE_SHIFT, BACKING, LEVEL_1G);
	assert_int_equal(fault(GIB + 123 * MIB + 5, ACCESS_WRITE), FAULT_FIXED);

	spte_t leaf = leaf_at(GIB, &level);

	assert_int_equal(level, LEVEL_1G);
	assert_int_equal(spte_frame(leaf).raw, host_frame(BACKING).raw);
	assert_int_equal(stats()->tables_allocated, 1);
	assert_int_equal(stats()->mapped[2], 1);
	/* A page of it is taken away: all of the leaf goes, and comes back in pieces. */
	assert_int_equal(space_discard(space, hva(BACKING + 5 * PAGE_SIZE), PAGE_SIZE), STATUS_OK);
	assert_int_equal(stats()->zapped[2], 1);
	assert_int_equal(fault(GIB + 512 * MIB, ACCESS_READ), FAULT_FIXED);
	assert_int_equal(fault(GIB + 5 * PAGE_SIZE, ACCESS_READ), FAULT_FIXED);
	assert_int_equal(level_at(GIB + 512 * MIB), LEVEL_2M);
	assert_int_equal(level_at(GIB + 5 * PAGE_SIZE), LEVEL_4K);
	close_ept(NULL);
}

/* ------------------------------------------------------------------ what a CPU remembers */

/* U15: a fault goes straight to the table that the last one came to, as long as that is there. */
static void the_way_ends_with_its_table(void **state)
{
	(void)state;
	lend(4 * MIB, LEVEL_4K);
	for (unsigned round = 0; round < 2; round++) {
		assert_int_equal(fault(0, ACCESS_WRITE), FAULT_FIXED);
		assert_int_equal(fault(2 * PAGE_SIZE, ACCESS_WRITE), FAULT_FIXED);
		assert_int_equal(level_at(2 * MIB), 0);
		assert_int_equal(fault(2 * MIB + PAGE_SIZE, ACCESS_WRITE), FAULT_FIXED);
		assert_int_equal(level_at(2 * MIB + PAGE_SIZE), LEVEL_4K);
		assert_int_equal(level_at(PAGE_SIZE), 0);
		assert_int_equal(stats()->tables_allocated, 4 + 2 * round);
		ept_verify(ept);
		assert_int_equal(ept_region_remove(ept, gfn(0)), STATUS_OK);
		assert_int_equal(stats()->tables_freed, 2 + 2 * round);
		add_region(0, 1024, BACKING, LEVEL_4K);
	}
}

/* ------------------------------------------------------------------ what stands in the way */

/* Empty tables, left by pages of 4 KiB that went, give way to a large leaf. */
static void leaf_replaces_table(void **state)
{
	(void)state;
	lend(4 * MIB, LEVEL_4K);
	assert_int_equal(fault(0, ACCESS_WRITE), FAULT_FIXED);
	assert_int_equal(ept_region_remove(ept, gfn(0)), STATUS_OK);
	assert_int_equal(space_unmap(space, hva(BACKING), 4 * MIB), STATUS_OK);

	map_host(BACKING, 4 * MIB, LEVEL_2M);
	add_region(0, 1024, BACKING, LEVEL_2M);
	uint64_t freed = stats()->tables_freed;

	/* Put a table there by a region that wants small leaves, take its leaf, widen. */
	assert_int_equal(fault(0, ACCESS_WRITE), FAULT_FIXED);
	assert_int_equal(level_at(0), LEVEL_2M);
	assert_int_equal(stats()->tables_freed, freed);

	set_max_level(LEVEL_4K);
	assert_int_equal(space_invalidate(space, hva(BACKING), PAGE_SIZE), STATUS_OK);
	assert_int_equal(fault(0, ACCESS_WRITE), FAULT_FIXED);
	assert_int_equal(fault(PAGE_SIZE, ACCESS_WRITE), FAULT_FIXED);
	assert_int_equal(level_at(0), LEVEL_4K);

	set_max_level(LEVEL_2M);
	uint64_t flushes = stats()->flushes;

	assert_int_equal(fault(2 * PAGE_SIZE, ACCESS_WRITE), FAULT_FIXED);
	assert_int_equal(level_at(0), LEVEL_2M);
	assert_int_equal(stats()->tables_freed, freed + 1);
	assert_int_equal(stats()->flushes, flushes + 1);
	assert_int_equal(stats()->zapped[0], 3);
}

/* As if the leaves had been mapped when the host allowed no writes. */
static void make_read_only(void)
{
	struct ept_walk walk = ept_walk_begin(ept, gfn(0), 1);

	while (ept_walk_next(&walk))
		if (spte_is_leaf(walk.old))
			slot_and_not(walk.slot, SPTE_W | SPTE_D | SPTE_HOST_WRITABLE |
					     SPTE_MMU_WRITABLE);
}

/* A large leaf without a right that the host now gives to one page of it. */
static void table_replaces_leaf(void **state)
{
	(void)state;
	lend(2 * MIB, LEVEL_2M);
	assert_int_equal(fault(0, ACCESS_WRITE), FAULT_FIXED);
	make_read_only();
	set_max_level(LEVEL_4K);
	assert_int_equal(fault(PAGE_SIZE, ACCESS_READ), FAULT_SPURIOUS);
	uint64_t flushes = stats()->flushes;

	assert_int_equal(fault(PAGE_SIZE, ACCESS_WRITE), FAULT_FIXED);
	assert_int_equal(stats()->flushes, flushes + 1);
	assert_int_equal(stats()->zapped[1], 1);
	assert_int_equal(level_at(0), 0);
	assert_int_equal(level_at(PAGE_SIZE), LEVEL_4K);
}

/* ------------------------------------------------------------------ memory that is not there */

/* Each allocation of a first fault refused in turn: an error, nothing changed, then it works. */
static void allocations_fail(void **state)
{
	enum fault_result result = FAULT_NO_MEMORY;
	int64_t turn = 0;

	(void)state;
	lend(PAGE_SIZE, LEVEL_4K);
	for (; result == FAULT_NO_MEMORY; turn++) {
		arena_fail_after(&arena, turn);
		result = fault(0, ACCESS_WRITE);
		if (result == FAULT_NO_MEMORY) {
			assert_int_equal(arena.refused, 1);
			assert_int_equal(level_at(0), 0);
			assert_int_equal(stats()->tables_allocated, 0);
		}
		ept_verify(ept);
	}
	arena_fail_after(&arena, -1);
	assert_int_equal(result, FAULT_FIXED);
	/* Three tables here, three there, one page: less what earlier turns left in store. */
	assert_in_range(turn, 4, 8);
}

static void create_fails(void **state)
{
	struct ept_caps caps = { .max_level = LEVEL_2M, .accessed_dirty = true };
	struct ept *other;

	(void)state;
	for (int64_t turn = 0; turn < 2; turn++) {
		uint64_t free = page_count_free(arena.host);

		arena_fail_after(&arena, turn);
		assert_int_equal(ept_create(space, &caps, &other), STATUS_NO_MEMORY);
		assert_int_equal(page_count_free(arena.host), free);
	}
	arena_fail_after(&arena, -1);
	caps.max_level = 0;
	assert_int_equal(ept_create(space, &caps, &other), STATUS_UNSUPPORTED);
	caps.max_level = 4;
	assert_int_equal(ept_create(space, &caps, &other), STATUS_UNSUPPORTED);
}

/* Two EPTs of one space: each hears of what the host takes. */
static void two_of_one_space(void **state)
{
	struct ept_caps caps = { .max_level = LEVEL_2M, .accessed_dirty = true };
	struct ept *first = ept, *second;

	(void)state;
	lend(PAGE_SIZE, LEVEL_4K);
	assert_int_equal(fault(0, ACCESS_WRITE), FAULT_FIXED);
	assert_int_equal(ept_create(space, &caps, &second), STATUS_OK);
	ept = second;
	add_region(5, 1, BACKING, LEVEL_4K);
	assert_int_equal(fault(5 * PAGE_SIZE, ACCESS_WRITE), FAULT_FIXED);
	assert_int_equal(space_discard(space, hva(BACKING), PAGE_SIZE), STATUS_OK);
	assert_int_equal(level_at(5 * PAGE_SIZE), 0);
	ept_destroy(second);
	ept = first;
	/* The space tells the one that is left, and no other. */
	assert_ptr_equal(space->notifiers.next->next, &space->notifiers);
	assert_int_equal(level_at(0), 0);
	assert_int_equal(fault(0, ACCESS_WRITE), FAULT_FIXED);
}

#define ept_test(name) cmocka_unit_test_setup_teardown(name, open_small, close_ept)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ept_test(no_region), ept_test(read_only_region), ept_test(no_host),
		ept_test(first_touch), ept_test(second_fault_is_spurious),
		ept_test(reused_leaf_marks), ept_test(read_only_host), ept_test(pointer),
		cmocka_unit_test(no_accessed_dirty), cmocka_unit_test(misalignments),
		ept_test(region_edges), ept_test(the_way_ends_with_its_table),
		cmocka_unit_test(cpu_without_large_pages),
		cmocka_unit_test(gigabyte), ept_test(leaf_replaces_table),
		ept_test(table_replaces_leaf), ept_test(allocations_fail),
		ept_test(create_fails), ept_test(two_of_one_space),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
