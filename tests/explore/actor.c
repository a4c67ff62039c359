/*
 * Actors are coroutines, each a CPU of its own: they run from one scheduling point to the next and
 * hand back. Here are the verbs of mm/base/explore.h and the store buffers of x86-TSO (Intel SDM
 * "Memory Ordering in P6 and More Recent Processor Families"; the model is that of Sewell and
 * others, "x86-TSO: A Rigorous and Usable Programmer's Model"): a store waits in a FIFO of its CPU,
 * whose own loads see it; it drains at any time; a locked operation and a fence wait for an empty
 * buffer. A plain store goes to memory at once: two plain accesses to one word are either ordered
 * by locks, which drain, or a race, which search.c reports.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mm/base/port.h"
#include "tests/explore/internal.h"

/* So many accesses that nobody shares make a point all the same: a loop may have no other. */
enum { JUDGE = EXPLORE_ACTORS, NOBODY = -2, ALONE_MAX = 5000 };

char stacks[EXPLORE_ACTORS + 1][STACK_BYTES] __attribute__((aligned(4096)));
static void *scheduler;			/* the stack pointer of who switched to an actor */
static void (*functions[EXPLORE_ACTORS + 1])(void);
static char failure[256];

struct machine machine = { .running = NOBODY };
void (*machine_watch)(const struct event *event);

void explore_switch(void **save, void *load);

static struct actor *control(unsigned i)
{
	return (struct actor *)(void *)(stacks[i] + STACK_BYTES) - 1;
}

struct actor *actor(unsigned i) { return control(i); }

static unsigned me(void) { return machine.running < 0 ? JUDGE : (unsigned)machine.running; }
static struct actor *self(void) { return machine.running < 0 ? NULL : control(me()); }

static void hand_back(void)
{
	explore_switch(&control(me())->stack_pointer, scheduler);
}

/* Until the scheduler lets this actor make its next access. */
static void wait_turn(enum pending pending, const struct explore_word *word)
{
	struct actor *actor = self();

	actor->pending = pending;
	if (word)
		actor->word = *word;
	hand_back();
}

/* A frame of its own, which is cleared when it has gone: forget. */
#define APART __attribute__((noinline))

/* ------------------------------------------------------------------ values */

static uint64_t load(const void *at, unsigned bytes)
{
	uint64_t value = 0;

	memcpy(&value, at, bytes);
	return value;
}

static void store(void *at, unsigned bytes, uint64_t value)
{
	memory_log(at, bytes);
	memcpy(at, &value, bytes);
}

static const struct buffered *find_buffered(const struct actor *actor, const void *at)
{
	for (unsigned i = actor->buffered; i-- > 0;)
		if (actor->buffer[i].at == at)
			return &actor->buffer[i];
	return NULL;
}

/* What the actor would read there now. */
static uint64_t visible(const struct actor *actor, const void *at, unsigned bytes)
{
	const struct buffered *buffered = find_buffered(actor, at);

	return buffered ? buffered->value : load(at, bytes);
}

/* Nothing that the watcher does is an event. */
static void pass_on(const struct event *event)
{
	void (*watch)(const struct event *) = machine_watch;

	if (!watch)
		return;
	machine_watch = NULL;
	watch(event);
	machine_watch = watch;
}

/* A plain write is told by the compiler before it happens, so it is passed on when all is known. */
static struct event plain_event;

static void finish_plain(void)
{
	struct event event = plain_event;

	if (!event.verb)
		return;
	plain_event.verb = NULL;
	event.after = load(event.word.at, event.word.bytes);
	pass_on(&event);
}

void actor_tell_plain(void *at, unsigned bytes, bool write)
{
	unsigned shown = bytes < 8 ? bytes : 8;

	finish_plain();
	plain_event = (struct event){ (unsigned)machine.running, { at, shown, NULL, NULL },
				      write ? "sets" : "gets", load(at, shown), 0, true };
}

