/*
 * Every interleaving of a few actors, tried on the code that ships. For scenarios; what is behind
 * it stands in internal.h.
 *
 * A scenario is data: what is set up, two to four actors that run side by side, and what must hold
 * afterwards. The explorer runs it again and again, and decides before each access to a word that
 * two actors share who goes on; in the memory model x86-TSO also when a store leaves its CPU's
 * store buffer. check() and panics fail the schedule that leads to them, as do a deadlock and two
 * plain accesses to one word that nothing orders (a data race).
 *
 *	static void reader(void) { ... }		an ordinary function, on CPU 0
 *	static void writer(void) { ... }		on CPU 1
 *	SCENARIO(name, .rule = "what must hold", .setup = setup,
 *		.actors = { reader, writer }, .verify = verify);
 *
 * setup runs once, before all schedules: memory that actors change, of any kind, is put back by
 * the explorer after each. Actors call no libc, allocate nothing but from the host under test,
 * and end. verify runs alone at the end of every schedule, with all store buffers drained; what it
 * changes is put back too.
 */
#ifndef TESTS_EXPLORE_EXPLORE_H
#define TESTS_EXPLORE_EXPLORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mm/base/check.h"

enum { EXPLORE_ACTORS = 4 };

enum explore_model { MODEL_SC, MODEL_TSO };

struct scenario {
	const char *name;
	const char *rule;			/* what must hold, in one line */
	void (*setup)(void);
	void (*actors[EXPLORE_ACTORS])(void);	/* by CPU; the first NULL ends them */
	void (*verify)(void);
	/*
	 * Preemptions allowed in the search of `make explore`; 0: any number, which is a proof, and
	 * often the shorter search: states differ neither in who went last nor in what is left.
	 */
	unsigned bound;
	/* Too large to be searched, or under TSO: so many walks by PCT, and as many at random. */
	uint64_t walks, walks_tso;
	bool on_request;			/* only where T= asks for it */
	/* What to call the word at an address; false: no name of its own. NULL: none has. */
	bool (*name_word)(const void *address, char *name, size_t bytes);
};

#define SCENARIO(scenario_name, ...)                                                 \
	static const struct scenario explore_##scenario_name = {                    \
		.name = #scenario_name, __VA_ARGS__                                 \
	};                                                                          \
	__attribute__((section("scenarios"), used)) static const struct scenario *const \
		explore_entry_##scenario_name = &explore_##scenario_name

/* ------------------------------------------------------------------ for actors */

/* A choice that the machine has: 0..n-1, every one is tried. Outside actors: 0. */
unsigned explore_choose(unsigned n);

/* ------------------------------------------------------------------ for setup */

/* Figures that decide nothing: not part of the state. Eight-byte words. */
void explore_ignore(const void *start, size_t bytes);

#endif
