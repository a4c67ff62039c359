/*
 * What the vCPUs of one VM share: the EPT, the intercept bitmaps. Decides nothing: every port and
 * every MSR exits, but for those that each vCPU has of its own: FS_BASE, GS_BASE, KERNEL_GS_BASE,
 * EFER, PAT, SYSENTER_*, STAR, LSTAR, CSTAR, FMASK.
 */
#ifndef VMX_VM_H
#define VMX_VM_H

#include "ept/ept.h"

struct vm;

/* STATUS_NO_MEMORY. The caller keeps `ept` until vm_destroy. */
MUST_USE enum status vm_create(struct ept *ept, struct vm **out);
/* All its vCPUs are gone already. */
void vm_destroy(struct vm *vm);
struct ept *vm_ept(struct vm *vm);

/*
 * One bit a vector that shall exit instead of reaching the guest; default none. For tests and
 * debuggers. Before its vCPUs are created.
 */
void vm_catch_exceptions(struct vm *vm, uint32_t vectors);
/* Let the guest at a port or an MSR without an exit. Before its vCPUs run. */
void vm_pass_port(struct vm *vm, uint16_t port);
void vm_pass_msr(struct vm *vm, uint32_t msr);

#endif
