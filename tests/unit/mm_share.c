/*
 * Processes that fork, end, store, move and lose memory, while equal pages are merged and pages
 * migrate: at random, against an array of what each process must find.
 */
#include "tests/unit/space_fixture.h"

enum { SPACES = 4, PAGES = 16, STEPS = 3000, SEEDS = 20 };
static const uint64_t windows[] = { BASE, BASE + 3 * MIB + PAGE_SIZE };

static struct process {
	struct space *space;		/* NULL: none */
	unsigned window;		/* where its memory is now */
	uint64_t words[PAGES];		/* in each page's middle */
} processes[SPACES];

static uint64_t seed;

/* Numerical Recipes' 64-bit generator, upper bits. */
static unsigned pick(unsigned n)
{
	seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (unsigned)((seed >> 33) % n);
}

static hva_t address(const struct process *process, unsigned page)
{
	return hva(windows[process->window] + page * PAGE_SIZE + 0x800);
}

static hva_t page_of(const struct process *process, unsigned page)
{
	return hva(windows[process->window] + page * PAGE_SIZE);
}

static void store_some(struct process *process)
{
	unsigned page = pick(PAGES);
	uint64_t value = pick(3);	/* few, so that pages are equal */

	assert_int_equal(space_write(process->space, address(process, page), &value, 8), STATUS_OK);
	process->words[page] = value;
}

static void fork_some(struct process *process)
{
	struct process *child = &processes[pick(SPACES)];

	if (child->space)
		return;
	assert_int_equal(space_fork(process->space, &child->space), STATUS_OK);
	child->window = process->window;
	memcpy(child->words, process->words, sizeof(child->words));
}

/* Somebody is always left. */
static void end_some(struct process *process)
{
	unsigned alive = 0;

	for (unsigned i = 0; i < SPACES; i++)
		alive += processes[i].space != NULL;
	if (alive == 1)
		return;
	space_destroy(process->space);
	process->space = NULL;
}

static void move_all(struct process *process)
{
	hva_t from = page_of(process, 0);

	/* One VMA again, which is what can be moved. */
	assert_int_equal(space_merge(process->space, from, PAGES * PAGE_SIZE), STATUS_OK);
	process->window ^= 1;
	assert_int_equal(space_move(process->space, from, PAGES * PAGE_SIZE, page_of(process, 0)),
			 STATUS_OK);
}

static void discard_some(struct process *process)
{
	unsigned page = pick(PAGES);

	assert_int_equal(space_discard(process->space, page_of(process, page), PAGE_SIZE),
			 STATUS_OK);
	process->words[page] = 0;
}

static void advise_some(struct process *process)
{
	unsigned page = pick(PAGES - 4);
	hva_t start = page_of(process, page);
	enum status status = pick(2) ? space_merge(process->space, start, 4 * PAGE_SIZE)
				     : space_unmerge(process->space, start, 4 * PAGE_SIZE);

	assert_int_equal(status, STATUS_OK);
}

static void migrate_some(struct process *process)
{
	uint64_t moved;

	assert_int_equal(space_migrate(process->space, page_of(process, 0), PAGES * PAGE_SIZE,
				       &moved), STATUS_OK);
}

static uint64_t most_merged;

static void scan_some(struct process *process)
{
	struct ksm_stats stats;

	(void)process;
	ksm_scan(arena.host, 1 + pick(2 * PAGES));
	ksm_read_stats(arena.host, &stats);
	if (stats.sharing > most_merged)
		most_merged = stats.sharing;
}

static void compare(const struct process *process)
{
	for (unsigned page = 0; page < PAGES; page++) {
		uint64_t value = 99;

		assert_int_equal(space_read(process->space, address(process, page), &value, 8),
				 STATUS_OK);
		assert_int_equal(value, process->words[page]);
	}
	space_verify(process->space);
}

static void run(uint64_t steps)
{
	static void (*const operations[])(struct process *) = {
		store_some, store_some, store_some, store_some, scan_some, scan_some, fork_some,
		end_some, move_all, discard_some, advise_some, migrate_some,
	};

	for (uint64_t step = 0; step < steps; step++) {
		struct process *process = &processes[pick(SPACES)];

		if (process->space)
			operations[pick(sizeof(operations) / sizeof(operations[0]))](process);
		if (step % 16 == 0)
			for (unsigned i = 0; i < SPACES; i++)
				if (processes[i].space)
					compare(&processes[i]);
	}
}

static void one_run(void)
{
	arena_open(&arena, 64);
	memset(processes, 0, sizeof(processes));
	assert_int_equal(ksm_start(arena.host, 64), STATUS_OK);
	assert_int_equal(space_create(arena.host, &processes[0].space), STATUS_OK);
	assert_int_equal(space_map(processes[0].space, hva(BASE), PAGES * PAGE_SIZE,
				   PROTECTION_READ_WRITE, LEVEL_4K), STATUS_OK);
	assert_int_equal(space_merge(processes[0].space, hva(BASE), PAGES * PAGE_SIZE), STATUS_OK);
	run(STEPS);
	for (unsigned i = 0; i < SPACES; i++)
		if (processes[i].space) {
			compare(&processes[i]);
			space_destroy(processes[i].space);
		}
	ksm_stop(arena.host);
	arena_close(&arena);
}

static void at_random(void **state)
{
	(void)state;
	for (uint64_t i = 1; i <= SEEDS; i++) {
		seed = i;
		one_run();
	}
	print_message("most entries saved at once: %lu\n", most_merged);
	assert_true(most_merged >= PAGES);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(at_random) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
