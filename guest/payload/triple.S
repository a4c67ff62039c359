/* An exception without a table to handle it: a triple fault. */
	.section .text.start, "ax"
	.globl _start
_start:
	lidt	nothing(%rip)
	ud2
nothing:
	.word	0
	.quad	0

	.section .note.GNU-stack, "", @progbits
