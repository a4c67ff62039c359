/* Into a guest and out of it: modes, the preemption timer, kicks, failed entries. */
#include "boot/boot.h"
#include "ept/port.h"
#include "mm/base/list.h"
#include "tests/boot/box.h"
#include "vmx/caps.h"
#include "vmx/insn.h"
#include "vmx/port.h"
#include "vmx/vmx.h"

extern const char vmx_entry_window_start[], vmx_entry_window_end[], vmx_entry_abort[];

/* ------------------------------------------------------------------ modes */

BOOT_TEST("vmx/real_mode", NEEDS_VMX)
{
	struct box box;
	struct vcpu_exit exit;

	box_create(&box, BOX_PLAIN);
	box_start(&box, BOX_REAL, SNIPPET(real));
	box_run(box.vcpu, &exit);
	expect_equal(exit.kind, EXIT_HLT);
	expect_equal(exit.length, 1);
	expect_equal(*box_word(&box, BOX_WORDS), 0x1234);
	expect_equal(vcpu_reg(box.vcpu, REG_RAX), 0x1234);
	expect_equal(vcpu_control(box.vcpu, CONTROL_CR0) & CR0_PE, 0);
	vcpu_skip(box.vcpu, exit.length);
	box_run_to_hlt(box.vcpu);
	expect_equal(vcpu_reg(box.vcpu, REG_RBX), 0x5678);
	box_destroy(&box);
}

BOOT_TEST("vmx/reset_state", NEEDS_VMX)
{
	struct box box;
	struct vcpu_segment_state code;

	box_create(&box, BOX_PLAIN);
	vcpu_segment(box.vcpu, SEGMENT_CS, &code);
	expect_equal(code.base, 0xffff0000);
	expect_equal(vcpu_reg(box.vcpu, REG_RIP), 0xfff0);
	expect_equal(vcpu_control(box.vcpu, CONTROL_CR0), 0x60000010);
	expect_equal(vcpu_control(box.vcpu, CONTROL_CR4), 0);

	struct vcpu_exit exit;

	box_run(box.vcpu, &exit);	/* nothing is mapped there */
	expect_equal(exit.kind, EXIT_EPT_VIOLATION);
	expect_equal(exit.ept.address.raw, 0xfffffff0);
	expect_equal(exit.ept.access, ACCESS_EXEC);
	box_destroy(&box);
}

BOOT_TEST("vmx/protected_mode", NEEDS_VMX)
{
	struct box box;

	box_create(&box, BOX_PLAIN);
	box_start(&box, BOX_PROTECTED, SNIPPET(protected));
	box_run_to_hlt(box.vcpu);
	expect_equal(*box_word(&box, BOX_WORDS), 0x12345678);
	expect_equal(vcpu_reg(box.vcpu, REG_RBX), 0x89abcdef);
	box_destroy(&box);
}

BOOT_TEST("vmx/long_mode", NEEDS_VMX)
{
	struct box box;

	box_create(&box, BOX_PLAIN);
	box_start(&box, BOX_LONG, SNIPPET(long));
	box_run_to_hlt(box.vcpu);
	expect_equal(*box_word(&box, BOX_WORDS), UINT64_C(0x123456789abcdef0));
	expect_equal(vcpu_reg(box.vcpu, REG_RBX), 8);
	expect_equal(vcpu_control(box.vcpu, CONTROL_EFER), EFER_LME | EFER_LMA);
	box_destroy(&box);
}

/* SDM "Saving Control Registers...": the CPU keeps the IA-32e mode guest control in step. */
BOOT_TEST("vmx/mode_switch", NEEDS_VMX)
{
	struct box box;

	box_create(&box, BOX_PLAIN);
	box_start(&box, BOX_REAL, SNIPPET(mode_switch));
	box_run_to_hlt(box.vcpu);
	expect_equal((uint32_t)*box_word(&box, BOX_WORDS), CR0_ET);
	expect_equal((uint32_t)*box_word(&box, BOX_WORDS + 8), 1);
	expect_equal(*box_word(&box, BOX_WORDS + 16), UINT64_C(0x1122334455667788));
	expect_equal((uint32_t)*box_word(&box, BOX_WORDS + 24), 0xd00);
	expect(vmcs_read(VMCS_ENTRY_CONTROLS) & ENTRY_IA32E_GUEST);
	box_run_to_hlt(box.vcpu);
	expect_equal((uint32_t)*box_word(&box, BOX_WORDS + 32), 0x900);
	expect(!(vmcs_read(VMCS_ENTRY_CONTROLS) & ENTRY_IA32E_GUEST));
	box_destroy(&box);
}

/* ------------------------------------------------------------------ time */

