/* The parts of the console's `bench`, in the image alone. */
#ifndef TESTS_BENCH_IMAGE_H
#define TESTS_BENCH_IMAGE_H

void bench_host(void);			/* image.c: paths of the host */
void bench_exits(void);			/* image_exits.c: with a guest's exits. Needs VMX */
void bench_work(void);			/* image_work.c: workloads by each policy */

#endif
