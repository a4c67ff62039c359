/*
 * ept_enter and ept_leave for a CPU that does both with every exit: it finds its words once, and
 * the rest is inline. flush.c has the argument why no shootdown is missed.
 */
#ifndef EPT_ENTER_H
#define EPT_ENTER_H

#include "ept/ept.h"
#include "mm/base/atomic.h"

/* What an EPT lets everybody know who enters. All zero: nothing, ever. */
struct ept_notice {
	atomic64_t generation;		/* of shootdowns */
	atomic64_t entering;		/* EPT_LOGGED while a log is by PML, else 0: pml.c */
};

/* One CPU, as an EPT sees it. Written by that CPU alone; others read its presence. */
struct ept_visitor {
	atomic64_t presence;		/* entries so far, and where it is */
	uint64_t invalidated_at;	/* the generation of its last INVEPT; 0: none yet */
};

enum { EPT_IN_GUEST = 1, EPT_ONE_ENTRY = 4 };	/* of `presence` */

/* Where this CPU enters that EPT: good on this CPU, as long as the EPT is there. */
struct ept_entrance { struct ept_notice *notice; struct ept_visitor *visitor; };
struct ept_entrance ept_entrance(struct ept *ept);

/* The rest of an entry by which this CPU learns of a shootdown, its first among them. */
MUST_USE enum ept_entry ept_enter_anew(const struct ept_entrance *at, uint64_t generation,
				       enum ept_entry entry);

/* `outside`, `inside`: what the CPU's presence says. */
MUST_USE static inline
enum ept_entry ept_enter_from(const struct ept_entrance *at, uint64_t outside)
{
	struct ept_visitor *cpu = at->visitor;
	struct ept_notice *notice = at->notice;

	atomic_xchg(&cpu->presence, outside + EPT_ONE_ENTRY + EPT_IN_GUEST);

	uint64_t generation = atomic_read(&notice->generation);
	enum ept_entry entry = (enum ept_entry)atomic_read(&notice->entering);

	if (__builtin_expect(generation == cpu->invalidated_at, 1))
		return entry;
	return ept_enter_anew(at, generation, entry);
}

static inline void ept_leave_from(const struct ept_entrance *at, uint64_t inside)
{
	atomic_write(&at->visitor->presence, inside - EPT_IN_GUEST);
}

/*
 * The contracts of ept_enter and ept_leave, but nobody checks that the CPU was outside, or inside.
 * Relaxed: this CPU is the only writer.
 */
MUST_USE static inline enum ept_entry ept_enter_at(const struct ept_entrance *at)
{
	return ept_enter_from(at, atomic_read_relaxed(&at->visitor->presence));
}

static inline void ept_leave_at(const struct ept_entrance *at)
{
	ept_leave_from(at, atomic_read_relaxed(&at->visitor->presence));
}

#endif
