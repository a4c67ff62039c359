/* Where no region stands: entries that say so, and what becomes of them (ept/mmio.c, U26). */
#include "ept/age.h"
#include "ept/mmio.h"
#include "tests/unit/ept_fixture.h"
#include "tests/unit/lock_fixture.h"

enum { REGION = 256 };			/* pages of the first region: half of a table */

/* Where the way to the address ends. */
static spte_t entry_at(uint64_t address, unsigned *level)
{
	struct ept_walk walk = ept_walk_begin(ept, gpa_to_gfn(gpa(address)), 1);

	while (ept_walk_next(&walk))
		*level = walk.level;
	return walk.old;
}

/* The level of the entry that says, truly, that nothing is there; 0: none does. */
static unsigned mmio_level(uint64_t address)
{
	unsigned level;
	spte_t found = entry_at(address, &level);

	return spte_is_mmio(found) && mmio_is_current(ept, found) ? level : 0;
}

/* By soft CPU 1. */
static enum fault_result load(uint64_t address)
{
	uint64_t value = 0;

	port_set_cpu(1);
	enum fault_result result = soft_load(&soft[1], gpa(address), &value);

	port_set_cpu(0);
	return result;
}

/* One region from guest address 0 on, touched: so there are tables, with room in each. */
static int open_region(void **state)
{
	open_small(state);
	map_host(BACKING, GIB, LEVEL_4K);
	add_region(0, REGION, BACKING, LEVEL_4K);
	store_on(1, 0, 7);
	return 0;
}

static int close_watched(void **state)
{
	port_look_hook(NULL);
	return close_ept(state);
}

/* ------------------------------------------------------------------ the entry */

static void format(void **state)
{
	static const uint64_t generations[] = { 0, 1, 0x12345, SPTE_GENERATION_LAST - 1,
						SPTE_GENERATION_LAST };

	(void)state;
	for (unsigned i = 0; i < sizeof(generations) / sizeof(*generations); i++) {
		spte_t entry = spte_make_mmio(generations[i]);

		assert_true(spte_is_mmio(entry));
		assert_int_equal(spte_generation(entry), generations[i]);
		assert_int_equal(entry.bits & SPTE_RIGHTS, SPTE_W | SPTE_X);
		assert_false(spte_present(entry) || spte_is_leaf(entry) || spte_is_table(entry) ||
			     spte_is_dead(entry) || spte_is_frozen(entry));
		for (unsigned level = LEVEL_4K; level <= EPT_ROOT_LEVEL; level++) {
			assert_null(spte_fault(entry, level));
			assert_non_null(spte_fault((spte_t){ entry.bits | SPTE_A }, level));
		}
	}
	/* A generation that may be seen names no memory that a machine may have. */
	assert_int_equal(spte_make_mmio(1).bits, 0x000fffffffffe006);
	assert_false(spte_is_mmio(spte_empty()) || spte_is_mmio(spte_make_waiting(pfn(1))) ||
		     spte_is_mmio(spte_make_dead(pfn(1))) || spte_is_mmio(spte_frozen()) ||
		     spte_is_mmio(spte_make_leaf(pfn(1), true, AD_PROCESSOR)) ||
		     spte_is_mmio(spte_make_table(pfn(1))));
}

/* ------------------------------------------------------------------ made, and met again */

static void op_load_nothing(void) { assert_int_equal(load(GIB), FAULT_NO_REGION); }

/* U26: once by a violation and the lock; from then on by a misconfiguration and without. */
static void u26_answered_without_a_lock(void **state)
{
	(void)state;
	watch_locks(NULL);
	uint64_t violations = atomic_read(&soft[1].violations);

	assert_int_equal(waits_for(&ept->lock, EXCLUSIVE, op_load_nothing), 1);
	assert_int_equal(stats()->mmio_made, 1);
	assert_int_equal(mmio_level(GIB), LEVEL_1G);
	for (unsigned i = 1; i <= 3; i++) {
		assert_int_equal(waits_for(&ept->lock, EXCLUSIVE, op_load_nothing), 0);
		assert_int_equal(stats()->mmio_hits, i);
	}
	/* All that the entry translates. */
	assert_int_equal(load(2 * GIB - 8), FAULT_NO_REGION);
	assert_int_equal(stats()->mmio_hits, 4);
	assert_int_equal(atomic_read(&soft[1].violations), violations + 1);
	assert_int_equal(stats()->mmio_made, 1);
	assert_int_equal(stats()->flushes, 0);
}

