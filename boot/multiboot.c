/*
 * The tables that boot loaders leave: multiboot2's tags and PVH's start info. Read once, by
 * boot_main() under the early page tables, and by the tests with tables of their own. What they
 * say is not trusted: counts, sizes and addresses are checked, a fault in them is a sentence.
 */
#include "boot/layout.h"
#include "boot/loader.h"
#include "boot/string.h"

enum { TAG_END = 0, TAG_COMMAND_LINE = 1, TAG_MODULE = 3, TAG_MEMORY_MAP = 6,
       TAG_RSDP_OLD = 14, TAG_RSDP_NEW = 15 };
enum { MEMORY_RAM = 1 };		/* type of both memory maps */
enum { TABLE_MAX = 1 << 20 };		/* no loader's table is larger */

struct multiboot2_info { uint32_t bytes, reserved; };
struct multiboot2_tag { uint32_t type, bytes; };
struct multiboot2_module { struct multiboot2_tag tag; uint32_t start, end; char name[]; };
struct multiboot2_map { struct multiboot2_tag tag; uint32_t entry_bytes, version; };

struct pvh_start_info {
	uint32_t magic, version, flags, module_count;
	uint64_t modules, command_line, rsdp, map;
	uint32_t map_count, reserved;
};
struct pvh_module { uint64_t start, bytes, command_line, reserved; };

/* One format serves both. */
struct map_entry { uint64_t start, bytes; uint32_t type, reserved; };

/* NULL unless all of it is where the early tables reach. */
static const void *reach(uint64_t address, uint64_t bytes)
{
	if (!address || address >= EARLY_MAP_BYTES || bytes > EARLY_MAP_BYTES - address)
		return NULL;
	return hpa_to_ptr(hpa(address));
}

/* ------------------------------------------------------------------ parts of both */

static hpa_t page_down(uint64_t address) { return hpa(address & PAGE_MASK); }
static hpa_t page_up(uint64_t address) { return hpa((address + PAGE_SIZE - 1) & PAGE_MASK); }

/*
 * RAM is what the map calls so and nothing else contradicts: pages that reserved entries touch
 * are left out, wherever they stand in the map.
 */
static const char *read_map(struct loader_facts *out, const char *entries, uint64_t count,
			    uint64_t stride)
{
	for (unsigned pass = 0; pass < 2; pass++)
		for (uint64_t i = 0; i < count; i++) {
			struct map_entry entry;
			enum status status = STATUS_OK;

			memcpy(&entry, entries + i * stride, sizeof(entry));
			if (entry.bytes > UINT64_MAX - PAGE_SIZE - entry.start)
				return "an entry of the loader's memory map wraps around";

			uint64_t end = entry.start + entry.bytes;

			if (pass == 0 && entry.type == MEMORY_RAM)
				status = range_set_add(&out->ram, page_up(entry.start),
						       page_down(end));
			if (pass == 1 && entry.type != MEMORY_RAM)
				status = range_set_remove(&out->ram, page_down(entry.start),
							  page_up(end));
			if (status != STATUS_OK)
				return "the loader's memory map is in too many pieces";
		}
	return NULL;
}

static const char *copy_command_line(struct loader_facts *out, const char *from, size_t most)
{
	size_t length = strnlen(from, most);

	if (length == most || length >= COMMAND_LINE_MAX)
		return "the command line is longer than 2047 bytes, or has no end";
	memcpy(out->command_line, from, length + 1);
	return NULL;
}

/* The module's name is the first word of its string. */
static const char *add_module(struct loader_facts *out, uint64_t start, uint64_t bytes,
			      const char *text, size_t text_most)
{
	unsigned i = out->module_count;
	char *name = out->module_names[i % MODULES_MAX];
	size_t length = 0;

	if (i == MODULES_MAX)
		return "the loader gives more than 16 modules";
	if (bytes && !reach(start, bytes))
		return "a module of the loader lies out of reach";
	while (length < text_most && length < MODULE_NAME_MAX - 1 && text[length] > ' ') {
		name[length] = text[length];
		length++;
	}
	name[length] = '\0';
	if (!length)
		(void)format_text(name, MODULE_NAME_MAX, "module%u", i);
	out->modules[i] = (struct boot_module){ name, hpa_to_ptr(hpa(start)), bytes };
	out->module_count++;
	return NULL;
}

static void copy_rsdp(struct loader_facts *out, const void *from, unsigned bytes)
{
	if (bytes > RSDP_MAX)
		bytes = RSDP_MAX;
	if (bytes <= out->rsdp_bytes)
		return;			/* the newer format is longer, and has more in it */
	memcpy(out->rsdp, from, bytes);
	out->rsdp_bytes = bytes;
}

/* ------------------------------------------------------------------ multiboot2 */

