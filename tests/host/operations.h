/*
 * Sequences of operations on one space and one EPT, decoded from bytes: three actors, each with a
 * CPU, a soft CPU in the guest and a thread of the process, load and store as the guest, as its
 * device and as the process, and take memory away, move it, give it back, while allocations fail.
 * Every result and every word that is read is compared with a model's (model.h); at the end, or on
 * the way, everything is verified, and nothing may be leaked. Used by tests/unit/ept_random.c and
 * tests/fuzz/operations.c. A broken rule is a panic.
 *
 *	byte 0		enum operations_options
 *	byte 1		how many bytes at the end are the schedule
 *	...		four bytes an operation: see `struct operation` and decode()
 *	...		the schedule
 *
 * Any bytes mean something. Without a schedule the operations come one after another, as they
 * stand. Each byte of it chooses, at a point where another actor might go on: which one does. Such
 * points are: between operations; inside one, where it allocates and holds no lock (another's whole
 * operation may come there); inside a bracket of mm (another CPU may be in the guest there).
 *
 * One thread, one run at a time.
 */
#ifndef TESTS_HOST_OPERATIONS_H
#define TESTS_HOST_OPERATIONS_H

#include <stddef.h>

#include "ept/ept.h"

enum operations_options {
	OPERATIONS_ACCESSED_DIRTY = 1 << 0,	/* the EPT has A and D flags */
	OPERATIONS_SMALL_LEAVES = 1 << 1,	/* 4 KiB ones only */
	OPERATIONS_SPACE_FIRST = 1 << 2,	/* the process ends before its guest */
	OPERATIONS_PREFETCH = 1 << 3,		/* a fault maps its neighbours as well */
	OPERATIONS_VERIFY_ALL = 15 << 4,	/* after each operation: slow, so all four bits */
};

enum { OPERATION_BYTES = 4 };

/* Lines on what is done and found, by port_log, when port_log_show is on. */
void operations_run(const uint8_t *bytes, size_t size, struct ept_stats *stats);

#endif
