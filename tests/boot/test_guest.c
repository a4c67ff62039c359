/*
 * Guests, whole: each payload runs and ends as guest/abi.h and the machine's header say, whatever
 * it does the hypervisor goes on, and a VM that is gone has left no page behind.
 */
#include "tests/boot/guest_run.h"

#include "boot/string.h"
#include "ept/walk.h"
#include "guest/abi.h"
#include "vmx/vmx.h"

static struct guest_run one, two;

static uint64_t free_pages(void)
{
	struct host_stats stats;

	host_read_stats(boot_host(), &stats);
	return stats.pages_free;
}

static void run_payload(const char *payload, uint64_t mem_mib, unsigned vcpus)
{
	uint64_t before = free_pages();

	guest_prepare(&one, payload, mem_mib, vcpus);
	guest_to_its_end(&one);
	expect_equal(free_pages(), before);
}

/* ------------------------------------------------------------------ payloads that end well */

BOOT_TEST("guest/demo", NEEDS_VMX)
{
	run_payload("demo", 16, 1);
	expect_equal(one.status.end, END_EXIT_PORT);
	expect_equal(one.status.code, 1);
	expect(guest_said(&one, "demo: 3584 pages at 0x40000000, 1 CPU\n"));
	expect(guest_said(&one, "demo: pass 4 of 4, errors 0\ndemo: all well\n"));
}

BOOT_TEST("guest/demo_four_vcpus", NEEDS_VMX)
{
	run_payload("demo", 8, 4);
	expect_equal(one.status.code, 1);
	expect(guest_said(&one, "4 CPUs\n"));
	expect(guest_said(&one, "errors 0\ndemo: all well\n"));
}

/* Large leaves where the host has large folios. */
BOOT_TEST("guest/demo_2m", NEEDS_VMX)
{
	struct ept_stats stats;
	uint64_t before = free_pages();

	guest_prepare(&one, "demo", 16, 1);
	one.config.max_level = LEVEL_2M;
	if (!guest_create(&one))
		return;
	guest_start(&one);
	guest_wait(&one);
	ept_read_stats(machine_ept(one.machine), &stats);
	guest_destroy(&one);
	expect_equal(one.status.code, 1);
	expect(stats.mapped[1] > 0);
	expect(stats.mapped[0] < 512);
	expect_equal(free_pages(), before);
}

/* Each page is the host's before the guest comes. */
static void fill_memory(void)
{
	struct machine_memory part;

	for (unsigned i = 0; machine_memory(one.machine, i, &part); i++)
		for (uint64_t at = 0; at < part.bytes; at += PAGE_SIZE) {
			hva_t where = hva_add(part.backing, at);
			uint64_t word;

			expect_equal(space_read(machine_space(one.machine), where, &word, 8),
				     STATUS_OK);
			expect_equal(space_write(machine_space(one.machine), where, &word, 8),
				     STATUS_OK);
		}
}

/*
 * S5: the processor sets A, if it has it, in leaves that no fault asked for: that counts the used.
 */
BOOT_TEST("guest/s5_demo_with_neighbours", NEEDS_VMX)
{
	struct machine_memory part;
	struct ept_stats stats;
	uint64_t before = free_pages();

	guest_prepare(&one, "demo", 16, 1);
	one.config.prefetch = 8;
	if (!guest_create(&one))
		return;
	fill_memory();
	guest_start(&one);
	guest_wait(&one);
	expect_equal(one.status.code, 1);
	ept_verify(machine_ept(one.machine));
	expect(machine_memory(one.machine, 1, &part));
	expect_equal(space_invalidate(machine_space(one.machine), part.backing, part.bytes),
		     STATUS_OK);
	ept_read_stats(machine_ept(one.machine), &stats);
	print("# faults %llu, %llu, %llu; prefetched %llu, used %llu\n",
	      (unsigned long long)stats.faults[0], (unsigned long long)stats.faults[1],
	      (unsigned long long)stats.faults[2], (unsigned long long)stats.prefetched,
	      (unsigned long long)stats.prefetch_used);
	/* All of its 3584 pages are touched, by a fault for each block and no more. */
	expect(stats.prefetched > 3584 / 8 * 7 - 8 && stats.prefetch_used > 3584 / 8 * 7 - 8);
	expect(stats.prefetch_used <= stats.prefetched);
	if (vmx_ept_caps()->accessed_dirty)
		expect(stats.faults[0] + stats.faults[1] + stats.faults[2] < 3584 / 8 + 64);
	guest_destroy(&one);
	expect_equal(free_pages(), before);
}

