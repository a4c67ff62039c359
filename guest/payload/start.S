/*
 * First instructions of a flat payload in C: RDI is the mailbox, RSP is below the payload already.
 * What main() returns goes to the exit port.
 */
#include "guest/abi.h"

	.section .text.start, "ax"
	.globl _start
_start:
	cld
	call	main
	mov	$ABI_EXIT_PORT, %edx
	out	%eax, %dx
1:	cli
	hlt
	jmp	1b

/* Where ABI_CALL_START_CPU sends another CPU: RDI is its number. */
	.globl cpu_start
cpu_start:
	cld
	call	cpu_main
1:	cli
	hlt
	jmp	1b

/* For payloads of one CPU. */
	.weak cpu_main
cpu_main:
	ret

	.section .note.GNU-stack, "", @progbits
