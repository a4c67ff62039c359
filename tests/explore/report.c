/*
 * Schedules as strings that a person can copy, and their replay in columns.
 *
 *	A9 B17 a5 C?1 C3
 *
 * An upper case letter: that actor makes so many accesses. A lower case one: its store buffer
 * drains, up to the store that was its so-many-th access. '?': it makes one choice. Accesses are
 * counted whether anybody shares the word or not, so a string means the same in every search.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/explore/internal.h"

enum { COLUMN = 50 };

static const struct scenario *replayed;

const char *verdict_name(enum verdict verdict)
{
	switch (verdict) {
	case VERDICT_OK: return "ok";
	case VERDICT_SAMPLED: return "sampled";
	case VERDICT_FAIL: return "FAIL";
	case VERDICT_DEADLOCK: return "DEADLOCK";
	case VERDICT_STEP_BOUND: return "STEP-BOUND";
	case VERDICT_TIMEOUT: return "TIMEOUT";
	}
	return "?";
}

const char *engine_name(enum engine engine)
{
	static const char *const names[] = { "plain", "stateful", "reduced", "pct", "random",
					     "given" };

	return names[engine];
}

const char *model_name(enum explore_model model) { return model == MODEL_SC ? "SC" : "TSO"; }

/* ------------------------------------------------------------------ to a string */

static void append(char *out, size_t bytes, char letter, uint32_t count)
{
	size_t used = strlen(out);

	snprintf(out + used, bytes - used, "%c%u", letter, count);
}

void print_schedule(const struct result *result, char *out, size_t bytes)
{
	*out = 0;
	for (unsigned i = 0; i < result->length;) {
		struct transition first = result->path[i];
		uint32_t accesses = 0;

		if (first.kind == DRAIN) {
			for (; i < result->length && result->path[i].kind == DRAIN &&
			       result->path[i].actor == first.actor; i++)
				accesses = result->path[i].accesses;
			append(out, bytes, (char)('a' + first.actor), accesses);
			continue;
		}
		if (first.choice) {
			size_t used = strlen(out);

			snprintf(out + used, bytes - used, "%c?%u", 'A' + first.actor,
				 first.choice);
			accesses = first.accesses - 1;
			i++;
		}
		for (; i < result->length && result->path[i].kind == STEP &&
		       result->path[i].actor == first.actor && !result->path[i].choice; i++)
			accesses += result->path[i].accesses;
		if (accesses)
			append(out, bytes, (char)('A' + first.actor), accesses);
	}
}

/* ------------------------------------------------------------------ and back */

/* True: the scenario has one for it. */
static bool name_of(const struct explore_word *word, char *name, size_t bytes)
{
	if (replayed->name_word && replayed->name_word(word->at, name, bytes))
		return true;
	if (!word->name)
		snprintf(name, bytes, "0x%lx", (uint64_t)word->at);
	else
		snprintf(name, bytes, "%s", word->name + (*word->name == '&'));
	return false;
}

static void print_event(const struct event *event)
{
	char name[40], line[128], values[48];
	bool named = false;

	if (event->word.bytes)
		named = name_of(&event->word, name, sizeof(name));
	else
		snprintf(name, sizeof(name), "%s", event->word.name);
	/* The soft CPU's insides, and the like. */
	if (event->plain && replayed->name_word && !named)
		return;
	if (event->before == event->after)
		snprintf(values, sizeof(values), "%lx", event->after);
	else
		snprintf(values, sizeof(values), "%lx -> %lx", event->before, event->after);
	snprintf(line, sizeof(line), "%s %s %s", event->verb, name, values);
	printf("%*s%s\n", (int)event->actor * COLUMN, "", line);
}

static bool can_go(unsigned i, enum kind kind, const char **why)
{
	if (i >= machine.count)
		*why = "a letter beyond the last actor";
	else if (kind == DRAIN && !actor_can_drain(i))
		*why = "a store buffer that is empty drains";
	else if (kind == STEP && actor_can_step(i))
		return true;
	else if (kind == STEP)
		*why = "an actor goes on that can't";
	else
		return true;
	return false;
}

/*
 * A locked operation, or a store that finds no room, waits for stores that the string has no drain
 * of: nobody shares them.
 */
static void make_room(unsigned i)
{
	while (!actor_can_step(i) && actor(i)->pending != PENDING_BLOCKED && actor_can_drain(i))
		actor_drain(i);
}

static bool run_accesses(unsigned i, uint32_t count, const char **why)
{
	uint32_t target = machine.tallies[i].accesses + count;

	while (machine.tallies[i].accesses < target && !machine.failure) {
		make_room(i);
		if (!can_go(i, STEP, why))
			return false;
		actor_step(i, 0);
	}
	return true;
}

static void run_drains(unsigned i, uint32_t up_to)
{
	while (actor_can_drain(i) && machine.tallies[i].stores[0] <= up_to)
		actor_drain(i);
}

static bool run_segment(const char **text, const char **why)
{
	unsigned letter = (unsigned char)*(*text)++;
	bool choice = **text == '?';
	char *end;

	*text += choice;
	unsigned long count = strtoul(*text, &end, 10);

	if (!isalpha(letter) || end == *text) {
		*why = "expected a letter and a number";
		return false;
	}
	*text = end;
	unsigned i = (unsigned)toupper((int)letter) - 'A';

	if (i >= machine.count) {
		*why = "a letter beyond the last actor";
		return false;
	}
	if (islower(letter)) {
		run_drains(i, (uint32_t)count);
		return true;
	}
	if (!choice)
		return run_accesses(i, (uint32_t)count, why);
	if (actor(i)->pending == PENDING_START)
		actor_step(i, 0);
	if (actor(i)->pending != PENDING_CHOICE) {
		*why = "a choice where there is none";
		return false;
	}
	actor_step(i, (unsigned)count);
	return true;
}

/* What the string leaves open: everybody to the end, one after the other. */
static void run_rest(void)
{
	for (unsigned i = 0; i < machine.count && !machine.failure;) {
		if (actor_can_drain(i)) {
			actor_drain(i);
		} else if (actor_can_step(i)) {
			actor_step(i, 0);
		} else {
			i++;
			continue;
		}
		i = 0;
	}
}

bool replay(const struct scenario *scenario, enum explore_model model, const char *schedule,
	    const char **why)
{
	bool sound = true;

	replayed = scenario;
	memory_forget();
	if (scenario->setup)
		scenario->setup();
	machine_start(scenario, model);
	memory_begin();
	memory_mark(NULL);
	machine.every_access = true;
	machine_watch = print_event;
	for (unsigned i = 0; i < machine.count; i++)
		printf("%-*c", COLUMN, 'A' + i);
	printf("\n");
	while (*schedule && sound && !machine.failure)
		sound = run_segment(&schedule, why);
	if (sound)
		run_rest();
	machine_watch = NULL;
	if (sound && !machine.failure && scenario->verify)
		judge_run(scenario->verify);
	if (sound)
		printf("%s\n", machine.failure ? machine.failure : "ends well");
	machine.every_access = false;
	memory_end();
	return sound;
}
