/*
 * The explorer's rooms:
 *
 *	memory.c   what actors have changed: undone by address, hashed as it goes
 *	actor.c    coroutines, their store buffers, the verbs of mm/base/explore.h
 *	search.c   which transition next: the engines
 *	report.c   schedules as strings, replay in columns, the result's line
 *	main.c     the command
 *
 * A transition is what an actor does from one scheduling point to the next: its waiting access
 * first, then all that no other actor can see. So only words that two actors touch and one writes
 * are scheduling points. Which those are is learnt: a word starts as private, and is shared for
 * good once a second actor meets it (memory.c). A search in which no word became shared has
 * therefore missed nothing: whatever it did not schedule apart commutes with everything.
 * The search starts again when one did.
 */
#ifndef TESTS_EXPLORE_INTERNAL_H
#define TESTS_EXPLORE_INTERNAL_H

#include "mm/base/explore.h"
#include "tests/explore/explore.h"

/* ------------------------------------------------------------------ memory.c */

enum { FOOTPRINT_MAX = 96 };

struct access {
	uint64_t at;
	uint32_t bytes;
	bool write, plain;
};

/* What one transition read and wrote, but for its actor's own stack. */
struct footprint {
	unsigned count;			/* FOOTPRINT_MAX + 1: more than fits, so everything */
	struct access accesses[FOOTPRINT_MAX];	/* first the one that it was waiting for */
};

/* Forgets all that was learnt of words. */
void memory_forget(void);
/* From here on changes are remembered. */
void memory_begin(void);
void memory_end(void);

/* A transition begins: its changes go back to this mark by memory_undo. */
struct mark { size_t undo; uint64_t hash; };
struct mark memory_mark(struct footprint *footprint);
/* It has ended: brings the hash up to date. */
void memory_settle(struct mark mark);
void memory_undo(struct mark mark);
uint64_t memory_hash(void);

/* An actor is about to access a word, or has done so. True: other actors share it. */
bool memory_meet(const void *at, unsigned bytes, unsigned actor, bool write);
void *explore_memcpy(void *to, const void *from, size_t bytes);
bool memory_is_shared(uint64_t at);
void memory_record(const void *at, unsigned bytes, bool write, bool plain);
bool memory_grew(void);			/* a word became shared since memory_clear_grew */
void memory_clear_grew(void);
/* Before a change: so that it can be undone. */
void memory_log(void *at, unsigned bytes);
void memory_log_unhashed(void *at);

static inline uint64_t mix(uint64_t a, uint64_t b)
{
	__uint128_t product = (__uint128_t)(a ^ UINT64_C(0x9e3779b97f4a7c15)) *
			      (b ^ UINT64_C(0xd6e8feb86659fd93));

	return (uint64_t)product ^ (uint64_t)(product >> 64) ^ b * UINT64_C(0xff51afd7ed558ccd);
}

/* ------------------------------------------------------------------ actor.c */

enum { STACK_BYTES = 32768, BUFFER_MAX = 6, WATCHES = 4 };

enum pending { PENDING_READ, PENDING_WRITE, PENDING_LOCKED, PENDING_CHOICE, PENDING_BLOCKED,
	       PENDING_START, PENDING_DONE };

struct buffered { uint64_t value; void *at; unsigned bytes; };
struct watched { const void *at; unsigned bytes; uint64_t value; };

/* Stands at the top of its actor's stack, so that one copy saves both. */
struct actor {
	void *stack_pointer;
	enum pending pending;
	struct explore_word word;	/* that it waits to access */
	unsigned choices, choice;
	bool awaiting, look_again;
	unsigned watched;
	struct watched watches[WATCHES];
	unsigned buffered;
	struct buffered buffer[BUFFER_MAX];
};

/* Of a path, not of the state: how many accesses, and which of them each buffered store was. */
struct tally { uint32_t accesses, stores[BUFFER_MAX]; };

struct machine {
	int running;				/* an actor, or less than 0 */
	enum explore_model model;
	unsigned count;
	struct tally tallies[EXPLORE_ACTORS];
	uint64_t hashes[EXPLORE_ACTORS];	/* of each actor's stack */
	const char *failure;			/* of the transition just made */
	unsigned alone;				/* its accesses without a point */
	bool every_access;			/* replay: each access is a point */
	bool compares;				/* states: the search knows them by their hashes */
};
extern struct machine machine;

/* Asked at every access. */
static inline int running_actor(void) { return machine.running; }
extern char stacks[EXPLORE_ACTORS + 1][STACK_BYTES];
static inline bool on_stack(const void *at)
{
	return (const char *)at >= stacks[0] && (const char *)at < stacks[0] + sizeof(stacks);
}

