/*
 * What loaders and firmware leave in memory, good and bad: multiboot2 and PVH information and
 * ACPI's MADT made here by hand; and the sets of ranges that memory maps become. Needs nothing.
 */
#include "boot/acpi.h"
#include "boot/layout.h"
#include "boot/loader.h"
#include "boot/string.h"
#include "tests/tap.h"

static uint8_t table[4096] __attribute__((aligned(4096)));
static uint32_t used;			/* bytes of it */
static struct loader_facts read;	/* too large for a stack */

static hpa_t table_hpa(void)
{
	return hpa((uint64_t)table - KERNEL_BASE);
}

static void add_bytes(const void *bytes, uint32_t count)
{
	memcpy(table + used, bytes, count);
	used += count;
}

static void add32(uint32_t value) { add_bytes(&value, sizeof(value)); }
static void add64(uint64_t value) { add_bytes(&value, sizeof(value)); }
static void set32(uint32_t at, uint32_t value) { memcpy(table + at, &value, sizeof(value)); }

static void expect_wrong(const char *found, const char *part)
{
	bool holds = found && strlen(found) >= strlen(part) &&
		     !strncmp(found, part, strlen(part));

	if (!holds)
		print("# reader says '%s', expected '%s...'\n", found ? found : "well", part);
	expect(holds);
}

/* ------------------------------------------------------------------ multiboot2 */

static void start_multiboot2(void)
{
	memset(table, 0, sizeof(table));
	used = 0;
	add64(0);			/* the size is set at the end */
}

static void start_tag(uint32_t type, uint32_t bytes)
{
	used = (used + 7) & ~7u;
	add32(type);
	add32(bytes);
}

static void add_map_entry(uint64_t start, uint64_t bytes, uint32_t type)
{
	add64(start);
	add64(bytes);
	add32(type);
	add32(0);
}

static void add_multiboot2_map(void)
{
	start_tag(6, 16 + 3 * 24);
	add32(24);
	add32(0);
	add_map_entry(0x100800, 0x10000000, 1);
	add_map_entry(0x400000, 0x800, 3);
	add_map_entry(UINT64_C(0x100000000), 0x40000000, 1);
}

static const char *end_multiboot2(void)
{
	start_tag(0, 8);
	set32(0, used);
	return loader_read_multiboot2(table_hpa(), &read);
}

BOOT_TEST("boot/multiboot2_good", NEEDS_NOTHING)
{
	start_multiboot2();
	start_tag(1, 8 + 12);
	add_bytes("help; quit 1", 12);	/* its 0 is the padding's first byte */
	set32(used - 20 + 4, 8 + 13);
	used++;
	add_multiboot2_map();
	start_tag(3, 16 + 10);
	add32(0x200000);
	add32(0x200123);
	add_bytes("disk extra", 10);
	start_tag(14, 8 + 20);
	add_bytes("RSD PTR 012345678901", 20);
	expect(!end_multiboot2());
	expect(!strcmp(read.command_line, "help; quit 1"));
	expect_equal(read.ram.count, 3);
	expect_equal(read.ram.range[0].start.raw, 0x101000);
	expect_equal(read.ram.range[0].end.raw, 0x400000);
	expect_equal(read.ram.range[1].start.raw, 0x401000);
	expect_equal(read.ram.range[1].end.raw, 0x10100000);
	expect_equal(read.ram.range[2].end.raw, UINT64_C(0x140000000));
	expect_equal(read.module_count, 1);
	expect(!strcmp(read.modules[0].name, "disk"));
	expect_equal(read.modules[0].size, 0x123);
	expect(read.modules[0].bytes == hpa_to_ptr(hpa(0x200000)));
	expect_equal(read.rsdp_bytes, 20);
}

