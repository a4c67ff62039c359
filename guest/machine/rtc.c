/*
 * Motorola MC146818A: calendar, alarm, periodic and update interrupts; CMOS bytes that PC software
 * reads memory sizes from. Called under the device lock.
 */
#include "guest/machine/rtc.h"

#define NS_PER_SECOND UINT64_C(1000000000)
#define DAY           86400

enum { SECONDS, SECONDS_ALARM, MINUTES, MINUTES_ALARM, HOURS, HOURS_ALARM, WEEKDAY, MONTHDAY, MONTH,
       YEAR, REG_A, REG_B, REG_C, REG_D, CENTURY = 0x32 };

#define A_UPDATING   0x80
#define B_SET        0x80
#define B_PERIODIC   0x40	/* enables; the flags of C stand at the same bits */
#define B_ALARM      0x20
#define B_UPDATE     0x10
#define B_BINARY     0x04
#define B_24_HOURS   0x02
#define C_INTERRUPT  0x80
#define ENABLES      (B_PERIODIC | B_ALARM | B_UPDATE)
#define HOUR_PM      0x80

struct calendar { int year; unsigned month, day, weekday, hour, minute, second; };

/* Days since 1970-01-01 of a civil date; years start in March so that leap days come last. */
static int64_t days_from(int64_t year, unsigned month, unsigned day)
{
	int64_t y = month <= 2 ? year - 1 : year;
	int64_t era = (y >= 0 ? y : y - 399) / 400;
	int64_t of_era = y - era * 400;
	int64_t of_year =
		(153 * ((int64_t)month + (month > 2 ? -3 : 9)) + 2) / 5 + (int64_t)day - 1;

	return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static struct calendar to_calendar(int64_t unix_time)
{
	int64_t days = unix_time / DAY, rest = unix_time % DAY;
	struct calendar c = { .month = 1, .day = 1 };

	if (rest < 0) {
		rest += DAY;
		days--;
	}
	c.weekday = (unsigned)(((days + 4) % 7 + 7) % 7) + 1;
	c.hour = (unsigned)(rest / 3600);
	c.minute = (unsigned)(rest / 60 % 60);
	c.second = (unsigned)(rest % 60);
	/* An estimate that is never too late, then the exact year and month. */
	c.year = 1970 + (int)(days / 366);
	while (days_from(c.year + 1, 1, 1) <= days)
		c.year++;
	while (days < days_from(c.year, 1, 1))
		c.year--;
	while (c.month < 12 && days_from(c.year, c.month + 1, 1) <= days)
		c.month++;
	c.day = (unsigned)(days - days_from(c.year, c.month, 1)) + 1;
	return c;
}

static bool is_clock_byte(uint8_t index)
{
	return index == CENTURY || (index <= YEAR && index != SECONDS_ALARM &&
				    index != MINUTES_ALARM && index != HOURS_ALARM);
}

static uint8_t encode(const struct rtc *rtc, unsigned value)
{
	return (uint8_t)(rtc->memory[REG_B] & B_BINARY ? value : value / 10 << 4 | value % 10);
}

static unsigned decode(const struct rtc *rtc, unsigned value)
{
	return rtc->memory[REG_B] & B_BINARY ? value : (value >> 4) * 10 + (value & 15);
}

static uint8_t encode_hour(const struct rtc *rtc, unsigned hour)
{
	if (rtc->memory[REG_B] & B_24_HOURS)
		return encode(rtc, hour);
	return encode(rtc, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? HOUR_PM : 0);
}

static unsigned decode_hour(const struct rtc *rtc, unsigned value)
{
	if (rtc->memory[REG_B] & B_24_HOURS)
		return decode(rtc, value);
	return decode(rtc, value & (unsigned)~HOUR_PM) % 12 + (value & HOUR_PM ? 12 : 0);
}

static int64_t unix_now(const struct rtc *rtc, uint64_t now_ns)
{
	return rtc->unix_offset + (int64_t)(now_ns / NS_PER_SECOND);
}

/* The clock's bytes as they are now; a stopped clock (B_SET) keeps what was written. */
static void refresh(struct rtc *rtc, uint64_t now_ns)
{
	struct calendar c = to_calendar(unix_now(rtc, now_ns));
	uint8_t *m = rtc->memory;

	if (m[REG_B] & B_SET)
		return;
	m[SECONDS] = encode(rtc, c.second);
	m[MINUTES] = encode(rtc, c.minute);
	m[HOURS] = encode_hour(rtc, c.hour);
	m[WEEKDAY] = encode(rtc, c.weekday);
	m[MONTHDAY] = encode(rtc, c.day);
	m[MONTH] = encode(rtc, c.month);
	m[YEAR] = encode(rtc, (unsigned)(c.year % 100));
	m[CENTURY] = encode(rtc, (unsigned)(c.year / 100));
}

/* The bytes were written: the calendar goes on from there. */
static void take_over(struct rtc *rtc, uint64_t now_ns)
{
	const uint8_t *m = rtc->memory;
	int64_t year = decode(rtc, m[CENTURY]) * 100 + decode(rtc, m[YEAR]);
	unsigned month = decode(rtc, m[MONTH]);
	int64_t days = days_from(year, month >= 1 && month <= 12 ? month : 1,
				 decode(rtc, m[MONTHDAY]));
	int64_t wanted = days * DAY + decode_hour(rtc, m[HOURS]) * 3600 +
			 decode(rtc, m[MINUTES]) * 60 + decode(rtc, m[SECONDS]);

	rtc->unix_offset = wanted - (int64_t)(now_ns / NS_PER_SECOND);
}

/* Nanoseconds between periodic interrupts, by the rate of register A; 0: off. */
static uint64_t period(const struct rtc *rtc)
{
	unsigned rate = rtc->memory[REG_A] & 15;

	if (!rate)
		return 0;
	if (rate <= 2)
		rate += 7;
	return NS_PER_SECOND * (UINT64_C(1) << (rate - 1)) / 32768;
}

/* 0xc0 and above: any. */
static bool alarm_matches(uint8_t alarm, uint8_t now) { return alarm >= 0xc0 || alarm == now; }

static bool alarm_now(const uint8_t *m)
{
	return alarm_matches(m[SECONDS_ALARM], m[SECONDS]) &&
	       alarm_matches(m[MINUTES_ALARM], m[MINUTES]) &&
	       alarm_matches(m[HOURS_ALARM], m[HOURS]);
}

bool rtc_update(struct rtc *rtc, uint64_t now_ns)
{
	uint64_t seconds = now_ns / NS_PER_SECOND;
	uint64_t periods = period(rtc) ? now_ns / period(rtc) : 0;
	uint8_t *m = rtc->memory;

	if (periods != rtc->periods_seen)
		m[REG_C] |= B_PERIODIC;
	if (seconds != rtc->seconds_seen && !(m[REG_B] & B_SET)) {
		refresh(rtc, now_ns);
		m[REG_C] |= B_UPDATE;
		if (alarm_now(m))
			m[REG_C] |= B_ALARM;
	}
	rtc->periods_seen = periods;
	rtc->seconds_seen = seconds;
	m[REG_C] &= (uint8_t)~C_INTERRUPT;
	if (m[REG_C] & m[REG_B] & ENABLES)
		m[REG_C] |= C_INTERRUPT;
	return m[REG_C] & C_INTERRUPT;
}

uint64_t rtc_next_event(const struct rtc *rtc, uint64_t now_ns)
{
	uint64_t next = UINT64_MAX, each = period(rtc);

	if (rtc->memory[REG_B] & (B_ALARM | B_UPDATE))
		next = (now_ns / NS_PER_SECOND + 1) * NS_PER_SECOND;
	if ((rtc->memory[REG_B] & B_PERIODIC) && each && (now_ns / each + 1) * each < next)
		next = (now_ns / each + 1) * each;
	return next;
}

static void put_size(struct rtc *rtc, unsigned at, uint64_t value)
{
	if (value > 0xffff)
		value = 0xffff;
	rtc->memory[at] = (uint8_t)value;
	rtc->memory[at + 1] = (uint8_t)(value >> 8);
}

void rtc_reset(struct rtc *rtc, uint64_t unix_time, uint64_t ram_kib)
{
	*rtc = (struct rtc){ .unix_offset = (int64_t)unix_time };
	rtc->memory[REG_A] = 0x26;
	rtc->memory[REG_B] = B_24_HOURS;
	rtc->memory[REG_D] = 0x80;	/* the battery is good */
	put_size(rtc, 0x15, 640);
	put_size(rtc, 0x17, ram_kib > 1024 ? ram_kib - 1024 : 0);
	put_size(rtc, 0x30, ram_kib > 1024 ? ram_kib - 1024 : 0);
	put_size(rtc, 0x34, ram_kib > 16384 ? (ram_kib - 16384) / 64 : 0);
}

uint8_t rtc_in(struct rtc *rtc, uint16_t port, uint64_t now_ns)
{
	uint8_t value;

	if (port == 0x70)
		return 0xff;		/* write only */
	rtc_update(rtc, now_ns);
	refresh(rtc, now_ns);
	value = rtc->memory[rtc->index];
	if (rtc->index == REG_C)
		rtc->memory[REG_C] = 0;
	/* The 244 microseconds before the bytes change. */
	if (rtc->index == REG_A && now_ns % NS_PER_SECOND >= NS_PER_SECOND - 244000)
		value |= A_UPDATING;
	return value;
}

void rtc_out(struct rtc *rtc, uint16_t port, uint8_t value, uint64_t now_ns)
{
	uint8_t index = rtc->index;

	if (port == 0x70) {
		rtc->index = value & 0x7f;	/* bit 7 masks NMI, of which there are none */
		return;
	}
	rtc_update(rtc, now_ns);
	if (index == REG_C || index == REG_D)
		return;
	if (index == REG_B && (rtc->memory[REG_B] ^ value) & B_SET) {
		refresh(rtc, now_ns);
		if (!(value & B_SET))
			take_over(rtc, now_ns);
	}
	rtc->memory[index] = index == REG_A ? value & (uint8_t)~A_UPDATING : value;
	if (is_clock_byte(index) && !(rtc->memory[REG_B] & B_SET))
		take_over(rtc, now_ns);
	if (index == REG_A)
		rtc->periods_seen = period(rtc) ? now_ns / period(rtc) : 0;
}
