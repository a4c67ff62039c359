/*
 * A multiboot 1 guest: prints what it was booted with, writes and checks all RAM that the memory
 * map gives it, and ends by the exit port: 0, or 1 if something is wrong.
 */
#include <stdbool.h>
#include <stdint.h>

#include "guest/abi.h"

#define BOOT_MAGIC 0x2badb002u

struct module { uint32_t start, end, name, reserved; };

struct information {
	uint32_t flags, lower_kib, upper_kib, boot_device, command_line, module_count, modules;
	uint32_t symbols[4], map_bytes, map, drives[2], config_table, loader_name;
};

struct __attribute__((packed)) map_entry { uint32_t size; uint64_t start, bytes; uint32_t type; };

extern const char image_start[], image_end[];

uint32_t hello(uint32_t magic, const struct information *info);

/* By a string instruction: those that the machine has to carry out itself, here in 32-bit mode. */
static void print(const char *text)
{
	uint32_t length = 0;

	while (text[length])
		length++;
	__asm__ volatile("rep outsb" : "+S"(text), "+c"(length)
			 : "d"((uint16_t)ABI_COM1) : "memory");
}

static void print_hex(uint64_t value)
{
	char digits[19] = "0x";
	unsigned used = 2;

	for (int shift = 60; shift >= 0; shift -= 4)
		if (value >> shift || !shift)
			digits[used++] = "0123456789abcdef"[value >> shift & 15];
	digits[used] = '\0';
	print(digits);
}

static void print_line(const char *what, uint64_t first, const char *between, uint64_t second)
{
	print("hello: ");
	print(what);
	print_hex(first);
	print(between);
	print_hex(second);
	print("\n");
}

static void print_text(const char *what, uint32_t text)
{
	print("hello: ");
	print(what);
	print((const char *)text);
	print("\n");
}

static bool overlaps(uint32_t page, uint32_t start, uint32_t end)
{
	return page < end && start < page + 4096;
}

/* Pages that hold the kernel, a module, or what the loader left to read. */
static bool is_used(const struct information *info, uint32_t page)
{
	const struct module *modules = (const struct module *)info->modules;

	if (page < 0x10000 || overlaps(page, (uint32_t)image_start, (uint32_t)image_end))
		return true;
	for (uint32_t i = 0; i < info->module_count; i++)
		if (overlaps(page, modules[i].start, modules[i].end))
			return true;
	return false;
}

static uint32_t check_range(const struct information *info, uint64_t start, uint64_t end,
			    uint32_t pass)
{
	uint32_t wrong = 0;

	for (uint64_t page = (start + 4095) & ~UINT64_C(4095); page + 4096 <= end; page += 4096) {
		volatile uint32_t *word = (volatile uint32_t *)(uint32_t)page;

		if (page >> 32 || is_used(info, (uint32_t)page))
			continue;
		if (!pass)
			word[5] = (uint32_t)page ^ 0x5a5a5a5a;
		else if (word[5] != ((uint32_t)page ^ 0x5a5a5a5a))
			wrong++;
	}
	return wrong;
}

/* pass 0 writes, pass 1 checks. */
static uint32_t each_range(const struct information *info, uint32_t pass)
{
	uint32_t at = info->map, wrong = 0;

	while (at < info->map + info->map_bytes) {
		const struct map_entry *entry = (const struct map_entry *)at;

		if (!pass)
			print_line("memory ", entry->start, " bytes ", entry->bytes);
		if (entry->type == 1)
			wrong += check_range(info, entry->start, entry->start + entry->bytes, pass);
		at += entry->size + 4;
	}
	return wrong;
}

static void print_modules(const struct information *info)
{
	const struct module *modules = (const struct module *)info->modules;

	for (uint32_t i = 0; i < info->module_count; i++) {
		print_text("module ", modules[i].name);
		print_line("  at ", modules[i].start, " to ", modules[i].end);
	}
}

uint32_t hello(uint32_t magic, const struct information *info)
{
	uint32_t wrong;

	if (magic != BOOT_MAGIC || (info->flags & 0x4d) != 0x4d) {
		print("hello: not booted as multiboot says\n");
		return 1;
	}
	print_text("loaded by ", info->loader_name);
	print_text("command line: ", info->command_line);
	print_line("lower KiB ", info->lower_kib, " upper KiB ", info->upper_kib);
	print_modules(info);
	wrong = each_range(info, 0);
	wrong += each_range(info, 1);
	print(wrong ? "hello: memory is wrong\n" : "hello: memory is good\n");
	return wrong != 0;
}
