/*
 * Console lines, typed or from the boot command line: the editor, the splitting into commands, and
 * the parser of each command that has one. What the commands would do is done here: looking at
 * what they were given.
 *
 * - While a line is typed, the screen shows what the editor has.
 * - The commands that run are those which a second, simpler reading of the line finds, in order.
 * - What `guest` accepts is in range; what it refuses costs one line.
 * - What is printed can be printed, and ends with a line's end.
 *
 * Input: one byte. Even: keys follow; odd: a boot command line.
 */
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include "boot/boot.h"
#include "boot/console.h"
#include "boot/editor.h"
#include "boot/guest_options.h"
#include "boot/parts.h"
#include "guest/machine/machine.h"
#include "tests/fuzz/fuzz.h"
#include "tests/tap.h"

/* ------------------------------------------------------------------ the screen */

static struct {
	char cells[EDITOR_LINE_MAX + 1];	/* of the line that is being typed */
	size_t cursor;
	unsigned lines;
	uint8_t last;
	bool typing;
} screen;

void serial_put(uint8_t byte)
{
	check((byte >= ' ' && byte <= '~') || (byte && strchr("\r\n\b\t", byte)));
	check(byte != '\n' || screen.last == '\r');
	screen.last = byte;
	screen.lines += byte == '\n';
	if (!screen.typing || byte == '\r' || byte == '\n')
		return;
	if (byte == '\b') {
		check(screen.cursor);
		screen.cursor--;
	} else {
		check(screen.cursor < sizeof(screen.cells));
		screen.cells[screen.cursor++] = (char)byte;
	}
}

void serial_force(void) {}

/* ------------------------------------------------------------------ what parsers ask for */

static const struct boot_module modules[] = { { "kernel", "k", 1 }, { "disk.img", "d", 1 } };

unsigned boot_module_count(void) { return 2; }
const struct boot_module *boot_module(unsigned i) { return &modules[i]; }
unsigned cpu_count(void) { return 1; }
bool boot_has_vmx(void) { return false; }

static unsigned tests_run;

BOOT_TEST("fuzz/one", NEEDS_NOTHING) { tests_run++; }
BOOT_TEST("fuzz/two", NEEDS_ONCE) { expect_equal(++tests_run, 0); }
BOOT_TEST("other/vmx", NEEDS_VMX) { check(false); }

static jmp_buf at_power_off;

_Noreturn void power_off(int status)
{
	check(status >= 0 && status <= 127);
	longjmp(at_power_off, 1);
}

/* ------------------------------------------------------------------ the line, read once more */

/* What is left to run, in a copy of its own; `record` and `quit` compare with it. */
static char *expected;

static char *strip(char *text)
{
	text += strspn(text, " \t");
	for (char *end = text + strlen(text); end > text && strchr(" \t", end[-1]);)
		*--end = '\0';
	return text;
}

/* The arguments of the next command of that name; NULL: the line has no more of them. */
static char *expect_next(const char *wanted)
{
	for (char *part; (part = strsep(&expected, ";"));) {
		char *arguments = strip(part);
		char *name = strsep(&arguments, " \t");

		if (!strcmp(name, wanted))
			return arguments ? strip(arguments) : name + strlen(name);
		check(strcmp(name, "record"));
	}
	return NULL;
}

static void record(char *arguments)
{
	const char *wanted = expect_next("record");

	check(wanted && !strcmp(wanted, arguments));
}
CONSOLE_COMMAND("record", "ANYTHING", record)

static void check_options(const struct guest_options *options)
{
	check(*options->name && !strpbrk(options->name, " \t"));
	check(options->mem_mib >= MACHINE_MEM_MIN && options->mem_mib <= MACHINE_MEM_MAX);
	check(options->vcpus >= 1 && options->vcpus <= MACHINE_VCPUS_MAX);
	check(options->level >= LEVEL_4K && options->level <= LEVEL_1G);
	check(options->harass <= HARASS_RATE_MAX);
	check(!options->initrd.name || options->initrd.size);
	/* To the end of what was typed, by the address sanitizer's leave. */
	check(!strchr(options->command_line, ';'));
}

static void guest(char *arguments)
{
	struct guest_options options;
	struct load_file image;
	unsigned before = screen.lines;
	bool good = guest_options_parse(&options, arguments);

	check(screen.lines == before + !good);
	if (!good)
		return;
	check_options(&options);
	if (guest_find_image(options.name, &image))
		check(image.size && screen.lines == before);
}
CONSOLE_COMMAND("guest", "OPTIONS", guest)

static void run_line(char *line)
{
	char *copy = strdup(line);

	check(copy);
	expected = copy;
	if (setjmp(at_power_off)) {
		const char *status = expect_next("quit");

		while (status && *status && (strspn(status, "0123456789") != strlen(status) ||
					     strtoul(status, NULL, 10) > 127))
			status = expect_next("quit");
		check(status);
	} else {
		console_run_line(line);
		check(!expect_next("record"));
	}
	check(!screen.lines || screen.last == '\n');
	free(copy);
}

/* ------------------------------------------------------------------ the two ways in */

static void type(const uint8_t *keys, size_t count)
{
	static struct editor editor;

	editor = (struct editor){ 0 };
	screen.typing = true;
	for (size_t i = 0; i <= count; i++) {
		/* The last line is ended for whoever typed it. */
		bool done = editor_key(&editor, i < count ? keys[i] : '\n');

		check(editor.length < EDITOR_LINE_MAX && screen.cursor == editor.length);
		check(!memcmp(screen.cells, editor.line, editor.length));
		if (!done)
			continue;
		check(strlen(editor.line) == editor.length);
		screen.typing = false;
		if (!editor.overlong)
			run_line(editor.line);
		editor_begin(&editor);
		screen.cursor = 0;
		screen.typing = true;
	}
	screen.typing = false;
}

/* As GRUB would pass it; what can't be printed is nobody's to type. */
static void boot_line(const uint8_t *bytes, size_t size)
{
	char *line = malloc(size + 1);

	check(line);
	for (size_t i = 0; i < size; i++)
		line[i] = (char)(bytes[i] == '\t' || (bytes[i] >= ' ' && bytes[i] <= '~') ?
				 bytes[i] : '?');
	line[size] = '\0';
	run_line(line);
	free(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	if (!size)
		return 0;
	memset(&screen, 0, sizeof(screen));
	if (bytes[0] & 1)
		boot_line(bytes + 1, size - 1);
	else
		type(bytes + 1, size - 1);
	return 0;
}
