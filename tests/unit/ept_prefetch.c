/*
 * Neighbours of a fault: which are mapped with it, as what, and what is counted of them. S and U
 * numbers are those of the propagation table; a block is of 8 pages, as Linux's is.
 */
#include "ept/prefetch.h"
#include "tests/unit/ept_fixture.h"

enum { BLOCK = 8, PAGES = 64 };

static const struct ept_caps with_flags = { .max_level = LEVEL_2M, .accessed_dirty = true };
static const struct ept_caps without_flags = { .max_level = LEVEL_2M };

static void open_prefetching(struct ept_caps caps, enum ept_policy policy, unsigned pages)
{
	open_ept(64, caps);
	ept_set_policy(ept, policy);
	ept_set_prefetch(ept, pages);
}

static uint64_t address_of(uint64_t page) { return BACKING + page * PAGE_SIZE; }

/* The process has written so many pages from there on. */
static void fill(uint64_t first, uint64_t pages)
{
	for (uint64_t page = first; page < first + pages; page++)
		assert_int_equal(space_write(space, hva(address_of(page)), &page, sizeof(page)),
				 STATUS_OK);
}

static void lend_filled(uint64_t pages)
{
	lend(pages * PAGE_SIZE, LEVEL_4K);
	fill(0, pages);
}

static int open_eight(void **state)
{
	(void)state;
	open_prefetching(with_flags, EPT_POLICY_MAP, BLOCK);
	lend_filled(PAGES);
	return 0;
}

static spte_t leaf_of(uint64_t page)
{
	unsigned level;

	return leaf_at(page * PAGE_SIZE, &level);
}

static bool is_mapped(uint64_t page) { return spte_present(leaf_of(page)); }

/* Bit n: page n is mapped. */
static uint64_t mapped(void)
{
	uint64_t bits = 0;

	for (uint64_t page = 0; page < PAGES; page++)
		bits |= (uint64_t)is_mapped(page) << page;
	return bits;
}

static void expect_counts(uint64_t prefetched, uint64_t used)
{
	assert_int_equal(stats()->prefetched, prefetched);
	assert_int_equal(stats()->prefetch_used, used);
}

static void invalidate(void)
{
	assert_int_equal(space_invalidate(space, hva(BACKING), PAGES * PAGE_SIZE), STATUS_OK);
}

static struct folio *folio_at(uint64_t page)
{
	return folio_of(arena.host, host_frame(address_of(page)));
}

static bool has_mark(uint64_t page, uint32_t mark)
{
	return atomic_read(&folio_at(page)->flags) & mark;
}

static void forget_marks(uint64_t pages)
{
	for (uint64_t page = 0; page < pages; page++)
		atomic_and(&folio_at(page)->flags, ~(FOLIO_DIRTY | FOLIO_ACCESSED));
}

/* From the process's entry. */
static void take_bits(uint64_t page, uint64_t bits)
{
	write_lock(&space->lock);
	atomic_and(table_find(space, address_of(page)).slot, ~bits);
	write_unlock(&space->lock);
}

static bool clear_young(uint64_t first, uint64_t pages) NOT_CHECKED
{
	return notifier_clear_young(space, address_of(first), address_of(first + pages));
}

/* ------------------------------------------------------------------ what is mapped, and as what */

/* S5, U7: the block, and nothing else; A in the one that was asked for alone. */
static void s5_the_block_unused(void **state)
{
	uint64_t asked = spte_make_leaf(host_frame(address_of(11)), true, AD_PROCESSOR).bits;

	(void)state;
	assert_int_equal(fault(11 * PAGE_SIZE, ACCESS_READ), FAULT_FIXED);
	assert_int_equal(mapped(), 0xff00);
	expect_counts(7, 0);
	assert_int_equal(leaf_of(11).bits, asked);
	for (uint64_t page = 8; page < 16; page++) {
		spte_t leaf = spte_make_leaf(host_frame(address_of(page)), true, AD_PROCESSOR);

		if (page != 11)
			assert_int_equal(leaf_of(page).bits,
					 (leaf.bits & ~SPTE_A) | SPTE_PREFETCHED);
	}
	ept_verify(ept);
	assert_int_equal(stats()->mapped[0], 8);
	/* What is there stays as it is. */
	assert_int_equal(ept_region_remove(ept, gfn(0)), STATUS_OK);
	expect_counts(7, 0);
}

