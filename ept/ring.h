/* Rings of dirty pages, for ept's own files. */
#ifndef EPT_RING_H
#define EPT_RING_H

#include "ept/log.h"

/* False: this CPU uses no ring, or its is full. Called as log_mark. */
MUST_USE bool ring_push(struct ept *ept, gfn_t frame);

/* A vCPU's store, by its fault: as log_mark, for every kind of log. */
static inline void log_store(struct ept *ept, struct ept_log *log, gfn_t frame)
{
	if (log->kind != LOG_RING || !ring_push(ept, frame))
		log_mark(log, frame);
}

#endif
