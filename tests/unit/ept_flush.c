/*
 * Brackets and shootdowns: what each event of the host takes away, how many generations that
 * costs, who is interrupted, and what happens when a step is left out.
 */
#include "ept/age.h"
#include "tests/unit/ept_fixture.h"

/* ------------------------------------------------------------------ entering */

static void first_entry_invalidates(void **state)
{
	(void)state;
	for (unsigned cpu = 0; cpu < MAX_CPUS; cpu += 9) {
		port_set_cpu(cpu);
		assert_int_equal(ept_enter(ept), EPT_INVALIDATE);
		/* From here on shootdowns look at it. */
		assert_true(atomic_read(&ept->cpus_entered) >> cpu & 1);
		ept_leave(ept);
		assert_int_equal(ept_enter(ept), EPT_CLEAN);
		ept_leave(ept);
	}
	port_set_cpu(0);
	assert_int_equal(stats()->invepts, 8);
	assert_int_equal(stats()->flushes, 0);
}

static void misuse(void **state)
{
	(void)state;
	assert_int_equal(ept_enter(ept), EPT_INVALIDATE);
	assert_true(panics(check(ept_enter(ept) == EPT_CLEAN), "OUTSIDE"));
	ept_leave(ept);
	assert_true(panics(ept_leave(ept), "IN_GUEST"));
}

/* A CPU in the guest can't take memory away: nobody would make it leave. */
static void flush_from_inside(void **state)
{
	(void)state;
	lend(PAGE_SIZE, LEVEL_4K);
	assert_int_equal(fault(0, ACCESS_WRITE), FAULT_FIXED);
	assert_int_equal(ept_enter(ept), EPT_INVALIDATE);
	assert_true(panics(check(!space_invalidate(space, hva(BACKING), PAGE_SIZE)), "port_cpu"));
	arena_abandon(&arena);
}

static void clean_entries_cost_nothing(void **state)
{
	(void)state;
	lend(4 * PAGE_SIZE, LEVEL_4K);
	store_on(1, 0, 1);
	all_leave();
	/* Nothing was mapped there: no generation, and no INVEPT later. */
	assert_int_equal(space_invalidate(space, hva(BACKING + PAGE_SIZE), PAGE_SIZE), STATUS_OK);
	assert_int_equal(space_unmap(space, hva(BACKING + 2 * PAGE_SIZE), PAGE_SIZE), STATUS_OK);
	assert_int_equal(stats()->invalidations, 2);
	assert_int_equal(stats()->flushes, 0);
	assert_int_equal(load_on(1, 0), 1);
	assert_int_equal(stats()->invepts, 1);
}

/* ------------------------------------------------------------------ counted */

/* 64 pages in one bracket: one generation; only the CPU that is inside is kicked. */
static void one_generation_a_bracket(void **state)
{
	(void)state;
	lend(64 * PAGE_SIZE, LEVEL_4K);
	for (unsigned page = 0; page < 64; page++)
		store_on(1 + page % 3, page * PAGE_SIZE, page + 1);
	port_set_cpu(2);
	soft_leave(&soft[2]);
	port_set_cpu(3);
	soft_leave(&soft[3]);
	port_set_cpu(0);

	assert_int_equal(space_invalidate(space, hva(BACKING), 64 * PAGE_SIZE), STATUS_OK);
	assert_int_equal(stats()->zapped[0], 64);
	assert_int_equal(stats()->flushes, 1);
	assert_int_equal(stats()->kicks, 1);
	assert_int_equal(kicked[1], 1);
	assert_int_equal(kicked[2] + kicked[3], 0);
	/* Each of the three invalidates at its next entry, once. */
	for (unsigned round = 0; round < 2; round++)
		for (unsigned page = 0; page < 64; page++)
			assert_int_equal(load_on(1 + page % 3, page * PAGE_SIZE), page + 1);
	assert_int_equal(stats()->invepts, 6);
}

static void sequence_of_flushes(void **state)
{
	(void)state;
	lend(8 * PAGE_SIZE, LEVEL_4K);
	for (uint64_t round = 1; round <= 5; round++) {
		store_on(1, 0, round);
		store_on(2, PAGE_SIZE, round);
		assert_int_equal(space_invalidate(space, hva(BACKING), 8 * PAGE_SIZE), STATUS_OK);
		assert_int_equal(stats()->flushes, round);
		assert_int_equal(stats()->kicks, 2 * round);
		/* The second finds nothing: no generation. */
		assert_int_equal(space_invalidate(space, hva(BACKING), 8 * PAGE_SIZE), STATUS_OK);
		assert_int_equal(stats()->flushes, round);
		ept_verify(ept);
	}
}

