/*
 * What a loader is going to put where. A loader fills a plan, which refuses pieces that wrap,
 * overlap or leave the guest's RAM; only a whole plan is written. Internal to guest/load.
 */
#ifndef GUEST_LOAD_PLAN_H
#define GUEST_LOAD_PLAN_H

#include "guest/load/load.h"
#include "guest/load/text.h"

enum { PLAN_PIECES = 24 };

struct plan_piece {
	uint64_t start, bytes;		/* guest physical, all that the piece takes */
	const void *source;
	uint64_t source_bytes;		/* the rest of `bytes` is zero already */
};

struct plan {
	const struct load_target *target;
	char *error;
	unsigned count;
	struct plan_piece pieces[PLAN_PIECES];
};

/* `what` names the piece in the error line. */
MUST_USE enum status plan_add(struct plan *plan, const char *what, struct plan_piece piece);
/*
 * The lowest free place of that size in [from, to), aligned (a power of two), that keeps clear of
 * all pieces and of the first 4 KiB; it becomes a piece.
 */
MUST_USE enum status plan_place(struct plan *plan, const char *what, struct plan_piece *piece,
				uint64_t align, uint64_t from, uint64_t to);
MUST_USE enum status plan_write(const struct plan *plan);
/* True when [start, start + bytes) is RAM, whole and in one piece. */
bool plan_is_ram(const struct plan *plan, uint64_t start, uint64_t bytes);

/* Page tables at `at`: virtual = physical for `gigabytes` (1..4) GiB by 2 MiB pages: 2 + gigabytes
 * pages. */
MUST_USE enum status write_identity_tables(const struct load_target *target, uint64_t at,
					   unsigned gigabytes);

MUST_USE enum status load_flat(const struct load_request *request, struct plan *plan,
			       struct load_entry *entry);
MUST_USE enum status load_multiboot(const struct load_request *request, struct plan *plan,
				    struct load_entry *entry);
MUST_USE enum status load_linux(const struct load_request *request, struct plan *plan,
				struct load_entry *entry);

bool multiboot_found(const struct load_file *image);
bool linux_found(const struct load_file *image);

/* Little-endian fields, wherever they stand. The caller has checked the bounds. */
static inline uint16_t field16(const void *bytes, uint64_t offset)
{
	uint16_t value;

	__builtin_memcpy(&value, (const char *)bytes + offset, sizeof(value));
	return value;
}

static inline uint32_t field32(const void *bytes, uint64_t offset)
{
	uint32_t value;

	__builtin_memcpy(&value, (const char *)bytes + offset, sizeof(value));
	return value;
}

static inline uint64_t field64(const void *bytes, uint64_t offset)
{
	uint64_t value;

	__builtin_memcpy(&value, (const char *)bytes + offset, sizeof(value));
	return value;
}

#endif
