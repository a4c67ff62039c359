/*
 * Small programs for the explorer's own test: what the actors of selftest.c run. Apart from it
 * because this half is compiled as explored code is.
 */
#ifndef TESTS_EXPLORE_PROGRAMS_H
#define TESTS_EXPLORE_PROGRAMS_H

#include "mm/base/lock.h"
#include "tests/explore/explore.h"

enum { THREADS = 4, INSTRUCTIONS = 4, VARIABLES = 3 };

enum operation { OP_LOAD, OP_STORE, OP_XCHG, OP_ADD, OP_FENCE };

struct instruction { enum operation operation; unsigned variable; uint64_t value; };

struct program {
	unsigned threads, length[THREADS];
	struct instruction code[THREADS][INSTRUCTIONS];
};

/* Each in a cache line, thus in a word, of its own. */
struct line { atomic64_t word; uint64_t padding[7]; };

extern struct program program;
extern struct line variables[VARIABLES];
extern uint64_t registers[THREADS][INSTRUCTIONS];	/* what each instruction read */

void program_setup(void);
void program_thread0(void);
void program_thread1(void);
void program_thread2(void);
void program_thread3(void);

extern const struct scenario lost_update, kept_update, data_race, lock_unheeded, dead_lock,
	entry_without_fence, entry_with_fence, message, endless, choices, lock_cycles;

#endif
