/*
 * Rings of dirty pages: each vCPU has one, of a power of two of entries, and lists there what it
 * stores to, so that a harvest costs per page that was stored to, not per page that there is.
 * Filled by faults (fast.c, fault.c), emptied by whoever copies the guest's memory. Linux:
 * virt/kvm/dirty_ring.c.
 *
 *   the vCPU's CPU                          who harvests
 *   --------------                          ------------
 *   leaf gets W                (cmpxchg)    entry: DIRTY -> HARVESTED, its frame taken
 *   entry: free -> DIRTY       (release)    reset: W from its leaf, flush, entry -> free
 *   back in the guest: stores               reads the page
 *
 * One CPU writes to a ring at a time, one harvests, both in order, so an entry's state is all that
 * they share. Reset before the page is read: a store after the reset finds no W, and is listed
 * anew; one before it has landed when the flush is over, and is in what is read. Read first, a
 * store between the two would be in neither (U33).
 *
 * A full ring loses nothing: its page goes to the region's bitmap, as a device's stores do, who
 * have no ring (ept_log_get). ept_ring_is_full says so while there is still some room.
 *
 * By RING_ONLY there is no bitmap. A fault looks for room first, and what finds none changes
 * nothing (FAULT_RING_FULL). A device is refused; one may have looked before the log was there:
 *
 *   a device's store (ept_write_guest)      a log by RING_ONLY that begins
 *   ----------------------------------      ------------------------------
 *   device: even -> odd        (xchg)       the log goes live                     (locked)
 *   is there such a log? refused            leaves lose W, flush, ept->lock is free
 *   the bytes into the page                 device odd: wait until it changes
 *   device: odd -> even        (release)    the page is read, by the caller
 *
 * Store before load, on both sides: it finds the log, or is found. Each is waited for by itself, so
 * that those who come after it, and store elsewhere, keep nobody waiting.
 */
#include "ept/change.h"
#include "ept/ring.h"
#include "ept/table.h"

enum status ept_ring_create(struct ept *ept, unsigned entries, struct ept_ring **out)
{
	uint64_t bytes = sizeof(struct ept_ring) + entries * sizeof(atomic64_t);
	pfn_t frame;

	if (entries < EPT_RING_LEAST || entries > EPT_RING_MOST || entries & (entries - 1))
		return STATUS_BAD_RANGE;
	enum status status = folio_alloc_zeroed(ept->host, bytes_order(bytes), &frame);

	if (status != STATUS_OK)
		return status;
	*out = pfn_to_ptr(frame);
	(*out)->entries = entries;
	return STATUS_OK;
}

void ept_ring_destroy(struct ept *ept, struct ept_ring *ring)
{
	folio_put(ept->host, ptr_to_pfn(ring));
}

void ept_ring_use(struct ept *ept, struct ept_ring *ring)
{
	ept_this_cpu(ept)->ring = ring;
}

bool ept_ring_is_full(const struct ept_ring *ring)
{
	return atomic_read(&ring->pushed) - atomic_read(&ring->reset) + EPT_RING_RESERVE >=
	       ring->entries;
}

unsigned ept_ring_harvest(struct ept_ring *ring, gfn_t *frames, unsigned most)
{
	unsigned count = 0;

	while (count < most) {
		atomic64_t *entry = ring_entry(ring, ring->harvested);
		uint64_t value = atomic_read(entry);

		if ((value & RING_STATE) != RING_DIRTY)
			break;
		atomic_write(entry, (value & ~(uint64_t)RING_STATE) | RING_HARVESTED);
		frames[count++] = gfn(value >> RING_STATE_BITS);
		ring->harvested++;
	}
	return count;
}

/* The next store to the page is listed again. */
static void protect(struct ept *ept, gfn_t frame, struct flush_batch *batch) HOLDS(ept->lock)
{
	/* A leaf that is larger has no W while its region is logged. */
	if (log_find(ept, frame))
		ept_take_bits(ept, ept_find(ept, frame).slot, SPTE_W, batch);
}

unsigned ept_ring_reset(struct ept *ept, struct ept_ring *ring)
{
	struct flush_batch batch = flush_nothing();
	uint64_t first = atomic_read_relaxed(&ring->reset);	/* relaxed: the harvester's own */

	write_lock(&ept->lock);
	for (uint64_t n = first; n < ring->harvested; n++)
		protect(ept, gfn(atomic_read(ring_entry(ring, n)) >> RING_STATE_BITS), &batch);
	/* Where aging takes W and flushes nothing, there may be nothing left to take. */
	batch.owed |= ring->harvested != first && !ept->caps.accessed_dirty;
	flush_settle(ept, batch);
	write_unlock(&ept->lock);
	for (uint64_t n = first; n < ring->harvested; n++)
		atomic_write(ring_entry(ring, n), RING_FREE);
	atomic_write(&ring->reset, ring->harvested);
	return (unsigned)(ring->harvested - first);
}

/* ------------------------------------------------------------------ devices */

bool device_has_log(struct ept *ept, gfn_t frame)
{
	if (!atomic_read(&ept->logs_live))
		return true;
	read_lock(&ept->lock);
	const struct ept_log *log = log_find(ept, frame);
	bool noted = !log || log->bitmap;

	read_unlock(&ept->lock);
	return noted;
}

void device_await(struct ept *ept)
{
	for (unsigned cpu = 0; cpu < MAX_CPUS; cpu++) {
		atomic64_t *device = &ept->cpus[cpu].device;
		uint64_t sample = atomic_read(device);

		if (sample & 1)
			await(atomic_read(device) != sample);
	}
}
