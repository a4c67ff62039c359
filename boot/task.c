/*
 * Cooperative tasks: one queue for all CPUs, under one lock. A CPU takes the first task that may
 * run on it, does a step, and puts it back at the end; with none ready it sleeps until an IPI, or
 * until the first resting task is due. Nothing spins: an idle CPU that spins steals the emulator's
 * time.
 *
 * A CPU that finds nothing says that it is idle in the same critical section, so whoever adds a
 * task afterwards sees it and sends the IPI, and an IPI that comes before the HLT ends it at once.
 */
#include "boot/boot.h"
#include "boot/cpu.h"
#include "boot/parts.h"
#include "mm/base/lock.h"

enum { REST_US = 1000, STINT_STEPS = 8, FOR_EVER_US = 0, WAIT_US = 10000 };
enum { NOBODY = MAX_CPUS };

static spinlock_t queue_lock;
static struct task *queue GUARDED_BY(queue_lock);

static struct task **queue_end(void) HOLDS(queue_lock)
{
	struct task **end = &queue;

	while (*end)
		end = &(*end)->next;
	return end;
}

static bool may_run(const struct task *task, unsigned cpu)
{
	return task->home == TASK_ANYWHERE || task->home == (int)cpu;
}

/* A sleeper that may run the task; it counts as awake from now on. */
static unsigned claim_idle_cpu(const struct task *task) HOLDS(queue_lock)
{
	for (unsigned i = 0; i < cpu_count(); i++)
		if (cpus[i].idle && may_run(task, i)) {
			cpus[i].idle = false;
			return i;
		}
	return NOBODY;
}

static void wake(unsigned cpu)
{
	if (cpu != NOBODY)
		task_wake(cpu);
}

void task_start(struct task *task)
{
	unsigned sleeper;

	check(task->home == TASK_ANYWHERE || (unsigned)task->home < cpu_count());
	atomic_write(&task->done, 0);
	task->next = NULL;
	task->not_before = 0;
	task->stint = 0;
	spin_lock(&queue_lock);
	*queue_end() = task;
	sleeper = claim_idle_cpu(task);
	spin_unlock(&queue_lock);
	wake(sleeper);
}

/* The first task ready for this CPU; else NULL, the CPU is idle, *due says when to look again. */
static struct task *take(struct cpu *cpu, uint64_t *due)
{
	uint64_t now = tsc_now();

	*due = UINT64_MAX;
	spin_lock(&queue_lock);
	cpu->idle = false;
	for (struct task **at = &queue; *at; at = &(*at)->next) {
		struct task *task = *at;

		if (!may_run(task, cpu->number))
			continue;
		if (task->not_before <= now || (!task->stint && task->cpu != cpu->number)) {
			*at = task->next;
			spin_unlock(&queue_lock);
			return task;
		}
		if (task->not_before < *due)
			*due = task->not_before;
	}
	cpu->idle = true;
	spin_unlock(&queue_lock);
	return NULL;
}

/*
 * Back into the queue. A task without a home that stays on one CPU while another sleeps is
 * handed on from time to time: the sleeper is woken, and for this CPU alone the task rests.
 */
static void put_back(struct task *task, struct cpu *cpu, enum task_result result)
{
	uint64_t rest = tsc_hz() * REST_US / 1000000;
	unsigned sleeper = NOBODY;

	task->stint = task->cpu == cpu->number ? task->stint + 1 : 1;
	task->cpu = cpu->number;
	task->next = NULL;
	task->not_before = result == TASK_IDLE ? tsc_now() + rest : 0;
	spin_lock(&queue_lock);
	*queue_end() = task;
	if (!may_run(task, cpu->number) || (result == TASK_AGAIN && task->stint >= STINT_STEPS))
		sleeper = claim_idle_cpu(task);
	if (sleeper != NOBODY && may_run(task, cpu->number)) {
		task->stint = 0;
		task->not_before = tsc_now() + rest;
	}
	spin_unlock(&queue_lock);
	wake(sleeper);
}

static void run_step(struct task *task, struct cpu *cpu)
{
	enum task_result result = task->step(task);

	if (result != TASK_DONE) {
		put_back(task, cpu, result);
		return;
	}
	/* From here on the task is its owner's again. */
	atomic_write(&task->done, 1);
	spin_lock(&queue_lock);
	for (unsigned i = 0; i < cpu_count(); i++)
		if (cpus[i].idle && i != cpu->number)
			task_wake(i);
	spin_unlock(&queue_lock);
}

void task_turn(uint64_t microseconds)
{
	struct cpu *cpu = this_cpu();
	uint64_t due, now, most;
	struct task *task;

	panic_stop_here();
	smp_serve_calls();
	task = take(cpu, &due);
	if (task) {
		run_step(task, cpu);
		return;
	}
	now = tsc_now();
	most = due == UINT64_MAX ? FOR_EVER_US
	       : due <= now ? 1 : (due - now) * 1000000 / tsc_hz() + 1;
	if (microseconds && (most == FOR_EVER_US || most > microseconds))
		most = microseconds;
	cpu_sleep(most);
}

void task_wait(struct task *task)
{
	while (!atomic_read(&task->done))
		task_turn(WAIT_US);
}

_Noreturn void task_loop(void)
{
	for (;;)
		task_turn(FOR_EVER_US);
}
