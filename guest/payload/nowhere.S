/* Jumps to GPA 512 MiB, which the page tables map and no memory stands behind. */
	.section .text.start, "ax"
	.globl _start
_start:
	mov	$0x20000000, %eax
	jmp	*%rax

	.section .note.GNU-stack, "", @progbits
