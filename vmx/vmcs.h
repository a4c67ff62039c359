/*
 * The current VMCS of this CPU, field by field. A failure is a bug of ours: it panics with the
 * field's SDM name and the VM-instruction error (SDM "VM-Instruction Error Numbers").
 * The _try forms are for tests and for the printing of a VMCS that is in doubt.
 */
#ifndef VMX_VMCS_H
#define VMX_VMCS_H

#include "mm/base/addr.h"
#include "mm/base/check.h"
#include "vmx/fields.h"

/* The field's SDM name, or NULL. */
const char *vmcs_field_name(enum vmcs_field field);
/* What SDM "VM-Instruction Error Numbers" says about it. */
const char *vmcs_error_text(uint64_t error);
/* The VM-instruction error of the current VMCS; 0 when there is none or no VMCS is current. */
uint64_t vmcs_instruction_error(void);

_Noreturn void vmcs_access_failed(const char *verb, enum vmcs_field field)
	__attribute__((cold));
_Noreturn void vmcs_instruction_failed(const char *verb, hpa_t vmcs) __attribute__((cold));

/* VMfailInvalid sets CF, VMfailValid sets ZF: SDM "Conventions" of the VMX instructions. */
static inline uint64_t vmcs_read(enum vmcs_field field)
{
	uint64_t value;

	__asm__ goto("vmread %[field], %[value]; jna %l[failed]"
		     : [value] "=r"(value) : [field] "r"((uint64_t)field)
		     : "cc", "memory" : failed);
	return value;
failed:
	vmcs_access_failed("VMREAD", field);
}

static inline void vmcs_write(enum vmcs_field field, uint64_t value)
{
	__asm__ goto("vmwrite %[value], %[field]; jna %l[failed]"
		     :: [value] "r"(value), [field] "r"((uint64_t)field) : "cc", "memory" : failed);
	return;
failed:
	vmcs_access_failed("VMWRITE", field);
}

MUST_USE bool vmcs_try_read(enum vmcs_field field, uint64_t *value);
MUST_USE bool vmcs_try_write(enum vmcs_field field, uint64_t value);

/* Makes it this CPU's current VMCS. */
void vmcs_load(hpa_t vmcs);
/* Writes what the CPU caches of it to memory and makes it inactive here; launch state clear. */
void vmcs_clear(hpa_t vmcs);

MUST_USE bool vmcs_vmxon(hpa_t region);
void vmcs_vmxoff(void);

#endif
