/*
 * Interrupt entries of a payload: 48 vectors that all end in trap(vector, error, frame). A trap
 * handler that returns true has the interrupted instruction's RIP set by frame->rip.
 */
	.text
	.balign 16
	.globl trap_entries
trap_entries:
	.set vector, 0
	.rept 48
	.balign 16
	/* SDM "Exception and Interrupt Reference": these bring an error code of their own. */
	.if !((vector == 8) || (vector >= 10 && vector <= 14) || (vector == 17) || (vector == 21))
	push	$0
	.endif
	push	$vector
	jmp	common
	.set vector, vector + 1
	.endr

common:
	push	%rax
	push	%rcx
	push	%rdx
	push	%rsi
	push	%rdi
	push	%r8
	push	%r9
	push	%r10
	push	%r11
	push	%rbx
	mov	%rsp, %rbx
	mov	80(%rsp), %rdi		/* vector */
	mov	88(%rsp), %rsi		/* error code */
	lea	96(%rsp), %rdx		/* RIP, CS, RFLAGS, RSP, SS */
	and	$-16, %rsp
	cld
	call	trap
	mov	%rbx, %rsp
	pop	%rbx
	pop	%r11
	pop	%r10
	pop	%r9
	pop	%r8
	pop	%rdi
	pop	%rsi
	pop	%rdx
	pop	%rcx
	pop	%rax
	add	$16, %rsp
	iretq

	.weak trap
trap:
	ud2

	.section .note.GNU-stack, "", @progbits
