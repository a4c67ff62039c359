/*
 * Intel 8042 as IBM's AT programs it: IBM PC AT Technical Reference, "Keyboard Controller". One
 * port, nothing attached. Called under the device lock.
 */
#include "guest/machine/i8042.h"

#define STATUS_OUTPUT_FULL 0x01
#define STATUS_SYSTEM      0x04
#define STATUS_COMMAND     0x08
#define STATUS_UNLOCKED    0x10
#define STATUS_TIMEOUT     0x40

#define BYTE_INTERRUPT     0x01
#define BYTE_SYSTEM        0x04
#define BYTE_DISABLED      0x10

void i8042_reset(struct i8042 *kbc)
{
	*kbc = (struct i8042){ .command_byte = BYTE_SYSTEM | BYTE_DISABLED,
			       .status = STATUS_SYSTEM | STATUS_UNLOCKED };
}

static void answer(struct i8042 *kbc, uint8_t value)
{
	kbc->output = value;
	kbc->status |= STATUS_OUTPUT_FULL;
	kbc->status &= (uint8_t)~STATUS_TIMEOUT;
}

static bool command(struct i8042 *kbc, uint8_t value)
{
	kbc->status |= STATUS_COMMAND;
	kbc->expects = 0;
	switch (value) {
	case 0x20:			/* read the command byte */
		answer(kbc, kbc->command_byte);
		break;
	case 0x60:			/* write the command byte */
	case 0xd1:			/* write the output port */
		kbc->expects = value;
		break;
	case 0xaa:			/* self test: passed */
		kbc->command_byte |= BYTE_SYSTEM;
		answer(kbc, 0x55);
		break;
	case 0xab:			/* interface test: no error */
		answer(kbc, 0x00);
		break;
	case 0xad:
		kbc->command_byte |= BYTE_DISABLED;
		break;
	case 0xae:
		kbc->command_byte &= (uint8_t)~BYTE_DISABLED;
		break;
	case 0xc0:			/* input port: not locked */
		answer(kbc, 0x80);
		break;
	case 0xd0:			/* output port: A20 open, no reset */
		answer(kbc, 0x03);
		break;
	default:			/* 0xf0..0xff pulse output lines low; line 0 is reset */
		return value >= 0xf0 && !(value & 1);
	}
	return false;
}

static bool data(struct i8042 *kbc, uint8_t value)
{
	uint8_t expects = kbc->expects;

	kbc->status &= (uint8_t)~STATUS_COMMAND;
	kbc->expects = 0;
	if (expects == 0xd1)
		return !(value & 1);
	if (expects == 0x60) {
		kbc->command_byte = value;
		return false;
	}
	/* To the keyboard: nobody answers. The controller says so with 0xfe and the timeout bit. */
	answer(kbc, 0xfe);
	kbc->status |= STATUS_TIMEOUT;
	return false;
}

uint8_t i8042_in(struct i8042 *kbc, uint16_t port)
{
	if (port == 0x64)
		return kbc->status;
	kbc->status &= (uint8_t)~(STATUS_OUTPUT_FULL | STATUS_TIMEOUT);
	return kbc->output;
}

bool i8042_out(struct i8042 *kbc, uint16_t port, uint8_t value)
{
	return port == 0x64 ? command(kbc, value) : data(kbc, value);
}

bool i8042_interrupt(const struct i8042 *kbc)
{
	return (kbc->status & STATUS_OUTPUT_FULL) && (kbc->command_byte & BYTE_INTERRUPT);
}