BOOT_TEST("guest/devices", NEEDS_VMX)
{
	run_payload("devices", 4, 1);
	expect_equal(one.status.end, END_EXIT_PORT);
	expect_equal(one.status.code, 1);
	expect(guest_said(&one, "devices: printed by REP OUTSB\ndevices: all work\n"));
}

BOOT_TEST("guest/msrs", NEEDS_VMX)
{
	run_payload("msrs", 4, 1);
	expect_equal(one.status.end, END_EXIT_PORT);
	expect_equal(one.status.code, 1);
}

BOOT_TEST("guest/ports", NEEDS_VMX)
{
	struct machine_unclaimed unclaimed;
	uint64_t before = free_pages();

	guest_prepare(&one, "ports", 4, 1);
	if (!guest_create(&one))
		return;
	guest_start(&one);
	guest_wait(&one);
	machine_read_unclaimed(one.machine, &unclaimed);
	guest_destroy(&one);
	expect_equal(one.status.end, END_EXIT_PORT);
	expect_equal(one.status.code, 1);
	expect(unclaimed.port_reads > 3 * 65000 && unclaimed.port_reads < 3 * 65536);
	expect_equal(unclaimed.port_writes, unclaimed.port_reads);
	expect_equal(free_pages(), before);
}

BOOT_TEST("guest/multiboot", NEEDS_VMX)
{
	static const char text[] = "a module";

	guest_prepare(&one, "hello", 8, 1);
	one.config.load.command_line = "one two";
	one.config.load.modules[0] = (struct load_file){ "notes", text, sizeof(text) };
	one.config.load.module_count = 1;
	guest_to_its_end(&one);
	expect_equal(one.status.end, END_EXIT_PORT);
	expect_equal(one.status.code, 1);
	expect(guest_said(&one, "hello: command line: one two\n"));
	expect(guest_said(&one, "hello: module notes\n"));
	expect(guest_said(&one, "hello: memory 0x100000 bytes 0x700000\n"));
	expect(guest_said(&one, "hello: memory is good\n"));
}

/* ------------------------------------------------------------------ payloads that do not */

BOOT_TEST("guest/triple_fault", NEEDS_VMX)
{
	run_payload("triple", 4, 1);
	expect_equal(one.status.end, END_TRIPLE_FAULT);
	expect_equal(machine_exit_status(&one.status), 2);
}

BOOT_TEST("guest/jump_into_nothing", NEEDS_VMX)
{
	run_payload("nowhere", 4, 1);
	expect_equal(one.status.end, END_KILLED);
	expect(guest_why(&one, "fetch from GPA 0x20000000 where nothing is, RIP 0x20000000"));
}

/* U26: where another vCPU found nothing, this one leaves by a misconfiguration, to the same end. */
BOOT_TEST("guest/jump_into_known_nothing", NEEDS_VMX)
{
	guest_prepare(&one, "nowhere", 4, 1);
	if (!guest_create(&one))
		return;
	expect_equal(ept_fault(machine_ept(one.machine), gpa(0), ACCESS_READ, ACCESS_NONE),
		     FAULT_FIXED);
	expect_equal(ept_fault(machine_ept(one.machine), gpa(0x20000000), ACCESS_READ, ACCESS_NONE),
		     FAULT_NO_REGION);
	guest_start(&one);
	guest_wait(&one);
	expect_equal(one.status.end, END_KILLED);
	expect(guest_why(&one, "access to GPA 0x20000000 where nothing is, RIP 0x20000000"));
	expect_equal(machine_exits(one.machine, EXIT_EPT_MISCONFIGURATION), 1);
	guest_destroy(&one);
}

/* A leaf that is there may be written and executed, and not read. */
static void take_read(struct ept *ept, gfn_t frame)
{
	struct ept_walk walk = ept_walk_begin(ept, frame, 1);

	while (ept_walk_next(&walk))
		if (spte_is_leaf(walk.old))
			slot_and_not(walk.slot, SPTE_R);
}

