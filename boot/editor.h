/*
 * The line that is being typed: keys in, echo out. Knows no machine but print() and serial_put().
 */
#ifndef BOOT_EDITOR_H
#define BOOT_EDITOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { EDITOR_LINE_MAX = 512 };

/* What terminals send for arrows and the like: ESC, [ and some, a letter or ~. Dropped. */
enum sequence { SEQUENCE_NONE, SEQUENCE_BEGINS, SEQUENCE_GOES_ON };

struct editor {				/* zero at first */
	char line[EDITOR_LINE_MAX];	/* ' ' to '~'; terminated when editor_key says true */
	size_t length;
	bool overlong;			/* some of it was dropped */
	enum sequence sequence;
	uint8_t last;			/* the key before this one */
};

/* An empty line. */
void editor_begin(struct editor *editor);
/* True at the end of the line: CR, LF or CR LF. */
bool editor_key(struct editor *editor, uint8_t key);

#endif
