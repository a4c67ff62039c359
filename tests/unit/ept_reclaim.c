/*
 * Reclaim of pages that a guest uses: what it stored is never lost, whoever else stores. S49: by
 * the policy MAP, where a folio is marked when the guest's entry is made, and by ZAP, where it is
 * when that goes. Numbers in names are rows of the propagation table.
 */
#include "mm/reclaim.h"
#include "mm/store.h"
#include "mm/swap.h"
#include "tests/unit/disk_fixture.h"
#include "tests/unit/ept_fixture.h"

enum { PAGES = 64 };

static struct ram_store *store;
static struct file *file;

static int open_all(void **state)
{
	open_small(state);
	assert_int_equal(host_swap_on(arena.host, disk_open(), DISK_PAGES), STATUS_OK);
	assert_int_equal(ram_store_create(arena.host, PAGES, &store), STATUS_OK);
	return file_create(arena.host, ram_store_of(store), PAGES, &file) == STATUS_OK ? 0 : -1;
}

static int open_zap(void **state)
{
	int opened = open_all(state);

	ept_set_policy(ept, EPT_POLICY_ZAP);
	return opened;
}

static int close_all(void **state)
{
	(void)state;
	all_leave();
	ept_verify(ept);
	ept_destroy(ept);
	space_verify(space);
	space_destroy(space);
	assert_int_equal(host_swap_off(arena.host), STATUS_OK);
	assert_int_equal(file_destroy(file), STATUS_OK);
	ram_store_destroy(store);
	arena_close(&arena);
	return 0;
}

