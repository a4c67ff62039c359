/*
 * Everything at once: each actor does a few operations of its choice, as a guest's CPU, as the
 * process, and as a host that takes memory away, moves it and gives it back. Too many interleavings
 * to search; walked at random (`make explore`), and along the bytes of tests/fuzz/schedules.c.
 *
 * Each actor stores to a word of its own in every page, so it knows what it must find there.
 */
#include "tests/explore/world.h"

enum { ACTORS = 3, PAGES = 3, OPERATIONS = 4 };

static struct {
	uint64_t next;				/* the value of the next store, never used before */
	uint64_t mine[PAGES];			/* what stands in its words */
	uint64_t discards[PAGES];		/* how many had ended before it was stored */
} actors[ACTORS];
static atomic64_t discards_begun[PAGES], discards_ended[PAGES];
static atomic64_t changes_of_rights, changes_of_regions;

static const struct region region = { .pages = PAGES, .backing = { WORLD_BACKING },
				      .rights = REGION_READ_WRITE, .max_level = LEVEL_4K };

static gpa_t my_gpa(unsigned page) { return gpa((uint64_t)page * PAGE_SIZE + port_cpu() * 8); }
static hva_t my_hva(unsigned page) { return hva_add(page_hva(page), port_cpu() * 8); }

static void set_up(void)
{
	world_open(PAGES, LEVEL_4K);
	__builtin_memset(actors, 0, sizeof(actors));
	for (unsigned i = 0; i < ACTORS; i++)
		actors[i].next = 100 * (i + 1);
	for (unsigned page = 0; page < PAGES; page++) {
		atomic_write(&discards_begun[page], 0);
		atomic_write(&discards_ended[page], 0);
	}
	atomic_write(&changes_of_rights, 0);
	atomic_write(&changes_of_regions, 0);
}

/* ------------------------------------------------------------------ words */

/* A discard that had not ended when the store began may have taken it. */
static void expect_mine(unsigned actor, unsigned page, uint64_t found)
{
	bool discarded = atomic_read(&discards_begun[page]) > actors[actor].discards[page];

	if (found == 0 && discarded)
		actors[actor].mine[page] = 0;
	check(found == actors[actor].mine[page]);
}

static void stored(unsigned page, uint64_t value, uint64_t discards)
{
	actors[port_cpu()].mine[page] = value;
	actors[port_cpu()].discards[page] = discards;
}

/* Whether the guest's access was made. If not, for a reason that somebody gave. */
static bool was_made(enum fault_result result)
{
	if (result == FAULT_NO_REGION)
		check(atomic_read(&changes_of_regions));
	else if (result == FAULT_NO_HOST)
		check(atomic_read(&changes_of_rights));
	else
		check(result == FAULT_FIXED);
	return result == FAULT_FIXED;
}

static void guest_store(unsigned page)
{
	uint64_t value = actors[port_cpu()].next++, before = atomic_read(&discards_ended[page]);

	if (was_made(soft_store(&world.cpus[port_cpu()], my_gpa(page), value)))
		stored(page, value, before);
}

static void guest_load(unsigned page)
{
	uint64_t value = 0;

	if (was_made(soft_load(&world.cpus[port_cpu()], my_gpa(page), &value)))
		expect_mine(port_cpu(), page, value);
}

static void process_store(unsigned page)
{
	uint64_t value = actors[port_cpu()].next++, before = atomic_read(&discards_ended[page]);
	enum status status = space_write(world.space, my_hva(page), &value, sizeof(value));

	check(status == STATUS_OK || atomic_read(&changes_of_rights));
	if (status == STATUS_OK)
		stored(page, value, before);
}

static void process_load(unsigned page)
{
	uint64_t value = 0;

	check(space_read(world.space, my_hva(page), &value, sizeof(value)) == STATUS_OK);
	expect_mine(port_cpu(), page, value);
}

/* ------------------------------------------------------------------ what the host does */

static void migrate(unsigned page)
{
	uint64_t moved;

	check(space_migrate(world.space, page_hva(page), PAGE_SIZE, &moved) == STATUS_OK);
}

static void invalidate(unsigned page)
{
	check(space_invalidate(world.space, page_hva(page), PAGE_SIZE) == STATUS_OK);
}

static void discard(unsigned page)
{
	atomic_add(&discards_begun[page], 1);
	check(space_discard(world.space, page_hva(page), PAGE_SIZE) == STATUS_OK);
	atomic_add(&discards_ended[page], 1);
}

static void protect(unsigned page)
{
	atomic_add(&changes_of_rights, 1);
	check(space_protect(world.space, page_hva(page), PAGE_SIZE, PROTECTION_READ) == STATUS_OK);
}

static void allow(unsigned page)
{
	check(space_protect(world.space, page_hva(page), PAGE_SIZE, PROTECTION_READ_WRITE) ==
	      STATUS_OK);
}

static void renew_region(unsigned page)
{
	(void)page;
	atomic_add(&changes_of_regions, 1);
	if (ept_region_remove(world.ept, region.start) == STATUS_OK)
		check(ept_region_add(world.ept, &region) == STATUS_OK);
}

static void hint(unsigned page)
{
	check(space_hint(world.space, page_hva(page), PAGE_SIZE, HINT_AT_ONCE) == STATUS_OK);
}

static void clear_soft_dirty(unsigned page)
{
	(void)page;
	space_clear_soft_dirty(world.space);
}

static void lend_to_device(unsigned page)
{
	pfn_t frame;
	enum status status = space_make_exclusive(world.space, page_hva(page), NULL, &frame);

	check(status == STATUS_OK || atomic_read(&changes_of_rights));
	if (status == STATUS_OK)
		exclusive_done(world.host, frame);
}

/* ------------------------------------------------------------------ an actor */

static const struct { void (*perform)(unsigned page); bool inside; } operations[] = {
	{ NULL, false },			/* the end */
	{ guest_store, true }, { guest_load, true }, { guest_store, true },
	{ process_store, false }, { process_load, false }, { migrate, false },
	{ invalidate, false }, { discard, false },
	{ protect, false }, { allow, false }, { renew_region, false },
	{ hint, false }, { clear_soft_dirty, false }, { lend_to_device, false },
};
enum { KINDS = sizeof(operations) / sizeof(*operations) };

static void act(void)
{
	for (unsigned i = 0; i < OPERATIONS; i++) {
		unsigned kind = explore_choose(KINDS);

		if (!operations[kind].perform)
			break;
		unsigned page = explore_choose(PAGES);

		/* The host's threads, and the process's, are not in a guest. */
		if (!operations[kind].inside)
			guest_leaves();
		operations[kind].perform(page);
	}
	guest_leaves();
}

static void verify(void)
{
	for (unsigned i = 0; i < ACTORS; i++)
		for (unsigned page = 0; page < PAGES; page++) {
			uint64_t value;

			check(space_read(world.space, hva_add(page_hva(page), i * 8), &value,
					 sizeof(value)) == STATUS_OK);
			expect_mine(i, page, value);
		}
	world_verify();
}

SCENARIO(mixed, .rule = "each word holds what was stored there last (I6), and every invariant",
	 .walks = 5000, .setup = set_up, .actors = { act, act, act }, .verify = verify,
	 .name_word = world_name);
