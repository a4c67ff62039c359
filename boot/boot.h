/*
 * The image's own services, for everything above the layers: the console, CPUs, tasks, power.
 */
#ifndef BOOT_BOOT_H
#define BOOT_BOOT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mm/base/atomic.h"
#include "mm/mm.h"

/* ------------------------------------------------------------------ print.c */

/*
 * printf's %c %s %d %u %x %p with -, 0, width, precision, l, ll, z; to COM1. A call is not torn
 * apart by other CPUs.
 */
void print(const char *format, ...) __attribute__((format(printf, 1, 2)));
void print_v(const char *format, va_list arguments);
/* Like snprintf: at most size bytes with the final 0; returns the length of the whole text. */
int format_text(char *into, size_t size, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
int format_text_v(char *into, size_t size, const char *format, va_list arguments);

/* ------------------------------------------------------------------ serial.c */

void serial_put(uint8_t byte);
int serial_get(void);			/* next byte typed, or -1 */

/* ------------------------------------------------------------------ cpu.c, smp.c */

unsigned cpu_count(void);		/* CPUs that run, numbered 0.. */
unsigned cpu_number(void);		/* this one */
/*
 * Runs function(argument) once on that CPU, interrupts off, and returns when it is done. A CPU
 * that idles does it there and then, by IPI; one that runs a task's step when the step is over,
 * or at its next VM exit.
 * The caller does what others ask of it meanwhile.
 */
void cpu_call(unsigned cpu, void (*function)(void *argument), void *argument);
void cpu_send_nmi(unsigned cpu);
uint64_t cpu_nmi_count(unsigned cpu);	/* NMIs that arrived in the host on that CPU */
uint64_t tsc_hz(void);
void delay_us(uint64_t microseconds);	/* spins */
static inline uint64_t tsc_now(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high) :: "memory");
	return (uint64_t)high << 32 | low;
}

/* ------------------------------------------------------------------ task.c */

/*
 * Cooperative tasks on all CPUs: step() does a little work and returns. A task without a home runs
 * on whichever CPU is free next, so its vCPU moves between CPUs.
 */
enum task_result { TASK_AGAIN, TASK_IDLE, TASK_DONE };	/* IDLE: nothing to do just now */
enum { TASK_ANYWHERE = -1 };

struct task {
	const char *name;
	enum task_result (*step)(struct task *task);
	int home;			/* a CPU, or TASK_ANYWHERE */
	/* task.c's own: zero at first. */
	struct task *next;
	uint64_t not_before;		/* TSC: rests until then */
	unsigned cpu, stint;		/* ran last on that CPU, so many steps; 0: handed on */
	atomic32_t done;
};

/* The task is the caller's, to keep until it is done; a done one may be started again. Any CPU. */
void task_start(struct task *task);
/* Runs tasks on this CPU too until `task` is done. Not from within a step. */
void task_wait(struct task *task);
/* One step of some task on this CPU, or, when none is ready, sleeps for `microseconds` at most. */
void task_turn(uint64_t microseconds);
/* What CPUs other than the first do for ever. */
_Noreturn void task_loop(void);

/* ------------------------------------------------------------------ machine-wide */

struct host *boot_host(void);		/* the host that owns this machine's free RAM */
bool boot_has_vmx(void);		/* VMX is on, on every CPU */
const char *boot_command_line(void);

struct boot_module { const char *name; const void *bytes; uint64_t size; };
unsigned boot_module_count(void);
const struct boot_module *boot_module(unsigned i);

/* power.c: ends the emulator, or halts a real machine. Status 0: well. */
_Noreturn void power_off(int status);

#endif
