/*
 * Uses each device of the machine as software does, interrupts included. Prints a line for what
 * does not work; ends with the number of such lines.
 */
#include "guest/payload/lib.h"

enum { VECTOR_UD = 6, VECTOR_GP = 13, PIC_BASE = 0x20, SLAVE_BASE = 0x28 };
enum { IRQ_TIMER = 0, IRQ_COM1 = 4, IRQ_CLOCK = 8 };

static uint32_t failures;
static volatile uint32_t interrupts[16];
static volatile uint64_t last_exception;
static volatile uint64_t skip_bytes;	/* length of the instruction that may fault next */

static void require(bool holds, const char *what)
{
	if (holds)
		return;
	print("devices: ");
	print(what);
	print("\n");
	failures++;
}

static void end_of_interrupt(unsigned irq)
{
	if (irq >= 8)
		out8(0xa0, 0x20);
	out8(0x20, 0x20);
}

void trap(uint64_t vector, uint64_t error, struct trap_frame *frame)
{
	if (vector >= PIC_BASE) {
		unsigned irq = (unsigned)vector - PIC_BASE;

		interrupts[irq]++;
		if (irq == IRQ_COM1)
			(void)in8(ABI_COM1 + 2);
		if (irq == IRQ_CLOCK) {
			out8(0x70, 0x0c);
			(void)in8(0x71);
		}
		end_of_interrupt(irq);
		return;
	}
	last_exception = vector << 32 | error;
	if (!skip_bytes) {
		print("devices: unexpected exception ");
		print_number(vector);
		print(" at ");
		print_hex(frame->rip);
		print("\n");
		out8(ABI_EXIT_PORT, 0x7f);
	}
	frame->rip += skip_bytes;
}

static void sleep(void) { __asm__ volatile("sti; hlt; cli" ::: "memory"); }

/* ------------------------------------------------------------------ interrupts */

static void init_pics(void)
{
	static const uint8_t words[2][4] = { { 0x11, PIC_BASE, 4, 1 }, { 0x11, SLAVE_BASE, 2, 1 } };

	for (unsigned i = 0; i < 2; i++) {
		uint16_t port = i ? 0xa0 : 0x20;

		out8(port, words[i][0]);
		for (unsigned step = 1; step < 4; step++)
			out8((uint16_t)(port + 1), words[i][step]);
		out8((uint16_t)(port + 1), 0xff);
	}
	require(in8(0x21) == 0xff && in8(0xa1) == 0xff, "PIC masks are not kept");
}

static void test_timer(void)
{
	out8(0x43, 0x34);			/* channel 0, mode 2 */
	out8(0x40, 11932 & 0xff);		/* 100 Hz */
	out8(0x40, 11932 >> 8);
	out8(0x21, 0xff & ~(1 << IRQ_TIMER));
	while (interrupts[IRQ_TIMER] < 3)
		sleep();
	/* The same by an interrupt window: running, not halted. */
	__asm__ volatile("sti" ::: "memory");
	while (interrupts[IRQ_TIMER] < 5)
		;
	__asm__ volatile("cli" ::: "memory");
	out8(0x21, 0xff);
}

static void test_serial(void)
{
	out8(ABI_COM1 + 4, 0x08);		/* OUT2: interrupts reach the PIC */
	out8(0x21, 0xff & ~(1 << IRQ_COM1));
	out8(ABI_COM1 + 1, 0x02);		/* the transmitter is empty: an interrupt at once */
	while (!interrupts[IRQ_COM1])
		sleep();
	out8(ABI_COM1 + 1, 0);
	out8(0x21, 0xff);

	out8(ABI_COM1 + 4, 0x10);		/* loopback */
	out8(ABI_COM1, 0x5a);
	require((in8(ABI_COM1 + 5) & 1) && in8(ABI_COM1) == 0x5a, "UART loopback loses its byte");
	out8(ABI_COM1 + 4, 0x0b);
	out8(ABI_COM1 + 7, 0xa7);
	require(in8(ABI_COM1 + 7) == 0xa7, "UART scratch register is not kept");
}

static void test_clock(void)
{
	out8(0x70, 0x0d);
	require(in8(0x71) & 0x80, "RTC says that its battery is flat");
	out8(0x70, 0x0a);
	out8(0x71, 0x2f);			/* 2 Hz */
	out8(0x70, 0x0b);
	out8(0x71, 0x42);			/* periodic, 24 hours */
	out8(0x70, 0x0c);
	(void)in8(0x71);
	out8(0x21, 0xff & ~(1 << 2));
	out8(0xa1, 0xfe);
	while (!interrupts[IRQ_CLOCK])
		sleep();
	out8(0x21, 0xff);
	out8(0xa1, 0xff);
}

/* ------------------------------------------------------------------ others */

/* 10 milliseconds of channel 2, as calibration loops wait for them. */
static void test_speaker_gate(void)
{
	uint64_t start = tsc(), took, expected;

	out8(0x61, (uint8_t)((in8(0x61) & ~2u) | 1));
	out8(0x43, 0xb0);
	out8(0x42, 11932 & 0xff);
	out8(0x42, 11932 >> 8);
	require(!(in8(0x61) & 0x20), "PIT channel 2 is high at once");
	while (!(in8(0x61) & 0x20))
		;
	took = tsc() - start;
	expected = (uint64_t)cpuid(ABI_CPUID_MACHINE).ecx * 10;
	require(took >= expected * 9 / 10 && took < expected * 3, "PIT and TSC disagree on 10 ms");
}

