/*
 * The 8254 interval timer and port 0x61, which gates its channel 2. Time is passed in as
 * nanoseconds that never go back; nothing here runs by itself. The owner's lock is held.
 */
#ifndef GUEST_MACHINE_PIT_H
#define GUEST_MACHINE_PIT_H

#include <stdbool.h>
#include <stdint.h>

#define PIT_HZ 1193182u

struct pit_channel {
	uint8_t mode, access;		/* mode 0..5; access 1 low, 2 high, 3 low then high */
	bool bcd, gate, counting, loaded;
	uint8_t write_low;		/* low byte of a count whose high byte is still to come */
	bool expect_high, read_high;	/* flip-flops of access 3 */
	uint32_t reload;		/* 1..65536 */
	uint64_t start;			/* PIT ticks: when the count was `reload` */
	uint64_t held;			/* while not counting: ticks counted before */
	uint64_t rises_seen;		/* rising edges of OUT that pit_update has reported */
	bool count_latched, status_latched;
	uint16_t latched;
	uint8_t status;
};

struct pit {
	struct pit_channel channel[3];
	uint8_t speaker;		/* port 0x61, bits 0..3 as written */
};

#define PIT_NEVER UINT64_MAX

void pit_reset(struct pit *pit);
/* Ports 0x40..0x43 and 0x61. */
uint8_t pit_in(struct pit *pit, uint16_t port, uint64_t now_ns);
void pit_out(struct pit *pit, uint16_t port, uint8_t value, uint64_t now_ns);
/* True when channel 0's output has risen since the last call; several rises are one. */
bool pit_update(struct pit *pit, uint64_t now_ns);
/* When channel 0's output rises next; PIT_NEVER if nothing is programmed. */
uint64_t pit_next_rise(const struct pit *pit, uint64_t now_ns);

#endif
