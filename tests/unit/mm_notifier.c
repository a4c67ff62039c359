/*
 * What a listener is told, and in which order: start, then the primary entries change, then frames
 * are freed, then end. The listener and the allocator's watch write one trace of letters; each
 * looks at the entry of the page at that moment.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "mm/space.h"
#include "tests/host/arena.h"

#define MIB  UINT64_C(0x100000)
#define BASE (UINT64_C(64) << 30)

static struct arena arena;
static struct space *space;
static struct page_watch arena_watch;		/* what arena.watch did before we listened in */

static struct recorder {
	struct notifier notifier;
	char trace[256];
	unsigned length;
	struct mm_range ranges[16];
	unsigned starts, ends;
	uint64_t watched;			/* the address whose entry is looked at */
	pte_t at_start, at_end, at_free;
	pfn_t freed;
} recorder;

static void note(char letter)
{
	if (recorder.length < sizeof(recorder.trace) - 1)
		recorder.trace[recorder.length++] = letter;
}

static pte_t watched_entry(void) NOT_CHECKED
{
	return table_find(space, recorder.watched).pte;
}

static void on_start(struct notifier *self, const struct mm_range *range)
{
	assert_ptr_equal(self, &recorder.notifier);
	note('S');
	recorder.ranges[recorder.starts++ % 16] = *range;
	recorder.at_start = watched_entry();
}

static void on_end(struct notifier *self, const struct mm_range *range)
{
	assert_ptr_equal(self, &recorder.notifier);
	assert_memory_equal(range, &recorder.ranges[recorder.ends++ % 16], sizeof(*range));
	note('E');
	recorder.at_end = watched_entry();
}

static void on_release(struct notifier *self)
{
	assert_ptr_equal(self, &recorder.notifier);
	assert_true(list_empty(&self->link));
	note('R');
	recorder.at_start = watched_entry();
}

static const struct notifier_ops ops = {
	.start = on_start, .end = on_end, .release = on_release,
};

static void on_free(struct page_watch *self, pfn_t head, unsigned order)
{
	note('f');
	if (!recorder.freed.raw) {
		recorder.freed = head;
		recorder.at_free = watched_entry();
	}
	arena_watch.freeing(self, head, order);
}

static int open_space(void **state)
{
	(void)state;
	memset(&recorder, 0, sizeof(recorder));
	recorder.notifier.ops = &ops;
	recorder.watched = BASE;
	if (space_create(arena_open(&arena, 64), &space) != STATUS_OK)
		return 1;
	arena_watch = arena.watch;
	arena.watch.freeing = on_free;
	notifier_register(space, &recorder.notifier);
	return 0;
}

static int close_space(void **state)
{
	(void)state;
	if (!list_empty(&recorder.notifier.link))
		notifier_unregister(space, &recorder.notifier);
	arena.watch = arena_watch;
	space_destroy(space);
	arena_close(&arena);
	return 0;
}

static struct mm_page touch_page(uint64_t address)
{
	struct mm_page page = { 0 };

	assert_int_equal(mm_lookup(space, hva(address), ACCESS_WRITE, &page), STATUS_OK);
	return page;
}

static struct mm_page map_and_touch(uint64_t bytes, unsigned max_level)
{
	assert_int_equal(space_map(space, hva(BASE), bytes, PROTECTION_READ_WRITE, max_level),
			 STATUS_OK);
	return touch_page(BASE);
}

static void expect_bracket(unsigned i, uint64_t start, uint64_t end, enum mm_event event)
{
	assert_int_equal(recorder.ranges[i].start.raw, start);
	assert_int_equal(recorder.ranges[i].end.raw, end);
	assert_int_equal(recorder.ranges[i].event, event);
}

static void growing_tells_nothing(void **state)
{
	(void)state;
	map_and_touch(2 * MIB, LEVEL_2M);
	assert_string_equal(recorder.trace, "");
	/* Nothing mapped there: nothing to tell. */
	assert_int_equal(space_unmap(space, hva(BASE + 8 * MIB), MIB), STATUS_OK);
	assert_int_equal(space_discard(space, hva(BASE + 8 * MIB), MIB), STATUS_OK);
	assert_string_equal(recorder.trace, "");
}

static void unmap(void **state)
{
	struct mm_page page = map_and_touch(2 * PAGE_SIZE, LEVEL_4K);

	(void)state;
	touch_page(BASE + PAGE_SIZE);
	assert_int_equal(space_unmap(space, hva(BASE - MIB), 2 * MIB), STATUS_OK);
	assert_string_equal(recorder.trace, "SfffffE");		/* 2 pages, 3 tables */
	expect_bracket(0, BASE - MIB, BASE + MIB, EVENT_UNMAP);
	assert_int_equal(pte_frame(recorder.at_start).raw, page.frame.raw);
	assert_true(pte_present(recorder.at_start));
	assert_int_equal(recorder.freed.raw, page.frame.raw);
	assert_true(pte_is_empty(recorder.at_free));
	assert_true(pte_is_empty(recorder.at_end));
}

static void discard_part_of_a_large_page(void **state)
{
	struct mm_page page = map_and_touch(2 * MIB, LEVEL_2M);

	(void)state;
	assert_int_equal(space_discard(space, hva(BASE), PAGE_SIZE), STATUS_OK);
	assert_string_equal(recorder.trace, "SE");
	expect_bracket(0, BASE, BASE + PAGE_SIZE, EVENT_CLEAR);
	assert_int_equal(pte_frame(recorder.at_start).raw, page.frame.raw);
	assert_true(pte_is_empty(recorder.at_end));
	assert_int_equal(space_discard(space, hva(BASE), 2 * MIB), STATUS_OK);
	assert_string_equal(recorder.trace, "SESffffE");
}

