/*
 * What a flusher owes to CPUs that enter, leave and stay while it is at work: the moments of a
 * shootdown that other tests pass by, because there a kicked CPU leaves at once.
 */
#include <pthread.h>
#include <unistd.h>

#include "tests/unit/ept_fixture.h"

static void enter(unsigned cpu, enum ept_entry wanted)
{
	unsigned me = port_cpu();

	port_set_cpu(cpu);
	assert_int_equal(ept_enter(ept), wanted);
	port_set_cpu(me);
}

static void leave(unsigned cpu)
{
	unsigned me = port_cpu();

	port_set_cpu(cpu);
	ept_leave(ept);
	port_set_cpu(me);
}

/* One page is mapped; taking it away is a shootdown. */
static int open_page(void **state)
{
	open_small(state);
	lend(PAGE_SIZE, LEVEL_4K);
	assert_int_equal(fault(0, ACCESS_WRITE), FAULT_FIXED);
	return 0;
}

static void take_page(void)
{
	assert_int_equal(space_invalidate(space, hva(BACKING), PAGE_SIZE), STATUS_OK);
}

/* ------------------------------------------------------------------ entering meanwhile */

static void first_enters(unsigned cpu)
{
	leave(cpu);
	enter(1, EPT_INVALIDATE);
}

/* CPU 1 was found outside, CPU 2 is being kicked: whoever enters now must know already. */
static void entered_after_the_sample(void **state)
{
	(void)state;
	enter(1, EPT_INVALIDATE);
	leave(1);
	enter(2, EPT_INVALIDATE);
	kick_hook(first_enters);
	take_page();
	leave(1);
	enter(1, EPT_CLEAN);
	leave(1);
}

static void comes_back(unsigned cpu)
{
	leave(cpu);
	enter(cpu, EPT_INVALIDATE);
}

/* The same CPU is inside again when the flusher looks: it has been outside. */
static void leaves_and_enters_again(void **state)
{
	(void)state;
	enter(1, EPT_INVALIDATE);
	kick_hook(comes_back);
	take_page();
	assert_int_equal(stats()->kicks, 1);
	leave(1);
}

/* ------------------------------------------------------------------ waiting */

static atomic64_t kicks, left;

static void count_kick(unsigned cpu)
{
	(void)cpu;
	atomic_add(&kicks, 1);
}

/* CPUs 1 to 3 leave when all of them have been kicked, and not at once. */
static void *slow_leavers(void *argument)
{
	unsigned cpus = *(unsigned *)argument;

	await(atomic_read(&kicks) == cpus);
	for (unsigned cpu = 1; cpu <= cpus; cpu++) {
		usleep(20 * 1000);
		atomic_add(&left, 1);
		leave(cpu);
	}
	return NULL;
}

static void shoot_down_slow(unsigned cpus)
{
	pthread_t thread;

	atomic_write(&kicks, 0);
	atomic_write(&left, 0);
	for (unsigned cpu = 1; cpu <= cpus; cpu++)
		enter(cpu, EPT_INVALIDATE);
	kick_hook(count_kick);
	pthread_create(&thread, NULL, slow_leavers, &cpus);
	take_page();
	assert_int_equal(atomic_read(&left), cpus);
	pthread_join(thread, NULL);
}

static void flusher_waits(void **state)
{
	(void)state;
	shoot_down_slow(1);
}

/* Else the first would wait for a kick of the last that never comes. */
static void all_are_kicked_first(void **state)
{
	(void)state;
	shoot_down_slow(3);
}

#define wait_test(name) cmocka_unit_test_setup_teardown(name, open_page, close_ept)

int main(void)
{
	const struct CMUnitTest tests[] = {
		wait_test(entered_after_the_sample), wait_test(leaves_and_enters_again),
		wait_test(flusher_waits), wait_test(all_are_kicked_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
