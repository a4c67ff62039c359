/*
 * mm/base/port.h for hosted programs: a CPU is a thread, a panic ends the program or returns to
 * the test that expects it.
 */
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/host/arena.h"

_Thread_local unsigned port_thread_cpu;
static _Thread_local jmp_buf catcher;
static _Thread_local bool catching, caught;
static _Thread_local char message[256];
static bool show_log;
static void (*at_look)(void);

void port_set_cpu(unsigned cpu) { port_thread_cpu = cpu; }
void port_look_hook(void (*hook)(void)) { at_look = hook; }
void port_log_show(bool show) { show_log = show; }

void port_relax(void)
{
	if (at_look)
		at_look();
	sched_yield();
}

void port_log(const char *format, ...)
{
	va_list arguments;

	if (!show_log)
		return;
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
}

void port_panic(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(message, sizeof(message), format, arguments);
	va_end(arguments);
	if (catching) {
		catching = false;
		caught = true;
		longjmp(catcher, 1);
	}
	fprintf(stderr, "panic: %s\n", message);
	abort();
}

jmp_buf *port_panic_catch(void)
{
	catching = true;
	caught = false;
	return &catcher;
}

bool port_panic_caught(const char *text)
{
	bool as_expected = caught && strstr(message, text);

	if (!as_expected)
		fprintf(stderr, "expected a panic with \"%s\", found %s\n", text,
			caught ? message : "none");
	catching = caught = false;
	return as_expected;
}
