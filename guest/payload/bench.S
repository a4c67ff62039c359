/*
 * The benchmark's payload: runs the command in the mailbox, hands over by the exit port, and goes
 * on with the next one when it is resumed. Contract: guest/abi.h. Loops, in instructions:
 *
 *	write, read	4 a page		out		3 a write, the OUT included
 *	cpuid		4 a CPUID, it included	vmcall		4 a VMCALL, it included
 *	loop		2
 */
#include "guest/abi.h"

	.section .text.start, "ax"
	.globl _start
_start:
	mov	%rdi, %rbp
next:
	mov	ABI_MAIL_COUNT(%rbp), %r8
	mov	ABI_MAIL_BASE(%rbp), %rdi
	mov	ABI_MAIL_STRIDE(%rbp), %rsi
	mov	ABI_MAIL_VALUE(%rbp), %r9
	xor	%r10d, %r10d		/* the sum */
	mov	ABI_MAIL_COMMAND(%rbp), %rbx
	cmp	$ABI_COMMAND_LOOP, %rbx
	ja	done
	test	%rbx, %rbx
	jz	done
	test	%r8, %r8
	jz	done
	lea	commands(%rip), %rcx
	movslq	(%rcx,%rbx,4), %rdx
	add	%rdx, %rcx
	mov	%rcx, %r11
	rdtsc
	mov	%eax, ABI_MAIL_TSC_START(%rbp)
	mov	%edx, ABI_MAIL_TSC_START + 4(%rbp)
	jmp	*%r11

timed:
	rdtsc
	mov	%eax, ABI_MAIL_TSC_END(%rbp)
	mov	%edx, ABI_MAIL_TSC_END + 4(%rbp)
	mov	%r10, ABI_MAIL_SUM(%rbp)
done:
	mov	%ebx, %eax
	out	%al, $ABI_EXIT_PORT
	jmp	next

	.balign 16
write:	mov	%r9, (%rdi)
	add	%rsi, %rdi
	dec	%r8
	jnz	write
	jmp	timed

	.balign 16
read:	add	(%rdi), %r10
	add	%rsi, %rdi
	dec	%r8
	jnz	read
	jmp	timed

	.balign 16
identify:
	mov	%rbx, %r11
1:	xor	%eax, %eax
	cpuid
	dec	%r8
	jnz	1b
	mov	%r11, %rbx
	jmp	timed

	.balign 16
output:	out	%al, $ABI_SCRATCH_PORT
	dec	%r8
	jnz	output
	jmp	timed

	.balign 16
call:	mov	$-1, %rax
	vmcall
	dec	%r8
	jnz	call
	jmp	timed

	.balign 16
loop:	dec	%r8
	jnz	loop
	jmp	timed

	.balign 4
commands:
	.long	done - commands
	.long	write - commands
	.long	read - commands
	.long	identify - commands
	.long	output - commands
	.long	call - commands
	.long	loop - commands

	.section .note.GNU-stack, "", @progbits
