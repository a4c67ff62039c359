/* The device models of the guest's PC, register by register. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "guest/machine/i8042.h"
#include "guest/machine/pci.h"
#include "guest/machine/pic.h"
#include "guest/machine/pit.h"
#include "guest/machine/rtc.h"
#include "guest/machine/uart.h"

#define SECOND UINT64_C(1000000000)

/* ------------------------------------------------------------------ UART */

struct line { char sent[64]; unsigned count; };

static void put_line(void *context, uint8_t byte)
{
	struct line *line = context;

	line->sent[line->count++ % sizeof(line->sent)] = (char)byte;
}

static struct uart make_uart(struct line *line)
{
	struct uart uart = { .put = put_line, .context = line };

	uart_reset(&uart);
	return uart;
}

static void test_uart_sends(void **state)
{
	struct line line = { 0 };
	struct uart uart = make_uart(&line);

	(void)state;
	uart_out(&uart, 3, 0x83);
	uart_out(&uart, 0, 1);
	uart_out(&uart, 1, 2);
	assert_int_equal(uart_in(&uart, 0), 1);
	assert_int_equal(uart_in(&uart, 1), 2);
	uart_out(&uart, 3, 0x03);
	assert_int_equal(uart_in(&uart, 1), 0);
	assert_int_equal(line.count, 0);
	uart_out(&uart, 0, 'h');
	uart_out(&uart, 0, 'i');
	assert_memory_equal(line.sent, "hi", 2);
	assert_int_equal(uart_in(&uart, 5), 0x60);
	uart_out(&uart, 7, 0x5a);
	assert_int_equal(uart_in(&uart, 7), 0x5a);
}

static void test_uart_receives(void **state)
{
	struct line line = { 0 };
	struct uart uart = make_uart(&line);

	(void)state;
	/* Without FIFOs: one byte, then overrun, and the newer one stays. */
	uart_receive(&uart, 'a');
	assert_false(uart_can_receive(&uart));
	uart_receive(&uart, 'b');
	assert_int_equal(uart_in(&uart, 5), 0x63);
	assert_int_equal(uart_in(&uart, 5), 0x61);
	assert_int_equal(uart_in(&uart, 0), 'b');
	assert_int_equal(uart_in(&uart, 5), 0x60);

	uart_out(&uart, 2, 0x01);
	for (unsigned i = 0; i < UART_FIFO; i++) {
		assert_true(uart_can_receive(&uart));
		uart_receive(&uart, (uint8_t)(100 + i));
	}
	assert_false(uart_can_receive(&uart));
	uart_receive(&uart, 1);
	assert_int_equal(uart_in(&uart, 5) & 3, 3);
	for (unsigned i = 0; i < UART_FIFO; i++)
		assert_int_equal(uart_in(&uart, 0), 100 + i);
	assert_int_equal(uart_in(&uart, 0), 0);
	uart_receive(&uart, 9);
	uart_out(&uart, 2, 0x03);
	assert_int_equal(uart_in(&uart, 5) & 1, 0);
}

static void test_uart_interrupts(void **state)
{
	struct line line = { 0 };
	struct uart uart = make_uart(&line);

	(void)state;
	uart_out(&uart, 1, 0x02);
	assert_false(uart_interrupt(&uart));	/* OUT2 is off */
	uart_out(&uart, 4, 0x08);
	assert_true(uart_interrupt(&uart));
	assert_int_equal(uart_in(&uart, 2), 0x02);
	assert_false(uart_interrupt(&uart));	/* reading the cause clears it */
	assert_int_equal(uart_in(&uart, 2), 0x01);
	uart_out(&uart, 0, 'x');
	assert_true(uart_interrupt(&uart));

	uart_out(&uart, 1, 0x01);
	uart_out(&uart, 2, 0x41);		/* trigger: 4 bytes */
	uart_receive(&uart, 'a');
	assert_int_equal(uart_in(&uart, 2), 0xcc);
	for (unsigned i = 0; i < 3; i++)
		uart_receive(&uart, 'a');
	assert_int_equal(uart_in(&uart, 2), 0xc4);
	uart_out(&uart, 1, 0x05);
	for (unsigned i = 0; i < 13; i++)
		uart_receive(&uart, 'a');
	assert_int_equal(uart_in(&uart, 2), 0xc6);
}

