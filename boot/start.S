/*
 * The first instructions. A multiboot2 loader and a PVH loader both enter here in 32-bit
 * protected mode without paging; boot_main() is reached in long mode, on an early stack, with
 * three early tables that map physical 0..512 GiB at 0 and at DIRECT_MAP, and 0..1 GiB at
 * KERNEL_BASE. paging.c replaces them; nothing else lives under them.
 *
 * 1 GiB pages are required: they make these tables three, and the direct map small.
 */
#include "boot/layout.h"

#define PHYS(symbol)	((symbol) - KERNEL_BASE)

#define COM1		0x3f8

	.section .multiboot2, "a"
	.balign 8
header:
	.long 0xe85250d6			/* multiboot2, i386 */
	.long 0
	.long header_end - header
	.long -(0xe85250d6 + (header_end - header))
	.short 1, 1				/* wanted: memory map and command line, */
	.long 24				/* modules, ACPI: all optional here, */
	.long 1, 3, 6, 14			/* multiboot.c says what is missing */
	.short 6, 0				/* modules on page boundaries */
	.long 8
	.short 0, 0
	.long 8
header_end:

	.section .note.Xen, "a", @note
	.balign 4
	.long 4, 8, 18				/* XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz "Xen"
	.quad PHYS(start_pvh)

	.text
	.code32
	.globl start_multiboot2
start_multiboot2:
	mov %eax, %esi
	jmp start
start_pvh:
	mov $PVH_MAGIC, %esi			/* stands in for a magic in EAX */
start:
	cli
	cld
	mov %ebx, %edi
	mov $PHYS(early_stack_top), %esp

	/* CPUID exists if EFLAGS.ID can be changed. */
	pushf
	pop %eax
	mov %eax, %ecx
	xor $1 << 21, %eax
	push %eax
	popf
	pushf
	pop %eax
	xor %ecx, %eax
	mov $PHYS(no_long_mode), %ebx
	test $1 << 21, %eax
	jz refuse

	mov $0x80000000, %eax
	cpuid
	mov $PHYS(no_long_mode), %ebx
	cmp $0x80000001, %eax
	jb refuse
	mov $0x80000001, %eax
	cpuid
	mov $PHYS(no_long_mode), %ebx
	bt $29, %edx
	jnc refuse
	mov $PHYS(no_nx), %ebx
	bt $20, %edx
	jnc refuse
	mov $PHYS(no_1g_pages), %ebx
	bt $26, %edx
	jnc refuse

	/* 512 pages of 1 GiB: present, writable, large. */
	mov $PHYS(early_pdpt), %ebx
	xor %ecx, %ecx
1:	mov %ecx, %eax
	shl $30, %eax
	or $0x83, %eax
	mov %eax, (%ebx, %ecx, 8)
	mov %ecx, %eax
	shr $2, %eax
	mov %eax, 4(%ebx, %ecx, 8)
	inc %ecx
	cmp $512, %ecx
	jb 1b
	movl $0x83, PHYS(early_pdpt_image) + 510 * 8
	movl $PHYS(early_pdpt) + 3, PHYS(early_pml4)
	movl $PHYS(early_pdpt) + 3, PHYS(early_pml4) + 256 * 8
	movl $PHYS(early_pdpt_image) + 3, PHYS(early_pml4) + 511 * 8

	mov $0x20, %eax				/* CR4.PAE */
	mov %eax, %cr4
	mov $PHYS(early_pml4), %eax
	mov %eax, %cr3
	mov $0xc0000080, %ecx			/* EFER: LME, NXE */
	rdmsr
	or $0x900, %eax
	wrmsr
	mov %cr0, %eax
	and $~0x60000000, %eax			/* CD, NW: Bochs starts with both set */
	or $0x80010001, %eax			/* PG, WP, PE */
	mov %eax, %cr0
	lgdt PHYS(early_gdt_pointer)
	ljmp $SELECTOR_CODE, $PHYS(start64)

/* EBX: a sentence, at its physical address. Says it on COM1, and ends an emulator. */
refuse:
	mov $COM1 + 3, %edx
	mov $0x80, %al				/* divisor latch */
	out %al, %dx
	mov $COM1, %edx
	mov $1, %al				/* 115200 */
	out %al, %dx
	mov $COM1 + 1, %edx
	xor %al, %al
	out %al, %dx
	mov $COM1 + 3, %edx
	mov $3, %al				/* 8n1 */
	out %al, %dx
1:	mov $100000, %ecx			/* a UART that never gets ready, or none */
	mov $COM1 + 5, %edx
2:	in %dx, %al
	test $0x20, %al
	jnz 3f
	loop 2b
3:	mov (%ebx), %al
	test %al, %al
	jz 4f
	mov $COM1, %edx
	out %al, %dx
	inc %ebx
	jmp 1b
4:	mov $100000, %ecx
	mov $COM1 + 5, %edx
7:	in %dx, %al				/* until the last byte is out */
	test $0x40, %al
	jnz 8f
	loop 7b
8:	mov $0xf4, %edx				/* as power.c: QEMU's exit, Bochs's debug port */
	mov $1, %al
	out %al, %dx
	mov $PHYS(shutdown), %esi
	mov $0x8900, %edx
5:	lodsb
	test %al, %al
	jz 6f
	out %al, %dx
	jmp 5b
6:	hlt
	jmp 6b

	.code64
start64:
	movabs $start_high, %rax
	jmp *%rax
start_high:
	mov $SELECTOR_DATA, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	xor %eax, %eax
	mov %eax, %fs
	mov %eax, %gs
	mov $early_stack_top, %rsp
	xor %ebp, %ebp				/* where backtraces end */
	mov %edi, %eax
	mov %esi, %edi				/* boot_main(magic, info) */
	mov %eax, %esi
	call boot_main
	ud2

/* _Noreturn void stack_switch(uint64_t top, void (*function)(void)): nothing is taken along. */
	.globl stack_switch
stack_switch:
	mov %rdi, %rsp
	xor %ebp, %ebp
	call *%rsi
	ud2

	.section .rodata
no_long_mode:
	.asciz "foliovisor can't run here: this CPU has no 64-bit mode\r\n"
no_nx:
	.asciz "foliovisor can't run here: this CPU has no execute-disable bit (NX)\r\n"
no_1g_pages:
	.asciz "foliovisor can't run here: this CPU has no 1 GiB pages\r\n"
shutdown:
	.asciz "Shutdown"

	.balign 8
early_gdt:
	.quad 0
	.quad 0x00af9b000000ffff		/* SELECTOR_CODE: 64-bit, CPL 0 */
	.quad 0x00cf93000000ffff		/* SELECTOR_DATA */
early_gdt_pointer:
	.short . - early_gdt - 1
	.long PHYS(early_gdt)
	.long 0

	.bss
	.balign 4096
early_pml4:
	.skip 4096
early_pdpt:
	.skip 4096
early_pdpt_image:
	.skip 4096
	.skip 16384
early_stack_top:

	.section .note.GNU-stack, "", @progbits
