/*
 * Shootdowns: how the host takes memory back although processors remember where it was. ept_enter
 * and ept_leave, or their inline forms (enter.h), are called by the CPU side around the guest,
 * flush_settle by whoever took entries away, under ept->lock, by several at a time.
 *
 * One word, `generation`, counts shootdowns. Each CPU has a word that only it writes:
 *
 *	presence = entries so far << 2 | { OUTSIDE, IN_GUEST, WALKING }
 *
 *   CPU                                      flusher
 *   ---                                      -------
 *                                            entries = 0		(change.c, xchg)
 *   presence = ++n | IN_GUEST   (xchg)       generation++		(locked add)
 *   seen = generation                        sample = presence
 *   seen != invalidated_at: INVEPT           IN_GUEST: kick, wait until presence != sample
 *   ... guest ...                            free tables, return: frames may go
 *   presence = n | OUTSIDE      (release)
 *
 * - Store before load, on both sides: each first writes its own word by a locked operation, then
 *   reads the other's. Were the CPU's store still in its store buffer when it reads the old
 *   generation, the flusher could read OUTSIDE and go on while the CPU uses the old entry. With
 *   both locked, at least one sees the other: the CPU sees the new generation and invalidates
 *   before it uses anything, or the flusher sees IN_GUEST and waits.
 * - A CPU that the flusher finds OUTSIDE is not disturbed. Its next entry reads the generation
 *   after our add, finds it new, invalidates, and only then walks the tables: they are as we left
 *   them, for the entries went before the add.
 * - Waiting for "changed", not for OUTSIDE: a CPU that leaves and enters again at once has seen
 *   the new generation on its way in, so the flusher has no need to catch it outside.
 * - No ABA: n never comes back (2^62 entries), and one entry writes two different words, so a
 *   changed word means that the guest was left after the sample. A kick that finds the CPU gone,
 *   or in its next entry, costs an exit and nothing else.
 * - The CPU's loads and stores in the guest come before its release of presence, and the flusher
 *   acquires it: whoever reuses the frame comes after the last use.
 * - invalidated_at is written before the INVEPT happens. Between the two the CPU is IN_GUEST to
 *   every flusher, and is waited for.
 * - A CPU enters for the first time with invalidated_at == 0, which no generation is. So it
 *   always invalidates (an EPT of before may have had its root in the same frame), and
 *   says that it exists, in cpus_entered, before its first walk: a flusher that does not see its
 *   bit has taken the entries away before, and the walk finds them gone.
 *
 * Tables wait in the batch until the same moment as frames do.
 *
 * A walk without the lock (walk_enter) is an entry of another kind: it announces itself by the same
 * locked exchange before it reads an entry, so either it finds a table gone, or the flusher finds
 * it WALKING and waits for it before the table is freed. It keeps no translation and needs no kick.
 *
 * But it keeps its way (struct ept_way): to the table that it came to, with the generation that it
 * read before the first entry. The pointer is used only while that generation stands, so of U15
 * ("dies with the walk") what matters is kept:
 *
 *   a walk                                   who takes a table
 *   ------                                   -----------------
 *   presence = ... WALKING      (xchg)       its entry: empty, or dead     (xchg)
 *   generation == way's: to its table        generation++                  (locked add)
 *   presence = ... OUTSIDE      (release)    WALKING: waits until presence != sample
 *                                            the table is freed
 *
 * The walk sees the new generation and goes another way, or it is seen, and waited for. In between
 * it may be in a table that has left the tree, as one that had gone down before may. Read after the
 * first entry, the generation could be that of the removal itself, and the way to the lost table
 * good for ever.
 */
#include "ept/flush.h"
#include "ept/port.h"
#include "ept/table.h"
#include "mm/base/list.h"

enum { OUTSIDE = 0, STATE = 3 };	/* and EPT_IN_GUEST, WALKING */

