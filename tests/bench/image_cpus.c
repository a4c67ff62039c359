/*
 * Fast faults on one CPU, and on two at a time: soft CPUs, each in pages of its own of one EPT,
 * store to what a dirty log has write-protected. The fast path takes no lock, so two do twice as
 * much. Beside it, two CPUs that share the host alone, each in an EPT of its own: what the machine
 * itself makes of two CPUs at a time.
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

enum { CPUS = 2, PAGES = 1024, PAGES_TESTED = 512 };	/* of each CPU */
enum { ROUNDS = 400, AGREE = 8 };	/* at most; so many within a 32nd of the least are enough */

#define BACKING hva(UINT64_C(1) << 40)

enum runs { ONE, TWO_OF_ONE_VM, TWO_OF_TWO_VMS, RUNS };

struct vm { struct space *space; struct ept *ept; };

struct runner {
	struct task task;
	struct soft_cpu cpus[CPUS];	/* in each VM */
	struct soft_cpu *cpu;		/* that runs */
	uint64_t first;			/* of its pages */
	uint64_t start, end;
};

static struct vm vms[CPUS];
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
		check(soft_store(self->cpu, gpa(page * PAGE_SIZE), page) == FAULT_FIXED);
	soft_leave(self->cpu);
	self->end = tsc_now();
	return TASK_DONE;
}

/* Ticks from the first one's start to the last one's end. */
static uint64_t time(enum runs runs)
{
	unsigned cpus = runs == ONE ? 1 : CPUS;
	uint64_t start = UINT64_MAX, end = 0;

	atomic_write(&arrived, 0);
	expected = cpus;
	for (unsigned i = 0; i < cpus; i++) {
		runners[i].task = (struct task){ .name = "runner", .step = run, .home = (int)i };
		runners[i].cpu = &runners[i].cpus[runs == TWO_OF_TWO_VMS ? i : 0];
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

static uint64_t fast_faults(void)
{
	uint64_t all = 0;

	for (unsigned i = 0; i < CPUS; i++) {
		struct ept_stats stats;

		ept_read_stats(vms[i].ept, &stats);
		all += stats.fast;
	}
	return all;
}

/* The log takes W from all that was stored to; then each store is a fast fault. */
static uint64_t time_faults(enum runs runs)
{
	static uint64_t words[CPUS * PAGES / 64];

	for (unsigned i = 0; i < CPUS; i++)
		check(ept_log_get(vms[i].ept, gfn(0), words) == STATUS_OK);

	uint64_t fast = fast_faults(), ticks = time(runs);

	check(fast_faults() - fast == (runs == ONE ? 1 : CPUS) * pages);
	return ticks;
}

struct least { uint64_t ticks; unsigned agree; };

static void least_note(struct least *least, uint64_t ticks)
{
	if (ticks < least->ticks - least->ticks / 32)
		least->agree = 0;
	least->ticks = ticks < least->ticks ? ticks : least->ticks;
	least->agree += ticks - least->ticks <= least->ticks / 32;
}

/*
 * The least of some rounds: on a machine with other things to do, as many as it takes until some
 * were disturbed by none of them. The runs take turns, since such a machine may be faster for a
 * while: what is compared is then of one time. False where they did not come to agree.
 */
static bool measure(struct least least[RUNS])
{
	for (enum runs runs = 0; runs < RUNS; runs++)
		least[runs] = (struct least){ .ticks = UINT64_MAX };
	for (unsigned i = 0; i < ROUNDS; i++) {
		bool agree = true;

		for (enum runs runs = 0; runs < RUNS; runs++) {
			least_note(&least[runs], time_faults(runs));
			agree &= least[runs].agree >= AGREE;
		}
		if (agree)
			return true;
	}
	return false;
}

static enum status vm_open(struct vm *vm)
{
	const struct ept_caps caps = { .max_level = LEVEL_2M, .accessed_dirty = true };
	const struct region region = { gfn(0), CPUS * PAGES, BACKING, REGION_READ_WRITE, LEVEL_4K };
	const struct log_options log = { .kind = LOG_WRITE_PROTECT };
	enum status status = space_create(boot_host(), &vm->space);

	if (status)
		return status;
	status = ept_create(vm->space, &caps, &vm->ept);
	if (status) {
		space_destroy(vm->space);
		return status;
	}
	check(space_map(vm->space, BACKING, CPUS * PAGES * PAGE_SIZE, PROTECTION_READ_WRITE,
			LEVEL_4K) == STATUS_OK);
	check(ept_region_add(vm->ept, &region) == STATUS_OK);
	check(ept_log_enable(vm->ept, gfn(0), &log) == STATUS_OK);
	return STATUS_OK;
}

static void vm_close(struct vm *vm)
{
	ept_destroy(vm->ept);
	space_destroy(vm->space);
}

/* Every page has its leaf then. */
static enum status open(uint64_t each)
{
	enum status status = vm_open(&vms[0]);

	if (status)
		return status;
	status = vm_open(&vms[1]);
	if (status) {
		vm_close(&vms[0]);
		return status;
	}
	pages = each;
	for (unsigned i = 0; i < CPUS; i++) {
		for (unsigned vm = 0; vm < CPUS; vm++) {
			soft_cpu_init(&runners[i].cpus[vm], vms[vm].ept);
			runners[i].cpus[vm].polls = true;
		}
		runners[i].first = (uint64_t)i * PAGES;
	}
	(void)time(TWO_OF_ONE_VM);
	(void)time(TWO_OF_TWO_VMS);
	return STATUS_OK;
}

static void close(void)
{
	for (unsigned i = 0; i < CPUS; i++)
		vm_close(&vms[i]);
}

static void report(const char *name, uint64_t hundredths, const char *unit)
{
	print("# stat %s %llu.%02llu %s\n", name, (unsigned long long)hundredths / 100,
	      (unsigned long long)hundredths % 100, unit);
	print("# stat %s.n %u faults\n", name, (unsigned)PAGES);
}

/* In hundredths, how much two CPUs do in the time in which one does one. */
static uint64_t ratio(uint64_t one, uint64_t two) { return (CPUS * one * 100 + two / 2) / two; }

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
	struct least least[RUNS];
	uint64_t one;

	if (!measure(least))
		print("bench-cpus: in %d rounds no %d of each kind agreed\n", ROUNDS, AGREE);
	one = least[ONE].ticks;
	report("cpus_1_fast_fault", one * 100 / PAGES, "ticks/fault");
	report("cpus_2_fast_fault", least[TWO_OF_ONE_VM].ticks * 100 / PAGES, "ticks/fault");
	report("cpus_ratio", ratio(one, least[TWO_OF_ONE_VM].ticks), "times");
	report("cpus_ratio_apart", ratio(one, least[TWO_OF_TWO_VMS].ticks), "times");
	close();
}

CONSOLE_COMMAND("bench-cpus", ": faults without a lock, on two CPUs for each one on one CPU",
		bench_cpus_command)

/* That it runs, and that each of its faults is a fast one. */
BOOT_TEST("bench/cpus", NEEDS_TWO_CPUS)
{
	if (!expect_equal(open(PAGES_TESTED), STATUS_OK))
		return;
	for (enum runs runs = 0; runs < RUNS; runs++)
		expect(time_faults(runs));
	for (unsigned i = 0; i < CPUS; i++)
		ept_verify(vms[i].ept);
	close();
}
