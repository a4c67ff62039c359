/*
 * The explorer is tested before it judges: litmus tests and random programs, over which plain
 * search, stateful search, search reduced by sleep sets, and a model that shares no code with them
 * must find the same outcomes; then races that are known. TAP 13.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/explore/internal.h"
#include "tests/explore/programs.h"

enum { OUTCOMES_MAX = 1 << 14, RANDOM_PROGRAMS = 600, QUICK_PROGRAMS = 60 };

/* Set by `make check`; `make test` runs all. */
static bool is_quick(void) { return getenv("QUICK"); }

struct outcomes { unsigned count; uint64_t values[OUTCOMES_MAX]; };

static struct result result;
static unsigned tests, failures;

static void report(bool well, const char *name)
{
	printf("%sok %u - %s\n", well ? "" : "not ", ++tests, name);
	failures += !well;
	fflush(stdout);
}

/* ------------------------------------------------------------------ sets of outcomes */

/* Values are small: four bits for each register, then for each variable. */
static uint64_t pack(const uint64_t read[THREADS][INSTRUCTIONS], const uint64_t memory[VARIABLES])
{
	uint64_t packed = 1;

	for (unsigned t = 0; t < THREADS; t++)
		for (unsigned i = 0; i < program.length[t]; i++)
			if (program.code[t][i].operation != OP_STORE &&
			    program.code[t][i].operation != OP_FENCE)
				packed = packed << 4 | read[t][i];
	for (unsigned v = 0; v < VARIABLES; v++)
		packed = packed << 4 | memory[v];
	return packed;
}

static void add_outcome(struct outcomes *outcomes, uint64_t value)
{
	for (unsigned i = 0; i < outcomes->count; i++)
		if (outcomes->values[i] == value)
			return;
	check(outcomes->count < OUTCOMES_MAX);
	outcomes->values[outcomes->count++] = value;
}

static bool contains(const struct outcomes *outcomes, uint64_t value)
{
	for (unsigned i = 0; i < outcomes->count; i++)
		if (outcomes->values[i] == value)
			return true;
	return false;
}

static bool equal(const struct outcomes *a, const struct outcomes *b)
{
	if (a->count != b->count)
		return false;
	for (unsigned i = 0; i < a->count; i++)
		if (!contains(b, a->values[i]))
			return false;
	return true;
}

/* ------------------------------------------------------------------ by the explorer */

static struct outcomes *found;

static void collect(void)
{
	uint64_t memory[VARIABLES];

	for (unsigned v = 0; v < VARIABLES; v++)
		memory[v] = variables[v].word.live;
	add_outcome(found, pack(registers, memory));
}

/* In so many parts, whose outcomes are put together. */
static bool explore(enum engine engine, enum explore_model model, unsigned parts,
		    struct outcomes *out)
{
	static void (*const threads[THREADS])(void) = { program_thread0, program_thread1,
							program_thread2, program_thread3 };
	struct scenario scenario = { .name = "program", .rule = "", .setup = program_setup };
	struct plan plan = { .scenario = &scenario, .model = model, .engine = engine,
			     .bound = UNBOUNDED, .terminal = collect,
			     .most = 30000000, .parts = parts };
	bool well = true;

	for (unsigned t = 0; t < program.threads; t++)
		scenario.actors[t] = threads[t];
	out->count = 0;
	found = out;
	for (; plan.part < parts; plan.part++) {
		search(&plan, &result);
		well &= result.verdict == VERDICT_OK;
	}
	return well;
}

/* ------------------------------------------------------------------ by a model of its own */

struct model {
	uint64_t read[THREADS][INSTRUCTIONS], memory[VARIABLES];
	unsigned at[THREADS], waiting[THREADS];
	struct { unsigned variable; uint64_t value; } buffer[THREADS][INSTRUCTIONS];
};

static uint64_t model_load(const struct model *model, unsigned thread, unsigned variable)
{
	for (unsigned i = model->waiting[thread]; i-- > 0;)
		if (model->buffer[thread][i].variable == variable)
			return model->buffer[thread][i].value;
	return model->memory[variable];
}