/*
 * What calls that have returned left on the stack below the caller's frame is cleared: the next
 * frames' gaps, and what they have not set yet, would have it in them, and one state would look
 * like many. Returns its argument: as a function's last call it clears that one's frame as well,
 * since compilers jump there.
 */
uint64_t explore_forget(uint64_t result);
static inline uint64_t forget(uint64_t result)
{
	return machine.compares ? explore_forget(result) : result;
}

struct actor *actor(unsigned i);
void machine_start(const struct scenario *scenario, enum explore_model model);
/* At rest: its function has returned, its store buffer is empty. */
bool actor_done(unsigned i);
bool actor_can_step(unsigned i);
bool actor_can_drain(unsigned i);
unsigned actor_choices(unsigned i);
void actor_step(unsigned i, unsigned choice);
void actor_drain(unsigned i);
/* Brings machine.hashes up to date, after one of these two. */
void actor_hash(unsigned i);
/* Before the running actor's plain access: what its own store buffer holds there drains. */
void actor_settle(const void *at, unsigned bytes);
/* Runs the function alone, outside all schedules. */
void judge_run(void (*verify)(void));
/* For the copies: from its stack pointer to the end. */
struct span { void *start; size_t bytes; } actor_span(unsigned i);

/* A line for each access while it is set: replay. */
struct event {
	unsigned actor;
	struct explore_word word;
	const char *verb;
	uint64_t before, after;
	bool plain;
};
extern void (*machine_watch)(const struct event *event);
/* The running actor's plain access is about to happen; of a long one, the first eight bytes. */
void actor_tell_plain(void *at, unsigned bytes, bool write);

/* ------------------------------------------------------------------ search.c */

enum kind { STEP, DRAIN };
struct transition { uint8_t actor, kind; uint16_t choice; uint32_t accesses; };

/* Those that search, then those that walk once, or many times, and see what they meet. */
enum engine { ENGINE_PLAIN, ENGINE_STATEFUL, ENGINE_REDUCED, ENGINE_PCT, ENGINE_RANDOM,
	      ENGINE_GIVEN };
/* OK: a complete search; SAMPLED: as many walks as were asked for. Nothing was found by either. */
enum verdict { VERDICT_OK, VERDICT_SAMPLED, VERDICT_FAIL, VERDICT_DEADLOCK, VERDICT_STEP_BOUND,
	       VERDICT_TIMEOUT };

enum { DEPTH_MAX = 4000, UNBOUNDED = -1, GIVEN_CHOICES = 8 };

struct plan {
	const struct scenario *scenario;
	enum explore_model model;
	enum engine engine;
	int bound;			/* preemptions, or UNBOUNDED */
	uint64_t runs, seed;		/* PCT and random */
	unsigned depth;			/* PCT's d */
	/*
	 * ENGINE_GIVEN: for each actor its choices, then a schedule of pairs: which alternative to
	 * take (its highest bit: store buffers drain only when nothing else can go on), and for how
	 * many steps things then go on as they do. Where bytes are missing: the first choice; and
	 * on.
	 */
	const uint8_t *given;
	size_t given_bytes;
	uint64_t most;			/* transitions; more is a TIMEOUT */
	unsigned part, parts;		/* of a search: the part-th, from 0, of so many; 0 is one */
	void (*terminal)(void);		/* at each execution's end, for the engines' own tests */
	void (*progress)(uint64_t transitions, uint64_t states);
};

struct result {
	enum verdict verdict;
	uint64_t executions, states, transitions;
	unsigned depth;			/* of the longest schedule */
	char message[256];
	unsigned length;		/* of the failing schedule */
	struct transition path[DEPTH_MAX];
};

void search(const struct plan *plan, struct result *out);
/* The same in steps, so that more than one search has one setup. The plan may change between. */
void search_open(const struct plan *plan, struct result *out);
void search_run(void);
void search_close(void);

/* ------------------------------------------------------------------ report.c */

const char *verdict_name(enum verdict verdict);
/* As ENGINE= has it. */
const char *engine_name(enum engine engine);
const char *model_name(enum explore_model model);
/* A9B17a5C10: A runs nine accesses, B 17, A's buffer drains up to its 5th access, C runs ten. */
void print_schedule(const struct result *result, char *out, size_t bytes);
/* False: not a schedule, or not one of this scenario; `why` says so. */
bool replay(const struct scenario *scenario, enum explore_model model, const char *schedule,
	    const char **why);

#endif
