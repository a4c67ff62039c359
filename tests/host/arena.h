/*
 * The hosted machine: RAM for a host to own, CPUs that are threads, a panic that a test can expect.
 * Used by every program under tests/ that is not the image.
 *
 *	struct arena arena;
 *	struct host *host = arena_open(&arena, 64);		64 MiB of RAM from 0
 *	...
 *	arena_close(&arena);					checks the host, and for leaks
 *
 * The allocator is watched: freed 4 KiB frames are filled with ARENA_POISON (a lock among it is
 * held for ever), all freed frames are forbidden to AddressSanitizer until they are lent again, and
 * any allocation can be refused.
 */
#ifndef TESTS_HOST_ARENA_H
#define TESTS_HOST_ARENA_H

#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "mm/host.h"

enum { ARENA_POISON = 0xeb, ARENA_RANGES_MAX = 16 };

struct arena {
	struct page_watch watch;
	struct host *host;
	struct ram_range ranges[ARENA_RANGES_MAX];
	unsigned count;
	uint64_t pages_free;		/* when it was opened */
	int64_t fail_after;		/* allocations until one is refused; < 0: none is */
	bool fail_all;			/* every one after it, too */
	unsigned fail_order;		/* only of this order and larger */
	uint64_t refused;
};

struct host *arena_open(struct arena *arena, uint64_t mebibytes);
struct host *arena_open_ranges(struct arena *arena, const struct ram_range *ranges,
			       unsigned count);
/* host_verify, and a panic unless every page is free again. */
void arena_close(struct arena *arena);
/* True: from now on RAM holds what the arena before left there, which saves much of a short run. */
void arena_keep(bool keep);
/* Bytes of RAM without a host: for tests of host_create. They read as zeros. */
void arena_clear(const struct ram_range *ranges, unsigned count);

/* The nth allocation from now on (0: the next) is refused, once. Negative: none. */
void arena_fail_after(struct arena *arena, int64_t n);
/* Every allocation of this order and larger is refused, until arena_fail_after(arena, -1). */
void arena_fail_from_order(struct arena *arena, unsigned order);

/* This thread is that CPU. A thread that says nothing is CPU 0. */
void port_set_cpu(unsigned cpu);
/* Called whenever a wait looks in vain; NULL: nothing. Set while there is one thread. */
void port_look_hook(void (*hook)(void));

/*
 * True when the statement panics and the message holds the text. What it held locked stays
 * locked: leave the host alone afterwards, or use arena_abandon.
 */
#define panics(statement, text)                                                             \
	({                                                                                  \
		if (!setjmp(*port_panic_catch())) {                                         \
			statement;                                                          \
		}                                                                           \
		port_panic_caught(text);                                                    \
	})
jmp_buf *port_panic_catch(void);
bool port_panic_caught(const char *text);

/* Forgets a host that has panicked: no checks. */
void arena_abandon(struct arena *arena);

/* The lines of port_log are dropped unless this is set. */
void port_log_show(bool show);

#endif
