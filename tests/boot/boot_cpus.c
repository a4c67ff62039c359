/*
 * The booted machine's CPUs: calls between them, NMIs, the timer, the clock, tasks. Other CPUs are
 * awaited with a patience that a busy machine below an emulator does not exhaust.
 */
#include "boot/acpi.h"
#include "boot/apic.h"
#include "boot/boot.h"
#include "boot/cpu.h"
#include "boot/insn.h"
#include "boot/paging.h"
#include "boot/parts.h"
#include "boot/traps.h"
#include "tests/tap.h"

/* Long against anything that an emulator on a busy machine does. */
#define PATIENCE_US 5000000u

static bool comes_true(const atomic64_t *word, uint64_t least)
{
	uint64_t start = tsc_now();

	while (atomic_read(word) < least) {
		if ((tsc_now() - start) / (tsc_hz() / 1000 + 1) > PATIENCE_US / 1000)
			return false;
		port_relax();
	}
	return true;
}

/* ------------------------------------------------------------------ CPUs */

struct cpu_report {
	atomic64_t calls;
	unsigned number, apic_id;
	uint64_t stack, cr0, cr3, cr4, efer;
};

static void report(void *into)
{
	struct cpu_report *r = into;

	r->number = cpu_number();
	r->apic_id = apic_id();
	r->stack = (uint64_t)__builtin_frame_address(0);
	r->cr0 = read_cr0();
	r->cr3 = read_cr3();
	r->cr4 = read_cr4();
	r->efer = rdmsr(MSR_EFER);
	atomic_add(&r->calls, 1);
}

/* The state that the CPU runs its tasks in, not that of the boot. */
BOOT_TEST("boot/cpus", NEEDS_NOTHING)
{
	const uint64_t off = CR0_CD | CR0_NW | CR0_EM | CR0_TS;

	expect_equal(cpu_count(), found_cpus()->count);
	for (unsigned cpu = 0; cpu < cpu_count(); cpu++) {
		struct cpu_report r = { 0 };

		cpu_call(cpu, report, &r);
		expect_equal(atomic_read(&r.calls), 1);
		expect_equal(r.number, cpu);
		expect_equal(r.apic_id, cpus[cpu].apic_id);
		expect(r.stack < stack_top(cpu, STACK_MAIN) &&
		       r.stack >= stack_top(cpu, STACK_MAIN) - stack_bytes(STACK_MAIN));
		expect_equal(r.cr0 & (off | CR0_WP | CR0_NE), CR0_WP | CR0_NE);
		expect_equal(r.cr3 & PTE_ADDRESS, paging_root().raw);
		expect(r.cr4 & CR4_PGE && r.cr4 & CR4_OSFXSR);
		expect(r.efer & EFER_NXE);
		for (unsigned other = 0; other < cpu; other++)
			expect(cpus[other].apic_id != cpus[cpu].apic_id);
	}
}

enum { CALLS = 200 };

struct caller { struct task task; atomic64_t *sum; };

static void add_one(void *sum)
{
	atomic_add((atomic64_t *)sum, 1);
}

static enum task_result call_all(struct task *task)
{
	struct caller *caller = (struct caller *)task;

	for (unsigned i = 0; i < CALLS; i++)
		for (unsigned cpu = 0; cpu < cpu_count(); cpu++)
			cpu_call(cpu, add_one, caller->sum);
	return TASK_DONE;
}

/* All CPUs call all CPUs at once: nobody waits for ever, no call is lost or done twice. */
BOOT_TEST("boot/call_storm", NEEDS_TWO_CPUS)
{
	static struct caller callers[MAX_CPUS];
	atomic64_t sum = { 0 };
	uint64_t count = cpu_count();

	for (unsigned cpu = 0; cpu < count; cpu++) {
		callers[cpu] = (struct caller){
			.task = { .name = "caller", .step = call_all, .home = (int)cpu },
			.sum = &sum,
		};
		task_start(&callers[cpu].task);
	}
	for (unsigned cpu = 0; cpu < count; cpu++)
		task_wait(&callers[cpu].task);
	expect_equal(atomic_read(&sum), count * count * CALLS);
}

BOOT_TEST("boot/nmi", NEEDS_NOTHING)
{
	for (unsigned cpu = 0; cpu < cpu_count(); cpu++) {
		uint64_t before = cpu_nmi_count(cpu);

		cpu_send_nmi(cpu);
		expect(comes_true(&cpus[cpu].nmis, before + 1));
		delay_us(1000);
		expect_equal(cpu_nmi_count(cpu), before + 1);
	}
}

/*
 * An INT with RSP at the end of a stack, where nothing can be pushed. It finds its stack as the
 * event itself does (SDM "Interrupt Stack Table"); #MC would panic, so the place is expected.
 */
