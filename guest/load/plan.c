/*
 * The checks that every loader shares: nothing wraps, overlaps, or is put where there is no RAM.
 * Called by the loaders of this folder; no state outside the plan.
 */
#include "guest/load/plan.h"

#define NOWHERE UINT64_MAX

bool plan_is_ram(const struct plan *plan, uint64_t start, uint64_t bytes)
{
	const struct load_target *target = plan->target;

	for (unsigned i = 0; i < target->memory_count; i++) {
		uint64_t from = target->memory[i].start.raw;

		if (start >= from && bytes <= target->memory[i].bytes &&
		    start - from <= target->memory[i].bytes - bytes)
			return true;
	}
	return false;
}

/* The piece that shares a byte with [start, start + bytes), which does not wrap; or NULL. */
static const struct plan_piece *piece_at(const struct plan *plan, uint64_t start, uint64_t bytes)
{
	for (unsigned i = 0; i < plan->count; i++) {
		const struct plan_piece *piece = &plan->pieces[i];

		if (start < piece->start + piece->bytes && piece->start < start + bytes)
			return piece;
	}
	return NULL;
}

enum status plan_add(struct plan *plan, const char *what, struct plan_piece piece)
{
	const struct plan_piece *other;

	if (piece.start + piece.bytes < piece.start)
		return text_refuse(plan->error, "%s at %#lx of %lu bytes wraps around", what,
				   piece.start, piece.bytes);
	if (!plan_is_ram(plan, piece.start, piece.bytes))
		return text_refuse(plan->error,
				   "%s at %#lx..%#lx is not inside one range of the guest's RAM",
				   what, piece.start, piece.start + piece.bytes);
	other = piece_at(plan, piece.start, piece.bytes);
	if (other)
		return text_refuse(plan->error, "%s at %#lx..%#lx overlaps another at %#lx..%#lx",
				   what, piece.start, piece.start + piece.bytes, other->start,
				   other->start + other->bytes);
	if (plan->count == PLAN_PIECES)
		return text_refuse(plan->error, "%s is one part too many: at most %u can be loaded",
				   what, (unsigned)PLAN_PIECES);
	plan->pieces[plan->count++] = piece;
	return STATUS_OK;
}

/* The lowest free start at or above `start` within one range of RAM; NOWHERE if there is none. */
static uint64_t fit(const struct plan *plan, uint64_t start, uint64_t bytes, uint64_t align,
		    uint64_t to)
{
	for (;;) {
		const struct plan_piece *other;

		start = (start + align - 1) & ~(align - 1);
		if (bytes > to || start > to - bytes || !plan_is_ram(plan, start, bytes))
			return NOWHERE;
		other = piece_at(plan, start, bytes);
		if (!other)
			return start;
		start = other->start + other->bytes;
	}
}

enum status plan_place(struct plan *plan, const char *what, struct plan_piece *piece,
		       uint64_t align, uint64_t from, uint64_t to)
{
	const struct load_target *target = plan->target;

	for (unsigned i = 0; i < target->memory_count; i++) {
		uint64_t start = target->memory[i].start.raw;
		uint64_t lowest = from > PAGE_SIZE ? from : PAGE_SIZE;

		start = fit(plan, start > lowest ? start : lowest, piece->bytes, align, to);
		if (start != NOWHERE) {
			piece->start = start;
			return plan_add(plan, what, *piece);
		}
	}
	return text_refuse(plan->error,
			   "%s of %lu bytes: the guest has no room for it in %#lx..%#lx", what,
			   piece->bytes, from, to);
}

enum status plan_write(const struct plan *plan)
{
	const struct load_target *target = plan->target;

	for (unsigned i = 0; i < plan->count; i++) {
		const struct plan_piece *piece = &plan->pieces[i];
		enum status status;

		if (!piece->source_bytes)
			continue;
		status = target->write(target->context, gpa(piece->start), piece->source,
				       piece->source_bytes);
		if (status)
			return status;
	}
	return STATUS_OK;
}

/* SDM "4-Level Paging": present, writable, accessed, dirty; with bit 7 a 2 MiB page. */
#define TABLE_ENTRY 0x63
#define PAGE_2M     0xe3

/* One page directory, a part at a time so that the stack stays small. */
static enum status write_directory(const struct load_target *target, uint64_t at, uint64_t maps)
{
	enum { PART = 64 };
	uint64_t entries[PART];

	for (unsigned first = 0; first < 512; first += PART) {
		enum status status;

		for (unsigned i = 0; i < PART; i++)
			entries[i] = (maps + ((uint64_t)(first + i) << 21)) | PAGE_2M;
		status = target->write(target->context, gpa(at + first * 8), entries,
				       sizeof(entries));
		if (status)
			return status;
	}
	return STATUS_OK;
}

enum status write_identity_tables(const struct load_target *target, uint64_t at,
				  unsigned gigabytes)
{
	uint64_t top = (at + PAGE_SIZE) | TABLE_ENTRY;
	uint64_t pointers[4];
	enum status status;

	for (unsigned i = 0; i < gigabytes; i++) {
		pointers[i] = (at + (2 + i) * PAGE_SIZE) | TABLE_ENTRY;
		status = write_directory(target, at + (2 + i) * PAGE_SIZE, (uint64_t)i << 30);
		if (status)
			return status;
	}
	status = target->write(target->context, gpa(at + PAGE_SIZE), pointers, gigabytes * 8);
	if (status)
		return status;
	return target->write(target->context, gpa(at), &top, sizeof(top));
}