static void drain_first(unsigned i)
{
	struct actor *actor = control(i);
	struct buffered first = actor->buffer[0];
	struct event event = { i, { first.at, first.bytes, NULL, NULL }, "drains",
			       load(first.at, first.bytes), first.value, false };

	memory_meet(first.at, first.bytes, i, true);
	memory_record(first.at, first.bytes, true, false);
	store(first.at, first.bytes, first.value);
	actor->buffered--;
	memmove(actor->buffer, actor->buffer + 1, actor->buffered * sizeof(first));
	memset(&actor->buffer[actor->buffered], 0, sizeof(first));
	memmove(machine.tallies[i].stores, machine.tallies[i].stores + 1,
		actor->buffered * sizeof(uint32_t));
	pass_on(&event);
}

void actor_settle(const void *at, unsigned bytes)
{
	struct actor *actor = self();
	uint64_t start = (uint64_t)at, end = start + bytes;

	for (unsigned i = actor->buffered; i-- > 0;) {
		uint64_t held = (uint64_t)actor->buffer[i].at;

		if (held < end && held + actor->buffer[i].bytes > start) {
			for (unsigned n = 0; n <= i; n++)
				drain_first((unsigned)machine.running);
			return;
		}
	}
}

/* ------------------------------------------------------------------ the verbs */

static void tell(const struct explore_word *word, const char *verb, uint64_t before, uint64_t after)
{
	struct event event = { (unsigned)machine.running, *word, verb, before, after, false };

	finish_plain();
	pass_on(&event);
}

/* Stops for the scheduler if anybody could tell; then the access counts. */
static void reach(enum pending pending, const struct explore_word *word, bool write)
{
	struct actor *actor = self();
	bool shared = memory_meet(word->at, word->bytes, (unsigned)machine.running, write);
	bool must_drain = pending == PENDING_LOCKED && actor->buffered;

	if (actor->look_again)
		actor->look_again = false;
	else if (shared || must_drain || machine.every_access || ++machine.alone > ALONE_MAX) {
		forget(0);
		wait_turn(pending, word);
	}
	memory_record(word->at, word->bytes, write, false);
	machine.tallies[machine.running].accesses++;
}

static void watch(struct actor *actor, const struct explore_word *word, uint64_t value)
{
	check(actor->watched < WATCHES);
	actor->watches[actor->watched++] = (struct watched){ word->at, word->bytes, value };
}

static APART uint64_t reads(const struct explore_word *word)
{
	struct actor *actor = self();

	if (!actor)
		return load(word->at, word->bytes);
	/* Even of its own store in the buffer: that may drain before, and be overwritten. */
	reach(PENDING_READ, word, false);

	uint64_t value = visible(actor, word->at, word->bytes);

	if (actor->awaiting)
		watch(actor, word, value);
	tell(word, "reads", value, value);
	return value;
}

uint64_t explore_read(struct explore_word word) { return forget(reads(&word)); }

static void write_buffered(struct actor *actor, const struct explore_word *word, uint64_t value)
{
	struct tally *tally = &machine.tallies[machine.running];

	/* Entering the buffer is seen by nobody: a point only for want of room. */
	if (actor->buffered == BUFFER_MAX || machine.every_access)
		wait_turn(PENDING_WRITE, word);
	tell(word, "buffers", value, value);
	tally->stores[actor->buffered] = ++tally->accesses;
	actor->buffer[actor->buffered++] = (struct buffered){ value, word->at, word->bytes };
}

static APART void writes(const struct explore_word *word, uint64_t value)
{
	struct actor *actor = self();

	if (!actor) {
		if (machine.running != NOBODY)
			memory_log(word->at, word->bytes);
		memcpy(word->at, &value, word->bytes);
		return;
	}
	if (machine.model == MODEL_TSO &&
	    (memory_meet(word->at, word->bytes, me(), true) || machine.every_access)) {
		write_buffered(actor, word, value);
		return;
	}
	reach(PENDING_WRITE, word, true);
	tell(word, "writes", load(word->at, word->bytes), value);
	store(word->at, word->bytes, value);
}

void explore_write(struct explore_word word, uint64_t value)
{
	writes(&word, value);
	forget(0);
}

static uint64_t changed(enum explore_verb verb, uint64_t old, uint64_t operand)
{
	switch (verb) {
	case VERB_XCHG: return operand;
	case VERB_ADD: return old + operand;
	case VERB_SUB: return old - operand;
	case VERB_AND: return old & operand;
	case VERB_OR: return old | operand;
	}
	return old;
}

