/*
 * A process's CPU, which walks the tables without a lock and may use what it found until it is done
 * (mm/tlb.h), while the host takes the page from under it.
 */
#include "tests/explore/world.h"

static void put(uint64_t value)
{
	check(space_write(world.space, page_hva(0), &value, sizeof(value)) == STATUS_OK);
}

static void put_seven(void) { put(7); }

static void open_owned(void)
{
	world_open(1, LEVEL_4K);
	put(5);
}

/* The same on a processor with a TLB: what it has cached serves both stores. */
static void soft_put(uint64_t page, uint64_t value)
{
	check(soft_process(&world.cpus[0], world.space, page_hva(page), ACCESS_WRITE, &value) ==
	      STATUS_OK);
}

static void put_six_and_seven(void)
{
	soft_put(0, 6);
	soft_put(0, 7);
	soft_process_leave(&world.cpus[0], world.space);
}

/* ------------------------------------------------------------------ another frame */

SCENARIO(process_migrate, .rule = "a page is copied when no CPU can store to it any more (I6)",
	 .setup = open_owned, .actors = { put_seven, migrate_first }, .verify = verify_seven,
	 .name_word = world_name);

/* ------------------------------------------------------------------ no frame */

static void load(void)
{
	uint64_t found = process_loads(0);

	check(found == 5 || found == 0);
}

static void discard_first(void)
{
	check(space_discard(world.space, page_hva(0), PAGE_SIZE) == STATUS_OK);
}

static void open_cached(void)
{
	open_owned();
	soft_host_init(&world.cpus[0], world.space);
}

SCENARIO(process_migrate_tlb, .rule = "a page is copied when no TLB has it (I6)",
	 .setup = open_cached, .actors = { put_six_and_seven, migrate_first },
	 .verify = verify_seven, .name_word = world_name);

SCENARIO(process_discard, .rule = "a frame, and a table, is freed when no CPU can use it (I8)",
	 .setup = open_owned, .actors = { load, discard_first }, .verify = world_verify,
	 .name_word = world_name);

static void discard_alone(void)
{
	check(space_unmap(world.space, page_hva(0), PAGE_SIZE) == STATUS_OK);
}

static void look_up(void)
{
	struct mm_page page;
	enum status status = mm_lookup(world.space, page_hva(0), ACCESS_READ, &page);

	check(status == STATUS_OK || status == STATUS_NOT_FOUND);
}

SCENARIO(lookup_unmap, .rule = "a table is freed when no lookup walks it (I8)",
	 .setup = open_owned, .actors = { look_up, discard_alone }, .verify = world_verify,
	 .name_word = world_name);

/* ------------------------------------------------------------------ fewer rights */

static void open_shared(void)
{
	world_open_file(1, SHARING_SHARED);
	put(5);
}

static void open_shared_cached(void)
{
	open_shared();
	soft_host_init(&world.cpus[0], world.space);
}

SCENARIO(process_writeback_tlb, .rule = "no CPU stores by a W that it had cached (I6)",
	 .setup = open_shared_cached, .actors = { put_six_and_seven, sync_file },
	 .verify = verify_written_back, .name_word = world_name);

SCENARIO(process_writeback, .rule = "no CPU stores behind a page that was cleaned (I6)",
	 .setup = open_shared, .actors = { put_seven, sync_file }, .verify = verify_written_back,
	 .name_word = world_name);

/* -------------------- another page for one, not the other */

static void open_private(void)
{
	world_open_file(1, SHARING_PRIVATE);
	check(process_loads(0) == 0);
}

static atomic64_t written;

static void put_and_tell(void)
{
	put(7);
	atomic_write(&written, 1);
}

static void look_when_told(void)
{
	bool told = atomic_read(&written);

	check(process_loads(0) == 7 || !told);
}

static void open_told(void)
{
	open_private();
	atomic_write(&written, 0);
}

static void load_both(void)
{
	uint64_t first = process_loads(0), second = process_loads(0);

	check(first == 0 || second == first);
}

SCENARIO(process_copy,
	 .rule = "no CPU reads the old page after another stored to the new one (S100)",
	 .setup = open_told, .actors = { put_and_tell, look_when_told, load_both },
	 .verify = verify_seven, .name_word = world_name);
