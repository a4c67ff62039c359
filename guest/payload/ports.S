/*
 * Reads and writes every port but the exit port, as byte, word and dword, then ends with v = 0. A
 * dword that starts below the exit port is its neighbour's, so that does not end the VM either.
 */
#include "guest/abi.h"

	.section .text.start, "ax"
	.globl _start
_start:
	xor	%edx, %edx
1:	cmp	$ABI_EXIT_PORT, %edx
	je	2f
	mov	$0x20202020, %eax	/* no reset, no command that waits for data: spaces */
	out	%al, %dx
	out	%ax, %dx
	out	%eax, %dx
	in	%dx, %al
	in	%dx, %ax
	in	%dx, %eax
2:	inc	%edx
	cmp	$0x10000, %edx
	jb	1b
	xor	%eax, %eax
	out	%al, $ABI_EXIT_PORT
3:	cli
	hlt
	jmp	3b

	.section .note.GNU-stack, "", @progbits
