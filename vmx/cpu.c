/*
 * VMX on and off on each CPU, and what an NMI means to vmx.
 *
 * A vCPU's state stays in a CPU's registers (its VMCS current, its FPU loaded) until another vCPU
 * takes its place. When another CPU wants it, it asks by NMI, which gets through whatever this CPU
 * does, interrupts off or not:
 *
 *	wants the vCPU				has it loaded
 *	--------------				-------------
 *	evict = vcpu
 *	NMI				->	handler: moving? it is being unloaded: go back
 *						loaded == evict? unload: VMCLEAR, save registers
 *	await vcpu->cpu == NONE		<-	vcpu->cpu = NONE
 *
 * Only one CPU at a time uses a vCPU, so that the one that has it loaded is not in the middle of
 * using it: the handler finds it at rest or on its way out.
 */
#include "vmx/cpu.h"

#include "vmx/caps.h"
#include "vmx/insn.h"
#include "vmx/port.h"
#include "vmx/vcpu_state.h"
#include "vmx/vmcs.h"
#include "vmx/vmx.h"

#define CR0_MP          (UINT64_C(1) << 1)
#define CR0_EM          (UINT64_C(1) << 2)
#define CR0_TS          (UINT64_C(1) << 3)
#define CR0_NE          (UINT64_C(1) << 5)
#define CR4_OSFXSR      (UINT64_C(1) << 9)
#define CR4_OSXMMEXCPT  (UINT64_C(1) << 10)
#define CR4_VMXE        (UINT64_C(1) << 13)
#define CR4_OSXSAVE     (UINT64_C(1) << 18)

struct vmx_cpu vmx_cpus[MAX_CPUS];

extern const char vmx_entry_window_start[], vmx_entry_window_end[], vmx_entry_abort[];

/* The host never uses the FPU; it must only be able to save and load a guest's. */
static void set_control_registers(void)
{
	uint64_t cr4 = insn_read_cr4() | CR4_VMXE | CR4_OSFXSR | CR4_OSXMMEXCPT;

	if (vmx_caps.xsave)
		cr4 |= CR4_OSXSAVE;
	insn_write_cr0((insn_read_cr0() | CR0_NE | CR0_MP) & ~(CR0_EM | CR0_TS));
	insn_write_cr4(cr4);
	if (vmx_caps.xsave)
		insn_xsetbv(0, vmx_caps.xcr0);
}

/* SDM "Restrictions on VMX Operation". */
static bool control_registers_fit(void)
{
	uint64_t cr0 = insn_read_cr0(), cr4 = insn_read_cr4();

	return (cr0 & vmx_caps.cr0_fixed0) == vmx_caps.cr0_fixed0 &&
	       !(cr0 & ~vmx_caps.cr0_fixed1) &&
	       (cr4 & vmx_caps.cr4_fixed0) == vmx_caps.cr4_fixed0 &&
	       !(cr4 & ~vmx_caps.cr4_fixed1);
}

enum status vmx_cpu_on(void)
{
	struct vmx_cpu *cpu = vmx_this_cpu();
	enum status status = caps_allow_vmxon();

	if (status != STATUS_OK || cpu->on)
		return status;
	status = port_pages_alloc(0, &cpu->vmxon_region);
	if (status != STATUS_OK)
		return status;
	*(uint32_t *)cpu->vmxon_region = vmx_caps.revision;
	set_control_registers();
	cpu->on = control_registers_fit() && vmcs_vmxon(ptr_to_hpa(cpu->vmxon_region));
	if (!cpu->on) {
		insn_write_cr4(insn_read_cr4() & ~CR4_VMXE);
		port_pages_free(cpu->vmxon_region);
		return STATUS_UNSUPPORTED;
	}
	return STATUS_OK;
}

void vmx_cpu_off(void)
{
	struct vmx_cpu *cpu = vmx_this_cpu();
	uint64_t flags = insn_irq_save();

	if (cpu->on) {
		vcpu_unload(cpu);
		cpu->on = false;
		vmcs_vmxoff();
		insn_write_cr4(insn_read_cr4() & ~CR4_VMXE);
		port_pages_free(cpu->vmxon_region);
	}
	insn_irq_restore(flags);
}

bool vmx_cpu_is_on(void)
{
	return vmx_this_cpu()->on;
}

void vmx_nmi_in_host(uint64_t *rip)
{
	struct vmx_cpu *cpu = vmx_this_cpu();
	struct vcpu *loaded = (struct vcpu *)atomic_read(&cpu->loaded);

	if (*rip >= (uint64_t)vmx_entry_window_start && *rip < (uint64_t)vmx_entry_window_end)
		*rip = (uint64_t)vmx_entry_abort;
	if (atomic_read(&cpu->moving) || !loaded)
		return;			/* on no way into a guest */
	atomic_write(&loaded->kicked, 1);
	if ((uint64_t)loaded == atomic_read(&cpu->evict))
		vcpu_unload(cpu);
}
