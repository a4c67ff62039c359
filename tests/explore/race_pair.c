/*
 * Every pair of what can happen to one page of a file that a guest has mapped and that is logged,
 * by each policy. Not the named races (race_*.c), which ask more of fewer: here each operation
 * meets each other, itself too, and afterwards nothing is lost to anybody: not to the process, not
 * to the copy that the log keeps up to date, not to the file's store (I6).
 *
 * On request: `make explore T='pair_*'`, and in `make test`, a suite of its own.
 */
#include "tests/explore/world.h"

enum { STOOD, BY_CPU, WORDS = 3 };	/* of the page: what stood there, then one for each CPU */

static struct {
	struct log_options log;
	uint64_t expected[WORDS], copy[WORDS];
	bool process[WORDS];		/* stored by it, so in no log */
} pair;

static gpa_t word_gpa(unsigned word) { return gpa(word * 8); }

/* Whoever stores meanwhile: as a CPU reads, word by word. */
static void read_page(uint64_t words[WORDS]) NOT_CHECKED
{
	const uint64_t *page;
	struct place place;

	for (;;) {
		read_lock(&world.space->lock);
		place = table_find(world.space, WORLD_BACKING);
		if (place_allows(place, ACCESS_READ))
			break;
		read_unlock(&world.space->lock);
		check(space_fault(world.space, page_hva(0), ACCESS_READ) == STATUS_OK);
	}
	page = pfn_to_ptr(pte_frame(place.pte));
	for (unsigned word = 0; word < WORDS; word++)
		atomic_copy(&words[word], &page[word], sizeof(*words));
	read_unlock(&world.space->lock);
}

/* ------------------------------------------------------------------ the operations */

/* Refused where the region has gone. */
static void op_store(void)
{
	struct soft_cpu *cpu = &world.cpus[port_cpu()];
	unsigned word = BY_CPU + port_cpu();

	if (soft_store(cpu, word_gpa(word), 7) == FAULT_FIXED)
		pair.expected[word] = 7;
	soft_leave(cpu);
}

static void op_load(void)
{
	struct soft_cpu *cpu = &world.cpus[port_cpu()];
	uint64_t value;

	if (soft_load(cpu, word_gpa(STOOD), &value) == FAULT_FIXED)
		check(value == pair.expected[STOOD]);
	soft_leave(cpu);
}

static void op_device(void)
{
	unsigned word = BY_CPU + port_cpu();
	uint64_t value = 8;

	if (ept_write_guest(world.ept, word_gpa(word), &value, sizeof(value)) == STATUS_OK)
		pair.expected[word] = 8;
}

static void op_process(void)
{
	unsigned word = BY_CPU + port_cpu();
	uint64_t value = 9;

	check(space_write(world.space, hva_add(page_hva(0), word * 8), &value, sizeof(value)) ==
	      STATUS_OK);
	pair.expected[word] = 9;
	pair.process[word] = true;
}

static void op_harvest(void)
{
	uint64_t bits[1];

	if (ept_log_get(world.ept, gfn(0), bits) == STATUS_OK && bits[0] & 1)
		read_page(pair.copy);
}

/* A log ends, and another begins. */
static void op_relog(void)
{
	(void)!ept_log_disable(world.ept, gfn(0));
	if (ept_log_enable(world.ept, gfn(0), &pair.log) == STATUS_OK)
		read_page(pair.copy);
}

static void op_zap(void)
{
	check(space_invalidate(world.space, page_hva(0), PAGE_SIZE) == STATUS_OK);
}

static void op_age(void)
{
	read_lock(&world.space->lock);
	(void)!notifier_clear_young(world.space, WORLD_BACKING, WORLD_BACKING + PAGE_SIZE);
	read_unlock(&world.space->lock);
}

static void op_migrate(void) { migrate_first(); }

static void op_writeback(void) { sync_file(); }

static void op_reclaim(void)
{
	uint64_t freed;

	check(space_page_out(world.space, page_hva(0), PAGE_SIZE, &freed) == STATUS_OK);
}

static void op_remove(void) { (void)!ept_region_remove(world.ept, gfn(0)); }

/* ------------------------------------------------------------------ before and after */

static void open_pair(enum ept_policy policy, enum log_kind kind)
{
	struct region region = { .pages = 1, .backing = hva(WORLD_BACKING),
				 .rights = REGION_READ_WRITE, .max_level = LEVEL_4K };

	world_open_file(1, SHARING_SHARED);
	check(ept_region_remove(world.ept, gfn(0)) == STATUS_OK);
	ept_set_policy(world.ept, policy);
	check(ept_region_add(world.ept, &region) == STATUS_OK);
	guest_stores(0, 5);
	guest_leaves();
	pair.log = (struct log_options){ .kind = kind };
	check(ept_log_enable(world.ept, gfn(0), &pair.log) == STATUS_OK);
	read_page(pair.expected);
	read_page(pair.copy);
}

