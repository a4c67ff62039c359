/*
 * Multiboot 1 (Multiboot Specification 0.6.96): ELF32 by its program headers, or any file by the
 * header's address fields. The kernel finds memory sizes and map, its command line, modules and
 * the loader's name; video mode requests are left unanswered, as the specification allows.
 */
#include "guest/load/plan.h"

#define HEADER_MAGIC   0x1badb002u
#define BOOT_MAGIC     0x2badb002u
#define SEARCH_BYTES   8192u

/* Header flags. Bits 0..15 must be understood, the others may be passed over. */
#define WANTS_ALIGNED  (1u << 0)
#define WANTS_MEMORY   (1u << 1)
#define WANTS_VIDEO    (1u << 2)
#define MUST_KNOW      0xffffu
#define HAS_ADDRESSES  (1u << 16)

#define LOADER_NAME    "foliovisor"
#define LIMIT_32       (UINT64_C(1) << 32)

enum { SEGMENTS_MAX = 12 };

/* Offset of the header, or SEARCH_BYTES when there is none. */
static uint32_t find_header(const struct load_file *image)
{
	uint64_t limit = image->size < SEARCH_BYTES ? image->size : SEARCH_BYTES;

	for (uint32_t at = 0; at + 12 <= limit; at += 4)
		if (field32(image->bytes, at) == HEADER_MAGIC &&
		    !(uint32_t)(field32(image->bytes, at) + field32(image->bytes, at + 4) +
				field32(image->bytes, at + 8)))
			return at;
	return SEARCH_BYTES;
}

bool multiboot_found(const struct load_file *image)
{
	return find_header(image) < SEARCH_BYTES;
}

/* ------------------------------------------------------------------ the address fields */

static enum status plan_by_addresses(const struct load_file *image, uint32_t header,
				     struct plan *plan, struct load_entry *entry)
{
	uint64_t header_at, load, load_end, bss_end, skip, bytes;

	if (header + 32 > image->size)
		return text_refuse(plan->error,
				   "%s: the multiboot address fields at %#x are cut off: "
				   "the file has %lu bytes",
				   image->name, header, image->size);
	header_at = field32(image->bytes, header + 12);
	load = field32(image->bytes, header + 16);
	load_end = field32(image->bytes, header + 20);
	bss_end = field32(image->bytes, header + 24);
	entry->rip = field32(image->bytes, header + 28);

	if (load > header_at || header_at - load > header)
		return text_refuse(plan->error,
				   "%s: header_addr %#lx and load_addr %#lx do not fit a "
				   "header at offset %#x",
				   image->name, header_at, load, header);
	skip = header - (header_at - load);
	bytes = load_end ? load_end - load : image->size - skip;
	if ((load_end && load_end < load) || bytes > image->size - skip)
		return text_refuse(plan->error,
				   "%s: load_addr %#lx to load_end_addr %#lx; the file has "
				   "%lu bytes for it",
				   image->name, load, load_end, image->size - skip);
	if (bss_end && bss_end < load + bytes)
		return text_refuse(plan->error,
				   "%s: bss_end_addr %#lx; expected none below the loaded "
				   "end %#lx",
				   image->name, bss_end, load + bytes);
	if (entry->rip < load || entry->rip >= load + bytes)
		return text_refuse(plan->error, "%s: entry_addr %#lx; expected one in %#lx..%#lx",
				   image->name, entry->rip, load, load + bytes);
	return plan_add(plan, "the multiboot image", (struct plan_piece){
			load, bss_end ? bss_end - load : bytes, (const char *)image->bytes + skip,
			bytes });
}

/* ------------------------------------------------------------------ ELF32 */

#define ELF_CLASS32  1
#define ELF_LITTLE   1
#define ELF_386      3
#define ELF_EXEC     2
#define ELF_LOAD     1		/* p_type */
#define ELF_HEADER   52u
#define ELF_PROGRAM  32u

static enum status check_elf(const struct load_file *image, struct plan *plan)
{
	const uint8_t *bytes = image->bytes;

	if (image->size < ELF_HEADER || __builtin_memcmp(bytes, "\177ELF", 4))
		return text_refuse(plan->error,
				   "%s: a multiboot header without address fields in a "
				   "file that is no ELF; expected either",
				   image->name);
	if (bytes[4] != ELF_CLASS32 || bytes[5] != ELF_LITTLE)
		return text_refuse(plan->error,
				   "%s: ELF class %u, data %u; expected ELF32 little-endian, "
				   "or the multiboot address fields",
				   image->name, bytes[4], bytes[5]);
	if (field16(bytes, 16) != ELF_EXEC || field16(bytes, 18) != ELF_386)
		return text_refuse(plan->error,
				   "%s: ELF type %u for machine %u; expected an executable "
				   "(2) for the 386 (3)",
				   image->name, field16(bytes, 16), field16(bytes, 18));
	if (field16(bytes, 42) != ELF_PROGRAM)
		return text_refuse(plan->error, "%s: ELF program headers of %u bytes; expected %u",
				   image->name, field16(bytes, 42), ELF_PROGRAM);
	if ((uint64_t)field32(bytes, 28) + (uint64_t)field16(bytes, 44) * ELF_PROGRAM > image->size)
		return text_refuse(plan->error,
				   "%s: %u ELF program headers at %#x; the file has %lu "
				   "bytes",
				   image->name, field16(bytes, 44), field32(bytes, 28),
				   image->size);
	return STATUS_OK;
}

