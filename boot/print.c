/*
 * Formatted text, and the console's output line by line: a call of print() holds a lock, so that
 * other CPUs' lines do not tear it apart. A panic takes no lock.
 */
#include "boot/boot.h"
#include "boot/parts.h"
#include "boot/string.h"
#include "mm/base/lock.h"

/* Where formatted bytes go: into a buffer, as far as it reaches, or to the console. */
struct sink {
	char *into;		/* NULL: the console */
	size_t size, length;	/* length of the whole text */
};

struct conversion {
	bool left, zero;
	int width, precision;	/* precision -1: none */
	unsigned longs;
};

static void put(struct sink *sink, char c)
{
	if (!sink->into) {
		if (c == '\n')
			serial_put('\r');
		serial_put((uint8_t)c);
	} else if (sink->length + 1 < sink->size) {
		sink->into[sink->length] = c;
	}
	sink->length++;
}

static void pad(struct sink *sink, char c, int count)
{
	while (count-- > 0)
		put(sink, c);
}

static void put_string(struct sink *sink, const struct conversion *how, const char *text)
{
	text = text ? text : "(null)";

	size_t length = strnlen(text, how->precision < 0 ? SIZE_MAX : (size_t)how->precision);
	int fill = how->width - (int)length;

	if (!how->left)
		pad(sink, ' ', fill);
	for (size_t i = 0; i < length; i++)
		put(sink, text[i]);
	if (how->left)
		pad(sink, ' ', fill);
}

static void put_number(struct sink *sink, const struct conversion *how, uint64_t value,
		       unsigned base, const char *prefix)
{
	char digits[24];
	int count = 0, least = how->precision < 0 ? 1 : how->precision;

	for (; value; value /= base)
		digits[count++] = "0123456789abcdef"[value % base];

	int zeros = least > count ? least - count : 0;
	int fill = how->width - (int)strlen(prefix) - zeros - count;

	if (how->zero && !how->left && how->precision < 0 && fill > 0) {
		zeros += fill;
		fill = 0;
	}
	if (!how->left)
		pad(sink, ' ', fill);
	for (; *prefix; prefix++)
		put(sink, *prefix);
	pad(sink, '0', zeros);
	while (count)
		put(sink, digits[--count]);
	if (how->left)
		pad(sink, ' ', fill);
}

static int parse_count(const char **format, va_list *arguments)
{
	int count = 0;

	if (**format == '*') {
		++*format;
		return va_arg(*arguments, int);
	}
	while (**format >= '0' && **format <= '9')
		count = count * 10 + (*(*format)++ - '0');
	return count;
}

static struct conversion parse_conversion(const char **format, va_list *arguments)
{
	struct conversion how = { .precision = -1 };

	for (;; ++*format)
		if (**format == '-')
			how.left = true;
		else if (**format == '0')
			how.zero = true;
		else
			break;
	how.width = parse_count(format, arguments);
	if (how.width < 0) {
		how.left = true;
		how.width = -how.width;
	}
	if (**format == '.') {
		++*format;
		how.precision = parse_count(format, arguments);
	}
	for (; **format == 'l' || **format == 'z'; ++*format)
		how.longs++;
	return how;
}

static void put_signed(struct sink *sink, const struct conversion *how, int64_t value)
{
	put_number(sink, how, value < 0 ? -(uint64_t)value : (uint64_t)value, 10,
		   value < 0 ? "-" : "");
}

static void put_converted(struct sink *sink, const struct conversion *how, char kind,
			  va_list *arguments)
{
	char character[2] = "";

	switch (kind) {
	case 'c':
		character[0] = (char)va_arg(*arguments, int);
		put_string(sink, how, character);
		break;
	case 's':
		put_string(sink, how, va_arg(*arguments, const char *));
		break;
	case 'd':
		put_signed(sink, how, how->longs ? va_arg(*arguments, int64_t)
						 : va_arg(*arguments, int));
		break;
	case 'u':
	case 'x':
		put_number(sink, how, how->longs ? va_arg(*arguments, uint64_t)
						 : va_arg(*arguments, unsigned),
			   kind == 'u' ? 10 : 16, "");
		break;
	case 'p':
		put_number(sink, how, (uint64_t)va_arg(*arguments, void *), 16, "0x");
		break;
	default:
		put(sink, kind);
	}
}

static void put_text(struct sink *sink, const char *format, va_list *arguments)
{
	for (; *format; format++) {
		if (*format != '%') {
			put(sink, *format);
			continue;
		}
		format++;

		struct conversion how = parse_conversion(&format, arguments);

		if (!*format)
			return;
		put_converted(sink, &how, *format, arguments);
	}
}

int format_text_v(char *into, size_t size, const char *format, va_list arguments)
{
	char nowhere[1];
	struct sink sink = { .into = size ? into : nowhere, .size = size };
	va_list copy;

	va_copy(copy, arguments);
	put_text(&sink, format, &copy);
	va_end(copy);
	if (size)
		into[sink.length < size ? sink.length : size - 1] = '\0';
	return (int)sink.length;
}

int format_text(char *into, size_t size, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);

	int length = format_text_v(into, size, format, arguments);

	va_end(arguments);
	return length;
}

static spinlock_t console_lock;

/* A panic's last words: see serial_force. */
void print_force(void)
{
	console_lock = (spinlock_t){ 0 };
	serial_force();
}

void print_v(const char *format, va_list arguments)
{
	struct sink console = { 0 };
	va_list copy;

	va_copy(copy, arguments);
	spin_lock(&console_lock);
	put_text(&console, format, &copy);
	spin_unlock(&console_lock);
	va_end(copy);
}

void print(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	print_v(format, arguments);
	va_end(arguments);
}
