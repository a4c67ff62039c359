/*
 * Linux images (bzImage) by the 64-bit boot protocol; Linux Documentation/arch/x86/boot.rst.
 * memtest86+ is such an image. The kernel starts at its load address + 0x200, in long mode with the
 * first 4 GiB mapped one to one, RSI on boot_params: setup header, e820 map, command line, initrd,
 * a text screen of 80x25.
 */
#include "guest/load/plan.h"

/* Offsets in the file, and, from SETUP_SECTS to the header's end, in boot_params too. */
#define SETUP_SECTS     0x1f1
#define BOOT_FLAG       0x1fe
#define JUMP_LENGTH     0x201		/* the header ends this many bytes behind 0x202 */
#define HEADER_MAGIC    0x202
#define VERSION         0x206
#define LOADFLAGS       0x211
#define INITRD_MAX      0x22c
#define ALIGNMENT       0x230
#define RELOCATABLE     0x234
#define XLOADFLAGS      0x236
#define CMDLINE_SIZE    0x238
#define PREF_ADDRESS    0x258
#define INIT_SIZE       0x260

/* In boot_params only. */
#define SCREEN_INFO     0x000
#define E820_ENTRIES    0x1e8
#define TYPE_OF_LOADER  0x210
#define RAMDISK_IMAGE   0x218
#define RAMDISK_SIZE    0x21c
#define CMD_LINE_PTR    0x228
#define E820_TABLE      0x2d0
#define BOOT_PARAMS     0x1000u

#define LOADED_HIGH     0x01
#define XLF_KERNEL_64   0x01
#define ENTRY_64        0x200
#define LOAD_ADDRESS    0x100000
#define LIMIT_32        (UINT64_C(1) << 32)
#define TABLES_BYTES    (6 * PAGE_SIZE)

struct kernel {
	const struct load_file *file;
	uint16_t version;
	uint64_t setup_bytes;		/* what stands before the part that is loaded */
	uint64_t load, bytes;		/* guest physical; bytes include what it needs to unpack */
	uint64_t params, tables, command_line;
	const struct plan_piece *initrd;
};

bool linux_found(const struct load_file *image)
{
	return image->size >= HEADER_MAGIC + 4 && field16(image->bytes, BOOT_FLAG) == 0xaa55 &&
	       !__builtin_memcmp((const char *)image->bytes + HEADER_MAGIC, "HdrS", 4);
}

static uint8_t field8(const struct load_file *file, uint64_t offset)
{
	return ((const uint8_t *)file->bytes)[offset];
}

static uint64_t header_end(const struct load_file *file)
{
	return HEADER_MAGIC + (uint64_t)field8(file, JUMP_LENGTH);
}

static enum status check_header(struct kernel *kernel, struct plan *plan)
{
	const struct load_file *file = kernel->file;
	unsigned sectors = field8(file, SETUP_SECTS);

	kernel->setup_bytes = ((sectors ? sectors : 4) + 1) * UINT64_C(512);
	if (file->size <= kernel->setup_bytes + ENTRY_64)
		return text_refuse(plan->error,
				   "%s: a Linux image cut off at %lu bytes; its setup alone "
				   "takes %lu",
				   file->name, file->size, kernel->setup_bytes);
	kernel->version = field16(file->bytes, VERSION);
	if (kernel->version < 0x206)
		return text_refuse(plan->error,
				   "%s: Linux boot protocol %u.%u; expected 2.6 or later",
				   file->name, kernel->version >> 8, kernel->version & 255u);
	if (header_end(file) < CMDLINE_SIZE + 4 || header_end(file) > kernel->setup_bytes)
		return text_refuse(plan->error,
				   "%s: Linux setup header ends at %#lx; expected %#x or more",
				   file->name, header_end(file), CMDLINE_SIZE + 4);
	if (!(field8(file, LOADFLAGS) & LOADED_HIGH))
		return text_refuse(plan->error,
				   "%s: a Linux zImage, for low memory; expected a bzImage",
				   file->name);
	if (kernel->version >= 0x20c && !(field16(file->bytes, XLOADFLAGS) & XLF_KERNEL_64))
		return text_refuse(plan->error,
				   "%s: a Linux image without a 64-bit entry (xloadflags "
				   "%#x); expected bit 0",
				   file->name, field16(file->bytes, XLOADFLAGS));
	return STATUS_OK;
}

/*
 * Where the header prefers it; a relocatable kernel that does not fit there goes to the lowest
 * place that its alignment allows.
 */
static enum status plan_kernel(struct kernel *kernel, struct plan *plan)
{
	const struct load_file *file = kernel->file;
	bool has_preference = kernel->version >= 0x20a && header_end(file) >= INIT_SIZE + 4;
	uint64_t in_file = file->size - kernel->setup_bytes;
	uint64_t align = field32(file->bytes, ALIGNMENT);
	struct plan_piece piece = { LOAD_ADDRESS, in_file,
				    (const char *)file->bytes + kernel->setup_bytes, in_file };
	enum status status;

	if (has_preference) {
		piece.start = field64(file->bytes, PREF_ADDRESS);
		if (field32(file->bytes, INIT_SIZE) > in_file)
			piece.bytes = field32(file->bytes, INIT_SIZE);
	}
	if (field8(file, RELOCATABLE) && !plan_is_ram(plan, piece.start, piece.bytes)) {
		if (!align || align & (align - 1))
			return text_refuse(plan->error,
					   "%s: Linux kernel_alignment %#lx; expected a "
					   "power of two",
					   file->name, align);
		status =
			plan_place(plan, "the Linux kernel", &piece, align, LOAD_ADDRESS, LIMIT_32);
	} else {
		status = plan_add(plan, "the Linux kernel", piece);
	}
	kernel->load = piece.start;
	kernel->bytes = piece.bytes;
	return status;
}