/* ------------------------------------------------------------------ left out */

/* The entry goes and nobody is told: the soft CPU still reaches the page. With INVEPT: no more. */
static void stale_entry_is_seen(void **state)
{
	uint64_t value = 0;

	(void)state;
	lend(PAGE_SIZE, LEVEL_4K);
	store_on(1, 8, 42);

	spte_slot_t *slot = slot_of(8, LEVEL_4K);
	spte_t old = slot_xchg(slot, spte_empty());

	assert_int_equal(soft_access(&soft[1], gpa(8), ACCESS_READ, &value).kind, SOFT_DONE);
	assert_int_equal(value, 42);
	value = 43;
	assert_int_equal(soft_access(&soft[1], gpa(8), ACCESS_WRITE, &value).kind, SOFT_DONE);
	soft_invept(&soft[1]);
	assert_int_equal(soft_access(&soft[1], gpa(8), ACCESS_READ, &value).kind, SOFT_VIOLATION);
	slot_xchg(slot, old);
	assert_int_equal(load_on(1, 8), 43);
}

/* The same with the zap of a bracket, whose flush does its work. */
static void stale_entry_is_flushed(void **state)
{
	uint64_t value = 0;

	(void)state;
	lend(PAGE_SIZE, LEVEL_4K);
	store_on(1, 8, 42);
	assert_int_equal(space_invalidate(space, hva(BACKING), PAGE_SIZE), STATUS_OK);
	port_set_cpu(1);
	soft_enter(&soft[1]);
	assert_int_equal(soft_access(&soft[1], gpa(8), ACCESS_READ, &value).kind, SOFT_VIOLATION);
	soft_leave(&soft[1]);
	port_set_cpu(0);
}

/* ------------------------------------------------------------------ tables wait */

static pfn_t watched;
static unsigned seen_alive;

static void watch_table(unsigned cpu)
{
	(void)cpu;
	/* Unlinked, empty to a processor, not freed. */
	seen_alive += folio_refcount(arena.host, watched) == 1;
	assert_int_equal(slot_read(&table_slots(watched)[0]).bits & SPTE_RIGHTS, 0);
	assert_int_equal(level_at(0), 0);
}

static void tables_wait_for_the_flush(void **state)
{
	(void)state;
	map_host(BACKING, 2 * MIB, LEVEL_4K);
	add_region(0, 512, BACKING, LEVEL_4K);
	store_on(1, 0, 1);
	store_on(2, PAGE_SIZE, 1);
	/* The frame of the lowest table: where the leaf's slot is. */
	watched = ptr_to_pfn(slot_of(0, LEVEL_4K));
	seen_alive = 0;
	at_kick = watch_table;
	write_lock(&ept->lock);
	flush_settle(ept, ept_zap_range(ept, gfn(0), 512, ZAP_TABLES, flush_nothing()));
	write_unlock(&ept->lock);
	at_kick = NULL;
	assert_int_equal(seen_alive, 2);
	assert_int_equal(stats()->tables_freed, 1);
	assert_true(panics((void)folio_refcount(arena.host, watched), "freed"));
}

/* ------------------------------------------------------------------ side by side */

static unsigned beside;

/* A start is in its shootdown. Who would wait for it now would wait for ever. */
static void go_on_elsewhere(unsigned cpu)
{
	const struct mm_range range = { .start = hva(BACKING + 4 * MIB), .event = EVENT_CLEAR,
					.end = hva(BACKING + 6 * MIB) };

	(void)cpu;
	at_kick = NULL;
	beside++;
	check(ept_fault(ept, gpa(7 * MIB), ACCESS_WRITE, ACCESS_NONE) == FAULT_FIXED);
	check(ept_fault(ept, gpa(0), ACCESS_READ, ACCESS_NONE) == FAULT_RETRY);
	check(ept_clear_young(ept, hva(BACKING + 4 * MIB), hva(BACKING + 6 * MIB)));
	notify_start(ept, &range);
	check(!level_at(4 * MIB) && level_at(7 * MIB));
	notify_end(ept);
}

