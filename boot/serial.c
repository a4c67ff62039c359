/*
 * COM1, a 16550 at 115200 baud, polled. Out: print.c and a guest's raw console. In: the console
 * and a guest's keyboard. A byte that comes in while we send is kept, because the UART holds
 * only 16. A machine without the UART loses the output and has no input, but runs.
 */
#include "boot/boot.h"
#include "boot/insn.h"
#include "boot/parts.h"
#include "mm/base/lock.h"

enum {
	COM1 = 0x3f8,
	UART_DATA = COM1, UART_IER = COM1 + 1, UART_FCR = COM1 + 2, UART_LCR = COM1 + 3,
	UART_MCR = COM1 + 4, UART_LSR = COM1 + 5, UART_SCRATCH = COM1 + 7,
	LCR_8N1 = 0x03, LCR_DIVISOR = 0x80,
	LSR_RECEIVED = 0x01, LSR_CAN_SEND = 0x20, LSR_SENT = 0x40,
	SEND_TRIES = 100000,
	KEPT_MAX = 4096,		/* a power of two */
};

static spinlock_t uart_lock;
static bool present GUARDED_BY(uart_lock);
static uint8_t kept[KEPT_MAX] GUARDED_BY(uart_lock);
static uint32_t kept_in GUARDED_BY(uart_lock), kept_out GUARDED_BY(uart_lock);

void serial_init(void)
{
	spin_lock(&uart_lock);
	outb(UART_SCRATCH, 0x5a);
	present = inb(UART_SCRATCH) == 0x5a && inb(UART_LSR) != 0xff;
	outb(UART_IER, 0);
	outb(UART_LCR, LCR_DIVISOR);
	outb(UART_DATA, 1);		/* 115200 / 1 */
	outb(UART_IER, 0);
	outb(UART_LCR, LCR_8N1);
	outb(UART_FCR, 0x01);		/* FIFO on; what came already stays */
	outb(UART_MCR, 0x03);		/* DTR, RTS */
	spin_unlock(&uart_lock);
}

/* A panic's last words must not wait for a CPU that was stopped with the lock in its hands. */
void serial_force(void)
{
	uart_lock = (spinlock_t){ 0 };
}

static uint8_t poll(void) HOLDS(uart_lock)
{
	uint8_t status = inb(UART_LSR);

	while (status & LSR_RECEIVED) {
		uint8_t byte = inb(UART_DATA);

		if (kept_in - kept_out < KEPT_MAX)
			kept[kept_in++ % KEPT_MAX] = byte;
		status = inb(UART_LSR);
	}
	return status;
}

void serial_put(uint8_t byte)
{
	spin_lock(&uart_lock);
	for (unsigned i = 0; present && i < SEND_TRIES; i++)
		if (poll() & LSR_CAN_SEND) {
			outb(UART_DATA, byte);
			break;
		}
	spin_unlock(&uart_lock);
}

void serial_flush(void)
{
	for (unsigned i = 0; i < SEND_TRIES; i++)
		if (inb(UART_LSR) & LSR_SENT)
			return;
}

int serial_get(void)
{
	int byte = -1;

	spin_lock(&uart_lock);
	if (present)
		(void)poll();
	if (kept_in != kept_out)
		byte = kept[kept_out++ % KEPT_MAX];
	spin_unlock(&uart_lock);
	return byte;
}