static enum status plan_segment(const struct load_file *image, uint64_t header, struct plan *plan)
{
	uint64_t offset = field32(image->bytes, header + 4);
	uint64_t address = field32(image->bytes, header + 12);
	uint64_t in_file = field32(image->bytes, header + 16);
	uint64_t in_memory = field32(image->bytes, header + 20);

	if (in_file > in_memory)
		return text_refuse(plan->error,
				   "%s: ELF segment at %#lx has %lu bytes in the file; "
				   "expected at most its %lu in memory",
				   image->name, address, in_file, in_memory);
	if (offset + in_file > image->size)
		return text_refuse(plan->error,
				   "%s: ELF segment at %#lx ends at byte %lu of a file of "
				   "%lu",
				   image->name, address, offset + in_file, image->size);
	if (address + in_memory > LIMIT_32)
		return text_refuse(plan->error,
				   "%s: ELF segment at %#lx of %lu bytes wraps around 4 GiB",
				   image->name, address, in_memory);
	if (!in_memory)
		return STATUS_OK;
	if (plan->count == SEGMENTS_MAX)
		return text_refuse(plan->error, "%s: more ELF segments to load than %u",
				   image->name, (unsigned)SEGMENTS_MAX);
	return plan_add(plan, "ELF segment", (struct plan_piece){
			address, in_memory, (const char *)image->bytes + offset, in_file });
}

static enum status plan_by_elf(const struct load_file *image, struct plan *plan,
			       struct load_entry *entry)
{
	enum status status = check_elf(image, plan);
	uint64_t header;

	if (status)
		return status;
	header = field32(image->bytes, 28);
	for (unsigned i = 0; i < field16(image->bytes, 44); i++, header += ELF_PROGRAM) {
		if (field32(image->bytes, header) != ELF_LOAD)
			continue;
		status = plan_segment(image, header, plan);
		if (status)
			return status;
	}
	entry->rip = field32(image->bytes, 24);
	for (unsigned i = 0; i < plan->count; i++)
		if (entry->rip >= plan->pieces[i].start &&
		    entry->rip - plan->pieces[i].start < plan->pieces[i].source_bytes)
			return STATUS_OK;
	return text_refuse(plan->error, "%s: ELF entry %#lx; expected one inside a loaded segment",
			   image->name, entry->rip);
}

/* ------------------------------------------------------------------ the boot information */

/* One block: the information structure, memory map, module list, then the strings. */
struct information {
	uint64_t at, map, modules, strings, end;
};

#define INFORMATION_BYTES 120u
#define MAP_ENTRY_BYTES   24u
#define MODULE_BYTES      16u

/* Where each part lies from a start of 0. */
static struct information lay_out(const struct load_request *request,
				  const struct load_target *target)
{
	struct information info = { .map = INFORMATION_BYTES };

	info.modules = info.map + (uint64_t)target->memory_count * MAP_ENTRY_BYTES;
	info.strings = info.modules + (uint64_t)request->module_count * MODULE_BYTES;
	info.end = info.strings + sizeof(LOADER_NAME) + __builtin_strlen(request->command_line) + 1;
	for (unsigned i = 0; i < request->module_count; i++)
		info.end += __builtin_strlen(request->modules[i].name) + 1;
	return info;
}

/* KiB of RAM from `start` without a gap: "lower" from 0, "upper" from 1 MiB. */
static uint32_t kib_from(const struct load_target *target, uint64_t start)
{
	for (unsigned i = 0; i < target->memory_count; i++) {
		const struct load_memory *memory = &target->memory[i];

		if (start >= memory->start.raw && start - memory->start.raw < memory->bytes)
			return (uint32_t)((memory->bytes - (start - memory->start.raw)) >> 10);
	}
	return 0;
}

static enum status write_map(const struct load_target *target, uint64_t to)
{
	for (unsigned i = 0; i < target->memory_count; i++, to += MAP_ENTRY_BYTES) {
		uint64_t start = target->memory[i].start.raw, bytes = target->memory[i].bytes;
		uint32_t entry[6] = { 20, (uint32_t)start, (uint32_t)(start >> 32), (uint32_t)bytes,
				      (uint32_t)(bytes >> 32), 1 };
		enum status status = target->write(target->context, gpa(to), entry, sizeof(entry));

		if (status)
			return status;
	}
	return STATUS_OK;
}

