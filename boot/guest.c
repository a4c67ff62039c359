/*
 * The console's `guest` command: makes a machine, runs its vCPUs as tasks, lets the host harass
 * it, passes its serial port on, and sums up. One guest at a time; it blocks the console, but for
 * the escape key.
 */
#include "boot/boot.h"
#include "boot/console.h"
#include "boot/guest_options.h"
#include "boot/harass.h"
#include "boot/harvest.h"
#include "boot/string.h"
#include "guest/machine/machine.h"
#include "mm/base/list.h"

enum { ESCAPE = 0x1d };			/* Ctrl-], as in telnet: ends the guest */
enum { TYPED_MAX = 256, LINE_MAX = 200 };
enum { STATUS_LOST = 2 };		/* nothing ran */
enum { SLICES_PER_SECOND = 100, HARVESTS_PER_SECOND = 5, RING_ENTRIES = 1024 };

struct vcpu_task {
	struct task task;
	struct run *run;
	unsigned vcpu;
};

struct run {
	struct machine *machine;
	bool raw;
	struct vcpu_task vcpus[MACHINE_VCPUS_MAX];
	struct task keyboard;
	atomic32_t over;
	/* Typed bytes on their way to the guest: the keyboard task fills, its UART empties. */
	uint8_t typed[TYPED_MAX];
	atomic32_t typed_in, typed_out;
	char line[LINE_MAX];		/* the guest's unfinished line, unless raw */
	unsigned line_length;
};

/* ------------------------------------------------------------------ the guest's serial port */

static void flush_line(struct run *run)
{
	if (run->line_length)
		print("guest| %.*s\n", (int)run->line_length, run->line);
	run->line_length = 0;
}

static void put(void *context, uint8_t byte)
{
	struct run *run = context;

	if (run->raw) {
		serial_put(byte);
		return;
	}
	if (byte == '\n' || run->line_length == LINE_MAX)
		flush_line(run);
	if (byte != '\n' && byte != '\r')
		run->line[run->line_length++] = (char)(byte < ' ' || byte > '~' ? '.' : byte);
}

static int get(void *context)
{
	struct run *run = context;
	uint32_t out = atomic_read(&run->typed_out);

	if (out == atomic_read(&run->typed_in))
		return -1;

	uint8_t byte = run->typed[out % TYPED_MAX];

	atomic_write(&run->typed_out, out + 1);
	return byte;
}

static enum task_result keyboard_step(struct task *task)
{
	struct run *run = container_of(task, struct run, keyboard);
	uint32_t in = atomic_read(&run->typed_in);

	if (atomic_read(&run->over))
		return TASK_DONE;

	int byte = serial_get();

	if (byte < 0)
		return TASK_IDLE;
	if (byte == ESCAPE) {
		machine_kill(run->machine, "ended from the console");
		return TASK_DONE;
	}
	/* What a guest leaves unread is lost: the escape key must not have to wait behind it. */
	if (in - atomic_read(&run->typed_out) < TYPED_MAX) {
		run->typed[in % TYPED_MAX] = (uint8_t)byte;
		atomic_write(&run->typed_in, in + 1);
	}
	return TASK_AGAIN;
}

/* ------------------------------------------------------------------ running it */

static enum task_result vcpu_step(struct task *task)
{
	struct vcpu_task *self = container_of(task, struct vcpu_task, task);

	switch (machine_run(self->run->machine, self->vcpu, tsc_hz() / SLICES_PER_SECOND)) {
	case MACHINE_YIELD: return TASK_AGAIN;
	case MACHINE_IDLE: return TASK_IDLE;
	case MACHINE_ENDED: break;
	}
	return TASK_DONE;
}

static void run_tasks(struct run *run, const struct guest_options *options, struct harass *harass,
		      struct harvest *harvest)
{
	struct machine_memory memory;

	for (unsigned i = 0; machine_memory(run->machine, i, &memory); i++)
		harass_add_area(harass, memory.backing, memory.bytes);
	if (options->harass)
		harass_start(harass, machine_space(run->machine), (int)cpu_count() - 1,
			     options->harass, 1);
	run->keyboard = (struct task){ .name = "keyboard", .step = keyboard_step, .home = 0 };
	task_start(&run->keyboard);
	for (unsigned i = 0; i < options->vcpus; i++) {
		run->vcpus[i] = (struct vcpu_task){
			.task = { .name = "vcpu", .step = vcpu_step, .home = TASK_ANYWHERE },
			.run = run,
			.vcpu = i,
		};
		task_start(&run->vcpus[i].task);
	}
	for (unsigned i = 0; i < options->vcpus; i++)
		task_wait(&run->vcpus[i].task);
	atomic_write(&run->over, 1);
	task_wait(&run->keyboard);
	if (options->harass)
		harass_stop(harass);
	if (options->logged)
		harvest_stop(harvest);
}

/* ------------------------------------------------------------------ summing up */

/* What a person would rather look at: the exits, most frequent first, as bars. */
static void print_exit_bars(struct machine *machine)
{
	enum { BAR = 50 };
	static const char full[BAR + 1] = "##################################################";
	uint64_t exits[EXIT_KINDS] = { 0 }, most = 0;

	for (unsigned kind = 0; kind < EXIT_KINDS; kind++)
		exits[kind] = machine_exits(machine, (enum exit_kind)kind);
	for (;;) {
		unsigned top = 0;

		for (unsigned kind = 1; kind < EXIT_KINDS; kind++)
			top = exits[kind] > exits[top] ? kind : top;
		if (!exits[top])
			return;
		most = most ? most : exits[top];
		print("  %-18s %9llu %.*s\n", exit_kind_name((enum exit_kind)top),
		      (unsigned long long)exits[top], (int)(1 + exits[top] * (BAR - 1) / most),
		      full);
		exits[top] = 0;
	}
}

