/*
 * The five policies side by side: what each marks, and when, in the shapes that the threads argue
 * about. S numbers are rows of the propagation table.
 */
#include "mm/lru.h"
#include "tests/unit/ept_fixture.h"

enum { SMALL = 512 };			/* pages of a large folio */

static const struct log_options wp = { .kind = LOG_WRITE_PROTECT };

struct marks { uint64_t dirty, accessed; };

static struct marks marks(void)
{
	return (struct marks){ host_read_count(arena.host, HOST_MARKS_DIRTY),
			       host_read_count(arena.host, HOST_MARKS_ACCESSED) };
}

static struct marks marks_since(struct marks before)
{
	struct marks now = marks();

	return (struct marks){ now.dirty - before.dirty, now.accessed - before.accessed };
}

static void expect_marks(struct marks since, uint64_t dirty, uint64_t accessed)
{
	struct marks got = marks_since(since);

	assert_int_equal(got.dirty, dirty);
	assert_int_equal(got.accessed, accessed);
}

static void invalidate(void)
{
	assert_int_equal(space_invalidate(space, hva(BACKING), SMALL * PAGE_SIZE), STATUS_OK);
}

/* ------------------------------------------------------------------ S3, by 2 MiB */

/* Mapped large, logged, each page stored to, and gone. */
static struct marks split_shape(enum ept_policy policy)
{
	open_policy(policy);
	lend(SMALL * PAGE_SIZE, LEVEL_2M);
	struct marks before = marks();

	store_on(1, 0, 1);
	assert_int_equal(ept_log_enable(ept, gfn(0), &wp), STATUS_OK);
	for (uint64_t page = 0; page < SMALL; page++)
		store_on(1, page * PAGE_SIZE, page);
	invalidate();
	struct marks got = marks_since(before);

	close_ept(NULL);
	return got;
}

static void s3_a_large_folio_in_pieces(void **state)
{
	(void)state;
	struct marks zap = split_shape(EPT_POLICY_ZAP), rfc = split_shape(EPT_POLICY_RFC);
	struct marks map = split_shape(EPT_POLICY_MAP), batch = split_shape(EPT_POLICY_BATCH);
	struct marks pte = split_shape(EPT_POLICY_PTE);

	assert_int_equal(zap.dirty, SMALL);
	assert_int_equal(rfc.dirty, 1);
	assert_int_equal(map.dirty, 1);
	assert_int_equal(batch.dirty, 1);
	assert_int_equal(pte.dirty, 0);
	assert_int_equal(zap.accessed, SMALL);
	assert_int_equal(rfc.accessed, SMALL);
	assert_int_equal(map.accessed, 1);
	assert_int_equal(batch.accessed, 1);
	assert_int_equal(pte.accessed, 0);
}

/* Each page faulted in by itself. */
static struct marks fault_shape(enum ept_policy policy)
{
	open_policy(policy);
	map_host(BACKING, SMALL * PAGE_SIZE, LEVEL_2M);
	add_region(0, SMALL, BACKING, LEVEL_4K);
	struct marks before = marks();

	for (uint64_t page = 0; page < SMALL; page++)
		store_on(1, page * PAGE_SIZE, page);
	invalidate();
	struct marks got = marks_since(before);

	close_ept(NULL);
	return got;
}

static void s3_a_large_folio_by_pages(void **state)
{
	(void)state;
	static const struct { enum ept_policy policy; struct marks marks; } wanted[] = {
		{ EPT_POLICY_ZAP, { SMALL, SMALL } }, { EPT_POLICY_RFC, { SMALL, SMALL } },
		{ EPT_POLICY_MAP, { SMALL, SMALL } }, { EPT_POLICY_BATCH, { 1, 1 } },
		{ EPT_POLICY_PTE, { 0, 0 } },
	};

	for (unsigned i = 0; i < sizeof(wanted) / sizeof(*wanted); i++) {
		struct marks got = fault_shape(wanted[i].policy);

		assert_int_equal(got.dirty, wanted[i].marks.dirty);
		assert_int_equal(got.accessed, wanted[i].marks.accessed);
	}
}

