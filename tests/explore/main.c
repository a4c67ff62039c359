/*
 * The command behind `make explore`: every scenario in both memory models, one line a search.
 *
 *	explore [T=name] [BOUND=n] [ENGINE=stateful|plain|reduced|pct|random] [RUNS=n] [SEED=n]
 *	        [SHARD=i/n] [REPLAY=schedule] [MODEL=sc|tso] [MOST=transitions] [LIST=1] [TAP=1]
 *
 * Exit 0: every search was complete and found nothing. 1: one did not. 2: a bad argument.
 */
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/explore/internal.h"

extern const struct scenario *const __start_scenarios[], *const __stop_scenarios[];

static struct {
	const char *only, *replay, *model;
	long bound;			/* -1: as the scenario says */
	bool list, tap;
	bool engine;			/* one was asked for */
	unsigned shard, shards;		/* the shard-th of so many parts, from 1 */
	struct plan plan;
} options = { .bound = -1, .shard = 1, .shards = 1,
	      .plan = { .most = 200000000, .depth = 3, .engine = ENGINE_STATEFUL } };

static struct result result;
static unsigned total, done;		/* scenarios times models: what is asked for */
static const char *running_name;
static unsigned told;			/* TAP lines */

static int complain(const char *argument, const char *expected)
{
	fprintf(stderr, "explore: found %s, expected %s\n", argument, expected);
	return 2;
}

static bool engine_named(const char *name, enum engine *engine)
{
	for (*engine = ENGINE_PLAIN; *engine <= ENGINE_RANDOM; ++*engine)
		if (!strcmp(name, engine_name(*engine)))
			return true;
	return false;
}

static bool number(const char *text, uint64_t *out)
{
	char *end;

	*out = strtoull(text, &end, 10);
	return *text >= '0' && *text <= '9' && !*end;
}

static bool read_shard(const char *text)
{
	char rest;

	return sscanf(text, "%u/%u%c", &options.shard, &options.shards, &rest) == 2 &&
	       options.shard && options.shard <= options.shards;
}

static int read_option(const char *argument)
{
	const char *value = strchr(argument, '=');
	uint64_t n = 0;

	if (!value)
		return complain(argument, "NAME=value");
	size_t name = (size_t)(value++ - argument);
	bool numeric = number(value, &n);

#define IS(text) (name == strlen(text) && !strncmp(argument, text, name))
	if (!*value)
		return 0;
	if (IS("T"))
		options.only = value;
	else if (IS("REPLAY"))
		options.replay = value;
	else if (IS("MODEL") && (!strcmp(value, "sc") || !strcmp(value, "tso")))
		options.model = value;
	else if (IS("ENGINE") && engine_named(value, &options.plan.engine))
		options.engine = true;
	else if (IS("SHARD") && read_shard(value))
		;
	else if (IS("LIST"))
		options.list = true;
	else if (IS("TAP"))
		options.tap = true;
	else if (IS("BOUND") && numeric && n < 200)
		options.bound = (long)n;
	else if (IS("RUNS") && numeric)
		options.plan.runs = n;
	else if (IS("SEED") && numeric)
		options.plan.seed = n;
	else if (IS("MOST") && numeric)
		options.plan.most = n;
	else
		return complain(argument,
				"T= BOUND=0..199 ENGINE=stateful|plain|reduced|pct|random "
				"RUNS= SEED= SHARD=i/n REPLAY= MODEL=sc|tso MOST= LIST=1 TAP=1");
#undef IS
	return 0;
}

