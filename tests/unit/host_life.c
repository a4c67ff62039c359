/*
 * All that the host does, in any order, against a model of what every page must hold: processes
 * that fork and end, a guest in the memory of the first, a file that all show, shared and private,
 * while pages are reclaimed, moved, merged, split, shared, taken back and refused. One thread; a
 * list of operations that each know what they change. After every step that changed something the
 * rules hold; at the end nothing is left behind.
 *
 * HOST_LIFE_SEED, HOST_LIFE_STEPS.
 */
#include <stdlib.h>

#include "ept/ept.h"
#include "mm/store.h"
#include "tests/host/kick.h"
#include "tests/host/soft_cpu.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "mm/space.h"
#include "tests/host/arena.h"

#define MIB  UINT64_C(0x100000)
#define BASE (UINT64_C(64) << 30)

enum {
	GUEST_CPU = 1,
	PROCESSES = 4,
	SMALL = 48,			/* anonymous pages in leaves of 4 KiB */
	LARGE = 1024,			/* in leaves of 2 MiB, at first */
	FILE_PAGES = 16,		/* shown twice: shared, and private */
	SECRET = 16,
	POOLED = 1024,			/* two pages of a pool */
	SWAP_PAGES = 300,
};
static const uint64_t places[] = { BASE, BASE + 2 * MIB, BASE + 8 * MIB, BASE + 9 * MIB,
				   BASE + 10 * MIB, BASE + 12 * MIB };
enum part { PART_SMALL, PART_LARGE, PART_SHARED, PART_PRIVATE, PART_SECRET, PART_POOLED, PARTS };
static const unsigned part_pages[] = { SMALL, LARGE, FILE_PAGES, FILE_PAGES, SECRET, POOLED };

/* What a page's first word may be. */
struct cell {
	uint64_t value;
	bool own;			/* PART_PRIVATE: not what the file has */
	bool or_zero;			/* given up (lazyfree): its content may be gone */
};

struct process {
	struct space *space;		/* NULL: there is none */
	bool forked;			/* without the parts that are not inherited */
	struct cell cells[PARTS][LARGE];
	bool written[PARTS][LARGE];	/* since space_clear_soft_dirty */
};

static struct arena arena;
static struct process processes[PROCESSES];
static struct cell on_file[FILE_PAGES];
static struct ram_store *store, *swap;
static struct pool *pool;
static struct file *file;
static struct ept *ept;			/* of the first process */
static struct soft_cpu guest;
static uint64_t seed, next_value;

/* ------------------------------------------------------------------ chance */

static uint64_t below(uint64_t n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % n;
}

struct pick {
	struct process *process;
	enum part part;
	unsigned page, count;
};

static struct process *any_process(void)
{
	struct process *process;

	do
		process = &processes[below(PROCESSES)];
	while (!process->space);
	return process;
}

/* What is secret or of a pool says no to much, and a child has neither. */
static bool may_refuse;

static struct pick pick_page(struct process *process)
{
	struct pick pick = { .process = process, .part = (enum part)below(PARTS), .count = 1 };

	may_refuse = pick.part >= PART_SECRET;

	pick.page = (unsigned)below(part_pages[pick.part]);
	return pick;
}

static struct pick pick_range(struct process *process)
{
	struct pick pick = pick_page(process);
	unsigned most = part_pages[pick.part] - pick.page;

	pick.count = 1 + (unsigned)below(below(4) ? (most < 8 ? most : 8) : most);
	return pick;
}

static hva_t start_of(struct pick pick)
{
	return hva(places[pick.part] + pick.page * PAGE_SIZE);
}

static uint64_t bytes_of(struct pick pick) { return pick.count * PAGE_SIZE; }

/* ------------------------------------------------------------------ the model */

static struct cell *cell_of(struct pick pick)
{
	struct cell *cell = &pick.process->cells[pick.part][pick.page];

	if (pick.part == PART_SHARED || (pick.part == PART_PRIVATE && !cell->own))
		return &on_file[pick.page];
	return cell;
}

