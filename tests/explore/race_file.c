/*
 * A file's pages in the guest, while they are written back or copied for the process. S92: no leaf
 * that goes marks anything.
 */
#include "tests/explore/world.h"

static void open_shared(void)
{
	world_open_file(1, SHARING_SHARED);
	guest_stores(0, 5);
	guest_leaves();
}

SCENARIO(writeback,
	 .rule = "a store is in what is written, or makes the page dirty again (I6, S29)",
	 .setup = open_shared, .actors = { store_seven, sync_file }, .verify = verify_written_back,
	 .name_word = world_name);

SCENARIO(writeback_twice, .rule = "a second writeback takes no mark before its stores are in (I6)",
	 .setup = open_shared, .actors = { store_seven, sync_file, sync_file },
	 .verify = verify_written_back, .name_word = world_name, .bound = 2, .walks_tso = 5000);

/* ------------------------------------------------------------------ copy on write */

static void open_private(void)
{
	world_open_file(1, SHARING_PRIVATE);
	check(guest_loads(0) == 0);
	guest_leaves();
}

static void load_twice(void)
{
	uint64_t first = guest_loads(0), second = guest_loads(0);

	check(first == 0 || second == first);
	guest_leaves();
}

static void process_writes(void)
{
	uint64_t value = 7;

	check(space_write(world.space, page_hva(0), &value, sizeof(value)) == STATUS_OK);
}

static void verify_copied(void)
{
	check(process_loads(0) == 7 && guest_loads(0) == 7);
	guest_leaves();
	world_verify();
}

SCENARIO(copy_on_write, .rule = "no guest reads the old page after the new one (S100)",
	 .setup = open_private, .actors = { load_twice, process_writes },
	 .verify = verify_copied, .name_word = world_name);

/* Both copy, or one uses what the other has copied. */
SCENARIO(copy_twice, .rule = "of two copies of one page one stays, and both stores are in it (I6)",
	 .setup = open_private, .actors = { store_seven, process_writes_behind },
	 .verify = verify_seven_and_eight, .name_word = world_name);