static const char *read_tag_map(struct loader_facts *out, const struct multiboot2_tag *tag)
{
	struct multiboot2_map map;

	if (tag->bytes < sizeof(map))
		return "the multiboot2 memory map is cut short";
	memcpy(&map, tag, sizeof(map));
	if (map.entry_bytes < sizeof(struct map_entry))
		return "the multiboot2 memory map has entries of an unknown size";
	return read_map(out, (const char *)tag + sizeof(map),
			(tag->bytes - sizeof(map)) / map.entry_bytes, map.entry_bytes);
}

static const char *read_tag_module(struct loader_facts *out, const struct multiboot2_tag *tag)
{
	struct multiboot2_module module;

	if (tag->bytes < sizeof(module))
		return "a multiboot2 module tag is cut short";
	memcpy(&module, tag, sizeof(module));
	if (module.end < module.start)
		return "a multiboot2 module ends before it starts";
	return add_module(out, module.start, module.end - module.start,
			  (const char *)tag + sizeof(module), tag->bytes - sizeof(module));
}

static const char *read_tag(struct loader_facts *out, const struct multiboot2_tag *tag)
{
	const char *body = (const char *)(tag + 1);
	unsigned bytes = tag->bytes - (unsigned)sizeof(*tag);

	switch (tag->type) {
	case TAG_COMMAND_LINE: return copy_command_line(out, body, bytes);
	case TAG_MODULE: return read_tag_module(out, tag);
	case TAG_MEMORY_MAP: return read_tag_map(out, tag);
	case TAG_RSDP_OLD:
	case TAG_RSDP_NEW: copy_rsdp(out, body, bytes); return NULL;
	default: return NULL;
	}
}

const char *loader_read_multiboot2(hpa_t start, struct loader_facts *out)
{
	const struct multiboot2_info *info = reach(start.raw, TABLE_MAX);

	if (!info || start.raw % 8)
		return "the multiboot2 information lies at an impossible address";
	if (info->bytes < sizeof(*info) + sizeof(struct multiboot2_tag) || info->bytes > TABLE_MAX)
		return "the multiboot2 information has an impossible size";
	memset(out, 0, sizeof(*out));
	out->loader = "multiboot2";
	for (uint32_t at = sizeof(*info);;) {
		struct multiboot2_tag tag;
		const char *wrong;

		if (at > info->bytes - sizeof(tag))
			return "the multiboot2 information has no end tag";
		memcpy(&tag, (const char *)info + at, sizeof(tag));
		if (tag.type == TAG_END)
			break;
		if (tag.bytes < sizeof(tag) || tag.bytes > info->bytes - at)
			return "a multiboot2 tag is longer than the information";
		wrong = read_tag(out, (const void *)((const char *)info + at));
		if (wrong)
			return wrong;
		at += (tag.bytes + 7) & ~7u;
	}
	return out->ram.count ? NULL : "the multiboot2 information has no memory map";
}

/* ------------------------------------------------------------------ PVH */

static const char *read_pvh_modules(struct loader_facts *out, const struct pvh_start_info *info)
{
	const char *modules = reach(info->modules,
				    info->module_count * sizeof(struct pvh_module));

	if (info->module_count && !modules)
		return "the PVH module list lies out of reach";
	for (unsigned i = 0; i < info->module_count; i++) {
		struct pvh_module module;
		const char *text, *wrong;

		memcpy(&module, modules + i * sizeof(module), sizeof(module));
		text = reach(module.command_line, MODULE_NAME_MAX);
		wrong = add_module(out, module.start, module.bytes, text ? text : "",
				   text ? MODULE_NAME_MAX : 0);
		if (wrong)
			return wrong;
	}
	return NULL;
}

const char *loader_read_pvh(hpa_t start, struct loader_facts *out)
{
	const void *from = reach(start.raw, sizeof(struct pvh_start_info));
	struct pvh_start_info info;
	const char *wrong = NULL;

	if (!from)
		return "the PVH start info lies at an impossible address";
	memcpy(&info, from, sizeof(info));
	memset(out, 0, sizeof(*out));
	out->loader = "PVH";
	if (info.magic != PVH_MAGIC)
		return "the PVH start info has a wrong magic number";
	if (info.version < 1 || !info.map_count)
		return "the PVH start info has no memory map (version 1 is needed)";
	if (info.map_count > TABLE_MAX / sizeof(struct map_entry) ||
	    !reach(info.map, info.map_count * sizeof(struct map_entry)))
		return "the PVH memory map lies out of reach";
	wrong = read_map(out, reach(info.map, 1), info.map_count, sizeof(struct map_entry));
	if (!wrong && info.command_line) {
		from = reach(info.command_line, COMMAND_LINE_MAX);
		wrong = from ? copy_command_line(out, from, COMMAND_LINE_MAX)
			     : "the PVH command line lies out of reach";
	}
	if (!wrong && reach(info.rsdp, RSDP_MAX))
		copy_rsdp(out, reach(info.rsdp, RSDP_MAX), RSDP_MAX);
	if (!wrong)
		wrong = read_pvh_modules(out, &info);
	if (!wrong && !out->ram.count)
		wrong = "the PVH memory map has no RAM";
	return wrong;
}
