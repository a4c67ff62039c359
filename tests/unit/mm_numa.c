/* NUMA hinting: who takes the fault, what a hint costs on either side, what comes back. */
#include "tests/unit/file_fixture.h"
#include "tests/unit/trace_fixture.h"

static uint64_t count(enum host_count what) { return host_read_count(arena.host, what); }
static pte_t bits(uint64_t address) { return entry(address).pte; }

static void hint(uint64_t start, uint64_t bytes, enum hinting how)
{
	assert_int_equal(space_hint(space, hva(start), bytes, how), STATUS_OK);
}

static uint64_t get(uint64_t at)
{
	uint64_t value = 0;

	assert_int_equal(space_read(space, hva(at), &value, sizeof(value)), STATUS_OK);
	return value;
}

static struct mm_page gup(uint64_t address, unsigned flags)
{
	struct mm_page page = { 0 };

	assert_int_equal(gup_get(space, hva(address), flags, &page), STATUS_OK);
	return page;
}

static void expect_hinted(uint64_t address)
{
	assert_true(leaf_is_hinted(entry(address)));
	assert_false(pte_writable(bits(address)));
}

static void expect_back(uint64_t address)
{
	assert_true(pte_present(bits(address)) && pte_writable(bits(address)));
	assert_false(bits(address).bits & PTE_NONE);
}

/* S17: who stands in for a CPU takes the hinting fault; other users of pages pass over the hint. */
static void s17_a_secondary_lookup_takes_the_hinting_fault(void **state)
{
	(void)state;
	map(BASE, PAGE_SIZE, LEVEL_4K);
	put(BASE, 7);
	hint(BASE, PAGE_SIZE, HINT_AT_ONCE);
	expect_hinted(BASE);

	uint64_t frame = pte_frame(bits(BASE)).raw, faults = count(HOST_HINT_FAULTS);
	struct mm_page page = gup(BASE, 0);

	assert_int_equal(page.frame.raw, frame);
	assert_false(page.writable);
	assert_int_equal(count(HOST_HINT_FAULTS), faults);
	expect_hinted(BASE);
	gup_put(arena.host, page.frame);

	assert_true(look_up(BASE, ACCESS_READ).writable);
	assert_int_equal(count(HOST_HINT_FAULTS), faults + 1);
	expect_back(BASE);

	hint(BASE, PAGE_SIZE, HINT_AT_ONCE);
	gup_put(arena.host, gup(BASE, GUP_HONOUR_HINTS).frame);
	assert_int_equal(count(HOST_HINT_FAULTS), faults + 2);
	expect_back(BASE);

	/* Nor does a write pass: an entry without W is no entry for it. */
	hint(BASE, PAGE_SIZE, HINT_AT_ONCE);
	gup_put(arena.host, gup(BASE, GUP_WRITE).frame);
	assert_int_equal(count(HOST_HINT_FAULTS), faults + 3);
	expect_back(BASE);
}

/* A page that its VMA allows nothing looks the same, and is no hint. */
static void no_rights_are_no_hint(void **state)
{
	struct mm_page page;

	(void)state;
	map(BASE, PAGE_SIZE, LEVEL_4K);
	put(BASE, 7);
	assert_int_equal(space_protect(space, hva(BASE), PAGE_SIZE, PROTECTION_NONE), STATUS_OK);
	hint(BASE, PAGE_SIZE, HINT_AT_ONCE);
	assert_int_equal(count(HOST_HINTED), 0);
	assert_int_equal(gup_get(space, hva(BASE), 0, &page), STATUS_NO_ACCESS);
	assert_int_equal(mm_lookup(space, hva(BASE), ACCESS_READ, &page), STATUS_NO_ACCESS);
	assert_int_equal(hint_fault(space, BASE), STATUS_OK);
	assert_int_equal(count(HOST_HINT_FAULTS), 0);
	expect_hinted(BASE);
}

/* The process's own accesses: one fault each, the content and D stay. */
static void process_takes_the_fault(void **state)
{
	(void)state;
	map(BASE, 2 * PAGE_SIZE, LEVEL_4K);
	put(BASE, 7);
	put(BASE + PAGE_SIZE, 8);
	hint(BASE, 2 * PAGE_SIZE, HINT_AT_ONCE);
	assert_int_equal(count(HOST_HINTED), 2);
	expect_hinted(BASE);
	assert_true(pte_dirty(bits(BASE)));
	assert_int_equal(get(BASE), 7);
	put(BASE + PAGE_SIZE, 9);
	assert_int_equal(count(HOST_HINT_FAULTS), 2);
	expect_back(BASE);
	expect_back(BASE + PAGE_SIZE);
	assert_int_equal(get(BASE + PAGE_SIZE), 9);
	assert_int_equal(count(HOST_HINT_FAULTS), 2);
}

