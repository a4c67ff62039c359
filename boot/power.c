/*
 * The end, by whichever way the machine has: QEMU's isa-debug-exit, Bochs's debug port, the
 * keyboard controller's reset where a hypervisor runs below; a real machine halts. Any CPU.
 */
#include "boot/boot.h"
#include "boot/insn.h"
#include "boot/parts.h"

enum { QEMU_EXIT = 0xf4, BOCHS_DEBUG = 0x8900, I8042_COMMAND = 0x64, I8042_RESET = 0xfe };

static bool in_virtual_machine(void)
{
	return cpuid(1, 0).ecx >> 31;
}

_Noreturn void power_off(int status)
{
	__asm__ volatile("cli");
	serial_flush();
	/* QEMU ends with (status << 1) | 1. */
	outb(QEMU_EXIT, (uint8_t)status);
	/* Bochs: 'D' stops in its debugger, whose script then quits with 0; "Shutdown" gives 1. */
	if (status == 0)
		outb(BOCHS_DEBUG, 'D');
	for (const char *c = "Shutdown"; *c; c++)
		outb(BOCHS_DEBUG, (uint8_t)*c);
	if (in_virtual_machine())
		outb(I8042_COMMAND, I8042_RESET);
	print("halted: this machine can be switched off\n");
	for (;;)
		__asm__ volatile("cli; hlt");
}
