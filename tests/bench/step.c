/*
 * Hosted: the benchmarks under the processor's trap flag, so that each instruction of what is
 * measured ends in a signal, which is counted. A breakpoint before and one behind it switch the
 * flag on and off; the second leaves the number in RAX. A REP instruction counts each of its
 * iterations, as on Bochs.
 *
 *	step MIB	figures on a host of that much RAM: `# stat NAME VALUE UNIT` lines
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <ucontext.h>

#include "tests/bench/bench.h"
#include "tests/host/arena.h"

/* ------------------------------------------------------------------ counting */

#define TRAP_FLAG 0x100		/* SDM "EFLAGS Register" */

static uint64_t steps;

static void on_trap(int signal, siginfo_t *why, void *context)
{
	greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;

	(void)signal;
	if (why->si_code == TRAP_TRACE) {
		steps++;
		return;
	}
	/* A breakpoint: the first one or the second. */
	registers[REG_RAX] = (greg_t)steps;
	steps = 0;
	registers[REG_EFL] ^= TRAP_FLAG;
}

static uint64_t measure(void (*body)(struct host *host), struct host *host)
{
	uint64_t count;

	__asm__ volatile("int3" ::: "rax", "memory");
	body(host);
	__asm__ volatile("int3" : "=a"(count) :: "memory");
	return count;
}

static const struct bench_meter meter = { measure, .rounds = 1 };

static void report(const struct bench_figure *figure)
{
	const struct benchmark *of = figure->of;

	printf("# stat %s %lu.%lu instructions\n", of->name, figure->tenths / 10,
	       figure->tenths % 10);
	printf("# stat %s.n %lu operations\n", of->name, figure->operations);
	if (of->target)
		printf("# stat %s.target %u instructions\n", of->name, of->target);
}

/* Without the arena's watch, which no shipped host has. */
static void run_benchmarks(uint64_t mebibytes)
{
	const struct ram_range ram = { hpa(0), hpa(mebibytes << 20) };
	struct host *host;

	arena_clear(&ram, 1);
	check(host_create(&ram, 1, &host) == STATUS_OK);
	bench_run(host, &meter, report);
	if (mebibytes <= 64)
		host_verify(host);
	fflush(stdout);
}

int main(int count, char **arguments)
{
	uint64_t mebibytes = count == 2 ? strtoull(arguments[1], NULL, 10) : 0;

	if (mebibytes < 64 || mebibytes > 65536) {
		fprintf(stderr, "usage: step MIB, 64 to 65536\n");
		return 2;
	}

	const struct sigaction action = { .sa_sigaction = on_trap, .sa_flags = SA_SIGINFO };

	check(!sigaction(SIGTRAP, &action, NULL));
	run_benchmarks(mebibytes);
	return 0;
}
