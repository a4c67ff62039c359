/*
 * The console: lines typed on COM1, and the same commands, separated by `;`, from the boot
 * command line (command.c). Runs on the first CPU; while it waits for a key, this CPU does tasks'
 * steps like the others. Nothing typed can do harm: what is not understood gets one line.
 */
#include "boot/boot.h"
#include "boot/console.h"
#include "boot/cpu.h"
#include "boot/editor.h"
#include "boot/memory.h"
#include "boot/parts.h"
#include "boot/string.h"
#include "vmx/vmx.h"

enum { KEY_WAIT_US = 1000 };		/* the UART's 16 bytes last a little longer at 115200 */

static uint8_t read_key(void)
{
	for (;;) {
		int key = serial_get();

		if (key >= 0)
			return (uint8_t)key;
		task_turn(KEY_WAIT_US);
	}
}

static void run_boot_commands(void)
{
	static char line[COMMAND_LINE_MAX];

	memcpy(line, boot_command_line(), strlen(boot_command_line()) + 1);
	console_run_line(line);
}

void console_run(void)
{
	static struct editor editor;

	run_boot_commands();
	print("'help' lists the commands\n");
	for (;;) {
		print("foliovisor> ");
		editor_begin(&editor);
		while (!editor_key(&editor, read_key()))
			;
		if (!editor.overlong)
			console_run_line(editor.line);
		else
			print("line longer than %u characters: ignored\n", EDITOR_LINE_MAX - 1);
	}
}

/* ------------------------------------------------------------------ commands of its own */

static void print_stat(const char *name, unsigned long long value, const char *unit)
{
	print("# stat %s %llu %s\n", name, value, unit);
}

static void print_stats(char *arguments)
{
	struct host_stats stats;
	char name[32];

	(void)arguments;
	host_read_stats(boot_host(), &stats);
	print_stat("host_pages_total", stats.pages_total, "pages");
	print_stat("host_pages_free", stats.pages_free, "pages");
	print_stat("host_metadata", stats.metadata_bytes, "bytes");
	print_stat("host_metadata_bytes_per_page", stats.metadata_bytes_per_page, "bytes");
	print_stat("tsc", tsc_hz(), "Hz");
	print("# the TSC's rate is %s\n", clock_source());
	print_stat("cpus", cpu_count(), "CPUs");
	for (unsigned i = 0; i < cpu_count(); i++) {
		(void)format_text(name, sizeof(name), "cpu%u_nmis", i);
		print_stat(name, atomic_read(&cpus[i].nmis), "NMIs");
		(void)format_text(name, sizeof(name), "cpu%u_ticks", i);
		print_stat(name, atomic_read(&cpus[i].ticks), "interrupts");
		(void)format_text(name, sizeof(name), "cpu%u_calls", i);
		print_stat(name, atomic_read(&cpus[i].calls), "calls");
	}
}
CONSOLE_COMMAND("stat", ": figures of the host and the CPUs", print_stats)

static void print_ranges(const char *what, const struct range_set *set)
{
	for (unsigned i = 0; i < set->count; i++)
		print("%s 0x%012llx-0x%012llx %llu KiB\n", what,
		      (unsigned long long)set->range[i].start.raw,
		      (unsigned long long)set->range[i].end.raw,
		      (unsigned long long)(set->range[i].end.raw - set->range[i].start.raw) >> 10);
}

static void print_memory(char *arguments)
{
	(void)arguments;
	print_ranges("ram ", memory_ram());
	print_ranges("host", memory_free());
	for (unsigned i = 0; i < boot_module_count(); i++)
		print("module %s at 0x%llx, %llu bytes\n", boot_module(i)->name,
		      (unsigned long long)ptr_to_hpa(boot_module(i)->bytes).raw,
		      (unsigned long long)boot_module(i)->size);
}
CONSOLE_COMMAND("mem", ": the machine's RAM, the host's part of it, the modules", print_memory)

static void print_caps(char *arguments)
{
	(void)arguments;
	if (boot_has_vmx())
		vmx_print_caps();
	else
		print("this CPU has no VMX in use\n");
}
CONSOLE_COMMAND("caps", ": what this CPU's VMX can do, and what of it is used", print_caps)
