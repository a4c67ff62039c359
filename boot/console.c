/*
 * The console: lines typed on COM1, and the same commands, separated by `;`, from the boot
 * command line. Runs on the first CPU; while it waits for a key, this CPU does tasks' steps like
 * the others. Nothing typed can do harm: what is not understood gets one line.
 */
#include "boot/boot.h"
#include "boot/console.h"
#include "boot/cpu.h"
#include "boot/memory.h"
#include "boot/parts.h"
#include "boot/string.h"
#include "vmx/vmx.h"

enum { LINE_MAX = 512, STATUS_MAX = 127, NAME_SHOWN = 40 };
enum { KEY_WAIT_US = 1000 };		/* the UART's 16 bytes last a little longer at 115200 */
enum { KEY_BACKSPACE = 8, KEY_DELETE = 127, KEY_ERASE_LINE = 21, KEY_ESCAPE = 27 };

#define for_each_command(c)                                                          \
	for (const struct console_command *c = console_commands_start;              \
	     c < console_commands_end; c++)

static bool is_blank(char c) { return c == ' ' || c == '\t'; }

char *console_word(char **rest)
{
	char *word = *rest + strspn(*rest, " \t");
	char *end = word + strcspn(word, " \t");

	*rest = *end ? end + 1 : end;
	*end = '\0';
	return *word ? word : NULL;
}

static char *trim(char *text)
{
	size_t length;

	while (is_blank(*text))
		text++;
	length = strlen(text);
	while (length && is_blank(text[length - 1]))
		text[--length] = '\0';
	return text;
}

static void run_command(char *text)
{
	text = trim(text);

	size_t length = strcspn(text, " \t");

	if (!length)
		return;
	for_each_command(c)
		if (strlen(c->name) == length && !strncmp(c->name, text, length)) {
			c->run(trim(text + length));
			return;
		}
	print("unknown command '%.*s'; 'help' lists them\n",
	      (int)(length < NAME_SHOWN ? length : NAME_SHOWN), text);
}

static void run_line(char *line)
{
	while (line) {
		char *next = strchr(line, ';');

		if (next)
			*next++ = '\0';
		run_command(line);
		line = next;
	}
}

/* ------------------------------------------------------------------ typed lines */

static uint8_t read_key(void)
{
	for (;;) {
		int key = serial_get();

		if (key >= 0)
			return (uint8_t)key;
		task_turn(KEY_WAIT_US);
	}
}

/* What terminals send for arrows and the like: ESC, [ and some, a letter or ~. Dropped. */
enum sequence { SEQUENCE_NONE, SEQUENCE_BEGINS, SEQUENCE_GOES_ON };

struct editor { char *line; size_t length; bool overlong; enum sequence sequence; };

static bool in_sequence(struct editor *editor, uint8_t key)
{
	enum sequence before = editor->sequence;

	editor->sequence = key == KEY_ESCAPE ? SEQUENCE_BEGINS
			   : before == SEQUENCE_BEGINS && key == '[' ? SEQUENCE_GOES_ON
			   : before == SEQUENCE_GOES_ON && key < '@' ? SEQUENCE_GOES_ON
			   : SEQUENCE_NONE;
	return before != SEQUENCE_NONE || editor->sequence != SEQUENCE_NONE;
}

static void erase(struct editor *editor)
{
	if (!editor->length)
		return;
	editor->length--;
	print("\b \b");
}

/* True at the end of the line. */
static bool edit(struct editor *editor, uint8_t key)
{
	if (key == '\r' || key == '\n')
		return true;
	if (in_sequence(editor, key))
		return false;
	if (key == KEY_BACKSPACE || key == KEY_DELETE) {
		erase(editor);
	} else if (key == KEY_ERASE_LINE) {
		while (editor->length)
			erase(editor);
	} else if (key >= ' ' && key < KEY_DELETE) {
		if (editor->length + 1 == LINE_MAX) {
			editor->overlong = true;
			return false;
		}
		editor->line[editor->length++] = (char)key;
		serial_put(key);
	}
	return false;
}

/* False when the line was too long, and is to be forgotten. CR, LF and CR LF end a line. */
static bool read_line(char *line)
{
	static uint8_t end;		/* of the line before */
	struct editor editor = { .line = line };
	uint8_t key = read_key();

	if (end == '\r' && key == '\n')
		key = read_key();
	while (!edit(&editor, key))
		key = read_key();
	end = key;
	line[editor.length] = '\0';
	print("\n");
	return !editor.overlong;
}

void console_run(void)
{
	static char line[COMMAND_LINE_MAX];

	memcpy(line, boot_command_line(), strlen(boot_command_line()) + 1);
	run_line(line);
	print("'help' lists the commands\n");
	for (;;) {
		print("foliovisor> ");
		if (read_line(line))
			run_line(line);
		else
			print("line longer than %u characters: ignored\n", LINE_MAX - 1);
	}
}

/* ------------------------------------------------------------------ commands of its own */

static void print_help(char *arguments)
{
	(void)arguments;
	print("commands, separated by ';':\n");
	for_each_command(c)
		print("  %s %s\n", c->name, c->help);
}
CONSOLE_COMMAND("help", ": this list", print_help)

static void quit(char *arguments)
{
	unsigned status = 0;
	const char *c = arguments;

	for (; *c >= '0' && *c <= '9' && status <= STATUS_MAX; c++)
		status = status * 10 + (unsigned)(*c - '0');
	if (*c || status > STATUS_MAX) {
		print("quit: '%s': expected a status from 0 to %u\n", arguments, STATUS_MAX);
		return;
	}
	print("quit %u\n", status);
	power_off((int)status);
}
CONSOLE_COMMAND("quit", "[STATUS]: end, with 0 or that status", quit)

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