static void test_uart_loopback(void **state)
{
	struct line line = { 0 };
	struct uart uart = make_uart(&line);

	(void)state;
	assert_int_equal(uart_in(&uart, 6), 0xb0);
	uart_out(&uart, 4, 0x1a);		/* loop, OUT2, RTS */
	assert_int_equal(uart_in(&uart, 6) & 0xf0, 0x90);
	uart_out(&uart, 0, 0x42);
	assert_int_equal(line.count, 0);
	assert_int_equal(uart_in(&uart, 0), 0x42);
	uart_receive(&uart, 1);			/* the line is cut off */
	assert_int_equal(uart_in(&uart, 5) & 1, 0);
	(void)uart_in(&uart, 6);
	uart_out(&uart, 4, 0x18);		/* RTS falls: CTS has changed */
	assert_int_equal(uart_in(&uart, 6), 0x81);
	assert_int_equal(uart_in(&uart, 6), 0x80);
}

/* ------------------------------------------------------------------ PIC */

static struct pic make_pic(void)
{
	struct pic pic;

	pic_reset(&pic);
	for (unsigned i = 0; i < 2; i++) {
		uint16_t port = i ? 0xa0 : 0x20;

		pic_out(&pic, port, 0x11);
		pic_out(&pic, port + 1, i ? 0x28 : 0x20);
		pic_out(&pic, port + 1, i ? 2 : 4);
		pic_out(&pic, port + 1, 1);
	}
	return pic;
}

static void pulse(struct pic *pic, unsigned irq)
{
	pic_set_line(pic, irq, false);
	pic_set_line(pic, irq, true);
}

static void test_pic_priorities(void **state)
{
	struct pic pic = make_pic();

	(void)state;
	assert_false(pic_pending(&pic));
	pulse(&pic, 4);
	pulse(&pic, 1);
	assert_int_equal(pic_acknowledge(&pic), 0x21);
	assert_false(pic_pending(&pic));	/* 4 is below what is in service */
	pulse(&pic, 0);
	assert_int_equal(pic_acknowledge(&pic), 0x20);
	pic_out(&pic, 0x20, 0x0b);
	assert_int_equal(pic_in(&pic, 0x20), 0x03);
	pic_out(&pic, 0x20, 0x20);		/* ends 0 */
	assert_false(pic_pending(&pic));
	pic_out(&pic, 0x20, 0x61);		/* ends 1, by its number */
	assert_int_equal(pic_acknowledge(&pic), 0x24);
	pic_out(&pic, 0x20, 0x20);
	assert_int_equal(pic_in(&pic, 0x20), 0);
}

static void test_pic_masks(void **state)
{
	struct pic pic = make_pic();

	(void)state;
	pic_out(&pic, 0x21, 0x10);
	assert_int_equal(pic_in(&pic, 0x21), 0x10);
	pulse(&pic, 4);
	assert_false(pic_pending(&pic));
	assert_int_equal(pic_in(&pic, 0x20), 0x10);
	pic_out(&pic, 0x21, 0);
	assert_true(pic_pending(&pic));
	/* A request that is gone at the acknowledge is spurious: IR7, and nothing is in service. */
	pic_out(&pic, 0x21, 0xff);
	assert_int_equal(pic_acknowledge(&pic), 0x27);
	pic_out(&pic, 0x20, 0x0b);
	assert_int_equal(pic_in(&pic, 0x20), 0);
}

