/* What mm and vmx ask of the ground they stand on: mm/base/port.h, vmx/port.h. */
#include "boot/boot.h"
#include "boot/cpu.h"
#include "boot/parts.h"
#include "vmx/port.h"

_Static_assert(offsetof(struct cpu, number) == PORT_CPU_OFFSET, "mm/base/port.h");

void port_relax(void)
{
	panic_stop_here();
	__asm__ volatile("pause");
}

void port_log(const char *format, ...)
{
	va_list arguments;
	char line[256];

	va_start(arguments, format);
	(void)format_text_v(line, sizeof(line), format, arguments);
	va_end(arguments);
	print("%s\n", line);
}

_Noreturn void port_panic(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	panic_v(format, arguments);
}

enum status port_pages_alloc(unsigned order, void **out)
{
	pfn_t frame;
	enum status status = folio_alloc_zeroed(boot_host(), order, &frame);

	if (status == STATUS_OK)
		*out = pfn_to_ptr(frame);
	return status;
}

void port_pages_free(void *pages)
{
	folio_put(boot_host(), ptr_to_pfn(pages));
}

void port_send_nmi(unsigned cpu)
{
	cpu_send_nmi(cpu);
}

void port_host_state(struct port_host_state *out)
{
	struct { uint16_t limit; uint64_t base; } __attribute__((packed)) idtr;
	struct cpu *cpu = this_cpu();

	__asm__ volatile("sidt %0" : "=m"(idtr));
	*out = (struct port_host_state){
		.tr_base = (uint64_t)&cpu->tss,
		.gdtr_base = (uint64_t)cpu->gdt,
		.idtr_base = idtr.base,
	};
}

uint64_t port_tsc_hz(void)
{
	return tsc_hz();
}
