/* Rings of dirty pages, for ept's own files. */
#ifndef EPT_RING_H
#define EPT_RING_H

#include "ept/log.h"

enum { RING_FREE = 0, RING_DIRTY = 1, RING_HARVESTED = 2, RING_STATE_BITS = 2, RING_STATE = 3 };

struct ept_ring {
	unsigned entries;			/* a power of two */
	uint64_t harvested;			/* so far; the harvester's own, as are these */
	atomic64_t pushed, reset;		/* so far: by the vCPU's CPU, by the harvester */
	atomic64_t at[];			/* frame << RING_STATE_BITS | state */
};

static inline atomic64_t *ring_entry(struct ept_ring *ring, uint64_t n)
{
	return &ring->at[n & (ring->entries - 1)];
}

/* False: it is full. By the CPU that uses it, and as log_mark. */
MUST_USE static inline bool ring_push(struct ept_ring *ring, gfn_t frame)
{
	/* Relaxed: this CPU is the only writer. */
	uint64_t n = atomic_read_relaxed(&ring->pushed);

	if (atomic_read(ring_entry(ring, n)) != RING_FREE)
		return false;
	atomic_write(ring_entry(ring, n), frame.raw << RING_STATE_BITS | RING_DIRTY);
	atomic_write(&ring->pushed, n + 1);
	return true;
}

/* A vCPU's store, by its fault on this CPU: as log_mark, for every kind of log. */
static inline void log_store(struct ept_cpu *cpu, struct ept_log *log, gfn_t frame)
{
	if (log->kind != LOG_RING || !cpu->ring || !ring_push(cpu->ring, frame))
		log_mark(log, frame);
}

#endif
