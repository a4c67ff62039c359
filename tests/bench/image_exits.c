/*
 * What an exit, a first touch, and a store to a page that a dirty log has write-protected cost, by
 * the payload, the loop's own instructions taken off: for CPUID as many as the built-in one has,
 * for stores what a pass costs that does not fault.
 */
#include "boot/boot.h"
#include "guest/abi.h"
#include "tests/bench/image.h"
#include "tests/bench/payload.h"

enum { LOOP_CPUID = 4 };		/* instructions, by guest/payload/bench.S */
enum { REGION0_MIB = ABI_FLAT_REGION0 >> 20, TEST_MIB = 64 };
enum { PAGES = TEST_MIB << (20 - PAGE_SHIFT), EXITS = 10000 };

static void report(const char *name, uint64_t ticks, uint64_t count, const char *of)
{
	uint64_t tenths = (ticks * 10 + count / 2) / count;

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

static bool measure(struct machine *machine)
{
	const struct payload_command exits = { ABI_COMMAND_CPUID, 0, EXITS, 0, 0 };
	const struct payload_command writes = { ABI_COMMAND_WRITE, ABI_FLAT_REGION1, PAGES,
						PAGE_SIZE, 1 };
	const struct log_options log = { .kind = LOG_WRITE_PROTECT };
	gfn_t start = gpa_to_gfn(gpa(ABI_FLAT_REGION1));
	uint64_t cpuid, first, loop, protected;

	if (!touch_host_pages(machine) || !payload_do(machine, &exits, &cpuid) ||
	    !payload_do(machine, &writes, &first) || !payload_do(machine, &writes, &loop))
		return false;
	/* Each page keeps its leaf, and loses W. */
	if (ept_log_enable(machine_ept(machine), start, &log) != STATUS_OK ||
	    !payload_do(machine, &writes, &protected))
		return false;
	report("cpuid_exit", cpuid - EXITS * LOOP_CPUID, EXITS, "exit");
	report("populate_4k", first - loop, PAGES, "page");
	report("wp_fault_fast", protected - loop, PAGES, "page");
	return true;
}

bool bench_exits(void)
{
	struct machine *machine = payload_open(boot_host(), EPT_POLICY_MAP, REGION0_MIB + TEST_MIB,
					       LEVEL_4K);
	bool measured = machine && measure(machine);

	if (machine)
		machine_destroy(machine);
	if (!measured)
		print("bench: no figures of exits\n");
	return measured;
}