/* S5: to the guest they are pages like all others, and cost no fault. */
static void s5_used_without_a_fault(void **state)
{
	(void)state;
	store_on(1, 0, 100);
	uint64_t read = stats()->faults[0], written = stats()->faults[1];

	for (uint64_t page = 1; page < BLOCK; page++)
		assert_int_equal(load_on(1, page * PAGE_SIZE), page);
	for (uint64_t page = 1; page < BLOCK; page++)
		store_on(2, page * PAGE_SIZE, 100 + page);
	assert_int_equal(stats()->faults[0], read);
	assert_int_equal(stats()->faults[1], written);
	for (uint64_t page = 0; page < BLOCK; page++) {
		uint64_t word = 0;

		assert_int_equal(space_read(space, hva(address_of(page)), &word, 8), STATUS_OK);
		assert_int_equal(word, 100 + page);
	}
	/* A block that is half there is filled. */
	assert_int_equal(space_invalidate(space, hva(address_of(2)), 3 * PAGE_SIZE), STATUS_OK);
	assert_int_equal(mapped(), 0xe3);
	store_on(1, 3 * PAGE_SIZE, 1);
	assert_int_equal(mapped(), 0xff);
	expect_counts(9, 3);
}

/* S5: no mark says accessed before somebody has touched the page; U3: dirty is said at once. */
static void s5_u3_marks_by_policy(void **state)
{
	(void)state;
	for (enum ept_policy policy = 0; policy < EPT_POLICIES; policy++) {
		bool first = policy == EPT_POLICY_MAP || policy == EPT_POLICY_RFC;
		bool last = policy == EPT_POLICY_ZAP || policy == EPT_POLICY_BATCH;

		open_prefetching(with_flags, policy, BLOCK);
		lend_filled(PAGES);
		forget_marks(BLOCK);
		uint64_t accessed = host_read_count(arena.host, HOST_MARKS_ACCESSED);

		assert_int_equal(fault(0, ACCESS_WRITE), FAULT_FIXED);
		assert_int_equal(mapped(), 0xff);
		assert_int_equal(host_read_count(arena.host, HOST_MARKS_ACCESSED),
				 accessed + (policy == EPT_POLICY_MAP));
		for (uint64_t page = 1; page < BLOCK; page++) {
			assert_false(has_mark(page, FOLIO_ACCESSED));
			assert_int_equal(has_mark(page, FOLIO_DIRTY), first);
		}
		ept_verify(ept);
		/* One is used; what goes says so by the policies that ask it, and of no other. */
		(void)load_on(1, 5 * PAGE_SIZE);
		invalidate();
		for (uint64_t page = 1; page < BLOCK; page++) {
			assert_int_equal(has_mark(page, FOLIO_ACCESSED),
					 page == 5 && (last || policy == EPT_POLICY_RFC));
			assert_int_equal(has_mark(page, FOLIO_DIRTY), first || last);
		}
		expect_counts(7, 1);
		close_ept(NULL);
	}
}

/* ------------------------------------------------------------------ which are not */

/* Frames without a folio in place of one page. */
static void map_bare(uint64_t page, pfn_t frame)
{
	assert_int_equal(space_unmap(space, hva(address_of(page)), PAGE_SIZE), STATUS_OK);
	assert_int_equal(space_map_frames(space, hva(address_of(page)), PAGE_SIZE,
					  PROTECTION_READ_WRITE, frame, LEVEL_4K, FRAMES_BARE),
			 STATUS_OK);
}

