/*
 * Random operations on one space against a model of it: for each page whether it is mapped, its
 * rights, its reference count's surplus, and every byte. All rules are verified after each step; a
 * listener checks from the brackets alone that what it was told covers every change.
 *
 * MM_RANDOM_STEPS and MM_RANDOM_SEED in the environment make it longer, or run it again.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdlib.h>
#include <cmocka.h>

#include "mm/space.h"
#include "tests/host/arena.h"

#define MIB   UINT64_C(0x100000)
#define BASE  ((UINT64_C(64) << 30) - 3 * MIB)		/* crosses a 1 GiB and 2 MiB boundaries */
#define PAGES UINT64_C(2304)				/* 9 MiB */
#define BYTES (PAGES * PAGE_SIZE)

static struct arena arena;
static struct space *space;
static uint64_t seed;

enum { UNMAPPED = -1 };
static int rights[PAGES];			/* an enum protection, or UNMAPPED */
static uint8_t content[BYTES];
static uint64_t lent[PAGES];			/* what a listener maps: frame + 1, or 0 */
static bool written[PAGES];			/* since soft dirty was cleared, and not lost */
static uint64_t brackets;
static uint8_t buffer[64 * PAGE_SIZE];

static uint64_t random_below(uint64_t limit)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (seed >> 11) % limit;
}

/* ------------------------------------------------------------------ the listener */

static void on_start(struct notifier *self, const struct mm_range *range)
{
	(void)self;
	brackets++;
	for (uint64_t i = 0; i < PAGES; i++) {
		uint64_t address = BASE + i * PAGE_SIZE;

		if (address >= range->start.raw && address < range->end.raw)
			lent[i] = 0;
	}
}

static void on_end(struct notifier *self, const struct mm_range *range)
{
	(void)self;
	(void)range;
	brackets--;
}

static void on_release(struct notifier *self)
{
	(void)self;
	memset(lent, 0, sizeof(lent));
}

static const struct notifier_ops ops = {
	.start = on_start, .end = on_end, .release = on_release,
};
static struct notifier listener = { .ops = &ops };

/* Whatever the listener still holds must be what the primary tables say (I1). */
static void check_lent(void) NOT_CHECKED
{
	assert_int_equal(brackets, 0);
	for (uint64_t i = 0; i < PAGES; i++) {
		uint64_t address = BASE + i * PAGE_SIZE;

		if (!lent[i])
			continue;

		struct place place = table_find(space, address);
		uint64_t inside = address & (level_bytes(place.level) - 1);

		assert_true(pte_present(place.pte));
		assert_int_equal(lent[i] - 1, pte_frame(place.pte).raw + (inside >> PAGE_SHIFT));
	}
}

/* ------------------------------------------------------------------ steps */

struct pick { uint64_t first, pages; };

static struct pick pick_range(void)
{
	/* Mostly small, sometimes whole large pages, sometimes anything. */
	static const uint64_t lengths[] = { 1, 4, 64, 512, 1024 };
	uint64_t first = random_below(PAGES);
	uint64_t pages = 1 + random_below(lengths[random_below(5)]);

	if (!random_below(3)) {
		first = (first & ~UINT64_C(511)) + 256;		/* BASE is 1 MiB off */
		pages = 512;
	}
	if (first >= PAGES)
		first = 0;
	if (pages > PAGES - first)
		pages = PAGES - first;
	return (struct pick){ first, pages };
}

static bool model_all_mapped(struct pick pick)
{
	for (uint64_t i = 0; i < pick.pages; i++)
		if (rights[pick.first + i] == UNMAPPED)
			return false;
	return true;
}

static bool model_any_mapped(struct pick pick)
{
	for (uint64_t i = 0; i < pick.pages; i++)
		if (rights[pick.first + i] != UNMAPPED)
			return true;
	return false;
}

static void model_set(struct pick pick, int protection)
{
	for (uint64_t i = 0; i < pick.pages; i++)
		rights[pick.first + i] = protection;
}

static void model_zero(struct pick pick)
{
	memset(&content[pick.first * PAGE_SIZE], 0, pick.pages * PAGE_SIZE);
	memset(&written[pick.first], 0, pick.pages * sizeof(written[0]));
}

static hva_t start_of(struct pick pick) { return hva(BASE + pick.first * PAGE_SIZE); }
static uint64_t bytes_of(struct pick pick) { return pick.pages * PAGE_SIZE; }

