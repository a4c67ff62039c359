/* The soft CPU against the list of tests/host/agree.h, as several kinds of processor. */
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/host/agree.h"
#include "tests/host/arena.h"

static struct arena arena;
static struct soft_cpu cpu;
static struct agree_world world;
static bool silent;

static void say(const char *format, ...)
{
	va_list arguments;

	if (silent)
		return;
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
}

static void *pages(unsigned order)
{
	pfn_t frame;

	assert_int_equal(folio_alloc_zeroed(arena.host, order, &frame), STATUS_OK);
	return pfn_to_ptr(frame);
}

static int open_world(void **state)
{
	(void)state;
	arena_open(&arena, 64);
	world = (struct agree_world){
		.tables = pages(AGREE_TABLES_ORDER), .memory = pages(AGREE_MEMORY_ORDER),
		.log = pages(0), .physical_bits = 46, .accessed_dirty = true, .pml = true,
		.execute_only = true, .max_level = LEVEL_1G };
	silent = false;
	return 0;
}

static int close_world(void **state)
{
	(void)state;
	folio_put(arena.host, ptr_to_pfn(world.tables));
	folio_put(arena.host, ptr_to_pfn(world.memory));
	folio_put(arena.host, ptr_to_pfn(world.log));
	arena_close(&arena);
	return 0;
}

static struct agree_tally run_all(void)
{
	struct agree_tally tally = { .say = say };
	struct agree_seen seen;

	for (unsigned i = 0; i < agree_case_count; i++) {
		if (!agree_can(&world, &agree_cases[i])) {
			tally.left_out++;
			continue;
		}
		agree_build(&world, &agree_cases[i]);
		agree_on_soft(&world, &cpu, &seen);
		agree_judge(&world, &seen, false, &tally);
	}
	return tally;
}

static void expect_all(unsigned left_out)
{
	struct agree_tally tally = run_all();

	assert_true(agree_report(&tally, "soft"));
	assert_int_equal(tally.wrong, 0);
	assert_int_equal(tally.agreed, tally.claims);
	assert_int_equal(tally.left_out, left_out);
}

/* How many cases need this: so that none is left out unseen. */
static unsigned cases_with(unsigned flags)
{
	unsigned count = 0;

	for (unsigned i = 0; i < agree_case_count; i++)
		count += (agree_cases[i].flags & flags) == flags;
	return count;
}

static void whole(void **state)
{
	(void)state;
	expect_all(cases_with(AGREE_NO_EXECUTE_ONLY));
}

static void without_execute_only(void **state)
{
	(void)state;
	world.execute_only = false;
	expect_all(cases_with(AGREE_EXECUTE_ONLY));
}

static void narrow(void **state)
{
	(void)state;
	world.physical_bits = 40;
	world.pml = false;
	expect_all(cases_with(AGREE_NO_EXECUTE_ONLY) + cases_with(AGREE_LOG));
}

static void without_flags(void **state)
{
	struct agree_tally tally;

	(void)state;
	world.accessed_dirty = world.pml = false;
	tally = run_all();
	assert_int_equal(tally.wrong, 0);
	assert_int_equal(tally.cases, cases_with(AGREE_PLAIN));
}

/* A claim that is false is found to be so; and an erratum that is not met is no excuse. */
static void judges(void **state)
{
	struct agree_tally tally = { .say = say };
	struct agree_seen seen;

	(void)state;
	silent = true;
	agree_build(&world, &agree_cases[0]);
	agree_on_soft(&world, &cpu, &seen);
	seen.exit.kind = SOFT_VIOLATION;
	*agree_entry(&world, AGREE_EPT, 3, 0) &= ~UINT64_C(0x100);
	seen.loaded[0] ^= 1;
	agree_judge(&world, &seen, true, &tally);
	assert_int_equal(tally.wrong, 3);
	assert_int_equal(tally.agreed, tally.claims - 3);
	assert_false(agree_report(&tally, "soft"));
}

static const struct agree_case *case_of(const char *name)
{
	for (unsigned i = 0; i < agree_case_count; i++)
		if (!strcmp(agree_cases[i].name, name))
			return &agree_cases[i];
	fail_msg("no case %s", name);
	return NULL;
}

/* The case as the soft CPU does it, but for that much in the qualification. */
static void judge_case(struct agree_tally *tally, const char *name, uint64_t differs)
{
	struct agree_seen seen;

	agree_build(&world, case_of(name));
	agree_on_soft(&world, &cpu, &seen);
	seen.exit.qualification ^= differs;
	agree_judge(&world, &seen, true, tally);
}

static void excuses(void **state)
{
	const char *names[] = { "walk/hole_pd", "walk/read_only_pt", "walk/execute_only_pt" };
	struct agree_tally tally = { .say = say };

	(void)state;
	silent = true;
	for (unsigned i = 0; i < 3; i++)
		judge_case(&tally, names[i], 1);
	assert_int_equal(tally.excused, 3);
	assert_true(agree_report(&tally, "soft"));
	/* Not this much, and not in another case. */
	judge_case(&tally, "walk/hole_pd", 4);
	judge_case(&tally, "violation/4k/r_write", 1);
	assert_int_equal(tally.wrong, 2);
	assert_false(agree_report(&tally, "soft"));
}

/* A list that has become too long is found out. */
static void erratum_gone(void **state)
{
	struct agree_tally tally = { .say = say };

	(void)state;
	silent = true;
	judge_case(&tally, "walk/hole_pd", 1);
	judge_case(&tally, "walk/read_only_pt", 0);
	assert_int_equal(tally.wrong, 0);
	assert_false(agree_report(&tally, "soft"));

	/* But a processor that has none of them is just another one. */
	tally = (struct agree_tally){ .say = say };
	judge_case(&tally, "walk/hole_pd", 0);
	judge_case(&tally, "walk/read_only_pt", 0);
	assert_true(agree_report(&tally, "soft"));
}

#define agree_test(name) cmocka_unit_test_setup_teardown(name, open_world, close_world)

int main(void)
{
	const struct CMUnitTest tests[] = {
		agree_test(whole), agree_test(without_execute_only), agree_test(narrow),
		agree_test(without_flags), agree_test(judges), agree_test(excuses),
		agree_test(erratum_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
