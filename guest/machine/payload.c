/* The payload files that guest/payload/rules.mk builds, taken in as they are. */
#include "guest/machine/payload.h"

#include <stdbool.h>
#include <stddef.h>

/* A table of struct load_file, and behind it the names and bytes that it points to. */
__asm__(".macro embed file\n"
	"	.section .rodata.payloads, \"a\"\n"
	"	.quad 1f, 2f, 3f - 2f\n"
	"	.section .rodata.payload_bytes, \"a\"\n"
	"1:	.asciz \"\\file\"\n"
	"	.balign 16\n"
	"2:	.incbin \"" PAYLOADS "\\file\"\n"
	"3:\n"
	".endm\n"
	".section .rodata.payloads, \"a\"\n"
	".balign 8\n"
	".globl payloads, payloads_end\n"
	"payloads:\n"
	"embed demo.bin\n"
	"embed devices.bin\n"
	"embed bench.bin\n"
	"embed ports.bin\n"
	"embed msrs.bin\n"
	"embed triple.bin\n"
	"embed nowhere.bin\n"
	"embed hostile.bin\n"
	"embed hello.elf\n"
	".section .rodata.payloads, \"a\"\n"
	"payloads_end:\n"
	".text\n");

/* "demo" names "demo.bin", and so does the whole of it. */
static bool is_named(const char *file, const char *name)
{
	while (*name && *file == *name) {
		file++;
		name++;
	}
	return !*name && (!*file || *file == '.');
}

const struct load_file *payload_find(const char *name)
{
	for (const struct load_file *file = payloads; file < payloads_end; file++)
		if (*name && is_named(file->name, name))
			return file;
	return NULL;
}