/* True when it was done; false when it was refused, which must be for want of memory. */
static bool done(enum status status)
{
	if (status != STATUS_OK)
		assert_int_equal(status, STATUS_NO_MEMORY);
	return status == STATUS_OK;
}

static void step_map(struct pick pick)
{
	enum protection protection = random_below(4) ? PROTECTION_READ_WRITE : PROTECTION_READ;
	enum status status = space_map(space, start_of(pick), bytes_of(pick), protection,
				       1 + (unsigned)random_below(3));

	if (model_any_mapped(pick)) {
		assert_int_equal(status, STATUS_EXISTS);
	} else if (done(status)) {
		model_set(pick, (int)protection);
		model_zero(pick);
	}
}

static void step_unmap(struct pick pick)
{
	if (done(space_unmap(space, start_of(pick), bytes_of(pick))))
		model_set(pick, UNMAPPED);
}

static void step_protect(struct pick pick)
{
	enum protection protection = (enum protection)random_below(3);
	enum status status = space_protect(space, start_of(pick), bytes_of(pick), protection);

	if (!model_all_mapped(pick))
		assert_int_equal(status, STATUS_NOT_FOUND);
	else if (done(status))
		model_set(pick, (int)protection);
}

static void step_discard(struct pick pick)
{
	if (done(space_discard(space, start_of(pick), bytes_of(pick))))
		model_zero(pick);
}

static void step_migrate(struct pick pick)
{
	uint64_t moved;

	assert_true(done(space_migrate(space, start_of(pick), bytes_of(pick), &moved)) ||
		    arena.refused);
	assert_true(moved <= pick.pages);
}

static void step_invalidate(struct pick pick)
{
	assert_int_equal(space_invalidate(space, start_of(pick), bytes_of(pick)), STATUS_OK);
}

/* The first byte of [at, at + bytes) that the access can't reach, and why. */
static enum status model_reach(uint64_t at, uint64_t *bytes, int least)
{
	for (uint64_t i = at; i < at + *bytes; i = (i | ~PAGE_MASK) + 1) {
		int have = rights[i >> PAGE_SHIFT];

		if (have < least) {
			*bytes = i - at;
			return have == UNMAPPED ? STATUS_NOT_FOUND : STATUS_NO_ACCESS;
		}
	}
	return STATUS_OK;
}

static uint64_t pick_bytes(uint64_t at)
{
	uint64_t bytes = 1 + random_below(random_below(2) ? 32 : sizeof(buffer) - 1);

	return bytes < BYTES - at ? bytes : BYTES - at;
}

static void step_write(void)
{
	uint64_t at = random_below(BYTES), bytes = pick_bytes(at), reached = bytes;
	enum status wanted = model_reach(at, &reached, PROTECTION_READ_WRITE);

	for (uint64_t i = 0; i < bytes; i++)
		buffer[i] = (uint8_t)random_below(256);
	assert_int_equal(space_write(space, hva(BASE + at), buffer, bytes), wanted);
	memcpy(&content[at], buffer, reached);
	for (uint64_t i = at; i < at + reached; i = (i | ~PAGE_MASK) + 1)
		written[i >> PAGE_SHIFT] = true;
}

static void step_read(void)
{
	uint64_t at = random_below(BYTES), bytes = pick_bytes(at), reached = bytes;
	enum status wanted = model_reach(at, &reached, PROTECTION_READ);

	assert_int_equal(space_read(space, hva(BASE + at), buffer, bytes), wanted);
	assert_memory_equal(buffer, &content[at], reached);
}

/* What ept would do: map what the lookup says, until told otherwise. */
static void step_lookup(void)
{
	uint64_t i = random_below(PAGES);
	enum access access = random_below(2) ? ACCESS_WRITE : ACCESS_READ;
	int least = access == ACCESS_WRITE ? PROTECTION_READ_WRITE : PROTECTION_READ;
	struct mm_page page;
	enum status status = mm_lookup(space, hva(BASE + i * PAGE_SIZE + 5), access, &page);

	if (rights[i] < least) {
		assert_int_equal(status, rights[i] == UNMAPPED ? STATUS_NOT_FOUND
							       : STATUS_NO_ACCESS);
		return;
	}
	assert_int_equal(status, STATUS_OK);
	assert_true(!page.writable || rights[i] == PROTECTION_READ_WRITE);
	assert_true(page.writable || access == ACCESS_READ);
	assert_memory_equal(pfn_to_ptr(page.frame), &content[i * PAGE_SIZE], PAGE_SIZE);
	lent[i] = page.frame.raw + 1;
}

