/*
 * The 16550A's registers: National Semiconductor PC16550D data sheet. Sending takes no time, so
 * the transmitter is always empty. Called by io.c under the machine's device lock.
 */
#include "guest/machine/uart.h"

#define IER_RECEIVED   0x01
#define IER_EMPTY      0x02
#define IER_LINE       0x04
#define IER_MODEM      0x08
#define IIR_NONE       0x01
#define IIR_EMPTY      0x02
#define IIR_RECEIVED   0x04
#define IIR_LINE       0x06
#define IIR_TIMEOUT    0x0c
#define IIR_MODEM      0x00
#define IIR_FIFOS      0xc0
#define FCR_ENABLE     0x01
#define FCR_CLEAR_IN   0x02
#define LCR_DIVISOR    0x80
#define LSR_READY      0x01
#define LSR_OVERRUN    0x02
#define LSR_EMPTY      0x60		/* THRE and TEMT */
#define MCR_OUT2       0x08
#define MCR_LOOP       0x10
#define MSR_LINES      0xb0		/* nothing in the way: CTS, DSR, DCD */
#define MSR_DELTA_RI   0x04

void uart_reset(struct uart *uart)
{
	*uart = (struct uart){ .put = uart->put, .context = uart->context, .lcr = 0x03,
			       .divisor = { 12, 0 } };
}

static unsigned depth(const struct uart *uart)
{
	return uart->fcr & FCR_ENABLE ? UART_FIFO : 1;
}

bool uart_can_receive(const struct uart *uart)
{
	return uart->count < depth(uart) && !(uart->mcr & MCR_LOOP);
}

static void store(struct uart *uart, uint8_t byte)
{
	if (uart->count == depth(uart)) {
		uart->overrun = true;
		/* Without FIFOs the new byte replaces the old one; a full FIFO keeps what it has.
		 */
		if (uart->fcr & FCR_ENABLE)
			return;
		uart->count = 0;
	}
	uart->fifo[(uart->first + uart->count++) % UART_FIFO] = byte;
}

void uart_receive(struct uart *uart, uint8_t byte)
{
	if (!(uart->mcr & MCR_LOOP))
		store(uart, byte);
}

/* MSR bits 4..7. In loopback RTS, DTR, OUT1 and OUT2 come back as CTS, DSR, RI and DCD. */
static uint8_t modem_lines(const struct uart *uart)
{
	uint8_t mcr = uart->mcr;

	if (!(mcr & MCR_LOOP))
		return MSR_LINES;
	return (uint8_t)((mcr & 0x02) << 3 | (mcr & 0x01) << 5 | (mcr & 0x04) << 4 |
			 (mcr & 0x08) << 4);
}

static unsigned trigger_level(const struct uart *uart)
{
	static const uint8_t levels[] = { 1, 4, 8, 14 };

	return uart->fcr & FCR_ENABLE ? levels[uart->fcr >> 6] : 1;
}

/* The highest of the enabled causes. */
static uint8_t cause(const struct uart *uart)
{
	if ((uart->ier & IER_LINE) && uart->overrun)
		return IIR_LINE;
	if ((uart->ier & IER_RECEIVED) && uart->count >= trigger_level(uart))
		return IIR_RECEIVED;
	/* Fewer bytes than the trigger wait for four characters' time: here, for none. */
	if ((uart->ier & IER_RECEIVED) && uart->count)
		return IIR_TIMEOUT;
	if ((uart->ier & IER_EMPTY) && uart->transmit_empty_raised)
		return IIR_EMPTY;
	if ((uart->ier & IER_MODEM) && uart->modem_delta)
		return IIR_MODEM;
	return IIR_NONE;
}

bool uart_interrupt(const struct uart *uart)
{
	/* A PC wires the interrupt through OUT2, a pin that loopback holds inactive. */
	return (uart->mcr & (MCR_OUT2 | MCR_LOOP)) == MCR_OUT2 && cause(uart) != IIR_NONE;
}

static uint8_t read_byte(struct uart *uart)
{
	uint8_t byte = uart->fifo[uart->first];

	if (!uart->count)
		return 0;
	uart->first = (uart->first + 1) % UART_FIFO;
	uart->count--;
	return byte;
}

static uint8_t read_cause(struct uart *uart)
{
	uint8_t found = cause(uart);

	if (found == IIR_EMPTY)
		uart->transmit_empty_raised = false;
	return uart->fcr & FCR_ENABLE ? found | IIR_FIFOS : found;
}

static uint8_t read_line_status(struct uart *uart)
{
	uint8_t status = LSR_EMPTY;

	if (uart->count)
		status |= LSR_READY;
	if (uart->overrun)
		status |= LSR_OVERRUN;
	uart->overrun = false;
	return status;
}

static uint8_t read_modem_status(struct uart *uart)
{
	uint8_t status = modem_lines(uart) | uart->modem_delta;

	uart->modem_delta = 0;
	return status;
}

uint8_t uart_in(struct uart *uart, unsigned reg)
{
	if (reg < 2 && (uart->lcr & LCR_DIVISOR))
		return uart->divisor[reg];

	switch (reg) {
	case 0: return read_byte(uart);
	case 1: return uart->ier;
	case 2: return read_cause(uart);
	case 3: return uart->lcr;
	case 4: return uart->mcr;
	case 5: return read_line_status(uart);
	case 6: return read_modem_status(uart);
	default: return uart->scratch;
	}
}

static void send(struct uart *uart, uint8_t byte)
{
	uart->transmit_empty_raised = true;
	if (uart->mcr & MCR_LOOP)
		store(uart, byte);
	else
		uart->put(uart->context, byte);
}

static void write_fifo_control(struct uart *uart, uint8_t value)
{
	/* Changing the enable bit empties the FIFOs too. */
	if ((value & FCR_CLEAR_IN) || ((value ^ uart->fcr) & FCR_ENABLE))
		uart->count = 0;
	uart->fcr = value & FCR_ENABLE ? value & (FCR_ENABLE | 0xc8) : 0;
}

static void write_modem_control(struct uart *uart, uint8_t value)
{
	uint8_t before = modem_lines(uart), now;

	uart->mcr = value & 0x1f;
	now = modem_lines(uart);
	/* CTS, DSR and DCD report any change, RI only its trailing edge. */
	uart->modem_delta |= (uint8_t)((before ^ now) >> 4) & (uint8_t)~MSR_DELTA_RI;
	if (before & ~now & 0x40)
		uart->modem_delta |= MSR_DELTA_RI;
}

void uart_out(struct uart *uart, unsigned reg, uint8_t value)
{
	if (reg < 2 && (uart->lcr & LCR_DIVISOR)) {
		uart->divisor[reg] = value;
		return;
	}

	switch (reg) {
	case 0:
		send(uart, value);
		break;
	case 1:
		/* Enabling the cause while the transmitter is empty raises it at once. */
		if (value & ~uart->ier & IER_EMPTY)
			uart->transmit_empty_raised = true;
		uart->ier = value & 0x0f;
		break;
	case 2:
		write_fifo_control(uart, value);
		break;
	case 3:
		uart->lcr = value;
		break;
	case 4:
		write_modem_control(uart, value);
		break;
	case 7:
		uart->scratch = value;
		break;
	default:			/* LSR and MSR: read only */
		break;
	}
}