static void store_locked(const struct explore_word *word, uint64_t value)
{
	if (machine.running == NOBODY)
		memcpy(word->at, &value, word->bytes);
	else
		store(word->at, word->bytes, value);
}

static APART uint64_t changes(const struct explore_word *word, enum explore_verb verb,
			      uint64_t operand)
{
	if (self())
		reach(PENDING_LOCKED, word, true);

	uint64_t old = load(word->at, word->bytes), new = changed(verb, old, operand);

	if (word->bytes == 4)
		new = (uint32_t)new;
	if (self())
		tell(word, "changes", old, new);
	store_locked(word, new);
	return old;
}

uint64_t explore_change(struct explore_word word, enum explore_verb verb, uint64_t operand)
{
	return forget(changes(&word, verb, operand));
}

static APART bool swaps(const struct explore_word *word, void *expected, uint64_t value)
{
	if (self())
		reach(PENDING_LOCKED, word, true);

	uint64_t old = load(word->at, word->bytes);
	bool same = old == load(expected, word->bytes);

	if (self())
		tell(word, same ? "swaps" : "fails", old, same ? value : old);
	if (same)
		store_locked(word, value);
	else
		/* `expected` may be anywhere; it is the caller's own. */
		memcpy(expected, &old, word->bytes);
	return same;
}

bool explore_cmpxchg(struct explore_word word, void *expected, uint64_t value)
{
	return forget(swaps(&word, expected, value));
}

void explore_fence(void)
{
	struct explore_word nothing = { &stacks, 0, "fence", "" };

	if (self())
		reach(PENDING_LOCKED, &nothing, false);
}

void explore_bump(struct explore_word word, uint64_t by)
{
	uint64_t value = load(word.at, word.bytes) + by;

	if (machine.running != NOBODY)
		memory_log_unhashed(word.at);
	memcpy(word.at, &value, word.bytes);
}

/* One side may be a local variable, which nobody else sees. */
static void copy_word(uint64_t *to, const uint64_t *from)
{
	struct explore_word source = { (void *)(uint64_t)from, 8, "content", __func__ };
	struct explore_word target = { to, 8, "content", __func__ };
	uint64_t value = on_stack(from) ? *from : explore_read(source);

	if (on_stack(to))
		*to = value;
	else
		explore_write(target, value);
}

/*
 * The first few words of a page are where scenarios store; the rest is one plain copy, so that who
 * stores there is told of a race.
 */
void explore_copy(void *to, const void *from, uint64_t bytes)
{
	unsigned done = 0;

	if (!(((uint64_t)to | (uint64_t)from) & 7))
		for (; done < 32 && bytes - done >= 8; done += 8)
			copy_word((uint64_t *)to + done / 8, (const uint64_t *)from + done / 8);
	if (bytes > done)
		explore_memcpy((char *)to + done, (const char *)from + done, bytes - done);
}

void explore_await(void)
{
	if (self()) {
		self()->awaiting = true;
		self()->watched = 0;
	}
}

void explore_blocked(void)
{
	struct actor *actor = self();

	if (!actor)
		port_panic("waits for what nobody will do");
	wait_turn(PENDING_BLOCKED, NULL);
	actor->look_again = !machine.every_access;
	actor->watched = 0;
}

void explore_awoken(void)
{
	if (self()) {
		self()->awaiting = false;
		self()->watched = 0;
		memset(self()->watches, 0, sizeof(self()->watches));
	}
}

unsigned explore_choose(unsigned n)
{
	struct actor *actor = self();
	struct explore_word word = { &stacks, 0, "choice", "" };

	if (!actor || n < 2)
		return 0;
	actor->choices = n;
	wait_turn(PENDING_CHOICE, &word);
	machine.tallies[machine.running].accesses++;
	actor->choices = 0;

	unsigned choice = actor->choice;

	actor->choice = 0;
	tell(&word, "chooses", choice, choice);
	return choice;
}

/* ------------------------------------------------------------------ mm/base/port.h */

unsigned port_cpu(void) { return machine.running < 0 ? 0 : (unsigned)machine.running; }

void port_relax(void) { port_panic("a wait that is not await()"); }

void port_log(const char *format, ...) { (void)format; }

