/*
 * Hosted: the child runs the benchmarks, the parent counts its instructions by single steps. A breakpoint
 * before and one behind what is measured tell the parent where; it leaves the number in the child's
 * RAX. A REP instruction counts each of its iterations, as on Bochs.
 *
 *	step MIB	figures on a host of that much RAM: `# stat NAME VALUE UNIT` lines
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/reg.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/bench/bench.h"
#include "tests/host/arena.h"

/* ------------------------------------------------------------------ the child */

static uint64_t measure(void (*body)(struct host *host), struct host *host)
{
	uint64_t count;

	__asm__ volatile("int3" ::: "memory");
	body(host);
	__asm__ volatile("int3" : "=a"(count) :: "memory");
	return count;
}

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
	bench_run(host, measure, report);
	if (mebibytes <= 64)
		host_verify(host);
	fflush(stdout);
}

/* ------------------------------------------------------------------ the parent */

static _Noreturn void fail(const char *what)
{
	perror(what);
	exit(2);
}

static void resume(pid_t child, enum __ptrace_request request)
{
	if (ptrace(request, child, NULL, NULL))
		fail("step: the child can't be resumed");
}

/* Where the child has stopped; what is no stop ends this program. */
enum stop { AT_BREAKPOINT, AFTER_STEP };

static enum stop wait_for(pid_t child)
{
	siginfo_t why;
	int status;

	if (waitpid(child, &status, 0) != child)
		fail("step: waitpid");
	if (WIFEXITED(status))
		exit(WEXITSTATUS(status));
	if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGTRAP ||
	    ptrace(PTRACE_GETSIGINFO, child, NULL, &why)) {
		fprintf(stderr, "step: the child ended by signal %d\n",
			WIFSTOPPED(status) ? WSTOPSIG(status) : WTERMSIG(status));
		kill(child, SIGKILL);
		exit(2);
	}
	return why.si_code == SI_KERNEL ? AT_BREAKPOINT : AFTER_STEP;
}

static void answer(pid_t child, uint64_t count)
{
	if (ptrace(PTRACE_POKEUSER, child, RAX * sizeof(uint64_t), count))
		fail("step: the child's RAX");
}

static _Noreturn void count_steps(pid_t child)
{
	for (;;) {
		uint64_t count = 0;

		if (wait_for(child) == AT_BREAKPOINT) {
			resume(child, PTRACE_SINGLESTEP);
			for (; wait_for(child) == AFTER_STEP; count++)
				resume(child, PTRACE_SINGLESTEP);
			answer(child, count);
		}
		resume(child, PTRACE_CONT);
	}
}

int main(int count, char **arguments)
{
	uint64_t mebibytes = count == 2 ? strtoull(arguments[1], NULL, 10) : 0;

	if (mebibytes < 64 || mebibytes > 65536) {
		fprintf(stderr, "usage: step MIB, 64 to 65536\n");
		return 2;
	}
	pid_t child = fork();

	if (child < 0)
		fail("step: fork");
	if (child)
		count_steps(child);
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
		fail("step: no tracing here");
	run_benchmarks(mebibytes);
	return 0;
}