/* And an entry that is wrong is not taken for one where nothing is. */
BOOT_TEST("guest/wrong_ept_entry", NEEDS_VMX)
{
	struct ept *ept;

	guest_prepare(&one, "nowhere", 4, 1);
	if (!guest_create(&one))
		return;
	ept = machine_ept(one.machine);
	expect_equal(ept_fault(ept, gpa(0x10000), ACCESS_READ, ACCESS_NONE), FAULT_FIXED);
	take_read(ept, gfn(0x10));
	guest_start(&one);
	guest_wait(&one);
	expect_equal(one.status.end, END_KILLED);
	expect(guest_why(&one, "access to GPA 0x10000 where an EPT entry is wrong, RIP 0x10000"));
	guest_destroy(&one);
}

/* Instructions by hand: a flat payload of a few bytes. */
static void run_bytes(const uint8_t *bytes, unsigned count)
{
	guest_prepare(&one, "", 4, 1);
	one.config.name = "bytes";
	one.config.load.image = (struct load_file){ "bytes.bin", bytes, count };
	guest_to_its_end(&one);
}

BOOT_TEST("guest/exit_status", NEEDS_VMX)
{
	/* mov $0x1234, %eax; out %eax, $0xf4 */
	run_bytes((const uint8_t[]){ 0xb8, 0x34, 0x12, 0, 0, 0xe7, 0xf4 }, 7);
	expect_equal(one.status.end, END_EXIT_PORT);
	expect_equal(one.status.code, 0x2469);
	expect_equal(machine_exit_status(&one.status), 0x69);
}

BOOT_TEST("guest/resets", NEEDS_VMX)
{
	/* mov $0xfe, %al; out %al, $0x64 */
	run_bytes((const uint8_t[]){ 0xb0, 0xfe, 0xe6, 0x64 }, 4);
	expect_equal(one.status.end, END_RESET);
	/* mov $0xcf9, %edx; mov $6, %al; out %al, %dx */
	run_bytes((const uint8_t[]){ 0xba, 0xf9, 0x0c, 0, 0, 0xb0, 0x06, 0xee }, 8);
	expect_equal(one.status.end, END_RESET);
}

BOOT_TEST("guest/halts_for_ever", NEEDS_VMX)
{
	run_bytes((const uint8_t[]){ 0xfa, 0xf4 }, 2);
	expect_equal(one.status.end, END_KILLED);
	expect(guest_why(&one, "halted for ever"));
}

/* jmp . - only a kill ends it. */
BOOT_TEST("guest/kill", NEEDS_VMX)
{
	static const uint8_t loop[] = { 0xeb, 0xfe };

	guest_prepare(&one, "", 4, 1);
	one.config.name = "loop";
	one.config.load.image = (struct load_file){ "loop.bin", loop, sizeof(loop) };
	if (!guest_create(&one))
		return;
	expect_equal(machine_run(one.machine, 0, 100000), MACHINE_YIELD);
	machine_kill(one.machine, "enough");
	machine_kill(one.machine, "too late");
	expect_equal(machine_run(one.machine, 0, 100000), MACHINE_ENDED);
	machine_read_status(one.machine, &one.status);
	expect_equal(one.status.end, END_KILLED);
	expect(!strcmp(one.status.why, "enough"));
	guest_destroy(&one);
}

/* ------------------------------------------------------------------ the benchmark's hand-over */

static uint64_t mail(unsigned offset)
{
	uint64_t value = 0;

	expect_equal(
		ept_read_guest(machine_ept(one.machine), gpa(ABI_FLAT_MAILBOX + offset), &value, 8),
		STATUS_OK);
	return value;
}

static void post(unsigned offset, uint64_t value)
{
	expect_equal(ept_write_guest(machine_ept(one.machine), gpa(ABI_FLAT_MAILBOX + offset),
				     &value, 8),
		     STATUS_OK);
}

static void command(uint64_t number, uint64_t count)
{
	enum machine_result result;

	post(ABI_MAIL_COMMAND, number);
	post(ABI_MAIL_COUNT, count);
	machine_resume(one.machine);
	do
		result = machine_run(one.machine, 0, tsc_hz());
	while (result == MACHINE_YIELD);
	machine_read_status(one.machine, &one.status);
	expect_equal(one.status.end, END_EXIT_PORT);
	expect_equal(one.status.code, number << 1 | 1);
}

