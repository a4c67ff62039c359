/*
 * The keyboard controller of a machine without a keyboard: it answers its own commands, and what
 * is sent to the keyboard times out. The owner's lock is held around each call.
 */
#ifndef GUEST_MACHINE_I8042_H
#define GUEST_MACHINE_I8042_H

#include <stdbool.h>
#include <stdint.h>

struct i8042 {
	uint8_t command_byte, status, output;
	uint8_t expects;		/* the command whose data byte comes next; 0: none */
};

void i8042_reset(struct i8042 *kbc);
/* Ports 0x60 and 0x64. */
uint8_t i8042_in(struct i8042 *kbc, uint16_t port);
/* True when the write pulses the machine's reset line. */
bool i8042_out(struct i8042 *kbc, uint16_t port, uint8_t value);
bool i8042_interrupt(const struct i8042 *kbc);	/* IRQ 1 */

#endif