static void stored(struct pick pick, uint64_t value)
{
	struct cell *cell = cell_of(pick);

	if (pick.part == PART_PRIVATE) {
		cell = &pick.process->cells[pick.part][pick.page];
		cell->own = true;
	}
	cell->value = value;
	cell->or_zero = false;
}

static void written(struct pick pick)
{
	pick.process->written[pick.part][pick.page] = true;
}

static void found(struct pick pick, uint64_t value)
{
	struct cell *cell = cell_of(pick);

	if (cell->or_zero && !value)
		*cell = (struct cell){ 0 };
	if (value != cell->value)
		print_error("part %u page %u: found %lu, expected %lu\n", pick.part, pick.page,
			    value, cell->value);
	assert_int_equal(value, cell->value);
}

/* Zeros, or what the file has. */
static void forgotten(struct pick pick)
{
	for (unsigned i = 0; i < pick.count; i++) {
		if (pick.part != PART_SHARED)
			pick.process->cells[pick.part][pick.page + i] = (struct cell){ 0 };
		pick.process->written[pick.part][pick.page + i] = false;
	}
}

/* ------------------------------------------------------------------ operations */

static bool done(enum status status)
{
	if (status != STATUS_OK && status != STATUS_NO_MEMORY && !may_refuse)
		fail_msg("%s", status_name(status));
	return status == STATUS_OK;
}

static void process_stores(void)
{
	struct pick pick = pick_page(any_process());
	uint64_t value = ++next_value;

	if (done(space_write(pick.process->space, start_of(pick), &value, sizeof(value)))) {
		stored(pick, value);
		written(pick);
	}
}

static void process_loads(void)
{
	struct pick pick = pick_page(any_process());
	uint64_t value = 0;

	if (done(space_read(pick.process->space, start_of(pick), &value, sizeof(value))))
		found(pick, value);
}

static gpa_t guest_address(struct pick pick)
{
	return gpa(places[pick.part] - BASE + pick.page * PAGE_SIZE);
}

static bool allowed(enum fault_result result)
{
	if (result != FAULT_FIXED && result != FAULT_NO_MEMORY && !may_refuse)
		fail_msg("the guest's access: %u", result);
	return result == FAULT_FIXED;
}

static void guest_stores(void)
{
	struct pick pick = pick_page(&processes[0]);
	uint64_t value = ++next_value;

	port_set_cpu(GUEST_CPU);
	if (allowed(soft_store(&guest, guest_address(pick), value))) {
		assert_true(pick.part != PART_SECRET);
		stored(pick, value);
		written(pick);
	}
	port_set_cpu(0);
}

static void guest_loads(void)
{
	struct pick pick = pick_page(&processes[0]);
	uint64_t value = 0;

	port_set_cpu(GUEST_CPU);
	if (allowed(soft_load(&guest, guest_address(pick), &value)))
		found(pick, value);
	port_set_cpu(0);
}

static void guest_leaves(void)
{
	port_set_cpu(GUEST_CPU);
	soft_leave(&guest);
	port_set_cpu(0);
}

/* A user with a reference and no entry: reads, or writes and says so. */
static void device_reads(void)
{
	struct pick pick = pick_page(any_process());
	struct mm_page page;

	if (!done(below(2) ? gup_get(pick.process->space, start_of(pick), 0, &page)
			   : gup_get_fast(pick.process->space, start_of(pick), 0, &page)))
		return;
	assert_true(pick.part != PART_SECRET);
	found(pick, *(const uint64_t *)pfn_to_ptr(page.frame));
	gup_put(arena.host, page.frame);
}

static void device_writes(void)
{
	struct pick pick = pick_page(any_process());
	struct mm_page page;

	if (!done(gup_get(pick.process->space, start_of(pick), GUP_WRITE, &page)))
		return;
	*(uint64_t *)pfn_to_ptr(page.frame) = ++next_value;
	stored(pick, next_value);
	gup_put_dirty(arena.host, page.frame);
}

static void discards(void)
{
	struct pick pick = pick_range(any_process());

	if (done(space_discard(pick.process->space, start_of(pick), bytes_of(pick))))
		forgotten(pick);
}