BOOT_TEST("boot/multiboot2_bad", NEEDS_NOTHING)
{
	expect_wrong(loader_read_multiboot2(hpa(0), &read), "the multiboot2 information lies");
	expect_wrong(loader_read_multiboot2(hpa(table_hpa().raw + 4), &read),
		     "the multiboot2 information lies");
	expect_wrong(loader_read_multiboot2(hpa(UINT64_MAX - 7), &read),
		     "the multiboot2 information lies");
	start_multiboot2();
	expect_wrong(end_multiboot2(), "the multiboot2 information has no memory map");
	set32(0, 4);
	expect_wrong(loader_read_multiboot2(table_hpa(), &read),
		     "the multiboot2 information has an impossible size");
	set32(0, UINT32_MAX);
	expect_wrong(loader_read_multiboot2(table_hpa(), &read),
		     "the multiboot2 information has an impossible size");
	start_multiboot2();
	add_multiboot2_map();
	set32(0, used);
	expect_wrong(loader_read_multiboot2(table_hpa(), &read),
		     "the multiboot2 information has no end tag");
	start_multiboot2();
	start_tag(6, 0);
	expect_wrong(end_multiboot2(), "a multiboot2 tag is longer");
	start_multiboot2();
	start_tag(6, 0xfffffff8);
	expect_wrong(end_multiboot2(), "a multiboot2 tag is longer");
	start_multiboot2();
	start_tag(6, 12);
	add32(24);
	expect_wrong(end_multiboot2(), "the multiboot2 memory map is cut short");
	start_multiboot2();
	start_tag(6, 16);
	add64(0);
	expect_wrong(end_multiboot2(), "the multiboot2 memory map has entries");
	start_multiboot2();
	start_tag(6, 16 + 24);
	add64(24);
	add_map_entry(0x1000, UINT64_MAX, 1);
	expect_wrong(end_multiboot2(), "an entry of the loader's memory map wraps");
	start_multiboot2();
	start_tag(3, 16);
	add32(0x3000);
	add32(0x2000);
	expect_wrong(end_multiboot2(), "a multiboot2 module ends before");
	start_multiboot2();
	for (unsigned i = 0; i <= MODULES_MAX; i++) {
		start_tag(3, 16);
		add32(0x2000);
		add32(0x3000);
	}
	expect_wrong(end_multiboot2(), "the loader gives more than 16 modules");
	start_multiboot2();
	start_tag(1, 8 + 2100);
	memset(table + used, 'x', 2100);
	used += 2100;
	expect_wrong(end_multiboot2(), "the command line is longer");
	start_multiboot2();
	start_tag(1, 8 + 3);
	add_bytes("abc", 3);
	expect_wrong(end_multiboot2(), "the command line is longer than 2047 bytes, or has no end");
}

/* ------------------------------------------------------------------ PVH */

enum { PVH_MAP_AT = 64, PVH_TEXT_AT = 256, PVH_MODULES_AT = 512 };

static void make_pvh(uint32_t version, uint32_t map_count)
{
	uint64_t base = table_hpa().raw;

	memset(table, 0, sizeof(table));
	used = 0;
	add32(PVH_MAGIC);
	add32(version);
	add32(0);
	add32(1);			/* modules */
	add64(base + PVH_MODULES_AT);
	add64(base + PVH_TEXT_AT);
	add64(base + PVH_TEXT_AT + 64);
	add64(base + PVH_MAP_AT);
	add32(map_count);
	used = PVH_MAP_AT;
	add_map_entry(0, 0x9fc00, 1);
	add_map_entry(0x100000, 0x4000000, 1);
	used = PVH_TEXT_AT;
	add_bytes("stat", 5);
	used = PVH_TEXT_AT + 64;
	add_bytes("RSD PTR ", 8);
	used = PVH_MODULES_AT;
	add64(0x300000);
	add64(77);
}

