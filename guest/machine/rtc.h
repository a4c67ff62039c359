/*
 * The MC146818 clock and its CMOS memory, ports 0x70 and 0x71. Time is passed in as nanoseconds
 * since the machine started; the calendar counts from a Unix time. The owner's lock is held.
 */
#ifndef GUEST_MACHINE_RTC_H
#define GUEST_MACHINE_RTC_H

#include <stdbool.h>
#include <stdint.h>

struct rtc {
	uint8_t index;
	uint8_t memory[128]; /* control registers too; the clock's bytes are made on reading */
	int64_t unix_offset;		/* Unix seconds at nanosecond 0 */
	uint64_t periods_seen, seconds_seen;
};

/* ram_kib: all of the guest's memory, for the sizes that CMOS holds. */
void rtc_reset(struct rtc *rtc, uint64_t unix_time, uint64_t ram_kib);
uint8_t rtc_in(struct rtc *rtc, uint16_t port, uint64_t now_ns);
void rtc_out(struct rtc *rtc, uint16_t port, uint8_t value, uint64_t now_ns);
/* Raises the flags of register C; true while the interrupt line (IRQ 8) is up. */
bool rtc_update(struct rtc *rtc, uint64_t now_ns);
/* When an enabled interrupt may come next; UINT64_MAX for never. */
uint64_t rtc_next_event(const struct rtc *rtc, uint64_t now_ns);

#endif
