/*
 * The state of a vCPU that is not running, for whoever answers its exits. Each function brings the
 * vCPU to this CPU first, if it has to touch the VMCS.
 */
#include "vmx/caps.h"
#include "vmx/insn.h"
#include "vmx/vcpu.h"
#include "vmx/vcpu_state.h"

/*
 * CR4 bits whose feature vmx can give to a guest; PKE, CET, LA57, UINTR, ... it can't. Not MCE: a
 * machine check while it is clear shuts the machine down. The guest only believes that it has it.
 */
#define CR4_GUEST (UINT64_C(0x00370fff) & ~CR4_MCE)

/*
 * Always 1, or always 0, while a guest runs, apart from PE and PG, which an unrestricted guest
 * may choose; and CD and NW, with which it would turn off the host's caches.
 */
uint64_t vcpu_cr0_owned(void)
{
	return (vmx_caps.cr0_fixed0 | ~vmx_caps.cr0_fixed1 | CR0_CD | CR0_NW) & ~(CR0_PE | CR0_PG);
}

uint64_t vcpu_cr4_owned(void)
{
	return ~(CR4_GUEST & vmx_caps.cr4_fixed1) | vmx_caps.cr4_fixed0;
}

/* ------------------------------------------------------------------ registers */

static enum vmcs_field register_field(enum vcpu_reg reg)
{
	if (reg == REG_RSP)
		return VMCS_GUEST_RSP;
	return reg == REG_RIP ? VMCS_GUEST_RIP : VMCS_GUEST_RFLAGS;
}

uint64_t vcpu_vmcs_reg(struct vcpu *vcpu, enum vcpu_reg reg)
{
	vcpu_load(vcpu);
	return vmcs_read(register_field(reg));
}

void vcpu_set_vmcs_reg(struct vcpu *vcpu, enum vcpu_reg reg, uint64_t value)
{
	vcpu_load(vcpu);
	vmcs_write(register_field(reg), value);
}

uint64_t vcpu_exit_linear(struct vcpu *vcpu)
{
	vcpu_load(vcpu);
	return vmcs_read(VMCS_GUEST_LINEAR);
}

void vcpu_skip(struct vcpu *vcpu, uint32_t length)
{
	vcpu_load(vcpu);
	skip_instruction(length);
}

/* ------------------------------------------------------------------ control registers */

/*
 * SDM "Loading Page-Directory-Pointer-Table Entries": with EPT they are in the VMCS. What can't
 * be read is left as it was: entries that are not present, at first.
 */
static void load_pdptes(struct vcpu *vcpu)
{
	uint64_t entries[4];
	gpa_t table = gpa(vmcs_read(VMCS_GUEST_CR3) & UINT64_C(0xffffffe0));

	if (!vcpu->vm->ept ||
	    ept_read_guest(vcpu->vm->ept, table, entries, sizeof entries) != STATUS_OK)
		return;
	for (unsigned i = 0; i < 4; i++)
		vmcs_write(VMCS_SEGMENT(VMCS_GUEST_PDPTE0, i), entries[i]);
}

/*
 * Once it runs, the CPU keeps all this right by itself, the entry control too: SDM "Saving
 * Control Registers, Debug Registers, and MSRs".
 */
void vcpu_sync_paging(struct vcpu *vcpu)
{
	uint64_t cr0 = vmcs_read(VMCS_GUEST_CR0), efer = vmcs_read(VMCS_GUEST_EFER);
	uint64_t controls = vmcs_read(VMCS_ENTRY_CONTROLS) & ~(uint64_t)ENTRY_IA32E_GUEST;

	efer &= ~EFER_LMA;
	if ((efer & EFER_LME) && (cr0 & CR0_PG)) {
		efer |= EFER_LMA;
		controls |= ENTRY_IA32E_GUEST;
	} else if ((cr0 & CR0_PG) && (vmcs_read(VMCS_GUEST_CR4) & CR4_PAE)) {
		load_pdptes(vcpu);
	}
	vmcs_write(VMCS_GUEST_EFER, efer);
	vmcs_write(VMCS_ENTRY_CONTROLS, controls);
	vcpu->expected = EXPECT_NOTHING;
}

static uint64_t seen_by_guest(enum vmcs_field real, enum vmcs_field shadow, uint64_t owned)
{
	return (vmcs_read(real) & ~owned) | (vmcs_read(shadow) & owned);
}

uint64_t vcpu_control(struct vcpu *vcpu, enum vcpu_control control)
{
	vcpu_load(vcpu);
	switch (control) {
	case CONTROL_CR0:
		return seen_by_guest(VMCS_GUEST_CR0, VMCS_CR0_SHADOW, vcpu_cr0_owned());
	case CONTROL_CR2:
		return insn_read_cr2();
	case CONTROL_CR3:
		return vmcs_read(VMCS_GUEST_CR3);
	case CONTROL_CR4:
		return seen_by_guest(VMCS_GUEST_CR4, VMCS_CR4_SHADOW, vcpu_cr4_owned());
	case CONTROL_EFER:
		return vmcs_read(VMCS_GUEST_EFER);
	case CONTROL_PAT:
		return vmcs_read(VMCS_GUEST_PAT);
	}
	return 0;
}

static void set_cr0(uint64_t value)
{
	uint64_t forced = vmx_caps.cr0_fixed0 & ~(CR0_PE | CR0_PG);

	vmcs_write(VMCS_GUEST_CR0, (value & ~vcpu_cr0_owned()) | forced);
	vmcs_write(VMCS_CR0_SHADOW, value);
}

static void set_cr4(uint64_t value)
{
	vmcs_write(VMCS_GUEST_CR4,
		   (value & ~vcpu_cr4_owned()) | vmx_caps.cr4_fixed0 | (insn_read_cr4() & CR4_MCE));
	vmcs_write(VMCS_CR4_SHADOW, value);
}

