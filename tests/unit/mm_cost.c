/*
 * What one operation of the host costs itself, and what it costs a guest that maps the same pages:
 * S67, and S68 for hinting; S55, how rarely D alone is taken.
 *
 * Sixteen pages that the guest has stored to; the operation; the guest uses them all again. The
 * table is printed; every figure in it is expected.
 *
 *	brackets	told to listeners		primary		flushes of processes' TLBs
 *	shootdowns	of the guest's translations	zapped		leaves that the guest lost
 *	again		EPT faults until the guest has all of it again; host faults, brackets for it
 */
#include "mm/lru.h"
#include "mm/store.h"
#include "tests/unit/ept_fixture.h"

enum { COST_PAGES = 16, COST_BYTES = COST_PAGES * 4096 };

static struct ram_store *store;
static struct file *file;
static struct space *child;

enum memory { ANONYMOUS, FILE_SHARED, FILE_PRIVATE };

struct cost {
	uint64_t brackets, primary, shootdowns, zapped;
};

static struct cost now(void)
{
	const struct ept_stats *of_guest = stats();

	return (struct cost){
		.brackets = host_read_count(arena.host, HOST_BRACKETS),
		.primary = host_read_count(arena.host, HOST_TLB_FLUSHES),
		.shootdowns = of_guest->flushes,
		.zapped = of_guest->zapped[0] + of_guest->zapped[1] + of_guest->zapped[2],
	};
}

static uint64_t guest_faults(void) { return stats()->faults[0] + stats()->faults[1]; }
static uint64_t host_faults(void) { return host_read_count(arena.host, HOST_FAULTS); }

/* ------------------------------------------------------------------ the operations */

static void op_unmap(void)
{
	assert_int_equal(space_unmap(space, hva(BACKING), COST_BYTES), STATUS_OK);
}

static void op_read_only(void)
{
	assert_int_equal(space_protect(space, hva(BACKING), COST_BYTES, PROTECTION_READ),
			 STATUS_OK);
}

static void op_same_rights(void)
{
	assert_int_equal(space_protect(space, hva(BACKING), COST_BYTES, PROTECTION_READ_WRITE),
			 STATUS_OK);
}

static void op_discard(void)
{
	assert_int_equal(space_discard(space, hva(BACKING), COST_BYTES), STATUS_OK);
}

static void op_migrate(void)
{
	uint64_t moved;

	assert_int_equal(space_migrate(space, hva(BACKING), COST_BYTES, &moved), STATUS_OK);
	assert_int_equal(moved, COST_PAGES);
}

static void op_hint(void)
{
	assert_int_equal(space_hint(space, hva(BACKING), COST_BYTES, HINT_EACH_2M), STATUS_OK);
}

static void op_soft_dirty(void) { space_clear_soft_dirty(space); }

static void op_exclusive(void)
{
	pfn_t frame;

	for (uint64_t i = 0; i < COST_PAGES; i++) {
		assert_int_equal(space_make_exclusive(space, hva(BACKING + i * PAGE_SIZE), NULL,
						      &frame), STATUS_OK);
		exclusive_done(arena.host, frame);
	}
}

static void op_fork(void) { assert_int_equal(space_fork(space, &child), STATUS_OK); }
static void op_reap(void) { assert_true(space_reap(space)); }
static void op_writeback(void) { assert_int_equal(file_sync(file), STATUS_OK); }

static void op_copy(void)
{
	for (uint64_t i = 0; i < COST_PAGES; i++)
		assert_int_equal(space_write(space, hva(BACKING + i * PAGE_SIZE), "", 1),
				 STATUS_OK);
}

static void op_bracket(void)
{
	assert_int_equal(space_invalidate(space, hva(BACKING), COST_BYTES), STATUS_OK);
}

static void op_split(void)
{
	assert_int_equal(space_split(space, hva(BACKING), COST_BYTES), STATUS_OK);
}

static void op_end(void)
{
	space_destroy(space);
	space = NULL;
}

/* How the guest uses the pages before, and afterwards. */
enum use { USE_STORE, USE_LOAD, USE_NOT };

