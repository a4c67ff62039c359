/*
 * What vmx keeps for each CPU: VMX operation, the one vCPU whose state is in the CPU's registers,
 * and which one an NMI asks for (see cpu.c). Written by its own CPU only, except where another is
 * named.
 */
#ifndef VMX_CPU_H
#define VMX_CPU_H

#include "mm/base/atomic.h"
#include "mm/base/check.h"

struct vcpu;

struct vmx_cpu {
	atomic32_t moving;		/* a vCPU is being loaded or unloaded here */
	atomic64_t loaded;		/* struct vcpu *, or 0 */
	atomic64_t evict;		/* struct vcpu * another CPU waits for; it writes this */
	void *vmxon_region;
	bool on;
};

extern struct vmx_cpu vmx_cpus[MAX_CPUS];

static inline struct vmx_cpu *vmx_this_cpu(void) { return &vmx_cpus[port_cpu()]; }

#endif
