/*
 * What paths of the host cost, in instructions. The same functions run hosted, single-stepped
 * (step.c), and in the image, timed by the TSC (image.c): on Bochs a tick is an instruction.
 *
 *	static void take_and_free(struct host *host) { ... }
 *	BENCHMARK(page_alloc_free_4k, .body = take_and_free, .target = 60);
 *
 * A file on_*.c of this folder is built without a change elsewhere. README.md says more.
 */
#ifndef TESTS_BENCH_BENCH_H
#define TESTS_BENCH_BENCH_H

#include "mm/host.h"

struct benchmark {
	const char *name;			/* in bench.json */
	void (*setup)(struct host *host);	/* NULL: nothing to do. Not measured */
	void (*before)(struct host *host);	/* the same, before each run of the body */
	void (*body)(struct host *host);	/* leaves things as it, or `before`, finds them */
	void (*besides)(struct host *host);	/* what does not count; NULL: the call */
	void (*end)(struct host *host);		/* gives all pages back */
	unsigned operations;			/* in one run of the body; 0: one */
	unsigned target;			/* instructions an operation, at most; 0: none */
};

extern const struct benchmark benchmarks_start[], benchmarks_end[];

#define BENCHMARK(benchmark_name, ...)                                              \
	static const struct benchmark bench_##benchmark_name                        \
		__attribute__((section("benchmarks"), used, aligned(8))) = {       \
			.name = #benchmark_name, __VA_ARGS__ }

/* Called by what is besides, in place of page_alloc and page_free: the calls are the body's own. */
enum status bench_no_alloc(struct host *host, unsigned order, struct block *out);
void bench_no_free(struct host *host, struct block block);

struct bench_meter {
	/* What running the body cost, with what the measuring itself costs. */
	uint64_t (*measure)(void (*body)(struct host *host), struct host *host);
	unsigned rounds;			/* one, if they all cost the same */
};

struct bench_figure {
	const struct benchmark *of;
	uint64_t tenths;			/* of an instruction, an operation */
	uint64_t operations;			/* measured */
};

/* Every benchmark on this host, which is idle and has 64 MiB or more. */
void bench_run(struct host *host, const struct bench_meter *meter,
	       void (*report)(const struct bench_figure *figure));

#endif
