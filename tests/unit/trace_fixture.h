/*
 * For tests of an order: what mm told while something was done, and whether it was this.
 *
 *	record(arena.host, STEP(RANGE_START) | STEP(PTE_CLEAR) | STEP(RANGE_END));
 *	... the operation
 *	expect_steps(TRACE_RANGE_START, TRACE_PTE_CLEAR, TRACE_RANGE_END);
 *
 * Steps outside the mask are not recorded. expect_steps ends the recording.
 */
#ifndef TESTS_UNIT_TRACE_FIXTURE_H
#define TESTS_UNIT_TRACE_FIXTURE_H

#include <stdio.h>

#include "mm/host.h"

enum { RECORDED_MAX = 512 };
#define STEP(name) (UINT64_C(1) << TRACE_##name)
#define STEP_ALL (~UINT64_C(0))

static struct recording {
	struct trace trace;
	struct host *host;
	uint64_t mask;
	unsigned count;
	struct { enum trace_step step; uint64_t subject, value; } steps[RECORDED_MAX];
} recording;

static inline const char *step_name(enum trace_step step)
{
	static const char *const names[] = {
#define STEP_NAME(name) #name,
		TRACE_STEPS(STEP_NAME)
#undef STEP_NAME
	};

	return step < TRACE_STEP_COUNT ? names[step] : "?";
}

static inline void record_step(struct trace *self, enum trace_step step, uint64_t subject,
			       uint64_t value)
{
	(void)self;
	if (!(recording.mask >> step & 1))
		return;
	assert_true(recording.count < RECORDED_MAX);
	recording.steps[recording.count].step = step;
	recording.steps[recording.count].subject = subject;
	recording.steps[recording.count++].value = value;
}

static inline void record(struct host *host, uint64_t mask)
{
	recording.trace.step = record_step;
	recording.host = host;
	recording.mask = mask;
	recording.count = 0;
	host->trace = &recording.trace;
}

static inline void expect_these(const enum trace_step *steps, unsigned count)
{
	recording.host->trace = NULL;
	for (unsigned i = 0; i < count || i < recording.count; i++)
		if (i >= count || i >= recording.count || steps[i] != recording.steps[i].step) {
			for (unsigned k = 0; k < count || k < recording.count; k++)
				fprintf(stderr, "%2u  expected %-15s found %s\n", k,
					k < count ? step_name(steps[k]) : "-",
					k < recording.count ? step_name(recording.steps[k].step)
							    : "-");
			fail_msg("step %u differs", i);
		}
}

#define expect_steps(...)                                                            \
	expect_these((const enum trace_step[]){ __VA_ARGS__ },                       \
		     sizeof((const enum trace_step[]){ __VA_ARGS__ }) / sizeof(enum trace_step))

/* The first recorded step of that name, or -1. */
static inline int step_at(enum trace_step step)
{
	for (unsigned i = 0; i < recording.count; i++)
		if (recording.steps[i].step == step)
			return (int)i;
	return -1;
}

#endif