static void test_pic_cascade(void **state)
{
	struct pic pic = make_pic();

	(void)state;
	pulse(&pic, 12);
	pulse(&pic, 8);
	assert_int_equal(pic_acknowledge(&pic), 0x28);
	assert_false(pic_pending(&pic));
	pic_out(&pic, 0xa0, 0x20);
	assert_false(pic_pending(&pic));	/* the master still serves its input 2 */
	pic_out(&pic, 0x20, 0x20);
	assert_int_equal(pic_acknowledge(&pic), 0x2c);
	pic_out(&pic, 0xa0, 0x20);
	pic_out(&pic, 0x20, 0x20);
	assert_false(pic_pending(&pic));
}

static void test_pic_edge_and_level(void **state)
{
	struct pic pic = make_pic();

	(void)state;
	pic_set_line(&pic, 5, true);
	assert_int_equal(pic_acknowledge(&pic), 0x25);
	pic_out(&pic, 0x20, 0x20);
	assert_false(pic_pending(&pic));	/* still high, but no new edge */

	pic_set_line(&pic, 5, false);
	pic_out(&pic, 0x4d0, 0xff);
	assert_int_equal(pic_in(&pic, 0x4d0), 0xf8);
	pic_set_line(&pic, 5, true);
	assert_int_equal(pic_acknowledge(&pic), 0x25);
	pic_out(&pic, 0x20, 0x20);
	assert_true(pic_pending(&pic));
	pic_set_line(&pic, 5, false);
	assert_false(pic_pending(&pic));
}

static void test_pic_modes(void **state)
{
	struct pic pic = make_pic();

	(void)state;
	/* Automatic end of interrupt. */
	pic_out(&pic, 0x20, 0x11);
	pic_out(&pic, 0x21, 0x40);
	pic_out(&pic, 0x21, 4);
	pic_out(&pic, 0x21, 3);
	pulse(&pic, 3);
	assert_int_equal(pic_acknowledge(&pic), 0x43);
	pulse(&pic, 6);
	assert_int_equal(pic_acknowledge(&pic), 0x46);

	/* Rotation: 3 becomes lowest, so 4 is above 0. */
	pic = make_pic();
	pic_out(&pic, 0x20, 0xc3);
	pulse(&pic, 0);
	pulse(&pic, 4);
	assert_int_equal(pic_acknowledge(&pic), 0x24);
	pic_out(&pic, 0x20, 0xa0);		/* ends it, and 4 becomes lowest */
	assert_int_equal(pic.chip[0].lowest, 4);

	/* Special mask: a masked input in service blocks nobody. */
	pic = make_pic();
	pulse(&pic, 1);
	(void)pic_acknowledge(&pic);
	pulse(&pic, 5);
	pic_out(&pic, 0x21, 0x02);
	assert_false(pic_pending(&pic));
	pic_out(&pic, 0x20, 0x68);
	assert_true(pic_pending(&pic));

	/* Poll: a read acknowledges. */
	pic = make_pic();
	pulse(&pic, 6);
	pic_out(&pic, 0x20, 0x0c);
	assert_int_equal(pic_in(&pic, 0x20), 0x86);
	pic_out(&pic, 0x20, 0x0c);
	assert_int_equal(pic_in(&pic, 0x20), 0);
}

/* ------------------------------------------------------------------ PIT */

static uint64_t pit_time(uint64_t ticks) { return ticks * SECOND / PIT_HZ + 1; }

static void program(struct pit *pit, unsigned channel, unsigned mode, uint16_t reload, uint64_t now)
{
	pit_out(pit, 0x43, (uint8_t)(channel << 6 | 0x30 | mode << 1), now);
	pit_out(pit, (uint16_t)(0x40 + channel), (uint8_t)reload, now);
	pit_out(pit, (uint16_t)(0x40 + channel), (uint8_t)(reload >> 8), now);
}

static unsigned latched(struct pit *pit, unsigned channel, uint64_t now)
{
	uint16_t port = (uint16_t)(0x40 + channel);
	unsigned low;

	pit_out(pit, 0x43, (uint8_t)(channel << 6), now);
	low = pit_in(pit, port, now + SECOND);	/* latched: later reads make no difference */
	return low | (unsigned)pit_in(pit, port, now + SECOND) << 8;
}

