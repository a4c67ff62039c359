/*
 * Tests inside the image. A test is a function with a name, found through the linker's table; the
 * console runs it and prints TAP 13. A failed expectation marks the test and goes on; a panic or a
 * hang ends the boot, and the harness reports the test that was running.
 *
 *	BOOT_TEST("ept/accessed_dirty", NEEDS_VMX)
 *	{
 *		expect(spte_dirty(s));
 *		expect_equal(qualification, 0x18a);
 *	}
 */
#ifndef TESTS_TAP_H
#define TESTS_TAP_H

#include <stdbool.h>
#include <stdint.h>

enum test_needs {
	NEEDS_NOTHING = 0,
	NEEDS_VMX = 1,
	NEEDS_TWO_CPUS = 2,
	NEEDS_ONCE = 4,			/* not part of "test all" */
};

struct boot_test {
	const char *name;
	void (*run)(void);
	unsigned needs;
};

extern const struct boot_test boot_tests_start[], boot_tests_end[];

#define TEST_JOIN2(a, b) a##b
#define TEST_JOIN(a, b)  TEST_JOIN2(a, b)
#define BOOT_TEST(test_name, test_needs)                                                    \
	static void TEST_JOIN(test_, __LINE__)(void);                                       \
	static const struct boot_test TEST_JOIN(entry_, __LINE__)                           \
		__attribute__((section("boot_tests"), used, aligned(8))) = {                \
			test_name, TEST_JOIN(test_, __LINE__), test_needs };                \
	static void TEST_JOIN(test_, __LINE__)(void)

#define expect(condition) tap_expect((condition), __FILE__, __LINE__, #condition)
#define expect_equal(found, wanted) \
	tap_expect_equal((uint64_t)(found), (uint64_t)(wanted), __FILE__, __LINE__, #found)

bool tap_expect(bool holds, const char *file, int line, const char *text);
bool tap_expect_equal(uint64_t found, uint64_t wanted, const char *file, int line,
		      const char *text);
/* This machine can't run it: reported as "ok ... # SKIP reason". */
void tap_skip(const char *reason);

#endif
