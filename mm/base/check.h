/*
 * Results that must be used, and checks that stop the machine.
 *
 * check() is for what can only be false by a bug of ours; what a guest, a file or a person can
 * bring about is a status. Checks stay in release builds.
 */
#ifndef MM_BASE_CHECK_H
#define MM_BASE_CHECK_H

#include "mm/base/port.h"

#define MUST_USE __attribute__((warn_unused_result))

enum status {
	STATUS_OK,
	STATUS_NO_MEMORY,	/* the host has no folio of that order */
	STATUS_BAD_RANGE,	/* empty, wrapping, unaligned or beyond what can be addressed */
	STATUS_EXISTS,		/* overlaps something that is there */
	STATUS_NOT_FOUND,	/* nothing there */
	STATUS_NO_ACCESS,	/* there, but not with these rights */
	STATUS_LIMIT,		/* a fixed number of such things is used up */
	STATUS_BAD_FORMAT,	/* a file or record that is not what it should be */
	STATUS_UNSUPPORTED,	/* this CPU or machine can't */
	STATUS_IN_USE,		/* somebody holds a reference, and may be using it */
	STATUS_IO_ERROR,	/* a backing store can't be read or written there */
};

static inline const char *status_name(enum status status)
{
	switch (status) {
	case STATUS_OK: return "ok";
	case STATUS_NO_MEMORY: return "out of memory";
	case STATUS_BAD_RANGE: return "bad range";
	case STATUS_EXISTS: return "already exists";
	case STATUS_NOT_FOUND: return "not found";
	case STATUS_NO_ACCESS: return "no access";
	case STATUS_LIMIT: return "limit reached";
	case STATUS_BAD_FORMAT: return "bad format";
	case STATUS_UNSUPPORTED: return "unsupported";
	case STATUS_IN_USE: return "in use";
	case STATUS_IO_ERROR: return "input or output error";
	}
	return "unknown status";
}

#define check(condition)                                                            \
	do {                                                                        \
		if (__builtin_expect(!(condition), 0))                              \
			port_panic("%s:%d: check failed: %s", __FILE__, __LINE__,   \
				   #condition);                                     \
	} while (0)

#endif
