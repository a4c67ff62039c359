/*
 * The inside of a machine. Internal to guest/machine.
 *
 * Locks: `lock` guards the devices and what stands with them; it is a leaf, taken for one register
 * access at a time, and never held while guest memory is touched. A virtual_cpu belongs to the CPU
 * that runs it; its `state` is the door through which others hand it over.
 */
#ifndef GUEST_MACHINE_PARTS_H
#define GUEST_MACHINE_PARTS_H

#include "guest/machine/i8042.h"
#include "guest/machine/machine.h"
#include "guest/machine/pci.h"
#include "guest/machine/pic.h"
#include "guest/machine/pit.h"
#include "guest/machine/rtc.h"
#include "guest/machine/uart.h"
#include "mm/base/lock.h"

/* WAITING: not started. TAKEN: another vCPU is setting it up. DEAD: halted, and nothing can wake
 * it. */
enum cpu_state { CPU_WAITING, CPU_TAKEN, CPU_RUNNING, CPU_HALTED, CPU_DEAD };

struct virtual_cpu {
	struct vcpu_turn turn;			/* first: cpu_of */
	struct vcpu *vcpu;
	struct machine *machine;
	struct ept_ring *ring;			/* of what it stores to; NULL: none */
	unsigned number;
	atomic32_t state;			/* enum cpu_state */
	atomic64_t fault_ticks;			/* in ept_fault, by its TSC, of one fault in */
#define FAULTS_TIMED 64				/* so many */
	uint64_t task_priority;			/* CR8 */
};

static inline struct virtual_cpu *cpu_of(struct vcpu_turn *turn)
{
	return (struct virtual_cpu *)turn;
}

/*
 * machine_run looks up from its guest after this exit, or the next: something has changed. Any
 * CPU.
 */
static inline void look_up(struct virtual_cpu *cpu) { atomic_write(&cpu->turn.until, 0); }

enum { REGIONS_OF_MACHINE = 2, RAM_RANGES = 3, MSRS_LISTED = 16 };

/* CPUID's answers. A leaf's own, or of its first subleaves (cpuid.c); the others' are zeros. */
struct cpuid { uint32_t eax, ebx, ecx, edx; };
enum { CPUID_BASIC = 0xd + 1, CPUID_SIGNATURE = 2, CPUID_EXTENDED = 8 + 1, CPUID_SUBLEAVES = 8 };
struct cpuid_leaf {
	struct cpuid answer;
	uint16_t subleaves;			/* that it has, in this row of the table; 0: none */
	uint8_t row;
	bool varies;				/* something of it is the vCPU's own */
	bool plain;				/* neither: `answer` is all */
};
struct cpuid_table {
	struct cpuid_leaf basic[CPUID_BASIC], signature[CPUID_SIGNATURE], extended[CPUID_EXTENDED];
	struct cpuid subleaf[3][CPUID_SUBLEAVES];
};

struct machine_msr { uint32_t number; uint64_t reads, writes; };

struct machine {
	const char *name;
	struct host *host;
	struct space *space;
	struct ept *ept;
	struct vm *vm;
	unsigned order;				/* of the folio that holds this struct */

	/* Fixed after creation. */
	unsigned memory_count, ram_count, cpu_count;
	struct machine_memory memory[REGIONS_OF_MACHINE];
	struct load_memory ram[RAM_RANGES];	/* what the guest is told of */
	struct machine_console console;
	struct cpuid_table cpuid;
	uint64_t start_tsc;			/* the guest's TSC and its clock begin here */

	/* The end: claimed by the first that wants it, then published. */
	atomic32_t end_claimed, ended;
	struct machine_status status;		/* valid once `ended` is set */

	/* vCPU 0 looks at the devices when one of these says so; who sets the first has it look. */
	atomic32_t attention;
	atomic64_t next_look;			/* TSC */
	uint64_t look_ns;			/* the console's input is asked for so often */
	atomic32_t interrupt_pending;		/* the PIC wants vCPU 0 */

	spinlock_t lock;			/* guards the rest, up to cpu */
	struct uart uart;
	struct pic pic;
	struct pit pit;
	struct rtc rtc;
	struct i8042 i8042;
	struct pci pci;
	struct machine_unclaimed unclaimed;
	struct machine_msr msrs[MSRS_LISTED];
	unsigned msr_count;

	struct virtual_cpu cpu[MACHINE_VCPUS_MAX];
};

/* machine.c: ends the VM; the first reason stands. */
void machine_end(struct machine *machine, enum machine_end end, uint32_t code, const char *format,
		 ...) __attribute__((format(printf, 4, 5)));
/* Nanoseconds of guest time. */
uint64_t machine_now(const struct machine *machine);
uint64_t machine_ns_to_ticks(uint64_t ns);

/* devices.c */
void devices_reset(struct machine *machine, uint64_t unix_time, uint64_t ram_kib);
/* Lets time pass for the devices, and says again whether an interrupt is pending. */
void devices_look(struct machine *machine);
uint8_t devices_acknowledge(struct machine *machine);
uint32_t port_read(struct machine *machine, uint16_t port, unsigned size);
void port_write(struct machine *machine, uint16_t port, uint32_t value, unsigned size);

/* One kind of exit each. */
vcpu_answer answer_cpuid, answer_rdmsr, answer_wrmsr;	/* cpuid.c, msr.c */
/* string.c: leaves RIP where it must be. */
void answer_string_io(struct machine *machine, struct virtual_cpu *cpu,
		      const struct vcpu_exit *exit);

/* cpuid.c: makes the table that answer_cpuid reads. The machine has its vCPUs. */
void cpuid_make_table(struct machine *machine);
/* The features in XCR0 that the guest may have. */
uint32_t cpuid_xcr0(const struct machine *machine);

/* Exceptions that the answers raise. SDM "Exception and Interrupt Reference". */
enum { VECTOR_UD = 6, VECTOR_SS = 12, VECTOR_GP = 13, VECTOR_PF = 14 };

static inline enum vcpu_go raise(struct virtual_cpu *cpu, uint8_t vector, int64_t error_code)
{
	vcpu_inject_exception(cpu->vcpu, vector, error_code);
	return VCPU_AGAIN;
}

static inline uint64_t read_tsc(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high) :: "memory");
	return (uint64_t)high << 32 | low;
}

#endif
