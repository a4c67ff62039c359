/* Every kind of guest image: what a good one leaves in memory, and one line for each bad one. */
#define _GNU_SOURCE
#include <sys/mman.h>

#include "tests/unit/load_fixture.h"

static uint32_t info32(const struct fixture *f, unsigned offset)
{
	return get32(f->memory + f->entry.rbx + offset);
}

/* ------------------------------------------------------------------ recognition */

static void test_empty(void **state)
{
	fixture_image(*state, "empty.bin", 0);
	assert_refused((struct fixture *)*state, "empty");
}

static void test_unknown(void **state)
{
	struct fixture *f = *state;

	memset(fixture_image(f, "letter.txt", 100), 'x', 100);
	assert_refused(f, "neither a multiboot 1 header nor a Linux boot sector");
	fixture_image(f, "one", 1);
	assert_refused(f, "neither");
	memcpy(fixture_image(f, "a.out", 4), "\177ELF", 4);
	assert_refused(f, "without a multiboot 1 header");
}

static void test_content_wins_over_name(void **state)
{
	struct fixture *f = *state;

	fixture_linux(f);
	f->request.image.name = "memtest86+x64.bin";
	assert_loaded(f);
	assert_string_equal(f->entry.kind, "Linux");
}

static void test_header_beyond_8192(void **state)
{
	struct fixture *f = *state;

	put_multiboot_header(fixture_image(f, "late", 16384) + 8192 - 8, 3);
	assert_refused(f, "neither");
	put_multiboot_header(fixture_image(f, "last", 16384) + 8192 - 12, 3);
	assert_refused(f, "no ELF");
	put_multiboot_header(fixture_image(f, "unaligned", 16384) + 2, 3);
	assert_refused(f, "neither");
}

/* Only the first 8 KiB of the file are there: reading more would end the test. */
static void test_4_gib(void **state)
{
	static const char *const names[] = { "huge", "huge.bin" };
	struct fixture *f = *state;
	uint64_t size = UINT64_C(1) << 32;
	uint8_t *image =
		mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	assert_ptr_not_equal(image, MAP_FAILED);
	assert_int_equal(mprotect(image, 8192, PROT_READ | PROT_WRITE), 0);
	for (unsigned i = 0; i < 2; i++) {
		f->request.image = (struct load_file){ names[i], image, size };
		assert_refused(f, i ? "4294967296" : "neither");
	}
	memcpy(image, fixture_linux(f), 8192);
	f->request.image = (struct load_file){ "huge", image, size };
	assert_refused(f, "RAM");
	memset(image, 0, 8192);
	memcpy(image, fixture_raw(f), 0x1000);
	put32(image + 0x54, 0);
	put32(image + 0x58, 0);
	f->request.image = (struct load_file){ "huge", image, size };
	assert_refused(f, "RAM");
	munmap(image, size);
}

/* ------------------------------------------------------------------ flat */

static void test_flat(void **state)
{
	struct fixture *f = *state;

	memset(fixture_image(f, "loop.bin", 5000), 0x90, 5000);
	f->ranges[0].bytes = 0x200000;
	f->ranges[1] = (struct load_memory){ gpa(ABI_FLAT_REGION1), 0x300000 };
	assert_loaded(f);
	assert_int_equal(f->entry.mode, LOAD_LONG);
	assert_int_equal(f->entry.rip, ABI_FLAT_LOAD);
	assert_int_equal(f->entry.rdi, ABI_FLAT_MAILBOX);
	assert_int_equal(f->entry.cr3, 0x1000);
	assert_int_equal(f->memory[ABI_FLAT_LOAD + 4999], 0x90);
	assert_int_equal(get64(f->memory + ABI_FLAT_MAILBOX + ABI_MAIL_COMMAND), 0);
	assert_int_equal(get64(f->memory + ABI_FLAT_MAILBOX + ABI_MAIL_BASE), ABI_FLAT_REGION1);
	assert_int_equal(get64(f->memory + ABI_FLAT_MAILBOX + ABI_MAIL_COUNT), 0x300);
	/* Every leaf: one to one, flags 0xe3, from 0 to 2 GiB. */
	for (uint64_t page = 0; page < 1024; page++)
		assert_int_equal(get64(f->memory + 0x3000 + page * 8), page << 21 | 0xe3);
	assert_int_equal(get64(f->memory + 0x1000) & ~0xfffull, 0x2000);
	assert_int_equal(get64(f->memory + 0x2008) & ~0xfffull, 0x4000);
	assert_int_equal(get64(f->memory + 0x2010), 0);
}

