/*
 * What listeners are told: each event by an operation that raises it; several listeners, one of
 * them refusing; a device that has a page for itself; a space that is reaped.
 */
#include "tests/unit/file_fixture.h"
#include "tests/unit/trace_fixture.h"

/*
 * A device that listens: it may have one page, and drops it when told, unless it was told of
 * itself.
 */
struct device {
	struct notifier notifier;
	unsigned starts, tries, ends, open, released;
	bool would_sleep;
	bool maps;			/* the page for itself */
	uint64_t events;		/* bits of those that were started */
	struct mm_range last;
};

static struct device *device_of(struct notifier *self)
{
	return container_of(self, struct device, notifier);
}

static void on_start(struct notifier *self, const struct mm_range *range)
{
	struct device *device = device_of(self);

	device->starts++;
	device->open++;
	device->events |= UINT64_C(1) << range->event;
	device->last = *range;
	if (range->event != EVENT_EXCLUSIVE || range->owner != device)
		device->maps = false;
}

static bool on_try(struct notifier *self, const struct mm_range *range)
{
	device_of(self)->tries++;
	if (device_of(self)->would_sleep)
		return false;
	on_start(self, range);
	return true;
}

static void on_end(struct notifier *self, const struct mm_range *range)
{
	struct device *device = device_of(self);

	(void)range;
	assert_true(device->open > 0);
	device->ends++;
	device->open--;
}

static void on_release(struct notifier *self) { device_of(self)->released++; }

static const struct notifier_ops plain_ops = {
	.start = on_start, .end = on_end, .release = on_release,
};
static const struct notifier_ops sleeping_ops = {
	.start = on_start, .try_start = on_try, .end = on_end, .release = on_release,
};

static struct device first, second, third;

static int open_devices(void **state)
{
	int opened = open_file(state);

	first = (struct device){ .notifier.ops = &plain_ops };
	second = (struct device){ .notifier.ops = &sleeping_ops };
	third = (struct device){ .notifier.ops = &plain_ops };
	notifier_register(space, &first.notifier);
	notifier_register(space, &second.notifier);
	notifier_register(space, &third.notifier);
	return opened;
}

static int close_devices(void **state)
{
	assert_int_equal(first.open + second.open + third.open, 0);
	assert_int_equal(close_file(state), 0);
	return first.released == 1 && second.released == 1 && third.released == 1 ? 0 : -1;
}

#define TOLD(event) (UINT64_C(1) << EVENT_##event)

static uint64_t told(void)
{
	uint64_t events = first.events;

	assert_int_equal(first.starts, first.ends);
	assert_int_equal(second.events, events);
	assert_int_equal(third.events, events);
	first.events = second.events = third.events = 0;
	return events;
}

static uint64_t get(uint64_t at)
{
	uint64_t value = 0;

	assert_int_equal(space_read(space, hva(at), &value, sizeof(value)), STATUS_OK);
	return value;
}

/* ------------------------------------------------------------------ events */

static void an_operation_for_each_event(void **state)
{
	uint64_t moved;
	pfn_t frame;

	(void)state;
	map(BASE, 4 * PAGE_SIZE, LEVEL_4K);
	put(BASE, 1);
	put(BASE + PAGE_SIZE, 1);
	assert_int_equal(told(), 0);
	assert_int_equal(space_hint(space, hva(BASE), PAGE_SIZE, HINT_EACH_2M), STATUS_OK);
	assert_int_equal(told(), TOLD(PROTECTION_VMA));
	assert_int_equal(get(BASE), 1);
	assert_int_equal(told(), 0);
	assert_int_equal(space_protect(space, hva(BASE), PAGE_SIZE, PROTECTION_READ), STATUS_OK);
	assert_int_equal(told(), TOLD(PROTECTION_VMA));
	space_clear_soft_dirty(space);
	assert_int_equal(told(), TOLD(SOFT_DIRTY));
	assert_int_equal(first.last.end.raw, SPACE_END);
	assert_int_equal(space_migrate(space, hva(BASE), PAGE_SIZE, &moved), STATUS_OK);
	assert_int_equal(told(), TOLD(MIGRATE));
	assert_int_equal(space_make_exclusive(space, hva(BASE + PAGE_SIZE), &second, &frame),
			 STATUS_OK);
	assert_int_equal(told(), TOLD(EXCLUSIVE));
	assert_ptr_equal(third.last.owner, &second);
	exclusive_done(arena.host, frame);
	assert_int_equal(get(BASE + PAGE_SIZE), 1);
	assert_int_equal(told(), TOLD(CLEAR));
	assert_null(third.last.owner);
	assert_int_equal(space_unmap(space, hva(BASE), PAGE_SIZE), STATUS_OK);
	assert_int_equal(told(), TOLD(UNMAP));
	map_file(2 * BASE, 1, PROTECTION_READ_WRITE, SHARING_SHARED);
	put(2 * BASE, 1);
	assert_int_equal(file_sync(file), STATUS_OK);
	assert_int_equal(told(), TOLD(PROTECTION_PAGE));
}