static void u22_zaps_and_faults_side_by_side(void **state)
{
	(void)state;
	open_ept(64, (struct ept_caps){ .max_level = LEVEL_2M, .accessed_dirty = true });
	map_host(BACKING, 8 * MIB, LEVEL_4K);
	add_region(0, 2048, BACKING, LEVEL_2M);
	/* The host has the page: a lookup waits for nothing. */
	assert_int_equal(space_write(space, hva(BACKING + 7 * MIB), &beside, sizeof(beside)),
			 STATUS_OK);
	store_on(2, 4 * MIB, 1);
	store_on(1, 0, 1);
	beside = 0;
	at_kick = go_on_elsewhere;
	assert_int_equal(space_invalidate(space, hva(BACKING), PAGE_SIZE), STATUS_OK);
	assert_int_equal(beside, 1);
	assert_int_equal(stats()->zapped[0], 2);
	close_ept(NULL);
}

/* ------------------------------------------------------------------ every event */

static enum status by_migrate(hva_t start, uint64_t bytes)
{
	uint64_t moved;

	return space_migrate(space, start, bytes, &moved);
}

static enum status by_protect(hva_t start, uint64_t bytes)
{
	return space_protect(space, start, bytes, PROTECTION_READ);
}

static enum status by_unmap(hva_t start, uint64_t bytes)
{
	return space_unmap(space, start, bytes);
}

static enum status by_discard(hva_t start, uint64_t bytes)
{
	return space_discard(space, start, bytes);
}

static enum status by_invalidate(hva_t start, uint64_t bytes)
{
	return space_invalidate(space, start, bytes);
}

/* Pages 2 and 3 of six go; the others stay; the flush is over when the host's call returns. */
static void every_event_zaps(void **state)
{
	enum status (*const events[])(hva_t, uint64_t) = { by_migrate, by_protect, by_unmap,
							   by_discard, by_invalidate };

	(void)state;
	for (unsigned i = 0; i < sizeof(events) / sizeof(*events); i++) {
		open_ept(16, (struct ept_caps){ .max_level = LEVEL_2M, .accessed_dirty = true });
		lend(6 * PAGE_SIZE, LEVEL_4K);
		for (uint64_t page = 0; page < 6; page++)
			store_on(1, page * PAGE_SIZE, page);
		assert_int_equal(events[i](hva(BACKING + 2 * PAGE_SIZE), 2 * PAGE_SIZE), STATUS_OK);
		for (uint64_t page = 0; page < 6; page++)
			assert_int_equal(level_at(page * PAGE_SIZE) == 0, page == 2 || page == 3);
		assert_int_equal(stats()->zapped[0], 2);
		assert_int_equal(stats()->flushes, 1);
		assert_int_equal(kicked[1], 1);
		close_ept(NULL);
	}
}

/* The space ends under a living EPT. */
static void release(void **state)
{
	(void)state;
	open_ept(16, (struct ept_caps){ .max_level = LEVEL_2M, .accessed_dirty = true });
	lend(4 * PAGE_SIZE, LEVEL_4K);
	store_on(1, 0, 1);
	store_on(2, PAGE_SIZE, 1);
	space_destroy(space);
	assert_int_equal(stats()->zapped[0], 2);
	assert_int_equal(stats()->flushes, 1);
	assert_int_equal(kicked[1] + kicked[2], 2);
	/* From CPU 2, whose store of tables is full: what the space was stays free, and poison. */
	port_set_cpu(2);
	assert_int_equal(fault(0, ACCESS_READ), FAULT_NO_HOST);
	port_set_cpu(0);
	ept_verify(ept);
	ept_destroy(ept);
	arena_close(&arena);
}

/* One host page behind two guest pages: both go. */
static void aliases(void **state)
{
	(void)state;
	map_host(BACKING, 4 * PAGE_SIZE, LEVEL_4K);
	add_region(0, 4, BACKING, LEVEL_4K);
	add_region(100, 2, BACKING + PAGE_SIZE, LEVEL_4K);
	store_on(1, PAGE_SIZE, 7);
	assert_int_equal(load_on(2, 100 * PAGE_SIZE), 7);
	assert_int_equal(space_discard(space, hva(BACKING + PAGE_SIZE), PAGE_SIZE), STATUS_OK);
	assert_int_equal(level_at(PAGE_SIZE) + level_at(100 * PAGE_SIZE), 0);
	assert_int_equal(stats()->flushes, 1);
	assert_int_equal(load_on(1, PAGE_SIZE), 0);
	assert_int_equal(load_on(2, 100 * PAGE_SIZE), 0);
}