BOOT_TEST("boot/pvh_good", NEEDS_NOTHING)
{
	make_pvh(1, 2);
	expect(!loader_read_pvh(table_hpa(), &read));
	expect(!strcmp(read.command_line, "stat"));
	expect_equal(read.ram.count, 2);
	expect_equal(read.ram.range[0].end.raw, 0x9f000);
	expect_equal(read.rsdp_bytes, RSDP_MAX);
	expect(!memcmp(read.rsdp, "RSD PTR ", 8));
	expect_equal(read.module_count, 1);
	expect(!strcmp(read.modules[0].name, "module0"));
	expect_equal(read.modules[0].size, 77);
}

BOOT_TEST("boot/pvh_bad", NEEDS_NOTHING)
{
	make_pvh(0, 2);
	expect_wrong(loader_read_pvh(table_hpa(), &read), "the PVH start info has no memory map");
	make_pvh(1, 0);
	expect_wrong(loader_read_pvh(table_hpa(), &read), "the PVH start info has no memory map");
	make_pvh(1, UINT32_MAX);
	expect_wrong(loader_read_pvh(table_hpa(), &read), "the PVH memory map lies out of reach");
	make_pvh(1, 2);
	table[0] ^= 1;
	expect_wrong(loader_read_pvh(table_hpa(), &read), "the PVH start info has a wrong magic");
	expect_wrong(loader_read_pvh(hpa(0), &read), "the PVH start info lies");
	make_pvh(1, 2);
	set32(12, UINT32_MAX);		/* modules */
	expect_wrong(loader_read_pvh(table_hpa(), &read), "the loader gives more than 16 modules");
	make_pvh(1, 2);
	set32(PVH_MODULES_AT + 4, 0x80);	/* bit 39 of the module's address, and more */
	expect_wrong(loader_read_pvh(table_hpa(), &read), "a module of the loader lies out");
	make_pvh(1, 2);
	set32(24 + 4, 0x80000000);	/* the command line's address */
	expect_wrong(loader_read_pvh(table_hpa(), &read), "the PVH command line lies out");
}

/* ------------------------------------------------------------------ MADT */

static void start_madt(void)
{
	memset(table, 0, sizeof(table));
	memcpy(table, "APIC", 4);
	used = 44;
}

static void add_local_apic(uint8_t id, uint32_t flags)
{
	add_bytes((const uint8_t[]){ 0, 8, 0, id }, 4);
	add32(flags);
}

static void add_local_x2apic(uint32_t id, uint32_t flags)
{
	add_bytes((const uint8_t[]){ 9, 16, 0, 0 }, 4);
	add32(id);
	add32(flags);
	add32(0);
}

static const char *end_madt(struct acpi_cpus *out)
{
	uint8_t sum = 0;

	set32(4, used);
	table[9] = 0;
	for (uint32_t i = 0; i < used; i++)
		sum = (uint8_t)(sum + table[i]);
	table[9] = (uint8_t)-sum;
	return acpi_read_madt(table, out);
}

BOOT_TEST("boot/madt_good", NEEDS_NOTHING)
{
	struct acpi_cpus cpus_found;

	start_madt();
	add_local_apic(3, 1);
	add_local_apic(4, 0);		/* not there */
	add_local_apic(5, 2);		/* may come later: is not there now */
	add_bytes((const uint8_t[]){ 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }, 12);
	add_local_x2apic(3, 1);		/* the first again */
	add_local_x2apic(0x12345, 1);
	expect(!end_madt(&cpus_found));
	expect_equal(cpus_found.count, 2);
	expect_equal(cpus_found.apic_id[0], 3);
	expect_equal(cpus_found.apic_id[1], 0x12345);
	start_madt();
	for (unsigned i = 0; i < MAX_CPUS + 3; i++)
		add_local_x2apic(i, 1);
	expect(!end_madt(&cpus_found));
	expect_equal(cpus_found.count, MAX_CPUS);
	expect_equal(cpus_found.ignored, 3);
}