static void test_keyboard(void)
{
	out8(0x64, 0xaa);
	require((in8(0x64) & 1) && in8(0x60) == 0x55, "i8042 does not pass its self test");
	out8(0x60, 0xff);
	require((in8(0x64) & 0x41) == 0x41 && in8(0x60) == 0xfe, "a keyboard answers");
	require(!(in8(0x64) & 1), "i8042 has output for nobody");
}

static void test_pci(void)
{
	out32(0xcf8, 0x80000000);
	require(in32(0xcf8) == 0x80000000, "PCI address is not kept");
	require(in32(0xcfc) == 0xffffffff, "PCI has a device");
}

static void test_string_io(void)
{
	/* 16 bytes across a page boundary. */
	volatile uint8_t *at = (volatile uint8_t *)0x1fdff8;
	uint64_t count = 16;
	volatile uint8_t *end = at;
	static const char text[] = "devices: printed by REP OUTSB\n";
	const char *from = text;
	uint64_t length = sizeof(text) - 1;

	out8(ABI_COM1 + 7, 0xc3);
	__asm__ volatile("rep insb" : "+D"(end), "+c"(count) : "d"(ABI_COM1 + 7) : "memory");
	require(end == at + 16 && !count, "REP INSB leaves RDI or RCX wrong");
	for (unsigned i = 0; i < 16; i++)
		require(at[i] == 0xc3, "REP INSB stored something else");
	require(at[16] == 0, "REP INSB stored too much");
	__asm__ volatile("rep outsb" : "+S"(from), "+c"(length) : "d"(ABI_COM1) : "memory");
	require(from == text + sizeof(text) - 1 && !length, "REP OUTSB leaves RSI or RCX wrong");

	/* A page fault of the operand is the guest's own, and nothing has moved. */
	from = (const char *)0xffff800000000000;
	length = 3;
	skip_bytes = 2;
	__asm__ volatile("rep outsb" : "+S"(from), "+c"(length) : "d"(ABI_SCRATCH_PORT) : "memory");
	skip_bytes = 0;
	require(last_exception == (UINT64_C(14) << 32) && length == 3, "REP OUTSB: no page fault");
}

static void test_unclaimed(void)
{
	require(in8(ABI_SCRATCH_PORT) == 0xff && in32(0x1234) == 0xffffffff,
		"an unclaimed port does not read all ones");
}

static void test_exceptions(void)
{
	uint64_t page = 0;

	skip_bytes = 2;
	last_exception = 0;
	__asm__ volatile("rdmsr" :: "c"(0x12345678) : "rax", "rdx", "memory");
	require(last_exception == (uint64_t)VECTOR_GP << 32, "an unknown MSR raises no #GP");
	skip_bytes = 4;
	last_exception = 0;
	__asm__ volatile(".byte 0xf3, 0x0f, 0xc7, 0x30" /* VMXON (RAX) */ :: "a"(&page) : "memory");
	require(last_exception == (uint64_t)VECTOR_UD << 32, "VMXON raises no #UD");
	skip_bytes = 3;
	last_exception = 0;
	__asm__ volatile("mov %%rax, %%cr4" :: "a"(UINT64_C(0x2020)) /* PAE, VMXE */ : "memory");
	require(last_exception == (uint64_t)VECTOR_GP << 32, "CR4.VMXE raises no #GP");
	skip_bytes = 0;
}

static void test_task_priority(void)
{
	uint64_t found;

	__asm__ volatile("mov %1, %%cr8\n\tmov %%cr8, %0"
			 : "=r"(found)
			 : "r"(UINT64_C(15))
			 : "memory");
	require(found == 15, "CR8 is not kept");
	skip_bytes = 4;
	last_exception = 0;
	__asm__ volatile("mov %%rax, %%cr8\n\tmov %%cr8, %0"
			 : "=r"(found)
			 : "a"(UINT64_C(16))
			 : "memory");
	skip_bytes = 0;
	require(found == 15 && last_exception == (uint64_t)VECTOR_GP << 32, "CR8 takes 16");
}

static void test_cpuid(void)
{
	struct cpuid c = cpuid(ABI_CPUID_SIGNATURE);

	require(c.ebx == 0x696c6f66 && c.ecx == 0x7369766f && c.edx == 0x726f, "CPUID signature");
	c = cpuid(1);
	require((c.ecx & 1u << 31) && !(c.ecx & 1u << 5), "CPUID shows VMX or no hypervisor");
	if (!(c.ecx & 1u << 26))
		return;
	__asm__ volatile("mov %%cr4, %%rax\n\tor $0x40000, %%eax\n\tmov %%rax, %%cr4" ::: "rax");
	require(cpuid(1).ecx & 1u << 27, "CPUID hides CR4.OSXSAVE");
	skip_bytes = 3;
	last_exception = 0;
	__asm__ volatile("xsetbv" :: "c"(0), "a"(3), "d"(0) : "memory");
	require(!last_exception, "XSETBV refuses x87 and SSE");
	__asm__ volatile("xsetbv" :: "c"(0), "a"(2), "d"(0) : "memory");
	require(last_exception == (uint64_t)VECTOR_GP << 32, "XSETBV takes SSE without x87");
	skip_bytes = 0;
}

uint32_t main(uint64_t *mailbox)
{
	(void)mailbox;
	traps_on();
	init_pics();
	test_timer();
	test_serial();
	test_clock();
	test_speaker_gate();
	test_keyboard();
	test_pci();
	test_string_io();
	test_unclaimed();
	test_exceptions();
	test_task_priority();
	test_cpuid();
	print(failures ? "devices: not all work\n" : "devices: all work\n");
	return failures;
}
