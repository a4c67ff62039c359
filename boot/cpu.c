/*
 * Puts one CPU into the state that the image runs in: SDM "Processor Management and
 * Initialization". Each CPU calls cpu_setup() for itself, once, before anything can trap.
 */
#include "boot/apic.h"
#include "boot/cpu.h"
#include "boot/insn.h"
#include "boot/layout.h"
#include "boot/paging.h"
#include "boot/traps.h"

struct cpu cpus[MAX_CPUS];

struct table_pointer { uint16_t limit; uint64_t base; } __attribute__((packed));

unsigned cpu_number(void)
{
	return this_cpu()->number;
}

static void load_segments(struct cpu *cpu)
{
	uint64_t base = (uint64_t)&cpu->tss, limit = sizeof(cpu->tss) - 1;
	struct table_pointer pointer = { sizeof(cpu->gdt) - 1, (uint64_t)cpu->gdt };

	cpu->gdt[SELECTOR_CODE / 8] = UINT64_C(0x00af9b000000ffff);
	cpu->gdt[SELECTOR_DATA / 8] = UINT64_C(0x00cf93000000ffff);
	/* SDM "TSS Descriptor in 64-bit mode": 16 bytes, type 9, present. */
	cpu->gdt[SELECTOR_TSS / 8] = limit | (base & 0xffffff) << 16 | UINT64_C(0x89) << 40 |
				     (base >> 24 & 0xff) << 56;
	cpu->gdt[SELECTOR_TSS / 8 + 1] = base >> 32;
	cpu->tss.io_map = sizeof(cpu->tss);
	cpu->tss.ist[IST_NMI - 1] = stack_top(cpu->number, STACK_NMI);
	cpu->tss.ist[IST_DOUBLE_FAULT - 1] = stack_top(cpu->number, STACK_DOUBLE_FAULT);
	cpu->tss.ist[IST_MACHINE_CHECK - 1] = stack_top(cpu->number, STACK_MACHINE_CHECK);
	__asm__ volatile("lgdt %0\n\t"
			 "push %1\n\t"
			 "lea 1f(%%rip), %%rax\n\t"
			 "push %%rax\n\t"
			 "lretq\n"
			 "1:\tmov %2, %%ds\n\t"
			 "mov %2, %%es\n\t"
			 "mov %2, %%ss\n\t"
			 "mov %3, %%fs\n\t"
			 "mov %3, %%gs\n\t"
			 "ltr %w4"
			 :: "m"(pointer), "i"(SELECTOR_CODE), "r"(SELECTOR_DATA), "r"(0),
			    "r"(SELECTOR_TSS)
			 : "rax", "memory");
}

static void enable_xsave(void)
{
	const uint32_t ecx_xsave = UINT32_C(1) << 26, x87_sse_avx = 7;

	if (!(cpuid(1, 0).ecx & ecx_xsave))
		return;
	write_cr4(read_cr4() | CR4_OSXSAVE);
	__asm__ volatile("xsetbv" :: "c"(0), "a"(cpuid(0xd, 0).eax & x87_sse_avx), "d"(0));
}

/* The FPU is on for vmx, which saves and restores guests' state; the image itself never uses it. */
static void set_control_registers(void)
{
	write_cr0((read_cr0() & ~(CR0_CD | CR0_NW | CR0_EM | CR0_TS)) | CR0_WP | CR0_NE | CR0_MP);
	write_cr4(read_cr4() | CR4_PGE | CR4_MCE | CR4_OSFXSR | CR4_OSXMMEXCPT);
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_NXE);
	enable_xsave();
	__asm__ volatile("fninit");
}

void cpu_setup(struct cpu *cpu)
{
	cpu->self = cpu;
	load_segments(cpu);
	wrmsr(MSR_GS_BASE, (uint64_t)cpu);
	traps_load();
	set_control_registers();
}

/*
 * An interrupt that is pending before the STI is taken after the HLT has begun: SDM "STI", the
 * instruction after it still runs with interrupts held off.
 */
void cpu_sleep(uint64_t microseconds)
{
	if (microseconds)
		apic_timer_start(microseconds);
	__asm__ volatile("sti; hlt; cli" ::: "memory");
	if (microseconds)
		apic_timer_stop();
}