/* U3, S90: what can't be written now, is secret, or has no folio, is left to a fault of its own. */
static void u3_only_what_may_be_written_now(void **state)
{
	pfn_t bare;

	(void)state;
	assert_int_equal(space_protect(space, hva(address_of(2)), PAGE_SIZE, PROTECTION_READ),
			 STATUS_OK);
	assert_int_equal(space_discard(space, hva(address_of(3)), PAGE_SIZE), STATUS_OK);
	assert_int_equal(space_unmap(space, hva(address_of(4)), PAGE_SIZE), STATUS_OK);
	assert_int_equal(space_map_secret(space, hva(address_of(4)), PAGE_SIZE,
					  PROTECTION_READ_WRITE), STATUS_OK);
	fill(4, 1);
	assert_int_equal(folio_alloc_zeroed(arena.host, ORDER_4K, &bare), STATUS_OK);
	map_bare(5, bare);
	assert_int_equal(space_hint(space, hva(address_of(6)), PAGE_SIZE, HINT_EACH_2M), STATUS_OK);
	uint64_t slow = host_read_count(arena.host, HOST_SLOW_LOOKUPS);

	assert_int_equal(fault(0, ACCESS_WRITE), FAULT_FIXED);
	assert_int_equal(mapped(), 0x83);
	assert_int_equal(host_read_count(arena.host, HOST_SLOW_LOOKUPS), slow);
	expect_counts(2, 0);
	ept_verify(ept);
	assert_int_equal(fault(5 * PAGE_SIZE, ACCESS_WRITE), FAULT_FIXED);
	assert_int_equal(space_unmap(space, hva(address_of(5)), PAGE_SIZE), STATUS_OK);
	folio_put(arena.host, bare);
}

/* S25, I2: by PTE those that are dirty and young, exactly; no entry changes for it. */
static void s25_dirty_and_young_already(void **state) NOT_CHECKED
{
	static const uint64_t without[BLOCK] = {
		0, PTE_D, PTE_A, PTE_A | PTE_D, 0, PTE_D, PTE_A, 0,
	};

	(void)state;
	open_prefetching(with_flags, EPT_POLICY_PTE, BLOCK);
	lend_filled(PAGES);
	for (uint64_t page = 0; page < BLOCK; page++)
		take_bits(page, without[page]);
	assert_int_equal(fault(0, ACCESS_WRITE), FAULT_FIXED);
	assert_int_equal(mapped(), 0x91);
	expect_counts(2, 0);
	for (uint64_t page = 0; page < BLOCK; page++)
		assert_int_equal(table_find(space, address_of(page)).pte.bits & (PTE_A | PTE_D),
				 (PTE_A | PTE_D) & ~without[page]);
	ept_verify(ept);
	close_ept(NULL);
}

/* No further than the region goes, and none of the next one's, which is backed elsewhere. */
static void within_the_region(void **state)
{
	(void)state;
	open_prefetching(with_flags, EPT_POLICY_MAP, BLOCK);
	map_host(BACKING, PAGES * PAGE_SIZE, LEVEL_4K);
	fill(0, PAGES);
	add_region(3, 10, address_of(20), LEVEL_4K);
	add_region(13, 10, address_of(0), LEVEL_4K);
	assert_int_equal(fault(4 * PAGE_SIZE, ACCESS_WRITE), FAULT_FIXED);
	assert_int_equal(mapped(), 0xf8);
	assert_int_equal(fault(12 * PAGE_SIZE, ACCESS_WRITE), FAULT_FIXED);
	assert_int_equal(mapped(), 0x1ff8);
	for (uint64_t page = 3; page < 13; page++)
		assert_int_equal(load_on(1, page * PAGE_SIZE), page + 17);
	assert_int_equal(fault(13 * PAGE_SIZE, ACCESS_WRITE), FAULT_FIXED);
	assert_int_equal(mapped(), 0xfff8);
	assert_int_equal(load_on(1, 14 * PAGE_SIZE), 1);
	ept_verify(ept);
	close_ept(NULL);
}