BOOT_TEST("boot/madt_bad", NEEDS_NOTHING)
{
	struct acpi_cpus cpus_found;

	start_madt();
	expect_wrong(end_madt(&cpus_found), "ACPI's MADT lists no enabled");
	start_madt();
	add_local_apic(0, 1);
	(void)end_madt(&cpus_found);
	table[used - 1]++;
	expect_wrong(acpi_read_madt(table, &cpus_found), "ACPI's MADT is damaged: its bytes");
	start_madt();
	add_bytes((const uint8_t[]){ 0, 0, 0, 0 }, 4);
	expect_wrong(end_madt(&cpus_found), "ACPI's MADT is damaged: an entry");
	start_madt();
	add_bytes((const uint8_t[]){ 0, 200, 0, 0 }, 4);
	expect_wrong(end_madt(&cpus_found), "ACPI's MADT is damaged: an entry");
	expect_wrong(acpi_read_cpus(table, 0, &cpus_found), "the loader gives no ACPI root");
	memset(table, 0, 64);
	memcpy(table, "RSD PTR ", 8);
	table[8] = 1;
	expect_wrong(acpi_read_cpus(table, 20, &cpus_found), "ACPI's root pointer (RSDP)");
}

/* ------------------------------------------------------------------ range sets */

enum { MODEL_PAGES = 64, MODEL_ROUNDS = 2000 };

static hpa_t model_hpa(uint64_t page) { return hpa((page + 16) << PAGE_SHIFT); }

/* The set's ranges are sorted, apart, not empty, and hold the model's pages alone. */
static bool same(const struct range_set *set, uint64_t model)
{
	uint64_t pages = 0;

	for (unsigned i = 0; i < set->count; i++) {
		if (set->range[i].start.raw >= set->range[i].end.raw ||
		    (i && set->range[i - 1].end.raw >= set->range[i].start.raw))
			return false;
		for (uint64_t p = 0; p < MODEL_PAGES; p++)
			if (set->range[i].start.raw <= model_hpa(p).raw &&
			    model_hpa(p).raw < set->range[i].end.raw)
				pages |= UINT64_C(1) << p;
	}
	return pages == model;
}

BOOT_TEST("boot/range_sets", NEEDS_NOTHING)
{
	static struct range_set set;
	uint64_t model = 0, random = 88172645463325252u;
	unsigned wrong = 0;

	set.count = 0;
	for (unsigned i = 0; i < MODEL_ROUNDS; i++) {
		uint64_t a, b, bits = 0;

		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		a = random % MODEL_PAGES;
		b = a + (random >> 32) % (MODEL_PAGES + 1 - a) % 9;
		for (uint64_t p = a; p < b; p++)
			bits |= UINT64_C(1) << p;
		if (random >> 63) {
			wrong += range_set_add(&set, model_hpa(a), model_hpa(b)) != STATUS_OK;
			model |= bits;
		} else {
			wrong += range_set_remove(&set, model_hpa(a), model_hpa(b)) != STATUS_OK;
			model &= ~bits;
		}
		wrong += !same(&set, model);
		wrong += a < b && range_set_holds(&set, model_hpa(a), model_hpa(b)) !=
					 ((model & bits) == bits);
	}
	expect_equal(wrong, 0);
	expect_equal(range_set_bytes(&set),
		     (uint64_t)__builtin_popcountll(model) << PAGE_SHIFT);
}

BOOT_TEST("boot/range_set_limit", NEEDS_NOTHING)
{
	static struct range_set set;

	set.count = 0;
	for (uint64_t i = 0; i < RANGES_MAX; i++)
		expect(range_set_add(&set, model_hpa(4 * i), model_hpa(4 * i + 3)) == STATUS_OK);
	expect(range_set_add(&set, model_hpa(4 * RANGES_MAX), model_hpa(4 * RANGES_MAX + 1)) ==
	       STATUS_LIMIT);
	expect(range_set_remove(&set, model_hpa(1), model_hpa(2)) == STATUS_LIMIT);
	expect_equal(set.count, RANGES_MAX);
	expect(range_set_remove(&set, model_hpa(0), model_hpa(3)) == STATUS_OK);
	expect_equal(set.count, RANGES_MAX - 1);
}
