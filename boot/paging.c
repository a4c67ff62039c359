/*
 * Builds the page tables that the image runs on: no page is writable and executable, code and
 * constants are read-only in the direct map too, each stack has unmapped bytes below it.
 * boot_main() and the other CPUs' start use it; see boot/paging.h.
 */
#include "boot/insn.h"
#include "boot/layout.h"
#include "boot/memory.h"
#include "boot/paging.h"

#define MAP_CODE      (PTE_PRESENT | PTE_GLOBAL)
#define MAP_CONSTANTS (PTE_PRESENT | PTE_GLOBAL | PTE_NX)
#define MAP_DATA      (PTE_PRESENT | PTE_GLOBAL | PTE_NX | PTE_WRITE)
#define MAP_DEVICE    (MAP_DATA | PTE_PWT | PTE_PCD)	/* entry 3 of the PAT: uncached */

static uint64_t root[512] __attribute__((aligned(4096)));

static hpa_t image_hpa(const void *pointer)
{
	return hpa((uint64_t)pointer - KERNEL_BASE);
}

hpa_t paging_root(void)
{
	return image_hpa(root);
}

static uint64_t *table_below(uint64_t *entry)
{
	if (!(*entry & PTE_PRESENT))
		*entry = ptr_to_hpa(memory_take_pages(1)).raw | PTE_PRESENT | PTE_WRITE;
	check(!(*entry & PTE_LARGE));
	return hpa_to_ptr(hpa(*entry & PTE_ADDRESS));
}

static void map_leaf(uint64_t address, hpa_t to, unsigned level, uint64_t flags)
{
	uint64_t *table = root;

	for (unsigned at = LEVEL_512G; at > level; at--)
		table = table_below(&table[level_index(address, at)]);

	uint64_t *entry = &table[level_index(address, level)];

	check(!(*entry & PTE_PRESENT));
	*entry = to.raw | flags | (level > LEVEL_4K ? PTE_LARGE : 0);
}

/* With the largest leaves that fit. */
static void map(uint64_t address, hpa_t start, hpa_t end, uint64_t flags)
{
	while (start.raw < end.raw) {
		unsigned level = LEVEL_1G;
		uint64_t bytes;

		while ((address | start.raw) & (level_bytes(level) - 1) ||
		       end.raw - start.raw < level_bytes(level))
			level--;
		bytes = level_bytes(level);
		map_leaf(address, start, level, flags);
		address += bytes;
		start.raw += bytes;
	}
}

static hpa_t earlier(hpa_t a, hpa_t b) { return a.raw < b.raw ? a : b; }
static hpa_t later(hpa_t a, hpa_t b) { return a.raw > b.raw ? a : b; }

static void map_directly(hpa_t start, hpa_t end, uint64_t flags)
{
	if (start.raw < end.raw)
		map(DIRECT_MAP + start.raw, start, end, flags);
}

void paging_build(const struct range_set *ram)
{
	hpa_t text = image_hpa(image_start), rodata = image_hpa(image_text_end);
	hpa_t data = image_hpa(image_rodata_end), end = image_hpa(image_end);

	map(KERNEL_BASE + text.raw, text, rodata, MAP_CODE);
	map(KERNEL_BASE + rodata.raw, rodata, data, MAP_CONSTANTS);
	map(KERNEL_BASE + data.raw, data, end, MAP_DATA);
	for (unsigned i = 0; i < ram->count; i++) {
		hpa_t first = ram->range[i].start, last = ram->range[i].end;

		map_directly(first, earlier(last, text), MAP_DATA);
		map_directly(later(first, text), earlier(last, data), MAP_CONSTANTS);
		map_directly(later(first, data), last, MAP_DATA);
	}
}

void paging_map_device(hpa_t page)
{
	map(DIRECT_MAP + page.raw, page, hpa(page.raw + PAGE_SIZE), MAP_DEVICE);
}

uint64_t stack_top(unsigned cpu, enum stack_kind kind)
{
	return STACK_WINDOW + (uint64_t)(cpu * STACK_KINDS + kind + 1) * STACK_SLOT;
}

uint64_t stack_bytes(enum stack_kind kind)
{
	return (kind == STACK_MAIN ? 8 : 2) * PAGE_SIZE;
}

bool stack_window_holds(uint64_t address)
{
	return address >= STACK_WINDOW && address < stack_top(MAX_CPUS - 1, STACK_KINDS - 1);
}

void paging_map_stacks(unsigned count)
{
	for (unsigned cpu = 0; cpu < count; cpu++)
		for (enum stack_kind kind = STACK_MAIN; kind < STACK_KINDS; kind++) {
			uint64_t bytes = stack_bytes(kind);
			hpa_t start = ptr_to_hpa(memory_take_pages(bytes / PAGE_SIZE));

			map(stack_top(cpu, kind) - bytes, start, hpa(start.raw + bytes), MAP_DATA);
		}
}

void paging_use(void)
{
	write_cr3(paging_root().raw);
}

unsigned paging_find(uint64_t address, uint64_t *entry)
{
	const uint64_t *table = root;

	for (unsigned level = LEVEL_512G;; level--) {
		*entry = table[level_index(address, level)];
		if (!(*entry & PTE_PRESENT))
			return 0;
		if (level == LEVEL_4K || *entry & PTE_LARGE)
			return level;
		table = hpa_to_ptr(hpa(*entry & PTE_ADDRESS));
	}
}
