/*
 * Entries where no region stands, against regions that come and go: ept/mmio.c has the table. Page
 * 1, behind the region of the one page, is nothing at first.
 */
#include "ept/mmio.h"
#include "tests/explore/world.h"

static atomic32_t there;		/* page 1 is a region's, for good */

/* `met`: a guest has been there, and an entry says so. */
static void open_nothing(bool met)
{
	const uint64_t bytes = 2 * PAGE_SIZE;
	uint64_t value;

	world_open(1, LEVEL_4K);
	check(space_unmap(world.space, page_hva(0), PAGE_SIZE) == STATUS_OK);
	check(space_map(world.space, page_hva(0), bytes, PROTECTION_READ_WRITE, LEVEL_4K) ==
	      STATUS_OK);
	guest_stores(0, 5);
	value = 6;
	check(space_write(world.space, page_hva(1), &value, sizeof(value)) == STATUS_OK);
	if (met)
		check(soft_load(&world.cpus[0], page_gpa(1), &value) == FAULT_NO_REGION);
	guest_leaves();
	atomic_write(&there, 0);
}

static void open_met(void) { open_nothing(true); }
static void open_new(void) { open_nothing(false); }

static void add_page(void)
{
	struct region region = { .start = gfn(1), .pages = 1, .backing = page_hva(1),
				 .rights = REGION_READ_WRITE, .max_level = LEVEL_4K };

	check(ept_region_add(world.ept, &region) == STATUS_OK);
	atomic_write(&there, 1);
}

static void load_once(void)
{
	bool too_late = atomic_read(&there);
	uint64_t value = 0;
	enum fault_result result = soft_load(&world.cpus[port_cpu()], page_gpa(1), &value);

	check(result == FAULT_FIXED ? value == 6 : result == FAULT_NO_REGION && !too_late);
}

/* By a violation, then by what that has left there. */
static void load_twice(void)
{
	load_once();
	load_once();
	guest_leaves();
}

static void load_and_leave(void)
{
	load_once();
	guest_leaves();
}

/* Whatever was left, is not believed. */
static void verify_there(void)
{
	check(guest_loads(1) == 6 && guest_loads(0) == 5);
	guest_leaves();
	world_verify();
}

SCENARIO(mmio_add, .rule = "nobody finds nothing once the region has come (U26)", .setup = open_met,
	 .actors = { load_twice, add_page }, .verify = verify_there, .name_word = world_name);

SCENARIO(mmio_made_add, .rule = "nor by an entry that was made meanwhile (U26)", .setup = open_new,
	 .actors = { load_twice, add_page }, .verify = verify_there, .name_word = world_name);

SCENARIO(mmio_two_add, .rule = "nor by one that another CPU has made (U26)", .setup = open_new,
	 .actors = { load_twice, add_page, load_and_leave }, .verify = verify_there,
	 .name_word = world_name);

/* Out of date, and met by two: what one puts there the other does not empty. */
static void open_added(void)
{
	open_met();
	add_page();
}

SCENARIO(mmio_two_fill, .rule = "who empties an entry takes no leaf (U26)", .setup = open_added,
	 .actors = { load_and_leave, load_and_leave }, .verify = verify_there,
	 .name_word = world_name);

/* ------------------------------------------------------------------ a table that goes */

enum { TABLE = 512, PAGE = 5 };

/* An entry that is out of date, among leaves of a region that has all of the table. */
static void open_outdated(void)
{
	struct region region = { .start = gfn(0), .pages = TABLE, .backing = page_hva(0),
				 .rights = REGION_READ_WRITE, .max_level = LEVEL_4K };
	uint64_t value;

	world_open(TABLE, LEVEL_4K);
	check(ept_region_remove(world.ept, gfn(0)) == STATUS_OK);
	region.pages = 1;
	check(ept_region_add(world.ept, &region) == STATUS_OK);
	guest_stores(0, 5);
	check(soft_load(&world.cpus[0], page_gpa(PAGE), &value) == FAULT_NO_REGION);
	guest_leaves();
	check(ept_region_remove(world.ept, gfn(0)) == STATUS_OK);
	region.pages = TABLE;
	check(ept_region_add(world.ept, &region) == STATUS_OK);
}

static void load_there(void)
{
	uint64_t value = 0;
	enum fault_result result = soft_load(&world.cpus[0], page_gpa(PAGE), &value);

	check(result == FAULT_FIXED || result == FAULT_NO_REGION);
	guest_leaves();
}

static void remove_table(void) { check(ept_region_remove(world.ept, gfn(0)) == STATUS_OK); }

SCENARIO(mmio_table_goes, .rule = "no table is freed while a look for an entry is in it (U26)",
	 .setup = open_outdated, .actors = { load_there, remove_table }, .verify = world_verify,
	 .name_word = world_name);
