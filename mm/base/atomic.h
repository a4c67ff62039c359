/*
 * Words that more than one CPU touches. The only header that names a memory order:
 * a read acquires, a write releases, a read-modify-write does both and, on x86, is a
 * full barrier. A `_relaxed` use says at the call why it may be.
 *
 * There is no other way to a shared word: no volatile, no plain access. Waiting is
 * await(condition on a shared word), never a loop of one's own.
 */
#ifndef MM_BASE_ATOMIC_H
#define MM_BASE_ATOMIC_H

#include <stdbool.h>
#include <stdint.h>

#include "mm/base/port.h"

typedef struct { uint32_t live; } atomic32_t;
typedef struct { uint64_t live; } atomic64_t;

#ifdef EXPLORE
#include "mm/base/explore.h"
#else

#define atomic_read(word)          __atomic_load_n(&(word)->live, __ATOMIC_ACQUIRE)
#define atomic_write(word, value)  __atomic_store_n(&(word)->live, (value), __ATOMIC_RELEASE)
#define atomic_read_relaxed(word)  __atomic_load_n(&(word)->live, __ATOMIC_RELAXED)
#define atomic_write_relaxed(word, value) \
	__atomic_store_n(&(word)->live, (value), __ATOMIC_RELAXED)

/* Each returns the value that stood there before. */
#define atomic_xchg(word, value)   __atomic_exchange_n(&(word)->live, (value), __ATOMIC_ACQ_REL)
#define atomic_add(word, value)    __atomic_fetch_add(&(word)->live, (value), __ATOMIC_ACQ_REL)
#define atomic_sub(word, value)    __atomic_fetch_sub(&(word)->live, (value), __ATOMIC_ACQ_REL)
#define atomic_and(word, value)    __atomic_fetch_and(&(word)->live, (value), __ATOMIC_ACQ_REL)
#define atomic_or(word, value)     __atomic_fetch_or(&(word)->live, (value), __ATOMIC_ACQ_REL)

/* True when *expected stood there and the value was stored; else *expected is what stands there. */
#define atomic_cmpxchg(word, expected, value)                                       \
	__atomic_compare_exchange_n(&(word)->live, (expected), (value), false,      \
				    __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)

/* Orders every earlier access before every later one, stores before loads included. */
#define atomic_fence()             __atomic_thread_fence(__ATOMIC_SEQ_CST)

/*
 * Content that its owner, a process or a guest, may be writing meanwhile: each aligned eight bytes
 * arrive as they were or as they will be, which the plain copies of x86 do by themselves.
 */
#define atomic_copy(to, from, bytes) __builtin_memcpy((to), (from), (bytes))

#define await(condition)                                                            \
	do {                                                                        \
		while (!(condition))                                                \
			port_relax();                                               \
	} while (0)

/* A counter that one CPU writes and any CPU may read: no lock prefix is needed. */
static inline void atomic_bump(atomic64_t *counter, uint64_t by)
{
	/*
	 * Relaxed: the only writer is this CPU, readers want a recent figure, not an order. One
	 * instruction, where compilers make three of a read and a write.
	 */
	__asm__("addq %1, %0" : "+m"(counter->live) : "er"(by));
}

#endif
#endif