/* W that only a write fault may give waits for it: clean pages of files, copies, read-only VMAs. */
static void w_comes_back_only_where_it_may(void **state)
{
	(void)state;
	map_file(BASE, 2, PROTECTION_READ_WRITE, SHARING_SHARED);
	put(BASE, 7);
	assert_int_equal(file_sync(file), STATUS_OK);
	hint(BASE, PAGE_SIZE, HINT_AT_ONCE);
	assert_int_equal(get(BASE), 7);
	assert_true(pte_present(bits(BASE)) && !pte_writable(bits(BASE)));

	/* One that is dirty is left alone: it could not be moved. */
	put(BASE, 8);
	hint(BASE, PAGE_SIZE, HINT_AT_ONCE);
	assert_true(pte_writable(bits(BASE)));

	map_file(2 * BASE, 1, PROTECTION_READ_WRITE, SHARING_PRIVATE);
	assert_int_equal(get(2 * BASE + 8), 0);
	hint(2 * BASE, PAGE_SIZE, HINT_AT_ONCE);
	(void)get(2 * BASE);
	assert_false(pte_writable(bits(2 * BASE)));

	map(3 * BASE, PAGE_SIZE, LEVEL_4K);
	put(3 * BASE, 1);
	hint(3 * BASE, PAGE_SIZE, HINT_AT_ONCE);
	assert_int_equal(space_protect(space, hva(3 * BASE), PAGE_SIZE, PROTECTION_READ),
			 STATUS_OK);
	assert_true(pte_present(bits(3 * BASE)) && !pte_writable(bits(3 * BASE)));
	hint(3 * BASE, PAGE_SIZE, HINT_AT_ONCE);
	assert_int_equal(get(3 * BASE), 1);
	assert_false(pte_writable(bits(3 * BASE)));
}

/* To both processes the fault would say nothing of where the page belongs. */
static void shared_by_copy_on_write(void **state)
{
	struct space *child;

	(void)state;
	map(BASE, 2 * PAGE_SIZE, LEVEL_4K);
	put(BASE, 7);
	put(BASE + PAGE_SIZE, 7);
	assert_int_equal(space_fork(space, &child), STATUS_OK);
	put(BASE, 8);
	hint(BASE, 2 * PAGE_SIZE, HINT_AT_ONCE);
	expect_hinted(BASE);
	assert_true(pte_present(bits(BASE + PAGE_SIZE)));
	space_destroy(child);
	/* Nobody else's any more, and not written yet: W waits for the fault that finds out. */
	hint(BASE, 2 * PAGE_SIZE, HINT_AT_ONCE);
	expect_hinted(BASE + PAGE_SIZE);
	assert_int_equal(get(BASE + PAGE_SIZE), 7);
	assert_false(pte_writable(bits(BASE + PAGE_SIZE)));
}

/*
 * Linux: change_protection, tlb_finish_mmu: each part in its bracket, one flush after all of them.
 */
static void order_of_steps(void **state)
{
	const uint64_t steps = STEP(RANGE_START) | STEP(PTE_PROTECT) | STEP(TLB_FLUSH) |
			       STEP(RANGE_END);

	(void)state;
	map(BASE, 4 * MIB, LEVEL_4K);
	put(BASE, 1);
	put(BASE + 3 * MIB, 1);
	record(arena.host, steps);
	hint(BASE, 4 * MIB, HINT_EACH_2M);
	expect_steps(TRACE_RANGE_START, TRACE_PTE_PROTECT, TRACE_RANGE_END, TRACE_RANGE_START,
		     TRACE_PTE_PROTECT, TRACE_RANGE_END, TRACE_TLB_FLUSH);
	assert_int_equal(recording.steps[0].value, EVENT_PROTECTION_VMA);
	(void)get(BASE);
	(void)get(BASE + 3 * MIB);
	record(arena.host, steps);
	hint(BASE, 4 * MIB, HINT_AT_ONCE);
	expect_steps(TRACE_RANGE_START, TRACE_PTE_PROTECT, TRACE_PTE_PROTECT, TRACE_RANGE_END,
		     TRACE_TLB_FLUSH);
	/* Nothing left to take: told, for secondaries are not asked, but not flushed. */
	record(arena.host, steps);
	hint(BASE, 4 * MIB, HINT_AT_ONCE);
	expect_steps(TRACE_RANGE_START, TRACE_RANGE_END);
	record(arena.host, steps);
	hint(BASE + MIB, MIB, HINT_AT_ONCE);
	expect_these(NULL, 0);
}