/* False: it has to wait for its store buffer. */
static bool model_execute(struct model *model, unsigned thread, enum explore_model memory_model)
{
	struct instruction in = program.code[thread][model->at[thread]];
	uint64_t *read = &model->read[thread][model->at[thread]];
	unsigned *waiting = &model->waiting[thread];

	switch (in.operation) {
	case OP_LOAD:
		*read = model_load(model, thread, in.variable);
		break;
	case OP_STORE:
		if (memory_model == MODEL_SC) {
			model->memory[in.variable] = in.value;
		} else {
			model->buffer[thread][*waiting].variable = in.variable;
			model->buffer[thread][(*waiting)++].value = in.value;
		}
		break;
	case OP_XCHG:
	case OP_ADD:
	case OP_FENCE:
		if (*waiting)
			return false;
		if (in.operation == OP_FENCE)
			break;
		*read = model->memory[in.variable];
		model->memory[in.variable] = in.operation == OP_ADD ? *read + in.value : in.value;
		break;
	}
	model->at[thread]++;
	return true;
}

static void model_drain(struct model *model, unsigned thread)
{
	model->memory[model->buffer[thread][0].variable] = model->buffer[thread][0].value;
	model->waiting[thread]--;
	for (unsigned i = 0; i < model->waiting[thread]; i++)
		model->buffer[thread][i] = model->buffer[thread][i + 1];
}

static void model_explore(const struct model *from, enum explore_model memory_model,
			  struct outcomes *out)
{
	bool ended = true;

	for (unsigned t = 0; t < program.threads; t++) {
		struct model next = *from;

		if (from->at[t] < program.length[t]) {
			ended = false;
			if (model_execute(&next, t, memory_model))
				model_explore(&next, memory_model, out);
		}
		if (from->waiting[t]) {
			ended = false;
			next = *from;
			model_drain(&next, t);
			model_explore(&next, memory_model, out);
		}
	}
	if (ended)
		add_outcome(out, pack(from->read, from->memory));
}

static const char *const model_names[] = { "SC", "TSO" };

/* All of them agree on what the program can do. */
static bool agree(enum explore_model model, struct outcomes *expected)
{
	static const struct model start;
	static struct outcomes outcomes;
	static const struct { const char *name; enum engine engine; unsigned parts; } ways[] = {
		{ "plain", ENGINE_PLAIN, 1 }, { "stateful", ENGINE_STATEFUL, 1 },
		{ "reduced", ENGINE_REDUCED, 1 }, { "stateful in 3 parts", ENGINE_STATEFUL, 3 },
	};
	bool well = true;

	expected->count = 0;
	model_explore(&start, model, expected);
	for (unsigned i = 0; i < sizeof(ways) / sizeof(*ways); i++) {
		if (explore(ways[i].engine, model, ways[i].parts, &outcomes) &&
		    equal(&outcomes, expected))
			continue;
		printf("# %s, %s: %u outcomes, the model has %u (%s)\n", ways[i].name,
		       model_names[model], outcomes.count, expected->count, result.message);
		well = false;
	}
	return well;
}

/* ------------------------------------------------------------------ litmus tests */

#define LD(v) { OP_LOAD, v, 0 }
#define ST(v, n) { OP_STORE, v, n }
#define XCHG(v, n) { OP_XCHG, v, n }
#define FENCE { OP_FENCE, 0, 0 }