static void test_pit_periodic(void **state)
{
	struct pit pit;
	unsigned rises = 0;

	(void)state;
	pit_reset(&pit);
	assert_int_equal(pit_next_rise(&pit, 0), PIT_NEVER);
	assert_false(pit_update(&pit, SECOND));
	program(&pit, 0, 2, 1000, 0);
	assert_int_equal(latched(&pit, 0, pit_time(10)), 990);
	assert_int_equal(latched(&pit, 0, pit_time(1010)), 990);
	assert_true(pit_update(&pit, pit_time(1010)));
	assert_false(pit_update(&pit, pit_time(1999)));
	for (uint64_t now = 0; now < SECOND;) {
		now = pit_next_rise(&pit, now);
		rises += pit_update(&pit, now);
		assert_false(pit_update(&pit, now));
	}
	assert_in_range(rises, 1191, 1194);
}

static void test_pit_square_wave(void **state)
{
	struct pit pit;

	(void)state;
	pit_reset(&pit);
	program(&pit, 0, 3, 0, 0);		/* 65536 */
	assert_int_equal(latched(&pit, 0, pit_time(100)), 65536 - 200);
	assert_int_equal(latched(&pit, 0, pit_time(32768 + 100)), 65536 - 200);
	pit_out(&pit, 0x43, 0xe2, pit_time(100));	/* status of channel 0 */
	assert_int_equal(pit_in(&pit, 0x40, 0), 0xb6);
	pit_out(&pit, 0x43, 0xe2, pit_time(40000));
	assert_int_equal(pit_in(&pit, 0x40, 0), 0x36);
	assert_false(pit_update(&pit, pit_time(65535)));
	assert_true(pit_update(&pit, pit_time(65537)));
}

static void test_pit_one_shot(void **state)
{
	struct pit pit;

	(void)state;
	pit_reset(&pit);
	program(&pit, 0, 0, 500, 0);
	assert_int_equal(pit_next_rise(&pit, 0) / 1000, 500 * SECOND / PIT_HZ / 1000);
	assert_false(pit_update(&pit, pit_time(499)));
	assert_true(pit_update(&pit, pit_time(501)));
	assert_int_equal(pit_next_rise(&pit, pit_time(501)), PIT_NEVER);
	assert_int_equal(latched(&pit, 0, pit_time(501)), 65535);
	program(&pit, 0, 4, 500, pit_time(1000));
	assert_false(pit_update(&pit, pit_time(1500)));
	assert_true(pit_update(&pit, pit_time(1502)));
}

/* As TSC calibration uses it: gate up, mode 0, wait for OUT in port 0x61. */
static void test_pit_gate(void **state)
{
	struct pit pit;

	(void)state;
	pit_reset(&pit);
	program(&pit, 2, 0, 1000, 0);		/* the gate is low: nothing counts */
	assert_int_equal(pit_in(&pit, 0x61, pit_time(5000)) & 0x2f, 0);
	pit_out(&pit, 0x61, 1, pit_time(5000));
	assert_int_equal(pit_in(&pit, 0x61, pit_time(5990)) & 0x2f, 0x01);
	pit_out(&pit, 0x61, 0, pit_time(5990));
	assert_int_equal(pit_in(&pit, 0x61, pit_time(9000)) & 0x20, 0);
	pit_out(&pit, 0x61, 1, pit_time(9000));
	assert_int_equal(pit_in(&pit, 0x61, pit_time(9005)) & 0x20, 0);
	assert_int_equal(pit_in(&pit, 0x61, pit_time(9011)) & 0x20, 0x20);
	/* Mode 1 waits for the gate to rise. */
	program(&pit, 2, 1, 100, pit_time(10000));
	assert_int_equal(pit_in(&pit, 0x61, pit_time(20000)) & 0x20, 0x20);
	pit_out(&pit, 0x61, 0, pit_time(20000));
	pit_out(&pit, 0x61, 1, pit_time(20000));
	assert_int_equal(pit_in(&pit, 0x61, pit_time(20050)) & 0x20, 0);
	assert_int_equal(pit_in(&pit, 0x61, pit_time(20101)) & 0x20, 0x20);
}