/* BATCH: a mark for each folio of the range, though their leaves take turns with none. */
static void batch_marks_each_folio_once(void **state)
{
	(void)state;
	open_policy(EPT_POLICY_BATCH);
	map_host(BACKING, 8 * PAGE_SIZE, LEVEL_4K);
	add_region(0, 8, BACKING, LEVEL_4K);
	for (uint64_t page = 0; page < 8; page += 2)
		store_on(1, page * PAGE_SIZE, 1);
	struct marks before = marks();

	invalidate();
	expect_marks(before, 4, 4);
	for (uint64_t page = 0; page < 8; page += 2)
		assert_true(folio_dirty(arena.host, host_frame(BACKING + page * PAGE_SIZE)));
	close_ept(NULL);
}

/* RFC: dirty before the fault returns, accessed when the leaf goes. */
static void rfc_marks_dirty_first_accessed_last(void **state)
{
	(void)state;
	open_policy(EPT_POLICY_RFC);
	lend(PAGE_SIZE, LEVEL_4K);
	struct marks before = marks();

	assert_int_equal(fault(0, ACCESS_WRITE), FAULT_FIXED);
	expect_marks(before, 1, 0);
	invalidate();
	expect_marks(before, 1, 1);
	close_ept(NULL);
}

/* S2: by MAP the mark is there when the fault returns, and the zap makes none. */
static void s2_marked_before_the_fault_returns(void **state)
{
	(void)state;
	open_policy(EPT_POLICY_MAP);
	lend(PAGE_SIZE, LEVEL_4K);
	struct marks before = marks();

	assert_int_equal(fault(0, ACCESS_WRITE), FAULT_FIXED);
	assert_true(folio_dirty(arena.host, host_frame(BACKING)));
	expect_marks(before, 1, 1);
	invalidate();
	expect_marks(before, 1, 1);
	close_ept(NULL);
}

/* ------------------------------------------------------------------ PTE */

static pte_t primary(uint64_t page) NOT_CHECKED
{
	return table_find(space, BACKING + page * PAGE_SIZE).pte;
}

static int open_pte(void **state)
{
	(void)state;
	open_policy(EPT_POLICY_PTE);
	return 0;
}

/* As a process's page that nobody has used lately, and nobody has written since it was cleaned. */
static void cool(uint64_t page)
{
	uint64_t word = 5;

	assert_int_equal(space_write(space, hva(BACKING + page * PAGE_SIZE), &word, 8), STATUS_OK);
	write_lock(&space->lock);
	atomic_and(table_find(space, BACKING + page * PAGE_SIZE).slot, ~(PTE_A | PTE_D));
	write_unlock(&space->lock);
}

/*
 * S21, S22, S24, S26: a leaf over a young entry, W over a dirty one; the slow way sees to it once.
 */
static void s21_s22_s24_s26_the_entry_first(void **state)
{
	unsigned level;

	(void)state;
	lend(4 * PAGE_SIZE, LEVEL_4K);
	for (uint64_t page = 0; page < 4; page++)
		cool(page);
	uint64_t slow = host_read_count(arena.host, HOST_SLOW_LOOKUPS);

	(void)load_on(1, 0);
	assert_true(pte_accessed(primary(0)) && !pte_dirty(primary(0)));
	assert_false(spte_host_writable(leaf_at(0, &level)));
	assert_int_equal(host_read_count(arena.host, HOST_SLOW_LOOKUPS), slow + 1);
	store_on(1, 0, 1);
	assert_true(pte_dirty(primary(0)) && spte_writable(leaf_at(0, &level)));
	assert_int_equal(host_read_count(arena.host, HOST_SLOW_LOOKUPS), slow + 2);
	/* What is dirty by now is mapped to be written at once, without the slow way. */
	invalidate();
	(void)load_on(1, 0);
	assert_true(spte_writable(leaf_at(0, &level)));
	assert_int_equal(host_read_count(arena.host, HOST_SLOW_LOOKUPS), slow + 2);
	ept_verify(ept);
}

