/* What entry.S and C agree about. Checked by assertions in run.c. */
#ifndef VMX_ENTRY_H
#define VMX_ENTRY_H

/* struct vcpu: registers in SDM order, then what the HOST_RSP field holds. */
#define ENTRY_REG(n)         ((n) * 8)
#define ENTRY_HOST_RSP       128

#define ENTRY_HOST_RSP_FIELD 0x6c14

#define ENTRY_EXITED         0	/* the guest ran, or its state was refused: see the exit reason */
#define ENTRY_KICKED         1	/* it did not: an NMI came first */
#define ENTRY_FAIL_INVALID   2	/* VMfailInvalid: no current VMCS */
#define ENTRY_FAIL_VALID     3	/* VMfailValid: see the VM-instruction error */

#endif
