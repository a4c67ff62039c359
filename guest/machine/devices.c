/*
 * The devices together: which ports are whose, who interrupts by which line, when they have to be
 * looked at again. Any vCPU's I/O exit comes here, so everything is done under the device lock.
 */
#include "guest/machine/parts.h"

#include "guest/abi.h"
#include "vmx/port.h"

enum { IRQ_TIMER = 0, IRQ_KEYBOARD = 1, IRQ_COM1 = 4, IRQ_CLOCK = 8 };

/* The console's input is asked for so often, but emulated, with ticks for instructions, less. */
#define LOOK_NS    UINT64_C(10000000)
#define LOOK_TICKS UINT64_C(100000)

static void put_console(void *context, uint8_t byte)
{
	struct machine *m = context;

	if (m->console.put)
		m->console.put(m->console.context, byte);
}

static uint64_t look_ns(void)
{
	uint64_t emulated = LOOK_TICKS * UINT64_C(1000000000) / port_tsc_hz();

	return emulated > LOOK_NS ? emulated : LOOK_NS;
}

void devices_reset(struct machine *m, uint64_t unix_time, uint64_t ram_kib) NOT_CHECKED
{
	m->uart.put = put_console;
	m->uart.context = m;
	uart_reset(&m->uart);
	pic_reset(&m->pic);
	pit_reset(&m->pit);
	rtc_reset(&m->rtc, unix_time, ram_kib);
	i8042_reset(&m->i8042);
	m->look_ns = look_ns();
	atomic_write(&m->attention, 1);
}

/* ------------------------------------------------------------------ time and interrupts */

static void fetch_console(struct machine *m) HOLDS(m->lock)
{
	while (m->console.get && uart_can_receive(&m->uart)) {
		int byte = m->console.get(m->console.context);

		if (byte < 0)
			break;
		uart_receive(&m->uart, (uint8_t)byte);
	}
}

static uint64_t earliest(uint64_t a, uint64_t b) { return a < b ? a : b; }

void devices_look(struct machine *m)
{
	uint64_t now = machine_now(m), next;

	spin_lock(&m->lock);
	fetch_console(m);
	if (pit_update(&m->pit, now)) {
		pic_set_line(&m->pic, IRQ_TIMER, false);
		pic_set_line(&m->pic, IRQ_TIMER, true);
	}
	pic_set_line(&m->pic, IRQ_KEYBOARD, i8042_interrupt(&m->i8042));
	pic_set_line(&m->pic, IRQ_COM1, uart_interrupt(&m->uart));
	pic_set_line(&m->pic, IRQ_CLOCK, rtc_update(&m->rtc, now));
	next = earliest(pit_next_rise(&m->pit, now), rtc_next_event(&m->rtc, now));
	next = next > now ? earliest(next - now, m->look_ns) : 0;
	atomic_write(&m->next_look, read_tsc() + machine_ns_to_ticks(next));
	atomic_write(&m->interrupt_pending, pic_pending(&m->pic));
	spin_unlock(&m->lock);
}

uint8_t devices_acknowledge(struct machine *m)
{
	uint8_t vector;

	spin_lock(&m->lock);
	vector = pic_acknowledge(&m->pic);
	atomic_write(&m->interrupt_pending, pic_pending(&m->pic));
	spin_unlock(&m->lock);
	return vector;
}

/* ------------------------------------------------------------------ devices behind ports */

static uint32_t uart_port_in(struct machine *m, uint16_t port, unsigned size) HOLDS(m->lock)
{
	(void)size;
	fetch_console(m);
	return uart_in(&m->uart, port & 7);
}

static void uart_port_out(struct machine *m, uint16_t port, uint32_t value, unsigned size)
	HOLDS(m->lock)
{
	(void)size;
	uart_out(&m->uart, port & 7, (uint8_t)value);
}

static uint32_t pic_port_in(struct machine *m, uint16_t port, unsigned size) HOLDS(m->lock)
{
	(void)size;
	return pic_in(&m->pic, port);
}

static void pic_port_out(struct machine *m, uint16_t port, uint32_t value, unsigned size)
	HOLDS(m->lock)
{
	(void)size;
	pic_out(&m->pic, port, (uint8_t)value);
}

static uint32_t pit_port_in(struct machine *m, uint16_t port, unsigned size) HOLDS(m->lock)
{
	(void)size;
	return pit_in(&m->pit, port, machine_now(m));
}

static void pit_port_out(struct machine *m, uint16_t port, uint32_t value, unsigned size)
	HOLDS(m->lock)
{
	(void)size;
	pit_out(&m->pit, port, (uint8_t)value, machine_now(m));
}

static uint32_t rtc_port_in(struct machine *m, uint16_t port, unsigned size) HOLDS(m->lock)
{
	(void)size;
	return rtc_in(&m->rtc, port, machine_now(m));
}

