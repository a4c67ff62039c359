/* D that goes from an entry which stays, and W with it from the leaf over it, against stores. */
#include "tests/explore/world.h"

/* ---------------------------------- a record of what was written */

static struct { uint64_t bits, taken; } owner;

static void process_stores(uint64_t value)
{
	check(space_write(world.space, page_hva(0), &value, sizeof(value)) == STATUS_OK);
}

static void open_written(void)
{
	world_open_file(1, SHARING_SHARED);
	process_stores(5);
	owner.bits = owner.taken = 0;
}

static void process_stores_seven(void) { process_stores(7); }

/* The record's owner takes the content of what was written. */
static void clean_and_take(void)
{
	struct clean_record record = { .bitmap = &owner.bits };
	uint64_t count;

	check(file_clean_record(world.file, 0, 1, &record, &count) == STATUS_OK);
	if (owner.bits)
		owner.taken = process_loads(0);
}

static pte_t first_entry(void) NOT_CHECKED
{
	return table_find(world.space, page_hva(0).raw).pte;
}

static void verify_taken(void)
{
	check(process_loads(0) == 7);
	check(owner.taken == 7 || pte_dirty(first_entry()));
	check(pte_writable(first_entry()));
	world_verify();
}

SCENARIO(clean_record,
	 .rule = "a store is in what the record's owner takes, or D is there again (S41)",
	 .setup = open_written, .actors = { process_stores_seven, clean_and_take },
	 .verify = verify_taken, .name_word = world_name);

/* ------------------------------------------------------------------ leaves that stay */

static void open_protecting(void)
{
	world_open_file(1, SHARING_SHARED);
	host_set_options(world.host, OPTION_MKCLEAN);
	guest_stores(0, 5);
	guest_leaves();
}

SCENARIO(writeback_protects, .rule = "no store lands by a leaf that has become read-only (S23, I6)",
	 .setup = open_protecting, .actors = { store_seven, sync_file },
	 .verify = verify_written_back,
	 .name_word = world_name);

/* The leaf is read-only when the guest stores. */
static void open_read_only(void)
{
	open_protecting();
	sync_file();
}

SCENARIO(leaf_grows, .rule = "W comes back by a lookup that still holds (U21, I6)",
	 .setup = open_read_only, .actors = { store_seven, sync_file },
	 .verify = verify_written_back,
	 .name_word = world_name);
