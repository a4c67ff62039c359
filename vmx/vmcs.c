/* The VMCS instructions, and words for what may go wrong with them. Any CPU in VMX operation. */
#include "vmx/vmcs.h"

const char *vmcs_field_name(enum vmcs_field field)
{
	static const struct { enum vmcs_field field; const char *name; } names[] = {
#define FIELD(name, encoding, text) { VMCS_##name, text },
		VMCS_FIELDS(FIELD)
#undef FIELD
	};

	for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++)
		if (names[i].field == field)
			return names[i].name;
	return NULL;
}

const char *vmcs_error_text(uint64_t error)
{
	static const char *const texts[] = {
		[1] = "VMCALL executed in VMX root operation",
		[2] = "VMCLEAR with invalid physical address",
		[3] = "VMCLEAR with VMXON pointer",
		[4] = "VMLAUNCH with non-clear VMCS",
		[5] = "VMRESUME with non-launched VMCS",
		[6] = "VMRESUME after VMXOFF",
		[7] = "VM entry with invalid control field(s)",
		[8] = "VM entry with invalid host-state field(s)",
		[9] = "VMPTRLD with invalid physical address",
		[10] = "VMPTRLD with VMXON pointer",
		[11] = "VMPTRLD with incorrect VMCS revision identifier",
		[12] = "VMREAD/VMWRITE from/to unsupported VMCS component",
		[13] = "VMWRITE to read-only VMCS component",
		[15] = "VMXON executed in VMX root operation",
		[16] = "VM entry with invalid executive-VMCS pointer",
		[17] = "VM entry with non-launched executive VMCS",
		[18] = "VM entry with executive-VMCS pointer not VMXON pointer",
		[19] = "VMCALL with non-clear VMCS",
		[20] = "VMCALL with invalid VM-exit control fields",
		[22] = "VMCALL with incorrect MSEG revision identifier",
		[23] = "VMXOFF under dual-monitor treatment of SMIs and SMM",
		[24] = "VMCALL with invalid SMM-monitor features",
		[25] = "VM entry with invalid VM-execution control fields in executive VMCS",
		[26] = "VM entry with events blocked by MOV SS",
		[28] = "invalid operand to INVEPT/INVVPID",
	};

	if (error < sizeof texts / sizeof texts[0] && texts[error])
		return texts[error];
	return error ? "a VM-instruction error this SDM does not list" : "no current VMCS";
}

bool vmcs_try_read(enum vmcs_field field, uint64_t *value)
{
	bool failed;

	__asm__ volatile("vmread %[field], %[value]"
			 : [value] "=r"(*value), "=@ccna"(failed)
			 : [field] "r"((uint64_t)field) : "memory");
	return !failed;
}

bool vmcs_try_write(enum vmcs_field field, uint64_t value)
{
	bool failed;

	__asm__ volatile("vmwrite %[value], %[field]"
			 : "=@ccna"(failed)
			 : [value] "r"(value), [field] "r"((uint64_t)field) : "memory");
	return !failed;
}

uint64_t vmcs_instruction_error(void)
{
	uint64_t error;

	return vmcs_try_read(VMCS_INSTRUCTION_ERROR, &error) ? error : 0;
}

void vmcs_access_failed(const char *verb, enum vmcs_field field)
{
	uint64_t error = vmcs_instruction_error();
	const char *name = vmcs_field_name(field);

	port_panic("%s of %s (field 0x%x): %s", verb, name ? name : "an unknown field",
		   (unsigned)field, vmcs_error_text(error));
}

void vmcs_instruction_failed(const char *verb, hpa_t vmcs)
{
	uint64_t error = vmcs_instruction_error();

	port_panic("%s of the VMCS at 0x%llx: %s", verb, (unsigned long long)vmcs.raw,
		   vmcs_error_text(error));
}

void vmcs_load(hpa_t vmcs)
{
	bool failed;

	__asm__ volatile("vmptrld %[at]" : "=@ccna"(failed) : [at] "m"(vmcs.raw) : "memory");
	if (failed)
		vmcs_instruction_failed("VMPTRLD", vmcs);
}

void vmcs_clear(hpa_t vmcs)
{
	bool failed;

	__asm__ volatile("vmclear %[at]" : "=@ccna"(failed) : [at] "m"(vmcs.raw) : "memory");
	if (failed)
		vmcs_instruction_failed("VMCLEAR", vmcs);
}

bool vmcs_vmxon(hpa_t region)
{
	bool failed;

	__asm__ volatile("vmxon %[at]" : "=@ccna"(failed) : [at] "m"(region.raw) : "memory");
	return !failed;
}

void vmcs_vmxoff(void)
{
	__asm__ volatile("vmxoff" ::: "cc", "memory");
}