/* Of every level, as wide as it can be, and without a table for its sake. */
static void u26_an_entry_of_each_level(void **state)
{
	static const struct { uint64_t address; unsigned level; } cases[] = {
		{ REGION * PAGE_SIZE, LEVEL_4K }, { 2 * MIB - PAGE_SIZE, LEVEL_4K },
		{ 2 * MIB, LEVEL_2M }, { GIB - PAGE_SIZE, LEVEL_2M }, { GIB, LEVEL_1G },
		{ 512 * GIB - PAGE_SIZE, LEVEL_1G }, { 512 * GIB, LEVEL_512G },
		{ (GUEST_FRAMES - 1) << PAGE_SHIFT, LEVEL_512G },
	};
	uint64_t tables = stats()->tables_allocated;

	(void)state;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		assert_int_equal(load(cases[i].address), FAULT_NO_REGION);
		assert_int_equal(mmio_level(cases[i].address), cases[i].level);
		assert_int_equal(load(cases[i].address), FAULT_NO_REGION);
		assert_int_equal(stats()->mmio_made, i + 1);
		assert_int_equal(stats()->mmio_hits, i + 1);
	}
	assert_int_equal(stats()->tables_allocated, tables);
	all_leave();
	ept_verify(ept);
}

/* Beside a region where nobody has been: no entry yet, and no wrong one. */
static void u26_none_over_a_region(void **state)
{
	(void)state;
	add_region(GIB >> PAGE_SHIFT, 1, BACKING + MIB, LEVEL_4K);
	assert_int_equal(load(GIB + PAGE_SIZE), FAULT_NO_REGION);
	assert_int_equal(load(2 * GIB - PAGE_SIZE), FAULT_NO_REGION);
	assert_int_equal(stats()->mmio_made, 0);
	store_on(1, GIB, 5);
	assert_int_equal(load(GIB + PAGE_SIZE), FAULT_NO_REGION);
	assert_int_equal(mmio_level(GIB + PAGE_SIZE), LEVEL_4K);
	/* Nor over one that leaves, which may yet come back (ept_region_move). */
	ept->leaving[0] = (struct region){ gfn(4 * GIB >> PAGE_SHIFT), 1, hva(BACKING),
					   REGION_READ_WRITE, LEVEL_4K };
	atomic_write(&ept->leaving_count, 1);
	assert_int_equal(load(4 * GIB + PAGE_SIZE), FAULT_NO_REGION);
	atomic_write(&ept->leaving_count, 0);
	assert_int_equal(mmio_level(4 * GIB + PAGE_SIZE), 0);
	/* What four levels can't translate would have another's entry. */
	assert_int_equal(fault(UINT64_C(1) << 48 | 8 * GIB, ACCESS_READ), FAULT_NO_REGION);
	assert_int_equal(mmio_level(8 * GIB), 0);
	assert_int_equal(stats()->mmio_made, 1);
}

/* ------------------------------------------------------------------ out of date */

/* U26: a region comes, and nobody looks for the entries, nor flushes; the CPU stays inside. */
static void u26_out_of_date_when_a_region_comes(void **state)
{
	(void)state;
	assert_int_equal(load(GIB), FAULT_NO_REGION);
	assert_int_equal(load(GIB), FAULT_NO_REGION);
	assert_int_equal(stats()->mmio_hits, 1);
	add_region((GIB + 2 * MIB) >> PAGE_SHIFT, 1, BACKING, LEVEL_4K);
	assert_int_equal(mmio_level(GIB), 0);
	assert_int_equal(load_on(1, GIB + 2 * MIB), 7);
	/* The rest is still nothing; told by the lock, then again by an entry. */
	assert_int_equal(load(GIB), FAULT_NO_REGION);
	assert_int_equal(stats()->mmio_hits, 1);
	assert_int_equal(load(GIB), FAULT_NO_REGION);
	assert_int_equal(stats()->mmio_hits, 2);
	assert_int_equal(mmio_level(GIB), LEVEL_2M);
	assert_int_equal(stats()->flushes, 0);
	assert_int_equal(kicked[1], 0);
	/* One that goes, or does not come, makes no entry wrong. */
	struct region there = { gfn(0), 1, hva(BACKING), REGION_READ_WRITE, LEVEL_4K };

	assert_int_equal(ept_region_add(ept, &there), STATUS_EXISTS);
	assert_int_equal(ept_region_set_rights(ept, gfn(0), REGION_READ_ONLY), STATUS_OK);
	assert_int_equal(ept_region_remove(ept, gfn((GIB + 2 * MIB) >> PAGE_SHIFT)), STATUS_OK);
	assert_int_equal(mmio_level(GIB), LEVEL_2M);
	all_leave();
	ept_verify(ept);
}

