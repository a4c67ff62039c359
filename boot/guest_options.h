/* The arguments of the console's `guest` command. */
#ifndef BOOT_GUEST_OPTIONS_H
#define BOOT_GUEST_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "ept/ept.h"
#include "guest/load/load.h"

enum { HARASS_RATE_MAX = 100000 };	/* ranges a second */

struct guest_options {
	const char *name;
	uint64_t mem_mib, vcpus, level, harass;
	bool raw;
	enum ept_policy policy;
	bool logged;
	enum log_kind log;			/* if it is */
	const char *command_line;
	struct load_file initrd;	/* no bytes: none */
};

/*
 * NAME [key=value ...] [cmdline=the rest of the line]; the text is cut up and kept. False, and one
 * line on the console, when it makes no sense.
 */
bool guest_options_parse(struct guest_options *options, char *text);
/* A payload of the image or a boot module. False, and one line that says which there are. */
bool guest_find_image(const char *name, struct load_file *out);

#endif
