/*
 * A host that takes memory away: a task that picks random ranges of a process's memory, over and
 * over, and asks for them back through the notifier, moves their pages to other frames, or splits
 * their large leaves so that it can. A guest in that memory must not notice.
 */
#ifndef BOOT_HARASS_H
#define BOOT_HARASS_H

#include "boot/boot.h"
#include "mm/base/atomic.h"

enum { HARASS_AREAS_MAX = 8 };

struct harass {
	struct task task;
	struct space *space;
	struct { hva_t start; uint64_t bytes; } areas[HARASS_AREAS_MAX];
	unsigned area_count;
	uint64_t interval, next;	/* TSC ticks between ranges; when the next is due */
	uint64_t random;		/* xorshift state, never 0 */
	atomic32_t stop;		/* set by another CPU; seen at the next step */
	uint64_t invalidated, migrated;	/* pages asked back; pages that moved */
	uint64_t ranges;
};

/* Starts it on the CPU `home` (or TASK_ANYWHERE), `rate` ranges a second, 1 or more. */
void harass_start(struct harass *harass, struct space *space, int home, uint64_t rate,
		  uint64_t seed);
/* More memory of the space for it to take; before harass_start. */
void harass_add_area(struct harass *harass, hva_t start, uint64_t bytes);
/* Returns when it has stopped. */
void harass_stop(struct harass *harass);

#endif
