/*
 * The order of a measurement: set up, run once for the lists and caches of software to fill, then
 * some rounds, of which the cheapest counts: where it is measured, an interrupt may come between.
 * What the body costs besides is taken off.
 */
#include "tests/bench/bench.h"

static void do_nothing(struct host *host) { (void)host; }

enum status bench_no_alloc(struct host *host, unsigned order, struct block *out)
{
	(void)host, (void)order, (void)out;
	return STATUS_OK;
}

void bench_no_free(struct host *host, struct block block)
{
	(void)host, (void)block;
}

static uint64_t cheapest(void (*before)(struct host *host), void (*body)(struct host *host),
			 struct host *host, const struct bench_meter *meter)
{
	uint64_t best = UINT64_MAX;

	for (unsigned i = 0; i < meter->rounds; i++) {
		before(host);

		uint64_t cost = meter->measure(body, host);

		best = cost < best ? cost : best;
	}
	return best;
}

static struct bench_figure run_one(const struct benchmark *benchmark, struct host *host,
				   const struct bench_meter *meter)
{
	void (*before)(struct host *host) = benchmark->before ? benchmark->before : do_nothing;
	uint64_t operations = benchmark->operations ? benchmark->operations : 1;

	if (benchmark->setup)
		benchmark->setup(host);
	before(host);
	benchmark->body(host);

	uint64_t besides = cheapest(do_nothing,
				    benchmark->besides ? benchmark->besides : do_nothing, host,
				    meter);
	uint64_t cost = cheapest(before, benchmark->body, host, meter);

	/* Where time is measured, not instructions, it may be anything. */
	cost -= besides < cost ? besides : cost;

	if (benchmark->end)
		benchmark->end(host);
	return (struct bench_figure){
		.of = benchmark,
		.tenths = (cost * 10 + operations / 2) / operations,
		.operations = operations * meter->rounds,
	};
}

void bench_run(struct host *host, const struct bench_meter *meter,
	       void (*report)(const struct bench_figure *figure))
{
	for (const struct benchmark *b = benchmarks_start; b < benchmarks_end; b++) {
		struct bench_figure figure = run_one(b, host, meter);

		report(&figure);
	}
}
