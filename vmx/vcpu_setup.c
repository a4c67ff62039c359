/*
 * What a new VMCS holds: controls as caps.c chose them, and the state of SDM "Processor State
 * After Reset". Straight lists of fields.
 */
#include "vmx/caps.h"
#include "vmx/insn.h"
#include "vmx/vcpu_state.h"

enum { VECTOR_DB = 1, VECTOR_AC = 17, VECTOR_MC = 18 };

extern const char vmx_exit[];

/*
 * #DB and #AC always exit: a guest can make their delivery raise them again without end, and no
 * NMI and no timer gets in between. intercept.c gives them back. A machine check is the host's.
 */
static uint32_t exception_bitmap(const struct vm *vm)
{
	return vm->exceptions | 1 << VECTOR_DB | 1 << VECTOR_AC | 1 << VECTOR_MC;
}

static void setup_controls(struct vcpu *vcpu)
{
	const struct vm *vm = vcpu->vm;

	vcpu->primary = vmx_caps.control[PRIMARY];
	vmcs_write(VMCS_PIN_CONTROLS, vmx_caps.control[PIN]);
	vmcs_write(VMCS_PRIMARY_CONTROLS, vcpu->primary);
	vmcs_write(VMCS_SECONDARY_CONTROLS, vmx_caps.control[SECONDARY]);
	vmcs_write(VMCS_EXIT_CONTROLS, vmx_caps.control[EXIT]);
	vmcs_write(VMCS_ENTRY_CONTROLS, vmx_caps.control[ENTRY]);
	vmcs_write(VMCS_EXCEPTION_BITMAP, exception_bitmap(vm));
	/* Mask and match 0: every page fault, if the bitmap has it. */
	vmcs_write(VMCS_PAGE_FAULT_MASK, 0);
	vmcs_write(VMCS_PAGE_FAULT_MATCH, 0);
	vmcs_write(VMCS_CR3_TARGET_COUNT, 0);
	vmcs_write(VMCS_EXIT_MSR_STORE_COUNT, 0);
	vmcs_write(VMCS_EXIT_MSR_LOAD_COUNT, 0);
	vmcs_write(VMCS_ENTRY_MSR_LOAD_COUNT, 0);
	vmcs_write(VMCS_ENTRY_EVENT, 0);
	vmcs_write(VMCS_TIMER, 0);
	vmcs_write(VMCS_MSR_BITMAP, ptr_to_hpa(vm->msr_bitmap).raw);
	vmcs_write(VMCS_IO_BITMAP_A, ptr_to_hpa(vm->io_bitmaps).raw);
	vmcs_write(VMCS_IO_BITMAP_B, ptr_to_hpa(vm->io_bitmaps).raw + PAGE_SIZE);
	vmcs_write(VMCS_EPT_POINTER, vm->eptp);
	vmcs_write(VMCS_TSC_OFFSET, 0);
	vmcs_write(VMCS_LINK_POINTER, ~UINT64_C(0));
	vmcs_write(VMCS_CR0_MASK, vcpu_cr0_owned());
	vmcs_write(VMCS_CR4_MASK, vcpu_cr4_owned());
	vmcs_write(VMCS_HOST_RIP, (uint64_t)vmx_exit);
	vmcs_write(VMCS_HOST_RSP, (uint64_t)&vcpu->host_stack);
	if (vmx_caps.vpid)
		vmcs_write(VMCS_VPID, vcpu->vpid);
	if (!vmx_caps.pml)
		return;
	vmcs_write(VMCS_PML_ADDRESS, ptr_to_hpa(vcpu->pml).raw);
	vmcs_write(VMCS_PML_INDEX, EPT_PML_LAST);
}

static void reset_segments(struct vcpu *vcpu)
{
	static const struct vcpu_segment_state data = { 0, 0xffff, 0x93, 0 };

	for (unsigned i = SEGMENT_ES; i <= SEGMENT_GS; i++)
		vcpu_set_segment(vcpu, (enum vcpu_segment)i, &data);
	vcpu_set_segment(vcpu, SEGMENT_CS,
			 &(struct vcpu_segment_state){ 0xf000, 0xffff, 0x9b, 0xffff0000 });
	vcpu_set_segment(vcpu, SEGMENT_LDTR, &(struct vcpu_segment_state){ 0, 0xffff, 0x82, 0 });
	vcpu_set_segment(vcpu, SEGMENT_TR, &(struct vcpu_segment_state){ 0, 0xffff, 0x8b, 0 });
}

static void reset_state(struct vcpu *vcpu)
{
	reset_segments(vcpu);
	vmcs_write(VMCS_GUEST_GDTR_BASE, 0);
	vmcs_write(VMCS_GUEST_GDTR_LIMIT, 0xffff);
	vmcs_write(VMCS_GUEST_IDTR_BASE, 0);
	vmcs_write(VMCS_GUEST_IDTR_LIMIT, 0xffff);
	vmcs_write(VMCS_GUEST_DR7, 0x400);
	vmcs_write(VMCS_GUEST_RSP, 0);
	vmcs_write(VMCS_GUEST_RIP, 0xfff0);
	vmcs_write(VMCS_GUEST_RFLAGS, 2);
	vmcs_write(VMCS_GUEST_DEBUGCTL, 0);
	vmcs_write(VMCS_GUEST_PENDING_DEBUG, 0);
	vmcs_write(VMCS_GUEST_INTERRUPTIBILITY, 0);
	vmcs_write(VMCS_GUEST_ACTIVITY, 0);
	vmcs_write(VMCS_GUEST_SYSENTER_CS, 0);
	vmcs_write(VMCS_GUEST_SYSENTER_ESP, 0);
	vmcs_write(VMCS_GUEST_SYSENTER_EIP, 0);
	vmcs_write(VMCS_GUEST_CR3, 0);
	vmcs_write(VMCS_GUEST_EFER, 0);
	vmcs_write(VMCS_GUEST_PAT, UINT64_C(0x0007040600070406));
	vcpu_set_control(vcpu, CONTROL_CR4, 0);
	vcpu_set_control(vcpu, CONTROL_CR0, CR0_CD | CR0_NW | CR0_ET);
	vcpu_set_reg(vcpu, REG_RDX, insn_cpuid(1, 0).eax);	/* the processor's signature */
}

void vcpu_setup_vmcs(struct vcpu *vcpu)
{
	setup_controls(vcpu);
	reset_state(vcpu);
}