static void test_flat_refused(void **state)
{
	struct fixture *f = *state;

	f->ranges[0].bytes = 0x200000;
	f->target.memory_count = 1;
	fixture_image(f, "big.bin", ABI_FLAT_REGION0 - ABI_FLAT_LOAD);
	assert_loaded(f);
	fixture_image(f, "big.bin", ABI_FLAT_REGION0 - ABI_FLAT_LOAD + 1);
	assert_refused(f, "expected at most 2031616");
	fixture_image(f, "a.bin", 10);
	f->request.modules[0] = (struct load_file){ "m", "x", 1 };
	f->request.module_count = 1;
	assert_refused(f, "takes no modules");
}

/* ------------------------------------------------------------------ multiboot */

static void test_multiboot_elf(void **state)
{
	struct fixture *f = *state;
	uint32_t map;

	fixture_elf(f);
	f->request.command_line = "one two";
	assert_loaded(f);
	assert_int_equal(f->entry.mode, LOAD_PROTECTED);
	assert_int_equal(f->entry.rax, 0x2badb002);
	assert_int_equal(f->entry.rip, 0x100200);
	assert_memory_equal(f->memory + 0x100000, f->image, 0x600);
	assert_int_equal(f->memory[0x2001ff], 0x5a);
	assert_int_equal(f->memory[0x200200], 0);

	assert_int_equal(info32(f, 0), 0x24d);
	assert_int_equal(info32(f, 4), 640);
	assert_int_equal(info32(f, 8), (GUEST_BYTES - 0x100000) / 1024);
	assert_string_equal((char *)f->memory + info32(f, 16), "one two");
	assert_int_equal(info32(f, 20), 0);
	assert_string_equal((char *)f->memory + info32(f, 64), "foliovisor");
	assert_int_equal(info32(f, 44), 48);
	map = info32(f, 48);
	assert_int_equal(get32(f->memory + map), 20);
	assert_int_equal(get64(f->memory + map + 4), 0);
	assert_int_equal(get64(f->memory + map + 12), 0xa0000);
	assert_int_equal(get64(f->memory + map + 28), 0x100000);
	assert_int_equal(get32(f->memory + map + 44), 1);
}

static void test_multiboot_modules(void **state)
{
	struct fixture *f = *state;
	static uint8_t first[5000], second[3] = { 7, 8, 9 };
	uint32_t list;

	memset(first, 0x11, sizeof(first));
	fixture_elf(f);
	f->request.modules[0] = (struct load_file){ "disk", first, sizeof(first) };
	f->request.modules[1] = (struct load_file){ "notes", second, sizeof(second) };
	f->request.module_count = 2;
	assert_loaded(f);
	assert_int_equal(info32(f, 20), 2);
	list = info32(f, 24);
	assert_int_equal(get32(f->memory + list), 0x205000);	/* behind the image's bss */
	assert_int_equal(get32(f->memory + list + 4), 0x205000 + 5000);
	assert_string_equal((char *)f->memory + get32(f->memory + list + 8), "disk");
	assert_int_equal(get32(f->memory + list + 16), 0x207000);
	assert_memory_equal(f->memory + 0x207000, second, 3);
	assert_string_equal((char *)f->memory + get32(f->memory + list + 24), "notes");

	f->request.modules[1].size = 6 << 20;
	assert_refused(f, "multiboot module of 6291456 bytes");
	f->request.modules[1].size = 0;
	assert_refused(f, "notes: the file is empty");
	f->request.module_count = LOAD_MODULES_MAX + 1;
	assert_refused(f, "9 modules: at most 8");
}

static void test_multiboot_addresses(void **state)
{
	struct fixture *f = *state;

	fixture_raw(f);
	assert_loaded(f);
	assert_int_equal(f->entry.rip, 0x300080);
	assert_memory_equal(f->memory + 0x300000, f->image, 0x1000);
	/* load_end_addr 0: the whole file; the part before load_addr is left out. */
	put32(f->image + 0x54, 0);
	put32(f->image + 0x50, 0x300020);
	assert_loaded(f);
	assert_memory_equal(f->memory + 0x300020, f->image + 0x20, 0xfe0);
	/* An ELF64 goes by the address fields as well. */
	memcpy(f->image, "\177ELF\2\1\1", 7);
	assert_loaded(f);
}