/* EVENT_RELEASE: everybody has let go for ever before the first entry goes. Linux: exit_mmap. */
static void release_comes_first(void **state)
{
	struct space *other;
	struct device device = { .notifier.ops = &plain_ops };

	(void)state;
	assert_int_equal(space_create(arena.host, &other), STATUS_OK);
	assert_int_equal(space_map(other, hva(BASE), PAGE_SIZE, PROTECTION_READ_WRITE, LEVEL_4K),
			 STATUS_OK);
	assert_int_equal(space_write(other, hva(BASE), "", 1), STATUS_OK);
	notifier_register(other, &device.notifier);
	record(arena.host,
	       STEP(RANGE_INIT) | STEP(RANGE_START) | STEP(PTE_CLEAR) | STEP(RANGE_END));
	space_destroy(other);
	expect_steps(TRACE_RANGE_INIT, TRACE_RANGE_START, TRACE_PTE_CLEAR);
	assert_int_equal(recording.steps[1].value, EVENT_RELEASE);
	assert_int_equal(device.released, 1);
	assert_int_equal(device.starts + device.ends, 0);
}

/* ------------------------------------------------------------------ a page for a device alone */

static void device_has_the_page(void **state)
{
	pfn_t frame;

	(void)state;
	map(BASE, 2 * PAGE_SIZE, LEVEL_4K);
	put(BASE, 5);
	first.maps = second.maps = true;
	assert_int_equal(space_make_exclusive(space, hva(BASE + 8), &first, &frame), STATUS_OK);
	/* The owner has nothing to drop, everybody else has. */
	assert_true(first.maps);
	assert_false(second.maps);
	assert_true(pte_is_only(entry(BASE).pte));
	assert_int_equal(pte_frame(entry(BASE).pte).raw, frame.raw);
	assert_true(folio_is_locked(arena.host, frame));
	assert_int_equal(folio_refcount(arena.host, frame), 2);
	assert_int_equal(folio_mapcount(arena.host, frame), 1);
	exclusive_done(arena.host, frame);
	assert_false(folio_is_locked(arena.host, frame));
	space_verify(space);

	*(uint64_t *)pfn_to_ptr(frame) = 6;
	assert_int_equal(get(BASE), 6);
	assert_false(first.maps);
	assert_true(pte_writable(entry(BASE).pte) && pte_dirty(entry(BASE).pte));
	assert_false(entry(BASE).pte.bits & PTE_ONLY);
	assert_int_equal(folio_refcount(arena.host, frame), 1);

	/* A secondary lookup takes it back as well; and so does the next device. */
	assert_int_equal(space_make_exclusive(space, hva(BASE), &first, &frame), STATUS_OK);
	exclusive_done(arena.host, frame);
	first.maps = true;
	assert_int_equal(look_up(BASE, ACCESS_READ).frame.raw, frame.raw);
	assert_false(first.maps);
	assert_int_equal(space_make_exclusive(space, hva(BASE), &first, &frame), STATUS_OK);
	exclusive_done(arena.host, frame);
	first.maps = second.maps = true;
	assert_int_equal(space_make_exclusive(space, hva(BASE), &second, &frame), STATUS_OK);
	assert_false(first.maps);
	exclusive_done(arena.host, frame);
}

