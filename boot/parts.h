/*
 * What the files of boot/ offer each other, in the order of main.c. Nothing outside boot/ and the
 * tests of it includes this.
 */
#ifndef BOOT_PARTS_H
#define BOOT_PARTS_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

#include "mm/base/check.h"
#include "mm/mm.h"

struct acpi_cpus;
struct cpu;

/* One sentence on the console, then the end: what this machine lacks. */
_Noreturn void refuse(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Stops every CPU, says why, where and how it came there, ends the emulator with status 1. */
_Noreturn void panic_v(const char *format, va_list arguments);
/* Every loop that waits passes here: a CPU that another one's panic wants still. */
void panic_stop_here(void);

/* start.S */
_Noreturn void boot_main(uint32_t magic, uint32_t start_info);
_Noreturn void stack_switch(uint64_t top, void (*function)(void));

/* serial.c, print.c */
void serial_init(void);
void serial_force(void);
void serial_flush(void);		/* returns when the last byte is out; no lock */
void print_force(void);

/* clock.c */
void clock_calibrate(void);
const char *clock_source(void);
uint64_t clock_measure(void);		/* the TSC's Hz by the PIT; 0 without one */

/* symbols.c: the function that holds the address and the offset in it; NULL when none does. */
const char *symbol_find(uint64_t address, uint64_t *offset);

/* main.c: what ACPI lists */
const struct acpi_cpus *found_cpus(void);

/* smp.c */
_Noreturn void ap_main(struct cpu *cpu);	/* ap_start.S, on the CPU that starts */
/* Does what other CPUs asked this one to do by cpu_call. */
void smp_serve_calls(void);

/* task.c: an idle CPU that has slept enough */
void task_wake(unsigned cpu);

#endif
