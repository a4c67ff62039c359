/*
 * What each CPU has of its own; GS points to it. Written by its CPU alone, but for the words that
 * are atomic.
 */
#ifndef BOOT_CPU_H
#define BOOT_CPU_H

#include "boot/boot.h"

/* SDM "Task-State Segment (TSS) in 64-bit Mode". */
struct tss {
	uint32_t reserved;
	uint64_t rsp[3], reserved2, ist[7], reserved3;
	uint16_t reserved4, io_map;
} __attribute__((packed));

enum { IST_NONE, IST_NMI, IST_DOUBLE_FAULT, IST_MACHINE_CHECK };

struct cpu {
	struct cpu *self;		/* at GS:0 */
	unsigned number;
	uint32_t apic_id;
	struct tss tss;
	uint64_t gdt[5];
	atomic64_t nmis, ticks, calls;	/* that arrived: NMIs, timer interrupts, cpu_call()s */
	atomic64_t call;		/* a struct cpu_call that another CPU waits for */
	atomic32_t online;
	bool idle;			/* task.c's, under its lock: asleep, or about to be */
	uint8_t recovered_vector;	/* of the last try_...() that failed */
	uint64_t recovered_error;
};

extern struct cpu cpus[MAX_CPUS];

static inline struct cpu *this_cpu(void)
{
	struct cpu *cpu;

	/* Not volatile: it never changes for whoever runs. */
	__asm__("mov %%gs:0, %0" : "=r"(cpu));
	return cpu;
}

/* GS, GDT, TSS, IDT and control registers of the CPU that calls. Its stacks are mapped later. */
void cpu_setup(struct cpu *cpu);
/* Sleeps, interrupts on, until one comes; at most `microseconds` (0: no limit). */
void cpu_sleep(uint64_t microseconds);

#endif
