/* The multiboot guest's header and entry: 32 bits, paging off; EAX magic, EBX information. */
	.section .multiboot, "a"
	.balign 4
	.long	0x1badb002
	.long	0x00000003		/* modules on page boundaries, memory information */
	.long	-(0x1badb002 + 0x00000003)

	.text
	.globl _start
_start:
	mov	$stack_end, %esp
	cld
	push	%ebx
	push	%eax
	call	hello
	mov	$0xf4, %edx
	out	%eax, %dx
1:	cli
	hlt
	jmp	1b

	.bss
	.balign 16
	.skip	4096
stack_end:

	.section .note.GNU-stack, "", @progbits