BOOT_TEST("guest/mailbox", NEEDS_VMX)
{
	uint64_t value = 0;

	guest_prepare(&one, "bench", 4, 1);
	if (!guest_create(&one))
		return;
	while (machine_run(one.machine, 0, tsc_hz()) == MACHINE_YIELD)
		;
	expect_equal(mail(ABI_MAIL_BASE), ABI_FLAT_REGION1);
	expect_equal(mail(ABI_MAIL_COUNT), 512);
	post(ABI_MAIL_VALUE, 7);
	command(ABI_COMMAND_WRITE, 100);
	expect(mail(ABI_MAIL_TSC_END) > mail(ABI_MAIL_TSC_START));
	command(ABI_COMMAND_READ, 512);
	expect_equal(mail(ABI_MAIL_SUM), 700);
	expect_equal(ept_read_guest(machine_ept(one.machine),
				    gpa(ABI_FLAT_REGION1 + 99 * PAGE_SIZE), &value, 8),
		     STATUS_OK);
	expect_equal(value, 7);
	command(ABI_COMMAND_CPUID, 10);
	expect_equal(machine_exits(one.machine, EXIT_CPUID), 10);
	command(ABI_COMMAND_OUT, 11);
	command(ABI_COMMAND_VMCALL, 12);
	expect_equal(machine_exits(one.machine, EXIT_VMCALL), 12);
	command(ABI_COMMAND_LOOP, 1000);
	command(ABI_COMMAND_END, 0);
	guest_destroy(&one);
}

/* Ticks for each of `count`, the loop around it left out by `loop`. */
static uint64_t cost(uint64_t number, uint64_t count, uint64_t loop)
{
	uint64_t ticks;

	command(number, count);
	ticks = (mail(ABI_MAIL_TSC_END) - mail(ABI_MAIL_TSC_START)) / count;
	return ticks > loop ? ticks - loop : 0;
}

/* The benchmark's hand-over: commands are run as they come, and measured by the guest's own TSC. */
BOOT_TEST("guest/bench_hand_over", NEEDS_VMX)
{
	uint64_t cpuid_exit, populate, again;

	guest_prepare(&one, "bench", 10, 1);
	if (!guest_create(&one))
		return;
	while (machine_run(one.machine, 0, tsc_hz()) == MACHINE_YIELD)
		;
	(void)cost(ABI_COMMAND_CPUID, 100, 3);
	cpuid_exit = cost(ABI_COMMAND_CPUID, 1000, 3);
	populate = cost(ABI_COMMAND_WRITE, 2048, 4);
	again = cost(ABI_COMMAND_WRITE, 2048, 3);
	guest_destroy(&one);
	expect(cpuid_exit > 0 && populate > cpuid_exit);
	expect(again < cpuid_exit);
}

/* ------------------------------------------------------------------ several, and bad ones */

BOOT_TEST("guest/two_at_once", NEEDS_VMX)
{
	uint64_t before = free_pages();

	guest_prepare(&one, "demo", 8, 2);
	guest_prepare(&two, "devices", 4, 1);
	if (!guest_create(&one) || !guest_create(&two))
		return;
	guest_start(&one);
	guest_start(&two);
	guest_wait(&one);
	guest_wait(&two);
	guest_destroy(&one);
	guest_destroy(&two);
	expect_equal(one.status.code, 1);
	expect_equal(two.status.code, 1);
	expect(guest_said(&one, "demo: all well\n"));
	expect(guest_said(&two, "devices: all work\n"));
	expect_equal(free_pages(), before);
}

/* The host moves the pages that the guest works on, all the time. */
BOOT_TEST("guest/demo_while_pages_move", NEEDS_VMX)
{
	struct machine_memory memory;
	uint64_t moved = 0, all = 0;

	guest_prepare(&one, "demo", 8, 2);
	if (!guest_create(&one))
		return;
	expect(machine_memory(one.machine, 1, &memory));
	guest_start(&one);
	for (unsigned i = 0; one.status.end == END_RUNNING && i < 100000; i++) {
		hva_t from = hva_add(memory.backing, i * 37 % 90 * 16 * PAGE_SIZE);

		expect_equal(
			space_migrate(machine_space(one.machine), from, 16 * PAGE_SIZE, &moved),
			STATUS_OK);
		all += moved;
		task_turn(1000);
		machine_read_status(one.machine, &one.status);
	}
	guest_wait(&one);
	guest_destroy(&one);
	print("# %llu pages moved\n", (unsigned long long)all);
	expect_equal(one.status.code, 1);
	expect(all > 0);
}

/*
 * More memory than the host has: the guest ends when there is no more, and gives all of it back.
 * The longest test of all, and nothing of a processor's: one machine of those tested has four CPUs.
 */