static const struct row {
	const char *name;
	enum memory memory;
	enum use before, after;
	void (*operation)(void);
	struct cost cost;
	uint64_t guest_faults, host_faults, brackets;	/* again */
} rows[] = {
	{ "bracket alone", ANONYMOUS, USE_STORE, USE_STORE, op_bracket, { 1, 0, 1, 16 }, 16, 0, 0 },
	{ "munmap", ANONYMOUS, USE_STORE, USE_NOT, op_unmap, { 1, 1, 1, 16 }, 0, 0, 0 },
	{ "mprotect, read-only", ANONYMOUS, USE_STORE, USE_LOAD, op_read_only, { 1, 1, 1, 16 },
	  16, 0, 0 },
	{ "mprotect, as it was", ANONYMOUS, USE_STORE, USE_STORE, op_same_rights, { 1, 1, 1, 16 },
	  16, 0, 0 },
	{ "madvise, dontneed", ANONYMOUS, USE_STORE, USE_STORE, op_discard, { 1, 1, 1, 16 },
	  16, 16, 0 },
	{ "migrate", ANONYMOUS, USE_STORE, USE_STORE, op_migrate, { 1, 16, 1, 16 }, 16, 0, 0 },
	{ "NUMA hint", ANONYMOUS, USE_STORE, USE_STORE, op_hint, { 1, 1, 1, 16 }, 16, 16, 0 },
	{ "soft dirty, loads", ANONYMOUS, USE_STORE, USE_LOAD, op_soft_dirty, { 1, 1, 1, 16 },
	  16, 0, 0 },
	{ "soft dirty, stores", ANONYMOUS, USE_STORE, USE_STORE, op_soft_dirty, { 1, 1, 1, 16 },
	  16, 16, 0 },
	{ "device exclusive", ANONYMOUS, USE_STORE, USE_STORE, op_exclusive, { 16, 16, 16, 16 },
	  32, 16, 16 },
	{ "fork, loads", ANONYMOUS, USE_STORE, USE_LOAD, op_fork, { 1, 1, 1, 16 }, 16, 0, 0 },
	{ "fork, stores", ANONYMOUS, USE_STORE, USE_STORE, op_fork, { 1, 1, 1, 16 }, 32, 16, 16 },
	{ "oom reap", ANONYMOUS, USE_STORE, USE_STORE, op_reap, { 1, 1, 1, 16 }, 16, 16, 0 },
	{ "split", ANONYMOUS, USE_STORE, USE_STORE, op_split, { 0, 0, 0, 0 }, 0, 0, 0 },
	{ "writeback, loads", FILE_SHARED, USE_STORE, USE_LOAD, op_writeback, { 16, 16, 16, 16 },
	  16, 0, 0 },
	{ "writeback, stores", FILE_SHARED, USE_STORE, USE_STORE, op_writeback, { 16, 16, 16, 16 },
	  16, 16, 0 },
	{ "copy on write", FILE_PRIVATE, USE_LOAD, USE_STORE, op_copy, { 16, 16, 16, 16 },
	  16, 0, 0 },
	{ "exit", ANONYMOUS, USE_STORE, USE_NOT, op_end, { 0, 1, 1, 16 }, 0, 0, 0 },
};

/* ------------------------------------------------------------------ the table */

static void use_pages(enum use use)
{
	for (uint64_t i = 0; i < COST_PAGES && use != USE_NOT; i++)
		if (use == USE_STORE)
			store_on(1, i * PAGE_SIZE, i);
		else
			(void)load_on(1, i * PAGE_SIZE);
	port_set_cpu(1);
	soft_leave(&soft[1]);
	port_set_cpu(0);
}

static void open_memory(enum memory memory)
{
	if (memory == ANONYMOUS) {
		lend(COST_BYTES, LEVEL_4K);
		return;
	}
	assert_int_equal(ram_store_create(arena.host, COST_PAGES, &store), STATUS_OK);
	assert_int_equal(file_create(arena.host, ram_store_of(store), COST_PAGES, &file),
			 STATUS_OK);
	assert_int_equal(space_map_file(space, hva(BACKING), COST_BYTES, PROTECTION_READ_WRITE,
					file, 0,
					memory == FILE_SHARED ? SHARING_SHARED : SHARING_PRIVATE),
			 STATUS_OK);
	add_region(0, COST_PAGES, BACKING, LEVEL_4K);
}

static void close_memory(enum memory memory)
{
	if (child)
		space_destroy(child);
	child = NULL;
	all_leave();
	ept_verify(ept);
	ept_destroy(ept);
	if (space)
		space_destroy(space);
	if (memory != ANONYMOUS) {
		assert_int_equal(file_destroy(file), STATUS_OK);
		ram_store_destroy(store);
	}
	arena_close(&arena);
}

