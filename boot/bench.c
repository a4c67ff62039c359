/*
 * The console's `bench`: what paths of the host cost (tests/bench), and what an exit, a first
 * touch, and a store to a page that a dirty log has write-protected do, by the flat benchmark
 * payload (guest/abi.h), the loop's own instructions taken off. On an emulator whose time stamp
 * counter counts instructions the figures are instructions; elsewhere they are ticks.
 */
#include "boot/boot.h"
#include "boot/console.h"
#include "guest/abi.h"
#include "guest/machine/machine.h"
#include "guest/machine/payload.h"
#include "tests/bench/image.h"

enum { LOOP_WRITE = 4, LOOP_CPUID = 4 };	/* instructions, by guest/payload/bench.S */
enum { REGION0_MIB = ABI_FLAT_REGION0 >> 20, TEST_MIB = 64 };
enum { PAGES = TEST_MIB << (20 - PAGE_SHIFT), EXITS = 10000 };

struct command { uint64_t command, base, count, stride, value; };

static void no_output(void *context, uint8_t byte)
{
	(void)context, (void)byte;
}

static int no_input(void *context)
{
	(void)context;
	return -1;
}

/* The payload runs from hand-over to hand-over. False: it ended in another way. */
static bool run(struct machine *machine)
{
	struct machine_status status;

	while (machine_run(machine, 0, tsc_hz()) != MACHINE_ENDED)
		;
	machine_read_status(machine, &status);
	return status.end == END_EXIT_PORT;
}

/* Ticks that the payload measured for one command; 0: it failed. */
static uint64_t time(struct machine *machine, const struct command *command)
{
	struct ept *ept = machine_ept(machine);
	uint64_t times[2];

	if (ept_write_guest(ept, gpa(ABI_FLAT_MAILBOX), command, sizeof(*command)) != STATUS_OK)
		return 0;
	machine_resume(machine);
	if (!run(machine) || ept_read_guest(ept, gpa(ABI_FLAT_MAILBOX + ABI_MAIL_TSC_START), times,
					    sizeof(times)) != STATUS_OK)
		return 0;
	return times[1] - times[0];
}

static void report(const char *name, uint64_t ticks, uint64_t count, uint64_t loop, const char *of)
{
	uint64_t tenths = (ticks * 10 + count / 2) / count - loop * 10;

	print("# stat %s %llu.%llu ticks/%s\n", name, (unsigned long long)tenths / 10,
	      (unsigned long long)tenths % 10, of);
	print("# stat %s.n %llu %ss\n", name, (unsigned long long)count, of);
}

/* The host has the page already: what is measured is lending it. */
static bool touch_host_pages(struct machine *machine)
{
	struct machine_memory memory;
	uint8_t byte = 0;

	if (!machine_memory(machine, 1, &memory))
		return false;
	for (uint64_t at = 0; at < memory.bytes; at += PAGE_SIZE)
		if (space_write(machine_space(machine), hva_add(memory.backing, at), &byte, 1)
		    != STATUS_OK)
			return false;
	return true;
}

static void measure(struct machine *machine)
{
	const struct command exits = { ABI_COMMAND_CPUID, 0, EXITS, 0, 0 };
	const struct command writes = { ABI_COMMAND_WRITE, ABI_FLAT_REGION1, PAGES, PAGE_SIZE, 1 };
	const struct log_options log = { .kind = LOG_WRITE_PROTECT };

	/* To the first hand-over: the mailbox is empty. */
	if (!run(machine) || !touch_host_pages(machine)) {
		print("bench: the payload did not start\n");
		return;
	}
	report("cpuid_exit", time(machine, &exits), EXITS, LOOP_CPUID, "exit");
	report("populate_4k", time(machine, &writes), PAGES, LOOP_WRITE, "page");
	/* Each page keeps its leaf, and loses W. */
	if (ept_log_enable(machine_ept(machine), gpa_to_gfn(gpa(ABI_FLAT_REGION1)), &log)
	    != STATUS_OK) {
		print("bench: no log of the guest's stores\n");
		return;
	}
	report("wp_fault_fast", time(machine, &writes), PAGES, LOOP_WRITE, "page");
}

static void bench_guest(void)
{
	struct machine_config config = {
		.name = "bench",
		.mem_mib = REGION0_MIB + TEST_MIB,
		.vcpus = 1,
		.max_level = LEVEL_4K,
		.console = { no_output, no_input, NULL },
		.load = { .command_line = "" },
	};
	char error[LOAD_ERROR_MAX];
	struct machine *machine;

	if (!boot_has_vmx()) {
		print("bench: no VMX here; the engines bochs and kvm have it\n");
		return;
	}
	config.load.image = *payload_find("bench");
	if (machine_create(boot_host(), &config, &machine, error) != STATUS_OK) {
		print("bench: %s\n", error);
		return;
	}
	measure(machine);
	machine_destroy(machine);
}

static void bench_command(char *arguments)
{
	(void)arguments;
	bench_host();
	bench_guest();
}

CONSOLE_COMMAND("bench", ": what the host's paths, an exit and a first touch cost, in TSC ticks",
		bench_command)