/* While a bracket is open over any page of the block: what a lookup says there may be gone. */
static void u21_not_in_a_bracket(void **state) NOT_CHECKED
{
	(void)state;
	for (uint64_t page = 0; page < BLOCK + 1; page++) {
		write_lock(&space->lock);
		struct mm_range range = notifier_start(space, address_of(page),
						       address_of(page + 1), EVENT_CLEAR);
		uint64_t asked = page ? 0 : 7;

		assert_int_equal(fault(asked * PAGE_SIZE, ACCESS_WRITE), FAULT_FIXED);
		assert_int_equal(mapped(), page < BLOCK ? UINT64_C(1) << asked : 0xff);
		notifier_end(space, &range);
		write_unlock(&space->lock);
		invalidate();
	}
	expect_counts(7, 0);
}

/* Its stores would not be logged (I6). */
static void i6_not_where_stores_are_logged(void **state)
{
	const struct log_options wp = { .kind = LOG_WRITE_PROTECT };
	uint64_t word;

	(void)state;
	assert_int_equal(ept_log_enable(ept, gfn(0), &wp), STATUS_OK);
	store_on(1, 0, 1);
	assert_int_equal(mapped(), 1);
	store_on(1, PAGE_SIZE, 1);
	assert_int_equal(ept_log_get(ept, gfn(0), &word), STATUS_OK);
	assert_int_equal(word, 3);
	/* And those that are there when a log begins are logged as all are. */
	assert_int_equal(ept_log_disable(ept, gfn(0)), STATUS_OK);
	store_on(1, 8 * PAGE_SIZE, 1);
	assert_int_equal(mapped(), 0xff03);
	assert_int_equal(ept_log_enable(ept, gfn(0), &wp), STATUS_OK);
	store_on(1, 9 * PAGE_SIZE, 1);
	assert_int_equal(ept_log_get(ept, gfn(0), &word), STATUS_OK);
	assert_int_equal(word, 0x200);
}

static void not_where_nobody_may_store(void **state)
{
	const struct region rom = { gfn(0), PAGES, hva(BACKING), REGION_READ_ONLY, LEVEL_4K };

	(void)state;
	open_prefetching(with_flags, EPT_POLICY_MAP, BLOCK);
	map_host(BACKING, PAGES * PAGE_SIZE, LEVEL_4K);
	fill(0, PAGES);
	assert_int_equal(ept_region_add(ept, &rom), STATUS_OK);
	assert_int_equal(fault(0, ACCESS_READ), FAULT_FIXED);
	assert_int_equal(mapped(), 1);
	close_ept(NULL);
}

/* A memfd's pages are its own to fill. */
static void not_of_a_memfd(void **state)
{
	const struct region region = { gfn(0), PAGES, hva(0), REGION_READ_WRITE, LEVEL_4K };
	struct memfd *memfd;

	(void)state;
	open_prefetching(with_flags, EPT_POLICY_MAP, BLOCK);
	assert_int_equal(memfd_create(arena.host, PAGES, &memfd), STATUS_OK);
	assert_int_equal(ept_region_add_memfd(ept, &region, memfd), STATUS_OK);
	store_on(1, PAGE_SIZE, 1);
	assert_int_equal(fault(0, ACCESS_WRITE), FAULT_FIXED);
	assert_int_equal(mapped(), 3);
	expect_counts(0, 0);
	all_leave();
	assert_int_equal(ept_region_remove(ept, gfn(0)), STATUS_OK);
	assert_int_equal(memfd_destroy(memfd), STATUS_OK);
	close_ept(NULL);
}

/* Nobody has asked for it. */
static void off_at_first(void **state)
{
	(void)state;
	open_small(NULL);
	lend_filled(PAGES);
	assert_int_equal(fault(0, ACCESS_WRITE), FAULT_FIXED);
	assert_int_equal(mapped(), 1);
	close_ept(NULL);
}