static void test_pit_access(void **state)
{
	struct pit pit;

	(void)state;
	pit_reset(&pit);
	pit_out(&pit, 0x43, 0x15, 0);		/* channel 0, low byte, mode 2, BCD */
	pit_out(&pit, 0x40, 0x40, 0);
	assert_int_equal(pit_in(&pit, 0x40, pit_time(5)), 0x35);
	pit_out(&pit, 0x43, 0x24, 0);		/* high byte, mode 2 */
	pit_out(&pit, 0x40, 0x10, 0);
	assert_int_equal(pit_in(&pit, 0x40, pit_time(0)), 0x10);
	assert_int_equal(pit_in(&pit, 0x40, pit_time(10)), 0x0f);
	/* Reads alternate low, high; a latch holds both. */
	program(&pit, 0, 2, 0x1234, 0);
	assert_int_equal(pit_in(&pit, 0x40, 0), 0x34);
	assert_int_equal(pit_in(&pit, 0x40, 0), 0x12);
	assert_int_equal(pit_in(&pit, 0x43, 0), 0xff);
}

/* ------------------------------------------------------------------ RTC */

static uint8_t cmos(struct rtc *rtc, uint8_t index, uint64_t now)
{
	rtc_out(rtc, 0x70, index, now);
	return rtc_in(rtc, 0x71, now);
}

static void set_cmos(struct rtc *rtc, uint8_t index, uint8_t value, uint64_t now)
{
	rtc_out(rtc, 0x70, index, now);
	rtc_out(rtc, 0x71, value, now);
}

static void assert_date(struct rtc *rtc, uint64_t now, const uint8_t *expected)
{
	static const uint8_t registers[] = { 0x32, 9, 8, 7, 4, 2, 0, 6 };

	for (unsigned i = 0; i < sizeof(registers); i++)
		assert_int_equal(cmos(rtc, registers[i], now), expected[i]);
}

static void test_rtc_calendar(void **state)
{
	struct rtc rtc;

	(void)state;
	rtc_reset(&rtc, 951782399, 65536);	/* 2000-02-28 23:59:59, a Monday */
	assert_date(&rtc, 0, (uint8_t[]){ 0x20, 0x00, 0x02, 0x28, 0x23, 0x59, 0x59, 0x02 });
	assert_date(&rtc, SECOND, (uint8_t[]){ 0x20, 0x00, 0x02, 0x29, 0, 0, 0, 0x03 });
	assert_date(&rtc, 86401 * SECOND, (uint8_t[]){ 0x20, 0x00, 0x03, 0x01, 0, 0, 0, 0x04 });
	rtc_reset(&rtc, 4102444800 + 13 * 3600, 65536);	/* 2100-01-01 13:00 */
	assert_date(&rtc, 0, (uint8_t[]){ 0x21, 0x00, 0x01, 0x01, 0x13, 0, 0, 0x06 });
	set_cmos(&rtc, 0x0b, 0x04, 0);		/* binary, 12 hours */
	assert_int_equal(cmos(&rtc, 4, 0), 0x81);
	assert_int_equal(cmos(&rtc, 4, 11 * 3600 * SECOND), 12);
	rtc_reset(&rtc, 0, 65536);
	assert_date(&rtc, 0, (uint8_t[]){ 0x19, 0x70, 0x01, 0x01, 0, 0, 0, 0x05 });
}