static void protects(void)
{
	struct pick pick = pick_range(any_process());

	if (done(space_protect(pick.process->space, start_of(pick), bytes_of(pick),
			       (enum protection)below(3))))
		arena_fail_after(&arena, -1);
	while (!done(space_protect(pick.process->space, start_of(pick), bytes_of(pick),
				   PROTECTION_READ_WRITE)) && !may_refuse)
		;
}

static void migrates(void)
{
	struct pick pick = pick_range(any_process());
	uint64_t moved;

	(void)done(space_migrate(pick.process->space, start_of(pick), bytes_of(pick), &moved));
}

static void splits(void)
{
	struct pick pick = pick_range(any_process());

	(void)done(space_split(pick.process->space, start_of(pick), bytes_of(pick)));
}

static void invalidates(void)
{
	struct pick pick = pick_range(any_process());

	assert_int_equal(space_invalidate(pick.process->space, start_of(pick), bytes_of(pick)),
			 STATUS_OK);
}

static void frees_lazily(void)
{
	struct pick pick = pick_range(any_process());

	may_refuse = pick.part > PART_LARGE;
	if (!done(space_lazyfree(pick.process->space, start_of(pick), bytes_of(pick))))
		return;
	for (unsigned i = 0; i < pick.count && pick.part <= PART_LARGE; i++) {
		pick.process->cells[pick.part][pick.page + i].or_zero = true;
		pick.process->written[pick.part][pick.page + i] = false;
	}
}

static void cools(void)
{
	struct pick pick = pick_range(any_process());

	(void)done(space_cool(pick.process->space, start_of(pick), bytes_of(pick)));
}

static void pages_out(void)
{
	struct pick pick = pick_range(any_process());
	uint64_t freed;

	(void)done(space_page_out(pick.process->space, start_of(pick), bytes_of(pick), &freed));
}

static void collapses(void)
{
	struct process *process = any_process();
	uint64_t collapsed;

	may_refuse = false;
	(void)done(space_collapse(process->space, hva(places[PART_LARGE]), LARGE * PAGE_SIZE,
				  &collapsed));
}

static void splits_folio(void)
{
	struct pick pick = pick_page(any_process());
	struct mm_page page;

	may_refuse = true;
	if (!done(gup_get(pick.process->space, start_of(pick), 0, &page)))
		return;
	folio_lock(arena.host, page.frame);
	(void)done(folio_split(arena.host, page.frame));
	folio_unlock(arena.host, page.frame);
	gup_put(arena.host, page.frame);
}

static void hints(void)
{
	struct pick pick = pick_range(any_process());
	enum hinting how = below(2) ? HINT_EACH_2M : HINT_AT_ONCE;

	if (below(4))
		(void)done(space_hint(pick.process->space, start_of(pick), bytes_of(pick), how));
	else if (below(2))
		(void)done(space_scan(pick.process->space, 1 + below(100), how));
	else
		(void)numa_scan(arena.host, 1 + below(20));
}

static void clears_soft_dirty(void)
{
	struct process *process = any_process();

	space_clear_soft_dirty(process->space);
	memset(process->written, 0, sizeof(process->written));
}

/*
 * What the process has written says so: in its own memory, for a file's page may have left it
 * since.
 */
static void check_soft_dirty(struct process *process)
{
	bool marked;

	for (unsigned part = PART_SMALL; part <= PART_LARGE; part++)
		for (unsigned page = 0; page < part_pages[part]; page++) {
			struct pick pick = { process, part, page, 1 };

			assert_int_equal(space_soft_dirty(process->space, start_of(pick), &marked),
					 STATUS_OK);
			if (process->written[part][page] && !marked)
				fail_msg("part %u page %u: written, and not soft dirty", part,
					 page);
		}
}

static void device_takes_alone(void)
{
	struct pick pick = pick_page(any_process());
	pfn_t frame;

	may_refuse = pick.part >= PART_SHARED;
	if (!done(space_make_exclusive(pick.process->space, start_of(pick), &frame, &frame)))
		return;
	*(uint64_t *)pfn_to_ptr(frame) = ++next_value;
	stored(pick, next_value);
	exclusive_done(arena.host, frame);
}

