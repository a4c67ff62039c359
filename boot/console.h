/*
 * The console's commands. A file adds one by a table entry of its own; the function gets the rest
 * of the line, without the blanks around it, in a buffer that it may cut up.
 *
 *	CONSOLE_COMMAND("mem", "the machine's memory map", print_memory)
 */
#ifndef BOOT_CONSOLE_H
#define BOOT_CONSOLE_H

#include <stdbool.h>
#include <stdint.h>

struct console_command {
	const char *name, *help;
	void (*run)(char *arguments);
};

extern const struct console_command console_commands_start[], console_commands_end[];

#define CONSOLE_JOIN2(a, b) a##b
#define CONSOLE_JOIN(a, b)  CONSOLE_JOIN2(a, b)
#define CONSOLE_COMMAND(command_name, help_text, function)                          \
	static const struct console_command CONSOLE_JOIN(command_, __LINE__)        \
		__attribute__((section("console_commands"), used, aligned(8))) = {  \
			command_name, help_text, function };

/* The boot command line's commands, then those typed, until `quit`. */
_Noreturn void console_run(void);

/* Commands separated by `;`, one after the other; the line is cut up. */
void console_run_line(char *line);

/* Cuts the next word off *rest; NULL when there is none. */
char *console_word(char **rest);
/* Decimal digits and nothing else, least <= value <= most <= UINT64_MAX / 10 - 1. */
bool console_number(const char *text, uint64_t least, uint64_t most, uint64_t *out);

#endif