BOOT_TEST("vmx/preemption_timer", NEEDS_VMX)
{
	enum { SHORT = 50000, LONG = 1000000 };
	static const uint64_t ticks[] = { SHORT, LONG };
	struct box box;

	box_create(&box, BOX_PLAIN);
	box_start(&box, BOX_LONG, SNIPPET(count));
	for (unsigned i = 0; i < 2; i++) {
		struct vcpu_exit exit;
		uint64_t start = tsc_now(), passed;

		vcpu_run(box.vcpu, ticks[i], &exit);
		passed = tsc_now() - start;
		expect_equal(exit.kind, EXIT_TIMER);
		expect(passed >= ticks[i] - (UINT64_C(1) << vmx_caps.timer_shift));
		expect(passed < 4 * ticks[i]);
	}
	expect(*box_word(&box, BOX_WORDS) > 1000);
	box_destroy(&box);
}

BOOT_TEST("vmx/tsc_offset", NEEDS_VMX)
{
	const uint64_t offset = UINT64_C(1) << 50;
	struct box box;
	uint64_t before, inside, after;

	box_create(&box, BOX_PLAIN);
	box_start(&box, BOX_LONG, SNIPPET(rdtsc));
	vcpu_set_tsc_offset(box.vcpu, offset);
	expect_equal(vcpu_tsc_offset(box.vcpu), offset);
	before = tsc_now();
	box_run_to_hlt(box.vcpu);
	after = tsc_now();
	inside = vcpu_reg(box.vcpu, REG_RAX) - offset;
	expect(before < inside && inside < after);
	box_destroy(&box);
}

/* ------------------------------------------------------------------ kicks */

struct runner { struct task task; struct box *box; struct vcpu_exit exit; };

static enum task_result run_step(struct task *task)
{
	struct runner *runner = container_of(task, struct runner, task);

	vcpu_run(runner->box->vcpu, 0, &runner->exit);
	return TASK_DONE;
}

static void start_runner(struct runner *runner, struct box *box)
{
	*runner = (struct runner){ .task = { .name = "runner", .step = run_step, .home = 1 },
				   .box = box };
	task_start(&runner->task);
}

static uint64_t count_now(struct box *box)
{
	return __atomic_load_n(box_word(box, BOX_WORDS), __ATOMIC_ACQUIRE);
}

/* A guest that loops for ever with interrupts off, and no time limit. */
BOOT_TEST("vmx/kick", NEEDS_VMX | NEEDS_TWO_CPUS)
{
	struct box box;

	box_create(&box, BOX_PLAIN);
	box_start(&box, BOX_LONG, SNIPPET(count));
	for (unsigned i = 0; i < 20; i++) {
		uint64_t count = count_now(&box);
		struct runner runner;

		start_runner(&runner, &box);
		await(count_now(&box) > count + 50);
		port_kick(1);
		task_wait(&runner.task);
		expect_equal(runner.exit.kind, EXIT_KICK);
	}
	box_destroy(&box);
}

BOOT_TEST("vmx/kick_before_entry", NEEDS_VMX)
{
	struct box box;
	uint64_t rip;

	box_create(&box, BOX_PLAIN);
	box_start(&box, BOX_LONG, SNIPPET(count));
	vcpu_load(box.vcpu);
	for (unsigned i = 0; i < 10; i++) {
		atomic_write(&box.vcpu->kicked, 0);
		port_send_nmi(port_cpu());
		await(atomic_read(&box.vcpu->kicked));
		expect(!vcpu_enter(box.vcpu));
	}
	expect_equal(*box_word(&box, BOX_WORDS), 0);

	for (rip = (uint64_t)vmx_entry_window_start; rip < (uint64_t)vmx_entry_window_end; rip++) {
		uint64_t to = rip;

		vmx_nmi_in_host(&to);
		if (to != (uint64_t)vmx_entry_abort)
			expect_equal(to, vmx_entry_abort);
	}
	vmx_nmi_in_host(&rip);
	expect_equal(rip, vmx_entry_window_end);
	rip = (uint64_t)vmx_entry_window_start - 1;
	vmx_nmi_in_host(&rip);
	expect_equal(rip + 1, vmx_entry_window_start);
	box_destroy(&box);
}

/*
 * NMIs at every distance from an entry: none may be lost, wherever between `kicked = 0` and the
 * guest's first instructions it comes. A lost one ends with the timer.
 */
enum { AIMED = 600 };

struct aim {
	struct task task;
	struct box *box;
	atomic32_t round;
	unsigned turned_back, exited, lost;
};

static enum task_result aim_step(struct task *task)
{
	struct aim *aim = container_of(task, struct aim, task);
	struct vcpu *vcpu = aim->box->vcpu;

	vcpu_load(vcpu);
	vmcs_write(VMCS_TIMER, 50000 >> vmx_caps.timer_shift);
	for (unsigned i = 1; i <= AIMED; i++) {
		struct vcpu_exit exit;

		atomic_write(&vcpu->kicked, 0);
		atomic_write(&aim->round, i);
		for (unsigned spin = 0; spin < i % 100; spin++)
			__asm__ volatile("" ::: "memory");
		if (!vcpu_enter(vcpu)) {
			aim->turned_back++;
			continue;
		}
		if (!exit_decode(&exit) && exit.kind == EXIT_KICK)
			aim->exited++;
		else
			aim->lost++;
		vmcs_write(VMCS_GUEST_INTERRUPTIBILITY, 0);
		__asm__ volatile("int $2" ::: "memory");
	}
	return TASK_DONE;
}

