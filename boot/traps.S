/*
 * Entry of all 256 vectors: the registers go on the stack as a struct trap_frame, trap_handle()
 * does the rest. NMI, #DF and #MC have stacks of their own (IST). GS is the image's at any time,
 * so there is nothing to swap.
 */
	.text

/*
 * Entries of 16 bytes. The CPU pushes an error code for 8, 10-14, 17, 21, 29, 30; the others get 0.
 */
	.balign 16
	.globl trap_entries
trap_entries:
	.set vector, 0
	.rept 256
	.balign 16
	.if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || \
	      vector == 29 || vector == 30)
	push $0
	.endif
	push $vector
	jmp trap_common
	.set vector, vector + 1
	.endr

	.balign 16
trap_common:
	cld
	push %rax
	push %rcx
	push %rdx
	push %rbx
	push %rbp
	push %rsi
	push %rdi
	push %r8
	push %r9
	push %r10
	push %r11
	push %r12
	push %r13
	push %r14
	push %r15
	mov %rsp, %rdi
	call trap_handle
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %r11
	pop %r10
	pop %r9
	pop %r8
	pop %rdi
	pop %rsi
	pop %rbp
	pop %rbx
	pop %rdx
	pop %rcx
	pop %rax
	add $16, %rsp
	iretq

/* Where these may fault, and where they go on if they do. */
.macro MAY_FAULT at, resume
	.pushsection fixups, "a"
	.quad \at, \resume
	.popsection
.endm

	.globl try_read
try_read:
1:	mov (%rdi), %rax
	mov %rax, (%rsi)
	mov $1, %eax
	ret
	MAY_FAULT 1b, try_failed

	.globl try_write
try_write:
1:	mov %rsi, (%rdi)
	mov $1, %eax
	ret
	MAY_FAULT 1b, try_failed

	.globl try_rdmsr
try_rdmsr:
	mov %edi, %ecx
1:	rdmsr
	shl $32, %rdx
	or %rdx, %rax
	mov %rax, (%rsi)
	mov $1, %eax
	ret
	MAY_FAULT 1b, try_failed

	.globl try_wrmsr
try_wrmsr:
	mov %edi, %ecx
	mov %esi, %eax
	mov %rsi, %rdx
	shr $32, %rdx
1:	wrmsr
	mov $1, %eax
	ret
	MAY_FAULT 1b, try_failed

/* A fetch that fails has pushed its return address: trap_handle() looks that up, and pops it. */
	.globl try_call
try_call:
	sub $8, %rsp
	call *%rdi
1:	add $8, %rsp
	mov $1, %eax
	ret
2:	add $8, %rsp
try_failed:
	xor %eax, %eax
	ret
	MAY_FAULT 1b, 2b

	.section .note.GNU-stack, "", @progbits