/* Empty again, so that the next exit tells of the access: which is judged by what it is (U26). */
static void u26_out_of_date_says_nothing(void **state)
{
	struct region rom = { gfn(REGION), 1, hva(BACKING + 4 * GIB), REGION_READ_ONLY, LEVEL_4K };
	unsigned level;

	(void)state;
	assert_int_equal(load(REGION * PAGE_SIZE), FAULT_NO_REGION);
	all_leave();
	assert_int_equal(ept_region_add(ept, &rom), STATUS_OK);
	assert_int_equal(ept_fault_misconfigured(ept, gpa(REGION * PAGE_SIZE)), FAULT_RETRY);
	assert_int_equal(entry_at(REGION * PAGE_SIZE, &level).bits, 0);
	assert_int_equal(fault(REGION * PAGE_SIZE, ACCESS_READ | ACCESS_WRITE), FAULT_READ_ONLY);
	assert_int_equal(load(REGION * PAGE_SIZE), FAULT_NO_HOST);
}

/* U8: who meets the entry by a fault, and not by an exit of its own, puts the leaf in its place. */
static void u26_filled_by_a_fault(void **state)
{
	unsigned level;

	(void)state;
	assert_int_equal(load(REGION * PAGE_SIZE), FAULT_NO_REGION);
	assert_int_equal(load(GIB), FAULT_NO_REGION);
	add_region(REGION, 1, BACKING, LEVEL_4K);
	add_region(GIB >> PAGE_SHIFT, 1, BACKING, LEVEL_4K);
	assert_true(spte_is_mmio(entry_at(GIB, &level)) && level == LEVEL_1G);
	assert_int_equal(fault(GIB, ACCESS_WRITE), FAULT_FIXED);
	assert_int_equal(fault(REGION * PAGE_SIZE, ACCESS_WRITE), FAULT_FIXED);
	assert_int_equal(load_on(1, GIB), 7);
	all_leave();
	ept_verify(ept);
}

/* At 4 KiB a leaf takes the entry's place; by a store as by a load. */
static void u26_replaced_by_a_leaf(void **state)
{
	(void)state;
	for (uint64_t page = REGION; page < REGION + 2; page++) {
		assert_int_equal(load(page * PAGE_SIZE), FAULT_NO_REGION);
		assert_int_equal(mmio_level(page * PAGE_SIZE), LEVEL_4K);
	}
	add_region(REGION, 2, BACKING, LEVEL_4K);
	assert_int_equal(load_on(1, REGION * PAGE_SIZE), 7);
	store_on(1, (REGION + 1) * PAGE_SIZE, 8);
	assert_int_equal(level_at(REGION * PAGE_SIZE), LEVEL_4K);
	assert_int_equal(stats()->mapped[0], 3);
	assert_int_equal(stats()->flushes, 0);
	all_leave();
	ept_verify(ept);
}

/* Neighbours are mapped over them as over empty ones. */
static void u26_replaced_by_neighbours(void **state)
{
	(void)state;
	ept->prefetch = 8;
	assert_int_equal(load((REGION + 3) * PAGE_SIZE), FAULT_NO_REGION);
	add_region(REGION, 8, BACKING, LEVEL_4K);
	for (uint64_t at = 0; at < 8 * PAGE_SIZE; at += PAGE_SIZE)
		assert_int_equal(space_write(space, hva(BACKING + at), &at, sizeof(at)), STATUS_OK);
	store_on(1, REGION * PAGE_SIZE, 8);
	assert_int_equal(level_at((REGION + 3) * PAGE_SIZE), LEVEL_4K);
	all_leave();
	ept_verify(ept);
}

/* A region that moves, too, has come. */
static void u26_a_region_moves_there(void **state)
{
	(void)state;
	assert_int_equal(load(4 * GIB), FAULT_NO_REGION);
	assert_int_equal(mmio_level(4 * GIB), LEVEL_1G);
	assert_int_equal(ept_region_move(ept, gfn(0), gfn(4 * GIB >> PAGE_SHIFT)), STATUS_OK);
	assert_int_equal(load_on(1, 4 * GIB), 7);
	assert_int_equal(load(0), FAULT_NO_REGION);
	assert_int_equal(load(0), FAULT_NO_REGION);
	assert_int_equal(stats()->mmio_hits, 1);
}

