/*
 * What explored code has changed. The compiler tells of each plain access (ThreadSanitizer's
 * instrumentation, with these callbacks for its runtime), actor.c of each atomic one.
 *
 * A word is eight aligned bytes. Its old value goes to the undo log once a transition, and the hash
 * of memory is the exclusive or over all changed words, so that it costs what was changed, not
 * what there is. Compiled without instrumentation.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/explore/internal.h"

enum { SHARED = 1, IGNORED = 2, TABLE_BITS = 21, CHUNK = 64 };

/* What is known of a word. */
struct word {
	uint64_t at;			/* 0: free */
	uint32_t transition;		/* that changed it last */
	uint8_t flags, readers, writers;	/* by actor, a bit each */
};

struct undo { uint64_t at, old; bool hashed; };

static struct word *words;
static size_t word_count;
static uint32_t transition;
static struct undo *undos;
static size_t undo_count, undo_room;
static uint64_t hash;
static bool active, grew;
static struct footprint *footprint;

static struct word *word_of(uint64_t at)
{
	uint64_t mask = (UINT64_C(1) << TABLE_BITS) - 1;
	uint64_t i = (at >> 3) * UINT64_C(0x9e3779b97f4a7c15) >> (64 - TABLE_BITS);

	while (words[i].at != at && words[i].at)
		i = (i + 1) & mask;
	if (!words[i].at) {
		if (++word_count > mask / 2) {
			fprintf(stderr, "explore: more than %zu words were touched\n", word_count);
			exit(2);
		}
		words[i].at = at;
	}
	return &words[i];
}

void memory_forget(void)
{
	free(words);
	words = calloc((size_t)1 << TABLE_BITS, sizeof(*words));
	check(words);
	word_count = 0;
	undo_count = 0;
	transition = 0;
	hash = 0;
	grew = false;
}

void explore_ignore(const void *start, size_t bytes)
{
	for (uint64_t at = (uint64_t)start & ~UINT64_C(7); at < (uint64_t)start + bytes; at += 8)
		word_of(at)->flags |= IGNORED;
}

void memory_begin(void) { active = true; }
void memory_end(void) { active = false; }
uint64_t memory_hash(void) { return hash; }
bool memory_grew(void) { return grew; }
void memory_clear_grew(void) { grew = false; }

/* ------------------------------------------------------------------ changes */

struct mark memory_mark(struct footprint *record)
{
	transition++;
	footprint = record;
	if (record)
		record->count = 0;
	return (struct mark){ undo_count, hash };
}

static uint64_t peek(uint64_t at)
{
	uint64_t value;

	memcpy(&value, (const void *)at, sizeof(value));
	return value;
}

static void log_word(uint64_t at, bool hashed)
{
	struct word *word = word_of(at);

	if (word->transition == transition)
		return;
	word->transition = transition;
	if (undo_count == undo_room) {
		undo_room = undo_room ? undo_room * 2 : 1 << 16;
		undos = realloc(undos, undo_room * sizeof(*undos));
		check(undos);
	}
	undos[undo_count++] = (struct undo){ at, peek(at), hashed && !(word->flags & IGNORED) };
}

void memory_log(void *at, unsigned bytes)
{
	uint64_t end = (uint64_t)at + bytes;

	for (uint64_t word = (uint64_t)at & ~UINT64_C(7); word < end; word += 8)
		log_word(word, true);
}

void memory_log_unhashed(void *at) { log_word((uint64_t)at & ~UINT64_C(7), false); }

void memory_settle(struct mark mark)
{
	for (size_t i = mark.undo; i < undo_count; i++)
		if (undos[i].hashed)
			hash ^= mix(undos[i].at, undos[i].old) ^
				mix(undos[i].at, peek(undos[i].at));
	footprint = NULL;
}

void memory_undo(struct mark mark)
{
	while (undo_count > mark.undo) {
		undo_count--;
		memcpy((void *)undos[undo_count].at, &undos[undo_count].old, 8);
	}
	hash = mark.hash;
}

/* ------------------------------------------------------------------ who touches what */

void memory_record(const void *at, unsigned bytes, bool write, bool plain)
{
	if (!footprint || footprint->count > FOOTPRINT_MAX)
		return;
	if (footprint->count < FOOTPRINT_MAX)
		footprint->accesses[footprint->count] =
			(struct access){ (uint64_t)at, bytes, write, plain };
	footprint->count++;
}

