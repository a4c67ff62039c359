/*
 * A page's users while reclaim takes it from them: none loses what it stored. S92: the guests'
 * marks come as their leaves do, none when they go (policy MAP); race_policy.c has the other way.
 */
#include "mm/lru.h"
#include "mm/reclaim.h"
#include "mm/swap.h"
#include "tests/explore/world.h"

static pfn_t frame_of_first(void) NOT_CHECKED
{
	return pte_frame(table_find(world.space, WORLD_BACKING).pte);
}

/* Actors know the frame from the setup; a page that has gone meanwhile has none to reclaim. */
static pfn_t frame;

/* By its number, as who finds it on a list: it may be another's by now, or free. */
static void reclaim_it(void)
{
	pfn_t head;

	if (folio_find(world.host, frame, &head))
		(void)reclaim_frames(world.host, &head, 1);
}

static void process_writes(void)
{
	uint64_t value = 7;

	check(space_write(world.space, page_hva(0), &value, sizeof(value)) == STATUS_OK);
}

/* From the lists: the page may be in use, waiting in the batch, or free by now. */
static void reclaim_any(void) { (void)host_reclaim(world.host, 1); }

/* ------------------------------------------------------------------ a file's page */

static void open_file(void)
{
	world_open_file(1, SHARING_SHARED);
	guest_stores(0, 5);
	guest_leaves();
	lru_drain(world.host);
	frame = frame_of_first();
}

static void open_clean_file(void)
{
	open_file();
	check(file_sync(world.file) == STATUS_OK);
}

SCENARIO(reclaim_guest,
	 .rule = "what a guest stores is in what is written, or keeps the page (S29, S44)",
	 .setup = open_file, .actors = { store_seven, reclaim_it }, .verify = verify_seven,
	 .name_word = world_name);

SCENARIO(reclaim_clean_guest,
	 .rule = "a page cleaned, stored to by a guest, evicted keeps the store (S29)",
	 .setup = open_clean_file, .actors = { store_seven, reclaim_it }, .verify = verify_seven,
	 .name_word = world_name);

/* Cleaned and evicted by one, while the guest stores by the entry that it has. */
static void sync_and_reclaim(void)
{
	sync_file();
	reclaim_it();
}

SCENARIO(clean_and_reclaim,
	 .rule = "who cleans a page first cuts off the guests that write to it (S29)",
	 .setup = open_file, .actors = { store_seven, sync_and_reclaim }, .verify = verify_seven,
	 .name_word = world_name);

SCENARIO(reclaim_process,
	 .rule = "what a process stores is in what is written, or keeps the page (I6)",
	 .setup = open_file, .actors = { process_writes, reclaim_it }, .verify = verify_seven,
	 .name_word = world_name);

/*
 * Pages that are taken together: of three, reclaim looks at one, then at two. Clean, used by
 * the guest alone, so they go at the second look.
 */
static void open_neighbours(void) NOT_CHECKED
{
	enum { PAGES = 3 };

	world_open_file(PAGES, SHARING_SHARED);
	for (uint64_t page = 0; page < PAGES; page++)
		guest_stores(page, 5);
	guest_leaves();
	sync_file();
	for (uint64_t page = 0; page < PAGES; page++) {
		check(guest_loads(page) == 5);

		pte_slot_t *slot = table_find(world.space, WORLD_BACKING + page * PAGE_SIZE).slot;

		atomic_and(&folio_of(world.host, pte_frame(pte_read(slot)))->flags,
			   ~FOLIO_ACCESSED);
		atomic_and(slot, ~PTE_A);
	}
	guest_leaves();
	lru_drain(world.host);
}

static void store_last(void)
{
	guest_stores(2, 7);
	guest_leaves();
}

static void reclaim_all(void) { (void)host_reclaim(world.host, 3); }

static void verify_last(void)
{
	check(process_loads(2) == 7 && process_loads(1) == 5 && process_loads(0) == 5);
	world_verify();
}

SCENARIO(reclaim_neighbours, .rule = "pages that are taken together keep each its store (S29, S53)",
	 .setup = open_neighbours, .actors = { store_last, reclaim_all }, .verify = verify_last,
	 .name_word = world_name);

/*
 * S48: a user who has only a reference: the page is not mapped any more. Writes, marks, puts: no
 * lock. Linux: gup; unmap; write; set_page_dirty; put_page.
 */
static void open_held(void)
{
	open_clean_file();
	folio_get(world.host, frame);
	check(space_discard(world.space, page_hva(0), PAGE_SIZE) == STATUS_OK);
}

/* The bare flag: a mark that is noted in the file would wait for the lock that reclaim holds. */
static void write_mark_put(void)
{
	uint64_t value = 7;

	atomic_copy(pfn_to_ptr(frame), &value, sizeof(value));
	folio_set_dirty(world.host, frame);
	folio_put(world.host, frame);
}