#define reclaim_test(name)                                                           \
	cmocka_unit_test_setup_teardown(name, open_all, close_all),                  \
	{ #name "_zap", name, open_zap, close_all, NULL }

static void lend_file(void)
{
	assert_int_equal(space_map_file(space, hva(BACKING), PAGES * PAGE_SIZE,
					PROTECTION_READ_WRITE, file, 0, SHARING_SHARED),
			 STATUS_OK);
	add_region(0, PAGES, BACKING, LEVEL_4K);
}

static struct place place_of(uint64_t page) NOT_CHECKED
{
	return table_find(space, BACKING + page * PAGE_SIZE);
}

static uint64_t reclaim_one(uint64_t page)
{
	pfn_t frame = pte_frame(place_of(page).pte);

	folio_get(arena.host, frame);
	return reclaim_frames(arena.host, &frame, 1);
}

/* Everything, used or not: what is used is asked again until it was not. */
static void reclaim_all(void)
{
	for (unsigned i = 0; i < 16; i++)
		(void)host_reclaim(arena.host, UINT64_MAX);
	for (uint64_t page = 0; page < PAGES; page++)
		assert_false(pte_present(place_of(page).pte));
}

static uint64_t process_load(uint64_t at)
{
	uint64_t value = 0;

	assert_int_equal(space_read(space, hva(BACKING + at), &value, sizeof(value)), STATUS_OK);
	return value;
}

/* Cleaned, then written through the guest's tables alone, then evicted. */
static void s29_written_behind_clean_entries(void **state)
{
	(void)state;
	lend_file();
	store_on(1, 8, 5);
	assert_int_equal(file_sync(file), STATUS_OK);
	assert_false(pte_dirty(place_of(0).pte) || pte_writable(place_of(0).pte));
	assert_false(folio_dirty(arena.host, pte_frame(place_of(0).pte)));
	store_on(1, 8, 6);
	/* The bracket has taken the guest's entry, so this store came by a fault, and is marked. */
	assert_true(folio_dirty(arena.host, pte_frame(place_of(0).pte)));
	assert_int_equal(reclaim_one(0), 1);
	assert_int_equal(level_at(0), 0);
	assert_int_equal(load_on(1, 8), 6);
	assert_int_equal(process_load(8), 6);
}

/*
 * No D in the primary entry, nothing told since the guest's entry was made: the mark at that time
 * was enough.
 */
static void s30_written_through_an_entry_made_before(void **state)
{
	(void)state;
	lend_file();
	store_on(1, 0, 1);
	atomic_and(place_of(0).slot, ~PTE_D);
	store_on(1, 0, 2);
	assert_false(pte_dirty(place_of(0).pte));
	assert_int_equal(reclaim_one(0), 1);
	assert_int_equal(load_on(1, 0), 2);
}

static void s30_anonymous(void **state)
{
	(void)state;
	lend(PAGES * PAGE_SIZE, LEVEL_4K);
	store_on(1, 0, 1);
	assert_int_equal(reclaim_one(0), 1);
	assert_int_equal(load_on(1, 0), 1);		/* back, clean in memory and in the store */
	atomic_and(place_of(0).slot, ~PTE_D);
	store_on(1, 0, 2);
	assert_false(pte_dirty(place_of(0).pte));
	assert_int_equal(reclaim_one(0), 1);
	assert_int_equal(load_on(1, 0), 2);
}

/* As MADV_FREE leaves a page: clean in the entry and the folio, and no guest's entry there. */
static void make_lazyfree(uint64_t page) NOT_CHECKED
{
	uint64_t at = BACKING + page * PAGE_SIZE;
	struct mm_range range;

	lru_drain(arena.host);
	write_lock(&space->lock);
	range = notifier_start(space, at, at + PAGE_SIZE, EVENT_CLEAR);
	atomic_and(place_of(page).slot, ~(PTE_A | PTE_D));
	atomic_and(&folio_of(arena.host, pte_frame(place_of(page).pte))->flags, ~FOLIO_DIRTY);
	folio_mark_lazyfree(arena.host, pte_frame(place_of(page).pte));
	notifier_end(space, &range);
	write_unlock(&space->lock);
}

static void s45_lazyfree_and_written_by_the_guest(void **state)
{
	(void)state;
	lend(PAGES * PAGE_SIZE, LEVEL_4K);
	for (uint64_t page = 0; page < 2; page++) {
		store_on(1, page * PAGE_SIZE, 1);
		make_lazyfree(page);
	}
	store_on(1, 0, 2);
	assert_false(pte_dirty(place_of(0).pte));	/* only the folio knows */
	assert_int_equal(reclaim_one(0), 0);
	assert_int_equal(reclaim_one(1), 1);
	assert_int_equal(load_on(1, 0), 2);
	assert_int_equal(load_on(1, PAGE_SIZE), 0);
}

/* Neighbours are taken from the guest at once, and what it alone knows to be dirty is written. */
static void s53_neighbours_in_one_bracket(void **state)
{
	(void)state;
	lend_file();
	for (uint64_t page = 0; page < PAGES; page++)
		store_on(1, page * PAGE_SIZE, page);
	assert_int_equal(file_sync(file), STATUS_OK);
	for (uint64_t page = 0; page < PAGES; page++)
		assert_int_equal(load_on(1, page * PAGE_SIZE), page);
	for (uint64_t page = 40; page < 50; page++)
		store_on(1, page * PAGE_SIZE, page + 100);
	uint64_t brackets = host_read_count(arena.host, HOST_BRACKETS);

	reclaim_all();
	assert_true(host_read_count(arena.host, HOST_BRACKETS) - brackets < PAGES);
	for (uint64_t page = 0; page < PAGES; page++) {
		assert_int_equal(level_at(page * PAGE_SIZE), 0);
		assert_int_equal(load_on(1, page * PAGE_SIZE),
				 page < 40 || page >= 50 ? page : page + 100);
	}
}

/*
 * Guest and process store, here and there; all of it is evicted; each word is what was stored
 * last.
 */
static void run_oracle(void)
{
	static uint64_t oracle[PAGES][8];
	uint64_t random = 1;

	memset(oracle, 0, sizeof(oracle));
	for (unsigned round = 0; round < 20; round++) {
		for (unsigned i = 0; i < 200; i++) {
			random = random * 6364136223846793005 + 1442695040888963407;
			uint64_t page = (random >> 33) % PAGES, word = (random >> 50) % 8;
			uint64_t at = page * PAGE_SIZE + word * 8;

			oracle[page][word] = random;
			if (random >> 63)
				store_on(1 + (unsigned)(random >> 62 & 1), at, random);
			else
				assert_int_equal(space_write(space, hva(BACKING + at), &random, 8),
						 STATUS_OK);
			if (random >> 40 & 7)
				continue;
			/* One page in the middle of it, and a writeback of all. */
			if (pte_present(place_of(page).pte))
				(void)reclaim_one(page);
			if (!(random >> 43 & 7))
				assert_int_equal(file_sync(file), STATUS_OK);
		}
		reclaim_all();
		for (uint64_t page = 0; page < PAGES; page++)
			for (uint64_t word = 0; word < 8; word++) {
				uint64_t at = page * PAGE_SIZE + word * 8;

				assert_int_equal(round & 1 ? load_on(1, at) : process_load(at),
						 oracle[page][word]);
			}
		ept_verify(ept);
		space_verify(space);
		host_verify(arena.host);
	}
}

/* S49, S92: kept by MAP, which marks nothing when a leaf goes, and by ZAP. */
static void content_of_anonymous_memory(void **state)
{
	(void)state;
	lend(PAGES * PAGE_SIZE, LEVEL_4K);
	run_oracle();
	assert_true(disk.writes > 20 * PAGES / 2);
}

/* S49, S92: the same of a file, with its writeback. */
static void content_of_a_file(void **state)
{
	(void)state;
	lend_file();
	run_oracle();
}

/* A page that the guest uses is young: reclaim asks. */
static void the_guests_use_counts(void **state)
{
	(void)state;
	lend_file();
	assert_int_equal(load_on(1, 0), 0);
	pfn_t frame = pte_frame(place_of(0).pte);

	lru_drain(arena.host);
	atomic_and(place_of(0).slot, ~PTE_A);
	folio_lock(arena.host, frame);
	assert_int_equal(folio_referenced(arena.host, frame), 1);
	assert_int_equal(folio_referenced(arena.host, frame), 0);
	folio_unlock(arena.host, frame);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		reclaim_test(s29_written_behind_clean_entries),
		reclaim_test(s30_written_through_an_entry_made_before), reclaim_test(s30_anonymous),
		reclaim_test(s45_lazyfree_and_written_by_the_guest),
		reclaim_test(content_of_anonymous_memory), reclaim_test(content_of_a_file),
		reclaim_test(s53_neighbours_in_one_bracket), reclaim_test(the_guests_use_counts),
	};

	return cmocka_run_group_tests_name("ept/reclaim", tests, NULL, NULL);
}
