/*
 * Hosted: how often a folio of 1 GiB is marked, by each policy, in the two shapes that the threads
 * argue about. Counts, not instructions: nothing is stepped through.
 *
 *	split	mapped by one large leaf, then logged, so split; every page stored to; a bracket
 *	fault	every page stored to, and so faulted in by itself at 4 KiB; a bracket
 *
 * `# stat headline_SHAPE_POLICY_WHAT VALUE UNIT` lines. The guest is a soft CPU: it sets the leaves'
 * A and D by the processor's rules, and is out of the guest when this thread asks for something else.
 */
#include <stdio.h>

#include "mm/mm.h"
#include "tests/host/arena.h"
#include "tests/host/soft_cpu.h"

#define GIB UINT64_C(0x40000000)
#define BACKING (64 * GIB)

enum { PAGES = 1 << ORDER_1G, HOST_MIB = 4096 };

static const char *const names[EPT_POLICIES] = {
	[EPT_POLICY_ZAP] = "zap", [EPT_POLICY_RFC] = "rfc", [EPT_POLICY_MAP] = "map",
	[EPT_POLICY_PTE] = "pte", [EPT_POLICY_BATCH] = "batch",
};

static struct host *host;
static struct space *space;
static struct ept *ept;
static struct soft_cpu guest;

static void must(enum status status) { check(status == STATUS_OK); }

/* ------------------------------------------------------------------ the shapes */

static void store(uint64_t page)
{
	check(soft_store(&guest, gpa(page * PAGE_SIZE), page) == FAULT_FIXED);
}

static void store_all(void)
{
	for (uint64_t page = 0; page < PAGES; page++)
		store(page);
}

static void split(void)
{
	const struct log_options log = { .kind = LOG_WRITE_PROTECT };

	store(0);
	soft_leave(&guest);
	must(ept_log_enable(ept, gfn(0), &log));
	store_all();
}

static const struct shape {
	const char *name;
	unsigned level;			/* of the region's leaves, at most */
	void (*play)(void);
} shapes[] = { { "split", LEVEL_1G, split }, { "fault", LEVEL_4K, store_all } };

/* ------------------------------------------------------------------ what is counted */

enum { DIRTY, ACCESSED, LOCKED, FAULTS, FLUSHES, COUNTS };

static const struct { const char *name, *unit; } counted[COUNTS] = {
	{ "dirty_marks", "marks" }, { "accessed_marks", "marks" }, { "locked", "operations" },
	{ "faults", "faults" }, { "flushes", "shootdowns" },
};

static void read_counts(uint64_t out[COUNTS])
{
	struct ept_stats stats;

	ept_read_stats(ept, &stats);
	out[DIRTY] = host_read_count(host, HOST_MARKS_DIRTY);
	out[ACCESSED] = host_read_count(host, HOST_MARKS_ACCESSED);
	out[LOCKED] = host_read_count(host, HOST_MARKS_LOCKED);
	out[FAULTS] = stats.faults[0] + stats.faults[1] + stats.faults[2];
	out[FLUSHES] = stats.flushes;
}

/* ------------------------------------------------------------------ one of them */

/* The host has the folio already. */
static void open(enum ept_policy policy, unsigned level)
{
	const struct ept_caps caps = { .max_level = LEVEL_1G, .accessed_dirty = true };
	const struct region region = { gfn(0), PAGES, hva(BACKING), REGION_READ_WRITE, level };
	uint64_t word = 1;

	must(space_create(host, &space));
	must(space_map(space, hva(BACKING), GIB, PROTECTION_READ_WRITE, LEVEL_1G));
	must(space_write(space, hva(BACKING), &word, sizeof(word)));
	must(ept_create(space, &caps, &ept));
	ept_set_policy(ept, policy);
	must(ept_region_add(ept, &region));
	soft_cpu_init(&guest, ept);
}

static void close(void)
{
	ept_destroy(ept);
	space_destroy(space);
}

static void play(const struct shape *shape, enum ept_policy policy)
{
	uint64_t before[COUNTS], after[COUNTS];

	open(policy, shape->level);
	read_counts(before);
	shape->play();
	soft_leave(&guest);
	must(space_invalidate(space, hva(BACKING), GIB));
	read_counts(after);
	close();
	for (unsigned i = 0; i < COUNTS; i++) {
		printf("# stat headline_%s_%s_%s %lu %s\n", shape->name, names[policy],
		       counted[i].name, after[i] - before[i], counted[i].unit);
		printf("# stat headline_%s_%s_%s.n %u pages\n", shape->name, names[policy],
		       counted[i].name, PAGES);
	}
}

int main(void)
{
	const struct ram_range ram = { hpa(0), hpa((uint64_t)HOST_MIB << 20) };

	arena_clear(&ram, 1);
	must(host_create(&ram, 1, &host));
	for (unsigned i = 0; i < sizeof(shapes) / sizeof(*shapes); i++)
		for (enum ept_policy policy = 0; policy < EPT_POLICIES; policy++)
			play(&shapes[i], policy);
	return 0;
}