static void large_pages(void **state)
{
	(void)state;
	map(BASE, 4 * MIB, LEVEL_2M);
	put(BASE, 7);
	put(BASE + 2 * MIB, 8);
	hint(BASE, 2 * MIB, HINT_EACH_2M);
	assert_int_equal(entry(BASE).level, LEVEL_2M);
	expect_hinted(BASE);
	expect_back(BASE + 2 * MIB);
	assert_int_equal(count(HOST_HINTED), 512);
	assert_int_equal(get(BASE + MIB), 0);
	expect_back(BASE);
	hint(BASE + PAGE_SIZE, PAGE_SIZE, HINT_EACH_2M);
	expect_hinted(BASE + PAGE_SIZE);
	expect_back(BASE);
	assert_int_equal(get(BASE), 7);
}

/* A bracket for a part begins and ends with the range that was asked for. */
static struct { struct notifier notifier; struct mm_range last; } heard;

static void hear_start(struct notifier *self, const struct mm_range *range)
{
	(void)self;
	heard.last = *range;
}

static void hear_end(struct notifier *self, const struct mm_range *range)
{
	(void)self;
	(void)range;
}

static void brackets_stay_inside(void **state)
{
	static const struct notifier_ops ops = { .start = hear_start, .end = hear_end };

	(void)state;
	heard.notifier.ops = &ops;
	notifier_register(space, &heard.notifier);
	map(BASE, 6 * MIB, LEVEL_4K);
	put(BASE + PAGE_SIZE, 1);
	hint(BASE + PAGE_SIZE, PAGE_SIZE, HINT_EACH_2M);
	assert_int_equal(heard.last.start.raw, BASE + PAGE_SIZE);
	assert_int_equal(heard.last.end.raw, BASE + 2 * PAGE_SIZE);
	hint(BASE, 6 * MIB, HINT_EACH_2M);
	assert_int_equal(heard.last.start.raw, BASE);
	assert_int_equal(heard.last.end.raw, BASE + 2 * MIB);
	hint(BASE, 6 * MIB, HINT_AT_ONCE);
	assert_int_equal(heard.last.end.raw, BASE + 6 * MIB);
	notifier_unregister(space, &heard.notifier);
}

/* ------------------------------------------------------------------ nodes */

static void moves_to_the_node_that_uses_it(void **state)
{
	(void)state;
	host_set_nodes(arena.host, 2);
	map(BASE, 4 * PAGE_SIZE, LEVEL_4K);
	port_set_cpu(0);
	put(BASE, 7);
	uint64_t frame = pte_frame(bits(BASE)).raw;
	unsigned node = host_node(arena.host, pfn(frame));

	/* By a CPU of its own node: it stays. */
	port_set_cpu(node);
	hint(BASE, PAGE_SIZE, HINT_AT_ONCE);
	assert_int_equal(get(BASE), 7);
	assert_int_equal(pte_frame(bits(BASE)).raw, frame);
	assert_int_equal(count(HOST_HINT_MOVES), 0);

	/* Somebody else has a reference: it stays. */
	port_set_cpu(!node);
	folio_get(arena.host, pfn(frame));
	hint(BASE, PAGE_SIZE, HINT_AT_ONCE);
	assert_int_equal(get(BASE), 7);
	assert_int_equal(pte_frame(bits(BASE)).raw, frame);
	folio_put(arena.host, pfn(frame));

	hint(BASE, PAGE_SIZE, HINT_AT_ONCE);
	assert_int_equal(get(BASE), 7);
	assert_int_not_equal(pte_frame(bits(BASE)).raw, frame);
	assert_int_equal(host_node(arena.host, pte_frame(bits(BASE))), !node);
	assert_int_equal(count(HOST_HINT_MOVES), 1);
	assert_true(pte_dirty(bits(BASE)));
	expect_back(BASE);
	port_set_cpu(0);
}

/* No memory there: it stays where it is, and can be used. */
static void no_room_on_the_node(void **state)
{
	(void)state;
	host_set_nodes(arena.host, 2);
	map(BASE, PAGE_SIZE, LEVEL_4K);
	put(BASE, 7);
	port_set_cpu(!host_node(arena.host, pte_frame(bits(BASE))));
	hint(BASE, PAGE_SIZE, HINT_AT_ONCE);
	arena_fail_from_order(&arena, 0);
	assert_int_equal(get(BASE), 7);
	arena_fail_after(&arena, -1);
	assert_int_equal(count(HOST_HINT_MOVES), 0);
	port_set_cpu(0);
}

