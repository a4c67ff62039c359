/*
 * Reads every MSR of the two architectural ranges and tries to write back what it read. Each must
 * work or raise #GP. Ends with 0 if the TSC was among those that work and there were others that do
 * not.
 */
#include "guest/payload/lib.h"

enum { VECTOR_GP = 13, RDMSR_BYTES = 2 };
enum { MSR_TSC = 0x10 };

static uint64_t refused;

void trap(uint64_t vector, uint64_t error, struct trap_frame *frame)
{
	if (vector != VECTOR_GP || error) {
		print("msrs: unexpected exception ");
		print_number(vector);
		print("\n");
		out8(ABI_EXIT_PORT, 2);
	}
	refused++;
	frame->rip += RDMSR_BYTES;		/* WRMSR has as many */
}

static bool reads(uint32_t msr, uint64_t *value)
{
	uint64_t before = *(volatile uint64_t *)&refused;
	uint32_t low, high;

	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr), "a"(0), "d"(0) : "memory");
	*value = (uint64_t)high << 32 | low;
	return *(volatile uint64_t *)&refused == before;
}

static void write(uint32_t msr, uint64_t value)
{
	__asm__ volatile("wrmsr" :: "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32))
			 : "memory");
}

/* How many of [first, first + count) can be read; those are written too. */
static uint64_t scan(uint32_t first, uint32_t count)
{
	uint64_t found = 0, value;

	for (uint32_t msr = first; msr - first < count; msr++) {
		if (!reads(msr, &value))
			continue;
		found++;
		write(msr, value);
	}
	return found;
}

uint32_t main(uint64_t *mailbox)
{
	uint64_t found, value;

	(void)mailbox;
	traps_on();
	found = scan(0, 0x2000) + scan(0xc0000000, 0x2000) + scan(0x40000000, 0x100);
	print("msrs: ");
	print_number(found);
	print(" can be read, ");
	print_number(refused);
	print(" times #GP\n");
	return !(reads(MSR_TSC, &value) && found && refused > 0x4000);
}
