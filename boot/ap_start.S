/*
 * Where the other processors start: copied by smp.c to a page below 1 MiB, entered there in real
 * mode, straight to long mode. The page is mapped read-only and executable at its own address,
 * under tables that only a starting CPU uses; what varies is written to ap_start_values before.
 */
#include "boot/layout.h"

	.section .rodata
	.balign 16
	.globl ap_start, ap_start_end, ap_start_values

	.code16
ap_start:
	cli
	cld
	mov %cs, %ax
	mov %ax, %ds
	mov $0x20, %eax				/* CR4.PAE */
	mov %eax, %cr4
	mov (value_tables - ap_start), %eax
	mov %eax, %cr3
	mov $0xc0000080, %ecx			/* EFER: LME, NXE */
	rdmsr
	or $0x900, %eax
	wrmsr
	lgdtl (value_gdt_pointer - ap_start)
	mov %cr0, %eax
	and $~0x60000000, %eax			/* CD, NW */
	or $0x80010001, %eax			/* PG, WP, PE */
	mov %eax, %cr0
	ljmpl *(value_far - ap_start)

	.code64
ap_start64:
	mov $SELECTOR_DATA, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	mov value_stack(%rip), %rsp
	mov value_root(%rip), %rbx
	mov value_cpu(%rip), %rdi
	mov value_entry(%rip), %rax
	jmp *%rax

	/* struct ap_start_values in smp.c */
	.balign 8
ap_start_values:
value_tables:
	.quad 0					/* CR3 for this page, below 4 GiB */
value_root:
	.quad 0					/* CR3 for ever after */
value_stack:
	.quad 0
value_entry:
	.quad 0					/* ap_entry */
value_cpu:
	.quad 0					/* ap_main()'s argument */
value_far:
	.long ap_start64 - ap_start		/* + the page's address */
	.long SELECTOR_CODE
value_gdt_pointer:
	.short 23
	.long gdt - ap_start			/* + the page's address */
	.short 0
gdt:						/* accessed already: the page is read-only */
	.quad 0
	.quad 0x00af9b000000ffff
	.quad 0x00cf93000000ffff
ap_start_end:

	.text
	.globl ap_entry
ap_entry:
	mov %rbx, %cr3
	xor %ebp, %ebp
	call ap_main
	ud2

	.section .note.GNU-stack, "", @progbits