static void open_zap(void) { open_pair(EPT_POLICY_ZAP, LOG_WRITE_PROTECT); }
static void open_rfc(void) { open_pair(EPT_POLICY_RFC, LOG_DIRTY_BIT); }
static void open_map(void) { open_pair(EPT_POLICY_MAP, LOG_WRITE_PROTECT); }
static void open_pte(void) { open_pair(EPT_POLICY_PTE, LOG_WRITE_PROTECT); }
static void open_batch(void) { open_pair(EPT_POLICY_BATCH, LOG_DIRTY_BIT); }

/* What the process itself stores is in no guest's log. */
static void verify_copy(void)
{
	uint64_t bits[1];

	if (ept_log_get(world.ept, gfn(0), bits) != STATUS_OK)
		return;
	if (bits[0] & 1)
		read_page(pair.copy);
	for (unsigned word = 0; word < WORDS; word++)
		check(pair.process[word] || pair.copy[word] == pair.expected[word]);
	check(ept_log_disable(world.ept, gfn(0)) == STATUS_OK);
}

static void verify_pair(void)
{
	struct store *store = ram_store_of(world.store);
	uint64_t words[WORDS], done;

	read_page(words);
	for (unsigned word = 0; word < WORDS; word++)
		check(words[word] == pair.expected[word]);
	verify_copy();
	sync_file();
	check(store->ops->read(store, 0, words, sizeof(words), &done) == STATUS_OK);
	for (unsigned word = 0; word < WORDS; word++)
		check(words[word] == pair.expected[word]);
	world_verify();
}

/* ------------------------------------------------------------------ the pairs */

/* Under TSO the guest beside reclaim is too much to be searched in `make test`: walks. */
enum { GUEST = 1, RECLAIM = 2 };
enum {
	IS_store = GUEST, IS_load = GUEST, IS_device = 0, IS_process = 0, IS_harvest = 0,
	IS_relog = 0, IS_zap = 0, IS_age = 0, IS_migrate = 0, IS_writeback = 0,
	IS_reclaim = RECLAIM, IS_remove = 0,
};

#define PAIR(policy, a, b)                                                                  \
	SCENARIO(pair_##policy##_##a##_##b, .rule = "a store is lost to nobody (I6)",       \
		 .setup = open_##policy, .actors = { op_##a, op_##b }, .verify = verify_pair, \
		 .name_word = world_name, .bound = 2,                                       \
		 .walks_tso = (IS_##a | IS_##b) == (GUEST | RECLAIM) ? 256 : 0, .on_request = true);

/* An operation with itself and with those below it. */
#define FROM_REMOVE(p, a)    PAIR(p, a, remove)
#define FROM_RECLAIM(p, a)   PAIR(p, a, reclaim) FROM_REMOVE(p, a)
#define FROM_WRITEBACK(p, a) PAIR(p, a, writeback) FROM_RECLAIM(p, a)
#define FROM_MIGRATE(p, a)   PAIR(p, a, migrate) FROM_WRITEBACK(p, a)
#define FROM_AGE(p, a)       PAIR(p, a, age) FROM_MIGRATE(p, a)
#define FROM_ZAP(p, a)       PAIR(p, a, zap) FROM_AGE(p, a)
#define FROM_RELOG(p, a)     PAIR(p, a, relog) FROM_ZAP(p, a)
#define FROM_HARVEST(p, a)   PAIR(p, a, harvest) FROM_RELOG(p, a)
#define FROM_PROCESS(p, a)   PAIR(p, a, process) FROM_HARVEST(p, a)
#define FROM_DEVICE(p, a)    PAIR(p, a, device) FROM_PROCESS(p, a)
#define FROM_LOAD(p, a)      PAIR(p, a, load) FROM_DEVICE(p, a)
#define FROM_STORE(p, a)     PAIR(p, a, store) FROM_LOAD(p, a)

#define PAIRS(p)                                                                            \
	FROM_STORE(p, store) FROM_LOAD(p, load) FROM_DEVICE(p, device)                      \
	FROM_PROCESS(p, process) FROM_HARVEST(p, harvest) FROM_RELOG(p, relog)              \
	FROM_ZAP(p, zap) FROM_AGE(p, age) FROM_MIGRATE(p, migrate)                          \
	FROM_WRITEBACK(p, writeback) FROM_RECLAIM(p, reclaim) FROM_REMOVE(p, remove)

PAIRS(zap)
PAIRS(rfc)
PAIRS(map)
PAIRS(pte)
PAIRS(batch)