/* From the smallest block to all of a table, but never where a large leaf has it. */
static void blocks_of_any_size(void **state)
{
	(void)state;
	for (unsigned pages = 2; pages <= EPT_ENTRIES; pages *= 2) {
		open_prefetching(with_flags, EPT_POLICY_MAP, pages);
		map_host(BACKING, 4 * MIB, LEVEL_2M);
		add_region(0, EPT_ENTRIES, BACKING + 2 * MIB, LEVEL_4K);
		add_region(EPT_ENTRIES, EPT_ENTRIES, BACKING, LEVEL_2M);
		assert_int_equal(fault(511 * PAGE_SIZE, ACCESS_WRITE), FAULT_FIXED);
		expect_counts(pages - 1, 0);
		assert_true(is_mapped(512 - pages));
		assert_int_equal(spte_frame(leaf_of(512 - pages)).raw,
				 host_frame(BACKING + 2 * MIB).raw + 512 - pages);
		assert_int_equal(stats()->mapped[0], pages);
		assert_int_equal(fault(512 * PAGE_SIZE, ACCESS_WRITE), FAULT_FIXED);
		assert_int_equal(level_at(512 * PAGE_SIZE), LEVEL_2M);
		expect_counts(pages - 1, 0);
		close_ept(NULL);
	}
}

/* ------------------------------------------------------------------ what becomes of them */

/*
 * S5, U36: the guest's first use is young, and is counted once, when it is seen or with the leaf.
 */
static void s5_used_is_counted_once(void **state)
{
	(void)state;
	store_on(1, 0, 1);
	assert_false(clear_young(1, BLOCK - 1));
	for (uint64_t page = 1; page <= 3; page++)
		(void)load_on(1, page * PAGE_SIZE);
	expect_counts(7, 0);
	assert_true(clear_young(1, 1));
	expect_counts(7, 1);
	assert_false(spte_prefetched(leaf_of(1)) || spte_accessed(leaf_of(1)));
	assert_true(spte_prefetched(leaf_of(4)));
	/* It is used again, and again seen. */
	soft_evict(&soft[1], gpa(PAGE_SIZE));
	(void)load_on(1, PAGE_SIZE);
	assert_true(clear_young(1, 1));
	assert_false(clear_young(1, 1));
	expect_counts(7, 1);
	ept_verify(ept);
	invalidate();
	expect_counts(7, 3);
}

/*
 * S5, U9: where the processor has no A the rights are put aside, and the first touch has them back.
 */
static void s5_u9_without_flags(void **state)
{
	(void)state;
	open_prefetching(without_flags, EPT_POLICY_MAP, BLOCK);
	lend_filled(PAGES);
	store_on(1, 0, 1);
	assert_int_equal(mapped(), 0xff);
	assert_int_equal(leaf_of(1).bits & (SPTE_RIGHTS | SPTE_A | SPTE_SAVED), SPTE_SAVED);
	ept_verify(ept);
	uint64_t walks = host_read_count(arena.host, HOST_WALKS);

	assert_int_equal(load_on(1, PAGE_SIZE), 1);
	assert_int_equal(leaf_of(1).bits & SPTE_RIGHTS, SPTE_R | SPTE_X);
	store_on(2, 2 * PAGE_SIZE, 1);
	assert_int_equal(leaf_of(2).bits & SPTE_RIGHTS, SPTE_RIGHTS);
	assert_int_equal(stats()->fast, 2);
	assert_int_equal(host_read_count(arena.host, HOST_WALKS), walks);
	ept_verify(ept);
	assert_false(clear_young(3, 5));
	assert_true(clear_young(2, 1));
	expect_counts(7, 1);
	assert_false(clear_young(2, 1));
	store_on(2, 2 * PAGE_SIZE, 2);
	invalidate();
	expect_counts(7, 2);
	close_ept(NULL);
}

/* A bracket that only protects leaves it there; the next store has W in place, as everywhere. */
static void protected_and_stored_to(void **state)
{
	(void)state;
	assert_int_equal(fault(0, ACCESS_WRITE), FAULT_FIXED);
	(void)load_on(1, PAGE_SIZE);
	write_lock(&space->lock);
	struct mm_range range = notifier_start(space, BACKING, address_of(BLOCK),
					       EVENT_WRITE_PROTECT);

	notifier_end(space, &range);
	write_unlock(&space->lock);
	uint64_t flushes = stats()->flushes;

	store_on(1, PAGE_SIZE, 1);
	store_on(1, 2 * PAGE_SIZE, 1);
	assert_int_equal(stats()->made_writable, 2);
	assert_int_equal(stats()->flushes, flushes);
	assert_int_equal(stats()->zapped[0], 0);
	assert_false(spte_prefetched(leaf_of(1)) || spte_prefetched(leaf_of(2)));
	/* The second one has saved nobody a fault. */
	expect_counts(7, 1);
	ept_verify(ept);
	invalidate();
	expect_counts(7, 1);
}

