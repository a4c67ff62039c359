/*
 * What a line means to the console: commands separated by `;`, each a name and the rest, which
 * the command takes apart by words and numbers. Called by console.c, and by commands. Knows no
 * machine but print() and power_off(): tests/fuzz/console.c is built of it.
 */
#include "boot/boot.h"
#include "boot/console.h"
#include "boot/string.h"

enum { STATUS_MAX = 127, NAME_SHOWN = 40 };

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

bool console_number(const char *text, uint64_t least, uint64_t most, uint64_t *out)
{
	uint64_t value = 0;
	const char *c = text;

	for (; *c >= '0' && *c <= '9' && value <= most; c++)
		value = value * 10 + (uint64_t)(*c - '0');
	if (c == text || *c || value < least || value > most)
		return false;
	*out = value;
	return true;
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

void console_run_line(char *line)
{
	while (line) {
		char *next = strchr(line, ';');

		if (next)
			*next++ = '\0';
		run_command(line);
		line = next;
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
	uint64_t status = 0;

	if (*arguments && !console_number(arguments, 0, STATUS_MAX, &status)) {
		print("quit: '%s': expected a status from 0 to %u\n", arguments, STATUS_MAX);
		return;
	}
	print("quit %u\n", (unsigned)status);
	power_off((int)status);
}
CONSOLE_COMMAND("quit", "[STATUS]: end, with 0 or that status", quit)