void vcpu_set_control(struct vcpu *vcpu, enum vcpu_control control, uint64_t value)
{
	vcpu_load(vcpu);
	switch (control) {
	case CONTROL_CR0:
		set_cr0(value);
		break;
	case CONTROL_CR2:
		insn_write_cr2(value);
		return;
	case CONTROL_CR3:
		vmcs_write(VMCS_GUEST_CR3, value);
		break;
	case CONTROL_CR4:
		set_cr4(value);
		break;
	case CONTROL_EFER:
		vmcs_write(VMCS_GUEST_EFER, value);
		break;
	case CONTROL_PAT:
		vmcs_write(VMCS_GUEST_PAT, value);
		return;
	}
	vcpu_sync_paging(vcpu);
}

/* ------------------------------------------------------------------ segments, tables, TSC */

void vcpu_segment(struct vcpu *vcpu, enum vcpu_segment segment, struct vcpu_segment_state *out)
{
	vcpu_load(vcpu);
	out->selector = (uint16_t)vmcs_read(VMCS_SEGMENT(VMCS_GUEST_ES, segment));
	out->limit = (uint32_t)vmcs_read(VMCS_SEGMENT(VMCS_GUEST_ES_LIMIT, segment));
	out->access = (uint32_t)vmcs_read(VMCS_SEGMENT(VMCS_GUEST_ES_ACCESS, segment));
	out->base = vmcs_read(VMCS_SEGMENT(VMCS_GUEST_ES_BASE, segment));
}

void vcpu_set_segment(struct vcpu *vcpu, enum vcpu_segment segment,
		      const struct vcpu_segment_state *state)
{
	vcpu_load(vcpu);
	vmcs_write(VMCS_SEGMENT(VMCS_GUEST_ES, segment), state->selector);
	vmcs_write(VMCS_SEGMENT(VMCS_GUEST_ES_LIMIT, segment), state->limit);
	vmcs_write(VMCS_SEGMENT(VMCS_GUEST_ES_ACCESS, segment), state->access);
	vmcs_write(VMCS_SEGMENT(VMCS_GUEST_ES_BASE, segment), state->base);
}

void vcpu_set_tsc_offset(struct vcpu *vcpu, uint64_t offset)
{
	vcpu_load(vcpu);
	vmcs_write(VMCS_TSC_OFFSET, offset);
}

uint64_t vcpu_tsc_offset(struct vcpu *vcpu)
{
	vcpu_load(vcpu);
	return vmcs_read(VMCS_TSC_OFFSET);
}

/* ------------------------------------------------------------------ start states */

static void start(struct vcpu *vcpu, const struct vcpu_segment_state *code,
		  const struct vcpu_segment_state *other, uint64_t rip)
{
	for (unsigned i = 0; i < 16; i++)
		vcpu->regs.at[i] = 0;
	for (unsigned i = SEGMENT_ES; i <= SEGMENT_GS; i++)
		vcpu_set_segment(vcpu, (enum vcpu_segment)i, i == SEGMENT_CS ? code : other);
	vcpu_set_segment(vcpu, SEGMENT_LDTR, &(struct vcpu_segment_state){ 0, 0xffff, 0x82, 0 });
	/* A busy 32-bit or 64-bit TSS, which both modes accept. */
	vcpu_set_segment(vcpu, SEGMENT_TR, &(struct vcpu_segment_state){ 0, 0xffff, 0x8b, 0 });
	vmcs_write(VMCS_GUEST_RSP, 0);
	vmcs_write(VMCS_GUEST_RIP, rip);
	vmcs_write(VMCS_GUEST_RFLAGS, 2);
	vmcs_write(VMCS_GUEST_INTERRUPTIBILITY, 0);
	vmcs_write(VMCS_GUEST_ACTIVITY, 0);
	vmcs_write(VMCS_GUEST_PENDING_DEBUG, 0);
	vmcs_write(VMCS_ENTRY_EVENT, 0);
}

static void start_controls(struct vcpu *vcpu, uint64_t cr0, uint64_t cr3, uint64_t cr4,
			   uint64_t efer)
{
	vcpu_set_control(vcpu, CONTROL_CR3, cr3);
	vcpu_set_control(vcpu, CONTROL_EFER, efer);
	vcpu_set_control(vcpu, CONTROL_CR4, cr4);
	vcpu_set_control(vcpu, CONTROL_CR0, cr0);
}

void vcpu_start_real(struct vcpu *vcpu, uint16_t segment, uint16_t offset)
{
	const struct vcpu_segment_state code = { segment, 0xffff, 0x9b, (uint64_t)segment << 4 };

	start(vcpu, &code, &(struct vcpu_segment_state){ 0, 0xffff, 0x93, 0 }, offset);
	start_controls(vcpu, CR0_ET, 0, 0, 0);
}

void vcpu_start_protected(struct vcpu *vcpu, uint32_t eip)
{
	start(vcpu, &(struct vcpu_segment_state){ 0x08, UINT32_MAX, 0xc09b, 0 },
	      &(struct vcpu_segment_state){ 0x10, UINT32_MAX, 0xc093, 0 }, eip);
	start_controls(vcpu, CR0_ET | CR0_PE, 0, 0, 0);
}

void vcpu_start_long(struct vcpu *vcpu, uint64_t rip, uint64_t cr3)
{
	start(vcpu, &(struct vcpu_segment_state){ 0x08, UINT32_MAX, 0xa09b, 0 },
	      &(struct vcpu_segment_state){ 0x10, UINT32_MAX, 0xc093, 0 }, rip);
	start_controls(vcpu, CR0_ET | CR0_PE | CR0_PG, cr3, CR4_PAE, EFER_LME);
}