static void records_clean(void)
{
	struct clean_record record = { .bitmap = &(uint64_t){ 0 } };
	uint64_t count;

	assert_int_equal(file_clean_record(file, 0, FILE_PAGES, &record, &count), STATUS_OK);
}

static void protects_file(void)
{
	uint64_t count;

	assert_int_equal(file_write_protect(file, below(FILE_PAGES), 1, &count), STATUS_OK);
}

static void looks_up(void)
{
	struct pick pick = pick_page(any_process());
	enum access access = below(2) ? ACCESS_READ : ACCESS_WRITE;
	struct mm_page page;
	unsigned flags = (unsigned)below(8);

	if (!done(mm_lookup_with(pick.process->space, start_of(pick), access, flags, &page)))
		return;
	assert_true(pick.part != PART_SECRET);
	found(pick, *(const uint64_t *)pfn_to_ptr(page.frame));
	/* A write's lookup has broken sharing by copying, though nothing was written. */
	if (access == ACCESS_WRITE)
		stored(pick, cell_of(pick)->value);
	if (flags & LOOKUP_HOLD)
		gup_put(arena.host, page.frame);
}

static void syncs(void)
{
	assert_int_equal(file_sync(file), STATUS_OK);
}

static void flushes(void) { (void)host_flush(arena.host, 1 + below(4)); }

static void reclaims(void) { (void)host_reclaim(arena.host, 1 + below(64)); }

static void tracks_idleness(void)
{
	struct pick pick = pick_page(any_process());
	struct mm_page page;

	if (mm_peek(pick.process->space, start_of(pick), &page) != STATUS_OK)
		return;
	pfn_t first = pfn(page.frame.raw & ~UINT64_C(63));
	uint64_t idle = below(UINT64_MAX);

	assert_int_equal(idle_mark(arena.host, first, 64, &idle), STATUS_OK);
	assert_int_equal(idle_read(arena.host, first, 64, &idle), STATUS_OK);
}

static void merges(void)
{
	struct pick pick = pick_range(any_process());

	(void)done(space_merge(pick.process->space, start_of(pick), bytes_of(pick)));
}

static void unmerges(void)
{
	struct pick pick = pick_range(any_process());

	(void)done(space_unmerge(pick.process->space, start_of(pick), bytes_of(pick)));
}

static void scans(void) { (void)ksm_scan(arena.host, 1 + below(200)); }

/* Equal pages for the scan: a few values, over and over. */
static void process_stores_equal(void)
{
	struct pick pick = pick_range(any_process());
	uint64_t value = 1 + below(3);

	for (; pick.count; pick.count--, pick.page++)
		if (done(space_write(pick.process->space, start_of(pick), &value, sizeof(value))))
			stored(pick, value);
}

/* Away, used there, and back: also through what fails on the way. */
static void moves(void)
{
	struct pick pick = pick_page(any_process());
	hva_t away = hva(BASE - MIB);
	uint64_t value = ++next_value;

	if (pick.part >= PART_SECRET ||
	    !done(space_move(pick.process->space, start_of(pick), PAGE_SIZE, away)))
		return;
	if (done(space_write(pick.process->space, away, &value, sizeof(value))))
		stored(pick, value);
	while (!done(space_move(pick.process->space, away, PAGE_SIZE, start_of(pick))))
		;
}

static void forks(void)
{
	struct process *parent = any_process(), *child = &processes[below(PROCESSES)];
	struct space *space;

	if (child->space || !done(space_fork(parent->space, &space)))
		return;
	memcpy(child, parent, sizeof(*child));
	memset(child->written, 0, sizeof(child->written));
	memset(child->cells[PART_SECRET], 0, sizeof(child->cells[PART_SECRET]));
	memset(child->cells[PART_POOLED], 0, sizeof(child->cells[PART_POOLED]));
	child->forked = true;
	child->space = space;
}

static void ends(void)
{
	struct process *process = any_process();

	if (process == &processes[0])
		return;
	space_destroy(process->space);
	process->space = NULL;
}

