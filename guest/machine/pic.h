/*
 * The PC's pair of 8259A interrupt controllers, the second one on the first one's input 2. The
 * owner sets the 16 input lines and asks for the vector; its lock is held around each call.
 */
#ifndef GUEST_MACHINE_PIC_H
#define GUEST_MACHINE_PIC_H

#include <stdbool.h>
#include <stdint.h>

struct pic_chip {
	uint8_t lines;			/* the inputs as they are now */
	uint8_t irr, isr, imr;
	uint8_t level_triggered;	/* ELCR: one bit an input */
	uint8_t base;			/* vector of input 0 */
	uint8_t lowest;			/* the input of lowest priority; 7 after reset */
	uint8_t init_step;		/* the ICW that the next data write is; 0: none */
	bool needs_icw4, single, auto_eoi, rotate_on_auto_eoi, fully_nested;
	bool special_mask, poll, read_isr;
};

struct pic { struct pic_chip chip[2]; };	/* [0] master, [1] slave */

void pic_reset(struct pic *pic);
/* Ports 0x20, 0x21, 0xa0, 0xa1 and the edge/level registers 0x4d0, 0x4d1. */
uint8_t pic_in(struct pic *pic, uint16_t port);
void pic_out(struct pic *pic, uint16_t port, uint8_t value);
void pic_set_line(struct pic *pic, unsigned irq, bool level);
bool pic_pending(struct pic *pic);
/* The interrupt acknowledge cycle: the vector, IR7's when the request is gone. */
uint8_t pic_acknowledge(struct pic *pic);

#endif