BOOT_TEST("vmx/kick_any_time", NEEDS_VMX | NEEDS_TWO_CPUS)
{
	struct box box;
	struct aim aim = { .task = { .name = "aim", .step = aim_step, .home = 1 }, .box = &box };

	box_create(&box, BOX_PLAIN);
	box_start(&box, BOX_LONG, SNIPPET(count));
	task_start(&aim.task);
	for (unsigned i = 1; i <= AIMED; i++) {
		await(atomic_read(&aim.round) == i);
		port_send_nmi(1);
	}
	task_wait(&aim.task);
	expect_equal(aim.lost, 0);
	expect_equal(aim.turned_back + aim.exited, AIMED);
	expect(aim.turned_back > 0);
	expect(aim.exited > 0);
	print("# stat kick_turned_back %u entries\n", aim.turned_back);
	box_destroy(&box);
}

/* ------------------------------------------------------------------ what can fail */

BOOT_TEST("vmx/failed_entry", NEEDS_VMX)
{
	struct box box;
	struct vcpu_exit exit;
	uint64_t access, pin;

	box_create(&box, BOX_PLAIN);
	box_start(&box, BOX_LONG, SNIPPET(long));
	access = vmcs_read(VMCS_GUEST_CS_ACCESS);
	vmcs_write(VMCS_GUEST_CS_ACCESS, access | 1 << 14);	/* L and D */
	expect_equal(vcpu_run_checked(box.vcpu, BOX_TICKS, &exit), STATUS_BAD_FORMAT);
	expect_equal(exit.kind, EXIT_OTHER);
	expect_equal(exit.reason, 33);
	vmcs_write(VMCS_GUEST_CS_ACCESS, access);

	pin = vmcs_read(VMCS_PIN_CONTROLS);
	vmcs_write(VMCS_PIN_CONTROLS, 0);
	expect_equal(vcpu_run_checked(box.vcpu, BOX_TICKS, &exit), STATUS_BAD_FORMAT);
	expect_equal(vmcs_instruction_error(), 7);
	vmcs_write(VMCS_PIN_CONTROLS, pin);

	vmcs_write(VMCS_HOST_CR3, ~UINT64_C(0));
	expect_equal(vcpu_run_checked(box.vcpu, BOX_TICKS, &exit), STATUS_BAD_FORMAT);
	expect_equal(vmcs_instruction_error(), 8);
	vmcs_write(VMCS_HOST_CR3, insn_read_cr3());

	expect_equal(vcpu_run_checked(box.vcpu, BOX_TICKS, &exit), STATUS_OK);
	expect_equal(exit.kind, EXIT_HLT);

	/* Launched now: the error is VMRESUME's, and no VMLAUNCH follows: its would be another. */
	vmcs_write(VMCS_PIN_CONTROLS, 0);
	expect_equal(vcpu_run_checked(box.vcpu, BOX_TICKS, &exit), STATUS_BAD_FORMAT);
	expect_equal(vmcs_instruction_error(), 7);
	vmcs_write(VMCS_PIN_CONTROLS, pin);
	vcpu_put(box.vcpu);		/* VMCLEAR: it is launched again */
	expect_equal(vcpu_run_checked(box.vcpu, BOX_TICKS, &exit), STATUS_OK);
	expect_equal(exit.kind, EXIT_HLT);
	box_destroy(&box);
}

BOOT_TEST("vmx/unknown_field", NEEDS_VMX)
{
	const enum vmcs_field none = (enum vmcs_field)0x27fe;
	struct box box;
	uint64_t value;

	box_create(&box, BOX_PLAIN);
	expect(!vmcs_try_read(none, &value));
	expect_equal(vmcs_instruction_error(), 12);
	expect(!vmcs_try_write(none, 0));
	expect(vmcs_try_read(VMCS_GUEST_RIP, &value));
	expect(!vmcs_field_name(none));
	expect(vmcs_field_name(VMCS_GUEST_RIP) != NULL);
	box_destroy(&box);
}

/* ------------------------------------------------------------------ the figure */

/* Guest loop of three instructions; what is left is the way out and in, and skipping the CPUID. */
BOOT_TEST("vmx/cpuid_round_trip", NEEDS_VMX)
{
	enum { ROUNDS = 1000, LOOP = 3 };
	struct box box;
	struct vcpu_exit exit;
	uint64_t start, passed;

	box_create(&box, BOX_PLAIN);
	box_start(&box, BOX_LONG, SNIPPET(cpuid));
	box_run(box.vcpu, &exit);
	start = tsc_now();
	for (unsigned i = 0; i < ROUNDS; i++) {
		vcpu_skip(box.vcpu, exit.length);
		vcpu_run(box.vcpu, 0, &exit);
		if (exit.kind != EXIT_CPUID)
			expect_equal(exit.kind, EXIT_CPUID);
	}
	passed = (tsc_now() - start) / ROUNDS - LOOP;
	print("# stat vmx_round_trip %llu instructions\n", (unsigned long long)passed);
	box_destroy(&box);
}
