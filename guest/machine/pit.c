/*
 * The 8254: Intel data sheet 231164. The counters are not counted down: everything follows from
 * the number of input ticks since the count was loaded. Called under the device lock.
 *
 *	mode	OUT, d ticks after the load of N			gate
 *	0	low, high from d = N					low stops the count
 *	1	low, high from d = N					rise loads
 *	2	high, low for the last tick of each N			low stops, rise loads
 *	3	high for the first half of each N, then low		low stops, rise loads
 *	4	high, low for the one tick d = N			low stops the count
 *	5	as 4							rise loads
 */
#include "guest/machine/pit.h"

#define NS_PER_SECOND UINT64_C(1000000000)
#define REFRESH_NS    15085u		/* bit 4 of port 0x61 toggles with each memory refresh */

static uint64_t to_ticks(uint64_t ns)
{
	return ns / NS_PER_SECOND * PIT_HZ + ns % NS_PER_SECOND * PIT_HZ / NS_PER_SECOND;
}

/* The first nanosecond at which to_ticks() gives `ticks`. */
static uint64_t to_ns(uint64_t ticks)
{
	uint64_t rest = ticks % PIT_HZ * NS_PER_SECOND;

	return ticks / PIT_HZ * NS_PER_SECOND + (rest + PIT_HZ - 1) / PIT_HZ;
}

static bool loads_on_gate(const struct pit_channel *c) { return c->mode != 0 && c->mode != 4; }
static bool is_periodic(const struct pit_channel *c) { return c->mode == 2 || c->mode == 3; }

static uint64_t elapsed(const struct pit_channel *c, uint64_t now)
{
	return c->counting ? now - c->start : c->held;
}

static bool output(const struct pit_channel *c, uint64_t now)
{
	uint64_t d = elapsed(c, now);

	if (!c->loaded)
		return c->mode != 0;
	switch (c->mode) {
	case 0: return d >= c->reload;
	case 1: return !c->counting || d >= c->reload;
	case 2: return !c->counting || d % c->reload != c->reload - 1;
	case 3: return !c->counting || d % c->reload < (c->reload + 1) / 2;
	default: return d != c->reload;
	}
}

static uint16_t to_bcd(uint32_t value)
{
	return (uint16_t)(value / 1000 % 10 << 12 | value / 100 % 10 << 8 | value / 10 % 10 << 4 |
			  value % 10);
}

static uint32_t from_bcd(uint32_t value)
{
	return (value >> 12) * 1000 + (value >> 8 & 15) * 100 + (value >> 4 & 15) * 10 +
	       (value & 15);
}

/* What a read of the counting element finds. */
static uint16_t count(const struct pit_channel *c, uint64_t now)
{
	uint64_t d = elapsed(c, now);
	uint64_t wrap = c->bcd ? 10000 : 65536;
	uint64_t value;

	if (!c->loaded)
		return 0;
	if (c->mode == 3)
		value = c->reload - d * 2 % c->reload;
	else if (c->mode == 2)
		value = c->reload - d % c->reload;
	else
		value = (c->reload + wrap - d % wrap) % wrap;
	return c->bcd ? to_bcd((uint32_t)value) : (uint16_t)value;
}

static uint64_t rises(const struct pit_channel *c, uint64_t now)
{
	uint64_t d = elapsed(c, now);

	if (!c->loaded || (is_periodic(c) && !c->counting))
		return 0;
	if (is_periodic(c))
		return d / c->reload;
	return c->mode <= 1 ? d >= c->reload : d > c->reload;
}

static void start(struct pit_channel *c, uint64_t now)
{
	c->start = now;
	c->held = 0;
	c->rises_seen = 0;
	c->counting = true;
}

/*
 * A new count restarts every mode but the two that wait for the gate. (The 8254 lets modes 2 and
 * 3 finish the old period first.)
 */
static void load(struct pit_channel *c, uint32_t value, uint64_t now)
{
	c->reload = c->bcd ? from_bcd(value) : value;
	if (!c->reload)
		c->reload = c->bcd ? 10000 : 65536;
	c->loaded = true;
	if (c->mode == 1 || c->mode == 5)
		return;
	start(c, now);
	c->counting = c->gate;
}

static void set_gate(struct pit_channel *c, bool gate, uint64_t now)
{
	bool was = c->gate;

	c->gate = gate;
	if (was == gate || !c->loaded)
		return;
	if (gate && loads_on_gate(c)) {
		start(c, now);
	} else if (gate) {
		c->start = now - c->held;
		c->counting = true;
	} else if (c->mode != 1 && c->mode != 5) {
		c->held = elapsed(c, now);
		c->counting = false;
	}
}

