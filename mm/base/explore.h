/*
 * atomic.h's verbs when every interleaving is tried: each is a call to the explorer
 * (tests/explore), which decides who runs next before the access takes place. Included by
 * atomic.h alone, and only where EXPLORE is defined; what it means is the same.
 *
 * The text of the expression and the function's name are for people who read a schedule.
 */
#ifndef MM_BASE_EXPLORE_H
#define MM_BASE_EXPLORE_H

#include <stdbool.h>
#include <stdint.h>

enum explore_verb { VERB_XCHG, VERB_ADD, VERB_SUB, VERB_AND, VERB_OR };

struct explore_word {
	void *at;
	unsigned bytes;			/* 4 or 8 */
	const char *name, *function;
};

uint64_t explore_read(struct explore_word word);
void explore_write(struct explore_word word, uint64_t value);
/* Locked operations; each returns what stood there before. */
uint64_t explore_change(struct explore_word word, enum explore_verb verb, uint64_t operand);
bool explore_cmpxchg(struct explore_word word, void *expected, uint64_t value);
void explore_fence(void);
/* A counter that decides nothing: no step of its own, and not part of the state. */
void explore_bump(struct explore_word word, uint64_t by);

void explore_copy(void *to, const void *from, uint64_t bytes);

/* Around the reads of a condition; explore_blocked sleeps until one would read another value. */
void explore_await(void);
void explore_blocked(void);
void explore_awoken(void);

#define EXPLORE_WORD(word)                                                          \
	((struct explore_word){ (void *)(uintptr_t)&(word)->live, sizeof((word)->live), \
				#word, __func__ })
#define EXPLORE_TYPED(word, value) ((__typeof__((word)->live + 0))(value))

#define atomic_read(word)          EXPLORE_TYPED(word, explore_read(EXPLORE_WORD(word)))
#define atomic_write(word, value)  explore_write(EXPLORE_WORD(word), (value))
#define atomic_read_relaxed(word)  atomic_read(word)
#define atomic_write_relaxed(word, value) atomic_write(word, value)

#define EXPLORE_CHANGE(word, verb, value)                                           \
	EXPLORE_TYPED(word, explore_change(EXPLORE_WORD(word), (verb), (value)))
#define atomic_xchg(word, value)   EXPLORE_CHANGE(word, VERB_XCHG, value)
#define atomic_add(word, value)    EXPLORE_CHANGE(word, VERB_ADD, value)
#define atomic_sub(word, value)    EXPLORE_CHANGE(word, VERB_SUB, value)
#define atomic_and(word, value)    EXPLORE_CHANGE(word, VERB_AND, value)
#define atomic_or(word, value)     EXPLORE_CHANGE(word, VERB_OR, value)

#define atomic_cmpxchg(word, expected, value)                                       \
	explore_cmpxchg(EXPLORE_WORD(word), (expected), (value))
#define atomic_fence()             explore_fence()
#define atomic_copy(to, from, bytes) explore_copy((to), (from), (bytes))
#define atomic_bump(word, by)      explore_bump(EXPLORE_WORD(word), (by))

#define await(condition)                                                            \
	do {                                                                        \
		explore_await();                                                    \
		while (!(condition))                                                \
			explore_blocked();                                          \
		explore_awoken();                                                   \
	} while (0)

#endif
