/* The guest's state across exits, vCPUs, VMs and CPUs; control registers; intercept bitmaps. */
#include "boot/boot.h"
#include "tests/boot/box.h"
#include "vmx/caps.h"
#include "vmx/insn.h"
#include "vmx/port.h"

#define PATTERN(n) (UINT64_C(0x0000123456780000) + (uint64_t)(n) * 0x1111)

/* ------------------------------------------------------------------ registers */

static void start_state(struct vcpu *vcpu, unsigned n)
{
	box_start_vcpu(vcpu, BOX_LONG);
	vcpu_set_reg(vcpu, REG_RAX, PATTERN(n));
	vcpu_set_reg(vcpu, REG_RDI, BOX_WORDS + 64 * n);
}

static void expect_state(struct vcpu *vcpu, unsigned n)
{
	expect_equal(vcpu_reg(vcpu, REG_R8), PATTERN(n));	/* XMM15 */
	expect_equal(vcpu_reg(vcpu, REG_R9), PATTERN(n));	/* x87 */
	expect_equal(vcpu_reg(vcpu, REG_R10), PATTERN(n));	/* DR0 */
	expect_equal(vcpu_reg(vcpu, REG_R11), PATTERN(n));	/* KERNEL_GS_BASE */
	expect_equal(vcpu_reg(vcpu, REG_R12), PATTERN(n));	/* LSTAR */
	expect_equal(vcpu_reg(vcpu, REG_R13), PATTERN(n));	/* CR2 */
	expect_equal(vcpu_reg(vcpu, REG_RBP), PATTERN(n));
}

static void step_over_cpuid(struct vcpu *vcpu)
{
	struct vcpu_exit exit;

	box_run(vcpu, &exit);
	expect_equal(exit.kind, EXIT_CPUID);
	vcpu_skip(vcpu, exit.length);
}

/* Several vCPUs of one VM take turns on one CPU, each in the middle of using its registers. */
BOOT_TEST("vmx/state_two_vcpus", NEEDS_VMX)
{
	struct box box;
	struct vcpu *vcpus[3];

	box_create(&box, BOX_PLAIN);
	box_start(&box, BOX_LONG, SNIPPET(state));
	vcpus[0] = box.vcpu;
	for (unsigned i = 1; i < 3; i++)
		check(vcpu_create(box.vm, &vcpus[i]) == STATUS_OK);
	for (unsigned i = 0; i < 3; i++)
		start_state(vcpus[i], i);
	for (unsigned i = 0; i < 3; i++)
		box_run_to_hlt(vcpus[i]);
	for (unsigned i = 0; i < 3; i++)
		step_over_cpuid(vcpus[2 - i]);
	for (unsigned i = 0; i < 3; i++) {
		box_run_to_hlt(vcpus[i]);
		expect_state(vcpus[i], i);
	}
	for (unsigned i = 1; i < 3; i++)
		vcpu_destroy(vcpus[i]);
	box_destroy(&box);
}

/* EFER and PAT are loaded and saved by hardware; the host's come back. */
BOOT_TEST("vmx/efer_pat", NEEDS_VMX)
{
	const uint64_t host_efer = insn_rdmsr(0xc0000080), host_pat = insn_rdmsr(0x277);
	const uint64_t efer[2] = { 0xd01, 0x500 };
	const uint64_t pat[2] = { UINT64_C(0x0606060606060606), UINT64_C(0x0407050600010406) };
	struct box box[2];

	for (unsigned i = 0; i < 2; i++) {
		box_create(&box[i], BOX_PLAIN);
		box_start(&box[i], BOX_LONG, SNIPPET(efer_pat));
		vcpu_set_reg(box[i].vcpu, REG_RSI, efer[i]);
		vcpu_set_reg(box[i].vcpu, REG_RDI, pat[i]);
	}
	for (unsigned i = 0; i < 2; i++) {
		box_run_to_hlt(box[i].vcpu);
		expect_equal(vcpu_control(box[i].vcpu, CONTROL_EFER), efer[i]);
		expect_equal(vcpu_control(box[i].vcpu, CONTROL_PAT), pat[i]);
		expect_equal(insn_rdmsr(0xc0000080), host_efer);
		expect_equal(insn_rdmsr(0x277), host_pat);
	}
	for (unsigned i = 0; i < 2; i++) {
		box_run_to_hlt(box[i].vcpu);
		expect_equal(vcpu_reg(box[i].vcpu, REG_R8), efer[i]);
		expect_equal(vcpu_reg(box[i].vcpu, REG_R9), pat[i]);
		box_destroy(&box[i]);
	}
}