/* S23, I2: who cleans the entry has taken W from the leaf before. */
static void s23_cleaned_is_read_only(void **state)
{
	unsigned level;
	struct mm_range range;

	(void)state;
	lend(PAGE_SIZE, LEVEL_4K);
	store_on(1, 0, 1);
	host_set_options(arena.host, OPTION_MKCLEAN);
	write_lock(&space->lock);
	range = notifier_start(space, BACKING, BACKING + PAGE_SIZE, EVENT_MKCLEAN);
	assert_false(spte_writable(leaf_at(0, &level)));
	atomic_and(table_find(space, BACKING).slot, ~PTE_D);
	notifier_end(space, &range);
	write_unlock(&space->lock);
	ept_verify(ept);
	store_on(1, 0, 2);
	assert_true(pte_dirty(primary(0)));
	ept_verify(ept);
}

/* S19, S28, S52: nothing of ours touches a folio's mark, to the last. */
static void s19_s28_s52_no_mark_at_all(void **state)
{
	(void)state;
	lend(64 * PAGE_SIZE, LEVEL_4K);
	struct marks before = marks();

	for (uint64_t page = 0; page < 64; page++)
		store_on(1, page * PAGE_SIZE, 1);
	invalidate();
	for (uint64_t page = 0; page < 64; page++)
		(void)load_on(2, page * PAGE_SIZE);
	assert_int_equal(ept_region_remove(ept, gfn(0)), STATUS_OK);
	expect_marks(before, 0, 0);
}

/* A leaf over an entry that somebody has cleaned unheard. */
static void i2_is_verified(void **state)
{
	(void)state;
	lend(PAGE_SIZE, LEVEL_4K);
	store_on(1, 0, 1);
	write_lock(&space->lock);
	atomic_and(table_find(space, BACKING).slot, ~PTE_D);
	write_unlock(&space->lock);
	assert_true(panics(ept_verify(ept), "the primary entry is not dirty"));
	write_lock(&space->lock);
	atomic_or(table_find(space, BACKING).slot, PTE_D);
	write_unlock(&space->lock);
}

/* ------------------------------------------------------------------ what is stored is kept */

/* S45: by each, what a guest stored to a page that was given away for reclaim is still there. */
static void s45_lazyfree_by_each(void **state)
{
	(void)state;
	for (enum ept_policy policy = 0; policy < EPT_POLICIES; policy++) {
		uint64_t freed;

		open_policy(policy);
		lend(2 * PAGE_SIZE, LEVEL_4K);
		store_on(1, 0, 1);
		store_on(1, PAGE_SIZE, 1);
		lru_drain(arena.host);
		assert_int_equal(space_lazyfree(space, hva(BACKING), 2 * PAGE_SIZE), STATUS_OK);
		store_on(1, 0, 2);
		assert_int_equal(space_page_out(space, hva(BACKING), 2 * PAGE_SIZE, &freed),
				 STATUS_OK);
		assert_int_equal(freed, 1);
		assert_int_equal(load_on(1, 0), 2);
		assert_int_equal(load_on(1, PAGE_SIZE), 0);
		close_ept(NULL);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(s3_a_large_folio_in_pieces),
		cmocka_unit_test(s3_a_large_folio_by_pages),
		cmocka_unit_test(batch_marks_each_folio_once),
		cmocka_unit_test(rfc_marks_dirty_first_accessed_last),
		cmocka_unit_test(s2_marked_before_the_fault_returns),
		cmocka_unit_test_setup_teardown(s21_s22_s24_s26_the_entry_first, open_pte,
						close_ept),
		cmocka_unit_test_setup_teardown(s23_cleaned_is_read_only, open_pte, close_ept),
		cmocka_unit_test_setup_teardown(s19_s28_s52_no_mark_at_all, open_pte, close_ept),
		cmocka_unit_test_setup_teardown(i2_is_verified, open_pte, close_ept),
		cmocka_unit_test(s45_lazyfree_by_each),
	};

	return cmocka_run_group_tests_name("ept/policies", tests, NULL, NULL);
}