static enum status plan_initrd(struct kernel *kernel, const struct load_request *request,
			       struct plan *plan)
{
	const struct load_file *file = &request->modules[0];
	uint64_t limit = (uint64_t)field32(kernel->file->bytes, INITRD_MAX) + 1;
	struct plan_piece piece = { 0, file->size, file->bytes, file->size };
	enum status status;

	if (!request->module_count)
		return STATUS_OK;
	if (request->module_count > 1)
		return text_refuse(plan->error,
				   "%s: %u modules for a Linux image; expected one, its "
				   "initrd",
				   kernel->file->name, request->module_count);
	status = plan_place(plan, "initrd", &piece, PAGE_SIZE, kernel->load + kernel->bytes, limit);
	if (!status)
		kernel->initrd = &plan->pieces[plan->count - 1];
	return status;
}

/* boot_params, page tables and command line go to conventional memory. */
static enum status plan_parameters(struct kernel *kernel, const struct load_request *request,
				   struct plan *plan)
{
	uint64_t length = __builtin_strlen(request->command_line);
	uint64_t longest = field32(kernel->file->bytes, CMDLINE_SIZE);
	struct plan_piece params = { .bytes = BOOT_PARAMS }, tables = { .bytes = TABLES_BYTES };
	struct plan_piece line = { .bytes = length + 1, .source = request->command_line,
				   .source_bytes = length + 1 };
	enum status status;

	if (length > longest)
		return text_refuse(plan->error,
				   "%s: a command line of %lu characters; it takes %lu",
				   kernel->file->name, length, longest);
	status = plan_place(plan, "boot_params", &params, PAGE_SIZE, 0x10000, 0xa0000);
	if (!status)
		status = plan_place(plan, "page tables", &tables, PAGE_SIZE, 0x10000, 0xa0000);
	if (!status)
		status = plan_place(plan, "command line", &line, 16, 0x10000, 0xa0000);
	kernel->params = params.start;
	kernel->tables = tables.start;
	kernel->command_line = line.start;
	return status;
}

/* ------------------------------------------------------------------ boot_params */

static enum status put_field(const struct kernel *kernel, const struct load_target *target,
			     uint64_t offset, const void *from, uint64_t bytes)
{
	return target->write(target->context, gpa(kernel->params + offset), from, bytes);
}

static enum status write_e820(const struct kernel *kernel, const struct load_target *target)
{
	uint8_t count = (uint8_t)target->memory_count;
	enum status status = put_field(kernel, target, E820_ENTRIES, &count, 1);

	for (unsigned i = 0; !status && i < target->memory_count; i++) {
		uint64_t start = target->memory[i].start.raw, bytes = target->memory[i].bytes;
		uint32_t entry[5] = { (uint32_t)start, (uint32_t)(start >> 32), (uint32_t)bytes,
				      (uint32_t)(bytes >> 32), 1 };

		status = put_field(kernel, target, E820_TABLE + i * sizeof(entry), entry,
				   sizeof(entry));
	}
	return status;
}

/* struct screen_info: VGA text mode 3, 80 by 25, 16 scan lines a character. */
static enum status write_screen(const struct kernel *kernel, const struct load_target *target)
{
	uint8_t screen[0x40] = { [0x06] = 3, [0x07] = 80, [0x0e] = 25, [0x0f] = 1, [0x10] = 16 };

	return put_field(kernel, target, SCREEN_INFO, screen, sizeof(screen));
}

static enum status write_parameters(const struct kernel *kernel, const struct load_target *target)
{
	const char *setup = kernel->file->bytes;
	uint32_t line = (uint32_t)kernel->command_line;
	uint8_t loader = 0xff;		/* "undefined": no identifier was ever given to us */
	enum status status = put_field(kernel, target, SETUP_SECTS, setup + SETUP_SECTS,
				       header_end(kernel->file) - SETUP_SECTS);

	if (!status)
		status = put_field(kernel, target, TYPE_OF_LOADER, &loader, 1);
	if (!status)
		status = put_field(kernel, target, CMD_LINE_PTR, &line, 4);
	if (!status && kernel->initrd) {
		uint32_t at = (uint32_t)kernel->initrd->start,
			 bytes = (uint32_t)kernel->initrd->bytes;

		status = put_field(kernel, target, RAMDISK_IMAGE, &at, 4);
		if (!status)
			status = put_field(kernel, target, RAMDISK_SIZE, &bytes, 4);
	}
	if (!status)
		status = write_screen(kernel, target);
	if (!status)
		status = write_e820(kernel, target);
	return status;
}

enum status load_linux(const struct load_request *request, struct plan *plan,
		       struct load_entry *entry)
{
	struct kernel kernel = { .file = &request->image };
	enum status status = check_header(&kernel, plan);

	if (!status)
		status = plan_kernel(&kernel, plan);
	if (!status)
		status = plan_initrd(&kernel, request, plan);
	if (!status)
		status = plan_parameters(&kernel, request, plan);
	if (!status)
		status = plan_write(plan);
	if (!status)
		status = write_identity_tables(plan->target, kernel.tables, 4);
	if (!status)
		status = write_parameters(&kernel, plan->target);
	*entry = (struct load_entry){
		.kind = "Linux",
		.mode = LOAD_LONG,
		.rip = kernel.load + ENTRY_64,
		.cr3 = kernel.tables,
		.rsi = kernel.params,
	};
	return status;
}
