/*
 * The booted machine, from the inside: page tables, the image's place, stacks, faults. CPUs and
 * tasks are in boot_cpus.c. Needs nothing but the machine.
 */
#include "boot/boot.h"
#include "boot/cpu.h"
#include "boot/insn.h"
#include "boot/layout.h"
#include "boot/memory.h"
#include "boot/paging.h"
#include "boot/parts.h"
#include "boot/string.h"
#include "boot/traps.h"
#include "tests/tap.h"

/* ------------------------------------------------------------------ page tables */

struct walk_sums { uint64_t leaves, executable, both, low_half; };

static void walk(hpa_t table, unsigned level, uint64_t inherited, struct walk_sums *sums)
{
	const uint64_t *entries = hpa_to_ptr(table);

	for (unsigned i = 0; i < 512; i++) {
		uint64_t entry = entries[i];
		/* SDM "Access Rights": W is the AND over the levels, XD the OR. */
		uint64_t rights = (inherited & entry & PTE_WRITE) | ((inherited | entry) & PTE_NX);

		if (!(entry & PTE_PRESENT))
			continue;
		sums->low_half += level == LEVEL_512G && i < 256;
		if (level > LEVEL_4K && !(entry & PTE_LARGE)) {
			walk(hpa(entry & PTE_ADDRESS), level - 1, rights, sums);
			continue;
		}
		sums->leaves++;
		sums->executable += !(rights & PTE_NX);
		sums->both += !(rights & PTE_NX) && rights & PTE_WRITE;
	}
}

BOOT_TEST("boot/write_xor_execute", NEEDS_NOTHING)
{
	struct walk_sums sums = { 0 };

	walk(hpa(read_cr3() & PTE_ADDRESS), LEVEL_512G, PTE_WRITE, &sums);
	expect(sums.leaves > 0);
	expect_equal(sums.both, 0);
	expect_equal(sums.low_half, 0);
	/* Nothing is executable but the code. */
	expect_equal(sums.executable, (uint64_t)(image_text_end - image_start) / PAGE_SIZE);
	expect(read_cr0() & CR0_WP);
	expect(rdmsr(MSR_EFER) & EFER_NXE);
}

/* A part of the image: its leaves' rights, at its own addresses and in the direct map. */
static void expect_rights(const uint8_t *start, const uint8_t *end, uint64_t rights,
			  uint64_t direct_rights)
{
	const uint64_t mask = PTE_WRITE | PTE_NX;

	for (const uint8_t *page = start; page < end; page += PAGE_SIZE) {
		uint64_t physical = (uint64_t)page - KERNEL_BASE, entry;

		expect(paging_find((uint64_t)page, &entry) != 0);
		expect_equal(entry & mask, rights);
		expect(paging_find(DIRECT_MAP + physical, &entry) != 0);
		expect_equal(entry & mask, direct_rights);
	}
}

BOOT_TEST("boot/image_rights", NEEDS_NOTHING)
{
	expect_rights(image_start, image_text_end, 0, PTE_NX);
	expect_rights(image_text_end, image_rodata_end, PTE_NX, PTE_NX);
	expect_rights(image_rodata_end, image_end, PTE_NX | PTE_WRITE, PTE_NX | PTE_WRITE);
}

BOOT_TEST("boot/image_place", NEEDS_NOTHING)
{
	expect_equal((uint64_t)image_start - KERNEL_BASE, 0x100000);
	expect((uint64_t)image_end - KERNEL_BASE <= 0x800000);
}

static uint64_t entry_address(uint64_t entry, unsigned level)
{
	return entry & PTE_ADDRESS & ~(level_bytes(level) - 1);
}

BOOT_TEST("boot/direct_map", NEEDS_NOTHING)
{
	const struct range_set *ram = memory_ram();
	uint64_t wrong = 0, value;

	for (unsigned i = 0; i < ram->count; i++) {
		uint64_t at = ram->range[i].start.raw;

		while (at < ram->range[i].end.raw) {
			uint64_t entry;
			unsigned level = paging_find(DIRECT_MAP + at, &entry);

			if (!level)
				break;
			wrong += entry_address(entry, level) != (at & ~(level_bytes(level) - 1));
			wrong += !try_read((const void *)(DIRECT_MAP + at), &value);
			at = (at & ~(level_bytes(level) - 1)) + level_bytes(level);
		}
		/* To its last byte, and no further. */
		expect_equal(at, ram->range[i].end.raw);
	}
	expect_equal(wrong, 0);
}

BOOT_TEST("boot/memory_left_alone", NEEDS_NOTHING)
{
	const struct range_set *ram = memory_ram(), *ours = memory_free();
	const uint64_t image = (uint64_t)image_start - KERNEL_BASE;

	for (unsigned i = 0; i < ours->count; i++) {
		struct ram_range range = ours->range[i];

		expect(range_set_holds(ram, range.start, range.end));
		expect(range.start.raw >= 0x100000);
		expect(range.end.raw <= image ||
		       range.start.raw >= (uint64_t)image_end - KERNEL_BASE);
		for (unsigned m = 0; m < boot_module_count(); m++) {
			const struct boot_module *module = boot_module(m);
			uint64_t start = ptr_to_hpa(module->bytes).raw;

			expect(range.end.raw <= start || range.start.raw >= start + module->size);
		}
	}
	expect(range_set_bytes(ours) >= range_set_bytes(ram) / 2);
}

