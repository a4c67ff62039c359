/* Typed lines. Called by console.c, key after key, on the first CPU. */
#include "boot/boot.h"
#include "boot/editor.h"

enum { KEY_BACKSPACE = 8, KEY_ERASE_LINE = 21, KEY_ESCAPE = 27, KEY_DELETE = 127 };

void editor_begin(struct editor *editor)
{
	editor->length = 0;
	editor->overlong = false;
	editor->sequence = SEQUENCE_NONE;
}

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

static void put(struct editor *editor, uint8_t key)
{
	if (editor->length + 1 == EDITOR_LINE_MAX) {
		editor->overlong = true;
		return;
	}
	editor->line[editor->length++] = (char)key;
	serial_put(key);
}

static void edit(struct editor *editor, uint8_t key)
{
	if (key == KEY_BACKSPACE || key == KEY_DELETE) {
		erase(editor);
	} else if (key == KEY_ERASE_LINE) {
		while (editor->length)
			erase(editor);
	} else if (key >= ' ' && key < KEY_DELETE) {
		put(editor, key);
	}
}

static bool end(struct editor *editor)
{
	editor->line[editor->length] = '\0';
	print("\n");
	return true;
}

bool editor_key(struct editor *editor, uint8_t key)
{
	uint8_t last = editor->last;

	editor->last = key;
	if (key == '\n' && last == '\r')
		return false;
	if (key == '\r' || key == '\n')
		return end(editor);
	if (!in_sequence(editor, key))
		edit(editor, key);
	return false;
}
