/*
 * Good images with random damage: the loader may take them or refuse them, but it reads nothing
 * beyond the file, writes nowhere but into RAM, and a refusal writes nothing and is one line.
 */
#include "tests/unit/load_fixture.h"

enum { ROUNDS = 20000 };

static uint64_t next_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

/* Values at which comparisons change their mind. */
static uint32_t odd_value(uint64_t *seed)
{
	static const uint32_t values[] = { 0, 1, 0x7fffffff, 0x80000000, 0xffffffff, 0xfffffff0,
					   0x100000, 0x200000, 0x800000, 0x9ffff, 0x1000 };

	if (next_random(seed) & 1)
		return (uint32_t)next_random(seed);
	return values[next_random(seed) % (sizeof(values) / sizeof(values[0]))];
}

static void damage(uint8_t *image, size_t size, size_t interesting, uint64_t *seed)
{
	for (unsigned i = next_random(seed) % 4; i < 4; i++) {
		size_t at = next_random(seed) % interesting;

		if (next_random(seed) & 1)
			image[at] = (uint8_t)next_random(seed);
		else if ((at & ~3ull) + 4 <= size)
			put32(image + (at & ~3ull), odd_value(seed));
	}
}

static unsigned load_damaged(uint8_t *(*make)(struct fixture *), size_t interesting, uint64_t seed)
{
	unsigned loaded = 0;

	for (unsigned round = 0; round < ROUNDS / 100; round++) {
		struct fixture *f = fixture_make();

		for (unsigned i = 0; i < 100; i++) {
			enum status status;

			damage(make(f), f->request.image.size, interesting, &seed);
			if (next_random(&seed) % 8 == 0) {
				size_t size = next_random(&seed) % f->request.image.size;

				f->image = realloc(f->image, size ? size : 1);
				f->request.image.bytes = f->image;
				f->request.image.size = size;
			}
			status = fixture_load(f);
			assert_int_equal(f->stray_writes, 0);
			if (status) {
				assert_int_equal(f->writes, 0);
				assert_in_range(strlen(f->error), 1, LOAD_ERROR_MAX - 1);
			} else {
				loaded++;
				assert_true(f->entry.rip < GUEST_BYTES);
			}
		}
		fixture_free(f);
	}
	return loaded;
}

/* Both outcomes must occur, or the damage is not what it should be. */
static void test_elf(void **state)
{
	(void)state;
	assert_in_range(load_damaged(fixture_elf, 0x110, 0x1234567), 1, ROUNDS - 1);
}

static void test_raw(void **state)
{
	(void)state;
	assert_in_range(load_damaged(fixture_raw, 0x60, 0x89abcde), 1, ROUNDS - 1);
}

static void test_linux(void **state)
{
	(void)state;
	assert_in_range(load_damaged(fixture_linux, 0x270, 0xf01234), 1, ROUNDS - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_elf),
		cmocka_unit_test(test_raw),
		cmocka_unit_test(test_linux),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