/* XSETBV exits; each vCPU has an XCR0 of its own, and what it enables is kept. */
BOOT_TEST("vmx/xcr0", NEEDS_VMX)
{
	struct box box[2];
	struct vcpu_exit exit;

	if ((vmx_caps.xcr0 & 7) != 7) {
		tap_skip("no AVX");
		return;
	}
	for (unsigned i = 0; i < 2; i++) {
		box_create(&box[i], BOX_PLAIN);
		box_start(&box[i], BOX_LONG, SNIPPET(ymm));
		vcpu_set_reg(box[i].vcpu, REG_RAX, PATTERN(i));
		vcpu_set_reg(box[i].vcpu, REG_RDI, BOX_WORDS);
		box_run(box[i].vcpu, &exit);
		expect_equal(exit.kind, EXIT_XSETBV);
		expect_equal(vcpu_set_xcr0(box[i].vcpu, 0), STATUS_UNSUPPORTED);
		expect_equal(vcpu_set_xcr0(box[i].vcpu, 5), STATUS_UNSUPPORTED);
		expect_equal(vcpu_set_xcr0(box[i].vcpu, UINT64_C(1) << 62 | 1), STATUS_UNSUPPORTED);
		expect_equal(vcpu_set_xcr0(box[i].vcpu, vcpu_reg(box[i].vcpu, REG_RAX)), STATUS_OK);
		vcpu_skip(box[i].vcpu, exit.length);
		box_run_to_hlt(box[i].vcpu);
	}
	for (unsigned i = 0; i < 2; i++) {
		box_run_to_hlt(box[i].vcpu);
		expect_equal(vcpu_reg(box[i].vcpu, REG_R8), PATTERN(i));
		expect_equal(vcpu_xcr0(box[i].vcpu), 7);
		box_destroy(&box[i]);
	}
}

/* ------------------------------------------------------------------ VMs and CPUs */

BOOT_TEST("vmx/several_vms", NEEDS_VMX)
{
	enum { VMS = 4 };
	struct box box[VMS];

	for (uint64_t i = 0; i < VMS; i++) {
		box_create(&box[i], BOX_PLAIN);
		box_start(&box[i], BOX_LONG, SNIPPET(read));
		vcpu_set_reg(box[i].vcpu, REG_RSI, BOX_PAGE(0));
		*box_word(&box[i], BOX_PAGE(0)) = PATTERN(i);
	}
	for (uint64_t i = 0; i < VMS; i++) {
		box_run_to_hlt(box[i].vcpu);
		expect_equal(vcpu_reg(box[i].vcpu, REG_RAX), PATTERN(i));
	}
	for (unsigned i = 0; i < VMS; i++)
		box_destroy(&box[i]);
}

static void run_to_hlt_there(void *vcpu)
{
	box_run_to_hlt(vcpu);
}

static void step_over_cpuid_there(void *vcpu)
{
	step_over_cpuid(vcpu);
}

/* Its registers follow it; the CPU it leaves is not asked by its caller, but by vmx. */
BOOT_TEST("vmx/move_between_cpus", NEEDS_VMX | NEEDS_TWO_CPUS)
{
	struct box box;

	box_create(&box, BOX_PLAIN);
	for (unsigned n = 0; n < 6; n++) {
		box_start(&box, BOX_LONG, SNIPPET(state));
		start_state(box.vcpu, n);
		box_run_to_hlt(box.vcpu);
		if (n & 1)
			vcpu_put(box.vcpu);
		cpu_call(1, step_over_cpuid_there, box.vcpu);
		if (n & 2)
			box_run_to_hlt(box.vcpu);
		else
			cpu_call(1, run_to_hlt_there, box.vcpu);
		expect_state(box.vcpu, n);
	}
	expect_equal(atomic_read(&box.vcpu->cpu), 1);	/* from there it is destroyed */
	box_destroy(&box);
}

