/*
 * Guest images: recognised by content, checked whole, then written into guest memory. Knows no
 * VM: writes through `target`, so the same code is tested and fuzzed hosted.
 *
 *	Linux bzImage		boot protocol 2.06 or later, 64-bit entry
 *	multiboot 1		ELF32, or anything with the address fields
 *	flat			neither of these, and the name ends in .bin; ABI of guest/abi.h
 */
#ifndef GUEST_LOAD_LOAD_H
#define GUEST_LOAD_LOAD_H

#include "mm/base/addr.h"
#include "mm/base/check.h"

struct load_file { const char *name; const void *bytes; uint64_t size; };

/* RAM that the guest will be told of, in ascending order. All of it reads as zero. */
struct load_memory { gpa_t start; uint64_t bytes; };

struct load_target {
	const struct load_memory *memory;
	unsigned memory_count;
	/* Copies into guest memory; STATUS_NOT_FOUND where there is none. */
	enum status (*write)(void *context, gpa_t to, const void *from, uint64_t bytes);
	void *context;
};

enum { LOAD_MODULES_MAX = 8 };

struct load_request {
	struct load_file image;
	struct load_file modules[LOAD_MODULES_MAX]; /* multiboot modules; [0] is Linux's initrd */
	unsigned module_count;
	const char *command_line;			/* "" for none */
};

enum load_mode { LOAD_PROTECTED, LOAD_LONG };

struct load_entry {		/* how a virtual CPU starts */
	enum load_mode mode;
	uint64_t rip, cr3;		/* cr3: LOAD_LONG */
	uint64_t rax, rbx, rsi, rdi, rsp;
	const char *kind;		/* "flat", "multiboot", "Linux" for messages */
};

enum load_kind { LOAD_FLAT, LOAD_MULTIBOOT, LOAD_LINUX };

enum { LOAD_ERROR_MAX = 200 };

/*
 * What the image is, by its first 8 KiB; guest memory is laid out after it. A failure leaves one
 * line in `error` (LOAD_ERROR_MAX bytes): what was found and what is supported.
 */
MUST_USE enum status load_recognise(const struct load_file *image, enum load_kind *kind,
				    char *error);

/*
 * STATUS_OK, or a failure and one line in `error` (LOAD_ERROR_MAX bytes) that names what was
 * found and what is expected. All of the image is checked before anything is written.
 */
MUST_USE enum status load_guest(const struct load_request *request,
				const struct load_target *target, struct load_entry *entry,
				char *error);

#endif