static bool touch(uint64_t at, unsigned actor, bool write)
{
	struct word *word = word_of(at);
	uint8_t bit = (uint8_t)(1u << actor);

	*(write ? &word->writers : &word->readers) |= bit;
	if (!(word->flags & SHARED) && word->writers &&
	    __builtin_popcount(word->readers | word->writers) > 1) {
		word->flags |= SHARED;
		grew = true;
	}
	return word->flags & SHARED;
}

bool memory_meet(const void *at, unsigned bytes, unsigned actor, bool write)
{
	uint64_t end = (uint64_t)at + bytes;
	bool shared = false;

	for (uint64_t word = (uint64_t)at & ~UINT64_C(7); word < end; word += 8)
		shared |= touch(word, actor, write);
	return shared;
}

bool memory_is_shared(uint64_t at) { return word_of(at & ~UINT64_C(7))->flags & SHARED; }

/* ------------------------------------------------------------------ the compiler's callbacks */

static __attribute__((noinline)) void plain(void *at, unsigned bytes, bool write)
{
	if (running_actor() >= 0) {
		actor_settle(at, bytes);
		memory_meet(at, bytes, (unsigned)running_actor(), write);
		memory_record(at, bytes, write, true);
		if (machine_watch)
			actor_tell_plain(at, bytes, write);
	}
	if (write)
		memory_log(at, bytes);
}

/* Where clang counts for libFuzzer what was reached: empty unless that was asked for. */
extern char __start___sancov_cntrs[] __attribute__((weak));
extern char __stop___sancov_cntrs[] __attribute__((weak));

static bool is_explored(const char *at)
{
	return active && !on_stack(at) &&
	       (at < __start___sancov_cntrs || at >= __stop___sancov_cntrs);
}

/* Who judges reads all there is, at the end of each execution. */
static void plain_read(void *at, unsigned bytes)
{
	if (running_actor() >= 0 && is_explored(at)) {
		plain(at, bytes, false);
		forget(0);
	}
}

static void plain_write(void *at, unsigned bytes)
{
	if (is_explored(at)) {
		plain(at, bytes, true);
		forget(0);
	}
}

#define CALLBACKS(bytes)                                                            \
	void __tsan_read##bytes(void *at);                                          \
	void __tsan_write##bytes(void *at);                                         \
	void __tsan_unaligned_read##bytes(void *at);                                \
	void __tsan_unaligned_write##bytes(void *at);                               \
	void __tsan_read##bytes(void *at) { plain_read(at, bytes); }                \
	void __tsan_write##bytes(void *at) { plain_write(at, bytes); }              \
	void __tsan_unaligned_read##bytes(void *at) { plain_read(at, bytes); }      \
	void __tsan_unaligned_write##bytes(void *at) { plain_write(at, bytes); }

CALLBACKS(1)
CALLBACKS(2)
CALLBACKS(4)
CALLBACKS(8)
CALLBACKS(16)

void __tsan_init(void);
void __tsan_init(void) { }

/* Word by word: what does not change a word is no change, and zeros upon zeros are common. */
static void change(char *to, const char *from, size_t bytes)
{
	while (bytes >= CHUNK && !memcmp(to, from, CHUNK)) {
		to += CHUNK;
		from += CHUNK;
		bytes -= CHUNK;
	}
	while (bytes) {
		size_t part = 8 - ((uint64_t)to & 7);

		if (part > bytes)
			part = bytes;
		if (memcmp(to, from, part)) {
			plain_write(to, (unsigned)part);
			memcpy(to, from, part);
		}
		to += part;
		from += part;
		bytes -= part;
	}
}

void *explore_memset(void *to, int byte, size_t bytes);
void *explore_memmove(void *to, const void *from, size_t bytes);

void *explore_memset(void *to, int byte, size_t bytes)
{
	char pattern[CHUNK];

	if (!active || on_stack(to))
		return memset(to, byte, bytes);
	memset(pattern, byte, sizeof(pattern));
	for (size_t done = 0; done < bytes; done += sizeof(pattern))
		change((char *)to + done, pattern,
		       bytes - done < sizeof(pattern) ? bytes - done : sizeof(pattern));
	return to;
}

void *explore_memcpy(void *to, const void *from, size_t bytes)
{
	if (active && bytes)
		plain_read((void *)(uint64_t)from, (unsigned)bytes);
	if (!active || on_stack(to))
		return memcpy(to, from, bytes);
	change(to, from, bytes);
	return to;
}

void *explore_memmove(void *to, const void *from, size_t bytes)
{
	if (!active)
		return memmove(to, from, bytes);
	plain_read((void *)(uint64_t)from, (unsigned)bytes);
	if (!on_stack(to))
		plain_write(to, (unsigned)bytes);
	return memmove(to, from, bytes);
}