static void rtc_port_out(struct machine *m, uint16_t port, uint32_t value, unsigned size)
	HOLDS(m->lock)
{
	(void)size;
	rtc_out(&m->rtc, port, (uint8_t)value, machine_now(m));
}

static uint32_t i8042_port_in(struct machine *m, uint16_t port, unsigned size) HOLDS(m->lock)
{
	(void)size;
	return i8042_in(&m->i8042, port);
}

static void i8042_port_out(struct machine *m, uint16_t port, uint32_t value, unsigned size)
	HOLDS(m->lock)
{
	(void)size;
	if (i8042_out(&m->i8042, port, (uint8_t)value))
		machine_end(m, END_RESET, 0, "reset by the keyboard controller, port %#x", port);
}

static uint32_t pci_port_in(struct machine *m, uint16_t port, unsigned size) HOLDS(m->lock)
{
	return pci_in(&m->pci, port, size);
}

static void pci_port_out(struct machine *m, uint16_t port, uint32_t value, unsigned size)
	HOLDS(m->lock)
{
	if (pci_out(&m->pci, port, value, size))
		machine_end(m, END_RESET, 0, "reset by port %#x", port);
}

static uint32_t exit_port_in(struct machine *m, uint16_t port, unsigned size)
{
	(void)m, (void)port, (void)size;
	return 0;
}

static void exit_port_out(struct machine *m, uint16_t port, uint32_t value, unsigned size)
{
	uint32_t code = value << 1 | 1;

	(void)port, (void)size;
	machine_end(m, END_EXIT_PORT, code, "exit port, status %u", code);
}

/* ------------------------------------------------------------------ ports */

struct port_range {
	uint16_t first, last;
	bool wide;		/* takes accesses of any size whole; others see them byte by byte */
	uint32_t (*in)(struct machine *m, uint16_t port, unsigned size);
	void (*out)(struct machine *m, uint16_t port, uint32_t value, unsigned size);
};

static const struct port_range ranges[] = {
	{ 0x020, 0x021, false, pic_port_in, pic_port_out },
	{ 0x040, 0x043, false, pit_port_in, pit_port_out },
	{ 0x060, 0x060, false, i8042_port_in, i8042_port_out },
	{ 0x061, 0x061, false, pit_port_in, pit_port_out },
	{ 0x064, 0x064, false, i8042_port_in, i8042_port_out },
	{ 0x070, 0x071, false, rtc_port_in, rtc_port_out },
	{ 0x0a0, 0x0a1, false, pic_port_in, pic_port_out },
	{ ABI_EXIT_PORT, ABI_EXIT_PORT, true, exit_port_in, exit_port_out },
	{ ABI_COM1, ABI_COM1 + 7, false, uart_port_in, uart_port_out },
	{ 0x4d0, 0x4d1, false, pic_port_in, pic_port_out },
	{ 0xcf8, 0xcff, true, pci_port_in, pci_port_out },
};

/* What was accessed may have changed what is pending, or when. */
static void want_look(struct machine *m)
{
	atomic_write(&m->attention, 1);
	look_up(&m->cpu[0]);
}

static const struct port_range *range_of(uint16_t port)
{
	for (unsigned i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++)
		if (port >= ranges[i].first && port <= ranges[i].last)
			return &ranges[i];
	return NULL;
}

static uint32_t read_byte(struct machine *m, uint16_t port) NOT_CHECKED
{
	const struct port_range *range = range_of(port);

	return range ? range->in(m, port, 1) & 0xff : 0xff;
}

uint32_t port_read(struct machine *m, uint16_t port, unsigned size) NOT_CHECKED
{
	const struct port_range *range = range_of(port);
	uint32_t value = UINT32_MAX;

	spin_lock(&m->lock);
	if (!range) {
		m->unclaimed.port_reads++;
	} else if (range->wide) {
		value = range->in(m, port, size);
	} else {
		value = 0;
		for (unsigned i = 0; i < size; i++)
			value |= read_byte(m, (uint16_t)(port + i)) << 8 * i;
	}
	spin_unlock(&m->lock);
	if (range)
		want_look(m);
	return value;
}

static void write_byte(struct machine *m, uint16_t port, uint8_t value) NOT_CHECKED
{
	const struct port_range *range = range_of(port);

	if (range)
		range->out(m, port, value, 1);
}

void port_write(struct machine *m, uint16_t port, uint32_t value, unsigned size) NOT_CHECKED
{
	const struct port_range *range = range_of(port);

	spin_lock(&m->lock);
	if (!range) {
		m->unclaimed.port_writes++;
	} else if (range->wide) {
		range->out(m, port, value, size);
	} else {
		for (unsigned i = 0; i < size; i++)
			write_byte(m, (uint16_t)(port + i), (uint8_t)(value >> 8 * i));
	}
	spin_unlock(&m->lock);
	if (range)
		want_look(m);
}
