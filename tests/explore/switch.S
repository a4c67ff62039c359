# explore_switch(void **save, void *load): to another stack and back. What the ABI lets a callee
# change is dead at a call; the rest travels on the stack, where it is saved and hashed.

	.text
	.globl	explore_switch
	.type	explore_switch, @function
explore_switch:
	push	%rbp
	push	%rbx
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	mov	%rsp, (%rdi)
	mov	%rsi, %rsp
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbx
	pop	%rbp
	ret

# explore_forget(uint64_t result): clears what calls that have returned left below the caller's
# frame.

	.globl	explore_forget
	.type	explore_forget, @function
explore_forget:
	pxor	%xmm0, %xmm0
	.set	at, 16
	.rept	16
	movups	%xmm0, -at(%rsp)
	.set	at, at + 16
	.endr
	mov	%rdi, %rax
	ret

	.section .note.GNU-stack, "", @progbits
