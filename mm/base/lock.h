/*
 * Locks: a ticket spinlock and a reader-writer lock that lets no writer starve. Both are plain
 * words, valid when zero. Interrupts are off wherever they are used; an NMI handler takes none.
 *
 * HOLDS, TAKES, DROPS and their _SHARED forms stand behind a function's signature and are
 * checked by clang's -Wthread-safety. Order: space->lock before ept->lock before
 * file->lock before host->lock.
 */
#ifndef MM_BASE_LOCK_H
#define MM_BASE_LOCK_H

#include "mm/base/atomic.h"

#if defined(__clang__)
#define LOCK_ATTRIBUTE(x) __attribute__((x))
#else
#define LOCK_ATTRIBUTE(x)
#endif

#define LOCKABLE          LOCK_ATTRIBUTE(capability("lock"))
#define GUARDED_BY(l)     LOCK_ATTRIBUTE(guarded_by(l))
#define HOLDS(l)          LOCK_ATTRIBUTE(requires_capability(l))
#define HOLDS_SHARED(l)   LOCK_ATTRIBUTE(requires_shared_capability(l))
#define TAKES(l)          LOCK_ATTRIBUTE(acquire_capability(l))
#define TAKES_SHARED(l)   LOCK_ATTRIBUTE(acquire_shared_capability(l))
#define DROPS(l)          LOCK_ATTRIBUTE(release_capability(l))
#define DROPS_SHARED(l)   LOCK_ATTRIBUTE(release_shared_capability(l))
#define NOT_CHECKED       LOCK_ATTRIBUTE(no_thread_safety_analysis)

typedef struct LOCKABLE { atomic32_t next, serving; } spinlock_t;

static inline void spin_lock(spinlock_t *lock) TAKES(*lock) NOT_CHECKED
{
	uint32_t ticket = atomic_add(&lock->next, 1);

	await(atomic_read(&lock->serving) == ticket);
}

static inline void spin_unlock(spinlock_t *lock) DROPS(*lock) NOT_CHECKED
{
	/* Relaxed read: only the holder writes this word. */
	atomic_write(&lock->serving, atomic_read_relaxed(&lock->serving) + 1);
}

/*
 * Readers count in `readers`; a writer takes its turn by ticket, sets WRITER so that new readers
 * wait, and goes on when the count is down to WRITER alone.
 */
#define RWLOCK_WRITER (UINT32_C(1) << 31)
/* Those who hold it beside others: counted above the readers. */
#define RWLOCK_BESIDE (UINT32_C(1) << 16)
#define RWLOCK_READERS (RWLOCK_BESIDE - 1)

typedef struct LOCKABLE { atomic32_t readers; spinlock_t writers; } rwlock_t;

static inline void read_lock(rwlock_t *lock) TAKES_SHARED(*lock) NOT_CHECKED
{
	for (;;) {
		if (!(atomic_add(&lock->readers, 1) & RWLOCK_WRITER))
			return;
		atomic_sub(&lock->readers, 1);
		await(!(atomic_read(&lock->readers) & RWLOCK_WRITER));
	}
}

static inline void read_unlock(rwlock_t *lock) DROPS_SHARED(*lock) NOT_CHECKED
{
	atomic_sub(&lock->readers, 1);
}

static inline void write_lock(rwlock_t *lock) TAKES(*lock) NOT_CHECKED
{
	spin_lock(&lock->writers);
	atomic_or(&lock->readers, RWLOCK_WRITER);
	await(atomic_read(&lock->readers) == RWLOCK_WRITER);
}

static inline void write_unlock(rwlock_t *lock) DROPS(*lock) NOT_CHECKED
{
	atomic_and(&lock->readers, ~RWLOCK_WRITER);
	spin_unlock(&lock->writers);
}

/*
 * A third way to hold it, beside readers and others of one's kind, after a moment without readers:
 *
 *	beside_lock	waits for readers and the writer, not for those beside
 *	beside_alone	if need be: waits for those as well
 *	... what readers must see whole ...
 *	beside_open	readers, and others beside, come in again
 *	... what goes side by side with them ...
 *	beside_unlock
 */
static inline void beside_lock(rwlock_t *lock) TAKES(*lock) NOT_CHECKED
{
	spin_lock(&lock->writers);
	atomic_or(&lock->readers, RWLOCK_WRITER);
	await(!(atomic_read(&lock->readers) & RWLOCK_READERS));
}

static inline void beside_alone(rwlock_t *lock) HOLDS(*lock)
{
	/* A reader that is turned away counts for a moment. */
	await(!(atomic_read(&lock->readers) & ~(RWLOCK_WRITER | RWLOCK_READERS)));
}

static inline void beside_open(rwlock_t *lock) DROPS(*lock) TAKES_SHARED(*lock) NOT_CHECKED
{
	atomic_add(&lock->readers, RWLOCK_BESIDE - RWLOCK_WRITER);
	spin_unlock(&lock->writers);
}

static inline void beside_unlock(rwlock_t *lock) DROPS_SHARED(*lock) NOT_CHECKED
{
	atomic_sub(&lock->readers, RWLOCK_BESIDE);
}

#endif
