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
	COMMAND_CHANNEL2_MODE0 = 0xb0,	/* low byte, high byte; output rises at 0 */
	COMMAND_CHANNEL2_LATCH = 0x80,
	SPEAKER_GATE2 = 1, SPEAKER_ON = 2, SPEAKER_OUT2 = 0x20,
	COUNT_START = 0xffff,		/* 55 ms */
	COUNT_MEASURED = PIT_HZ / 100,
};

/* A PIT counts on within a few looks; this many that see the same count mean that there is none. */
enum { STANDSTILL_MAX = 200000, LOOKS = 8, MEASUREMENTS_MAX = 8 };
#define HZ_ASSUMED UINT64_C(1000000000)
/* Bochs counts instructions, as few as a million a second; nothing is slower. */
#define HZ_LEAST   UINT64_C(100000)

static uint64_t hz;
static const char *source;

/* A count of the PIT, and the TSC then, give or take half of `doubt`. */
struct look { uint64_t tsc, doubt; uint32_t count; };

static struct look look(void)
{
	uint64_t before = tsc_now(), after;
	struct look seen;

	outb(PIT_COMMAND, COMMAND_CHANNEL2_LATCH);
	after = tsc_now();
	seen.count = inb(PIT_CHANNEL2);
	seen.count |= (uint32_t)inb(PIT_CHANNEL2) << 8;
	seen.doubt = after - before;
	seen.tsc = before + seen.doubt / 2;
	return seen;
}

/* An emulator that is held up between the two looks at the TSC spoils one look, not the next. */
static struct look look_closely(void)
{
	struct look best = look();

	for (unsigned i = 1; i < LOOKS; i++) {
		struct look next = look();

		if (next.doubt <= best.doubt)
			best = next;
	}
	return best;
}

static bool wait_for_count(uint32_t least)
{
	struct look seen = look(), next;

	for (unsigned still = 0; still < STANDSTILL_MAX; still++) {
		if (seen.count <= least)
			return true;
		next = look();
		if (next.count != seen.count)
			still = 0;
		seen = next;
	}
	return false;
}

uint64_t clock_measure(void)
{
	uint8_t speaker = (uint8_t)(inb(PIT_SPEAKER) & ~(SPEAKER_GATE2 | SPEAKER_ON));

	for (unsigned i = 0; i < MEASUREMENTS_MAX; i++) {
		struct look first, last;

		outb(PIT_SPEAKER, speaker | SPEAKER_GATE2);
		outb(PIT_COMMAND, COMMAND_CHANNEL2_MODE0);
		outb(PIT_CHANNEL2, COUNT_START & 0xff);
		outb(PIT_CHANNEL2, COUNT_START >> 8);
		first = look_closely();
		if (first.count <= COUNT_MEASURED)
			continue;
		if (!wait_for_count(first.count - COUNT_MEASURED))
			return 0;
		last = look_closely();
		/* Past 0 the count has begun anew. */
		if (inb(PIT_SPEAKER) & SPEAKER_OUT2 || last.count >= first.count)
			continue;
		outb(PIT_SPEAKER, speaker);
		return (last.tsc - first.tsc) * PIT_HZ / (first.count - last.count);
	}
	return 0;
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