static void nodes_are_parts_of_the_frames(void **state)
{
	pfn_t frames[8];

	(void)state;
	host_set_nodes(arena.host, 3);
	assert_int_equal(host_node(arena.host, pfn(0)), 0);
	/* 64 MiB in three: 22, 22 and 20. */
	assert_int_equal(host_node(arena.host, pfn(11 * 512 - 1)), 0);
	assert_int_equal(host_node(arena.host, pfn(11 * 512)), 1);
	assert_int_equal(host_node(arena.host, pfn(22 * 512)), 2);
	assert_int_equal(host_node(arena.host, pfn(16383)), 2);
	for (unsigned i = 0; i < 8; i++) {
		assert_int_equal(folio_alloc_within(arena.host, pfn(7000 + i), pfn(7008),
						    &frames[i]),
				 STATUS_OK);
		assert_in_range(frames[i].raw, 7000 + i, 7007);
	}
	host_verify(arena.host);
	assert_int_equal(folio_alloc_within(arena.host, pfn(7007), pfn(7008), &frames[0]),
			 STATUS_NO_MEMORY);
	for (unsigned i = 0; i < 8; i++)
		folio_put(arena.host, pfn(7000 + i));
	host_set_nodes(arena.host, 1);
	assert_int_equal(host_node(arena.host, pfn(16383)), 0);
}

/* ------------------------------------------------------------------ the scan */

static void scan(uint64_t pages)
{
	assert_int_equal(space_scan(space, pages, HINT_AT_ONCE), STATUS_OK);
}

/* On from where it was, over holes and what may not be hinted, and round. */
static void scan_goes_round(void **state)
{
	(void)state;
	scan(512);
	map(BASE, 4 * MIB, LEVEL_4K);
	map(BASE + 8 * MIB, 2 * MIB, LEVEL_4K);
	put(BASE, 1);
	put(BASE + 2 * MIB, 2);
	put(BASE + 8 * MIB, 3);
	scan(0);
	assert_int_equal(count(HOST_HINTED), 0);
	scan(1);
	assert_int_equal(count(HOST_HINTED), 1);
	expect_hinted(BASE);
	scan(512);
	expect_hinted(BASE + 2 * MIB);
	expect_back(BASE + 8 * MIB);
	scan(512);
	expect_hinted(BASE + 8 * MIB);
	(void)get(BASE);
	scan(512);
	expect_hinted(BASE);
	(void)get(BASE);
	(void)get(BASE + 2 * MIB);
	(void)get(BASE + 8 * MIB);
	assert_int_equal(space_protect(space, hva(BASE + 2 * MIB), 2 * MIB, PROTECTION_NONE),
			 STATUS_OK);
	scan(UINT64_MAX);
	expect_hinted(BASE + 8 * MIB);
	expect_back(BASE);
	scan(UINT64_MAX);
	expect_hinted(BASE);
	assert_int_equal(count(HOST_HINTED), 6);
}

static void scan_ends_with_its_vma(void **state)
{
	(void)state;
	map(BASE, 4 * MIB, LEVEL_2M);
	put(BASE, 1);
	scan(1);
	assert_int_equal(entry(BASE).level, LEVEL_2M);
	put(BASE, 1);
	space->scan_at = 0;
	assert_int_equal(space_protect(space, hva(BASE + MIB), 3 * MIB, PROTECTION_READ),
			 STATUS_OK);
	scan(1);
	expect_hinted(BASE);
	expect_hinted(BASE + MIB - PAGE_SIZE);
	assert_true(pte_present(bits(BASE + MIB)));
}

/* The scan's place may be inside a large page that has come since. */
static void scan_begins_inside_a_large_page(void **state)
{
	(void)state;
	map(BASE, 2 * MIB, LEVEL_2M);
	put(BASE, 1);
	space->scan_at = BASE + MIB;
	scan(1);
	expect_back(BASE);
	expect_hinted(BASE + MIB);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		file_test(s17_a_secondary_lookup_takes_the_hinting_fault),
		file_test(no_rights_are_no_hint), file_test(process_takes_the_fault),
		file_test(w_comes_back_only_where_it_may), file_test(shared_by_copy_on_write),
		file_test(order_of_steps),
		file_test(large_pages), file_test(brackets_stay_inside),
		file_test(moves_to_the_node_that_uses_it), file_test(no_room_on_the_node),
		file_test(nodes_are_parts_of_the_frames), file_test(scan_goes_round),
		file_test(scan_ends_with_its_vma), file_test(scan_begins_inside_a_large_page),
	};

	return cmocka_run_group_tests_name("mm/numa", tests, NULL, NULL);
}