/* Linux: make_device_exclusive: flushed inside the bracket, or the device would not be alone. */
static void exclusive_order(void **state)
{
	const uint64_t steps = STEP(RANGE_START) | STEP(PTE_PROTECT) | STEP(PTE_SET) |
			       STEP(PTE_CLEAR) | STEP(TLB_FLUSH) | STEP(RANGE_END);
	pfn_t frame;

	(void)state;
	map(BASE, PAGE_SIZE, LEVEL_4K);
	put(BASE, 5);
	record(arena.host, steps);
	assert_int_equal(space_make_exclusive(space, hva(BASE), &first, &frame), STATUS_OK);
	expect_steps(TRACE_RANGE_START, TRACE_PTE_PROTECT, TRACE_TLB_FLUSH, TRACE_RANGE_END);
	exclusive_done(arena.host, frame);
	record(arena.host, steps);
	(void)get(BASE);
	expect_steps(TRACE_RANGE_START, TRACE_PTE_PROTECT, TRACE_RANGE_END);
}

/* A new process has the page, too, so the device can't keep it. Linux: copy_nonpresent_pte. */
static void fork_takes_it_back(void **state)
{
	struct space *child;
	uint64_t value = 0;
	pfn_t frame;

	(void)state;
	map(BASE, PAGE_SIZE, LEVEL_4K);
	put(BASE, 5);
	assert_int_equal(space_make_exclusive(space, hva(BASE), &first, &frame), STATUS_OK);
	exclusive_done(arena.host, frame);
	first.maps = true;
	assert_int_equal(space_fork(space, &child), STATUS_OK);
	assert_false(first.maps);
	assert_true(pte_present(entry(BASE).pte) && !pte_writable(entry(BASE).pte));
	put(BASE, 6);
	assert_int_equal(space_read(child, hva(BASE), &value, sizeof(value)), STATUS_OK);
	assert_int_equal(value, 5);
	space_verify(child);
	space_destroy(child);
}

static void exclusive_of_other_pages(void **state)
{
	pfn_t frame = { 0 };

	(void)state;
	map_file(BASE, 1, PROTECTION_READ_WRITE, SHARING_SHARED);
	assert_int_equal(space_make_exclusive(space, hva(BASE), NULL, &frame), STATUS_UNSUPPORTED);
	assert_int_equal(space_make_exclusive(space, hva(2 * BASE), NULL, &frame),
			 STATUS_NOT_FOUND);
	assert_int_equal(space_make_exclusive(space, hva(SPACE_END), NULL, &frame),
			 STATUS_NOT_FOUND);
	map(2 * BASE, 2 * MIB, LEVEL_2M);
	put(2 * BASE + MIB, 3);
	assert_int_equal(space_make_exclusive(space, hva(2 * BASE + MIB), NULL, &frame), STATUS_OK);
	exclusive_done(arena.host, frame);
	assert_true(pte_is_only(entry(2 * BASE + MIB).pte));
	assert_true(pte_present(entry(2 * BASE).pte));
	space_verify(space);
	/* With fewer rights than it was lent with; and gone altogether, with its reference. */
	assert_int_equal(space_protect(space, hva(2 * BASE), 2 * MIB, PROTECTION_READ), STATUS_OK);
	assert_int_equal(get(2 * BASE + MIB), 3);
	assert_false(pte_writable(entry(2 * BASE + MIB).pte));
	assert_int_equal(space_make_exclusive(space, hva(2 * BASE), NULL, &frame),
			 STATUS_NO_ACCESS);
	map(3 * BASE, PAGE_SIZE, LEVEL_4K);
	assert_int_equal(space_make_exclusive(space, hva(3 * BASE), NULL, &frame), STATUS_OK);
	exclusive_done(arena.host, frame);
	assert_int_equal(space_unmap(space, hva(3 * BASE), PAGE_SIZE), STATUS_OK);
}

/* ------------------------------------------------------------------ where nobody may sleep */

