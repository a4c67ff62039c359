/*
 * A small printf into a buffer. Called with formats of our own only; what it prints (a guest's
 * file name, say) may be anything, so unprintable characters become '?'.
 */
#include "guest/load/text.h"

#include <stdbool.h>

#include "guest/load/load.h"

struct text { char *at, *last; };

static void put(struct text *text, char c)
{
	if (text->at < text->last)
		*text->at++ = c;
}

static void put_string(struct text *text, const char *string)
{
	for (; *string; string++)
		put(text, *string >= ' ' && *string <= '~' ? *string : '?');
}

static void put_number(struct text *text, uint64_t value, unsigned base)
{
	char digits[20];
	unsigned count = 0;

	do {
		digits[count++] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value);
	while (count)
		put(text, digits[--count]);
}

static void put_signed(struct text *text, int64_t value)
{
	if (value < 0)
		put(text, '-');
	put_number(text, value < 0 ? -(uint64_t)value : (uint64_t)value, 10);
}

/* Everything behind the '%'; returns the last character used. */
static const char *convert(struct text *text, const char *format, va_list *arguments)
{
	bool prefix = *format == '#';
	bool wide;

	format += prefix;
	wide = *format == 'l';
	format += wide;

	switch (*format) {
	case 's':
		put_string(text, va_arg(*arguments, const char *));
		break;
	case 'c':
		put(text, (char)va_arg(*arguments, int));
		break;
	case 'd':
		put_signed(text, wide ? va_arg(*arguments, int64_t) : va_arg(*arguments, int));
		break;
	case 'x':
		if (prefix) {
			put(text, '0');
			put(text, 'x');
		}
		__attribute__((fallthrough));
	case 'u':
		put_number(text, wide ? va_arg(*arguments, uint64_t) : va_arg(*arguments, unsigned),
			   *format == 'x' ? 16 : 10);
		break;
	default:
		put(text, *format);
	}
	return format;
}

void text_format_v(char *into, size_t size, const char *format, va_list arguments)
{
	struct text text = { into, into + size - 1 };
	va_list left;

	va_copy(left, arguments);
	for (; *format; format++) {
		if (*format == '%')
			format = convert(&text, format + 1, &left);
		else
			put(&text, *format);
	}
	va_end(left);
	*text.at = '\0';
}

void text_format(char *into, size_t size, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	text_format_v(into, size, format, arguments);
	va_end(arguments);
}

enum status text_refuse(char *error, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	text_format_v(error, LOAD_ERROR_MAX, format, arguments);
	va_end(arguments);
	return STATUS_BAD_FORMAT;
}
