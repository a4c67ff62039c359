/*
 * A hostile VM (guest/payload/hostile.c) beside one that works, under a host that takes both their
 * memory: lives, one seed after another, until so many exits have been answered, and after each
 * life a look at whether anything was harmed.
 */
#ifndef TESTS_BOOT_HOSTILE_H
#define TESTS_BOOT_HOSTILE_H

#include <stdint.h>

#include "guest/machine/machine.h"

struct hostile_plan {
	uint64_t seed;			/* of the first life; the next have the next */
	uint64_t exits;			/* of the hostile VM alone, and by its own doing */
	uint64_t lives;			/* at most */
	uint64_t harass;		/* ranges a second that the host takes back; 0: none */
};

/* Prints a line for each life and the figures; returns how many looks found something wrong. */
unsigned hostile_run(const struct hostile_plan *plan);

/* A hostile machine of that seed, not yet run. False, after a line, when there is none. */
bool hostile_create(uint64_t seed, struct machine **out);

#endif
