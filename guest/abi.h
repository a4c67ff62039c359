/*
 * The contract between payloads and hypervisor. Everything here may be relied on by payload
 * files built elsewhere; assembled code includes it too.
 */
#ifndef GUEST_ABI_H
#define GUEST_ABI_H

/* A byte, word or dword v written here ends the VM with status (v << 1) | 1. */
#define ABI_EXIT_PORT        0xf4
/* Claimed by nobody: for timing a port exit. */
#define ABI_SCRATCH_PORT     0xf5
#define ABI_COM1             0x3f8

/* Flat payloads. */
#define ABI_FLAT_LOAD        0x10000	/* GPA of the first byte, and the entry */
#define ABI_FLAT_TABLES      0x1000	/* 0x1000..0x4fff: page tables, 0..2 GiB by 2 MiB pages */
#define ABI_FLAT_TABLE_FLAGS 0xe3
#define ABI_FLAT_MAILBOX     0x5000	/* also in RDI at entry */
#define ABI_FLAT_STACK       0x10000	/* RSP at entry: grows down from below the payload */
#define ABI_FLAT_REGION0     0x200000	/* bytes of region 0, from GPA 0 */
#define ABI_FLAT_REGION1     0x40000000	/* GPA of region 1, the test memory */

/* Mailbox, u64 each. */
#define ABI_MAIL_COMMAND     0x00
#define ABI_MAIL_BASE        0x08
#define ABI_MAIL_COUNT       0x10
#define ABI_MAIL_STRIDE      0x18
#define ABI_MAIL_VALUE       0x20
#define ABI_MAIL_TSC_START   0x28
#define ABI_MAIL_TSC_END     0x30
#define ABI_MAIL_SUM         0x38

/* Commands. 0 leaves the program: the mailbox of a freshly loaded payload says so. */
#define ABI_COMMAND_END      0
#define ABI_COMMAND_WRITE    1	/* one u64 in each page */
#define ABI_COMMAND_READ     2
#define ABI_COMMAND_CPUID    3
#define ABI_COMMAND_OUT      4
#define ABI_COMMAND_VMCALL   5	/* RAX = -1 */
#define ABI_COMMAND_LOOP     6

/*
 * CPUID leaves of this hypervisor. Signature: EAX = highest leaf, EBX:ECX:EDX = "foliovisor".
 * Machine: EAX = virtual CPUs, EBX = number of this one, ECX = TSC ticks a millisecond.
 */
#define ABI_CPUID_SIGNATURE  0x40000000
#define ABI_CPUID_MACHINE    0x40000001

/*
 * VMCALL at CPL 0: RAX says what, and has the result. Anything unknown does nothing and gives -1.
 * Start a CPU: RDI = its number (1..), RSI = RIP, RDX = RSP. It starts in 64-bit mode in the
 * caller's address space (CR3), interrupts off, RDI = its number. RAX = 0, or -1: no such CPU, or
 * it runs.
 */
#define ABI_CALL_START_CPU   1

#endif
