/*
 * One function for each privileged instruction that this room uses, none of which decides
 * anything. VMREAD, VMWRITE and their like are in vmcs.h, where a failure has a name.
 */
#ifndef VMX_INSN_H
#define VMX_INSN_H

#include <stdbool.h>
#include <stdint.h>

struct cpuid { uint32_t eax, ebx, ecx, edx; };

static inline struct cpuid insn_cpuid(uint32_t leaf, uint32_t subleaf)
{
	struct cpuid out;

	__asm__ volatile("cpuid"
			 : "=a"(out.eax), "=b"(out.ebx), "=c"(out.ecx), "=d"(out.edx)
			 : "0"(leaf), "2"(subleaf));
	return out;
}

static inline uint64_t insn_rdmsr(uint32_t msr)
{
	uint32_t low, high;

	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr) : "memory");
	return (uint64_t)high << 32 | low;
}

static inline void insn_wrmsr(uint32_t msr, uint64_t value)
{
	__asm__ volatile("wrmsr"
			 :: "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32))
			 : "memory");
}

static inline void insn_xsetbv(uint32_t index, uint64_t value)
{
	__asm__ volatile("xsetbv"
			 :: "c"(index), "a"((uint32_t)value), "d"((uint32_t)(value >> 32))
			 : "memory");
}

/* read_cr0, write_cr0 and so on: a mov from and to the register. */
#define INSN_MOV_REGISTER(name)                                                             \
	static inline uint64_t insn_read_##name(void)                                       \
	{                                                                                   \
		uint64_t value;                                                             \
		__asm__ volatile("mov %%" #name ", %0" : "=r"(value) :: "memory");          \
		return value;                                                               \
	}                                                                                   \
	static inline void insn_write_##name(uint64_t value)                                \
	{                                                                                   \
		__asm__ volatile("mov %0, %%" #name :: "r"(value) : "memory");              \
	}

INSN_MOV_REGISTER(cr0)
INSN_MOV_REGISTER(cr2)
INSN_MOV_REGISTER(cr3)
INSN_MOV_REGISTER(cr4)
INSN_MOV_REGISTER(cr8)
INSN_MOV_REGISTER(dr0)
INSN_MOV_REGISTER(dr1)
INSN_MOV_REGISTER(dr2)
INSN_MOV_REGISTER(dr3)
INSN_MOV_REGISTER(dr6)

#define INSN_READ_SELECTOR(name, text)                                                      \
	static inline uint16_t insn_read_##name(void)                                       \
	{                                                                                   \
		uint16_t value;                                                             \
		__asm__ volatile(text : "=r"(value));                                       \
		return value;                                                               \
	}

INSN_READ_SELECTOR(es, "mov %%es, %0")
INSN_READ_SELECTOR(cs, "mov %%cs, %0")
INSN_READ_SELECTOR(ss, "mov %%ss, %0")
INSN_READ_SELECTOR(ds, "mov %%ds, %0")
INSN_READ_SELECTOR(fs, "mov %%fs, %0")
INSN_READ_SELECTOR(gs, "mov %%gs, %0")
INSN_READ_SELECTOR(tr, "str %0")

/* The whole extended state that XCR0 enables, or without XSAVE what FXSAVE knows. */
static inline void insn_xsave(void *area)
{
	__asm__ volatile("xsave64 (%0)" :: "r"(area), "a"(~0u), "d"(~0u) : "memory");
}

static inline void insn_xrstor(const void *area)
{
	__asm__ volatile("xrstor64 (%0)" :: "r"(area), "a"(~0u), "d"(~0u) : "memory");
}

static inline void insn_fxsave(void *area)
{
	__asm__ volatile("fxsave64 (%0)" :: "r"(area) : "memory");
}

static inline void insn_fxrstor(const void *area)
{
	__asm__ volatile("fxrstor64 (%0)" :: "r"(area) : "memory");
}

#define RFLAGS_IF (UINT64_C(1) << 9)

/* Interrupts off; returns RFLAGS as it was, for insn_irq_restore. */
static inline uint64_t insn_irq_save(void)
{
	uint64_t flags;

	__asm__ volatile("pushfq; pop %0; cli" : "=r"(flags) :: "memory");
	return flags;
}

static inline void insn_irq_on(void) { __asm__ volatile("sti" ::: "memory"); }
static inline void insn_irq_off(void) { __asm__ volatile("cli" ::: "memory"); }

static inline void insn_irq_restore(uint64_t flags)
{
	if (flags & RFLAGS_IF)
		insn_irq_on();
}

static inline uint64_t insn_rdtsc(void)
{
	uint64_t low, high;		/* their upper halves become 0 */

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high) :: "memory");
	return high << 32 | low;
}

#endif
