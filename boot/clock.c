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
enum { POLLS_MAX = 20000000, MEASUREMENTS_MAX = 8 };
#define HZ_ASSUMED UINT64_C(1000000000)
/* Bochs counts instructions, as few as a million a second; nothing is slower. */
#define HZ_LEAST   UINT64_C(100000)

static uint64_t hz;
static const char *source;

/* Between which two looks at the TSC something happened. */
struct moment { uint64_t after, before; };

static bool wait_for_pit(struct moment *end)
{
	end->after = tsc_now();
	for (unsigned i = 0; i < POLLS_MAX; i++) {
		bool over = inb(PIT_SPEAKER) & SPEAKER_OUT2;

		end->before = tsc_now();
		if (over)
			return true;
		end->after = end->before;
	}
	return false;
}

/* TSC ticks of MEASURED_TICKS of the PIT, and how far off that may be. False without a PIT. */
static bool measure_once(uint64_t *ticks, uint64_t *doubt)
{
	uint8_t speaker = (uint8_t)(inb(PIT_SPEAKER) & ~(SPEAKER_GATE2 | SPEAKER_ON));
	struct moment start, end;

	outb(PIT_SPEAKER, speaker);
	outb(PIT_COMMAND, COMMAND_CHANNEL2_MODE0);
	outb(PIT_CHANNEL2, MEASURED_TICKS & 0xff);
	outb(PIT_CHANNEL2, MEASURED_TICKS >> 8);
	start.after = tsc_now();
	outb(PIT_SPEAKER, speaker | SPEAKER_GATE2);
	start.before = tsc_now();
	if (inb(PIT_SPEAKER) & SPEAKER_OUT2 || !wait_for_pit(&end))
		return false;
	outb(PIT_SPEAKER, speaker);
	*ticks = ((end.after - start.before) + (end.before - start.after)) / 2;
	*doubt = (start.before - start.after) + (end.before - end.after);
	return true;
}

/* An emulator that is held up in the middle spoils a measurement, and the doubt shows it. */
uint64_t clock_measure(void)
{
	uint64_t best_ticks = 0, best_doubt = UINT64_MAX;

	for (unsigned i = 0; i < MEASUREMENTS_MAX && best_doubt > best_ticks / 200; i++) {
		uint64_t ticks, doubt;

		if (!measure_once(&ticks, &doubt))
			return 0;
		if (doubt < best_doubt) {
			best_ticks = ticks;
			best_doubt = doubt;
		}
	}
	return best_ticks * PIT_HZ / MEASURED_TICKS;
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
