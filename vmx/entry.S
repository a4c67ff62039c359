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
 */
#include "vmx/entry.h"

	.text

/*
 * RDI: vCPU, RSI: this CPU's `kicked`, DL: launched. EAX: ENTRY_... Keeps RBP, RSP, RDI only: its
 * one caller (vcpu_enter) tells the compiler, which then saves what it must and nothing twice.
 */
	.global vmx_enter
	.type vmx_enter, @function
vmx_enter:
	push	%rbp
	push	%rdi
	cmp	%rsp, ENTRY_HOST_RSP(%rdi)
	je	vmx_entry_window_start
	mov	%rsp, ENTRY_HOST_RSP(%rdi)
	mov	$ENTRY_HOST_RSP_FIELD, %eax
	vmwrite	%rsp, %rax

	.global vmx_entry_window_start, vmx_entry_window_end, vmx_entry_abort
vmx_entry_window_start:
	cmpl	$0, (%rsi)
	jne	vmx_entry_abort
	test	%dl, %dl		/* no instruction up to the jump writes flags */
	mov	ENTRY_REG(0)(%rdi), %rax
	mov	ENTRY_REG(1)(%rdi), %rcx
	mov	ENTRY_REG(2)(%rdi), %rdx
	mov	ENTRY_REG(3)(%rdi), %rbx
	mov	ENTRY_REG(5)(%rdi), %rbp
	mov	ENTRY_REG(6)(%rdi), %rsi
	mov	ENTRY_REG(8)(%rdi), %r8
	mov	ENTRY_REG(9)(%rdi), %r9
	mov	ENTRY_REG(10)(%rdi), %r10
	mov	ENTRY_REG(11)(%rdi), %r11
	mov	ENTRY_REG(12)(%rdi), %r12
	mov	ENTRY_REG(13)(%rdi), %r13
	mov	ENTRY_REG(14)(%rdi), %r14
	mov	ENTRY_REG(15)(%rdi), %r15
	mov	ENTRY_REG(7)(%rdi), %rdi
	jz	1f
	vmresume
	jmp	2f			/* an NMI here retries what failed, and it fails again */
1:	vmlaunch
vmx_entry_window_end:
2:	mov	$ENTRY_FAIL_INVALID, %eax
	jc	3f
	mov	$ENTRY_FAIL_VALID, %eax
3:	pop	%rdi
	pop	%rbp
	ret

vmx_entry_abort:
	mov	$ENTRY_KICKED, %eax
	pop	%rdi
	pop	%rbp
	ret

/* HOST_RIP. RSP is HOST_RSP; every other general register is the guest's. */
	.global vmx_exit
vmx_exit:
	push	%rdi
	mov	8(%rsp), %rdi
	mov	%rax, ENTRY_REG(0)(%rdi)
	mov	%rcx, ENTRY_REG(1)(%rdi)
	mov	%rdx, ENTRY_REG(2)(%rdi)
	mov	%rbx, ENTRY_REG(3)(%rdi)
	mov	%rbp, ENTRY_REG(5)(%rdi)
	mov	%rsi, ENTRY_REG(6)(%rdi)
	mov	%r8, ENTRY_REG(8)(%rdi)
	mov	%r9, ENTRY_REG(9)(%rdi)
	mov	%r10, ENTRY_REG(10)(%rdi)
	mov	%r11, ENTRY_REG(11)(%rdi)
	mov	%r12, ENTRY_REG(12)(%rdi)
	mov	%r13, ENTRY_REG(13)(%rdi)
	mov	%r14, ENTRY_REG(14)(%rdi)
	mov	%r15, ENTRY_REG(15)(%rdi)
	pop	ENTRY_REG(7)(%rdi)
	pop	%rdi
	pop	%rbp
	xor	%eax, %eax		/* ENTRY_EXITED */
	ret
	.size vmx_enter, . - vmx_enter

	.section .note.GNU-stack, "", @progbits