/* ------------------------------------------------------------------ control registers */

/* CD and NW are the host's: the guest sees what it wrote, the CPU's caches stay on. */
BOOT_TEST("vmx/cr0_cache_disable", NEEDS_VMX)
{
	const uint64_t both = CR0_CD | CR0_NW;
	struct box box;

	box_create(&box, BOX_PLAIN);
	box_start(&box, BOX_LONG, SNIPPET(cache_disable));
	box_run_to_hlt(box.vcpu);
	expect_equal(vcpu_reg(box.vcpu, REG_R8) & both, both);
	expect_equal(vcpu_control(box.vcpu, CONTROL_CR0) & both, both);
	expect_equal(vmcs_read(VMCS_GUEST_CR0) & both, 0);
	box_run_to_hlt(box.vcpu);
	expect_equal(vcpu_reg(box.vcpu, REG_R9) & both, 0);
	box_destroy(&box);
}

/* A guest can turn its machine checks off; the CPU's stay as the host has them. */
BOOT_TEST("vmx/cr4_machine_check", NEEDS_VMX)
{
	const uint64_t host = insn_read_cr4() & CR4_MCE;
	struct box box;

	box_create(&box, BOX_PLAIN);
	box_start(&box, BOX_LONG, SNIPPET(mce));
	box_run_to_hlt(box.vcpu);
	expect_equal(vcpu_reg(box.vcpu, REG_R8) & CR4_MCE, CR4_MCE);
	expect_equal(vmcs_read(VMCS_GUEST_CR4) & CR4_MCE, host);
	box_run_to_hlt(box.vcpu);
	expect_equal(vcpu_reg(box.vcpu, REG_R9) & CR4_MCE, 0);
	expect_equal(vcpu_control(box.vcpu, CONTROL_CR4) & CR4_MCE, 0);
	expect_equal(vmcs_read(VMCS_GUEST_CR4) & CR4_MCE, host);
	box_destroy(&box);
}

/* CR8 is the real APIC's task priority: with it a guest would hold off the host's interrupts. */
BOOT_TEST("vmx/cr8", NEEDS_VMX)
{
	struct vcpu_exit exit;
	struct box box;

	box_create(&box, BOX_PLAIN);
	box_start(&box, BOX_LONG, SNIPPET(cr8));
	vcpu_set_reg(box.vcpu, REG_RAX, 15);
	for (uint8_t access = 0; access < 2; access++) {
		box_run(box.vcpu, &exit);
		expect_equal(exit.kind, EXIT_CR_ACCESS);
		expect_equal(exit.cr.number, 8);
		expect_equal(exit.cr.access, access);
		expect_equal(exit.cr.reg, access ? REG_RBX : REG_RAX);
		vcpu_skip(box.vcpu, exit.length);
	}
	expect_equal(insn_read_cr8(), 0);
	box_run_to_hlt(box.vcpu);
	box_destroy(&box);
}

static void expect_protection_fault(struct snippet snippet, uint64_t value)
{
	struct box box;

	box_create(&box, BOX_PLAIN);
	box_start(&box, BOX_LONG, snippet);
	box_handler(&box, 13, 16);
	vcpu_set_reg(box.vcpu, REG_RAX, value);
	vcpu_set_reg(box.vcpu, REG_RBX, ~UINT64_C(0));
	box_run_to_hlt(box.vcpu);
	expect_equal(vcpu_reg(box.vcpu, REG_RIP), BOX_CODE + 16 + 3);
	expect_equal(vcpu_reg(box.vcpu, REG_RBX), 0);		/* the error code */
	expect_equal(vcpu_reg(box.vcpu, REG_RCX), BOX_CODE);	/* a fault: RIP has not moved */
	box_destroy(&box);
}

BOOT_TEST("vmx/cr_protection_faults", NEEDS_VMX)
{
	const uint64_t cr0 = CR0_PG | CR0_ET | CR0_PE;

	expect_protection_fault(SNIPPET(mov_cr0), cr0 | CR0_NW);		/* NW without CD */
	expect_protection_fault(SNIPPET(mov_cr0), CR0_PG | CR0_CD);	/* PG without PE */
	expect_protection_fault(SNIPPET(mov_cr0), cr0 | UINT64_C(1) << 40);
	expect_protection_fault(SNIPPET(mov_cr4), CR4_PAE | 1 << 13);	/* VMXE: not for guests */
	expect_protection_fault(SNIPPET(mov_cr4), CR4_PAE | 1 << 23);	/* CET */
	expect_protection_fault(SNIPPET(mov_cr4), 0);			/* no PAE in long mode */
}