/* What is asked: these values read by the loads in order, and these final values. */
static const struct litmus {
	const char *name;
	struct program program;
	uint64_t read[THREADS][INSTRUCTIONS], memory[VARIABLES];
	bool sc, tso;			/* whether it can be */
} litmus[] = {
	{ "SB", { 2, { 2, 2 }, { { ST(0, 1), LD(1) }, { ST(1, 1), LD(0) } } },
	  { { 0 } }, { 1, 1 }, false, true },
	{ "SB, fences", { 2, { 3, 3 }, { { ST(0, 1), FENCE, LD(1) }, { ST(1, 1), FENCE, LD(0) } } },
	  { { 0 } }, { 1, 1 }, false, false },
	{ "SB, one fence", { 2, { 3, 2 }, { { ST(0, 1), FENCE, LD(1) }, { ST(1, 1), LD(0) } } },
	  { { 0 } }, { 1, 1 }, false, true },
	{ "SB, locked stores", { 2, { 2, 2 }, { { XCHG(0, 1), LD(1) }, { XCHG(1, 1), LD(0) } } },
	  { { 0 } }, { 1, 1 }, false, false },
	{ "SB, locked elsewhere", { 2, { 3, 3 }, { { ST(0, 1), XCHG(2, 0), LD(1) },
						    { ST(1, 1), XCHG(2, 0), LD(0) } } },
	  { { 0 } }, { 1, 1 }, false, false },
	{ "SB, own stores forwarded", { 2, { 3, 3 }, { { ST(0, 1), LD(0), LD(1) },
							{ ST(1, 1), LD(1), LD(0) } } },
	  { { 0, 1, 0 }, { 0, 1, 0 } }, { 1, 1 }, false, true },
	{ "MP", { 2, { 2, 2 }, { { ST(0, 1), ST(1, 1) }, { LD(1), LD(0) } } },
	  { { 0 }, { 1, 0 } }, { 1, 1 }, false, false },
	{ "LB", { 2, { 2, 2 }, { { LD(0), ST(1, 1) }, { LD(1), ST(0, 1) } } },
	  { { 1 }, { 1 } }, { 1, 1 }, false, false },
	{ "2+2W", { 2, { 2, 2 }, { { ST(0, 1), ST(1, 2) }, { ST(1, 1), ST(0, 2) } } },
	  { { 0 } }, { 1, 1 }, false, false },
	{ "R", { 2, { 2, 2 }, { { ST(0, 1), ST(1, 1) }, { ST(1, 2), LD(0) } } },
	  { { 0 } }, { 1, 2 }, false, true },
	{ "S", { 2, { 2, 2 }, { { ST(0, 2), ST(1, 1) }, { LD(1), ST(0, 1) } } },
	  { { 0 }, { 1 } }, { 2, 1 }, false, false },
	{ "IRIW", { 4, { 1, 1, 2, 2 }, { { ST(0, 1) }, { ST(1, 1) }, { LD(0), LD(1) },
					 { LD(1), LD(0) } } },
	  { { 0 }, { 0 }, { 1, 0 }, { 1, 0 } }, { 1, 1 }, false, false },
	{ "WRC", { 3, { 1, 2, 2 }, { { ST(0, 1) }, { LD(0), ST(1, 1) }, { LD(1), LD(0) } } },
	  { { 0 }, { 1 }, { 1, 0 } }, { 1, 1 }, false, false },
};

static void run_litmus(const struct litmus *test)
{
	static struct outcomes sc, tso;
	char name[80];

	program = test->program;
	bool well = agree(MODEL_SC, &sc);

	well &= agree(MODEL_TSO, &tso);
	uint64_t asked = pack(test->read, test->memory);

	well &= contains(&sc, asked) == test->sc && contains(&tso, asked) == test->tso;
	snprintf(name, sizeof(name), "litmus %s: %u outcomes under SC, %u under TSO", test->name,
		 sc.count, tso.count);
	report(well, name);
}

/* ------------------------------------------------------------------ random programs */

static uint64_t random_state = UINT64_C(0x2545f4914f6cdd1d);

static unsigned draw(unsigned below)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (unsigned)((random_state >> 33) % below);
}

static void draw_program(void)
{
	static const unsigned longest[] = { 0, 0, 4, 3, 2 };
	static const enum operation operations[] = {
		OP_LOAD, OP_LOAD, OP_LOAD, OP_LOAD, OP_STORE,
		OP_STORE, OP_STORE, OP_XCHG, OP_ADD, OP_FENCE,
	};

	memset(&program, 0, sizeof(program));
	program.threads = 2 + draw(8) / 3;
	if (program.threads > 3)
		program.threads = 3;
	for (unsigned t = 0; t < program.threads; t++) {
		program.length[t] = 2 + draw(longest[program.threads] - 1);
		if (program.threads == 3 && t && program.length[t] > 2)
			program.length[t] = 2;
		for (unsigned i = 0; i < program.length[t]; i++)
			program.code[t][i] = (struct instruction){
				operations[draw(10)], draw(2 + draw(4) / 3), 1 + draw(3) };
	}
}

static void run_random(void)
{
	static struct outcomes outcomes;
	unsigned programs = is_quick() ? QUICK_PROGRAMS : RANDOM_PROGRAMS;
	unsigned mismatches = 0, relaxed = 0;
	uint64_t total = 0;
	char name[128];

	for (unsigned n = 0; n < programs; n++) {
		draw_program();
		unsigned counts[2];

		for (int model = MODEL_SC; model <= MODEL_TSO; model++) {
			mismatches += !agree((enum explore_model)model, &outcomes);
			counts[model] = outcomes.count;
			total += outcomes.count;
		}
		relaxed += counts[MODEL_TSO] > counts[MODEL_SC];
	}
	snprintf(name, sizeof(name), "%u random programs, %lu outcomes, %u with more under TSO: "
		 "%u mismatches", programs, total, relaxed, mismatches);
	report(!mismatches && relaxed > programs / 20, name);
}

