/*
 * Local APIC: SDM "Advanced Programmable Interrupt Controller (APIC)". The boot CPU chooses
 * xAPIC or x2APIC for all; after that each CPU only touches its own, interrupts off, so there is
 * no lock. An NMI handler does not use it.
 */
#include "boot/apic.h"
#include "boot/boot.h"
#include "boot/insn.h"
#include "boot/paging.h"
#include "boot/parts.h"
#include "boot/traps.h"

enum {
	REG_ID = 0x20, REG_TPR = 0x80, REG_EOI = 0xb0, REG_SPURIOUS = 0xf0, REG_ICR = 0x300,
	REG_ICR_HIGH = 0x310, REG_LVT_TIMER = 0x320, REG_LVT_LINT0 = 0x350,
	REG_LVT_LINT1 = 0x360, REG_LVT_ERROR = 0x370,
	REG_TIMER_COUNT = 0x380, REG_TIMER_NOW = 0x390, REG_TIMER_DIVIDE = 0x3e0,
};

enum { ICR_NMI = 0x400, ICR_INIT = 0x500, ICR_STARTUP = 0x600, ICR_BUSY = 1 << 12,
       ICR_ASSERT = 1 << 14 };
enum { LVT_MASKED = 1 << 16, SPURIOUS_ENABLE = 1 << 8, DIVIDE_BY_16 = 3 };
enum { BASE_X2APIC = 1 << 10, BASE_ENABLE = 1 << 11 };
enum { CALIBRATION_US = 10000 };

static bool x2apic;
static uint64_t registers;		/* xAPIC: where they are mapped */
static uint64_t timer_hz;		/* after division */

void pic_mask(void)
{
	enum { MASTER = 0x20, SLAVE = 0xa0, ICW1_INIT = 0x11, ICW4_8086 = 1 };

	/* Remapped too, so that a spurious IRQ 7 does not look like an exception. */
	outb(MASTER, ICW1_INIT);
	outb(SLAVE, ICW1_INIT);
	outb(MASTER + 1, VECTOR_FIRST_INTERRUPT);
	outb(SLAVE + 1, VECTOR_FIRST_INTERRUPT + 8);
	outb(MASTER + 1, 4);
	outb(SLAVE + 1, 2);
	outb(MASTER + 1, ICW4_8086);
	outb(SLAVE + 1, ICW4_8086);
	outb(MASTER + 1, 0xff);
	outb(SLAVE + 1, 0xff);
}

static uint32_t apic_read(uint32_t reg)
{
	uint32_t value;

	if (x2apic)
		return (uint32_t)rdmsr(MSR_X2APIC + reg / 16);
	__asm__ volatile("movl (%1), %0" : "=r"(value) : "r"(registers + reg) : "memory");
	return value;
}

static void apic_write(uint32_t reg, uint32_t value)
{
	if (x2apic)
		wrmsr(MSR_X2APIC + reg / 16, value);
	else
		__asm__ volatile("movl %0, (%1)" :: "r"(value), "r"(registers + reg) : "memory");
}

void apic_choose(void)
{
	const uint32_t edx_apic = UINT32_C(1) << 9, ecx_x2apic = UINT32_C(1) << 21;
	struct cpuid features = cpuid(1, 0);
	hpa_t base;

	if (!(features.edx & edx_apic))
		refuse("this CPU has no local APIC");
	x2apic = features.ecx & ecx_x2apic;
	base = hpa(rdmsr(MSR_APIC_BASE) & PTE_ADDRESS);
	registers = DIRECT_MAP + base.raw;
	if (!x2apic)
		paging_map_device(base);
}

bool apic_is_x2(void)
{
	return x2apic;
}

void apic_setup(void)
{
	uint64_t base = rdmsr(MSR_APIC_BASE);

	/* SDM "x2APIC State Transitions": from disabled only by way of xAPIC. */
	wrmsr(MSR_APIC_BASE, base | BASE_ENABLE);
	if (x2apic)
		wrmsr(MSR_APIC_BASE, base | BASE_ENABLE | BASE_X2APIC);
	apic_write(REG_TPR, 0);
	apic_write(REG_SPURIOUS, SPURIOUS_ENABLE | VECTOR_SPURIOUS);
	apic_write(REG_LVT_TIMER, LVT_MASKED);
	apic_write(REG_LVT_LINT0, LVT_MASKED);
	apic_write(REG_LVT_LINT1, LVT_MASKED);
	apic_write(REG_LVT_ERROR, LVT_MASKED);
	apic_write(REG_TIMER_DIVIDE, DIVIDE_BY_16);
}

uint32_t apic_id(void)
{
	uint32_t id = apic_read(REG_ID);

	return x2apic ? id : id >> 24;
}

static void send(uint32_t to, uint32_t command)
{
	if (x2apic) {
		/* SDM "MSR Access in x2APIC Mode": the WRMSR orders nothing before it. */
		__asm__ volatile("mfence; lfence" ::: "memory");
		wrmsr(MSR_X2APIC + REG_ICR / 16, (uint64_t)to << 32 | command);
		return;
	}
	await(!(apic_read(REG_ICR) & ICR_BUSY));
	apic_write(REG_ICR_HIGH, to << 24);
	apic_write(REG_ICR, command);
}

void apic_send(uint32_t to, uint8_t vector) { send(to, ICR_ASSERT | vector); }
void apic_send_nmi(uint32_t to) { send(to, ICR_ASSERT | ICR_NMI); }
void apic_send_init(uint32_t to) { send(to, ICR_ASSERT | ICR_INIT); }
void apic_send_startup(uint32_t to, uint8_t page) { send(to, ICR_ASSERT | ICR_STARTUP | page); }

void apic_end_of_interrupt(void)
{
	apic_write(REG_EOI, 0);
}

/* ------------------------------------------------------------------ timer */

void apic_timer_calibrate(void)
{
	uint32_t start;

	apic_write(REG_TIMER_COUNT, UINT32_MAX);
	start = apic_read(REG_TIMER_NOW);
	delay_us(CALIBRATION_US);
	timer_hz = (uint64_t)(start - apic_read(REG_TIMER_NOW)) * (1000000 / CALIBRATION_US);
	apic_write(REG_TIMER_COUNT, 0);
}

void apic_timer_start(uint64_t microseconds)
{
	uint64_t count = timer_hz * microseconds / 1000000;

	apic_write(REG_LVT_TIMER, VECTOR_TIMER);
	apic_write(REG_TIMER_COUNT, count > UINT32_MAX ? UINT32_MAX : (uint32_t)count + 1);
}

void apic_timer_stop(void)
{
	apic_write(REG_LVT_TIMER, LVT_MASKED);
	apic_write(REG_TIMER_COUNT, 0);
}