static void test_multiboot_addresses_refused(void **state)
{
	struct fixture *f = *state;

	put32(fixture_raw(f) + 0x50, 0x300050);
	assert_refused(f, "header_addr 0x300040 and load_addr 0x300050");
	put32(fixture_raw(f) + 0x50, 0x2fff00);
	assert_refused(f, "do not fit");
	put32(fixture_raw(f) + 0x54, 0x301001);
	assert_refused(f, "the file has 4096 bytes");
	put32(fixture_raw(f) + 0x54, 0x2f0000);
	assert_refused(f, "load_end_addr 0x2f0000");
	put32(fixture_raw(f) + 0x58, 0x300fff);
	assert_refused(f, "bss_end_addr");
	put32(fixture_raw(f) + 0x58, 0x900000);
	assert_refused(f, "not inside");
	put32(fixture_raw(f) + 0x5c, 0x301000);
	assert_refused(f, "entry_addr 0x301000");
	fixture_raw(f);
	f->request.image.size = 0x50;
	assert_refused(f, "cut off");
	put_multiboot_header(fixture_raw(f) + 0x40, 0x10008);
	assert_refused(f, "flags 0x10008 demand 0x8");
	put32(fixture_raw(f) + 0x48, 0);
	assert_refused(f, "neither");
}

static void test_elf_refused(void **state)
{
	struct fixture *f = *state;

	fixture_elf(f)[4] = 2;
	assert_refused(f, "ELF class 2");
	put16(fixture_elf(f) + 18, 62);
	assert_refused(f, "machine 62");
	put16(fixture_elf(f) + 16, 1);
	assert_refused(f, "type 1");
	put16(fixture_elf(f) + 42, 56);
	assert_refused(f, "of 56 bytes");
	put32(fixture_elf(f) + 28, 0xffffffff);
	assert_refused(f, "program headers at 0xffffffff");
	put16(fixture_elf(f) + 44, 0xffff);
	assert_refused(f, "65535 ELF program headers");
	put32(fixture_elf(f) + 24, 0x300000);
	assert_refused(f, "entry 0x300000");
	put32(fixture_elf(f) + 24, 0x200200);	/* in the bss */
	assert_refused(f, "entry 0x200200");

	put_segment(fixture_elf(f), 1, 0x600, 0x1005ff, 0x200, 0x5000);
	assert_refused(f, "overlaps another at 0x100000..0x100600");
	put_segment(fixture_elf(f), 1, 0x600, 0xfffff000, 0x200, 0x5000);
	assert_refused(f, "wraps");
	put_segment(fixture_elf(f), 1, 0x600, 0x7fffff, 0x200, 0x200);
	assert_refused(f, "not inside");
	put_segment(fixture_elf(f), 1, 0x600, 0x9ff00, 0x200, 0x200);
	assert_refused(f, "not inside");
	put_segment(fixture_elf(f), 1, 0x600, 0x200000, 0x200, 0x1ff);
	assert_refused(f, "at most its 511 in memory");
	put_segment(fixture_elf(f), 1, 0x601, 0x200000, 0x200, 0x200);
	assert_refused(f, "ends at byte 2049 of a file of 2048");
	put_segment(fixture_elf(f), 1, 0xffffffff, 0x200000, 0xffffffff, 0xffffffff);
	assert_refused(f, "ends at byte");
	fixture_elf(f);
	f->request.image.size = 0x700;
	assert_refused(f, "of a file of 1792");
}

static void test_elf_too_many_segments(void **state)
{
	struct fixture *f = *state;
	uint8_t *image = fixture_elf(f);

	put_multiboot_header(image + 0x400, 3);
	memset(image + 0x100, 0, 12);
	put16(image + 44, 13);
	for (unsigned i = 0; i < 13; i++)
		put_segment(image, i, 0, 0x100000 + i * 0x1000, 0x600, 0x600);
	assert_refused(f, "than 12");
	put16(image + 44, 12);
	assert_loaded(f);
}

/* ------------------------------------------------------------------ Linux */

