/* See guest_run.h. Used by the tests of this folder; no state outside struct guest_run. */
#include "tests/boot/guest_run.h"

#include "boot/string.h"
#include "mm/base/list.h"

/* What a vCPU gets at a time, if the test has no other wish, and what a whole test may take. An
 * emulator's ticks are instructions. */
enum { SLICE_TICKS = 1000000, TURN_US = 1000, PROGRESS_SECONDS = 5 };
#define PATIENCE_TICKS UINT64_C(4000000000)

static void put(void *context, uint8_t byte)
{
	struct guest_run *run = context;

	if (run->used + 1 < sizeof(run->output))
		run->output[run->used++] = (char)byte;
}

static int get(void *context)
{
	struct guest_run *run = context;

	return run->input && *run->input ? *run->input++ : -1;
}

void guest_prepare(struct guest_run *run, const char *payload, uint64_t mem_mib, unsigned vcpus)
{
	const struct load_file *file = payload_find(payload);

	memset(run, 0, sizeof(*run));
	run->slice = SLICE_TICKS;
	run->config = (struct machine_config){
		.name = payload,
		.mem_mib = mem_mib,
		.vcpus = vcpus,
		.max_level = LEVEL_4K,
		.console = { put, get, run },
		.load.command_line = "",
	};
	if (file)
		run->config.load.image = *file;
}

bool guest_create(struct guest_run *run)
{
	enum status status = machine_create(boot_host(), &run->config, &run->machine, run->error);

	if (status != STATUS_OK)
		print("# %s\n", run->error);
	return expect_equal(status, STATUS_OK);
}

static enum task_result step(struct task *task)
{
	struct guest_cpu *cpu = container_of(task, struct guest_cpu, task);
	enum machine_result result = machine_run(cpu->run->machine, cpu->number, cpu->run->slice);

	if (tsc_now() > cpu->run->deadline)
		machine_kill(cpu->run->machine, "the test's time is over");
	if (result == MACHINE_ENDED)
		return TASK_DONE;
	return result == MACHINE_IDLE ? TASK_IDLE : TASK_AGAIN;
}

void guest_start(struct guest_run *run)
{
	uint64_t patience = tsc_hz() * 60;

	run->deadline = tsc_now() + (patience > PATIENCE_TICKS ? patience : PATIENCE_TICKS);
	for (unsigned i = 0; i < machine_vcpus(run->machine); i++) {
		struct guest_cpu *cpu = &run->cpu[i];

		cpu->run = run;
		cpu->number = i;
		cpu->task = (struct task){ .name = "vcpu", .step = step, .home = TASK_ANYWHERE };
		task_start(&cpu->task);
	}
}

/* Now and then a line says that it goes on: a long test is not a silent one. */
static void wait_aloud(const struct guest_run *run, struct task *task)
{
	uint64_t next = tsc_now() + PROGRESS_SECONDS * tsc_hz();

	while (!atomic_read(&task->done)) {
		task_turn(TURN_US);
		if (tsc_now() < next)
			continue;
		print("# %s runs\n", run->config.name);
		next = tsc_now() + PROGRESS_SECONDS * tsc_hz();
	}
}

void guest_wait(struct guest_run *run)
{
	for (unsigned i = 0; i < machine_vcpus(run->machine); i++)
		wait_aloud(run, &run->cpu[i].task);
	machine_read_status(run->machine, &run->status);
	run->output[run->used] = '\0';
}

void guest_destroy(struct guest_run *run)
{
	machine_destroy(run->machine);
}

/* The guest's lines as comments, for whoever reads the log of a failed test. */
static void print_output(const struct guest_run *run)
{
	print("# %s: %s\n", run->config.name, run->status.why);
	for (const char *line = run->output; *line;) {
		unsigned length = 0;

		while (line[length] && line[length] != '\n')
			length++;
		print("# | %.*s\n", (int)length, line);
		line += length + (line[length] == '\n');
	}
}

void guest_to_its_end(struct guest_run *run)
{
	if (!guest_create(run))
		return;
	guest_start(run);
	guest_wait(run);
	print_output(run);
	guest_destroy(run);
}

static bool starts_with(const char *at, const char *text)
{
	while (*text && *at == *text) {
		at++;
		text++;
	}
	return !*text;
}

static bool occurs(const char *in, const char *text)
{
	for (; *in; in++)
		if (starts_with(in, text))
			return true;
	return false;
}

bool guest_said(const struct guest_run *run, const char *text)
{
	return occurs(run->output, text);
}

bool guest_why(const struct guest_run *run, const char *text)
{
	return occurs(run->status.why, text);
}