static void run_row(const struct row *row)
{
	open_small(NULL);
	open_memory(row->memory);
	use_pages(row->before);

	struct cost before = now();

	row->operation();
	struct cost after = now();
	uint64_t guest = guest_faults(), host = host_faults();

	use_pages(row->after);
	struct cost again = now(), spent = {
		after.brackets - before.brackets, after.primary - before.primary,
		after.shootdowns - before.shootdowns, after.zapped - before.zapped,
	};

	print_message("%-20s %8lu %8lu %10lu %8lu | %6lu %6lu %6lu\n", row->name, spent.brackets,
		      spent.primary, spent.shootdowns, spent.zapped, guest_faults() - guest,
		      host_faults() - host, again.brackets - after.brackets);
	assert_memory_equal(&spent, &row->cost, sizeof(spent));
	assert_int_equal(guest_faults() - guest, row->guest_faults);
	assert_int_equal(host_faults() - host, row->host_faults);
	assert_int_equal(again.brackets - after.brackets, row->brackets);
	close_memory(row->memory);
}

/*
 * A fault that has to change the host's entries opens a bracket over the page that it looks up, so
 * what it found is stale, and the guest faults twice: the pages that a device had, the copies after
 * a fork.
 */

/*
 * S67: what the host takes for one change of entries is a shootdown, and a fault for each page, to
 * a guest.
 */
static void s67_what_an_operation_costs(void **state)
{
	(void)state;
	print_message("%-20s %8s %8s %10s %8s | %6s %6s %6s\n", "16 pages", "brackets", "primary",
		      "shootdowns", "zapped", "again", "host", "brack.");
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		run_row(&rows[i]);
}

/* ------------------------------------------------------------------ 1 GiB */

static struct cost hint_gigabyte(enum hinting how)
{
	for (uint64_t at = 0; at < GIB; at += 2 * MIB)
		store_on(1, at, at);
	struct cost before = now();

	assert_int_equal(space_hint(space, hva(BACKING), GIB, how), STATUS_OK);
	struct cost after = now();

	return (struct cost){
		after.brackets - before.brackets, after.primary - before.primary,
		after.shootdowns - before.shootdowns, after.zapped - before.zapped,
	};
}

/*
 * S68: one flush for the host's CPUs, one for each 2 MiB for the guest's; or one, if all is told at
 * once.
 */
static void s68_hints_over_a_gigabyte(void **state)
{
	(void)state;
	lend(GIB, LEVEL_4K);
	struct cost each = hint_gigabyte(HINT_EACH_2M), once = hint_gigabyte(HINT_AT_ONCE);

	print_message("hint 1 GiB, each 2 MiB: %lu brackets, %lu primary, %lu shootdowns\n",
		      each.brackets, each.primary, each.shootdowns);
	print_message("hint 1 GiB, at once:    %lu brackets, %lu primary, %lu shootdowns\n",
		      once.brackets, once.primary, once.shootdowns);
	assert_memory_equal(&each, (&(struct cost){ 512, 1, 512, 512 }), sizeof(each));
	assert_memory_equal(&once, (&(struct cost){ 1, 1, 1, 512 }), sizeof(once));
	for (uint64_t at = 0; at < GIB; at += 2 * MIB)
		assert_int_equal(load_on(1, at), at);
}

/* ------------------------------------------------------------------ D alone */

enum { LIFE_PAGES = 256, LIFE_BYTES = LIFE_PAGES * 4096, LIFE_FILE = 2 * LIFE_PAGES, ROUNDS = 10 };

/* Entries that lost D and kept W, and the brackets in which some did. */
static struct cleaning { struct trace trace; uint64_t entries, brackets; bool counted; } cleaning;

static void note_cleaning(struct trace *self, enum trace_step step, uint64_t subject,
			  uint64_t value)
{
	bool alone = step == TRACE_PTE_MKCLEAN && pte_writable((pte_t){ value });

	(void)self;
	(void)subject;
	if (step == TRACE_RANGE_START)
		cleaning.counted = false;
	cleaning.entries += alone;
	cleaning.brackets += alone && !cleaning.counted;
	cleaning.counted |= alone;
}