static void test_rtc_set(void **state)
{
	struct rtc rtc;

	(void)state;
	rtc_reset(&rtc, 0, 65536);
	set_cmos(&rtc, 0x0b, 0x82, SECOND);
	set_cmos(&rtc, 0x32, 0x20, SECOND);
	set_cmos(&rtc, 9, 0x24, SECOND);
	set_cmos(&rtc, 8, 0x12, SECOND);
	set_cmos(&rtc, 7, 0x31, SECOND);
	set_cmos(&rtc, 4, 0x23, SECOND);
	set_cmos(&rtc, 2, 0x59, SECOND);
	set_cmos(&rtc, 0, 0x58, SECOND);
	assert_int_equal(cmos(&rtc, 0, 9 * SECOND), 0x58);	/* stopped while it is set */
	set_cmos(&rtc, 0x0b, 0x02, 9 * SECOND);
	assert_date(&rtc, 10 * SECOND, (uint8_t[]){0x20, 0x24, 0x12, 0x31, 0x23, 0x59, 0x59, 0x03});
	assert_date(&rtc, 11 * SECOND, (uint8_t[]){ 0x20, 0x25, 0x01, 0x01, 0, 0, 0, 0x04 });
}

static void test_rtc_interrupts(void **state)
{
	struct rtc rtc;

	(void)state;
	rtc_reset(&rtc, 0, 65536);
	assert_int_equal(rtc_next_event(&rtc, 0), UINT64_MAX);
	set_cmos(&rtc, 0x0b, 0x12, 0);		/* update */
	assert_int_equal(rtc_next_event(&rtc, 5), SECOND);
	assert_false(rtc_update(&rtc, SECOND - 1));
	assert_true(rtc_update(&rtc, SECOND));
	assert_int_equal(cmos(&rtc, 0x0c, SECOND) & 0x90, 0x90);
	assert_false(rtc_update(&rtc, SECOND + 1));

	set_cmos(&rtc, 0x0b, 0x22, 2 * SECOND);	/* alarm at second 5 of any minute */
	set_cmos(&rtc, 1, 5, 2 * SECOND);
	set_cmos(&rtc, 3, 0xff, 2 * SECOND);
	set_cmos(&rtc, 5, 0xff, 2 * SECOND);
	assert_false(rtc_update(&rtc, 4 * SECOND));
	assert_true(rtc_update(&rtc, 5 * SECOND));
	assert_int_equal(cmos(&rtc, 0x0c, 5 * SECOND) & 0xa0, 0xa0);

	set_cmos(&rtc, 0x0b, 0x42, 6 * SECOND);	/* periodic, 1024 Hz */
	set_cmos(&rtc, 0x0a, 0x26, 6 * SECOND);
	(void)cmos(&rtc, 0x0c, 6 * SECOND);
	assert_false(rtc_update(&rtc, 6 * SECOND));
	assert_in_range(rtc_next_event(&rtc, 6 * SECOND) - 6 * SECOND, 1, 976563);
	assert_true(rtc_update(&rtc, 6 * SECOND + 976563));
	assert_int_equal(cmos(&rtc, 0x0a, 7 * SECOND - 1000) & 0x80, 0x80);
	assert_int_equal(cmos(&rtc, 0x0d, 0), 0x80);
}

static void test_rtc_sizes(void **state)
{
	struct rtc rtc;

	(void)state;
	rtc_reset(&rtc, 0, 65536);
	assert_int_equal(cmos(&rtc, 0x15, 0) | cmos(&rtc, 0x16, 0) << 8, 640);
	assert_int_equal(cmos(&rtc, 0x30, 0) | cmos(&rtc, 0x31, 0) << 8, 64512);
	assert_int_equal(cmos(&rtc, 0x34, 0) | cmos(&rtc, 0x35, 0) << 8, 768);
	set_cmos(&rtc, 0x70, 0x42, 0);
	assert_int_equal(cmos(&rtc, 0x70, 0), 0x42);
}

/* Nothing that a guest writes may make the calendar fail. */
static void test_rtc_garbage(void **state)
{
	struct rtc rtc;
	uint64_t seed = 88172645463325252;

	(void)state;
	rtc_reset(&rtc, 0, 65536);
	for (unsigned i = 0; i < 20000; i++) {
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		set_cmos(&rtc, (uint8_t)(seed >> 8), (uint8_t)seed, i * SECOND);
		(void)cmos(&rtc, (uint8_t)(seed >> 16) % 16, i * SECOND);
		(void)rtc_update(&rtc, i * SECOND);
		assert_true(rtc_next_event(&rtc, i * SECOND) > i * SECOND);
	}
}

