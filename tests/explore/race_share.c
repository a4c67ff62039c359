/*
 * Pages that several processes, or several places of one, have in common: fork, copy-on-write,
 * KSM, and the three lives of change_pte (mm/notifier.h), while a process or a guest stores
 * there.
 */
#include "tests/explore/world.h"

static void put_at(struct space *space, uint64_t page, uint64_t value)
{
	check(space_write(space, page_hva(page), &value, sizeof(value)) == STATUS_OK);
}

static uint64_t get_from(struct space *space, uint64_t page)
{
	uint64_t value = 0;

	check(space_read(space, page_hva(page), &value, sizeof(value)) == STATUS_OK);
	return value;
}

/* ------------------------------------------------------------------ fork */

static struct space *child;
static uint64_t first_seen;

static void fork_it(void)
{
	check(space_fork(world.space, &child) == STATUS_OK);
	first_seen = get_from(child, 0);
}

static void open_parent(void)
{
	world_open(1, LEVEL_4K);
	put_at(world.space, 0, 5);
}

static void open_parent_guest(void) { world_open_touched(1, 5); }

static void parent_puts(void) { put_at(world.space, 0, 7); }
static void child_puts(void) { put_at(child, 0, 8); }

/* What the child has seen once it sees for ever; the parent has its own store. */
static void verify_forked(void)
{
	check(first_seen == 5 || first_seen == 7);
	check(get_from(child, 0) == first_seen);
	check(get_from(world.space, 0) == 7);
	space_verify(child);
	space_destroy(child);
	world_verify();
}

SCENARIO(fork_process, .rule = "no store of the parent's reaches the child after fork",
	 .setup = open_parent, .actors = { parent_puts, fork_it }, .verify = verify_forked,
	 .name_word = world_name);

SCENARIO(fork_guest, .rule = "no store of the parent's guest reaches the child after fork (S20)",
	 .setup = open_parent_guest, .actors = { store_seven, fork_it }, .verify = verify_forked,
	 .name_word = world_name);

static void open_family(void)
{
	open_parent();
	check(space_fork(world.space, &child) == STATUS_OK);
}

static void verify_parted(void)
{
	check(get_from(child, 0) == 8);
	check(get_from(world.space, 0) == 7);
	space_verify(child);
	space_destroy(child);
	world_verify();
}

SCENARIO(copy_in_both, .rule = "two processes that part over one page each have their own store",
	 .setup = open_family, .actors = { parent_puts, child_puts }, .verify = verify_parted,
	 .name_word = world_name);

static void child_ends(void) { space_destroy(child); }

SCENARIO(copy_at_the_end, .rule = "who is left alone with a page writes it, or a copy; none leaks",
	 .setup = open_family, .actors = { parent_puts, child_ends }, .verify = verify_seven,
	 .name_word = world_name);

/* Another CPU of the parent's reads meanwhile, by the entry that it has found. */
static void parent_gets(void)
{
	uint64_t value = get_from(world.space, 0);

	check(value == 5 || value == 7);
}

SCENARIO(copy_and_read, .rule = "a page that was copied goes when no CPU can read it any more (I8)",
	 .setup = open_family, .actors = { parent_gets, parent_puts, child_ends },
	 .verify = verify_seven, .name_word = world_name);

/* ------------------------------------------------------------------ KSM */

static void open_equal(enum change_pte mode)
{
	world_open_touched(2, 5);
	host_set_change_pte(world.host, mode);
	check(ksm_start(world.host, 2) == STATUS_OK);
	check(space_merge(world.space, page_hva(0), 2 * PAGE_SIZE) == STATUS_OK);
	/* One of them has been seen, so that what is explored is the merge. */
	check(ksm_scan(world.host, 1) == 1);
}

static void open_equal_default(void) { open_equal(CHANGE_PTE_NONE); }
static void open_equal_unbracketed(void) { open_equal(CHANGE_PTE_UNBRACKETED); }
static void open_equal_glory(void) { open_equal(CHANGE_PTE_FORMER_GLORY); }

static void scan_one(void) { check(ksm_scan(world.host, 1) == 1); }