#define INT_WITHOUT_STACK(vector, rsp)                                                          \
	__asm__ volatile("mov %%rsp, %%rbx\n\t"                                                  \
			 "mov %1, %%rsp\n\t"                                                     \
			 "int %0\n"                                                              \
			 "1:\tmov %%rbx, %%rsp\n\t"                                              \
			 ".pushsection fixups, \"a\"\n\t"                                        \
			 ".quad 1b, 1b\n\t"                                                      \
			 ".popsection"                                                          \
			 :: "i"(vector), "r"(rsp) : "rbx", "cc", "memory")

/* What the trap left on the stack that is its own. */
static void expect_frame(enum stack_kind stack, uint64_t vector, uint64_t rsp)
{
	const struct trap_frame *frame = (const struct trap_frame *)stack_top(cpu_number(), stack);

	expect_equal(frame[-1].vector, vector);
	expect_equal(frame[-1].rsp, rsp);
}

static void trap_without_stack(void *unused)
{
	uint64_t rsp = stack_top(cpu_number(), STACK_MAIN) - stack_bytes(STACK_MAIN);
	uint64_t nmis = cpu_nmi_count(cpu_number());

	(void)unused;
	INT_WITHOUT_STACK(VECTOR_NMI, rsp);
	expect_equal(cpu_nmi_count(cpu_number()), nmis + 1);
	expect_frame(STACK_NMI, VECTOR_NMI, rsp);
	INT_WITHOUT_STACK(VECTOR_MACHINE_CHECK, rsp);
	expect_equal(this_cpu()->recovered_vector, VECTOR_MACHINE_CHECK);
	expect_frame(STACK_MACHINE_CHECK, VECTOR_MACHINE_CHECK, rsp);
}

/* The number of the IST's entry in the gate; SDM "64-Bit IDT Gate Descriptors". */
static unsigned gate_ist(unsigned vector)
{
	struct { uint16_t limit; uint64_t base; } __attribute__((packed)) idt;

	__asm__("sidt %0" : "=m"(idt));
	return ((const uint8_t *)idt.base)[vector * 16 + 4] & 7;
}

/* Traps that come at any instruction can't rely on RSP, nor on each other's stack. */
BOOT_TEST("boot/own_stacks", NEEDS_NOTHING)
{
	if (!expect_equal(gate_ist(VECTOR_NMI), IST_NMI) ||
	    !expect_equal(gate_ist(VECTOR_DOUBLE_FAULT), IST_DOUBLE_FAULT) ||
	    !expect_equal(gate_ist(VECTOR_MACHINE_CHECK), IST_MACHINE_CHECK))
		return;			/* the rest would end in a panic */
	for (unsigned cpu = 0; cpu < cpu_count(); cpu++)
		cpu_call(cpu, trap_without_stack, NULL);
}

struct summer { struct task task; atomic64_t started, stop, wrong, rounds; };

/* Sums the same numbers over and over: an NMI that spoils a register spoils the sum. */
static enum task_result sum_up(struct task *task)
{
	struct summer *summer = (struct summer *)task;

	atomic_write(&summer->started, 1);
	while (!atomic_read(&summer->stop)) {
		uint64_t sum = 0;

		for (uint64_t i = 0; i < 100; i++) {
			__asm__ volatile("add %1, %0" : "+r"(sum) : "r"(i));
		}
		atomic_add(&summer->wrong, sum != 4950);
		atomic_add(&summer->rounds, 1);
	}
	return TASK_DONE;
}

enum { NMIS = 100 };

BOOT_TEST("boot/nmi_harmless", NEEDS_TWO_CPUS)
{
	struct summer summer = { .task = { .name = "sum", .step = sum_up, .home = 1 } };
	uint64_t before = cpu_nmi_count(1);

	task_start(&summer.task);
	expect(comes_true(&summer.started, 1));
	for (uint64_t i = 0; i < NMIS; i++) {
		uint64_t rounds = atomic_read(&summer.rounds);

		cpu_send_nmi(1);
		if (!expect(comes_true(&cpus[1].nmis, before + i + 1)) ||
		    !expect(comes_true(&summer.rounds, rounds + 2)))
			break;
	}
	atomic_write(&summer.stop, 1);
	task_wait(&summer.task);
	expect_equal(atomic_read(&summer.wrong), 0);
	expect_equal(cpu_nmi_count(1), before + NMIS);
}

/* ------------------------------------------------------------------ time */

BOOT_TEST("boot/timer", NEEDS_NOTHING)
{
	for (unsigned i = 0; i < 3; i++) {
		uint64_t ticks = atomic_read(&this_cpu()->ticks), start, spent;

		/* Another CPU's late wake-up may end a sleep before the timer does. */
		for (unsigned tries = 0; tries < 10; tries++) {
			start = tsc_now();
			cpu_sleep(5000);
			spent = tsc_now() - start;
			if (atomic_read(&this_cpu()->ticks) != ticks)
				break;
		}
		expect_equal(atomic_read(&this_cpu()->ticks), ticks + 1);
		/* Not much early; how late depends on the emulator's machine. */
		expect(spent >= tsc_hz() / 1000 * 4);
		expect(spent <= tsc_hz() * 5);
	}
}

