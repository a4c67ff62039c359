/*
 * Into the guest and out again. Called by run.c with interrupts off and the vCPU's VMCS current.
 *
 * A kick is an NMI. One that comes while the guest runs makes it exit. One that comes earlier,
 * after the caller cleared `kicked`, must stop the entry:
 *
 *	before window_start		the handler sets `kicked`; the first instruction of the
 *					window looks at it
 *	inside the window		the handler finds RIP in it, and sets RIP to vmx_entry_abort
 *	at VMLAUNCH or VMRESUME		it is delivered after the entry, and exits
 *
 * (cpu.c, vmx_nmi_in_host). Inside the window the general registers become the guest's, RSP
 * never: the abort path needs no other.
 *
 * Only the VMCS knows whether it was launched since its VMCLEAR. The first VMRESUME says that it
 * was not, and VMLAUNCH follows.
 */
#include "vmx/entry.h"

	.text

/*
 * RBX: vCPU. CF clear: the guest was entered and left. Keeps RBX, RBP and RSP only: its one caller
 * (vcpu_enter) tells the compiler.
 */
	.global vmx_enter
	.type vmx_enter, @function
vmx_enter:
	push	%rbp
	push	%rbx
	mov	%rsp, ENTRY_HOST_STACK(%rbx)

	.global vmx_entry_window_start, vmx_entry_window_end, vmx_entry_abort
vmx_entry_window_start:
	cmpl	$0, ENTRY_KICKED(%rbx)
	jne	vmx_entry_abort
	mov	ENTRY_REG(0)(%rbx), %rax
	mov	ENTRY_REG(1)(%rbx), %rcx
	mov	ENTRY_REG(2)(%rbx), %rdx
	mov	ENTRY_REG(5)(%rbx), %rbp
	mov	ENTRY_REG(6)(%rbx), %rsi
	mov	ENTRY_REG(7)(%rbx), %rdi
	mov	ENTRY_REG(8)(%rbx), %r8
	mov	ENTRY_REG(9)(%rbx), %r9
	mov	ENTRY_REG(10)(%rbx), %r10
	mov	ENTRY_REG(11)(%rbx), %r11
	mov	ENTRY_REG(12)(%rbx), %r12
	mov	ENTRY_REG(13)(%rbx), %r13
	mov	ENTRY_REG(14)(%rbx), %r14
	mov	ENTRY_REG(15)(%rbx), %r15
	mov	ENTRY_REG(3)(%rbx), %rbx
	vmresume
	mov	$ENTRY_ERROR_FIELD, %eax	/* it failed; an NMI from here on retries it */
	vmread	%rax, %rax
	cmp	$ENTRY_NOT_LAUNCHED, %eax
	jne	vmx_entry_abort
	mov	(%rsp), %rbx
	mov	ENTRY_REG(0)(%rbx), %rax
	mov	ENTRY_REG(3)(%rbx), %rbx
	vmlaunch
vmx_entry_window_end:

vmx_entry_abort:
	stc
	pop	%rbx
	pop	%rbp
	ret

/*
 * HOST_RIP. RSP is HOST_RSP: behind the vCPU's registers, which are pushed down on their
 * places, the last one first; the general registers are the guest's. Interrupts are off, an NMI
 * and a machine check have stacks of their own. Flags are clear (SDM "Loading Host RIP, RSP,
 * SSP, and RFLAGS"), and stay so.
 */
	.global vmx_exit
vmx_exit:
	push	%r15
	push	%r14
	push	%r13
	push	%r12
	push	%r11
	push	%r10
	push	%r9
	push	%r8
	push	%rdi
	push	%rsi
	push	%rbp
	push	%rax			/* RSP's place: it is in the VMCS */
	push	%rbx
	push	%rdx
	push	%rcx
	push	%rax
	mov	ENTRY_HOST_STACK(%rsp), %rsp
	pop	%rbx
	pop	%rbp
	ret
	.size vmx_enter, . - vmx_enter

	.section .note.GNU-stack, "", @progbits
