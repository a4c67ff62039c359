/* What entry.S and C agree about. Checked by assertions in run.c. */
#ifndef VMX_ENTRY_H
#define VMX_ENTRY_H

/* struct vcpu: registers in SDM order, then the host's stack while the guest runs, and `launched`. */
#define ENTRY_REG(n)         ((n) * 8)
#define ENTRY_HOST_STACK     128
#define ENTRY_LAUNCHED       136

#endif
