/* 512 pages become one, against those who store to them, hold one, or take one away. */
#include "tests/explore/world.h"

/* Small pages in a VMA that wants large ones; the guest knows the first. */
static void open_small(void)
{
	world_open(512, LEVEL_2M);
	world.space->vmas[0].max_level = LEVEL_4K;
	for (uint64_t page = 0; page < 512; page++)
		(void)process_loads(page);
	world.ept->regions[0].max_level = LEVEL_4K;
	guest_stores(0, 5);
	guest_leaves();
	/*
	 * Its CPU's store of tables is full now: what it shares with a collapse is not the
	 * allocator.
	 */
	check(ept_fault(world.ept, page_gpa(0), ACCESS_READ, ACCESS_NONE) == FAULT_SPURIOUS);
	world.space->vmas[0].max_level = LEVEL_2M;
}

static void collapse(void)
{
	uint64_t collapsed;

	check(space_collapse(world.space, page_hva(0), 512 * PAGE_SIZE, &collapsed) == STATUS_OK);
}

static void process_stores(void)
{
	uint64_t value = 7;

	check(space_write(world.space, page_hva(0), &value, sizeof(value)) == STATUS_OK);
}

SCENARIO(collapse_store, .rule = "a process's store is in the copy, or comes after it (I6)",
	 .setup = open_small, .actors = { process_stores, collapse }, .verify = verify_seven,
	 .name_word = world_name);

SCENARIO(collapse_guest, .rule = "a guest's store is in the copy, or comes after it (I6)",
	 .setup = open_small, .actors = { store_seven, collapse }, .verify = verify_seven,
	 .name_word = world_name);

/* It writes by the reference that it has, as a device does, and keeps it. */
static pfn_t held;

static void device_writes(void)
{
	struct mm_page page;
	uint64_t value = 7;

	check(gup_get(world.space, page_hva(0), GUP_WRITE, &page) == STATUS_OK);
	held = page.frame;
	atomic_copy(pfn_to_ptr(held), &value, sizeof(value));
}

static void verify_written(void)
{
	gup_put_dirty(world.host, held);
	verify_seven();
}

SCENARIO(collapse_device, .rule = "what is written by a reference is not lost to a copy (I6)",
	 .setup = open_small, .actors = { device_writes, collapse }, .verify = verify_written,
	 .name_word = world_name);