/* What a host does to a guest all day. */
static void a_round(void)
{
	const hva_t own = hva(BACKING), second_half = hva(BACKING + LIFE_BYTES / 2);
	uint64_t moved;

	for (uint64_t i = 0; i < LIFE_PAGES + COST_PAGES; i++)
		store_on(1, (i < LIFE_PAGES ? i : LIFE_FILE + i - LIFE_PAGES) * PAGE_SIZE, i);
	assert_int_equal(space_hint(space, own, LIFE_BYTES, HINT_EACH_2M), STATUS_OK);
	for (uint64_t i = 0; i < LIFE_PAGES; i++)
		(void)load_on(1, i * PAGE_SIZE);
	assert_int_equal(file_sync(file), STATUS_OK);
	assert_int_equal(space_migrate(space, second_half, 16 * PAGE_SIZE, &moved), STATUS_OK);
	/* One process goes and comes again; another gives memory back. */
	assert_int_equal(space_fork(space, &child), STATUS_OK);
	space_destroy(child);
	child = NULL;
	assert_int_equal(space_discard(space, own, 16 * PAGE_SIZE), STATUS_OK);
}

/* Once: a quarter given away, and a record of what the file's mappings have written. */
static void take_d_alone(void)
{
	uint64_t bits = 0, count;
	struct clean_record record = { .bitmap = &bits };

	/* By the process: a guest's stores set no D here. */
	for (uint64_t i = 0; i < LIFE_PAGES; i++)
		assert_int_equal(space_write(space, hva(BACKING + i * PAGE_SIZE), "", 1),
				 STATUS_OK);
	for (uint64_t i = 0; i < COST_PAGES; i++)
		assert_int_equal(space_write(space, hva(BACKING + (LIFE_FILE + i) * PAGE_SIZE), "",
					     1),
				 STATUS_OK);
	lru_drain(arena.host);
	assert_int_equal(space_lazyfree(space, hva(BACKING + LIFE_BYTES / 2), LIFE_BYTES / 4),
			 STATUS_OK);
	assert_int_equal(file_clean_record(file, 0, COST_PAGES, &record, &count), STATUS_OK);
	assert_int_equal(count, COST_PAGES);
}

/*
 * S55: a listener that wanted to hear of each D that goes hears hardly more than it does: few
 * brackets take D and leave W, and those are brackets in Linux already. All others take W, too, or
 * the entry.
 */
static void s55_d_alone_is_rarely_taken(void **state)
{
	(void)state;
	lend(LIFE_BYTES, LEVEL_4K);
	assert_int_equal(ram_store_create(arena.host, COST_PAGES, &store), STATUS_OK);
	assert_int_equal(file_create(arena.host, ram_store_of(store), COST_PAGES, &file),
			 STATUS_OK);
	assert_int_equal(space_map_file(space, hva(BACKING + LIFE_FILE * PAGE_SIZE), COST_BYTES,
					PROTECTION_READ_WRITE, file, 0, SHARING_SHARED), STATUS_OK);
	add_region(LIFE_FILE, COST_PAGES, BACKING + LIFE_FILE * PAGE_SIZE, LEVEL_4K);
	cleaning = (struct cleaning){ .trace.step = note_cleaning };
	arena.host->trace = &cleaning.trace;
	for (unsigned i = 0; i < ROUNDS; i++)
		a_round();
	take_d_alone();
	arena.host->trace = NULL;

	uint64_t brackets = host_read_count(arena.host, HOST_BRACKETS);
	uint64_t mkcleans = host_read_count(arena.host, HOST_MKCLEANS);

	print_message("%lu brackets, %lu entries cleaned; D alone: %lu entries in %lu brackets\n",
		      brackets, mkcleans, cleaning.entries, cleaning.brackets);
	assert_int_equal(brackets, 202);
	assert_int_equal(mkcleans, ROUNDS * COST_PAGES + LIFE_PAGES / 4 + COST_PAGES);
	assert_int_equal(cleaning.entries, LIFE_PAGES / 4 + COST_PAGES);
	assert_int_equal(cleaning.brackets, 2);
}

static int close_life(void **state)
{
	all_leave();
	assert_int_equal(space_unmap(space, hva(BACKING + LIFE_FILE * PAGE_SIZE), COST_BYTES),
			 STATUS_OK);
	assert_int_equal(file_destroy(file), STATUS_OK);
	ram_store_destroy(store);
	return close_ept(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(s67_what_an_operation_costs),
		cmocka_unit_test_setup_teardown(s68_hints_over_a_gigabyte, open_small, close_ept),
		cmocka_unit_test_setup_teardown(s55_d_alone_is_rarely_taken, open_small,
						close_life),
	};

	return cmocka_run_group_tests_name("mm/cost", tests, NULL, NULL);
}
