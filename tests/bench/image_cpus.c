/*
 * Fast faults on one CPU, and on two at a time: soft CPUs, each in pages of its own of one EPT,
 * store to what a dirty log has write-protected. The fast path takes no lock, so two do twice as
 * much.
 *
 * On QEMU the CPUs are threads, and the ticks time: locked operations and cache lines that wander
 * count. On Bochs CPUs take turns, and a tick is an instruction of each: there the ratio only says
 * that neither executes instructions to wait for the other.
 */
#include "boot/boot.h"
#include "boot/console.h"
#include "mm/mm.h"
#include "tests/host/soft_cpu.h"
#include "tests/tap.h"

enum { CPUS = 2, PAGES = 8192, PAGES_TESTED = 512 };	/* of each CPU */
enum { ROUNDS = 100, AGREE = 4 };	/* at most; so many within a 32nd of the least are enough */

#define BACKING hva(UINT64_C(1) << 40)

struct runner {
	struct task task;
	struct soft_cpu cpu;
	uint64_t first;			/* of its pages */
	uint64_t start, end;
};

static struct space *space;
static struct ept *ept;
static struct runner runners[CPUS];
static atomic32_t arrived;
static uint32_t expected;
static uint64_t pages;			/* of each that are stored to */

/* All begin together. */
static enum task_result run(struct task *task)
{
	struct runner *self = (struct runner *)task;

	atomic_add(&arrived, 1);
	while (atomic_read(&arrived) < expected)
		port_relax();
	self->start = tsc_now();
	for (uint64_t page = self->first; page < self->first + pages; page++)
		check(soft_store(&self->cpu, gpa(page * PAGE_SIZE), page) == FAULT_FIXED);
	soft_leave(&self->cpu);
	self->end = tsc_now();
	return TASK_DONE;
}

/* Ticks from the first one's start to the last one's end. */
static uint64_t time(unsigned cpus)
{
	uint64_t start = UINT64_MAX, end = 0;

	atomic_write(&arrived, 0);
	expected = cpus;
	for (unsigned i = 0; i < cpus; i++) {
		runners[i].task = (struct task){ .name = "runner", .step = run, .home = (int)i };
		task_start(&runners[i].task);
	}
	for (unsigned i = 0; i < cpus; i++)
		task_wait(&runners[i].task);
	for (unsigned i = 0; i < cpus; i++) {
		start = runners[i].start < start ? runners[i].start : start;
		end = runners[i].end > end ? runners[i].end : end;
	}
	return end - start;
}

/* The log takes W from all that was stored to. */
static void protect(void)
{
	static uint64_t words[CPUS * PAGES / 64];

	check(ept_log_get(ept, gfn(0), words) == STATUS_OK);
}

static uint64_t fast_faults(void)
{
	struct ept_stats stats;

	ept_read_stats(ept, &stats);
	return stats.fast;
}

/*
 * The least of some rounds: on a machine with other things to do, as many as it takes until some
 * were disturbed by none of them.
 */
static uint64_t cheapest(unsigned cpus)
{
	uint64_t least = UINT64_MAX;
	unsigned agree = 0;

	for (unsigned i = 0; i < ROUNDS && agree < AGREE; i++) {
		protect();
		uint64_t fast = fast_faults(), ticks = time(cpus);

		check(fast_faults() - fast == cpus * pages);
		if (ticks < least - least / 32)
			agree = 0;
		least = ticks < least ? ticks : least;
		agree += ticks - least <= least / 32;
	}
	return least;
}

static enum status open(uint64_t each)
{
	const struct ept_caps caps = { .max_level = LEVEL_2M, .accessed_dirty = true };
	const struct region region = { gfn(0), CPUS * PAGES, BACKING, REGION_READ_WRITE, LEVEL_4K };
	const struct log_options log = { .kind = LOG_WRITE_PROTECT };
	enum status status = space_create(boot_host(), &space);

	if (status)
		return status;
	status = ept_create(space, &caps, &ept);
	if (status) {
		space_destroy(space);
		return status;
	}
	check(space_map(space, BACKING, CPUS * PAGES * PAGE_SIZE, PROTECTION_READ_WRITE,
			LEVEL_4K) == STATUS_OK);
	check(ept_region_add(ept, &region) == STATUS_OK);
	check(ept_log_enable(ept, gfn(0), &log) == STATUS_OK);
	pages = each;
	for (unsigned i = 0; i < CPUS; i++) {
		soft_cpu_init(&runners[i].cpu, ept);
		runners[i].cpu.polls = true;
		runners[i].first = (uint64_t)i * PAGES;
	}
	return STATUS_OK;
}

static void close(void)
{
	ept_destroy(ept);
	space_destroy(space);
}

static void report(const char *name, uint64_t hundredths, const char *unit)
{
	print("# stat %s %llu.%02llu %s\n", name, (unsigned long long)hundredths / 100,
	      (unsigned long long)hundredths % 100, unit);
	print("# stat %s.n %u faults\n", name, (unsigned)PAGES);
}

static void bench_cpus_command(char *arguments)
{
	(void)arguments;
	if (cpu_count() < CPUS) {
		print("bench-cpus: this machine has one CPU\n");
		return;
	}
	if (open(PAGES) != STATUS_OK) {
		print("bench-cpus: not the memory for it\n");
		return;
	}
	(void)time(CPUS);		/* every page has its leaf now */
	uint64_t one = cheapest(1), two = cheapest(2);

	report("cpus_1_fast_fault", one * 100 / PAGES, "ticks/fault");
	report("cpus_2_fast_fault", two * 100 / PAGES, "ticks/fault");
	report("cpus_ratio", (2 * one * 100 + two / 2) / two, "times");
	close();
}

CONSOLE_COMMAND("bench-cpus", ": faults without a lock, on two CPUs for each one on one CPU",
		bench_cpus_command)

/* That it runs, and that each of its faults is a fast one. */
BOOT_TEST("bench/cpus", NEEDS_TWO_CPUS)
{
	if (!expect_equal(open(PAGES_TESTED), STATUS_OK))
		return;
	(void)time(CPUS);
	protect();
	uint64_t fast = fast_faults();

	expect(time(CPUS));
	expect_equal(fast_faults() - fast, CPUS * PAGES_TESTED);
	ept_verify(ept);
	close();
}
