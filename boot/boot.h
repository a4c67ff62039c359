/*
 * The image's own services, for everything above the layers: the console, CPUs, tasks, power.
 */
#ifndef BOOT_BOOT_H
#define BOOT_BOOT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mm/mm.h"

/* ------------------------------------------------------------------ print.c */

/* printf's %c %s %d %u %x %p with -, 0, width, precision, l, ll, z; to COM1. A call is not torn apart by other CPUs. */
void print(const char *format, ...) __attribute__((format(printf, 1, 2)));
int format_text(char *into, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));
int format_text_v(char *into, size_t size, const char *format, va_list arguments);

/* ------------------------------------------------------------------ serial.c */

void serial_put(uint8_t byte);
int serial_get(void);			/* next byte typed, or -1 */

/* ------------------------------------------------------------------ cpu.c, smp.c */

unsigned cpu_count(void);		/* CPUs that run, numbered 0.. */
/* Runs function(argument) once on that CPU, there and then (by IPI); returns when it is done. */
void cpu_call(unsigned cpu, void (*function)(void *argument), void *argument);
void cpu_send_nmi(unsigned cpu);
uint64_t cpu_nmi_count(unsigned cpu);	/* NMIs that arrived in the host on that CPU */
uint64_t tsc_hz(void);
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
	struct task *next;		/* task.c's */
	bool done;
};

void task_start(struct task *task);
/* Runs tasks on this CPU too until `task` is done. */
void task_wait(struct task *task);

/* ------------------------------------------------------------------ machine-wide */

struct host *boot_host(void);		/* the host that owns this machine's free RAM */
const char *boot_command_line(void);

struct boot_module { const char *name; const void *bytes; uint64_t size; };
unsigned boot_module_count(void);
const struct boot_module *boot_module(unsigned i);

/* power.c: ends the emulator, or halts a real machine. Status 0: well. */
_Noreturn void power_off(int status);

#endif
