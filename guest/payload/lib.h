/*
 * What flat payloads in C share: ports, a little printing on COM1, interrupt descriptors. Runs
 * inside the guest; its only contract with the outside is guest/abi.h.
 */
#ifndef GUEST_PAYLOAD_LIB_H
#define GUEST_PAYLOAD_LIB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "guest/abi.h"

/* A payload's program: RAX goes to the exit port. */
uint32_t main(uint64_t *mailbox);
/* Other CPUs, by start_cpu. */
void cpu_main(uint64_t number);

static inline uint64_t mail(const uint64_t *mailbox, unsigned offset)
{
	return mailbox[offset / 8];
}

static inline uint8_t in8(uint16_t port)
{
	uint8_t value;

	__asm__ volatile("inb %w1, %0" : "=a"(value) : "Nd"(port) : "memory");
	return value;
}
static inline uint32_t in32(uint16_t port)
{
	uint32_t value;

	__asm__ volatile("inl %w1, %0" : "=a"(value) : "Nd"(port) : "memory");
	return value;
}
static inline void out8(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %w1" :: "a"(value), "Nd"(port) : "memory");
}
static inline void out32(uint16_t port, uint32_t value)
{
	__asm__ volatile("outl %0, %w1" :: "a"(value), "Nd"(port) : "memory");
}

struct cpuid { uint32_t eax, ebx, ecx, edx; };
static inline struct cpuid cpuid(uint32_t leaf)
{
	struct cpuid c;

	__asm__ volatile("cpuid" : "=a"(c.eax), "=b"(c.ebx), "=c"(c.ecx), "=d"(c.edx)
			 : "a"(leaf), "c"(0));
	return c;
}

static inline uint64_t tsc(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	return (uint64_t)high << 32 | low;
}

/* Virtual CPUs of this machine; 1 under a hypervisor that does not say. */
unsigned cpus(void);
/* cpu_main(number) on that CPU, with a stack of its own; false if there is none or it runs. */
bool start_cpu(unsigned number);

void print(const char *text);
void print_number(uint64_t value);
void print_hex(uint64_t value);

/* SDM "64-Bit Mode Stack Frame". */
struct trap_frame { uint64_t rip, cs, rflags, rsp, ss; };
/* All 48 vectors lead here, with interrupts off. Each payload that uses traps_on has its own. */
void trap(uint64_t vector, uint64_t error, struct trap_frame *frame);
/* A GDT and an IDT of its own for the CPU that calls. */
void traps_on(void);

#endif
