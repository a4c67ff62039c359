/* The console's `bench`, its part about the host: tests/bench/image.c. */
#ifndef TESTS_BENCH_IMAGE_H
#define TESTS_BENCH_IMAGE_H

void bench_host(void);

#endif