/* ------------------------------------------------------------------ races that are known */

static void expect(const struct scenario *scenario, enum explore_model model, enum verdict verdict)
{
	char text[128];

	for (enum engine engine = ENGINE_PLAIN; engine <= ENGINE_RANDOM; engine++) {
		struct plan plan = { .scenario = scenario, .model = model, .engine = engine,
				     .bound = UNBOUNDED, .runs = 3000, .depth = 3,
				     .seed = 7, .most = 30000000 };

		enum verdict wanted = verdict == VERDICT_OK && engine >= ENGINE_PCT
					      ? VERDICT_SAMPLED : verdict;

		search(&plan, &result);
		snprintf(text, sizeof(text), "%s, %s, %s: %s", scenario->name, model_names[model],
			 engine_name(engine), verdict_name(result.verdict));
		report(result.verdict == wanted, text);
	}
}

static bool bounded(const struct scenario *scenario, int bound, enum engine engine)
{
	struct plan plan = { .scenario = scenario, .model = MODEL_SC, .engine = engine,
			     .bound = bound };

	search(&plan, &result);
	return result.verdict == VERDICT_FAIL;
}

static void run_bounds(void)
{
	bool well = true;

	for (enum engine engine = ENGINE_PLAIN; engine <= ENGINE_STATEFUL; engine++)
		well &= !bounded(&lost_update, 0, engine) && bounded(&lost_update, 1, engine);
	report(well, "a lost update needs one preemption");
}

static void run_replay(void)
{
	const struct { const struct scenario *scenario; enum explore_model model; } cases[] = {
		{ &lost_update, MODEL_SC }, { &lost_update, MODEL_TSO },
		{ &entry_without_fence, MODEL_TSO }, { &choices, MODEL_TSO },
	};
	char schedule[256], text[400];

	for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		const char *why = "";

		expect(cases[i].scenario, cases[i].model, VERDICT_FAIL);
		print_schedule(&result, schedule, sizeof(schedule));
		bool sound = replay(cases[i].scenario, cases[i].model, schedule, &why);

		snprintf(text, sizeof(text), "%s fails again by %s %s", cases[i].scenario->name,
			 schedule, why);
		report(sound && machine.failure, text);
	}
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void run_size(void)
{
	struct plan plan = { .scenario = &lock_cycles, .model = MODEL_SC,
			     .engine = ENGINE_STATEFUL, .bound = UNBOUNDED };
	double start = now();

	search(&plan, &result);
	printf("# stat explore_three_actors_steps %u steps\n# stat explore_three_actors_states %lu "
	       "states\n# stat explore_three_actors_seconds %.2f seconds\n", result.depth,
	       result.states, now() - start);
	report(result.verdict == VERDICT_OK && result.depth >= 90,
	       "three actors, about a hundred steps, every interleaving");
}

int main(void)
{
	printf("TAP version 13\n");
	for (unsigned i = 0; i < sizeof(litmus) / sizeof(*litmus); i++)
		run_litmus(&litmus[i]);
	run_random();
	for (int model = MODEL_SC; model <= MODEL_TSO; model++) {
		enum explore_model m = (enum explore_model)model;

		expect(&lost_update, m, VERDICT_FAIL);
		expect(&kept_update, m, VERDICT_OK);
		expect(&data_race, m, VERDICT_FAIL);
		expect(&lock_unheeded, m, VERDICT_FAIL);
		expect(&dead_lock, m, VERDICT_DEADLOCK);
		expect(&entry_without_fence, m, model == MODEL_SC ? VERDICT_OK : VERDICT_FAIL);
		expect(&entry_with_fence, m, VERDICT_OK);
		expect(&message, m, VERDICT_OK);
		expect(&endless, m, VERDICT_STEP_BOUND);
		expect(&choices, m, VERDICT_FAIL);
	}
	run_bounds();
	run_replay();
	if (!is_quick())
		run_size();
	printf("1..%u\n", tests);
	return failures ? 1 : 0;
}
