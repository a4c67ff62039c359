/*
 * The memory map, and pages out of it until host_create() gets the rest. What is not free: the
 * first MiB (firmware's data, and the processors' start page), the image, the loader's modules,
 * ACPI tables. Called by boot_main() on one CPU.
 */
#include "boot/layout.h"
#include "boot/memory.h"
#include "boot/parts.h"
#include "boot/string.h"

#define MIB UINT64_C(0x100000)

/* A machine of 64 MiB has a little less than that left when firmware has taken its share. */
enum { MACHINE_MIB_MIN = 64, RAM_MIB_MIN = 62 };

static struct range_set ram, free_ranges;
static struct range_set low;		/* free below 1 MiB */

static void leave_out(struct range_set *set, hpa_t start, hpa_t end)
{
	if (range_set_remove(set, start, end) != STATUS_OK)
		refuse("the memory map is in more than %u pieces", (unsigned)RANGES_MAX);
}

void memory_reserve(hpa_t start, uint64_t bytes)
{
	hpa_t end = hpa((start.raw + bytes + PAGE_SIZE - 1) & PAGE_MASK);

	start.raw &= PAGE_MASK;
	leave_out(&free_ranges, start, end);
	leave_out(&low, start, end);
}

void memory_init(const struct loader_facts *facts)
{
	ram = facts->ram;

	uint64_t mib = range_set_bytes(&ram) / MIB;

	if (mib < RAM_MIB_MIN)
		refuse("this machine has %llu MiB of RAM, at least %u MiB are needed",
		       (unsigned long long)mib, (unsigned)MACHINE_MIB_MIN);
	if (ram.range[ram.count - 1].end.raw > DIRECT_MAP_BYTES)
		refuse("this machine has RAM up to 0x%llx, the direct map ends at 0x%llx",
		       (unsigned long long)ram.range[ram.count - 1].end.raw,
		       (unsigned long long)DIRECT_MAP_BYTES);
	low = free_ranges = ram;
	leave_out(&free_ranges, hpa(0), hpa(MIB));
	leave_out(&low, hpa(0), hpa(PAGE_SIZE));
	leave_out(&low, hpa(MIB), hpa(DIRECT_MAP_BYTES));
	memory_reserve(hpa((uint64_t)image_start - KERNEL_BASE),
		       (uint64_t)(image_end - image_start));
	for (unsigned i = 0; i < facts->module_count; i++) {
		const struct boot_module *module = &facts->modules[i];
		hpa_t start = ptr_to_hpa(module->bytes);

		if (module->size && !range_set_holds(&ram, start, hpa(start.raw + module->size)))
			refuse("module %s lies outside the RAM of the memory map", module->name);
		memory_reserve(start, module->size);
	}
}

/* From the smallest range that has them: the large ones stay whole for large folios. */
void *memory_take_pages(uint64_t count)
{
	uint64_t bytes = count * PAGE_SIZE;
	struct ram_range *best = NULL;

	for (unsigned i = 0; i < free_ranges.count; i++) {
		struct ram_range *range = &free_ranges.range[i];
		uint64_t size = range->end.raw - range->start.raw;

		if (size >= bytes && range->end.raw <= EARLY_MAP_BYTES &&
		    (!best || size < best->end.raw - best->start.raw))
			best = range;
	}
	if (!best)
		refuse("no %llu free pages in a row", (unsigned long long)count);

	hpa_t start = hpa(best->end.raw - bytes);

	memory_reserve(start, bytes);
	return memset(hpa_to_ptr(start), 0, bytes);
}

bool memory_take_low_page(hpa_t *out)
{
	if (!low.count)
		return false;
	*out = hpa(low.range[low.count - 1].end.raw - PAGE_SIZE);
	memory_reserve(*out, PAGE_SIZE);
	return true;
}

const struct range_set *memory_ram(void) { return &ram; }
const struct range_set *memory_free(void) { return &free_ranges; }
