/*
 * The content oracle (tests/host/oracle.h) by the machine's own CPUs: where they run in parallel,
 * so do the vCPUs, the host's task and the harvester. The vCPUs are the processor's own, or soft
 * CPUs where it has none: by each policy, kind of log and size of leaves.
 */
#include "boot/boot.h"
#include "ept/log.h"
#include "mm/base/list.h"
#include "tests/boot/oracle_vcpu.h"
#include "tests/tap.h"
#include "vmx/vmx.h"

static struct oracle_memory memory;
static struct oracle oracle;
static struct task writer_tasks[ORACLE_WRITERS], host_task;

static enum task_result write_step(struct task *task)
{
	struct oracle_writer *writer = &oracle.writers[task - writer_tasks];

	if (!oracle_write(writer))
		return TASK_DONE;
	return atomic_read(&writer->parked) || writer->on_its_way ? TASK_IDLE : TASK_AGAIN;
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

/*
 * What differs between machines is the processor, not the policies: one of them everywhere, and all
 * where there are four CPUs, or as much memory as few machines have.
 */
static bool is_wanted(unsigned level, enum ept_policy policy)
{
	return cpu_count() >= 4 || level == LEVEL_1G || policy == EPT_POLICY_MAP;
}

static void play(const struct oracle_plan *plan)
{
	enum status status = oracle_open(&oracle, &memory, plan);

	if (status == STATUS_UNSUPPORTED) {
		print("# log %u: not on this processor\n", plan->log.kind);
		return;
	}
	if (!expect_equal(status, STATUS_OK))
		return;
	run_tasks(plan->writers);
	print("# policy %u, log %u, level %u, %u vCPUs: %llu harvests, %llu pages, %llu of them "
	      "for nothing, %llu acts\n",
	      plan->policy, plan->log.kind, memory.level, plan->writers,
	      (unsigned long long)oracle.harvests, (unsigned long long)oracle.reported,
	      (unsigned long long)oracle.early, (unsigned long long)atomic_read(&oracle.acts));
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

/*
 * The number of vCPUs goes around, so that each policy and each kind meets each of them. A GiB in
 * 4 KiB leaves takes long to make and to verify: there one policy has it, and the others split
 * when a store comes.
 */
static void play_one(unsigned level, const struct oracle_hands *hands, const struct ept_caps *caps,
		     const struct kind *kind, enum ept_policy policy)
{
	bool flags = caps->accessed_dirty && kind->flags;
	struct oracle_plan plan = { .policy = policy, .log = kind->log, .hands = hands,
				    .caps = { .accessed_dirty = flags, .pml = caps->pml && flags },
				    .writers = 1u << (kind - kinds + policy) % 3, .rounds = 4 };

	plan.log.lazy |= level == LEVEL_1G && policy != EPT_POLICY_MAP;
	play(&plan);
}

static void each(unsigned level, const struct oracle_hands *hands, const struct ept_caps *caps)
{
	struct host_stats before, after;

	host_read_stats(boot_host(), &before);
	if (caps->max_level < level) {
		tap_skip("no leaves of that size");
		return;
	}
	if (oracle_memory_open(&memory, boot_host(), level) != STATUS_OK) {
		tap_skip("this machine's memory is too small");
		return;
	}
	for (unsigned i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		for (enum ept_policy policy = 0; policy < EPT_POLICIES; policy++)
			if (is_wanted(level, policy))
				play_one(level, hands, caps, &kinds[i], policy);
	oracle_memory_close(&memory);
	host_read_stats(boot_host(), &after);
	expect_equal(after.pages_free, before.pages_free);
}

static void by_soft_cpus(unsigned level)
{
	const struct ept_caps all = { .max_level = LEVEL_1G, .accessed_dirty = true, .pml = true };

	if (boot_has_vmx())
		tap_skip("vCPUs are the processor's own here: oracle_hw/...");
	else
		each(level, &oracle_soft_hands, &all);
}

BOOT_TEST("oracle/4k", NEEDS_NOTHING) { by_soft_cpus(LEVEL_4K); }

BOOT_TEST("oracle/2m", NEEDS_NOTHING) { by_soft_cpus(LEVEL_2M); }

BOOT_TEST("oracle/1g", NEEDS_NOTHING) { by_soft_cpus(LEVEL_1G); }

BOOT_TEST("oracle_hw/4k", NEEDS_VMX) { each(LEVEL_4K, &oracle_vcpu_hands, vmx_ept_caps()); }

BOOT_TEST("oracle_hw/2m", NEEDS_VMX) { each(LEVEL_2M, &oracle_vcpu_hands, vmx_ept_caps()); }

BOOT_TEST("oracle_hw/1g", NEEDS_VMX) { each(LEVEL_1G, &oracle_vcpu_hands, vmx_ept_caps()); }
