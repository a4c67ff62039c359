/*
 * vCPUs as objects: made, ended, brought to a CPU and taken from it. What moves is the VMCS
 * (VMPTRLD, VMCLEAR) and the registers that neither a VMCS nor the host uses: FPU, debug
 * registers, CR2, the SYSCALL MSRs. They stay in the CPU from one run to the next, so that an
 * exit costs nothing for them. The protocol between CPUs is in cpu.c.
 */
#include "vmx/vcpu.h"

#include "vmx/caps.h"
#include "vmx/insn.h"
#include "vmx/port.h"
#include "vmx/vcpu_state.h"

#define MSR_SYSENTER_CS  0x174
#define MSR_SYSENTER_ESP 0x175
#define MSR_SYSENTER_EIP 0x176
#define MSR_PAT          0x277
#define MSR_EFER         0xc0000080
#define MSR_FS_BASE      0xc0000100
#define MSR_GS_BASE      0xc0000101

/* STAR, LSTAR, CSTAR, FMASK, KERNEL_GS_BASE: the host has no system calls. */
const uint32_t vcpu_guest_msrs[GUEST_MSRS] = { 0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084,
					       0xc0000102 };

/* ------------------------------------------------------------------ VPIDs */

/* SDM "Virtual Processor Identifiers (VPIDs)": 0 is the host's. A bit set: taken. */
enum { VPIDS = 1024 };
static atomic64_t vpids[VPIDS / 64] = { { 1 } };

static enum status vpid_alloc(uint16_t *out)
{
	for (unsigned vpid = 0; vpid < VPIDS; vpid++) {
		uint64_t bit = UINT64_C(1) << vpid % 64;

		if (!(atomic_or(&vpids[vpid / 64], bit) & bit)) {
			*out = (uint16_t)vpid;
			return STATUS_OK;
		}
	}
	return STATUS_LIMIT;
}

static void vpid_free(uint16_t vpid)
{
	atomic_and(&vpids[vpid / 64], ~(UINT64_C(1) << vpid % 64));
}

/* ------------------------------------------------------------------ this CPU's registers */

static void fpu_save(void *area)
{
	if (!vmx_caps.xsave) {
		insn_fxsave(area);
		return;
	}
	insn_xsetbv(0, vmx_caps.xcr0);
	insn_xsave(area);
}

/* All components are loaded, whatever the guest's XCR0: it may enable one again later. */
static void fpu_load(const void *area, uint64_t xcr0)
{
	if (!vmx_caps.xsave) {
		insn_fxrstor(area);
		return;
	}
	insn_xsetbv(0, vmx_caps.xcr0);
	insn_xrstor(area);
	insn_xsetbv(0, xcr0);
}

static void registers_save(struct vcpu *vcpu)
{
	fpu_save(vcpu->fpu);
	vcpu->cr2 = insn_read_cr2();
	vcpu->dr[0] = insn_read_dr0();
	vcpu->dr[1] = insn_read_dr1();
	vcpu->dr[2] = insn_read_dr2();
	vcpu->dr[3] = insn_read_dr3();
	vcpu->dr6 = insn_read_dr6();
	for (unsigned i = 0; i < GUEST_MSRS; i++)
		vcpu->msrs[i] = insn_rdmsr(vcpu_guest_msrs[i]);
}

/* DR7 is the VMCS's, and is cleared by every exit: the guest's breakpoints don't hit the host. */
static void registers_load(const struct vcpu *vcpu)
{
	fpu_load(vcpu->fpu, vcpu->xcr0);
	insn_write_cr2(vcpu->cr2);
	insn_write_dr0(vcpu->dr[0]);
	insn_write_dr1(vcpu->dr[1]);
	insn_write_dr2(vcpu->dr[2]);
	insn_write_dr3(vcpu->dr[3]);
	insn_write_dr6(vcpu->dr6);
	for (unsigned i = 0; i < GUEST_MSRS; i++)
		insn_wrmsr(vcpu_guest_msrs[i], vcpu->msrs[i]);
}