/* U26: after the last generation there is no other, and no entry is made that could outlive it. */
static void u26_no_generation_comes_twice(void **state)
{
	uint64_t last = SPTE_GENERATION_LAST;

	(void)state;
	atomic_write(&ept->region_generation, last - 1);
	assert_int_equal(load(GIB), FAULT_NO_REGION);
	assert_int_equal(load(GIB), FAULT_NO_REGION);
	assert_int_equal(stats()->mmio_hits, 1);
	for (unsigned i = 0; i < 3; i++) {
		add_region(1000 + i, 1, BACKING, LEVEL_4K);
		assert_int_equal(atomic_read(&ept->region_generation), last);
		assert_int_equal(load(GIB), FAULT_NO_REGION);
		assert_int_equal(load(3 * GIB), FAULT_NO_REGION);
	}
	assert_int_equal(stats()->mmio_hits, 1);
	assert_int_equal(stats()->mmio_made, 1);
	add_region(GIB >> PAGE_SHIFT, 1, BACKING, LEVEL_4K);
	assert_int_equal(load_on(1, GIB), 7);
}

/* ------------------------------------------------------------------ others who meet them */

/*
 * Out of date, in every place that a region which comes and
 * goes again can have: no entry of its own.
 */
static void u26_regions_leave_them(void **state)
{
	(void)state;
	assert_int_equal(load(REGION * PAGE_SIZE), FAULT_NO_REGION);
	assert_int_equal(load(2 * MIB), FAULT_NO_REGION);
	assert_int_equal(load(GIB), FAULT_NO_REGION);
	assert_int_equal(ept_region_remove(ept, gfn(0)), STATUS_OK);
	for (unsigned i = 0; i < 2; i++) {
		add_region(0, 2 * GIB >> PAGE_SHIFT, BACKING, LEVEL_4K);
		assert_int_equal(load_on(1, 0), 7);
		all_leave();
		ept_verify(ept);
		assert_int_equal(ept_region_remove(ept, gfn(0)), STATUS_OK);
		ept_verify(ept);
		/* By what its tables leave: 2 MiB and 1 GiB are in a part that has none again. */
		assert_int_equal(load(GIB), FAULT_NO_REGION);
		assert_int_equal(mmio_level(GIB), LEVEL_1G);
		assert_int_equal(load(2 * MIB), FAULT_NO_REGION);
		assert_int_equal(mmio_level(2 * MIB), LEVEL_1G);
	}
}

/* The same below an entry that is dead: of 2 MiB, in a table of tables that is taken apart. */
static void u26_taken_apart_with_tables(void **state)
{
	(void)state;
	assert_int_equal(load(2 * MIB), FAULT_NO_REGION);
	assert_int_equal(load(REGION * PAGE_SIZE), FAULT_NO_REGION);
	add_region(REGION, (GIB >> PAGE_SHIFT) - REGION, BACKING + MIB, LEVEL_4K);
	assert_int_equal(ept_region_remove(ept, gfn(0)), STATUS_OK);
	assert_int_equal(ept_region_remove(ept, gfn(REGION)), STATUS_OK);
	ept_verify(ept);
	add_region(0, GIB >> PAGE_SHIFT, BACKING, LEVEL_4K);
	assert_int_equal(load_on(1, 0), 7);
	unsigned level;

	assert_true(spte_is_mmio(entry_at(2 * MIB, &level)) && level == LEVEL_2M);
	all_leave();
	uint64_t tables = stats()->tables_freed;

	assert_int_equal(ept_region_remove(ept, gfn(0)), STATUS_OK);
	assert_int_equal(stats()->tables_freed, tables + 2);
	ept_verify(ept);
}

static const struct log_options by_dirty_bit = { .kind = LOG_DIRTY_BIT };

/* What a bracket, aging and a log find there is nothing. */
static void u26_neither_young_nor_dirty(void **state)
{
	hva_t start = hva(BACKING + 44 * PAGE_SIZE), end = hva(BACKING + 45 * PAGE_SIZE);
	uint64_t words[8] = { 0 }, zapped = stats()->zapped[0];
	unsigned level;

	(void)state;
	assert_int_equal(load(300 * PAGE_SIZE), FAULT_NO_REGION);
	add_region(REGION, 256, BACKING, LEVEL_4K);
	spte_t old = entry_at(300 * PAGE_SIZE, &level);

	assert_true(spte_is_mmio(old));
	assert_false(ept_test_young(ept, start, end) || ept_clear_young(ept, start, end));
	assert_int_equal(ept_log_enable(ept, gfn(REGION), &by_dirty_bit), STATUS_OK);
	assert_int_equal(ept_log_get(ept, gfn(REGION), words), STATUS_OK);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(words[i], 0);
	assert_int_equal(ept_log_disable(ept, gfn(REGION)), STATUS_OK);
	uint64_t flushes = stats()->flushes;

	assert_int_equal(space_discard(space, start, PAGE_SIZE), STATUS_OK);
	assert_int_equal(stats()->flushes, flushes);
	assert_int_equal(stats()->zapped[0], zapped);
	assert_int_equal(entry_at(300 * PAGE_SIZE, &level).bits, old.bits);
}

