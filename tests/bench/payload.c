/* A command is written before the payload goes on: even the first one finds something to do. */
#include "boot/boot.h"
#include "guest/abi.h"
#include "guest/machine/payload.h"
#include "tests/bench/payload.h"

/* Longer than anything here takes, by far: a payload that loops for ever is found out. */
#define TICKS_LEAST	UINT64_C(1000000000)
#define TICKS_EACH	UINT64_C(100000)

static const struct load_file *image;

void payload_use(const struct load_file *file) { image = file; }

static void no_output(void *context, uint8_t byte)
{
	(void)context, (void)byte;
}

static int no_input(void *context)
{
	(void)context;
	return -1;
}

/* From here to the next hand-over. */
static bool run(struct machine *machine, uint64_t most)
{
	uint64_t start = tsc_now();
	struct machine_status status;

	while (machine_run(machine, 0, tsc_hz() / 4) != MACHINE_ENDED) {
		if (tsc_now() - start < most)
			continue;
		print("bench: the payload does not hand over\n");
		return false;
	}
	machine_read_status(machine, &status);
	if (status.end != END_EXIT_PORT)
		print("bench: the payload ended: %s\n", status.why);
	return status.end == END_EXIT_PORT;
}

static bool ask(struct machine *machine, const struct payload_command *command)
{
	return ept_write_guest(machine_ept(machine), gpa(ABI_FLAT_MAILBOX), command,
			       sizeof(*command)) == STATUS_OK;
}

static bool answer(struct machine *machine, const struct payload_command *command)
{
	return run(machine, TICKS_LEAST + command->count * TICKS_EACH);
}

bool payload_do(struct machine *machine, const struct payload_command *command, uint64_t *ticks)
{
	struct ept *ept = machine_ept(machine);
	uint64_t times[2];

	if (!ask(machine, command))
		return false;
	machine_resume(machine);
	if (!answer(machine, command) ||
	    ept_read_guest(ept, gpa(ABI_FLAT_MAILBOX + ABI_MAIL_TSC_START), times, sizeof(times)) !=
		    STATUS_OK)
		return false;
	if (ticks)
		*ticks = times[1] - times[0];
	return true;
}

struct machine *payload_open(struct host *host, enum ept_policy policy, uint64_t mem_mib,
			     unsigned max_level)
{
	const struct payload_command loop = { ABI_COMMAND_LOOP, 0, 1, 0, 0 };
	struct machine_config config = {
		.name = "bench",
		.mem_mib = mem_mib,
		.vcpus = 1,
		.max_level = max_level,
		.policy = policy,
		.console = { no_output, no_input, NULL },
		.load = { .image = image ? *image : *payload_find("bench"), .command_line = "" },
	};
	char error[LOAD_ERROR_MAX];
	struct machine *machine;

	if (machine_create(host, &config, &machine, error) != STATUS_OK) {
		print("bench: %s\n", error);
		return NULL;
	}
	if (ask(machine, &loop) && answer(machine, &loop))
		return machine;
	machine_destroy(machine);
	return NULL;
}
