/*
 * From the loader to the console, in order. boot_main() runs on the early stack, under start.S's
 * page tables; main() under the image's own.
 */
#include "boot/acpi.h"
#include "boot/apic.h"
#include "boot/boot.h"
#include "boot/console.h"
#include "boot/cpu.h"
#include "boot/layout.h"
#include "boot/loader.h"
#include "boot/memory.h"
#include "boot/paging.h"
#include "boot/parts.h"
#include "boot/smp.h"
#include "boot/traps.h"
#include "vmx/vmx.h"

_Noreturn void main(void);

static struct loader_facts facts;
static struct acpi_cpus found;
static hpa_t start_page;		/* where other CPUs start; 0: nowhere */
static struct host *host;
static bool has_vmx;

struct host *boot_host(void) { return host; }
bool boot_has_vmx(void) { return has_vmx; }
const struct acpi_cpus *found_cpus(void) { return &found; }
const char *boot_command_line(void) { return facts.command_line; }
unsigned boot_module_count(void) { return facts.module_count; }
const struct boot_module *boot_module(unsigned i) { return &facts.modules[i]; }

_Noreturn void refuse(const char *format, ...)
{
	va_list arguments;

	print("foliovisor can't run here: ");
	va_start(arguments, format);
	print_v(format, arguments);
	print("\n");
	power_off(1);
}

static void read_loader(uint32_t magic, hpa_t start)
{
	const char *wrong = magic == MULTIBOOT2_MAGIC ? loader_read_multiboot2(start, &facts)
			    : magic == PVH_MAGIC ? loader_read_pvh(start, &facts)
			    : "it was not started by a multiboot2 or PVH loader";

	if (wrong)
		refuse("%s", wrong);
}

static void find_cpus(void)
{
	const char *wrong = acpi_read_cpus(facts.rsdp, facts.rsdp_bytes, &found);

	if (wrong)
		refuse("%s", wrong);
	if (found.ignored)
		print("%u CPUs beyond the first %u are left out\n", found.ignored,
		      (unsigned)MAX_CPUS);
}

void boot_main(uint32_t magic, uint32_t start_info)
{
	traps_build();			/* from here on a fault says what it is */
	cpu_setup(&cpus[0]);
	pic_mask();			/* nobody serves the 8259s' interrupts */
	serial_init();
	print("\nfoliovisor\n");
	read_loader(magic, hpa(start_info)); /* memory map, command line, modules, RSDP: copied */
	memory_init(&facts);		/* what of it is free */
	find_cpus();			/* ACPI, while all memory is mapped */
	paging_build(memory_ram());	/* our own tables: image, direct map, */
	apic_choose();			/* the APIC's registers, */
	paging_map_stacks(found.count);	/* stacks with nothing below them */
	if (!memory_take_low_page(&start_page))
		start_page = hpa(0);
	paging_use();
	stack_switch(stack_top(0, STACK_MAIN), main);
}

static void start_cpus(void)
{
	if (start_page.raw)
		smp_start(&found, start_page);
	else
		print("no free memory below 1 MiB to start other CPUs in\n");
	print("%u of %u CPUs run, %s\n", cpu_count(), found.count + found.ignored,
	      apic_is_x2() ? "x2APIC" : "xAPIC");
}

static void create_host(void)
{
	const struct range_set *free_ranges = memory_free();
	enum status status = host_create(free_ranges->range, free_ranges->count, &host);

	if (status != STATUS_OK)
		refuse("no host from %llu MiB of free RAM: %s",
		       (unsigned long long)range_set_bytes(free_ranges) >> 20,
		       status_name(status));
	print("%llu MiB of RAM, %llu MiB of it the host's\n",
	      (unsigned long long)range_set_bytes(memory_ram()) >> 20,
	      (unsigned long long)range_set_bytes(free_ranges) >> 20);
}

static void turn_vmx_on(void *failures)
{
	if (vmx_cpu_on() != STATUS_OK)
		atomic_add((atomic32_t *)failures, 1);
}

/* CPUID first: where it knows no VMX, nothing else of it may be touched. */
static void start_vmx(void)
{
	char missing[256];
	atomic32_t failures = { 0 };

	if (!vmx_present()) {
		print("this CPU has no VMX: no guests here\n");
		return;
	}
	if (vmx_probe(missing, sizeof(missing)) != STATUS_OK) {
		print("this CPU's VMX lacks %s: no guests here\n", missing);
		return;
	}
	for (unsigned i = 0; i < cpu_count(); i++)
		cpu_call(i, turn_vmx_on, &failures);
	has_vmx = !atomic_read(&failures);
	print("%s\n", has_vmx ? "VMX is on" : "firmware locked VMX off: no guests here");
}

void main(void)
{
	apic_setup();			/* this CPU's interrupts */
	cpus[0].apic_id = apic_id();
	clock_calibrate();		/* how fast the TSC runs, */
	apic_timer_calibrate();		/* and the APIC's timer by it */
	start_cpus();			/* the other CPUs: they wait for tasks */
	create_host();			/* the rest of memory has a manager now */
	start_vmx();			/* on every CPU */
	console_run();			/* whatever the person or the script wants */
}
