/*
 * Which lock an operation takes, and how, without a second thread: the lock is taken as if by
 * another CPU, and given back when the operation looks at it in vain.
 *
 *	takes(EXCLUSIVE, &space->lock, operation)	waits for a reader and for a writer
 *	takes(SHARED, ...)				waits for a writer, passes a reader by
 *
 * An operation that waits has done nothing yet that the allocator could see.
 */
#ifndef TESTS_UNIT_LOCK_FIXTURE_H
#define TESTS_UNIT_LOCK_FIXTURE_H

#include "mm/host.h"
#include "tests/host/arena.h"

enum hold { SHARED, EXCLUSIVE };

static struct {
	rwlock_t *lock;			/* held by the other CPU; NULL: no more */
	enum hold how;
	const struct host *host;	/* NULL: not looked at any more */
	uint64_t pages_before;
	unsigned waits;
} other;

static inline uint64_t pages_now(void)
{
	return other.host ? page_count_free(other.host) : other.pages_before;
}

static inline void other_takes(rwlock_t *lock, enum hold how) NOT_CHECKED
{
	if (how == EXCLUSIVE)
		write_lock(lock);
	else
		read_lock(lock);
	other.lock = lock;
	other.how = how;
	other.pages_before = pages_now();
}

static inline void other_drops(void) NOT_CHECKED
{
	if (other.lock && other.how == EXCLUSIVE)
		write_unlock(other.lock);
	else if (other.lock)
		read_unlock(other.lock);
	other.lock = NULL;
}

static inline void on_look(void)
{
	other.waits++;
	assert_int_equal(pages_now(), other.pages_before);
	other_drops();
}

static inline unsigned waits_for(rwlock_t *lock, enum hold how, void (*operation)(void))
{
	other.waits = 0;
	other_takes(lock, how);
	operation();
	other_drops();
	return other.waits;
}

static inline void takes(enum hold how, rwlock_t *lock, void (*operation)(void))
{
	assert_int_equal(waits_for(lock, EXCLUSIVE, operation), 1);
	assert_int_equal(waits_for(lock, SHARED, operation), how == EXCLUSIVE);
}

static inline void watch_locks(const struct host *host)
{
	other.lock = NULL;
	other.host = host;
	port_look_hook(on_look);
}

#endif