/* Memory of the space that no region lends. */
static void foreign_ranges(void **state)
{
	(void)state;
	map_host(BACKING - MIB, 2 * MIB + MIB, LEVEL_4K);
	add_region(0, 256, BACKING, LEVEL_4K);
	store_on(1, 0, 5);
	store_on(1, MIB - PAGE_SIZE, 6);
	assert_int_equal(space_unmap(space, hva(BACKING - MIB), MIB), STATUS_OK);
	assert_int_equal(space_unmap(space, hva(BACKING + MIB), MIB), STATUS_OK);
	assert_int_equal(stats()->zapped[0], 0);
	assert_int_equal(level_at(0), LEVEL_4K);
	assert_int_equal(level_at(MIB - PAGE_SIZE), LEVEL_4K);
}

/* ------------------------------------------------------------------ faults and open brackets */

/* A second listener, told after the EPT's start and before or after its end, that faults. */
struct prober {
	struct notifier notifier;
	uint64_t at;
	enum fault_result in_start, in_end;
	unsigned levels;
};

static struct prober prober;

static void probe_start(struct notifier *self, const struct mm_range *range)
{
	(void)self;
	(void)range;
	prober.in_start = fault(prober.at, ACCESS_READ);
}

static void probe_end(struct notifier *self, const struct mm_range *range)
{
	(void)self;
	(void)range;
	prober.in_end = fault(prober.at, ACCESS_READ);
}

static void probe_release(struct notifier *self) { (void)self; }

static const struct notifier_ops probe_ops = {
	.start = probe_start, .end = probe_end, .release = probe_release,
};

/*
 * space_invalidate holds space->lock shared, so the prober may look up what is present: inside the
 * bracket the range's faults are told to retry, others are served; after the EPT's end all are.
 */
static void faults_in_a_bracket(void **state)
{
	(void)state;
	lend(8 * PAGE_SIZE, LEVEL_4K);
	store_on(0, 0, 1);
	store_on(0, PAGE_SIZE, 1);
	store_on(0, 5 * PAGE_SIZE, 1);
	all_leave();
	prober.notifier.ops = &probe_ops;
	notifier_register(space, &prober.notifier);

	prober.at = PAGE_SIZE;
	assert_int_equal(space_invalidate(space, hva(BACKING), 4 * PAGE_SIZE), STATUS_OK);
	assert_int_equal(prober.in_start, FAULT_RETRY);
	assert_int_equal(prober.in_end, FAULT_FIXED);
	assert_int_equal(stats()->retries, 1);

	prober.at = 5 * PAGE_SIZE;
	assert_int_equal(space_invalidate(space, hva(BACKING), 4 * PAGE_SIZE), STATUS_OK);
	assert_int_equal(prober.in_start, FAULT_SPURIOUS);
	assert_int_equal(prober.in_end, FAULT_SPURIOUS);
	notifier_unregister(space, &prober.notifier);
}

/* A page beside the bracket, but in a leaf that would reach into it. */
static void large_leaf_beside_a_bracket(void **state)
{
	(void)state;
	lend(4 * MIB, LEVEL_2M);
	store_on(0, 0, 1);
	all_leave();
	prober.notifier.ops = &probe_ops;
	notifier_register(space, &prober.notifier);
	prober.at = MIB;
	assert_int_equal(space_invalidate(space, hva(BACKING), PAGE_SIZE), STATUS_OK);
	assert_int_equal(prober.in_start, FAULT_RETRY);
	assert_int_equal(prober.in_end, FAULT_FIXED);
	assert_int_equal(level_at(MIB), LEVEL_2M);
	notifier_unregister(space, &prober.notifier);
}

static void bracket(bool start, uint64_t from, uint64_t to)
{
	struct mm_range range = { .start = hva(from), .end = hva(to), .event = EVENT_CLEAR };

	if (start)
		ept->notifier.ops->start(&ept->notifier, &range);
	else
		ept->notifier.ops->end(&ept->notifier, &range);
}