/* SDM "Host-State Area": what an exit on this CPU shall find again. */
static void write_host_state(void)
{
	struct port_host_state board;

	port_host_state(&board);
	vmcs_write(VMCS_HOST_CR0, insn_read_cr0());
	vmcs_write(VMCS_HOST_CR3, insn_read_cr3());
	vmcs_write(VMCS_HOST_CR4, insn_read_cr4());
	vmcs_write(VMCS_HOST_ES, insn_read_es());
	vmcs_write(VMCS_HOST_CS, insn_read_cs());
	vmcs_write(VMCS_HOST_SS, insn_read_ss());
	vmcs_write(VMCS_HOST_DS, insn_read_ds());
	vmcs_write(VMCS_HOST_FS, insn_read_fs());
	vmcs_write(VMCS_HOST_GS, insn_read_gs());
	vmcs_write(VMCS_HOST_TR, insn_read_tr());
	vmcs_write(VMCS_HOST_FS_BASE, insn_rdmsr(MSR_FS_BASE));
	vmcs_write(VMCS_HOST_GS_BASE, insn_rdmsr(MSR_GS_BASE));
	vmcs_write(VMCS_HOST_TR_BASE, board.tr_base);
	vmcs_write(VMCS_HOST_GDTR_BASE, board.gdtr_base);
	vmcs_write(VMCS_HOST_IDTR_BASE, board.idtr_base);
	vmcs_write(VMCS_HOST_SYSENTER_CS, insn_rdmsr(MSR_SYSENTER_CS));
	vmcs_write(VMCS_HOST_SYSENTER_ESP, insn_rdmsr(MSR_SYSENTER_ESP));
	vmcs_write(VMCS_HOST_SYSENTER_EIP, insn_rdmsr(MSR_SYSENTER_EIP));
	vmcs_write(VMCS_HOST_PAT, insn_rdmsr(MSR_PAT));
	vmcs_write(VMCS_HOST_EFER, insn_rdmsr(MSR_EFER));
}

/* ------------------------------------------------------------------ coming and going */

void vcpu_unload(struct vmx_cpu *cpu)
{
	struct vcpu *vcpu = (struct vcpu *)atomic_read(&cpu->loaded);

	if (!vcpu)
		return;
	registers_save(vcpu);
	vmcs_clear(ptr_to_hpa(vcpu->vmcs));
	atomic_write(&cpu->loaded, 0);
	atomic_write(&vcpu->cpu, CPU_NONE);	/* read by release_elsewhere */
}

/* See cpu.c. Asks again when another CPU's request took the place of ours. */
static void release_elsewhere(struct vcpu *vcpu)
{
	uint32_t at = atomic_read(&vcpu->cpu);
	uint64_t self = (uint64_t)vcpu;

	if (at == CPU_NONE)
		return;
	while (atomic_read(&vcpu->cpu) != CPU_NONE) {
		if (atomic_xchg(&vmx_cpus[at].evict, self) != self)
			port_send_nmi(at);
		port_relax();
	}
	/* A request left behind would take the vCPU from that CPU in the middle of its next run. */
	(void)atomic_cmpxchg(&vmx_cpus[at].evict, &self, 0);
}

/* The state of a new CPU's TLB is unknown: a VPID may have been another vCPU's there. */
static void arrive(struct vcpu *vcpu, unsigned here)
{
	if (vcpu->host_cpu == here)
		return;
	write_host_state();
	vcpu->host_cpu = here;
	vcpu->expected = EXPECT_NOTHING;
	if (vcpu->vm->ept) {
		vcpu->entrance = ept_entrance(vcpu->vm->ept);
	} else {
		vcpu->entrance = (struct ept_entrance){ &vcpu->nobody.notice,
							&vcpu->nobody.visitor };
		vmx_invept(vcpu->vm->eptp);	/* with an ept, the entry says when */
	}
}

void vcpu_load_slowly(struct vcpu *vcpu)
{
	uint64_t flags = insn_irq_save();
	unsigned here = port_cpu();
	struct vmx_cpu *cpu = &vmx_cpus[here];

	check(cpu->on);
	release_elsewhere(vcpu);
	atomic_xchg(&cpu->moving, 1);	/* a full barrier: the NMI handler must see it first */
	vcpu_unload(cpu);
	vmcs_load(ptr_to_hpa(vcpu->vmcs));
	registers_load(vcpu);
	arrive(vcpu, here);
	atomic_write(&cpu->loaded, (uint64_t)vcpu);
	atomic_write(&vcpu->cpu, here);
	atomic_write(&cpu->moving, 0);
	insn_irq_restore(flags);
}

void vcpu_put(struct vcpu *vcpu)
{
	uint64_t flags = insn_irq_save();
	struct vmx_cpu *cpu = vmx_this_cpu();

	if (atomic_read(&vcpu->cpu) == port_cpu()) {
		atomic_xchg(&cpu->moving, 1);
		vcpu_unload(cpu);
		atomic_write(&cpu->moving, 0);
	}
	insn_irq_restore(flags);
}

