/* The image's C library: memory and string functions, formatted text. Needs nothing. */
#include "boot/boot.h"
#include "boot/console.h"
#include "boot/string.h"
#include "tests/tap.h"

enum { BYTES = 64 };

static void fill(uint8_t *bytes, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		bytes[i] = (uint8_t)(i * 7 + 1);
}

/* Every start and length within a small buffer: the word-wise loops have ends of all sizes. */
BOOT_TEST("boot/memcpy", NEEDS_NOTHING)
{
	uint8_t from[BYTES], to[BYTES];
	unsigned wrong = 0;

	fill(from, BYTES);
	for (unsigned start = 0; start < 16; start++)
		for (unsigned length = 0; length < 40; length++) {
			memset(to, 0xee, BYTES);
			wrong += memcpy(to + start, from + 3, length) != to + start;
			for (unsigned i = 0; i < BYTES; i++)
				wrong += to[i] != (i >= start && i < start + length
						   ? from[3 + i - start] : 0xee);
		}
	expect_equal(wrong, 0);
}

BOOT_TEST("boot/memmove", NEEDS_NOTHING)
{
	uint8_t before[BYTES], bytes[BYTES];
	unsigned wrong = 0;

	fill(before, BYTES);
	for (unsigned from = 0; from < 20; from++)
		for (unsigned to = 0; to < 20; to++)
			for (unsigned length = 0; length < 40; length++) {
				fill(bytes, BYTES);
				(void)memmove(bytes + to, bytes + from, length);
				for (unsigned i = 0; i < BYTES; i++)
					wrong += bytes[i] != (i >= to && i < to + length
							      ? before[from + i - to] : before[i]);
			}
	expect_equal(wrong, 0);
}

BOOT_TEST("boot/memset", NEEDS_NOTHING)
{
	uint8_t bytes[BYTES];
	unsigned wrong = 0;

	for (unsigned length = 0; length < BYTES; length++) {
		fill(bytes, BYTES);
		memset(bytes, 0x1a5, length);
		for (unsigned i = 0; i < BYTES; i++)
			wrong += bytes[i] != (i < length ? 0xa5 : (uint8_t)(i * 7 + 1));
	}
	expect_equal(wrong, 0);
}

BOOT_TEST("boot/strings", NEEDS_NOTHING)
{
	const char *text = "a,bc;d";

	expect(memcmp("abc", "abd", 2) == 0);
	expect(memcmp("abc", "abd", 3) < 0);
	expect(memcmp("\x80", "\x7f", 1) > 0);
	expect_equal(strlen(text), 6);
	expect_equal(strnlen(text, 3), 3);
	expect(strcmp("ab", "ab") == 0);
	expect(strcmp("ab", "abc") < 0);
	expect(strcmp("\x80", "a") > 0);
	expect(strncmp("abx", "aby", 2) == 0);
	expect(strncmp("abx", "aby", 3) < 0);
	expect(strchr(text, ';') == text + 4);
	expect(strchr(text, '\0') == text + 6);
	expect(!strchr(text, 'x'));
	expect_equal(strspn("  \t x", " \t"), 4);
	expect_equal(strcspn(text, ";,"), 1);
	expect_equal(strcspn(text, "x"), 6);
}

static void expect_text(const char *found, const char *wanted)
{
	if (strcmp(found, wanted))
		print("# formatted '%s', expected '%s'\n", found, wanted);
	expect(!strcmp(found, wanted));
}

#define expect_format(wanted, ...)                                        \
	do {                                                              \
		(void)format_text(text, sizeof(text), __VA_ARGS__);       \
		expect_text(text, wanted);                                \
	} while (0)

BOOT_TEST("boot/format", NEEDS_NOTHING)
{
	char text[64];

	expect_format("plain %", "plain %%");
	expect_format("[c] [text] [tex]", "[%c] [%s] [%.3s]", 'c', "text", "text");
	expect_format("[  ab] [ab  ] [  a]", "[%4s] [%-4s] [%*.*s]", "ab", "ab", 3, 1, "ab");
	expect_format("0 -1 2147483647 -2147483648", "%d %d %d %d", 0, -1, INT32_MAX, INT32_MIN);
	expect_format("-9223372036854775808", "%lld", (long long)INT64_MIN);
	expect_format("4294967295 18446744073709551615", "%u %llu", UINT32_MAX,
		      (unsigned long long)UINT64_MAX);
	expect_format("ff 00ff [  ff] [ff  ]", "%x %04x [%4x] [%-4x]", 255, 255, 255, 255);
	expect_format("-005 [   -5] 0007", "%04d [%5d] %.4u", -5, -5, 7u);
	expect_format("deadbeefcafe 5 6", "%lx %zu %ld", UINT64_C(0xdeadbeefcafe), (size_t)5, 6L);
	expect_format("0x1000", "%p", (void *)0x1000);
}

BOOT_TEST("boot/format_limits", NEEDS_NOTHING)
{
	char text[8] = "#######";

	expect_equal(format_text(text, 4, "%s", "abcdef"), 6);
	expect_text(text, "abc");
	expect_equal(text[4], '#');
	expect_equal(format_text(text, 0, "%s", "xyz"), 3);
	expect_text(text, "abc");
	expect_equal(format_text(text, 1, "%u", 12345u), 5);
	expect_text(text, "");
}

BOOT_TEST("boot/console_words", NEEDS_NOTHING)
{
	char line[] = "  one\ttwo  three ";
	char *rest = line;

	expect_text(console_word(&rest), "one");
	expect_text(console_word(&rest), "two");
	expect_text(console_word(&rest), "three");
	expect(!console_word(&rest));
	expect(!console_word(&rest));
}

BOOT_TEST("boot/console_commands", NEEDS_NOTHING)
{
	const struct console_command *all = console_commands_start;
	long count = console_commands_end - console_commands_start;

	expect(count >= 6);
	for (long i = 0; i < count; i++)
		for (long j = i + 1; j < count; j++)
			expect(strcmp(all[i].name, all[j].name));
}
