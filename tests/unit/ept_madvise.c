/*
 * Memory that its process has given away, while a guest uses it: what that costs the guest, and
 * that what it stores afterwards is kept. S numbers are rows of the propagation table.
 */
#include "mm/lru.h"
#include "tests/unit/ept_fixture.h"

enum { PAGES = 16, BYTES = PAGES * PAGE_SIZE };

static pte_t pte_at(uint64_t address)
{
	write_lock(&space->lock);
	pte_t pte = table_find(space, address).pte;

	write_unlock(&space->lock);
	return pte;
}

static void store_all(uint64_t from)
{
	for (uint64_t i = 0; i < PAGES; i++)
		store_on(1, i * PAGE_SIZE, from + i);
}

static int open_stored(void **state)
{
	open_small(state);
	lend(BYTES, LEVEL_4K);
	store_all(10);
	lru_drain(arena.host);
	return 0;
}

static void lazyfree(void)
{
	assert_int_equal(space_lazyfree(space, hva(BACKING), BYTES), STATUS_OK);
}

static uint64_t page_out(void)
{
	uint64_t freed;

	assert_int_equal(space_page_out(space, hva(BACKING), BYTES, &freed), STATUS_OK);
	return freed;
}

/* ------------------------------------------------------------------ what it costs */

/* Of one space_lazyfree: when it returned, and when the guest has read, then written each page. */
struct bill {
	uint64_t brackets, host_flushes;
	uint64_t zapped, made_read_only, shootdowns, kicks;
	uint64_t read_faults, write_faults, mapped, made_writable, later_shootdowns;
};

static struct bill bill_of(unsigned options)
{
	struct ept_stats before = *stats(), advised;
	uint64_t brackets = host_read_count(arena.host, HOST_BRACKETS);
	uint64_t flushes = host_read_count(arena.host, HOST_TLB_FLUSHES);
	struct bill bill;

	host_set_options(arena.host, options);
	lazyfree();
	bill.brackets = host_read_count(arena.host, HOST_BRACKETS) - brackets;
	bill.host_flushes = host_read_count(arena.host, HOST_TLB_FLUSHES) - flushes;
	advised = *stats();
	for (uint64_t i = 0; i < PAGES; i++)
		assert_int_equal(load_on(1, i * PAGE_SIZE), 10 + i);
	store_all(10);
	const struct ept_stats *end = stats();

	bill.zapped = advised.zapped[0] - before.zapped[0];
	bill.made_read_only = advised.made_read_only - before.made_read_only;
	bill.shootdowns = advised.flushes - before.flushes;
	bill.kicks = advised.kicks - before.kicks;
	bill.read_faults = end->faults[0] - advised.faults[0];
	bill.write_faults = end->faults[1] - advised.faults[1];
	bill.mapped = end->mapped[0] - advised.mapped[0];
	bill.made_writable = end->made_writable - advised.made_writable;
	bill.later_shootdowns = end->flushes - advised.flushes;
	return bill;
}

static void expect_bill(struct bill found, struct bill expected)
{
	const uint64_t *a = (const uint64_t *)&found, *b = (const uint64_t *)&expected;

	for (unsigned i = 0; i < sizeof(found) / 8; i++)
		if (a[i] != b[i])
			fail_msg("item %u of the bill: %lu, expected %lu", i, a[i], b[i]);
}

/*
 * S62: as it is in Linux, every leaf goes, and each page's next access faults: though the entry
 * behind it has never lost W. One look at a page brings W back with it.
 */
static void s62_zapped_and_faulted_again(void **state)
{
	(void)state;
	expect_bill(bill_of(0), (struct bill){
		.brackets = 1, .host_flushes = 1, .zapped = PAGES, .shootdowns = 1, .kicks = 1,
		.read_faults = PAGES, .mapped = PAGES });
}

/*
 * S63: as it is proposed, no leaf goes: no fault for who reads, one for who writes, and no more
 * shootdowns.
 */
static void s63_protected_and_only_stores_fault(void **state)
{
	(void)state;
	expect_bill(bill_of(OPTION_WRITE_PROTECT), (struct bill){
		.brackets = 1, .host_flushes = 1, .made_read_only = PAGES, .shootdowns = 1,
		.kicks = 1, .write_faults = PAGES, .made_writable = PAGES });
}

