/*
 * Guest images, by content: the loader gives a status, reads nothing outside the file, writes
 * nothing outside the guest's RAM, and nothing at all when it refuses; what it has loaded starts
 * inside RAM.
 *
 * Input: one byte of circumstances (enum about), then the image. libFuzzer hands it over as an
 * exact allocation, so that AddressSanitizer sees every byte read beyond it.
 */
#include <string.h>

#include "guest/abi.h"
#include "guest/load/load.h"
#include "tests/fuzz/fuzz.h"

enum about {
	ABOUT_BIN = 1 << 0,		/* the name ends in .bin */
	ABOUT_LOW_ONLY = 1 << 1,	/* no RAM but the first */
	ABOUT_FLAT_MEMORY = 1 << 2,	/* RAM where flat payloads want theirs */
	ABOUT_MODULES = 3 << 3,		/* so many modules */
	ABOUT_COMMAND_LINE = 1 << 5,
};

static struct load_memory ram[2];
static struct load_target target = { .memory = ram };
static unsigned writes;

static bool is_ram(uint64_t address, uint64_t bytes)
{
	for (unsigned i = 0; i < target.memory_count; i++) {
		uint64_t start = ram[i].start.raw;

		if (address >= start && address - start < ram[i].bytes &&
		    ram[i].bytes - (address - start) >= bytes)
			return true;
	}
	return false;
}

/* There is no memory behind it: only where it would go, and that its source can be read. */
static enum status write(void *context, gpa_t to, const void *from, uint64_t bytes)
{
	static uint8_t sink[64 * 1024];

	(void)context;
	writes++;
	check(is_ram(to.raw, bytes));
	for (uint64_t at = 0; at < bytes; at += sizeof(sink)) {
		memcpy(sink, (const uint8_t *)from + at,
		       bytes - at < sizeof(sink) ? bytes - at : sizeof(sink));
		/* As if it were used: a copy that nobody reads is none to the compiler. */
		__asm__ volatile("" : : "r"(sink) : "memory");
	}
	return STATUS_OK;
}

static void set_up(unsigned about, struct load_request *request)
{
	static const char module[5001];

	if (about & ABOUT_FLAT_MEMORY) {
		ram[0] = (struct load_memory){ gpa(0), ABI_FLAT_REGION0 };
		ram[1] = (struct load_memory){ gpa(ABI_FLAT_REGION1), 0x300000 };
	} else {
		ram[0] = (struct load_memory){ gpa(0), 0xa0000 };
		ram[1] = (struct load_memory){ gpa(0x100000), 0x700000 };
	}
	target.memory_count = about & ABOUT_LOW_ONLY ? 1 : 2;
	target.write = write;
	request->image.name = about & ABOUT_BIN ? "image.bin" : "image";
	request->module_count = (about & ABOUT_MODULES) >> 3;
	for (unsigned i = 0; i < request->module_count; i++)
		request->modules[i] = (struct load_file){ "module", module, 1 + i * 2500 };
	request->command_line = about & ABOUT_COMMAND_LINE ? "root=/dev/ram0 quiet" : "";
}

static void check_loaded(const struct load_entry *entry)
{
	check(writes);
	check(is_ram(entry->rip, 1));
	check(entry->mode == LOAD_PROTECTED || is_ram(entry->cr3, 4 * PAGE_SIZE));
	check(!entry->rbx || is_ram(entry->rbx, 88));
	check(!entry->rsi || is_ram(entry->rsi, PAGE_SIZE));
	check(!entry->rdi || is_ram(entry->rdi, 64));
}

static void check_refused(const char *error)
{
	size_t length = strnlen(error, LOAD_ERROR_MAX);

	check(!writes);
	check(length && length < LOAD_ERROR_MAX);
	for (size_t i = 0; i < length; i++)
		check(error[i] >= ' ' && error[i] <= '~');
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct load_request request = { 0 };
	struct load_entry entry;
	char error[LOAD_ERROR_MAX];

	if (!size)
		return 0;
	set_up(bytes[0], &request);
	request.image.bytes = bytes + 1;
	request.image.size = size - 1;
	writes = 0;
	memset(error, 0x7f, sizeof(error));
	if (load_guest(&request, &target, &entry, error) == STATUS_OK)
		check_loaded(&entry);
	else
		check_refused(error);
	return 0;
}