static void reaped(void **state)
{
	(void)state;
	map(BASE, 4 * MIB, LEVEL_2M);
	put(BASE, 1);
	map(2 * BASE, PAGE_SIZE, LEVEL_4K);
	put(2 * BASE, 2);
	map_file(3 * BASE, 1, PROTECTION_READ_WRITE, SHARING_SHARED);
	put(3 * BASE, 3);
	uint64_t before = pages_free();

	arena_fail_from_order(&arena, 0);
	record(arena.host, STEP(RANGE_START) | STEP(PTE_CLEAR) | STEP(TLB_FLUSH) | STEP(RANGE_END));
	assert_true(space_reap(space));
	/* Linux: __oom_reap_task_mm, tlb_finish_mmu after the end. */
	expect_steps(TRACE_RANGE_START, TRACE_PTE_CLEAR, TRACE_RANGE_END, TRACE_TLB_FLUSH,
		     TRACE_RANGE_START, TRACE_PTE_CLEAR, TRACE_RANGE_END, TRACE_TLB_FLUSH);
	arena_fail_after(&arena, -1);
	assert_int_equal(second.tries, 2);
	assert_true(pages_free() >= before + 513);
	assert_true(pte_is_empty(entry(BASE).pte) && pte_is_empty(entry(2 * BASE).pte));
	/* What others share is theirs. */
	assert_true(pte_present(entry(3 * BASE).pte));
	assert_int_equal(get(2 * BASE), 0);
}

/*
 * One would have to sleep: who was told before it is told the end, the page stays, all get another
 * chance.
 */
static void reaped_later(void **state)
{
	(void)state;
	map(BASE, PAGE_SIZE, LEVEL_4K);
	put(BASE, 1);
	second.would_sleep = true;
	uint64_t brackets = host_read_count(arena.host, HOST_BRACKETS);

	record(arena.host, STEP(RANGE_START) | STEP(PTE_CLEAR) | STEP(RANGE_END));
	assert_false(space_reap(space));
	expect_these(NULL, 0);
	assert_int_equal(host_read_count(arena.host, HOST_BRACKETS), brackets);
	assert_int_equal(first.starts, 1);
	assert_int_equal(first.ends, 1);
	assert_int_equal(second.starts + second.ends, 0);
	assert_int_equal(third.starts + third.ends, 0);
	assert_int_equal(get(BASE), 1);
	/* Where it may sleep it is not asked. */
	assert_int_equal(space_discard(space, hva(BASE), PAGE_SIZE), STATUS_OK);
	assert_int_equal(second.starts, 1);
	put(BASE, 2);
	second.would_sleep = false;
	assert_true(space_reap(space));
	assert_true(pte_is_empty(entry(BASE).pte));
}

/* ------------------------------------------------------------------ nested, overlapping */

static void nested_and_overlapping(void **state) NOT_CHECKED
{
	(void)state;
	map(BASE, 2 * PAGE_SIZE, LEVEL_4K);
	write_lock(&space->lock);
	struct mm_range outer = notifier_start(space, BASE, BASE + 2 * PAGE_SIZE, EVENT_CLEAR);
	struct mm_range inner, refused;

	assert_true(notifier_try_start(space, BASE, BASE + PAGE_SIZE, EVENT_CLEAR, &inner));
	assert_int_equal(third.open, 2);
	second.would_sleep = true;
	assert_false(notifier_try_start(space, BASE, BASE + PAGE_SIZE, EVENT_CLEAR, &refused));
	assert_int_equal(first.open, 2);
	assert_int_equal(second.open, 2);
	notifier_end(space, &outer);
	assert_int_equal(first.open, 1);
	notifier_end(space, &inner);
	write_unlock(&space->lock);
	assert_int_equal(first.starts, 3);
	assert_int_equal(third.starts, 2);
}

#define DEVICES(test) cmocka_unit_test_setup_teardown(test, open_devices, close_devices)

int main(void)
{
	const struct CMUnitTest tests[] = {
		DEVICES(an_operation_for_each_event), DEVICES(release_comes_first),
		DEVICES(device_has_the_page), DEVICES(exclusive_order),
		DEVICES(fork_takes_it_back), DEVICES(exclusive_of_other_pages),
		DEVICES(reaped), DEVICES(reaped_later),
		DEVICES(nested_and_overlapping),
	};

	return cmocka_run_group_tests_name("mm/brackets", tests, NULL, NULL);
}
