/*
 * Operations and their schedule, on the explored code: the input says which operations the actors
 * of the scenario `mixed` (tests/explore/mixed.c) choose, and at which access to a shared word
 * another goes on or a store buffer drains (ENGINE_GIVEN of tests/explore/internal.h). In x86-TSO,
 * which has every schedule that the sequentially consistent model has. What is broken is told with
 * a schedule that shows it again.
 */
#include <stdio.h>
#include <stdlib.h>

#include "tests/explore/internal.h"
#include "tests/fuzz/fuzz.h"

extern const struct scenario *const __start_scenarios[];

static struct plan plan = { .model = MODEL_TSO, .engine = ENGINE_GIVEN, .bound = UNBOUNDED };
static struct result result;

static void open_once(void)
{
	if (plan.scenario)
		return;
	plan.scenario = __start_scenarios[0];
	search_open(&plan, &result);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static char schedule[DEPTH_MAX * 8];

	open_once();
	plan.given = bytes;
	plan.given_bytes = size;
	search_run();
	if (result.verdict == VERDICT_SAMPLED)
		return 0;
	print_schedule(&result, schedule, sizeof(schedule));
	fprintf(stderr, "panic: %s: %s; make explore T=%s MODEL=tso REPLAY=%s\n",
		verdict_name(result.verdict), result.message, plan.scenario->name, schedule);
	abort();
}
