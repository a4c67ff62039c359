/* The host's jobs, run by the image's CPUs. */
#ifndef BOOT_DAEMONS_H
#define BOOT_DAEMONS_H

#include "mm/daemon.h"

/*
 * `rate` steps a second, not 0, of so many pages. Errors as daemon_start's, and STATUS_NO_MEMORY.
 * KSM's tables live as long as its daemon.
 */
MUST_USE enum status daemons_start(enum daemon_kind kind, uint64_t rate, uint64_t pages);
/* Returns when it is off. Not from within a task's step. */
void daemons_stop(enum daemon_kind kind);

#endif