/* Brackets that overlap: until the last ends, their union is closed to faults. */
static void brackets_unite(void **state)
{
	const uint64_t page = PAGE_SIZE;

	(void)state;
	lend(16 * page, LEVEL_4K);
	bracket(true, BACKING + 2 * page, BACKING + 4 * page);
	bracket(true, BACKING + 8 * page, BACKING + 9 * page);
	for (uint64_t i = 0; i < 16; i++)
		assert_int_equal(fault(i * page, ACCESS_WRITE) == FAULT_RETRY, i >= 2 && i < 9);
	bracket(false, BACKING + 2 * page, BACKING + 4 * page);
	assert_int_equal(fault(2 * page, ACCESS_WRITE), FAULT_RETRY);
	assert_int_equal(fault(8 * page, ACCESS_WRITE), FAULT_RETRY);
	bracket(false, BACKING + 8 * page, BACKING + 9 * page);
	for (uint64_t i = 2; i < 9; i++)
		assert_int_equal(fault(i * page, ACCESS_WRITE), FAULT_FIXED);
	/* A new one is not united with those of before. */
	bracket(true, BACKING + 12 * page, BACKING + 13 * page);
	assert_int_equal(fault(3 * page, ACCESS_WRITE), FAULT_SPURIOUS);
	bracket(false, BACKING + 12 * page, BACKING + 13 * page);
	assert_true(panics(bracket(false, BACKING, BACKING + page), "brackets"));
	atomic_write(&ept->brackets, 0);
}

/* A region that comes inside a bracket finds it in force. */
static void region_added_in_a_bracket(void **state)
{
	(void)state;
	map_host(BACKING, PAGE_SIZE, LEVEL_4K);
	bracket(true, BACKING, BACKING + PAGE_SIZE);
	add_region(0, 1, BACKING, LEVEL_4K);
	assert_int_equal(fault(0, ACCESS_WRITE), FAULT_RETRY);
	bracket(false, BACKING, BACKING + PAGE_SIZE);
	assert_int_equal(fault(0, ACCESS_WRITE), FAULT_FIXED);
}

/* The lookup's allocation lets a bracket or a region come and go: what was found is dropped. */
static void (*while_looking_up)(void);

static bool change_then_allow(struct page_watch *self, unsigned order)
{
	void (*change)(void) = while_looking_up;

	(void)self;
	(void)order;
	while_looking_up = NULL;
	if (change)
		change();
	return true;
}

static void whole_bracket(void)
{
	bracket(true, BACKING, BACKING + PAGE_SIZE);
	bracket(false, BACKING, BACKING + PAGE_SIZE);
}

static void open_bracket(void) { bracket(true, BACKING, BACKING + PAGE_SIZE); }

static void remove_region(void)
{
	assert_int_equal(ept_region_remove(ept, gfn(0)), STATUS_OK);
}

static enum fault_result fault_while(void (*change)(void))
{
	arena.watch.may_alloc = change_then_allow;
	while_looking_up = change;
	enum fault_result result = fault(0, ACCESS_WRITE);

	assert_null(while_looking_up);
	return result;
}

static void changes_during_the_lookup(void **state)
{
	(void)state;
	lend(PAGE_SIZE, LEVEL_4K);
	/* The store is filled beforehand, so that the allocation met is mm's. */
	add_region(100, 1, BACKING + PAGE_SIZE, LEVEL_4K);
	assert_int_equal(fault(100 * PAGE_SIZE, ACCESS_READ), FAULT_NO_HOST);

	assert_int_equal(fault_while(whole_bracket), FAULT_RETRY);
	assert_int_equal(level_at(0), 0);
	assert_int_equal(space_discard(space, hva(BACKING), PAGE_SIZE), STATUS_OK);
	assert_int_equal(fault_while(open_bracket), FAULT_RETRY);
	assert_int_equal(level_at(0), 0);
	bracket(false, BACKING, BACKING + PAGE_SIZE);
	assert_int_equal(space_discard(space, hva(BACKING), PAGE_SIZE), STATUS_OK);
	assert_int_equal(fault_while(remove_region), FAULT_RETRY);
	assert_int_equal(fault(0, ACCESS_WRITE), FAULT_NO_REGION);
}

#define ept_test(name) cmocka_unit_test_setup_teardown(name, open_small, close_ept)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ept_test(first_entry_invalidates), ept_test(misuse),
		cmocka_unit_test_setup(flush_from_inside, open_small),
		ept_test(clean_entries_cost_nothing), ept_test(one_generation_a_bracket),
		ept_test(sequence_of_flushes), ept_test(stale_entry_is_seen),
		ept_test(stale_entry_is_flushed), ept_test(tables_wait_for_the_flush),
		cmocka_unit_test(every_event_zaps), cmocka_unit_test(release), ept_test(aliases),
		cmocka_unit_test(u22_zaps_and_faults_side_by_side),
		ept_test(foreign_ranges), ept_test(faults_in_a_bracket),
		ept_test(large_leaf_beside_a_bracket), ept_test(brackets_unite),
		ept_test(region_added_in_a_bracket), ept_test(changes_during_the_lookup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
