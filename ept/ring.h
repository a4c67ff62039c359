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

/* By the CPU that uses it. */
static inline bool ring_has_room(struct ept_ring *ring)
{
	/* Relaxed: this CPU is the only writer. */
	return atomic_read(ring_entry(ring, atomic_read_relaxed(&ring->pushed))) == RING_FREE;
}

/* False: it is full. By the CPU that uses it, and as log_mark. */
MUST_USE static inline bool ring_push(struct ept_ring *ring, gfn_t frame)
{
	uint64_t n = atomic_read_relaxed(&ring->pushed);	/* relaxed: as above */

	if (atomic_read(ring_entry(ring, n)) != RING_FREE)
		return false;
	atomic_write(ring_entry(ring, n), frame.raw << RING_STATE_BITS | RING_DIRTY);
	atomic_write(&ring->pushed, n + 1);
	return true;
}

/*
 * This CPU can list a store, where there is no bitmap: looked for before its leaf gets W. What has
 * room keeps it until then, as only this CPU fills its ring.
 */
static inline bool log_has_room(const struct ept_cpu *cpu)
{
	return cpu->ring && ring_has_room(cpu->ring);
}

/* A vCPU's store, by its fault on this CPU: as log_mark, for every kind of log. */
static inline void log_store(struct ept_cpu *cpu, struct ept_log *log, gfn_t frame)
{
	if (log->listed) {
		if (cpu->ring && ring_push(cpu->ring, frame))
			return;
		check(log->kind == LOG_RING);	/* the other had room */
	}
	log_mark(log, frame);
}

/* Around all that ept_write_guest does on this CPU. */
static inline void device_begin(struct ept_cpu *cpu)
{
	uint64_t even = atomic_read_relaxed(&cpu->device);	/* relaxed: the only writer */

	check(!(even & 1));
	/* Locked: the logs are looked for after it. */
	atomic_xchg(&cpu->device, even + 1);
}

static inline void device_end(struct ept_cpu *cpu)
{
	/* Relaxed: as above. */
	atomic_write(&cpu->device, atomic_read_relaxed(&cpu->device) + 1);
}

/* What a device stores to the region that has the frame can be noted. Takes ept->lock, shared. */
bool device_has_log(struct ept *ept, gfn_t frame);
/* Returns when no device's store from before this call is under way. Not called by one. */
void device_await(struct ept *ept);

#endif
