/*
 * A 16550A serial port. A model without a machine: the owner calls in and out, passes received
 * bytes in and looks at the interrupt line afterwards. The owner's lock is held around each call.
 */
#ifndef GUEST_MACHINE_UART_H
#define GUEST_MACHINE_UART_H

#include <stdbool.h>
#include <stdint.h>

enum { UART_FIFO = 16 };

struct uart {
	void (*put)(void *context, uint8_t byte);	/* where a sent byte goes */
	void *context;
	uint8_t ier, fcr, lcr, mcr, scratch, divisor[2];
	uint8_t modem_delta;				/* MSR bits 0..3 */
	bool overrun, transmit_empty_raised;
	uint8_t fifo[UART_FIFO];
	unsigned first, count;				/* received, not read yet */
};

void uart_reset(struct uart *uart);			/* keeps put and context */
uint8_t uart_in(struct uart *uart, unsigned reg);	/* reg 0..7 */
void uart_out(struct uart *uart, unsigned reg, uint8_t value);
bool uart_can_receive(const struct uart *uart);
/* A byte from the line; one too many is lost, as the hardware loses it (LSR.OE). */
void uart_receive(struct uart *uart, uint8_t byte);
bool uart_interrupt(const struct uart *uart);

#endif
