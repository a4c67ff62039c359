/*
 * Guest images: recognised by content, checked whole, then written into guest memory. Knows no
 * VM: writes through `target`, so the same code is tested and fuzzed hosted.
 *
 *	flat (.bin)		anything whose name ends so; 64-bit, ABI of guest/abi.h
 *	multiboot 1		ELF32, or ELF64/raw with the address fields
 *	Linux bzImage		boot protocol 2.06 or later, 64-bit entry
 */
#ifndef GUEST_LOAD_LOAD_H
#define GUEST_LOAD_LOAD_H

#include "mm/base/addr.h"
#include "mm/base/check.h"

struct load_file { const char *name; const void *bytes; uint64_t size; };

/* RAM that the guest will be told of, in ascending order. */
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
	struct load_file modules[LOAD_MODULES_MAX];	/* multiboot modules; [0] is Linux's initrd */
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

enum { LOAD_ERROR_MAX = 200 };

/*
 * STATUS_OK, or a failure and one line in `error` (LOAD_ERROR_MAX bytes) that names what was
 * found and what is expected. All of the image is checked before anything is written.
 */
MUST_USE enum status load_guest(const struct load_request *request, const struct load_target *target,
				struct load_entry *entry, char *error);

#endif
