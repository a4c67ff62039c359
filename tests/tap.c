/*
 * The console's `list` and `test`: finds tests in the linker's table, runs them one after another
 * on the first CPU, prints TAP 13. Each test is announced before it starts, so that one that
 * brings the machine down is known by name.
 */
#include "boot/boot.h"
#include "boot/console.h"
#include "boot/string.h"
#include "mm/base/atomic.h"
#include "tests/tap.h"

/* Of the test that runs; any CPU may write them. */
static atomic32_t failures;
static atomic64_t skip_reason;

bool tap_expect(bool holds, const char *file, int line, const char *text)
{
	if (!holds) {
		atomic_add(&failures, 1);
		print("# %s:%d: expected: %s\n", file, line, text);
	}
	return holds;
}

bool tap_expect_equal(uint64_t found, uint64_t wanted, const char *file, int line, const char *text)
{
	if (found != wanted) {
		atomic_add(&failures, 1);
		print("# %s:%d: %s is 0x%llx, expected 0x%llx\n", file, line, text,
		      (unsigned long long)found, (unsigned long long)wanted);
	}
	return found == wanted;
}

void tap_skip(const char *reason)
{
	atomic_write(&skip_reason, (uint64_t)reason);
}

/* ------------------------------------------------------------------ which tests */

/*
 * `*` stands for any characters, `/` too. After a mismatch the last star takes one more: an earlier
 * one never has to, so the time is bounded by the product of the two lengths.
 */
static bool matches(const char *name, const char *pattern)
{
	const char *behind_star = NULL, *taken = NULL;

	for (;;) {
		if (*pattern == '*') {
			behind_star = ++pattern;
			taken = name;
		} else if (*name == *pattern) {
			if (!*name)
				return true;
			name++;
			pattern++;
		} else if (taken && *taken) {
			name = ++taken;
			pattern = behind_star;
		} else {
			return false;
		}
	}
}

/* A test that is not part of all of them is run by its full name only. */
static bool is_wanted(const struct boot_test *test, const char *pattern)
{
	if (!strcmp(pattern, test->name))
		return true;
	if (test->needs & NEEDS_ONCE)
		return false;
	return !strcmp(pattern, "all") || matches(test->name, pattern);
}

static unsigned count_wanted(const char *pattern)
{
	unsigned count = 0;

	for (const struct boot_test *t = boot_tests_start; t < boot_tests_end; t++)
		count += is_wanted(t, pattern);
	return count;
}

/* ------------------------------------------------------------------ running them */

static const char *unmet_need(const struct boot_test *test)
{
	if (test->needs & NEEDS_VMX && !boot_has_vmx())
		return "needs VMX";
	if (test->needs & NEEDS_TWO_CPUS && cpu_count() < 2)
		return "needs two CPUs";
	return NULL;
}

static void run_test(const struct boot_test *test, unsigned number)
{
	const char *reason = unmet_need(test);

	print("# running %s\n", test->name);
	atomic_write(&failures, 0);
	atomic_write(&skip_reason, (uint64_t)reason);
	if (!reason)
		test->run();
	reason = (const char *)atomic_read(&skip_reason);
	if (atomic_read(&failures))
		print("not ok %u - %s\n", number, test->name);
	else if (reason)
		print("ok %u - %s # SKIP %s\n", number, test->name, reason);
	else
		print("ok %u - %s\n", number, test->name);
}

enum { PATTERNS_MAX = 64 };

/* In the order asked for; a test that two patterns name runs twice. */
static void run_tests(char *arguments)
{
	const char *patterns[PATTERNS_MAX];
	unsigned patterns_count = 0, total = 0, number = 0;

	for (const char *pattern; (pattern = console_word(&arguments));) {
		unsigned wanted = count_wanted(pattern);

		if (!wanted || patterns_count == PATTERNS_MAX) {
			print("test: no test '%s'; 'list' has them\n", pattern);
			return;
		}
		patterns[patterns_count++] = pattern;
		total += wanted;
	}
	if (!total) {
		print("test: expected names, patterns like boot/*, or all\n");
		return;
	}
	print("TAP version 13\n1..%u\n", total);
	for (unsigned i = 0; i < patterns_count; i++)
		for (const struct boot_test *t = boot_tests_start; t < boot_tests_end; t++)
			if (is_wanted(t, patterns[i]))
				run_test(t, ++number);
}
CONSOLE_COMMAND("test", "NAME...: run tests; boot/* and all are names too", run_tests)

static void list_tests(char *arguments)
{
	(void)arguments;
	for (const struct boot_test *t = boot_tests_start; t < boot_tests_end; t++)
		print("%s%s%s%s\n", t->name, t->needs & NEEDS_VMX ? " vmx" : "",
		      t->needs & NEEDS_TWO_CPUS ? " two-cpus" : "",
		      t->needs & NEEDS_ONCE ? " once" : "");
}
CONSOLE_COMMAND("list", ": the tests, and what they need", list_tests)
