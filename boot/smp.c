/*
 * The other CPUs: started one after another by INIT and SIPI (SDM "MP Initialization Protocol
 * Algorithm for MP Systems"), and asked to do things by cpu_call(). Numbers are given in the
 * order in which they come up, so there are no gaps.
 */
#include "boot/acpi.h"
#include "boot/apic.h"
#include "boot/cpu.h"
#include "boot/insn.h"
#include "boot/layout.h"
#include "boot/memory.h"
#include "boot/paging.h"
#include "boot/parts.h"
#include "boot/smp.h"
#include "boot/string.h"
#include "boot/traps.h"

/* The page's last part, as ap_start.S has it. */
struct ap_start_values {
	uint64_t tables, root, stack, entry, cpu;
	uint32_t far_offset, far_selector;
	uint16_t gdt_limit;
	uint32_t gdt_base;
} __attribute__((packed));

extern const uint8_t ap_start[], ap_start_end[], ap_start_values[];
extern void ap_entry(void);

enum { INIT_WAIT_US = 10000, STARTUP_WAIT_US = 200, PATIENCE_US = 2000000 };

/* One CPU asks, another does: lives on the asker's stack until done. */
struct cpu_call {
	void (*function)(void *argument);
	void *argument;
	atomic32_t done;
};

static atomic32_t running = { 1 };	/* CPUs that take part */

/* ------------------------------------------------------------------ calls */

unsigned cpu_count(void)
{
	return atomic_read(&running);
}

void smp_serve_calls(void)
{
	struct cpu *self = this_cpu();
	struct cpu_call *call = (struct cpu_call *)atomic_xchg(&self->call, 0);

	if (!call)
		return;
	atomic_bump(&self->calls, 1);
	call->function(call->argument);
	/* From here on the caller may return, and `call` be gone. */
	atomic_write(&call->done, 1);
}

/*
 *	caller					the CPU
 *	------					-------
 *	call = &mine  (when it was 0)
 *	IPI					mine = xchg(call, 0), from the IPI or task_turn()
 *	while !done: serve own calls		function, done = 1
 *
 * Two CPUs that call each other both get served.
 */
void cpu_call(unsigned number, void (*function)(void *argument), void *argument)
{
	struct cpu_call call = { .function = function, .argument = argument };
	struct cpu *cpu = &cpus[number];
	uint64_t none = 0;

	check(number < cpu_count());
	if (cpu == this_cpu()) {
		function(argument);
		return;
	}
	while (!atomic_cmpxchg(&cpu->call, &none, (uint64_t)&call)) {
		none = 0;
		smp_serve_calls();
		port_relax();
	}
	apic_send(cpu->apic_id, VECTOR_CALL);
	while (!atomic_read(&call.done)) {
		smp_serve_calls();
		port_relax();
	}
}

void cpu_send_nmi(unsigned number)
{
	apic_send_nmi(cpus[number].apic_id);
}

uint64_t cpu_nmi_count(unsigned number)
{
	return atomic_read(&cpus[number].nmis);
}

void task_wake(unsigned number)
{
	apic_send(cpus[number].apic_id, VECTOR_WAKE);
}

/* ------------------------------------------------------------------ the start */

/*
 * Tables under which a CPU gets from the low page into the image: the image's own upper half, and
 * the page at its own address, executable, not writable. Below 4 GiB, for real mode's CR3.
 */
static hpa_t build_start_tables(hpa_t page)
{
	static uint64_t tables[4][512] __attribute__((aligned(4096)));
	const uint64_t *root = hpa_to_ptr(paging_root());

	memcpy(&tables[0][256], &root[256], 256 * sizeof(root[0]));
	for (unsigned level = LEVEL_512G, i = 0; level > LEVEL_4K; level--, i++)
		tables[i][level_index(page.raw, level)] =
			((uint64_t)tables[i + 1] - KERNEL_BASE) | PTE_PRESENT | PTE_WRITE;
	tables[3][level_index(page.raw, LEVEL_4K)] = page.raw | PTE_PRESENT;
	return hpa((uint64_t)tables[0] - KERNEL_BASE);
}

static struct ap_start_values *write_start_page(hpa_t page)
{
	uint8_t *at = hpa_to_ptr(page);
	struct ap_start_values *values = (void *)(at + (ap_start_values - ap_start));

	memcpy(at, ap_start, (size_t)(ap_start_end - ap_start));
	values->tables = build_start_tables(page).raw;
	values->root = paging_root().raw;
	values->entry = (uint64_t)ap_entry;
	values->far_offset += (uint32_t)page.raw;
	values->gdt_base += (uint32_t)page.raw;
	return values;
}

static bool comes_up(struct cpu *cpu, uint64_t microseconds)
{
	uint64_t start = tsc_now(), ticks = tsc_hz() * microseconds / 1000000;

	while (!atomic_read(&cpu->online))
		if (tsc_now() - start >= ticks)
			return false;
		else
			port_relax();
	return true;
}

static bool start_cpu(struct cpu *cpu, hpa_t page)
{
	uint8_t vector = (uint8_t)(page.raw >> PAGE_SHIFT);

	apic_send_init(cpu->apic_id);
	delay_us(INIT_WAIT_US);
	apic_send_startup(cpu->apic_id, vector);
	if (comes_up(cpu, STARTUP_WAIT_US))
		return true;
	apic_send_startup(cpu->apic_id, vector);
	if (comes_up(cpu, PATIENCE_US))
		return true;
	/* So that it can't come late, and take the next one's place. */
	apic_send_init(cpu->apic_id);
	return false;
}

void ap_main(struct cpu *cpu)
{
	cpu_setup(cpu);
	apic_setup();
	atomic_write(&cpu->online, 1);
	task_loop();
}

void smp_start(const struct acpi_cpus *found, hpa_t page)
{
	struct ap_start_values *values = write_start_page(page);

	for (unsigned i = 0; i < found->count; i++) {
		unsigned number = cpu_count();
		struct cpu *cpu = &cpus[number];

		if (found->apic_id[i] == cpus[0].apic_id)
			continue;
		if (number == MAX_CPUS || (!apic_is_x2() && found->apic_id[i] > 0xfe)) {
			print("CPU with APIC id 0x%x is out of reach, left out\n",
			      found->apic_id[i]);
			continue;
		}
		cpu->number = number;
		cpu->apic_id = found->apic_id[i];
		values->cpu = (uint64_t)cpu;
		values->stack = stack_top(number, STACK_MAIN);
		if (start_cpu(cpu, page))
			atomic_add(&running, 1);
		else
			print("CPU with APIC id 0x%x does not start, left out\n", cpu->apic_id);
	}
}