static void store_second(void)
{
	guest_stores(1, 7);
	guest_leaves();
}

static void process_stores_second(void) { put_at(world.space, 1, 7); }

static void verify_unequal(void)
{
	check(process_loads(0) == 5 && process_loads(1) == 7);
	check(guest_loads(0) == 5 && guest_loads(1) == 7);
	guest_leaves();
	ksm_stop(world.host);
	world_verify();
}

#define STORE_KEPT "a store while pages are merged is kept, and is nobody else's (S80, I6)"

SCENARIO(merge_guest, .rule = STORE_KEPT, .setup = open_equal_default,
	 .actors = { store_second, scan_one }, .verify = verify_unequal, .name_word = world_name);

SCENARIO(merge_process, .rule = STORE_KEPT, .setup = open_equal_default,
	 .actors = { process_stores_second, scan_one }, .verify = verify_unequal,
	 .name_word = world_name);

SCENARIO(merge_unbracketed, .rule = STORE_KEPT, .setup = open_equal_unbracketed,
	 .actors = { store_second, scan_one }, .verify = verify_unequal, .name_word = world_name);

SCENARIO(merge_glory, .rule = STORE_KEPT, .setup = open_equal_glory,
	 .actors = { store_second, scan_one }, .verify = verify_unequal, .name_word = world_name);

/* ------------------------------------------------------------------ a copy, in every mode */

static void open_private(enum change_pte mode)
{
	world_open_file(1, SHARING_PRIVATE);
	host_set_change_pte(world.host, mode);
	check(guest_loads(0) == 0);
	guest_leaves();
}

static void open_none(void) { open_private(CHANGE_PTE_NONE); }
static void open_unbracketed(void) { open_private(CHANGE_PTE_UNBRACKETED); }
static void open_bracketed(void) { open_private(CHANGE_PTE_BRACKETED); }
static void open_glory(void) { open_private(CHANGE_PTE_FORMER_GLORY); }

/* Once anybody has seen the 7, everybody does. */
static void look_both_ways(void)
{
	uint64_t process = process_loads(0), guest = guest_loads(0);

	guest_leaves();
	check(process == 0 || guest == 7);
	check(guest == 0 || process_loads(0) == 7);
}

static void process_puts(void) { put_at(world.space, 0, 7); }

static void verify_copied(void)
{
	check(process_loads(0) == 7 && guest_loads(0) == 7);
	guest_leaves();
	world_verify();
}

#define SYNCHRONOUS "who can reach the new page finds all others there (S100)"
#define COPIED(name, open) \
	SCENARIO(name, .rule = SYNCHRONOUS, .setup = open, \
		 .actors = { look_both_ways, process_puts }, .verify = verify_copied, \
		 .name_word = world_name)

COPIED(copied_by_brackets, open_none);
COPIED(copied_unbracketed, open_unbracketed);
COPIED(copied_bracketed, open_bracketed);
COPIED(copied_glory, open_glory);

/*
 * S84: a second CPU of the process stores to the new page as soon as its entry lets it, and its
 * guest looks.
 */
static void put_behind(void)
{
	uint64_t value = 8;

	check(space_write(world.space, hva_add(page_hva(0), 8), &value, sizeof(value)) ==
	      STATUS_OK);
}

static void put_and_look(void)
{
	process_puts();
	check(guest_loads(0) == 7);
	guest_leaves();
}

SCENARIO(secondary_first, .rule = "listeners have a new page before a CPU stores to it (S84)",
	 .setup = open_glory, .actors = { put_and_look, put_behind }, .verify = verify_copied,
	 .name_word = world_name);

/* S82: the guest has no translation yet, and looks the page up while it is exchanged. */
static void open_unmapped(void)
{
	world_open_file(1, SHARING_PRIVATE);
	host_set_change_pte(world.host, CHANGE_PTE_UNBRACKETED);
	check(process_loads(0) == 0);
}

SCENARIO(lookup_waits, .rule = "no lookup of the old page is used after the new entry (S82)",
	 .setup = open_unmapped, .actors = { look_both_ways, process_puts },
	 .verify = verify_copied, .name_word = world_name);