SCENARIO(reclaim_held, .rule = "references are judged before dirty (S48)",
	 .setup = open_held, .actors = { write_mark_put, reclaim_it }, .verify = verify_seven,
	 .name_word = world_name);

/* ------------------------------------------------------------------ lazyfree */

static void open_lazyfree(void) NOT_CHECKED
{
	world_open_touched(1, 5);
	lru_drain(world.host);
	frame = frame_of_first();

	struct mm_range range = notifier_start(world.space, WORLD_BACKING,
					       WORLD_BACKING + PAGE_SIZE, EVENT_CLEAR);

	atomic_and(table_find(world.space, WORLD_BACKING).slot, ~(PTE_A | PTE_D));
	atomic_and(&page_known(world.host, frame)->flags, ~FOLIO_DIRTY);
	folio_mark_lazyfree(world.host, frame);
	notifier_end(world.space, &range);
}

SCENARIO(lazyfree_guest, .rule = "a lazyfree page that a guest writes is not thrown away (S45)",
	 .setup = open_lazyfree, .actors = { store_seven, reclaim_it }, .verify = verify_seven,
	 .name_word = world_name);

SCENARIO(lazyfree_evicted,
	 .rule = "a lazyfree page that its process writes is not thrown away (S45)",
	 .setup = open_lazyfree, .actors = { process_writes, reclaim_it }, .verify = verify_seven,
	 .name_word = world_name);

static void open_lazyfree_held(void)
{
	open_lazyfree();
	folio_get(world.host, frame);
}

/* The reference kept the page, or its mark did: it is still there for the process. */
SCENARIO(lazyfree_held, .rule = "of a lazyfree page references are judged before dirty (S46, S47)",
	 .setup = open_lazyfree_held, .actors = { write_mark_put, reclaim_it },
	 .verify = verify_seven, .name_word = world_name);

/* ------------------------------------------------------------------ swap */

static void open_swap(void)
{
	world_open(1, LEVEL_4K);
	check(ram_store_create(world.host, 2, &world.store) == STATUS_OK);
	check(host_swap_on(world.host, ram_store_of(world.store), 2) == STATUS_OK);
	guest_stores(0, 5);
	guest_leaves();
	lru_drain(world.host);
	frame = frame_of_first();
}

static void open_swapped(void)
{
	open_swap();
	reclaim_it();
	check(process_loads(0) == 5);
	lru_drain(world.host);
	frame = frame_of_first();
}

SCENARIO(swap_out_guest, .rule = "what a guest stores is in its slot, or keeps the page (I6)",
	 .setup = open_swap, .actors = { store_seven, reclaim_it }, .verify = verify_seven,
	 .name_word = world_name);

SCENARIO(swap_out_process, .rule = "what a process stores is in its slot, or keeps the page (I6)",
	 .setup = open_swap, .actors = { process_writes, reclaim_it }, .verify = verify_seven,
	 .name_word = world_name);

/*
 * The page is in memory and in its slot, clean: the last moment at which a store makes it dirty
 * again.
 */
SCENARIO(swap_in_out, .rule = "a page that comes back while it goes is found where it is (I6)",
	 .setup = open_swapped, .actors = { process_writes, reclaim_it }, .verify = verify_seven,
	 .name_word = world_name);

/* Only in its slot. */
static void open_out(void)
{
	open_swap();
	reclaim_it();
}

SCENARIO(swap_in_twice, .rule = "two who want a page back get the same one (I6)",
	 .setup = open_out, .actors = { process_writes, process_writes_behind },
	 .verify = verify_seven_and_eight, .name_word = world_name);

/* Its process gives it up meanwhile: neither page nor slot is left behind. */
static void discard_it(void)
{
	check(space_discard(world.space, page_hva(0), PAGE_SIZE) == STATUS_OK);
}

static void verify_nothing_left(void)
{
	struct swap_stats stats;

	host_read_swap(world.host, &stats);
	check(stats.used == 0 && stats.cached == 0);
	check(process_loads(0) == 0);
	world_verify();
}

SCENARIO(swap_out_discard,
	 .rule = "a page that goes from its process while it is swapped out leaves nothing",
	 .setup = open_swap, .actors = { discard_it, reclaim_it }, .verify = verify_nothing_left,
	 .name_word = world_name);

static void verify_seven_or_nothing(void)
{
	uint64_t value = process_loads(0);

	check(value == 7 || value == 0);
	check(space_discard(world.space, page_hva(0), PAGE_SIZE) == STATUS_OK);
	verify_nothing_left();
}

SCENARIO(swap_in_discard, .rule = "a page that is given up while it comes back does not",
	 .setup = open_out, .actors = { discard_it, process_writes },
	 .verify = verify_seven_or_nothing, .name_word = world_name);

SCENARIO(last_put_drain, .rule = "a page that is freed is on no list, and in no batch",
	 .setup = open_swap, .actors = { discard_it, reclaim_any }, .verify = verify_nothing_left,
	 .name_word = world_name);
