/*
 * A guest on the machine's own processor: the payload touches what it is told to. Its own memory,
 * region 0, is there before anything is counted, and nobody takes it away.
 */
#include "tests/bench/guest.h"
#include "tests/bench/payload.h"

enum { MEM_MIB = MACHINE_FLAT_MIN };

static struct machine *machine;

static bool open(struct host *host, enum ept_policy policy, struct guest *out)
{
	machine = payload_open(host, policy, MEM_MIB, LEVEL_2M);
	if (!machine)
		return false;
	*out = (struct guest){ machine_space(machine), machine_ept(machine) };
	/* The workload brings its own. */
	check(ept_region_remove(out->ept, gpa_to_gfn(GUEST_BASE)) == STATUS_OK);
	return true;
}

static void touch(uint64_t first, uint64_t pages, enum access access)
{
	const struct payload_command command = {
		access == ACCESS_WRITE ? ABI_COMMAND_WRITE : ABI_COMMAND_READ,
		GUEST_BASE.raw + first * PAGE_SIZE, pages, PAGE_SIZE, first,
	};

	check(payload_do(machine, &command, NULL));
}

/* Bochs forgets at each exit; elsewhere it is the processor's affair. */
static void forget(void) { }

static void close(void) { machine_destroy(machine); }

const struct guest_kind guest_vmx = { open, touch, forget, close };
