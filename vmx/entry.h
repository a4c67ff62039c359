/* What entry.S and C agree about. Checked by assertions in run.c. */
#ifndef VMX_ENTRY_H
#define VMX_ENTRY_H

/* struct vcpu: registers in SDM order, then the host's stack while the guest runs, and `kicked`. */
#define ENTRY_REG(n)         ((n) * 8)
#define ENTRY_HOST_STACK     128
#define ENTRY_KICKED         136

/* The VM-instruction error's field, and the error of a VMRESUME after VMCLEAR. */
#define ENTRY_ERROR_FIELD    0x4400
#define ENTRY_NOT_LAUNCHED   5

#endif