/* A large leaf in their place knows nothing of it; and a region that goes tells of each. */
static void joined_and_removed(void **state)
{
	const struct log_options wp = { .kind = LOG_WRITE_PROTECT };

	(void)state;
	open_prefetching(with_flags, EPT_POLICY_MAP, BLOCK);
	map_host(BACKING, 2 * MIB, LEVEL_2M);
	add_region(0, EPT_ENTRIES, BACKING, LEVEL_4K);
	store_on(1, 0, 1);
	(void)load_on(1, PAGE_SIZE);
	set_max_level(LEVEL_2M);
	assert_int_equal(ept_log_enable(ept, gfn(0), &wp), STATUS_OK);
	assert_int_equal(ept_log_disable(ept, gfn(0)), STATUS_OK);
	assert_int_equal(level_at(0), LEVEL_2M);
	assert_false(spte_prefetched(leaf_of(0)));
	expect_counts(7, 1);
	ept_verify(ept);
	assert_int_equal(space_invalidate(space, hva(BACKING), 2 * MIB), STATUS_OK);
	set_max_level(LEVEL_4K);
	store_on(1, 0, 1);
	(void)load_on(1, 2 * PAGE_SIZE);
	(void)load_on(1, 3 * PAGE_SIZE);
	all_leave();
	assert_int_equal(ept_region_remove(ept, gfn(0)), STATUS_OK);
	expect_counts(14, 3);
	close_ept(NULL);
}

/* ------------------------------------------------------------------ misuse */

static void chosen_before_the_regions(void **state)
{
	(void)state;
	assert_true(panics(ept_set_prefetch(ept, 3), "pages & (pages - 1)"));
	assert_true(panics(ept_set_prefetch(ept, 2 * EPT_ENTRIES), "pages <= EPT_ENTRIES"));
	ept_set_prefetch(ept, EPT_ENTRIES);
	ept_set_prefetch(ept, 0);
	lend(PAGE_SIZE, LEVEL_4K);
	assert_true(panics(ept_set_prefetch(ept, BLOCK), "region_count"));
	arena_abandon(&arena);
}

static void verified(void **state)
{
	(void)state;
	assert_int_equal(fault(0, ACCESS_WRITE), FAULT_FIXED);
	ept_verify(ept);
	ept->prefetch = 0;
	assert_true(panics(ept_verify(ept), "prefetched, though nobody prefetches here"));
	arena_abandon(&arena);
}

#define eight_test(name) cmocka_unit_test_setup_teardown(name, open_eight, close_ept)

int main(void)
{
	const struct CMUnitTest tests[] = {
		eight_test(s5_the_block_unused), eight_test(s5_used_without_a_fault),
		cmocka_unit_test(s5_u3_marks_by_policy),
		eight_test(u3_only_what_may_be_written_now),
		cmocka_unit_test(s25_dirty_and_young_already), cmocka_unit_test(within_the_region),
		eight_test(u21_not_in_a_bracket), eight_test(i6_not_where_stores_are_logged),
		cmocka_unit_test(not_where_nobody_may_store), cmocka_unit_test(not_of_a_memfd),
		cmocka_unit_test(off_at_first), cmocka_unit_test(blocks_of_any_size),
		eight_test(s5_used_is_counted_once), cmocka_unit_test(s5_u9_without_flags),
		eight_test(protected_and_stored_to), cmocka_unit_test(joined_and_removed),
		cmocka_unit_test_setup(chosen_before_the_regions, open_small),
		cmocka_unit_test_setup(verified, open_eight),
	};

	return cmocka_run_group_tests_name("ept/prefetch", tests, NULL, NULL);
}
