/*
 * How fast the time stamp counter runs: measured against channel 2 of the 8254 PIT; where there
 * is none, what CPUID says; else assumed. All CPUs' counters are taken to run alike. One CPU, at
 * boot.
 */
#include "boot/boot.h"
#include "boot/insn.h"
#include "boot/parts.h"

enum {
	PIT_HZ = 1193182, PIT_CHANNEL2 = 0x42, PIT_COMMAND = 0x43, PIT_SPEAKER = 0x61,
	COMMAND_CHANNEL2_MODE0 = 0xb0,	/* low byte, high byte; output rises at the end */
	SPEAKER_GATE2 = 1, SPEAKER_ON = 2, SPEAKER_OUT2 = 0x20,
	MEASURED_TICKS = PIT_HZ / 100,
};

/* A real PIT ends the measurement within 10 ms: polls beyond this many mean that there is none. */
enum { POLLS_MAX = 20000000 };
#define HZ_ASSUMED UINT64_C(1000000000)
/* Bochs counts instructions, as few as a million a second; nothing is slower. */
#define HZ_LEAST   UINT64_C(100000)

static uint64_t hz;
static const char *source;

static bool wait_for_pit(void)
{
	for (unsigned i = 0; i < POLLS_MAX; i++)
		if (inb(PIT_SPEAKER) & SPEAKER_OUT2)
			return true;
	return false;
}

uint64_t clock_measure(void)
{
	uint8_t speaker = (uint8_t)(inb(PIT_SPEAKER) & ~(SPEAKER_GATE2 | SPEAKER_ON));
	uint64_t start, end;

	outb(PIT_SPEAKER, speaker);
	outb(PIT_COMMAND, COMMAND_CHANNEL2_MODE0);
	outb(PIT_CHANNEL2, MEASURED_TICKS & 0xff);
	outb(PIT_CHANNEL2, MEASURED_TICKS >> 8);
	outb(PIT_SPEAKER, speaker | SPEAKER_GATE2);
	start = tsc_now();
	if (inb(PIT_SPEAKER) & SPEAKER_OUT2 || !wait_for_pit())
		return 0;
	end = tsc_now();
	outb(PIT_SPEAKER, speaker);
	return (end - start) * PIT_HZ / MEASURED_TICKS;
}

/* SDM "CPUID - Processor Frequency Information Leaf"; 0 when it says nothing. */
static uint64_t ask_cpuid(void)
{
	uint32_t leaves = cpuid(0, 0).eax;
	struct cpuid ratio = leaves >= 0x15 ? cpuid(0x15, 0) : (struct cpuid){ 0 };

	if (ratio.eax && ratio.ebx && ratio.ecx)
		return (uint64_t)ratio.ecx * ratio.ebx / ratio.eax;
	return leaves >= 0x16 ? (uint64_t)(cpuid(0x16, 0).eax & 0xffff) * 1000000 : 0;
}

void clock_calibrate(void)
{
	hz = clock_measure();
	source = "measured against the PIT";
	if (hz < HZ_LEAST) {
		hz = ask_cpuid();
		source = "as CPUID says, without a PIT";
	}
	if (hz < HZ_LEAST) {
		hz = HZ_ASSUMED;
		source = "assumed: neither PIT nor CPUID tells";
	}
}

const char *clock_source(void)
{
	return source;
}

uint64_t tsc_hz(void)
{
	return hz;
}

void delay_us(uint64_t microseconds)
{
	uint64_t start = tsc_now(), ticks = hz * microseconds / 1000000;

	await(tsc_now() - start >= ticks);
}
