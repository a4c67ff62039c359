/*
 * Lines for people, made where there may be no C library: the loader and the machine use it for
 * error messages and figures.
 */
#ifndef GUEST_LOAD_TEXT_H
#define GUEST_LOAD_TEXT_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "mm/base/check.h"

/* printf's %s %c %d %u %x %% with # and l; always terminated, cut where it does not fit. */
void text_format(char *into, size_t size, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void text_format_v(char *into, size_t size, const char *format, va_list arguments);

/* One line into `error` (LOAD_ERROR_MAX bytes), and STATUS_BAD_FORMAT as the result. */
enum status text_refuse(char *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