/* ------------------------------------------------------------------ what is kept */

static const unsigned option_sets[] = { 0, OPTION_WRITE_PROTECT };

/*
 * S42, S44: the guest comes back right after the bracket: its leaf may be written, the host's entry
 * too, and is clean, so only the folio's mark, set when the leaf came, knows. It is enough: nothing
 * is thrown away.
 */
static void s44_writable_and_clean(void **state)
{
	(void)state;
	for (unsigned k = 0; k < 2; k++) {
		host_set_options(arena.host, option_sets[k]);
		lazyfree();
		store_all(100 * k);
		for (uint64_t i = 0; i < PAGES; i++) {
			pte_t pte = pte_at(BACKING + i * PAGE_SIZE);

			assert_true(pte_writable(pte) && !pte_dirty(pte));
			assert_true(spte_writable(leaf(i * PAGE_SIZE)));
			assert_true(folio_dirty(arena.host, pte_frame(pte)));
		}
		assert_int_equal(page_out(), 0);
		for (uint64_t i = 0; i < PAGES; i++)
			assert_int_equal(load_on(1, i * PAGE_SIZE), 100 * k + i);
	}
}

/*
 * S57: without the bracket the old leaf would still be there, and no store after the advice would
 * be told.
 */
static void s57_no_leaf_from_before(void **state)
{
	(void)state;
	for (unsigned k = 0; k < 2; k++) {
		host_set_options(arena.host, option_sets[k]);
		store_all(10);
		lazyfree();
		for (uint64_t i = 0; i < PAGES; i++) {
			assert_false(spte_host_writable(leaf(i * PAGE_SIZE)));
			assert_false(folio_dirty(arena.host, host_frame(BACKING + i * PAGE_SIZE)));
		}
		ept_verify(ept);
	}
}

/* Who only reads may keep a leaf: what is thrown away is zapped first, and comes back as zeros. */
static void read_and_thrown_away(void **state)
{
	(void)state;
	for (unsigned k = 0; k < 2; k++) {
		host_set_options(arena.host, option_sets[k]);
		store_all(10);
		lru_drain(arena.host);
		lazyfree();
		if (option_sets[k])
			assert_int_equal(load_on(1, 0), 10);
		assert_int_equal(page_out(), PAGES);
		assert_int_equal(load_on(1, 0), 0);
	}
}

/* S43, S53: when dirtiness is taken or judged, no leaf over the page may be written. */
static struct eye { struct trace trace; unsigned judged, taken; } eye;

static void look(struct trace *self, enum trace_step step, uint64_t subject, uint64_t value)
{
	(void)self;
	(void)subject;
	(void)value;
	if (step != TRACE_PTE_MKCLEAN && step != TRACE_FOLIO_CLEAN && step != TRACE_DIRTY_TEST)
		return;
	for (uint64_t i = 0; i < PAGES; i++)
		assert_false(spte_writable(leaf(i * PAGE_SIZE)));
	eye.judged += step == TRACE_DIRTY_TEST;
	eye.taken += step != TRACE_DIRTY_TEST;
}

static void s53_no_leaf_when_dirtiness_is_used(void **state)
{
	(void)state;
	for (unsigned k = 0; k < 2; k++) {
		host_set_options(arena.host, option_sets[k]);
		store_all(10);
		eye = (struct eye){ .trace.step = look };
		arena.host->trace = &eye.trace;
		lazyfree();
		page_out();
		arena.host->trace = NULL;
		assert_true(eye.taken >= PAGES && eye.judged >= PAGES);
		lru_drain(arena.host);
	}
}

#define madvise_test(name) cmocka_unit_test_setup_teardown(name, open_stored, close_ept)

int main(void)
{
	const struct CMUnitTest tests[] = {
		madvise_test(s62_zapped_and_faulted_again),
		madvise_test(s63_protected_and_only_stores_fault),
		madvise_test(s44_writable_and_clean), madvise_test(s57_no_leaf_from_before),
		madvise_test(read_and_thrown_away),
		madvise_test(s53_no_leaf_when_dirtiness_is_used),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
