/*
 * Events on their way into a guest: injection at the next entry, the window for interrupts, and
 * those that an exit cut off. SDM "Event Injection".
 */
#include "vmx/caps.h"
#include "vmx/insn.h"
#include "vmx/vcpu.h"
#include "vmx/vcpu_state.h"

/*
 * What the next entry delivers. In real mode no exception has an error code, and an entry with
 * one is refused: SDM "VM-Entry Control Fields", under "Checks on VMX Controls".
 */
static void write_event(uint32_t event, uint32_t error_code)
{
	if (event & EVENT_ERROR_CODE) {
		if (vmcs_read(VMCS_GUEST_CR0) & CR0_PE)
			vmcs_write(VMCS_ENTRY_ERROR_CODE, error_code);
		else
			event &= ~EVENT_ERROR_CODE;
	}
	vmcs_write(VMCS_ENTRY_EVENT, event);
}

/*
 * An entry with TF and a shadow but no pending single step is refused too: SDM "Checks on Guest
 * Non-Register State".
 */
void vcpu_inject(struct vcpu *vcpu, uint8_t vector, uint32_t type, int64_t error_code,
		 uint32_t length)
{
	uint32_t event = EVENT_VALID | EVENT_TYPE(type) | vector;
	uint64_t blocking;

	vcpu_load(vcpu);
	blocking = vmcs_read(VMCS_GUEST_INTERRUPTIBILITY);
	if (blocking & (BLOCKING_STI | BLOCKING_MOV_SS))
		vmcs_write(VMCS_GUEST_INTERRUPTIBILITY,
			   blocking & ~(uint64_t)(BLOCKING_STI | BLOCKING_MOV_SS));
	if (type >= TYPE_SOFT_INTERRUPT)
		vmcs_write(VMCS_ENTRY_LENGTH, length);
	if (error_code != NO_ERROR_CODE)
		event |= EVENT_ERROR_CODE;
	write_event(event, (uint32_t)error_code);
}

void vcpu_inject_exception(struct vcpu *vcpu, uint8_t vector, int64_t error_code)
{
	vcpu_inject(vcpu, vector, TYPE_EXCEPTION, error_code, 0);
}

bool vcpu_can_take_interrupt(struct vcpu *vcpu)
{
	vcpu_load(vcpu);
	return (vmcs_read(VMCS_GUEST_RFLAGS) & RFLAGS_IF) &&
		!(vmcs_read(VMCS_GUEST_INTERRUPTIBILITY) & (BLOCKING_STI | BLOCKING_MOV_SS)) &&
		!(vmcs_read(VMCS_ENTRY_EVENT) & EVENT_VALID);
}

void vcpu_inject_interrupt(struct vcpu *vcpu, uint8_t vector)
{
	vcpu_load(vcpu);
	vmcs_write(VMCS_ENTRY_EVENT, EVENT_VALID | EVENT_TYPE(TYPE_INTERRUPT) | vector);
}

void vcpu_want_irq_window(struct vcpu *vcpu, bool wanted)
{
	uint32_t primary = vcpu->primary & ~PRIMARY_IRQ_WINDOW;

	if (wanted)
		primary |= PRIMARY_IRQ_WINDOW;
	if (primary == vcpu->primary)
		return;
	vcpu_load(vcpu);
	vmcs_write(VMCS_PRIMARY_CONTROLS, primary);
	vcpu->primary = primary;
}

/* In real mode the field has no error code, says the SDM; Bochs gives one. */
void vcpu_requeue(uint32_t event)
{
	write_event(event & 0x80000fff,		/* bit 12 is undefined */
		    (uint32_t)vmcs_read(VMCS_VECTORING_ERROR_CODE));
	if ((event >> 8 & 7) >= TYPE_SOFT_INTERRUPT)
		vmcs_write(VMCS_ENTRY_LENGTH, vmcs_read(VMCS_EXIT_LENGTH));
}