BOOT_TEST("boot/tsc", NEEDS_NOTHING)
{
	uint64_t start = tsc_now(), measured;
	bool near = false;

	delay_us(2000);
	expect(tsc_now() - start >= tsc_hz() / 1000 * 2 - tsc_hz() / 10000);
	expect(tsc_hz() >= 100000 && tsc_hz() <= UINT64_C(20000000000));
	measured = clock_measure();
	if (!measured) {
		tap_skip("no PIT to measure the TSC against");
		return;
	}
	/* A busy machine spoils one measurement, seldom all. */
	for (unsigned i = 0; i < 10 && !near; i++) {
		near = measured > tsc_hz() / 100 * 97 && measured < tsc_hz() / 100 * 103;
		measured = clock_measure();
	}
	expect(near);
}

/* ------------------------------------------------------------------ tasks */

struct counter { struct task task; atomic64_t steps, cpus_seen; uint64_t until; };

static enum task_result count_step(struct task *task)
{
	struct counter *counter = (struct counter *)task;

	atomic_or(&counter->cpus_seen, UINT64_C(1) << cpu_number());
	return atomic_add(&counter->steps, 1) + 1 >= counter->until ? TASK_DONE : TASK_AGAIN;
}

BOOT_TEST("boot/task_homes", NEEDS_NOTHING)
{
	static struct counter counters[MAX_CPUS];

	for (unsigned cpu = 0; cpu < cpu_count(); cpu++) {
		counters[cpu] = (struct counter){
			.task = { .name = "home", .step = count_step, .home = (int)cpu },
			.until = 50,
		};
		task_start(&counters[cpu].task);
	}
	for (unsigned cpu = 0; cpu < cpu_count(); cpu++) {
		task_wait(&counters[cpu].task);
		expect_equal(atomic_read(&counters[cpu].steps), 50);
		expect_equal(atomic_read(&counters[cpu].cpus_seen), UINT64_C(1) << cpu);
	}
}

enum { MOVES = 8 };

struct nomad { struct task task; unsigned cpu, moves; uint64_t end; };

/* At home on CPU 0 for its first step: no other CPU is woken for it when it starts. */
static enum task_result wander(struct task *task)
{
	struct nomad *nomad = (struct nomad *)task;

	task->home = TASK_ANYWHERE;
	delay_us(200);
	if (cpu_number() != nomad->cpu) {
		nomad->cpu = cpu_number();
		nomad->moves++;
	}
	return nomad->moves == MOVES || tsc_now() > nomad->end ? TASK_DONE : TASK_AGAIN;
}

/* Asleep, other CPUs get the task only from the one that has it. */
BOOT_TEST("boot/task_moves", NEEDS_TWO_CPUS)
{
	struct nomad nomad = { .task = { .name = "nomad", .step = wander, .home = 0 } };

	delay_us(10000);		/* till they sleep */
	nomad.end = tsc_now() + tsc_hz() * (PATIENCE_US / 1000000);
	task_start(&nomad.task);
	task_wait(&nomad.task);
	expect_equal(nomad.moves, MOVES);
}

static enum task_result rest_step(struct task *task)
{
	return count_step(task) == TASK_DONE ? TASK_DONE : TASK_IDLE;
}

/* A task with nothing to do comes again by itself, and leaves the others alone meanwhile. */
BOOT_TEST("boot/task_idle", NEEDS_NOTHING)
{
	struct counter resting = {
		.task = { .name = "rest", .step = rest_step, .home = 0 }, .until = 5,
	};
	struct counter busy = {
		.task = { .name = "busy", .step = count_step, .home = 0 }, .until = 100,
	};
	uint64_t start = tsc_now();

	task_start(&resting.task);
	task_start(&busy.task);
	task_wait(&busy.task);
	expect_equal(atomic_read(&busy.steps), 100);
	task_wait(&resting.task);
	expect_equal(atomic_read(&resting.steps), 5);
	expect(tsc_now() - start >= tsc_hz() / 1000 * 3);
	/* It can be started again. */
	atomic_write(&resting.steps, 0);
	task_start(&resting.task);
	task_wait(&resting.task);
	expect_equal(atomic_read(&resting.steps), 5);
}

static enum task_result pass_on(struct task *task)
{
	task->home = (int)((cpu_number() + 1) % cpu_count());
	return count_step(task);
}

/* A step may change its task's home: the new home is woken for it. */
BOOT_TEST("boot/task_passed_on", NEEDS_TWO_CPUS)
{
	struct counter counter = {
		.task = { .name = "baton", .step = pass_on, .home = 0 }, .until = 20,
	};

	task_start(&counter.task);
	task_wait(&counter.task);
	expect_equal(atomic_read(&counter.cpus_seen), (UINT64_C(1) << cpu_count()) - 1);
}