struct ept_entrance ept_entrance(struct ept *ept)
{
	return (struct ept_entrance){ &ept->notice, &ept_this_cpu(ept)->visitor };
}

enum ept_entry ept_enter_anew(const struct ept_entrance *at, uint64_t generation,
			      enum ept_entry entry)
{
	struct ept *ept = container_of(at->notice, struct ept, notice);

	if (!at->visitor->invalidated_at)
		atomic_or(&ept->cpus_entered, UINT64_C(1) << port_cpu());
	at->visitor->invalidated_at = generation;
	ept_count(ept, COUNT_INVEPTS, 1);
	return entry | EPT_INVALIDATE;
}

enum ept_entry ept_enter(struct ept *ept)
{
	struct ept_entrance at = ept_entrance(ept);
	/* Relaxed: this CPU is the only writer. */
	uint64_t presence = atomic_read_relaxed(&at.visitor->presence);

	check((presence & STATE) == OUTSIDE);
	return ept_enter_from(&at, presence);
}

void walk_await(struct ept *ept)
{
	for (uint64_t left = atomic_read(&ept->cpus_entered); left; left &= left - 1) {
		atomic64_t *presence = &ept->cpus[__builtin_ctzll(left)].visitor.presence;
		uint64_t sample = atomic_read(presence);

		if ((sample & STATE) == WALKING)
			await(atomic_read(presence) != sample);
	}
}

void ept_leave(struct ept *ept)
{
	struct ept_entrance at = ept_entrance(ept);
	uint64_t presence = atomic_read_relaxed(&at.visitor->presence);	/* relaxed: as above */

	check((presence & STATE) == EPT_IN_GUEST);
	ept_leave_from(&at, presence);
}

static void kick(struct ept *ept, unsigned cpu)
{
	/* A CPU that runs this is not in the guest. */
	check(cpu != port_cpu());
	ept_count(ept, COUNT_KICKS, 1);
	port_kick(cpu);
}

void flush_expel(struct ept *ept)
{
	uint64_t samples[MAX_CPUS];
	uint64_t inside = 0;

	/* All are kicked before any is waited for. */
	for (uint64_t left = atomic_read(&ept->cpus_entered); left; left &= left - 1) {
		unsigned cpu = (unsigned)__builtin_ctzll(left);

		samples[cpu] = atomic_read(&ept->cpus[cpu].visitor.presence);
		if ((samples[cpu] & STATE) == EPT_IN_GUEST)
			kick(ept, cpu);
		if ((samples[cpu] & STATE) != OUTSIDE)
			inside |= UINT64_C(1) << cpu;
	}
	for (; inside; inside &= inside - 1) {
		unsigned cpu = (unsigned)__builtin_ctzll(inside);

		await(atomic_read(&ept->cpus[cpu].visitor.presence) != samples[cpu]);
	}
}

static void shoot_down(struct ept *ept) HOLDS_SHARED(ept->lock)
{
	ept_count(ept, COUNT_FLUSHES, 1);
	atomic_add(&ept->notice.generation, 1);
	flush_expel(ept);
}

void flush_add_table(struct flush_batch *batch, pfn_t table)
{
	slot_xchg(table_slots(table), spte_make_waiting(batch->tables));
	batch->tables = table;
	batch->owed = true;
}

void flush_free_tables(struct ept *ept, struct flush_batch *batch)
{
	while (batch->tables.raw) {
		pfn_t table = batch->tables;

		batch->tables = spte_frame(slot_read(table_slots(table)));
		ept_count(ept, COUNT_TABLES_FREED, 1);
		ept_table_free(ept, table);
	}
}

void flush_settle(struct ept *ept, struct flush_batch batch)
{
	if (!batch.owed)
		return;
	for (unsigned level = LEVEL_4K; level <= LEVEL_1G; level++)
		ept_count(ept, COUNT_ZAPPED_4K + level - LEVEL_4K, batch.zapped[level - 1]);
	shoot_down(ept);
	flush_free_tables(ept, &batch);
}