BOOT_TEST("guest/host_out_of_memory", NEEDS_VMX)
{
	if (cpu_count() < 4) {
		tap_skip("filling all of the memory is for a machine of four CPUs");
		return;
	}
	if (free_pages() > (1000 << 20) / PAGE_SIZE) {
		tap_skip("the host has more memory than a flat guest can ask for");
		return;
	}
	run_payload("demo", MACHINE_FLAT_MAX, 1);
	expect_equal(one.status.end, END_KILLED);
	expect(guest_why(&one, "for which the host is out of memory"));
}

/*
 * Random bytes as code. What such a guest does is no matter: it ends or is killed, the hypervisor
 * goes on, and nothing is left of it.
 */
BOOT_TEST("guest/random_code", NEEDS_VMX)
{
	enum { GUESTS = 40, BYTES = 512, SLICES = 20 };
	static uint64_t code[BYTES / 8];
	uint64_t seed = 88172645463325252, before = free_pages();
	unsigned ended = 0;

	for (unsigned i = 0; i < GUESTS; i++) {
		for (unsigned word = 0; word < BYTES / 8; word++) {
			seed ^= seed << 13;
			seed ^= seed >> 7;
			seed ^= seed << 17;
			code[word] = seed;
		}
		guest_prepare(&one, "", 4, 1);
		one.config.name = "random";
		one.config.load.image = (struct load_file){ "random.bin", code, BYTES };
		if (!guest_create(&one))
			return;
		for (unsigned slice = 0; slice < SLICES; slice++)
			if (machine_run(one.machine, 0, 50000) == MACHINE_ENDED)
				break;
		machine_read_status(one.machine, &one.status);
		ended += one.status.end != END_RUNNING;
		guest_destroy(&one);
	}
	print("# %u of %u ended by themselves\n", ended, (unsigned)GUESTS);
	expect(ended > 0);
	expect_equal(free_pages(), before);
}

static void refuses(uint64_t mem_mib, unsigned vcpus, unsigned max_level, const char *says)
{
	uint64_t before = free_pages();

	guest_prepare(&one, "hello", mem_mib, vcpus);
	one.config.max_level = max_level;
	expect(machine_create(boot_host(), &one.config, &one.machine, one.error) != STATUS_OK);
	expect(!memcmp(one.error, says, strlen(says)));
	expect_equal(free_pages(), before);
}

BOOT_TEST("guest/bad_configurations", NEEDS_VMX)
{
	refuses(0, 1, 1, "hello: 0 MiB of guest memory; expected 1 to 65536");
	refuses(65537, 1, 1, "hello: 65537 MiB of guest memory; expected 1 to 65536");
	refuses(UINT64_MAX, 1, 1, "hello: 18446744073709551615 MiB");
	refuses(8, 0, 1, "hello: 0 virtual CPUs; expected 1 to 8");
	refuses(8, 9, 1, "hello: 9 virtual CPUs; expected 1 to 8");
	refuses(8, UINT32_MAX, 1, "hello: 4294967295 virtual CPUs");
	refuses(8, 1, 0, "hello: largest leaf of level 0; expected 1 to 3");
	refuses(8, 1, 4, "hello: largest leaf of level 4");
	refuses(1, 1, 1, "ELF segment at 0x100000");
}

/* ------------------------------------------------------------------ a program of other people */

/*
 * memtest86+, given to the image as a module: as far as its first test. (Its whole run is a
 * scenario of its own.)
 */
BOOT_TEST("guest/memtest", NEEDS_VMX | NEEDS_ONCE)
{
	const struct boot_module *module = NULL;

	for (unsigned i = 0; i < boot_module_count(); i++)
		if (!memcmp(boot_module(i)->name, "memtest", 7))
			module = boot_module(i);
	if (!module) {
		tap_skip("needs a module memtest86+x64.bin");
		return;
	}
	guest_prepare(&one, "", 16, 1);
	one.config.name = "memtest";
	one.config.load.image = (struct load_file){ module->name, module->bytes, module->size };
	one.config.load.command_line = "console=ttyS0,115200 nosmp";
	if (!guest_create(&one))
		return;
	guest_start(&one);
	while (one.status.end == END_RUNNING && !guest_said(&one, "[Address test, walking ones")) {
		one.output[one.used] = '\0';
		task_turn(1000);
		machine_read_status(one.machine, &one.status);
	}
	expect_equal(one.status.end, END_RUNNING);
	machine_kill(one.machine, "seen enough");
	guest_wait(&one);
	machine_print_stats(one.machine);
	guest_destroy(&one);
	expect(guest_said(&one, "Memtest86+"));
}