/* Writes a string and steps over it. */
static enum status write_string(const struct load_target *target, uint64_t *to, const char *string)
{
	uint64_t bytes = __builtin_strlen(string) + 1;
	uint64_t at = *to;

	*to += bytes;
	return target->write(target->context, gpa(at), string, bytes);
}

static enum status write_modules(const struct load_request *request, const struct plan *plan,
				 uint64_t to, uint64_t *strings)
{
	const struct plan_piece *piece = &plan->pieces[plan->count - 1 - request->module_count];

	for (unsigned i = 0; i < request->module_count; i++, piece++, to += MODULE_BYTES) {
		uint32_t entry[4] = {(uint32_t)piece->start,
				     (uint32_t)(piece->start + piece->bytes), (uint32_t)*strings,
				     0};
		enum status status = plan->target->write(plan->target->context, gpa(to), entry,
							 sizeof(entry));

		if (!status)
			status = write_string(plan->target, strings, request->modules[i].name);
		if (status)
			return status;
	}
	return STATUS_OK;
}

static enum status write_information(const struct load_request *request, const struct plan *plan,
				     const struct information *info)
{
	const struct load_target *target = plan->target;
	uint64_t strings = info->strings;
	uint32_t words[INFORMATION_BYTES / 4] = { 0 };
	enum status status;

	words[0] = 1 << 0 | 1 << 2 | 1 << 3 | 1 << 6 | 1 << 9;
	words[1] = kib_from(target, 0) < 640 ? kib_from(target, 0) : 640;
	words[2] = kib_from(target, 0x100000);
	words[5] = request->module_count;
	words[6] = (uint32_t)info->modules;
	words[11] = target->memory_count * MAP_ENTRY_BYTES;
	words[12] = (uint32_t)info->map;
	words[16] = (uint32_t)strings;
	status = write_string(target, &strings, LOADER_NAME);
	if (status)
		return status;
	words[4] = (uint32_t)strings;
	status = write_string(target, &strings, request->command_line);
	if (!status)
		status = write_modules(request, plan, info->modules, &strings);
	if (!status)
		status = write_map(target, info->map);
	if (!status)
		status = target->write(target->context, gpa(info->at), words, sizeof(words));
	return status;
}

/* ------------------------------------------------------------------ all together */

static enum status plan_modules(const struct load_request *request, struct plan *plan)
{
	uint64_t from = 0x100000;

	for (unsigned i = 0; i < plan->count; i++)
		if (plan->pieces[i].start + plan->pieces[i].bytes > from)
			from = plan->pieces[i].start + plan->pieces[i].bytes;

	for (unsigned i = 0; i < request->module_count; i++) {
		const struct load_file *file = &request->modules[i];
		struct plan_piece piece = { 0, file->size, file->bytes, file->size };
		enum status status = plan_place(plan, "multiboot module", &piece, PAGE_SIZE, from,
						LIMIT_32);

		if (status)
			return status;
	}
	return STATUS_OK;
}

/* The information block is the last piece: low, as loaders put it, and clear of all others. */
static enum status plan_information(const struct load_request *request, struct plan *plan,
				    struct information *info)
{
	struct plan_piece piece = { 0 };
	enum status status;

	*info = lay_out(request, plan->target);
	piece.bytes = info->end;
	status = plan_place(plan, "multiboot information", &piece, 16, 0x9000, LIMIT_32);
	info->at = piece.start;
	info->map += piece.start;
	info->modules += piece.start;
	info->strings += piece.start;
	return status;
}

enum status load_multiboot(const struct load_request *request, struct plan *plan,
			   struct load_entry *entry)
{
	const struct load_file *image = &request->image;
	uint32_t header = find_header(image);
	uint32_t flags = field32(image->bytes, header + 4);
	uint32_t unknown = flags & MUST_KNOW & ~(WANTS_ALIGNED | WANTS_MEMORY | WANTS_VIDEO);
	struct information info;
	enum status status;

	if (unknown)
		return text_refuse(plan->error,
				   "%s: multiboot flags %#x demand %#x; supported are bits "
				   "0, 1, 2 and 16",
				   image->name, flags, unknown);
	status = flags & HAS_ADDRESSES ? plan_by_addresses(image, header, plan, entry) :
					 plan_by_elf(image, plan, entry);
	if (!status)
		status = plan_modules(request, plan);
	if (!status)
		status = plan_information(request, plan, &info);
	if (!status)
		status = plan_write(plan);
	if (!status)
		status = write_information(request, plan, &info);
	entry->kind = "multiboot";
	entry->mode = LOAD_PROTECTED;
	entry->rax = BOOT_MAGIC;
	entry->rbx = status ? 0 : info.at;
	return status;
}