/* ------------------------------------------------------------------ ports */

static void latch_count(struct pit_channel *c, uint64_t now)
{
	if (c->count_latched)
		return;
	c->latched = count(c, now);
	c->count_latched = true;
}

static void latch_status(struct pit_channel *c, uint64_t now)
{
	if (c->status_latched)
		return;
	c->status = (uint8_t)(output(c, now) << 7 | !c->loaded << 6 | c->access << 4 |
			      c->mode << 1 | c->bcd);
	c->status_latched = true;
}

static void read_back(struct pit *pit, uint8_t value, uint64_t now)
{
	for (unsigned i = 0; i < 3; i++) {
		if (!(value & 2u << i))
			continue;
		if (!(value & 0x20))
			latch_count(&pit->channel[i], now);
		if (!(value & 0x10))
			latch_status(&pit->channel[i], now);
	}
}

static void write_control(struct pit *pit, uint8_t value, uint64_t now)
{
	struct pit_channel *c = &pit->channel[value >> 6 & 3];
	bool gate;

	if (value >> 6 == 3) {
		read_back(pit, value, now);
		return;
	}
	if (!(value & 0x30)) {
		latch_count(c, now);
		return;
	}
	gate = c->gate;
	*c = (struct pit_channel){ .gate = gate, .bcd = value & 1, .access = value >> 4 & 3,
				   .mode = value >> 1 & 7 };
	if (c->mode > 5)
		c->mode -= 4;		/* bit 2 of modes 2 and 3 is "don't care" */
}

static void write_count(struct pit_channel *c, uint8_t value, uint64_t now)
{
	if (c->access == 1) {
		load(c, value, now);
	} else if (c->access == 2) {
		load(c, (uint32_t)value << 8, now);
	} else if (c->expect_high) {
		c->expect_high = false;
		load(c, (uint32_t)value << 8 | c->write_low, now);
	} else {
		c->expect_high = true;
		c->write_low = value;
	}
}

static uint8_t read_count(struct pit_channel *c, uint64_t now)
{
	uint16_t value = c->count_latched ? c->latched : count(c, now);
	bool high = c->access == 2 || (c->access == 3 && c->read_high);

	if (c->status_latched) {
		c->status_latched = false;
		return c->status;
	}
	c->read_high = c->access == 3 && !c->read_high;
	if (!c->read_high)
		c->count_latched = false;
	return (uint8_t)(high ? value >> 8 : value);
}

static uint8_t read_speaker(const struct pit *pit, uint64_t now_ns)
{
	return (uint8_t)(pit->speaker | (now_ns / REFRESH_NS & 1) << 4 |
			 (unsigned)output(&pit->channel[2], to_ticks(now_ns)) << 5);
}

void pit_reset(struct pit *pit)
{
	*pit = (struct pit){ 0 };
	for (unsigned i = 0; i < 3; i++) {
		pit->channel[i].access = 3;
		pit->channel[i].mode = 3;
		pit->channel[i].gate = i < 2;	/* the gates of 0 and 1 are tied high */
	}
}

uint8_t pit_in(struct pit *pit, uint16_t port, uint64_t now_ns)
{
	if (port == 0x61)
		return read_speaker(pit, now_ns);
	if (port == 0x43)
		return 0xff;		/* the control word can't be read */
	return read_count(&pit->channel[port & 3], to_ticks(now_ns));
}

void pit_out(struct pit *pit, uint16_t port, uint8_t value, uint64_t now_ns)
{
	uint64_t now = to_ticks(now_ns);

	if (port == 0x61) {
		pit->speaker = value & 0x0f;
		set_gate(&pit->channel[2], value & 1, now);
	} else if (port == 0x43) {
		write_control(pit, value, now);
	} else {
		write_count(&pit->channel[port & 3], value, now);
	}
}

bool pit_update(struct pit *pit, uint64_t now_ns)
{
	struct pit_channel *c = &pit->channel[0];
	uint64_t seen = c->rises_seen;

	c->rises_seen = rises(c, to_ticks(now_ns));
	return c->rises_seen != seen;
}

uint64_t pit_next_rise(const struct pit *pit, uint64_t now_ns)
{
	const struct pit_channel *c = &pit->channel[0];
	uint64_t now = to_ticks(now_ns);
	uint64_t after;

	if (!c->loaded || !c->counting)
		return PIT_NEVER;
	if (is_periodic(c))
		after = (elapsed(c, now) / c->reload + 1) * c->reload;
	else if (rises(c, now))
		return PIT_NEVER;
	else
		after = c->reload + (c->mode > 1);
	return to_ns(c->start + after);
}
