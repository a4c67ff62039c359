/*
 * What the boot loader told us, copied out of its tables, which may lie anywhere in memory and
 * are free to be overwritten afterwards.
 */
#ifndef BOOT_LOADER_H
#define BOOT_LOADER_H

#include "boot/boot.h"
#include "boot/ranges.h"

enum { COMMAND_LINE_MAX = 2048, MODULES_MAX = 16, MODULE_NAME_MAX = 64, RSDP_MAX = 36 };

struct loader_facts {
	const char *loader;		/* "multiboot2" or "PVH" */
	struct range_set ram;		/* usable RAM, whole pages, modules included */
	char command_line[COMMAND_LINE_MAX];
	uint8_t rsdp[RSDP_MAX];		/* ACPI's root pointer */
	unsigned rsdp_bytes;		/* 0: none was given */
	unsigned module_count;
	struct boot_module modules[MODULES_MAX];
	char module_names[MODULES_MAX][MODULE_NAME_MAX];
};

/*
 * Both read tables at a physical address and check all of it. NULL, or a sentence that says what
 * is wrong with it.
 */
const char *loader_read_multiboot2(hpa_t start, struct loader_facts *out);
const char *loader_read_pvh(hpa_t start, struct loader_facts *out);

#endif