static void more_frames_than_one_gather(void **state)
{
	char wanted[256] = "S";
	unsigned pages = 3 * GATHER_MAX + 1;

	(void)state;
	map_and_touch(pages * PAGE_SIZE, LEVEL_4K);
	for (unsigned i = 1; i < pages; i++)
		touch_page(BASE + i * PAGE_SIZE);
	memset(wanted + 1, 'f', pages + 3);
	wanted[pages + 4] = 'E';
	assert_int_equal(space_unmap(space, hva(BASE), pages * PAGE_SIZE), STATUS_OK);
	assert_string_equal(recorder.trace, wanted);
}

static void protect(void **state)
{
	(void)state;
	map_and_touch(2 * MIB, LEVEL_2M);
	assert_int_equal(space_protect(space, hva(BASE), PAGE_SIZE, PROTECTION_READ), STATUS_OK);
	assert_string_equal(recorder.trace, "SE");
	expect_bracket(0, BASE, BASE + PAGE_SIZE, EVENT_PROTECTION_VMA);
	assert_true(pte_writable(recorder.at_start));
	assert_true(pte_present(recorder.at_end) && !pte_writable(recorder.at_end));
}

/* One bracket for each 2 MiB that has small pages; the old frame is free before the end. */
static void migrate(void **state)
{
	struct mm_page page = map_and_touch(6 * MIB, LEVEL_4K);
	uint64_t moved;

	(void)state;
	touch_page(BASE + MIB);
	touch_page(BASE + 5 * MIB);
	assert_int_equal(space_migrate(space, hva(BASE), 6 * MIB, &moved), STATUS_OK);
	assert_int_equal(moved, 3);
	assert_string_equal(recorder.trace, "SffESfE");
	expect_bracket(0, BASE, BASE + 2 * MIB, EVENT_MIGRATE);
	expect_bracket(1, BASE + 4 * MIB, BASE + 6 * MIB, EVENT_MIGRATE);
	assert_int_equal(recorder.freed.raw, page.frame.raw);
	assert_true(pte_present(recorder.at_free));
	assert_int_not_equal(pte_frame(recorder.at_free).raw, page.frame.raw);
}

static void invalidate(void **state)
{
	struct mm_page page = map_and_touch(MIB, LEVEL_4K);

	(void)state;
	assert_int_equal(space_invalidate(space, hva(BASE), MIB), STATUS_OK);
	assert_string_equal(recorder.trace, "SE");
	assert_int_equal(recorder.at_start.bits, recorder.at_end.bits);
	assert_int_equal(touch_page(BASE).frame.raw, page.frame.raw);
	/* Announced even where nothing is mapped: the listener must bear it. */
	assert_int_equal(space_invalidate(space, hva(BASE + 8 * MIB), MIB), STATUS_OK);
	assert_string_equal(recorder.trace, "SESE");
}

static void failure_tells_nothing(void **state)
{
	(void)state;
	map_and_touch(4 * MIB, LEVEL_2M);
	arena_fail_after(&arena, 0);
	assert_int_equal(space_unmap(space, hva(BASE), PAGE_SIZE), STATUS_NO_MEMORY);
	assert_string_equal(recorder.trace, "");
}

static void release(void **state)
{
	struct mm_page page = map_and_touch(MIB, LEVEL_4K);

	(void)state;
	space_destroy(space);
	assert_int_equal(recorder.trace[0], 'R');
	assert_null(strpbrk(recorder.trace + 1, "RSE"));
	assert_int_equal(pte_frame(recorder.at_start).raw, page.frame.raw);
	assert_int_equal(recorder.freed.raw, page.frame.raw);
	assert_int_equal(space_create(arena.host, &space), STATUS_OK);
}

static void second_start(struct notifier *self, const struct mm_range *range)
{
	(void)self;
	(void)range;
	note('s');
}

static void second_end(struct notifier *self, const struct mm_range *range)
{
	(void)self;
	(void)range;
	note('e');
}

static void second_release(struct notifier *self)
{
	(void)self;
	note('r');
}

static void two_listeners(void **state)
{
	static const struct notifier_ops second_ops = {
		.start = second_start, .end = second_end, .release = second_release,
	};
	static struct notifier second = { .ops = &second_ops };

	(void)state;
	map_and_touch(MIB, LEVEL_4K);
	notifier_register(space, &second);
	assert_int_equal(space_discard(space, hva(BASE), MIB), STATUS_OK);
	assert_string_equal(recorder.trace, "SsffffEe");
	notifier_unregister(space, &recorder.notifier);
	assert_int_equal(space_invalidate(space, hva(BASE), MIB), STATUS_OK);
	assert_string_equal(recorder.trace, "SsffffEese");
	notifier_register(space, &recorder.notifier);
	space_destroy(space);
	assert_non_null(strstr(recorder.trace, "serR"));
	assert_int_equal(space_create(arena.host, &space), STATUS_OK);
}

#define IN_SPACE(test) cmocka_unit_test_setup_teardown(test, open_space, close_space)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_SPACE(growing_tells_nothing),
		IN_SPACE(unmap),
		IN_SPACE(discard_part_of_a_large_page),
		IN_SPACE(more_frames_than_one_gather),
		IN_SPACE(protect),
		IN_SPACE(migrate),
		IN_SPACE(invalidate),
		IN_SPACE(failure_tells_nothing),
		IN_SPACE(release),
		IN_SPACE(two_listeners),
	};

	return cmocka_run_group_tests_name("mm/notifier", tests, NULL, NULL);
}