/* ------------------------------------------------------------------ i8042, PCI */

static void test_i8042(void **state)
{
	struct i8042 kbc;

	(void)state;
	i8042_reset(&kbc);
	assert_int_equal(i8042_in(&kbc, 0x64) & 1, 0);
	assert_false(i8042_out(&kbc, 0x64, 0xaa));
	assert_int_equal(i8042_in(&kbc, 0x64) & 1, 1);
	assert_int_equal(i8042_in(&kbc, 0x60), 0x55);
	assert_int_equal(i8042_in(&kbc, 0x64) & 1, 0);
	assert_false(i8042_out(&kbc, 0x64, 0x60));
	assert_false(i8042_out(&kbc, 0x60, 0x45));
	assert_false(i8042_interrupt(&kbc));
	assert_false(i8042_out(&kbc, 0x64, 0x20));
	assert_true(i8042_interrupt(&kbc));
	assert_int_equal(i8042_in(&kbc, 0x60), 0x45);
	assert_false(i8042_interrupt(&kbc));
	assert_false(i8042_out(&kbc, 0x60, 0xf4));
	assert_int_equal(i8042_in(&kbc, 0x64) & 0x41, 0x41);
	assert_int_equal(i8042_in(&kbc, 0x60), 0xfe);
	assert_false(i8042_out(&kbc, 0x64, 0xff));
	assert_true(i8042_out(&kbc, 0x64, 0xfe));
	assert_false(i8042_out(&kbc, 0x64, 0xd1));
	assert_false(i8042_out(&kbc, 0x60, 0x03));
	assert_false(i8042_out(&kbc, 0x64, 0xd1));
	assert_true(i8042_out(&kbc, 0x60, 0x02));
}

static void test_pci(void **state)
{
	struct pci pci = { 0 };

	(void)state;
	assert_false(pci_out(&pci, 0xcf8, 0x80001234, 4));
	assert_int_equal(pci_in(&pci, 0xcf8, 4), 0x80001234);
	assert_int_equal(pci_in(&pci, 0xcfc, 4), UINT32_MAX);
	assert_int_equal(pci_in(&pci, 0xcf8, 1) & 0xff, 0xff);
	assert_false(pci_out(&pci, 0xcf8, 0x06, 1));
	assert_false(pci_out(&pci, 0xcf9, 0x06, 2));
	assert_false(pci_out(&pci, 0xcf9, 0x02, 1));
	assert_int_equal(pci_in(&pci, 0xcf9, 1), 0x02);
	assert_int_equal(pci_in(&pci, 0xcf8, 4), 0x80001234);
	assert_true(pci_out(&pci, 0xcf9, 0x06, 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_uart_sends),
		cmocka_unit_test(test_uart_receives),
		cmocka_unit_test(test_uart_interrupts),
		cmocka_unit_test(test_uart_loopback),
		cmocka_unit_test(test_pic_priorities),
		cmocka_unit_test(test_pic_masks),
		cmocka_unit_test(test_pic_cascade),
		cmocka_unit_test(test_pic_edge_and_level),
		cmocka_unit_test(test_pic_modes),
		cmocka_unit_test(test_pit_periodic),
		cmocka_unit_test(test_pit_square_wave),
		cmocka_unit_test(test_pit_one_shot),
		cmocka_unit_test(test_pit_gate),
		cmocka_unit_test(test_pit_access),
		cmocka_unit_test(test_rtc_calendar),
		cmocka_unit_test(test_rtc_set),
		cmocka_unit_test(test_rtc_interrupts),
		cmocka_unit_test(test_rtc_sizes),
		cmocka_unit_test(test_rtc_garbage),
		cmocka_unit_test(test_i8042),
		cmocka_unit_test(test_pci),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
