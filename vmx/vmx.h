/*
 * The processor's virtual-machine extensions: what it can do, VMX on and off on each CPU.
 * CPUID is asked first; on a CPU without VMX nothing else of it is touched (on QEMU TCG setting
 * CR4.VMXE hangs the emulator).
 */
#ifndef VMX_VMX_H
#define VMX_VMX_H

#include "ept/ept.h"
#include "mm/base/check.h"

/* CPUID.1:ECX.VMX[5]. */
bool vmx_present(void);

/*
 * Reads the capability MSRs of this CPU and chooses every control from them. STATUS_UNSUPPORTED
 * when something required is missing; then `missing` (a string of at most `size` bytes) lists all
 * of it by SDM names, separated by ", ". Call once, on the boot CPU, before anything else here.
 */
MUST_USE enum status vmx_probe(char *missing, unsigned size);

/* What the EPT may be built with on this machine; valid after vmx_probe. */
const struct ept_caps *vmx_ept_caps(void);
/* Prints the chosen controls and capabilities by SDM name, a line each. */
void vmx_print_caps(void);

/* VMXON and VMXOFF on the CPU that calls. STATUS_UNSUPPORTED when firmware locked it off. */
MUST_USE enum status vmx_cpu_on(void);
void vmx_cpu_off(void);
bool vmx_cpu_is_on(void);

#endif