static const struct operation {
	const char *name;
	void (*perform)(void);
	unsigned weight;
} operations[] = {
	{ "process stores", process_stores, 16 },
	{ "process loads", process_loads, 16 },
	{ "guest stores", guest_stores, 16 },
	{ "guest loads", guest_loads, 16 },
	{ "guest leaves", guest_leaves, 4 },
	{ "device reads", device_reads, 2 },
	{ "device writes", device_writes, 2 },
	{ "discards", discards, 3 },
	{ "protects", protects, 3 },
	{ "migrates", migrates, 4 },
	{ "splits", splits, 1 },
	{ "invalidates", invalidates, 2 },
	{ "syncs", syncs, 2 },
	{ "flushes", flushes, 3 },
	{ "reclaims", reclaims, 4 },
	{ "tracks idleness", tracks_idleness, 2 },
	{ "frees lazily", frees_lazily, 3 },
	{ "cools", cools, 1 },
	{ "pages out", pages_out, 3 },
	{ "collapses", collapses, 2 },
	{ "splits folio", splits_folio, 2 },
	{ "hints", hints, 3 },
	{ "clears soft dirty", clears_soft_dirty, 1 },
	{ "device takes alone", device_takes_alone, 2 },
	{ "records clean", records_clean, 1 },
	{ "protects file", protects_file, 1 },
	{ "looks up", looks_up, 4 },
	{ "merges", merges, 2 },
	{ "unmerges", unmerges, 1 },
	{ "scans", scans, 2 },
	{ "process stores equal", process_stores_equal, 2 },
	{ "moves", moves, 2 },
	{ "forks", forks, 2 },
	{ "ends", ends, 1 },
};
enum { OPERATIONS = sizeof(operations) / sizeof(*operations) };

/* ------------------------------------------------------------------ a life */

static void on_kick(unsigned cpu)
{
	assert_int_equal(cpu, GUEST_CPU);
	guest_leaves();
}

static void map_all(struct space *space)
{
	assert_int_equal(space_map(space, hva(places[PART_SMALL]), SMALL * PAGE_SIZE,
				   PROTECTION_READ_WRITE, LEVEL_4K), STATUS_OK);
	assert_int_equal(space_map(space, hva(places[PART_LARGE]), LARGE * PAGE_SIZE,
				   PROTECTION_READ_WRITE, LEVEL_2M), STATUS_OK);
	assert_int_equal(space_map_file(space, hva(places[PART_SHARED]), FILE_PAGES * PAGE_SIZE,
					PROTECTION_READ_WRITE, file, 0, SHARING_SHARED),
			 STATUS_OK);
	assert_int_equal(space_map_file(space, hva(places[PART_PRIVATE]), FILE_PAGES * PAGE_SIZE,
					PROTECTION_READ_WRITE, file, 0, SHARING_PRIVATE),
			 STATUS_OK);
	assert_int_equal(space_map_secret(space, hva(places[PART_SECRET]), SECRET * PAGE_SIZE,
					  PROTECTION_READ_WRITE), STATUS_OK);
	assert_int_equal(space_map_pool(space, hva(places[PART_POOLED]), POOLED * PAGE_SIZE,
					PROTECTION_READ_WRITE, pool), STATUS_OK);
}

/* A store that needs no memory any more: a write that fails would lose its page, as it may. */
static struct ram_store *full_store(uint64_t pages)
{
	static const char zeros[PAGE_SIZE];
	struct ram_store *full;
	uint64_t bytes;

	assert_int_equal(ram_store_create(arena.host, pages, &full), STATUS_OK);

	struct store *of = ram_store_of(full);

	for (uint64_t page = 0; page < pages; page++)
		assert_int_equal(of->ops->write(of, page * PAGE_SIZE, zeros, PAGE_SIZE, &bytes),
				 STATUS_OK);
	return full;
}

