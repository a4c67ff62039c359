/*
 * The console's `soft-demo`: guests on the soft CPU, for machines without VMX. The default script
 * of `make run ENGINE=qemu`.
 */
#include "boot/boot.h"
#include "boot/console.h"
#include "tests/host/soft_cpu.h"

static void soft_demo_command(char *arguments)
{
	(void)arguments;
	print("# stat guest_exit_status %d status\n", soft_demo());
}
CONSOLE_COMMAND("soft-demo", ": guests on the soft CPU, which needs no VMX", soft_demo_command)