_Noreturn void port_panic(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(failure, sizeof(failure), format, arguments);
	va_end(arguments);
	if (machine.running == NOBODY) {
		fprintf(stderr, "explore: panic outside of every actor: %s\n", failure);
		exit(2);
	}
	machine.failure = failure;
	hand_back();
	abort();
}

/* ------------------------------------------------------------------ for the scheduler */

static void enter(void)
{
	functions[me()]();
	control(me())->pending = PENDING_DONE;
	hand_back();
	abort();
}

/* A stack on which explore_switch finds `enter` to return to. */
enum { CLEARED = 4096 };

static void prepare(unsigned i, void (*function)(void))
{
	struct actor *actor = control(i);
	uint64_t *top = (uint64_t *)((uint64_t)actor & ~UINT64_C(15));

	memset(stacks[i], 0, STACK_BYTES);
	top -= 2;
	*top = (uint64_t)enter;
	actor->stack_pointer = top - 6;
	actor->pending = PENDING_START;
	functions[i] = function;
}

struct span actor_span(unsigned i)
{
	char *start = control(i)->stack_pointer;

	return (struct span){ start, (size_t)(stacks[i] + STACK_BYTES - start) };
}

void actor_hash(unsigned i)
{
	struct span span = actor_span(i);
	const uint64_t *word = span.start;
	uint64_t hash = span.bytes + i;

	for (size_t n = span.bytes / 8; n > 1; n -= 2, word += 2)
		hash = mix(hash ^ word[0], word[1]);
	machine.hashes[i] = mix(hash, *word);
}

void machine_start(const struct scenario *scenario, enum explore_model model)
{
	machine.model = model;
	machine.failure = NULL;
	memset(machine.tallies, 0, sizeof(machine.tallies));
	for (machine.count = 0;
	     machine.count < EXPLORE_ACTORS && scenario->actors[machine.count]; machine.count++) {
		prepare(machine.count, scenario->actors[machine.count]);
		actor_hash(machine.count);
	}
}

bool actor_done(unsigned i)
{
	return control(i)->pending == PENDING_DONE && !control(i)->buffered;
}

static bool wakes(const struct actor *actor)
{
	for (unsigned i = 0; i < actor->watched; i++) {
		const struct watched *watched = &actor->watches[i];

		if (visible(actor, watched->at, watched->bytes) != watched->value)
			return true;
	}
	return false;
}

bool actor_can_step(unsigned i)
{
	const struct actor *actor = control(i);

	switch (actor->pending) {
	case PENDING_WRITE: return actor->buffered < BUFFER_MAX;
	case PENDING_LOCKED: return !actor->buffered;
	case PENDING_BLOCKED: return wakes(actor);
	case PENDING_DONE: return false;
	case PENDING_READ:
	case PENDING_CHOICE:
	case PENDING_START: return true;
	}
	return false;
}

bool actor_can_drain(unsigned i) { return control(i)->buffered; }

unsigned actor_choices(unsigned i)
{
	return control(i)->pending == PENDING_CHOICE ? control(i)->choices : 1;
}

/*
 * What calls of before, by this path or by another, have left where the next ones will have their
 * frames: a frame's gaps and what it has not set yet would be part of the state. As deep as a
 * transition mostly goes.
 */
static void clear_below(unsigned i)
{
	char *end = control(i)->stack_pointer, *start = end - CLEARED;

	if (start < stacks[i])
		start = stacks[i];
	memset(start, 0, (size_t)(end - start));
}

void actor_step(unsigned i, unsigned choice)
{
	struct actor *actor = control(i);

	if (actor->pending == PENDING_CHOICE)
		actor->choice = choice;
	clear_below(i);
	machine.running = (int)i;
	machine.alone = 0;
	explore_switch(&scheduler, actor->stack_pointer);
	finish_plain();
	machine.running = NOBODY;
}

void actor_drain(unsigned i)
{
	machine.running = (int)i;
	drain_first(i);
	machine.running = NOBODY;
}

void judge_run(void (*verify)(void))
{
	prepare(JUDGE, verify);
	machine.running = -1;
	explore_switch(&scheduler, control(JUDGE)->stack_pointer);
	machine.running = NOBODY;
}