static void test_linux(void **state)
{
	struct fixture *f = *state;
	const uint8_t *params;

	fixture_linux(f);
	f->request.command_line = "console=ttyS0";
	f->request.modules[0] = (struct load_file){ "initrd", "RAMDISK", 8 };
	f->request.module_count = 1;
	assert_loaded(f);
	assert_int_equal(f->entry.mode, LOAD_LONG);
	assert_int_equal(f->entry.rip, 0x100200);
	assert_memory_equal(f->memory + 0x100000, f->image + 0x600, 0x2000);
	params = f->memory + f->entry.rsi;
	assert_memory_equal(params + 0x1f1, f->image + 0x1f1, 0x1f);
	assert_memory_equal(params + 0x22c, f->image + 0x22c, 0x268 - 0x22c);
	assert_int_equal(params[0x268], 0);
	assert_int_equal(params[0x210], 0xff);
	assert_string_equal((char *)f->memory + get32(params + 0x228), "console=ttyS0");
	assert_int_equal(get32(params + 0x218), 0x110000);
	assert_int_equal(get32(params + 0x21c), 8);
	assert_string_equal((char *)f->memory + 0x110000, "RAMDISK");
	assert_int_equal(params[0x1e8], 2);
	assert_int_equal(get64(params + 0x2d0 + 20), 0x100000);
	assert_int_equal(get64(params + 0x2d0 + 28), GUEST_BYTES - 0x100000);
	assert_int_equal(get32(params + 0x2d0 + 36), 1);
	assert_int_equal(params[7], 80);
	assert_int_equal(params[14], 25);
	assert_int_equal(params[15], 1);
	/* The tables map the kernel, its parameters and all of 4 GiB. */
	assert_int_equal(get64(f->memory + f->entry.cr3 + 0x2000 + 2047 * 8), 2047ull << 21 | 0xe3);
}

static void test_linux_relocatable(void **state)
{
	struct fixture *f = *state;

	put64(fixture_linux(f) + 0x258, 0x1000000);
	assert_refused(f, "the Linux kernel at 0x1000000");
	f->image[0x234] = 1;
	put32(f->image + 0x230, 0x200000);
	assert_loaded(f);
	assert_int_equal(f->entry.rip, 0x200200);
	put32(f->image + 0x230, 0x300000);
	assert_refused(f, "power of two");
}

static void test_linux_refused(void **state)
{
	struct fixture *f = *state;
	char line[257];

	put16(fixture_linux(f) + 0x206, 0x205);
	assert_refused(f, "protocol 2.5; expected 2.6");
	put16(fixture_linux(f) + 0x236, 0);
	assert_refused(f, "without a 64-bit entry");
	fixture_linux(f)[0x211] = 0;
	assert_refused(f, "zImage");
	fixture_linux(f)[0x1f1] = 255;
	assert_refused(f, "cut off at 9728 bytes");
	fixture_linux(f)[0x201] = 2;
	assert_refused(f, "setup header ends at 0x204");
	put32(fixture_linux(f) + 0x260, 0x700001);
	assert_refused(f, "not inside");
	put64(fixture_linux(f) + 0x258, UINT64_MAX - 100);
	assert_refused(f, "wraps");
	fixture_linux(f);
	f->request.image.size = 0x206;
	assert_refused(f, "cut off at 518");
	f->request.image.size = 0x205;
	assert_refused(f, "neither");

	fixture_linux(f);
	memset(line, 'a', sizeof(line));
	line[256] = '\0';
	f->request.command_line = line;
	assert_refused(f, "256 characters; it takes 255");
	line[255] = '\0';
	assert_loaded(f);
}

static void test_linux_initrd_refused(void **state)
{
	struct fixture *f = *state;

	fixture_linux(f);
	f->request.modules[0] = (struct load_file){ "initrd", "", 7 << 20 };
	f->request.module_count = 1;
	assert_refused(f, "initrd of 7340032 bytes");
	f->request.modules[0].size = 1;
	put32(f->image + 0x22c, 0x10ffff);
	assert_refused(f, "initrd of 1 bytes");
	f->request.modules[1] = f->request.modules[0];
	f->request.module_count = 2;
	assert_refused(f, "2 modules for a Linux image");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		fixture_test(test_empty),
		fixture_test(test_unknown),
		fixture_test(test_content_wins_over_name),
		fixture_test(test_header_beyond_8192),
		fixture_test(test_4_gib),
		fixture_test(test_flat),
		fixture_test(test_flat_refused),
		fixture_test(test_multiboot_elf),
		fixture_test(test_multiboot_modules),
		fixture_test(test_multiboot_addresses),
		fixture_test(test_multiboot_addresses_refused),
		fixture_test(test_elf_refused),
		fixture_test(test_elf_too_many_segments),
		fixture_test(test_linux),
		fixture_test(test_linux_relocatable),
		fixture_test(test_linux_refused),
		fixture_test(test_linux_initrd_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
