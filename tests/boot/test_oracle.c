/*
 * The content oracle on soft CPUs (tests/host/oracle.h), by the machine's own CPUs: where they run
 * in parallel, so do the vCPUs, the host's task and the harvester. What the real processor does
 * under such a log is tested by log/... (test_log.c).
 */
#include "boot/boot.h"
#include "ept/log.h"
#include "mm/base/list.h"
#include "tests/host/oracle.h"
#include "tests/tap.h"

static struct oracle_memory memory;
static struct oracle oracle;
static struct task writer_tasks[ORACLE_WRITERS], host_task;

static enum task_result write_step(struct task *task)
{
	struct oracle_writer *writer = &oracle.writers[task - writer_tasks];

	if (!oracle_write(writer))
		return TASK_DONE;
	return atomic_read(&writer->parked) ? TASK_IDLE : TASK_AGAIN;
}

static enum task_result host_step(struct task *task)
{
	(void)task;
	return oracle_host(&oracle, tsc_now()) ? TASK_AGAIN : TASK_DONE;
}

static void run_tasks(unsigned writers)
{
	host_task = (struct task){ .name = "host", .step = host_step, .home = TASK_ANYWHERE };
	task_start(&host_task);
	for (unsigned i = 0; i < ORACLE_CPUS; i++)
		oracle.cpus[i].soft.polls = true;
	for (unsigned i = 0; i < writers; i++) {
		unsigned cpus = cpu_count() < ORACLE_CPUS ? cpu_count() : ORACLE_CPUS;

		writer_tasks[i] = (struct task){ .name = "writer", .step = write_step,
						 .home = (int)(i % cpus) };
		task_start(&writer_tasks[i]);
	}
	while (oracle_harvest(&oracle))
		task_turn(100);
	task_wait(&host_task);
	for (unsigned i = 0; i < writers; i++)
		task_wait(&writer_tasks[i]);
}

static void play(const struct oracle_plan *plan)
{
	if (!expect_equal(oracle_open(&oracle, &memory, plan), STATUS_OK))
		return;
	run_tasks(plan->writers);
	print("# policy %u, log %u, level %u, %u vCPUs: %llu harvests, %llu pages, %llu acts\n",
	      plan->policy, plan->log.kind, memory.level, plan->writers,
	      (unsigned long long)oracle.harvests, (unsigned long long)oracle.reported,
	      (unsigned long long)atomic_read(&oracle.acts));
	expect_equal(oracle.lost, 0);
	expect_equal(oracle.stale, 0);
	expect_equal(oracle_errors(&oracle), 0);
	oracle_close(&oracle);
}

static const struct kind { struct log_options log; bool flags; } kinds[] = {
	{ { .kind = LOG_WRITE_PROTECT }, true },
	{ { .kind = LOG_WRITE_PROTECT, .manual = true, .lazy = true }, false },
	{ { .kind = LOG_DIRTY_BIT }, true },
	{ { .kind = LOG_RING }, true },
	{ { .kind = LOG_RING_ONLY }, true },
	{ { .kind = LOG_PML }, true },
};

/* The number of vCPUs goes around, so that each policy and each kind meets each of them. */
static void each(unsigned level)
{
	struct host_stats before, after;

	if (boot_has_vmx()) {
		tap_skip("vCPUs are the processor's own here: log/...");
		return;
	}
	host_read_stats(boot_host(), &before);
	if (oracle_memory_open(&memory, boot_host(), level) != STATUS_OK) {
		tap_skip("this machine's memory is too small");
		return;
	}
	for (unsigned i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		for (enum ept_policy policy = 0; policy < EPT_POLICIES; policy++)
			play(&(struct oracle_plan){ .policy = policy, .log = kinds[i].log,
						    .accessed_dirty = kinds[i].flags,
						    .writers = 1u << (i + policy) % 3, .rounds = 1 });
	oracle_memory_close(&memory);
	host_read_stats(boot_host(), &after);
	expect_equal(after.pages_free, before.pages_free);
}

BOOT_TEST("oracle/4k", NEEDS_NOTHING) { each(LEVEL_4K); }

BOOT_TEST("oracle/2m", NEEDS_NOTHING) { each(LEVEL_2M); }

BOOT_TEST("oracle/1g", NEEDS_NOTHING) { each(LEVEL_1G); }
