/*
 * What the host does by and by, each as a job that is due every so often: for whoever has a CPU to
 * lend, a task of the image or a thread. Linux: kswapd, the flusher threads, ksmd, task_numa_work.
 *
 * mm has no clock: ticks are the caller's, and only ever compared with its own.
 */
#ifndef MM_DAEMON_H
#define MM_DAEMON_H

#include "mm/mm.h"

enum daemon_kind { DAEMON_RECLAIM, DAEMON_FLUSH, DAEMON_KSM, DAEMON_NUMA, DAEMONS };

struct daemon_rate {
	uint64_t interval;		/* ticks from one step to the next; 0: always due */
	uint64_t pages;			/* that a step deals with at most; not 0 */
};

const char *daemon_name(enum daemon_kind kind);
/* STATUS_EXISTS: it is on; STATUS_BAD_RANGE: no pages. Due at once. */
MUST_USE enum status daemon_start(struct host *host, enum daemon_kind kind,
				  struct daemon_rate rate);
/* Returns when no step is under way, and none will be. What is off stays off. No lock held. */
void daemon_stop(struct host *host, enum daemon_kind kind);
/*
 * One step, if the job is on, due, and nobody else is at it: then true. No lock held. Any number of
 * CPUs may call it.
 */
bool daemon_step(struct host *host, enum daemon_kind kind, uint64_t now);

struct daemon_stats { uint64_t steps, pages; };	/* since the host was made */
void daemon_read_stats(struct host *host, enum daemon_kind kind, struct daemon_stats *out);

#endif