static void progress(uint64_t transitions, uint64_t states)
{
	if (isatty(2))
		fprintf(stderr, "\r[%u of %u] %s: %lu million steps, %lu states ", done + 1, total,
			running_name, transitions >> 20, states);
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* The same failure with as few preemptions as there can be. */
static void minimise(struct plan plan)
{
	static struct result smaller;

	plan.engine = ENGINE_STATEFUL;
	plan.progress = NULL;
	for (plan.bound = 0; plan.bound < 6; plan.bound++) {
		search(&plan, &smaller);
		if (smaller.verdict == VERDICT_FAIL || smaller.verdict == VERDICT_DEADLOCK) {
			uint64_t executions = result.executions, states = result.states;

			result = smaller;
			result.executions = executions;
			result.states = states;
			return;
		}
	}
}

static void print_bound(const struct plan *plan)
{
	if (plan->engine >= ENGINE_PCT)
		printf("%s, %lu walks, seed %lu", engine_name(plan->engine), plan->runs,
		       plan->seed);
	else if (plan->bound == UNBOUNDED)
		printf("exhaustive");
	else
		printf("%d preemptions", plan->bound);
	if (plan->parts > 1)
		printf(", part %u of %u", plan->part + 1, plan->parts);
}

static bool is_failure(enum verdict verdict)
{
	return verdict == VERDICT_FAIL || verdict == VERDICT_DEADLOCK;
}

static void print_failure(const struct plan *plan)
{
	char schedule[DEPTH_MAX * 4];
	const char *margin = options.tap ? "#" : "";

	print_schedule(&result, schedule, sizeof(schedule));
	printf("%s  must hold: %s\n", margin, plan->scenario->rule);
	printf("%s  found: %s\n", margin, result.message);
	printf("%s  schedule: make explore T=%s MODEL=%s REPLAY=%s\n", margin, plan->scenario->name,
	       plan->model == MODEL_SC ? "sc" : "tso", schedule);
}

static bool run(const struct plan *plan)
{
	double start = now();

	running_name = plan->scenario->name;
	progress(0, 0);
	search(plan, &result);
	if (is_failure(result.verdict) && plan->engine < ENGINE_PCT)
		minimise(*plan);
	if (isatty(2))
		fprintf(stderr, "\r%78s\r", "");
	bool well = result.verdict == VERDICT_OK || result.verdict == VERDICT_SAMPLED;

	if (options.tap)
		printf("%sok %u - explore/%s_%s # ", well ? "" : "not ", ++told,
		       plan->scenario->name, plan->model == MODEL_SC ? "sc" : "tso");
	printf("%-10s %-28s %-3s  %8lu executions %9lu states %10lu steps  depth %3u  ",
	       verdict_name(result.verdict), plan->scenario->name, model_name(plan->model),
	       result.executions, result.states, result.transitions, result.depth);
	print_bound(plan);
	printf("  %.1f s\n", now() - start);
	if (!well)
		print_failure(plan);
	fflush(stdout);
	return well;
}

/* A shard takes its part of each search, and walks with a seed of its own. */
static bool run_scenario(const struct scenario *scenario, enum explore_model model)
{
	struct plan plan = options.plan;
	bool well = true;

	plan.scenario = scenario;
	plan.model = model;
	plan.progress = progress;
	plan.part = options.shard - 1;
	plan.parts = options.shards;
	plan.seed += options.shard - 1;
	plan.bound = options.bound >= 0 ? (int)options.bound
		     : scenario->bound  ? (int)scenario->bound : UNBOUNDED;
	uint64_t walks = model == MODEL_TSO && scenario->walks_tso ? scenario->walks_tso
								   : scenario->walks;

	if (!options.plan.runs)
		plan.runs = walks ? walks : 100000;
	if (walks && !options.engine) {
		plan.engine = ENGINE_PCT;
		well = run(&plan);
		plan.engine = ENGINE_RANDOM;
	}
	return run(&plan) && well;
}

static int show(const struct scenario *scenario)
{
	enum explore_model model = options.model && !strcmp(options.model, "sc") ? MODEL_SC
										 : MODEL_TSO;
	const char *why = "";

	printf("%s, %s: %s\n", scenario->name, model_name(model), scenario->rule);
	if (replay(scenario, model, options.replay, &why))
		return 0;
	fprintf(stderr, "explore: found REPLAY=%s, expected a schedule of %s: %s\n", options.replay,
		scenario->name, why);
	return 2;
}

static bool asked_for(const struct scenario *scenario, int model)
{
	if (options.model && strcmp(options.model, model == MODEL_SC ? "sc" : "tso") != 0)
		return false;
	return options.only ? !fnmatch(options.only, scenario->name, 0) : !scenario->on_request;
}

/* Calls it for everything that is asked for. Returns how many were not well. */
static unsigned for_all(bool (*call)(const struct scenario *, enum explore_model))
{
	unsigned bad = 0;

	for (const struct scenario *const *at = __start_scenarios; at < __stop_scenarios; at++)
		for (int model = MODEL_SC; model <= MODEL_TSO; model++)
			if (asked_for(*at, model))
				bad += !call(*at, (enum explore_model)model);
	return bad;
}

static bool count(const struct scenario *scenario, enum explore_model model)
{
	(void)scenario;
	(void)model;
	total++;
	return true;
}

static bool list_one(const struct scenario *scenario, enum explore_model model)
{
	if (model == MODEL_SC || options.model)
		printf("%s\t%s\n", scenario->name, scenario->rule);
	return true;
}

static bool run_one(const struct scenario *scenario, enum explore_model model)
{
	bool well = run_scenario(scenario, model);

	done++;
	return well;
}

static const struct scenario *first_asked_for(void)
{
	for (const struct scenario *const *at = __start_scenarios; at < __stop_scenarios; at++)
		if (!options.only || !fnmatch(options.only, (*at)->name, 0))
			return *at;
	return NULL;
}

int main(int arguments, char **argument)
{
	for (int i = 1; i < arguments; i++)
		if (read_option(argument[i]))
			return 2;
	const struct scenario *first = first_asked_for();

	if (!first)
		return complain(options.only ? options.only : "no scenario",
				"the name of a scenario");
	if (options.replay)
		return show(first);
	if (options.list)
		return (int)for_all(list_one);
	for_all(count);
	if (options.tap)
		printf("TAP version 13\n");
	unsigned bad = for_all(run_one);

	if (options.tap)
		printf("1..%u\n", told);
	return bad ? 1 : 0;
}