BOOT_TEST("boot/guard_pages", NEEDS_NOTHING)
{
	for (unsigned cpu = 0; cpu < cpu_count(); cpu++)
		for (enum stack_kind kind = STACK_MAIN; kind < STACK_KINDS; kind++) {
			uint64_t top = stack_top(cpu, kind), bottom = top - stack_bytes(kind);
			uint64_t entry, value;

			for (uint64_t at = bottom; at < top; at += PAGE_SIZE) {
				expect_equal(paging_find(at, &entry), LEVEL_4K);
				expect_equal(entry & (PTE_WRITE | PTE_NX), PTE_WRITE | PTE_NX);
			}
			expect_equal(paging_find(bottom - 1, &entry), 0);
			expect(!try_read((const void *)(bottom - 8), &value));
			expect_equal(this_cpu()->recovered_vector, VECTOR_PAGE_FAULT);
			expect(!try_write((void *)(bottom - 8), 0));
		}
}

/* ------------------------------------------------------------------ faults */

/* SDM "Page-Fault Error Code" */
enum { FAULT_PRESENT = 1, FAULT_WRITE = 2, FAULT_FETCH = 16 };

static void do_nothing(void)
{
}

static void expect_fault(bool worked, unsigned vector, uint64_t error)
{
	expect(!worked);
	expect_equal(this_cpu()->recovered_vector, vector);
	expect_equal(this_cpu()->recovered_error, error);
}

BOOT_TEST("boot/faults", NEEDS_NOTHING)
{
	static uint64_t word = 5;
	static const uint64_t constant = 6;
	uint64_t value = 0;
	void *const alias = hpa_to_ptr(hpa((uint64_t)&constant - KERNEL_BASE));

	expect(try_read(&word, &value));
	expect_equal(value, 5);
	expect(try_write(&word, 7));
	expect_equal(word, 7);
	expect(try_call(do_nothing));
	expect_fault(try_read((const void *)8, &value), VECTOR_PAGE_FAULT, 0);
	expect_fault(try_write((void *)8, 0), VECTOR_PAGE_FAULT, FAULT_WRITE);
	expect_fault(try_read((const void *)0x800000000000, &value), VECTOR_PROTECTION, 0);
	expect_fault(try_write((void *)(uintptr_t)&constant, 0), VECTOR_PAGE_FAULT,
		     FAULT_PRESENT | FAULT_WRITE);
	expect_fault(try_write(alias, 0), VECTOR_PAGE_FAULT, FAULT_PRESENT | FAULT_WRITE);
	expect_fault(try_write((void *)(uintptr_t)do_nothing, 0), VECTOR_PAGE_FAULT,
		     FAULT_PRESENT | FAULT_WRITE);
	expect_fault(try_call((void (*)(void))(uintptr_t)&word), VECTOR_PAGE_FAULT,
		     FAULT_PRESENT | FAULT_FETCH);
	expect_fault(try_call((void (*)(void))UINT64_C(0x1000)), VECTOR_PAGE_FAULT, FAULT_FETCH);
}

BOOT_TEST("boot/msr_faults", NEEDS_NOTHING)
{
	/* Intel has no such MSR, AMD wants a page's address in it: a fault everywhere. */
	const uint32_t hsave = 0xc0010117;
	uint64_t value = 0;

	expect(try_rdmsr(MSR_GS_BASE, &value));
	expect_equal(value, (uint64_t)this_cpu());
	expect(try_wrmsr(MSR_GS_BASE, value));
	expect_fault(try_wrmsr(hsave, 1), VECTOR_PROTECTION, 0);
}

BOOT_TEST("boot/symbols", NEEDS_NOTHING)
{
	uint64_t offset = 0;
	const char *name = symbol_find((uint64_t)memset + 3, &offset);

	expect(name && !strcmp(name, "memset"));
	expect_equal(offset, 3);
	name = symbol_find((uint64_t)do_nothing, &offset);
	expect(name && !strcmp(name, "do_nothing"));
	expect(!symbol_find((uint64_t)image_text_end, &offset));
	expect(!symbol_find(0, &offset));
}

/* ------------------------------------------------------------------ for the harness's own tests */

static __attribute__((noinline)) void overflow(unsigned depth)
{
	uint8_t room[256];

	memset(room, (int)depth, sizeof(room));
	/* Not a tail call: the room is used afterwards. */
	if (depth < UINT32_MAX)
		overflow(depth + 1);
	expect_equal(room[0], (uint8_t)depth);
}

BOOT_TEST("boot/once_stack_overflow", NEEDS_ONCE)
{
	overflow(0);
}

BOOT_TEST("boot/once_panic", NEEDS_ONCE)
{
	port_panic("as asked for");
}

BOOT_TEST("boot/once_fault", NEEDS_ONCE)
{
	*(uint64_t *)0xdead0 = 1;
}

BOOT_TEST("boot/once_hang", NEEDS_ONCE)
{
	for (;;)
		port_relax();
}

BOOT_TEST("boot/once_fails", NEEDS_ONCE)
{
	expect_equal(1 + 1, 3);
}