/* In a table that becomes one large leaf, or goes because one is wanted. */
static void u26_a_large_leaf_in_place_of_all(void **state)
{
	const struct log_options log = { .kind = LOG_WRITE_PROTECT };

	(void)state;
	map_host(BACKING + 2 * GIB, 2 * MIB, LEVEL_2M);
	for (unsigned logged = 0; logged < 2; logged++) {
		assert_int_equal(load(300 * PAGE_SIZE), FAULT_NO_REGION);
		assert_int_equal(mmio_level(300 * PAGE_SIZE), LEVEL_4K);
		assert_int_equal(ept_region_remove(ept, gfn(0)), STATUS_OK);
		add_region(0, 512, BACKING + 2 * GIB, LEVEL_2M);
		if (logged)
			assert_int_equal(ept_log_enable(ept, gfn(0), &log), STATUS_OK);
		store_on(1, 8, 9);
		if (logged) {
			assert_int_equal(level_at(0), LEVEL_4K);
			assert_int_equal(ept_log_disable(ept, gfn(0)), STATUS_OK);
		}
		assert_int_equal(level_at(0), LEVEL_2M);
		assert_int_equal(load_on(1, 8), 9);
		assert_int_equal(load(300 * PAGE_SIZE), FAULT_FIXED);
		all_leave();
		ept_verify(ept);
		assert_int_equal(ept_region_remove(ept, gfn(0)), STATUS_OK);
		add_region(0, REGION, BACKING, LEVEL_4K);
		store_on(1, 0, 7);
	}
	assert_int_equal(stats()->joined, 1);
}

/* ------------------------------------------------------------------ an exit and its entry */

static enum fault_result misconfigured(uint64_t address)
{
	return ept_fault_misconfigured(ept, gpa(address));
}

/* The entry that a processor has met may be another, or none, when it is asked about. */
static void u26_changed_since_the_exit(void **state)
{
	(void)state;
	all_leave();
	assert_int_equal(misconfigured(0), FAULT_RETRY);
	assert_int_equal(misconfigured(PAGE_SIZE), FAULT_RETRY);
	assert_int_equal(misconfigured(GIB), FAULT_RETRY);
	assert_int_equal(misconfigured(UINT64_MAX), FAULT_RETRY);
	assert_int_equal(stats()->retries, 4);
	assert_int_equal(stats()->mmio_made + stats()->mmio_hits, 0);
	/* Frozen: nothing to a processor, and somebody's. */
	(void)slot_freeze(slot_of(2 * PAGE_SIZE, LEVEL_4K));
	assert_int_equal(misconfigured(2 * PAGE_SIZE), FAULT_RETRY);
	slot_thaw(slot_of(2 * PAGE_SIZE, LEVEL_4K), spte_empty());
}

/* On each level one that is none of ours is not taken for ours. */
static void expect_misconfigured(unsigned level)
{
	spte_slot_t *slot = slot_of(0, level);
	spte_t old = slot_and_not(slot, SPTE_R);

	soft_invept(&soft[1]);
	assert_int_equal(misconfigured(0), FAULT_MISCONFIGURED);
	assert_true(panics((void)load(0), "EPT misconfiguration at 0x0"));
	port_set_cpu(0);
	slot_xchg(slot, old);
	assert_int_equal(load_on(1, 0), 7);
	all_leave();
}

static void u26_a_true_misconfiguration(void **state)
{
	(void)state;
	all_leave();
	for (unsigned level = LEVEL_4K; level <= EPT_ROOT_LEVEL; level++)
		expect_misconfigured(level);
}

#define MMIO(test) cmocka_unit_test_setup_teardown(test, open_region, close_watched)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(format),
		MMIO(u26_answered_without_a_lock), MMIO(u26_an_entry_of_each_level),
		MMIO(u26_none_over_a_region), MMIO(u26_out_of_date_when_a_region_comes),
		MMIO(u26_out_of_date_says_nothing), MMIO(u26_filled_by_a_fault),
		MMIO(u26_replaced_by_a_leaf), MMIO(u26_replaced_by_neighbours),
		MMIO(u26_a_region_moves_there),
		MMIO(u26_no_generation_comes_twice), MMIO(u26_regions_leave_them),
		MMIO(u26_taken_apart_with_tables), MMIO(u26_neither_young_nor_dirty),
		MMIO(u26_a_large_leaf_in_place_of_all), MMIO(u26_changed_since_the_exit),
		MMIO(u26_a_true_misconfiguration),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