static void print_ept_stats(struct machine *machine)
{
	static const char *const kind[] = { "read", "write", "fetch" };
	static const char *const level[] = { "4k", "2m", "1g" };
	struct ept_stats stats;

	ept_read_stats(machine_ept(machine), &stats);
	for (unsigned i = 0; i < 3; i++)
		print("# stat ept_faults_%s %llu faults\n", kind[i],
		      (unsigned long long)stats.faults[i]);
	for (unsigned i = 0; i < 3; i++)
		print("# stat folios_lent_%s %llu leaves\n", level[i],
		      (unsigned long long)stats.mapped[i]);
	for (unsigned i = 0; i < 3; i++)
		print("# stat folios_taken_back_%s %llu leaves\n", level[i],
		      (unsigned long long)stats.zapped[i]);
	print("# stat ept_fast %llu faults\n", (unsigned long long)stats.fast);
	print("# stat ept_spurious %llu faults\n", (unsigned long long)stats.spurious);
	print("# stat ept_retries %llu faults\n", (unsigned long long)stats.retries);
	print("# stat invalidations %llu brackets\n", (unsigned long long)stats.invalidations);
	print("# stat flushes %llu shootdowns\n", (unsigned long long)stats.flushes);
	print("# stat kicks %llu CPUs\n", (unsigned long long)stats.kicks);
	print("# stat invepts %llu invalidations\n", (unsigned long long)stats.invepts);
}

static void sum_up(struct run *run, const struct guest_options *options,
		   const struct harass *harass, const struct harvest *harvest)
{
	struct machine_status status;

	machine_read_status(run->machine, &status);
	/* Plain letters, and below whatever the guest has drawn: ECMA-48 SGR and CUP. */
	if (run->raw)
		print("\033[m\033[999;1H\n");
	print("guest: %s ended: %s\n", options->name, status.why);
	print_exit_bars(run->machine);
	machine_print_stats(run->machine);
	print_ept_stats(run->machine);
	if (options->harass) {
		print("# stat host_ranges_taken %llu ranges\n", (unsigned long long)harass->ranges);
		print("# stat host_pages_invalidated %llu pages\n",
		      (unsigned long long)harass->invalidated);
		print("# stat host_pages_migrated %llu pages\n",
		      (unsigned long long)harass->migrated);
	}
	if (options->logged) {
		print("# stat log_harvests %llu harvests\n", (unsigned long long)harvest->harvests);
		print("# stat log_pages %llu pages\n", (unsigned long long)harvest->pages);
		print("# stat log_pages_at_most %llu pages\n", (unsigned long long)harvest->most);
	}
	print("# stat guest_exit_status %d status\n", machine_exit_status(&status));
}

static void guest_command(char *arguments)
{
	/* One guest at a time: the console is the only caller, and waits. */
	static struct run run;
	static struct harass harass;
	static struct harvest harvest;
	struct guest_options options;
	static struct machine_config config;
	char error[LOAD_ERROR_MAX];

	if (!boot_has_vmx()) {
		print("guest: no VMX here; the engines bochs and kvm have it\n");
		goto lost;
	}
	if (!guest_options_parse(&options, arguments))
		goto lost;
	config = (struct machine_config){
		.name = options.name,
		.mem_mib = options.mem_mib,
		.vcpus = (unsigned)options.vcpus,
		.max_level = (unsigned)options.level,
		.policy = options.policy,
		.ring_entries = options.logged && options.log == LOG_RING ? RING_ENTRIES : 0,
		.unix_time = 946684800,		/* 2000-01-01, so that runs repeat */
		.console = { put, get, &run },
		.load = { .command_line = options.command_line },
	};
	if (!guest_find_image(options.name, &config.load.image))
		goto lost;
	if (options.initrd.bytes)
		config.load.modules[config.load.module_count++] = options.initrd;
	run = (struct run){ .raw = options.raw };
	harass = (struct harass){ 0 };
	if (machine_create(boot_host(), &config, &run.machine, error) != STATUS_OK) {
		print("guest: %s: %s\n", options.name, error);
		goto lost;
	}
	if (options.logged && harvest_start(&harvest, run.machine, options.log,
					    HARVESTS_PER_SECOND) != STATUS_OK) {
		print("guest: log: this CPU has no such bits, or the host no memory for it\n");
		machine_destroy(run.machine);
		goto lost;
	}
	run_tasks(&run, &options, &harass, &harvest);
	flush_line(&run);
	sum_up(&run, &options, &harass, &harvest);
	machine_destroy(run.machine);
	return;
lost:
	print("# stat guest_exit_status %d status\n", STATUS_LOST);
}

CONSOLE_COMMAND("guest", "NAME [mem=MiB] [vcpus=N] [level=1..3] [harass=RANGES_PER_SECOND] "
		"[policy=zap|rfc|map|pte|batch] [log=off|wp|dbit|pml|ring] [initrd=NAME] "
		"[console=raw|prefix] [cmdline=...]: run a guest image",
		guest_command)
