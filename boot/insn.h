/* The instructions that C has no word for. */
#ifndef BOOT_INSN_H
#define BOOT_INSN_H

#include <stdint.h>

static inline void outb(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" :: "a"(value), "Nd"(port) : "memory");
}

static inline uint8_t inb(uint16_t port)
{
	uint8_t value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port) : "memory");
	return value;
}

static inline uint64_t rdmsr(uint32_t msr)
{
	uint32_t low, high;

	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr) : "memory");
	return (uint64_t)high << 32 | low;
}

static inline void wrmsr(uint32_t msr, uint64_t value)
{
	__asm__ volatile("wrmsr" :: "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32))
			 : "memory");
}

struct cpuid { uint32_t eax, ebx, ecx, edx; };

static inline struct cpuid cpuid(uint32_t leaf, uint32_t subleaf)
{
	struct cpuid r;

	__asm__ volatile("cpuid" : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx)
			 : "a"(leaf), "c"(subleaf));
	return r;
}

#define CONTROL_REGISTER(name)                                                      \
	static inline uint64_t read_##name(void)                                    \
	{                                                                           \
		uint64_t value;                                                     \
									            \
		__asm__ volatile("mov %%" #name ", %0" : "=r"(value) :: "memory");  \
		return value;                                                       \
	}                                                                           \
	static inline void write_##name(uint64_t value)                             \
	{                                                                           \
		__asm__ volatile("mov %0, %%" #name :: "r"(value) : "memory");      \
	}
CONTROL_REGISTER(cr0)
CONTROL_REGISTER(cr3)
CONTROL_REGISTER(cr4)
#undef CONTROL_REGISTER

static inline uint64_t read_cr2(void)
{
	uint64_t value;

	__asm__ volatile("mov %%cr2, %0" : "=r"(value));
	return value;
}

#define MSR_APIC_BASE   0x1bu
#define MSR_EFER        0xc0000080u
#define MSR_GS_BASE     0xc0000101u
#define MSR_X2APIC      0x800u		/* register at xAPIC offset n is MSR 0x800 + n / 16 */

#define EFER_NXE        (UINT64_C(1) << 11)

#define CR0_MP          (UINT64_C(1) << 1)
#define CR0_EM          (UINT64_C(1) << 2)
#define CR0_TS          (UINT64_C(1) << 3)
#define CR0_NE          (UINT64_C(1) << 5)
#define CR0_WP          (UINT64_C(1) << 16)
#define CR0_NW          (UINT64_C(1) << 29)
#define CR0_CD          (UINT64_C(1) << 30)

#define CR4_MCE         (UINT64_C(1) << 6)
#define CR4_PGE         (UINT64_C(1) << 7)
#define CR4_OSFXSR      (UINT64_C(1) << 9)
#define CR4_OSXMMEXCPT  (UINT64_C(1) << 10)
#define CR4_OSXSAVE     (UINT64_C(1) << 18)

#endif
