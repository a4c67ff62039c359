/* What operations.c (what one does) and actors.c (when it does it) share. */
#ifndef TESTS_HOST_ACTORS_H
#define TESTS_HOST_ACTORS_H

#include "mm/space.h"
#include "tests/host/arena.h"
#include "tests/host/model.h"
#include "tests/host/soft_cpu.h"

enum { ACTORS = 3 };

enum kind {
	GUEST_LOAD, GUEST_STORE, GUEST_EXCHANGE, GUEST_FETCH, GUEST_EVICT, GUEST_LEAVE,
	DEVICE_READ, DEVICE_WRITE, PROCESS_READ, PROCESS_WRITE,
	MAP, UNMAP, DISCARD, MIGRATE, INVALIDATE, PROTECT, SPLIT, RENEW,
	REGION, FAIL, VERIFY,
	KINDS
};

struct operation {
	enum kind kind;
	enum access access;
	unsigned word, choice;		/* choice: whatever else the kind wants to know */
	uint64_t frame;			/* of the guest */
	unsigned page;			/* of the host; MODEL_PAGES: none */
	struct span span;
	uint64_t value;			/* to store; what was loaded */
	uint64_t refusals;		/* of allocations before it began */
	unsigned possible;		/* results that were right at some moment of it: bits */
};

struct actor {
	struct soft_cpu soft;
	const uint8_t *next;		/* its next operation, or the end */
	struct operation *doing;	/* NULL: between two */
};

/* Of the one scene. */
struct scene {
	struct arena arena;
	struct page_watch arena_watch;	/* what the arena itself does */
	struct space *space;
	struct ept *ept;
	struct notifier listener;
	struct model model;
	struct actor actors[ACTORS];
	const uint8_t *end;		/* of the operations */
	const uint8_t *schedule, *schedule_end;
	uint64_t counter, refusals;
	bool verify_always;
};
extern struct scene scene;

/* ------------------------------------------------------------------ operations.c */

struct operation operation_decode(const uint8_t *bytes);
unsigned operation_actor(const uint8_t *bytes);
void operation_log(const struct actor *actor, const struct operation *operation);
/* All of it, and what others may now find: widens what is right for those in the middle of one. */
void operation_perform(struct actor *actor, struct operation *operation);

bool is_guest_access(const struct operation *operation);
gpa_t guest_address(const struct operation *operation);
/* The access was made, with the value that is now in the operation; `stored` is its own. */
void judge_done(const struct operation *operation, uint64_t stored);
void verify_all(void);

#endif