/* ------------------------------------------------------------------ making and ending */

/* Pages of a vCPU: itself, its VMCS, its PML list, its extended state. */
static unsigned vcpu_order(void)
{
	uint64_t pages = 3 + (vmx_caps.fpu_bytes + PAGE_SIZE - 1) / PAGE_SIZE;
	unsigned order = 0;

	while (UINT64_C(1) << order < pages)
		order++;
	return order;
}

/* SDM "Processor State After Reset", x87 and SSE; the other components start as zeros. */
static void fpu_reset(struct vcpu *vcpu)
{
	uint8_t *area = vcpu->fpu;

	*(uint16_t *)(void *)&area[0] = 0x0040;		/* FCW */
	area[4] = 0xff;					/* FTW, abridged: all zeros, none empty */
	*(uint32_t *)(void *)&area[24] = 0x1f80;	/* MXCSR */
	if (vmx_caps.xsave)
		area[512] = 1;				/* XSTATE_BV: x87, as it isn't initial */
	vcpu->xcr0 = 1;
}

enum status vcpu_create(struct vm *vm, struct vcpu **out)
{
	void *pages;
	enum status status = port_pages_alloc(vcpu_order(), &pages);
	struct vcpu *vcpu = pages;

	if (status != STATUS_OK)
		return status;
	status = vpid_alloc(&vcpu->vpid);
	if (status != STATUS_OK) {
		port_pages_free(pages);
		return status;
	}
	vcpu->vm = vm;
	vcpu->vmcs = (uint8_t *)pages + PAGE_SIZE;
	vcpu->pml = (const uint64_t *)pages + 2 * PAGE_SIZE / sizeof(uint64_t);
	vcpu->fpu = (uint8_t *)pages + 3 * PAGE_SIZE;
	vcpu->host_cpu = CPU_NONE;
	vcpu->slice = port_tsc_hz() / 1000;
	if (vcpu->slice < 100000)
		vcpu->slice = 100000;	/* emulated: ticks are instructions there */
	vcpu->dr6 = 0xffff0ff0;
	fpu_reset(vcpu);
	*(uint32_t *)vcpu->vmcs = vmx_caps.revision;
	atomic_write(&vcpu->cpu, CPU_NONE);
	atomic_add(&vm->vcpus, 1);
	vmcs_clear(ptr_to_hpa(vcpu->vmcs));
	vcpu_load(vcpu);
	vcpu_setup_vmcs(vcpu);
	*out = vcpu;
	return STATUS_OK;
}

void vcpu_destroy(struct vcpu *vcpu)
{
	vcpu_put(vcpu);
	release_elsewhere(vcpu);
	atomic_sub(&vcpu->vm->vcpus, 1);
	vpid_free(vcpu->vpid);
	port_pages_free(vcpu);
}

struct vm *vcpu_vm(struct vcpu *vcpu)
{
	return vcpu->vm;
}

/* ------------------------------------------------------------------ XCR0 */

/* SDM "XSETBV": what is refused with #GP. */
static bool xcr0_valid(uint64_t xcr0)
{
	static const struct { uint64_t all; uint64_t needs; } groups[] = {
		{ 1 << 2, 1 << 1 },		/* AVX needs SSE */
		{ 3 << 3, 0 },			/* MPX: both or none */
		{ 7 << 5, 1 << 2 },		/* AVX-512: all or none, needs AVX */
		{ 3 << 17, 0 },			/* AMX */
	};

	if (!(xcr0 & 1) || (xcr0 & ~vmx_caps.xcr0))
		return false;
	for (unsigned i = 0; i < sizeof groups / sizeof groups[0]; i++) {
		uint64_t some = xcr0 & groups[i].all;

		if (some && (some != groups[i].all || (xcr0 & groups[i].needs) != groups[i].needs))
			return false;
	}
	return true;
}

enum status vcpu_set_xcr0(struct vcpu *vcpu, uint64_t value)
{
	if (!vmx_caps.xsave || !xcr0_valid(value))
		return STATUS_UNSUPPORTED;
	vcpu_load(vcpu);
	vcpu->xcr0 = value;
	insn_xsetbv(0, value);
	return STATUS_OK;
}

uint64_t vcpu_xcr0(struct vcpu *vcpu)
{
	return vcpu->xcr0;
}