/* ------------------------------------------------------------------ bitmaps */

enum { MSR_TSC = 0x10 };
#define MSR_STAR 0xc0000081u

static void run_msr(struct box *box, struct snippet snippet, uint32_t msr, struct vcpu_exit *exit)
{
	box_start(box, BOX_LONG, snippet);
	vcpu_set_reg(box->vcpu, REG_RCX, msr);
	box_run(box->vcpu, exit);
}

BOOT_TEST("vmx/msr_bitmap", NEEDS_VMX)
{
	static const uint32_t exiting[] = { MSR_TSC, 0x1fff, 0x2000, 0x40000000, 0xbfffffff,
					    0xc0000103, 0xc0001fff, 0xc0002000, 0xffffffff };
	struct vcpu_exit exit;
	struct box box;

	box_create(&box, BOX_PLAIN);
	for (unsigned i = 0; i < sizeof exiting / sizeof exiting[0]; i++) {
		run_msr(&box, SNIPPET(rdmsr), exiting[i], &exit);
		expect_equal(exit.kind, EXIT_RDMSR);
		expect_equal(exit.length, 2);
		expect_equal(vcpu_reg(box.vcpu, REG_RCX), exiting[i]);
		run_msr(&box, SNIPPET(wrmsr), exiting[i], &exit);
		expect_equal(exit.kind, EXIT_WRMSR);
	}
	run_msr(&box, SNIPPET(rdmsr), MSR_STAR, &exit);
	expect_equal(exit.kind, EXIT_HLT);
	vm_pass_msr(box.vm, MSR_TSC);
	run_msr(&box, SNIPPET(rdmsr), MSR_TSC, &exit);
	expect_equal(exit.kind, EXIT_HLT);
	expect(vcpu_reg(box.vcpu, REG_RAX) != 0);
	box_destroy(&box);
}

static void expect_io(struct box *box, uint16_t port, uint8_t size, bool in, bool string)
{
	struct vcpu_exit exit;

	box_run(box->vcpu, &exit);
	expect_equal(exit.kind, EXIT_IO);
	expect_equal(exit.io.port, port);
	expect_equal(exit.io.size, size);
	expect_equal(exit.io.in, in);
	expect_equal(exit.io.string, string);
	expect_equal(exit.io.repeat, string);
	vcpu_skip(box->vcpu, exit.length);
}

BOOT_TEST("vmx/io_bitmap", NEEDS_VMX)
{
	struct box box;

	box_create(&box, BOX_PLAIN);
	box_start(&box, BOX_LONG, SNIPPET(ports));
	expect_io(&box, 0x80, 1, false, false);
	expect_io(&box, 0x81, 2, true, false);
	expect_io(&box, 0x8002, 4, false, false);
	expect_io(&box, 0x8002, 1, false, true);
	box_run_to_hlt(box.vcpu);

	vm_pass_port(box.vm, 0x80);	/* one that does nothing */
	box_start(&box, BOX_LONG, SNIPPET(ports));
	expect_io(&box, 0x81, 2, true, false);
	box_destroy(&box);
}

BOOT_TEST("vmx/unconditional_exits", NEEDS_VMX)
{
	struct vcpu_exit exit;
	struct box box;

	box_create(&box, BOX_PLAIN);
	box_start(&box, BOX_LONG, SNIPPET(vmcall));
	box_run(box.vcpu, &exit);
	expect_equal(exit.kind, EXIT_VMCALL);
	expect_equal(exit.length, 3);

	box_start(&box, BOX_LONG, SNIPPET(invd_rdpmc));	/* INVD: nothing; RDPMC: #GP */
	box_handler(&box, 13, 16);
	box_run_to_hlt(box.vcpu);
	expect_equal(vcpu_reg(box.vcpu, REG_RSI), 1);
	expect_equal(vcpu_reg(box.vcpu, REG_RCX), BOX_CODE + 7);
	box_destroy(&box);
}
