/* The helpers of lib.h. */
#include "guest/payload/lib.h"

#define STACKS      0x180000u	/* CPU n's stack ends at STACKS + n * STACK_BYTES */
#define STACK_BYTES 0x8000u

unsigned cpus(void)
{
	struct cpuid signature = cpuid(ABI_CPUID_SIGNATURE);

	if (signature.ebx != 0x696c6f66 || signature.eax < ABI_CPUID_MACHINE)
		return 1;
	return cpuid(ABI_CPUID_MACHINE).eax;
}

extern const char cpu_start[];

bool start_cpu(unsigned number)
{
	uint64_t result = ABI_CALL_START_CPU;

	__asm__ volatile("vmcall"
			 : "+a"(result)
			 : "D"((uint64_t)number), "S"(cpu_start),
			   "d"((uint64_t)(STACKS + number * STACK_BYTES))
			 : "memory");
	return result == 0;
}

/* ------------------------------------------------------------------ COM1 */

static void print_character(char c)
{
	while (!(in8(ABI_COM1 + 5) & 0x20))
		;
	out8(ABI_COM1, (uint8_t)c);
}

void print(const char *text)
{
	for (; *text; text++)
		print_character(*text);
}

static void print_digits(uint64_t value, unsigned base)
{
	char digits[20];
	unsigned count = 0;

	do {
		digits[count++] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value);
	while (count)
		print_character(digits[--count]);
}

void print_number(uint64_t value) { print_digits(value, 10); }

void print_hex(uint64_t value)
{
	print("0x");
	print_digits(value, 16);
}

/* ------------------------------------------------------------------ descriptors */

extern const char trap_entries[];	/* 48, 16 bytes apart */

enum { VECTORS = 48, CODE_SELECTOR = 8 };

struct __attribute__((packed)) table { uint16_t limit; uint64_t base; };

/* SDM "Segment Descriptors", "64-Bit Mode IDT Descriptors". */
static const uint64_t gdt[] = { 0, 0x00af9b000000ffff, 0x00cf93000000ffff };
static uint64_t idt[VECTORS * 2];

static void set_gate(unsigned vector)
{
	uint64_t entry = (uint64_t)trap_entries + vector * 16;

	idt[vector * 2] = (entry & 0xffff) | CODE_SELECTOR << 16 | UINT64_C(0x8e00) << 32 |
			  (entry >> 16 & 0xffff) << 48;
	idt[vector * 2 + 1] = entry >> 32;
}

void traps_on(void)
{
	struct table gdtr = { sizeof(gdt) - 1, (uint64_t)gdt };
	struct table idtr = { sizeof(idt) - 1, (uint64_t)idt };

	for (unsigned vector = 0; vector < VECTORS; vector++)
		set_gate(vector);
	__asm__ volatile("lgdt %0\n\t"
			 "pushq %2\n\t"
			 "leaq 1f(%%rip), %%rax\n\t"
			 "pushq %%rax\n\t"
			 "lretq\n"
			 "1:\tmovl %3, %%eax\n\t"
			 "movl %%eax, %%ds\n\t"
			 "movl %%eax, %%es\n\t"
			 "movl %%eax, %%ss\n\t"
			 "lidt %1"
			 :: "m"(gdtr), "m"(idtr), "i"(CODE_SELECTOR), "i"(16)
			 : "rax", "memory");
}