static void open_life(void)
{
	const struct ept_caps caps = { .max_level = LEVEL_2M, .accessed_dirty = true };

	memset(processes, 0, sizeof(processes));
	memset(on_file, 0, sizeof(on_file));
	arena_open(&arena, 48);
	host_set_nodes(arena.host, 1 + (unsigned)below(2));
	host_set_options(arena.host, (unsigned)below(4));
	host_set_change_pte(arena.host, (enum change_pte)below(4));
	assert_int_equal(ksm_start(arena.host, 1024), STATUS_OK);
	store = full_store(FILE_PAGES);
	swap = full_store(SWAP_PAGES);
	assert_int_equal(host_swap_on(arena.host, ram_store_of(swap), SWAP_PAGES), STATUS_OK);
	assert_int_equal(pool_create(arena.host, LEVEL_2M, 2, &pool), STATUS_OK);
	assert_int_equal(file_create(arena.host, ram_store_of(store), FILE_PAGES, &file),
			 STATUS_OK);
	assert_int_equal(space_create(arena.host, &processes[0].space), STATUS_OK);
	map_all(processes[0].space);
	assert_int_equal(ept_create(processes[0].space, &caps, &ept), STATUS_OK);
	ept_set_prefetch(ept, 8 * (unsigned)below(2));
	for (unsigned part = 0; part < PARTS; part++) {
		struct region region = { gpa_to_gfn(gpa(places[part] - BASE)), part_pages[part],
					 hva(places[part]), REGION_READ_WRITE, LEVEL_2M };

		assert_int_equal(ept_region_add(ept, &region), STATUS_OK);
	}
	soft_cpu_init(&guest, ept);
	kick_hook(on_kick);
}

static void verify(void)
{
	host_verify(arena.host);
	for (unsigned i = 0; i < PROCESSES; i++)
		if (processes[i].space) {
			space_verify(processes[i].space);
			check_soft_dirty(&processes[i]);
		}
	ept_verify(ept);
}

static void check_content(void)
{
	for (unsigned i = 0; i < PROCESSES; i++)
		for (unsigned part = 0; part < (processes[i].forked ? PART_SECRET : PARTS) &&
				       processes[i].space; part++)
			for (unsigned page = 0; page < part_pages[part]; page++) {
				struct pick pick = { &processes[i], part, page, 1 };
				uint64_t value = 0;

				assert_int_equal(space_read(processes[i].space, start_of(pick),
							    &value, sizeof(value)), STATUS_OK);
				found(pick, value);
			}
}

static void close_life(void)
{
	guest_leaves();
	verify();
	check_content();
	ept_destroy(ept);
	for (unsigned i = 0; i < PROCESSES; i++)
		if (processes[i].space)
			space_destroy(processes[i].space);
	assert_int_equal(file_destroy(file), STATUS_OK);
	ram_store_destroy(store);
	assert_int_equal(pool_destroy(pool), STATUS_OK);
	assert_int_equal(host_swap_off(arena.host), STATUS_OK);
	ram_store_destroy(swap);
	(void)ksm_scan(arena.host, 1);
	ksm_stop(arena.host);
	arena_close(&arena);
}

static const struct operation *any_operation(void)
{
	unsigned all = 0;

	for (unsigned i = 0; i < OPERATIONS; i++)
		all += operations[i].weight;

	uint64_t at = below(all);
	const struct operation *operation = operations;

	for (; at >= operation->weight; operation++)
		at -= operation->weight;
	return operation;
}

static void live(uint64_t from, uint64_t steps)
{
	bool tell = getenv("HOST_LIFE_TELL");

	seed = from * 0x9e3779b97f4a7c15 | 1;
	open_life();
	for (uint64_t i = 0; i < steps; i++) {
		const struct operation *operation = any_operation();

		if (tell)
			print_message("# %lu %s\n", i, operation->name);
		if (!below(16))
			arena_fail_after(&arena, (int64_t)below(4));
		operation->perform();
		arena_fail_after(&arena, -1);
		if (tell || i % 64 == 0)
			verify();
	}
	close_life();
}

static uint64_t setting(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 0) : otherwise;
}

static void whole_lives(void **state)
{
	uint64_t steps = setting("HOST_LIFE_STEPS", 4000), only = setting("HOST_LIFE_SEED", 0);

	(void)state;
	for (uint64_t i = 1; i <= 4; i++) {
		print_message("# HOST_LIFE_SEED=%lu\n", only ? only : i);
		live(only ? only : i, steps);
		if (only)
			break;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(whole_lives) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