static void step_hint(struct pick pick)
{
	enum hinting how = random_below(2) ? HINT_EACH_2M : HINT_AT_ONCE;

	if (random_below(2))
		(void)done(space_hint(space, start_of(pick), bytes_of(pick), how));
	else
		(void)done(space_scan(space, pick.pages, how));
}

static void step_soft_dirty(void)
{
	for (uint64_t i = 0; i < PAGES; i++) {
		bool soft = false;
		enum status status = space_soft_dirty(space, hva(BASE + i * PAGE_SIZE), &soft);

		assert_int_equal(status == STATUS_OK, rights[i] != UNMAPPED);
		assert_true(soft || !written[i] || rights[i] == UNMAPPED);
	}
	if (random_below(2))
		return;
	space_clear_soft_dirty(space);
	memset(written, 0, sizeof(written));
}

static void step_exclusive(void)
{
	uint64_t i = random_below(PAGES);
	pfn_t frame;
	enum status status = space_make_exclusive(space, hva(BASE + i * PAGE_SIZE), NULL, &frame);

	if (rights[i] < PROTECTION_READ_WRITE) {
		assert_int_equal(status, rights[i] == UNMAPPED ? STATUS_NOT_FOUND
							       : STATUS_NO_ACCESS);
		return;
	}
	assert_int_equal(status, STATUS_OK);
	assert_memory_equal(pfn_to_ptr(frame), &content[i * PAGE_SIZE], PAGE_SIZE);
	exclusive_done(arena.host, frame);
}

static void step(void)
{
	uint64_t kind = random_below(28);
	struct pick pick = pick_range();

	/* Some changes are short of memory. */
	if (kind < 12 && !random_below(4))
		arena_fail_after(&arena, (int64_t)random_below(3));
	switch (kind) {
	case 0: case 1: case 2: step_map(pick); break;
	case 3: step_unmap(pick); break;
	case 4: case 5: case 6: step_protect(pick); break;
	case 7: case 8: step_discard(pick); break;
	case 9: case 10: step_migrate(pick); break;
	case 11: step_invalidate(pick); break;
	case 12: case 13: case 14: case 15: case 16: step_write(); break;
	case 17: case 18: case 19: step_read(); break;
	case 20: case 21: step_hint(pick); break;
	case 22: step_soft_dirty(); break;
	case 23: step_exclusive(); break;
	default: step_lookup(); break;
	}
	arena_fail_after(&arena, -1);
}

static void check_content(void)
{
	for (uint64_t i = 0; i < PAGES; i++) {
		if (rights[i] < PROTECTION_READ)
			continue;
		assert_int_equal(space_read(space, hva(BASE + i * PAGE_SIZE), buffer, PAGE_SIZE),
				 STATUS_OK);
		assert_memory_equal(buffer, &content[i * PAGE_SIZE], PAGE_SIZE);
	}
}

static uint64_t setting(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 0) : otherwise;
}

static void run(uint64_t from, uint64_t steps)
{
	seed = from * 0x9e3779b97f4a7c15 | 1;
	memset(content, 0, sizeof(content));
	memset(lent, 0, sizeof(lent));
	memset(written, 0, sizeof(written));
	model_set((struct pick){ 0, PAGES }, UNMAPPED);
	arena_open(&arena, 64);
	assert_int_equal(space_create(arena.host, &space), STATUS_OK);
	notifier_register(space, &listener);
	for (uint64_t i = 0; i < steps; i++) {
		step();
		space_verify(space);
		check_lent();
		if (i % 64 == 0)
			host_verify(arena.host);
	}
	check_content();
	space_destroy(space);
	arena_close(&arena);
}

static void random_operations(void **state)
{
	uint64_t steps = setting("MM_RANDOM_STEPS", 2500);
	uint64_t only = setting("MM_RANDOM_SEED", 0);

	(void)state;
	for (uint64_t i = 1; i <= 4; i++) {
		print_message("# MM_RANDOM_SEED=%lu\n", only ? only : i);
		run(only ? only : i, steps);
		if (only)
			break;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(random_operations) };

	return cmocka_run_group_tests_name("mm/random", tests, NULL, NULL);
}
