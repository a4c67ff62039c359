/*
 * Hand-made guest images and a guest memory to load them into, for the loader's tests. Files are
 * exact allocations, so that AddressSanitizer sees every byte read beyond them.
 */
#ifndef TESTS_UNIT_LOAD_FIXTURE_H
#define TESTS_UNIT_LOAD_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "guest/abi.h"
#include "guest/load/load.h"

enum { GUEST_BYTES = 8 << 20 };

struct fixture {
	uint8_t *memory;			/* GPA 0.. */
	unsigned writes, stray_writes;		/* stray: where there is no RAM */
	struct load_memory ranges[3];
	struct load_target target;
	struct load_request request;
	struct load_entry entry;
	char error[LOAD_ERROR_MAX];
	uint8_t *image;
};

static enum status fixture_write(void *context, gpa_t to, const void *from, uint64_t bytes)
{
	struct fixture *f = context;

	f->writes++;
	for (unsigned i = 0; i < f->target.memory_count; i++) {
		const struct load_memory *m = &f->ranges[i];

		if (to.raw >= m->start.raw && to.raw + bytes <= m->start.raw + m->bytes &&
		    to.raw + bytes <= GUEST_BYTES) {
			memcpy(f->memory + to.raw, from, bytes);
			return STATUS_OK;
		}
	}
	f->stray_writes++;
	return STATUS_NOT_FOUND;
}

static inline struct fixture *fixture_make(void)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->memory = calloc(1, GUEST_BYTES);
	f->ranges[0] = (struct load_memory){ gpa(0), 0xa0000 };
	f->ranges[1] = (struct load_memory){ gpa(0x100000), GUEST_BYTES - 0x100000 };
	f->target = (struct load_target){ f->ranges, 2, fixture_write, f };
	f->request.command_line = "";
	f->request.image.name = "image";
	return f;
}

static inline void fixture_free(struct fixture *f)
{
	free(f->image);
	free(f->memory);
	free(f);
}

/* A zeroed image of that size; what was there before is gone. */
static inline uint8_t *fixture_image(struct fixture *f, const char *name, size_t size)
{
	free(f->image);
	f->image = calloc(1, size ? size : 1);
	f->request.image = (struct load_file){ name, f->image, size };
	return f->image;
}

static inline void put16(uint8_t *at, uint16_t value) { memcpy(at, &value, 2); }
static inline void put32(uint8_t *at, uint32_t value) { memcpy(at, &value, 4); }
static inline void put64(uint8_t *at, uint64_t value) { memcpy(at, &value, 8); }
static inline uint32_t get32(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, 4);
	return value;
}
static inline uint64_t get64(const uint8_t *at)
{
	uint64_t value;

	memcpy(&value, at, 8);
	return value;
}

static inline void put_multiboot_header(uint8_t *at, uint32_t flags)
{
	put32(at, 0x1badb002);
	put32(at + 4, flags);
	put32(at + 8, -(0x1badb002 + flags));
}

static inline void put_segment(uint8_t *image, unsigned i, uint32_t offset, uint32_t address,
			       uint32_t in_file, uint32_t in_memory)
{
	uint8_t *header = image + 52 + i * 32;

	put32(header, 1);
	put32(header + 4, offset);
	put32(header + 8, address);
	put32(header + 12, address);
	put32(header + 16, in_file);
	put32(header + 20, in_memory);
}

/* Two segments at 1 MiB and 2 MiB, multiboot header at 0x100, text from 0x200. */
static inline uint8_t *fixture_elf(struct fixture *f)
{
	uint8_t *image = fixture_image(f, "kernel.elf", 0x800);

	memcpy(image, "\177ELF\1\1\1", 7);
	put16(image + 16, 2);
	put16(image + 18, 3);
	put32(image + 24, 0x100200);
	put32(image + 28, 52);
	put16(image + 42, 32);
	put16(image + 44, 2);
	put_segment(image, 0, 0, 0x100000, 0x600, 0x600);
	put_segment(image, 1, 0x600, 0x200000, 0x200, 0x5000);
	put_multiboot_header(image + 0x100, 3);
	memset(image + 0x600, 0x5a, 0x200);
	return image;
}

/* No ELF: address fields, header at 0x40, loaded at 3 MiB. */
static inline uint8_t *fixture_raw(struct fixture *f)
{
	uint8_t *image = fixture_image(f, "kernel.raw", 0x1000);

	put_multiboot_header(image + 0x40, 0x10000);
	put32(image + 0x4c, 0x300040);
	put32(image + 0x50, 0x300000);
	put32(image + 0x54, 0x301000);
	put32(image + 0x58, 0x303000);
	put32(image + 0x5c, 0x300080);
	memset(image + 0x80, 0xa5, 0x80);
	return image;
}

/* A bzImage: 2 setup sectors, protocol 2.12, 8 KiB of kernel that wants 64 KiB at 1 MiB. */
static inline uint8_t *fixture_linux(struct fixture *f)
{
	uint8_t *image = fixture_image(f, "bzImage", 0x600 + 0x2000);

	image[0x1f1] = 2;
	put16(image + 0x1fe, 0xaa55);
	image[0x201] = 0x66;
	memcpy(image + 0x202, "HdrS", 4);
	put16(image + 0x206, 0x20c);
	image[0x211] = 1;
	put32(image + 0x214, 0x100000);
	put32(image + 0x22c, 0x7fffffff);
	put32(image + 0x230, 0x1000);
	put16(image + 0x236, 1);
	put32(image + 0x238, 255);
	put64(image + 0x258, 0x100000);
	put32(image + 0x260, 0x10000);
	memset(image + 0x600, 0xc3, 0x2000);
	return image;
}

static inline enum status fixture_load(struct fixture *f)
{
	f->writes = f->stray_writes = 0;
	memset(f->error, 0x7f, sizeof(f->error));
	return load_guest(&f->request, &f->target, &f->entry, f->error);
}

/* Refused, with a line that holds `part`, and nothing was written. */
#define assert_refused(f, part)                                                             \
	do {                                                                                \
		assert_int_not_equal(fixture_load(f), STATUS_OK);                           \
		assert_int_equal((f)->writes, 0);                                           \
		assert_true(strlen((f)->error) < LOAD_ERROR_MAX);                           \
		assert_null(strchr((f)->error, '\n'));                                      \
		if (!strstr((f)->error, part))                                              \
			fail_msg("\"%s\" does not say \"%s\"", (f)->error, part);           \
	} while (0)

#define assert_loaded(f)                                                                    \
	do {                                                                                \
		if (fixture_load(f) != STATUS_OK)                                           \
			fail_msg("refused: %s", (f)->error);                                \
		assert_int_equal((f)->stray_writes, 0);                                     \
	} while (0)

static inline int fixture_setup(void **state)
{
	*state = fixture_make();
	return 0;
}

static inline int fixture_teardown(void **state)
{
	fixture_free(*state);
	return 0;
}

#define fixture_test(function) \
	cmocka_unit_test_setup_teardown(function, fixture_setup, fixture_teardown)

#endif
