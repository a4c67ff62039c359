/* Where things are in the image's address space; constants for C and assembly. */
#ifndef BOOT_LAYOUT_H
#define BOOT_LAYOUT_H

/*
 *	0xffff800000000000	direct map of all RAM (DIRECT_MAP), at most DIRECT_MAP_BYTES
 *	0xffffffff80000000	the image, at its physical address + KERNEL_BASE
 *	0xffffffffc0000000	stacks: slots of STACK_SLOT bytes, the lower part never mapped
 */
#define KERNEL_BASE		0xffffffff80000000
#define STACK_WINDOW		0xffffffffc0000000
#define STACK_SLOT		0x10000
#define DIRECT_MAP_BYTES	0x400000000000		/* 64 TiB */

/* What start.S maps at DIRECT_MAP and at 0 until paging.c takes over. */
#define EARLY_MAP_BYTES		0x8000000000		/* 512 GiB */

#define SELECTOR_CODE		0x08
#define SELECTOR_DATA		0x10
#define SELECTOR_TSS		0x18

#define MULTIBOOT2_MAGIC	0x36d76289		/* EAX at entry */
#define PVH_MAGIC		0x336ec578		/* first word of the start info */

#ifndef __ASSEMBLER__
#include <stdint.h>

extern const uint8_t image_start[], image_text_end[], image_rodata_end[], image_end[];
#endif

#endif
