/* The parts of the console's `bench`, in the image alone. */
#ifndef TESTS_BENCH_IMAGE_H
#define TESTS_BENCH_IMAGE_H

#include <stdbool.h>

void bench_host(void);			/* image.c: paths of the host */
bool bench_exits(void);			/* image_exits.c: with a guest's exits; false: no payload */
void bench_scale(void);			/* image_scale.c: by how much memory there is */
void bench_work(void);			/* image_work.c: workloads by each policy */

#endif
