/*
 * A host process that runs on its own page tables: this CPU walks them, sets A and D in them, and
 * faults where they end. Rows S8 and S9 on the machine itself.
 */
#include "boot/boot.h"
#include "boot/daemons.h"
#include "boot/process.h"
#include "mm/space.h"
#include "mm/store.h"
#include "tests/tap.h"

#define BASE UINT64_C(0x40000000000)
#define MIB  UINT64_C(0x100000)

static struct space *space;

static void open_space(void)
{
	expect(space_create(boot_host(), &space) == STATUS_OK);
}

static void map(uint64_t start, uint64_t bytes, enum protection protection, unsigned level)
{
	expect_equal(space_map(space, hva(start), bytes, protection, level), STATUS_OK);
}

static pte_t entry(uint64_t address) NOT_CHECKED
{
	return table_find(space, address).pte;
}

static uint64_t load(uint64_t address)
{
	uint64_t value = ~UINT64_C(0);

	expect_equal(process_load(space, hva(address), &value), STATUS_OK);
	return value;
}

static void store(uint64_t address, uint64_t value)
{
	expect_equal(process_store(space, hva(address), value), STATUS_OK);
}

static uint64_t draw(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* The processor's own flags, on leaves of both sizes. */
BOOT_TEST("process/accessed_dirty", NEEDS_NOTHING)
{
	static const struct { uint64_t at; unsigned level; } leaves[] = {
		{ BASE, LEVEL_4K }, { BASE + 2 * MIB, LEVEL_2M },
	};

	open_space();
	map(BASE, PAGE_SIZE, PROTECTION_READ_WRITE, LEVEL_4K);
	map(BASE + 2 * MIB, 2 * MIB, PROTECTION_READ_WRITE, LEVEL_2M);
	for (unsigned i = 0; i < 2; i++) {
		uint64_t at = leaves[i].at;

		expect_equal(load(at), 0);
		expect(pte_accessed(entry(at)) && !pte_dirty(entry(at)));
		write_lock(&space->lock);
		struct place place = table_find(space, at);

		expect_equal(place.level, leaves[i].level);
		atomic_and(place.slot, ~PTE_A);
		write_unlock(&space->lock);
		expect_equal(load(at + 8), 0);		/* S9 */
		expect(pte_accessed(entry(at)) && !pte_dirty(entry(at)));
		store(at + 16, 5);			/* S8: W without D, and no fault */
		expect(pte_accessed(entry(at)) && pte_dirty(entry(at)));
		expect_equal(load(at + 16), 5);
	}
	space_verify(space);
	space_destroy(space);
}

/* Page faults, and what the host answers. */
BOOT_TEST("process/faults", NEEDS_NOTHING)
{
	uint64_t value, faults;

	open_space();
	map(BASE, 4 * PAGE_SIZE, PROTECTION_READ, LEVEL_4K);
	faults = host_read_count(boot_host(), HOST_FAULTS);
	expect_equal(load(BASE), 0);
	expect_equal(load(BASE), 0);
	expect_equal(host_read_count(boot_host(), HOST_FAULTS), faults + 1);
	expect_equal(process_store(space, hva(BASE), 1), STATUS_NO_ACCESS);
	expect_equal(process_store(space, hva(BASE + PAGE_SIZE), 1), STATUS_NO_ACCESS);
	expect_equal(process_load(space, hva(BASE - 8), &value), STATUS_NOT_FOUND);
	expect_equal(process_load(space, hva(SPACE_END), &value), STATUS_BAD_RANGE);
	expect_equal(process_load(space, hva(BASE + 4), &value), STATUS_BAD_RANGE);
	expect_equal(space_protect(space, hva(BASE), PAGE_SIZE, PROTECTION_READ_WRITE), STATUS_OK);
	store(BASE, 9);
	expect_equal(load(BASE), 9);
	expect_equal(space_protect(space, hva(BASE), PAGE_SIZE, PROTECTION_NONE), STATUS_OK);
	expect_equal(process_load(space, hva(BASE), &value), STATUS_NO_ACCESS);
	space_verify(space);
	space_destroy(space);
}

/*
 * The image's half of the address space, which now stands in the process's tables, is not the
 * process's.
 */
BOOT_TEST("process/kernel_half", NEEDS_NOTHING)
{
	uint64_t value;

	open_space();
	map(BASE, PAGE_SIZE, PROTECTION_READ_WRITE, LEVEL_4K);
	store(BASE, 1);
	expect_equal(space_unmap(space, hva(BASE), PAGE_SIZE), STATUS_OK);
	expect_equal(process_load(space, hva(BASE), &value), STATUS_NOT_FOUND);
	expect_equal(space_fault(space, hva(DIRECT_MAP), ACCESS_READ), STATUS_NOT_FOUND);
	space_verify(space);
	space_destroy(space);
}

/* A file's page, written by the processor: its D is what writeback goes by. */
BOOT_TEST("process/file", NEEDS_NOTHING)
{
	struct ram_store *ram;
	struct file *file;
	uint64_t value = 0, done;

	open_space();
	expect_equal(ram_store_create(boot_host(), 4, &ram), STATUS_OK);
	expect_equal(file_create(boot_host(), ram_store_of(ram), 4, &file), STATUS_OK);
	expect_equal(space_map_file(space, hva(BASE), 4 * PAGE_SIZE, PROTECTION_READ_WRITE, file, 0,
				    SHARING_SHARED), STATUS_OK);
	for (uint64_t round = 1; round < 4; round++) {
		store(BASE + PAGE_SIZE, round);
		expect(pte_dirty(entry(BASE + PAGE_SIZE)));
		expect_equal(file_sync(file), STATUS_OK);
		expect(!pte_dirty(entry(BASE + PAGE_SIZE)) &&
		       !pte_writable(entry(BASE + PAGE_SIZE)));
		expect_equal(ram_store_of(ram)->ops->read(ram_store_of(ram), PAGE_SIZE, &value,
							   sizeof(value), &done), STATUS_OK);
		expect_equal(value, round);
	}
	space_verify(space);
	space_destroy(space);
	expect_equal(file_destroy(file), STATUS_OK);
	ram_store_destroy(ram);
}

/* The flusher, on whichever CPU is free, writes what the processor dirties. */
BOOT_TEST("process/flusher", NEEDS_NOTHING)
{
	struct ram_store *ram;
	struct file_stats stats;
	struct daemon_stats before, after;
	struct file *file;
	uint64_t value = 0, done;

	open_space();
	expect_equal(ram_store_create(boot_host(), 4, &ram), STATUS_OK);
	expect_equal(file_create(boot_host(), ram_store_of(ram), 4, &file), STATUS_OK);
	expect_equal(space_map_file(space, hva(BASE), 4 * PAGE_SIZE, PROTECTION_READ_WRITE, file, 0,
				    SHARING_SHARED), STATUS_OK);
	daemon_read_stats(boot_host(), DAEMON_FLUSH, &before);
	expect_equal(daemons_start(DAEMON_FLUSH, 10000, 1), STATUS_OK);
	expect_equal(daemons_start(DAEMON_FLUSH, 10000, 1), STATUS_EXISTS);
	for (uint64_t page = 0; page < 4; page++)
		store(BASE + page * PAGE_SIZE, page + 1);
	do {
		task_turn(100);
		file_read_stats(file, &stats);
	} while (stats.dirty);
	daemons_stop(DAEMON_FLUSH);
	daemons_stop(DAEMON_FLUSH);
	daemon_read_stats(boot_host(), DAEMON_FLUSH, &after);
	expect(after.pages >= before.pages + 4 && after.steps >= before.steps + 4);
	for (uint64_t page = 0; page < 4; page++) {
		expect(!pte_dirty(entry(BASE + page * PAGE_SIZE)));
		expect_equal(ram_store_of(ram)->ops->read(ram_store_of(ram), page * PAGE_SIZE,
							   &value, sizeof(value), &done),
			     STATUS_OK);
		expect_equal(value, page + 1);
	}
	space_verify(space);
	space_destroy(space);
	expect_equal(file_destroy(file), STATUS_OK);
	ram_store_destroy(ram);
}

/* ------------------------------------------------------------------ all of the host's jobs */

enum { OWN = 64, LIVES = 6000, LIVES_MAX = 100 * LIVES, SWAP_PAGES = 128 };

static uint64_t steps_of(enum daemon_kind kind)
{
	struct daemon_stats stats;

	daemon_read_stats(boot_host(), kind, &stats);
	return stats.steps;
}

static bool all_stepped_since(const uint64_t before[DAEMONS])
{
	for (enum daemon_kind kind = 0; kind < DAEMONS; kind++) {
		if (steps_of(kind) == before[kind])
			return false;
	}
	return true;
}

/*
 * A process's memory while pages are merged, hinted, reclaimed to swap, and a file's written, by
 * the image's CPUs: what the processor stores, it finds.
 */
BOOT_TEST("process/daemons", NEEDS_NOTHING)
{
	static uint64_t expected[OWN];
	struct ram_store *swap;
	struct host_stats now;
	uint64_t random = 99, wrong = 0, before[DAEMONS];

	for (unsigned i = 0; i < OWN; i++)
		expected[i] = 0;
	open_space();
	expect_equal(ram_store_create(boot_host(), SWAP_PAGES, &swap), STATUS_OK);
	expect_equal(host_swap_on(boot_host(), ram_store_of(swap), SWAP_PAGES), STATUS_OK);
	map(BASE, OWN * PAGE_SIZE, PROTECTION_READ_WRITE, LEVEL_4K);
	expect_equal(space_merge(space, hva(BASE), OWN * PAGE_SIZE), STATUS_OK);
	host_read_stats(boot_host(), &now);
	expect_equal(host_set_watermarks(boot_host(), now.pages_free, now.pages_free + 8),
		     STATUS_OK);
	for (enum daemon_kind kind = 0; kind < DAEMONS; kind++) {
		before[kind] = steps_of(kind);
		expect_equal(daemons_start(kind, 20000, 8), STATUS_OK);
	}
	/* On a busy machine the CPU that took a job may not have come to it yet. */
	for (unsigned i = 0; i < LIVES || (i < LIVES_MAX && !all_stepped_since(before)); i++) {
		uint64_t page = draw(&random) % OWN;

		wrong += load(BASE + page * PAGE_SIZE) != expected[page];
		expected[page] = draw(&random) % 3;	/* few values: pages are equal */
		store(BASE + page * PAGE_SIZE, expected[page]);
		if (i % 8 == 0)
			task_turn(1);
	}
	expect_equal(wrong, 0);
	expect(all_stepped_since(before));
	for (enum daemon_kind kind = 0; kind < DAEMONS; kind++)
		daemons_stop(kind);
	expect_equal(host_set_watermarks(boot_host(), 0, 0), STATUS_OK);
	for (uint64_t page = 0; page < OWN; page++)
		expect_equal(load(BASE + page * PAGE_SIZE), expected[page]);
	space_verify(space);
	space_destroy(space);
	expect_equal(host_swap_off(boot_host()), STATUS_OK);
	ram_store_destroy(swap);
}

/* ------------------------------------------------------------------ two CPUs */

enum { PAGES = 32, ROUNDS = 4000, ROUNDS_MAX = 1000 * ROUNDS, MOVES = 64 };

/*
 * What the process stores is found again, whatever the host does with the pages meanwhile. The
 * process goes on until enough of them moved: on a busy machine either CPU may be well ahead.
 */
static struct player {
	struct task task;
	uint64_t random, rounds, wrong, stored[PAGES];
	atomic64_t moved;
} player;

static enum task_result play(struct task *task)
{
	(void)task;
	for (unsigned i = 0; i < 50; i++, player.rounds++) {
		uint64_t page = draw(&player.random) % PAGES, found = 0;
		hva_t at = hva(BASE + page * PAGE_SIZE);

		if (process_load(space, at, &found) != STATUS_OK || found != player.stored[page])
			player.wrong++;
		player.stored[page] = player.rounds + 1;
		if (process_store(space, at, player.stored[page]) != STATUS_OK)
			player.wrong++;
	}
	if (player.rounds < ROUNDS)
		return TASK_AGAIN;
	return atomic_read(&player.moved) < MOVES && player.rounds < ROUNDS_MAX ? TASK_AGAIN
										: TASK_DONE;
}

BOOT_TEST("process/pages_move", NEEDS_TWO_CPUS)
{
	uint64_t moved = 0, random = 88;

	open_space();
	map(BASE, PAGES * PAGE_SIZE, PROTECTION_READ_WRITE, LEVEL_4K);
	player = (struct player){ .task = { .name = "process", .step = play, .home = 1 },
				  .random = 5 };
	task_start(&player.task);
	while (!atomic_read(&player.task.done)) {
		uint64_t page = draw(&random) % PAGES;

		expect_equal(space_migrate(space, hva(BASE + page * PAGE_SIZE), PAGE_SIZE, &moved),
			     STATUS_OK);
		atomic_add(&player.moved, moved);
	}
	task_wait(&player.task);
	expect_equal(player.wrong, 0);
	expect(atomic_read(&player.moved) >= MOVES);
	space_verify(space);
	space_destroy(space);
}
