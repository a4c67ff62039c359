/*
 * Reclaim: the lists, aging, and giving up a file's pages and lazyfree ones. Numbers in names are
 * rows of the propagation table; each order of steps is Linux's.
 */
#include "mm/reclaim.h"
#include "tests/unit/file_fixture.h"
#include "tests/unit/trace_fixture.h"

static struct host *host(void) { return arena.host; }
static pfn_t frame_at(uint64_t at) { return pte_frame(entry(at).pte); }
static uint32_t flags_of(pfn_t frame) { return atomic_read(&folio_of(host(), frame)->flags); }

static uint64_t get(uint64_t at)
{
	uint64_t value = 0;

	assert_int_equal(space_read(space, hva(at), &value, sizeof(value)), STATUS_OK);
	return value;
}

static void expect_lists(uint64_t inactive_anon, uint64_t active_anon, uint64_t inactive_file,
			 uint64_t active_file, uint64_t batch)
{
	const uint64_t wanted[LRU_LISTS] = { inactive_anon, active_anon, inactive_file, active_file,
					     batch };

	for (unsigned i = 0; i < LRU_LISTS; i++)
		assert_int_equal(lru_folios(host(), i), wanted[i]);
	host_verify(host());
}

/* As if nobody had used the page since it came. */
static void forget_use(uint64_t at)
{
	atomic_and(entry(at).slot, ~PTE_A);
	atomic_and(&folio_of(host(), frame_at(at))->flags, ~FOLIO_ACCESSED);
}

/* What MADV_PAGEOUT would do for one page: a reference, given away. */
static uint64_t reclaim_one(pfn_t frame)
{
	folio_get(host(), frame);
	return reclaim_frames(host(), &frame, 1);
}

/* ------------------------------------------------------------------ lists */

static void new_pages_wait_in_a_batch(void **state)
{
	(void)state;
	map(BASE, 32 * PAGE_SIZE, LEVEL_4K);
	map_file(BASE + GIB, PAGES, PROTECTION_READ, SHARING_SHARED);
	put(BASE, 1);
	get(BASE + GIB);
	expect_lists(0, 0, 0, 0, 2);
	assert_int_equal(folio_refcount(host(), frame_at(BASE)), 1);	/* none is the batch's */
	lru_drain(host());
	expect_lists(1, 0, 1, 0, 0);
	for (uint64_t i = 1; i < LRU_BATCH_MAX; i++)
		put(BASE + i * PAGE_SIZE, 1);
	expect_lists(1, 0, 1, 0, LRU_BATCH_MAX - 1);
	put(BASE + LRU_BATCH_MAX * PAGE_SIZE, 1);
	expect_lists(1 + LRU_BATCH_MAX, 0, 1, 0, 0);
}

/* From the batch, and from the middle and both ends of a list. */
static void the_last_put_takes_off(void **state)
{
	static const uint64_t order[] = { 2, 0, 4, 1, 3 };

	(void)state;
	map(BASE, 5 * PAGE_SIZE, LEVEL_4K);
	put(BASE, 1);
	expect_lists(0, 0, 0, 0, 1);
	assert_int_equal(space_discard(space, hva(BASE), PAGE_SIZE), STATUS_OK);
	expect_lists(0, 0, 0, 0, 0);
	for (uint64_t i = 0; i < 5; i++)
		put(BASE + i * PAGE_SIZE, 1);
	lru_drain(host());
	for (uint64_t i = 0; i < 5; i++) {
		expect_lists(5 - i, 0, 0, 0, 0);
		assert_int_equal(space_discard(space, hva(BASE + order[i] * PAGE_SIZE), PAGE_SIZE),
				 STATUS_OK);
	}
	expect_lists(0, 0, 0, 0, 0);
}

/* Linux: folio_mark_accessed. */
static void two_touches_activate(void **state)
{
	(void)state;
	map_file(BASE, 2, PROTECTION_READ, SHARING_SHARED);
	get(BASE);
	lru_drain(host());
	pfn_t frame = frame_at(BASE);

	atomic_or(&folio_of(host(), frame)->flags, FOLIO_IDLE);
	assert_false(folio_accessed(host(), frame));
	folio_mark_accessed(host(), frame);
	assert_int_equal(flags_of(frame) & (FOLIO_ACCESSED | FOLIO_ACTIVE | FOLIO_IDLE),
			 FOLIO_ACCESSED);
	expect_lists(0, 0, 1, 0, 0);
	folio_mark_accessed(host(), frame);
	assert_int_equal(flags_of(frame) & (FOLIO_ACCESSED | FOLIO_ACTIVE), FOLIO_ACTIVE);
	expect_lists(0, 0, 0, 1, 0);
	assert_true(folio_accessed(host(), frame));
	for (unsigned i = 0; i < 2; i++) {
		folio_mark_accessed(host(), frame);
		assert_int_equal(flags_of(frame) & (FOLIO_ACCESSED | FOLIO_ACTIVE),
				 FOLIO_ACCESSED | FOLIO_ACTIVE);
	}
	folio_deactivate(host(), frame);
	assert_false(folio_accessed(host(), frame));
	expect_lists(0, 0, 1, 0, 0);
	/* In the batch, too: it goes to the right list. */
	get(BASE + PAGE_SIZE);
	folio_mark_accessed(host(), frame_at(BASE + PAGE_SIZE));
	folio_mark_accessed(host(), frame_at(BASE + PAGE_SIZE));
	expect_lists(0, 0, 1, 0, 1);
	lru_drain(host());
	expect_lists(0, 0, 1, 1, 0);
	/* While reclaim has it, the second mark waits. */
	folio_get(host(), frame);
	assert_true(lru_isolate(host(), frame));
	assert_false(lru_isolate(host(), frame));
	folio_mark_accessed(host(), frame);
	folio_mark_accessed(host(), frame);
	assert_int_equal(flags_of(frame) & (FOLIO_ACCESSED | FOLIO_ACTIVE), FOLIO_ACCESSED);
	lru_putback(host(), frame);
	expect_lists(0, 0, 1, 1, 0);
}

static void damage_is_seen(void **state)
{
	static struct folio *folio;			/* static: they outlive a longjmp */
	static struct lru_list *list;

	(void)state;
	map(BASE, 2 * PAGE_SIZE, LEVEL_4K);
	put(BASE, 1);
	put(BASE + PAGE_SIZE, 1);
	lru_drain(host());
	folio = folio_of(host(), frame_at(BASE));
	list = &host()->lists[LRU_INACTIVE_ANON];

	const struct { uint32_t *word; uint32_t value; const char *seen; } cases[] = {
		{ &folio->flags.live, folio->flags.live ^ FOLIO_ACTIVE, "wanted[list]" },
		{ &folio->flags.live, folio->flags.live ^ FOLIO_SWAPBACKED, "wanted[list]" },
		{ &folio->flags.live, folio->flags.live ^ FOLIO_LRU, "wanted[list]" },
		{ &folio->previous, NO_FRAME, "newer" },
		{ &list->oldest, NO_FRAME, "oldest" },
		{ &list->newest, (uint32_t)frame_at(BASE).raw, "newer" },
	};
	static unsigned i;
	static uint32_t kept;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		kept = *cases[i].word;
		*cases[i].word = cases[i].value;
		assert_true(panics(host_verify(host()), cases[i].seen));
		*cases[i].word = kept;
		host()->lru_lock = (spinlock_t){ 0 };
		host_verify(host());
	}
	list->folios.live++;
	assert_true(panics(host_verify(host()), "folios"));
	list->folios.live--;
	host()->lru_lock = (spinlock_t){ 0 };
	/* One that is on no list and says that it is. */
	pfn_t frame;

	assert_int_equal(folio_alloc(host(), ORDER_4K, &frame), STATUS_OK);
	atomic_or(&folio_of(host(), frame)->flags, FOLIO_LRU);
	assert_true(panics(host_verify(host()), "listed"));
	host()->lru_lock = (spinlock_t){ 0 };
	atomic_and(&folio_of(host(), frame)->flags, ~FOLIO_LRU);
	folio_put(host(), frame);
}

/* ------------------------------------------------------------------ files */

static void unused_pages_go_oldest_first(void **state)
{
	(void)state;
	map_file(BASE, 4, PROTECTION_READ, SHARING_SHARED);
	for (uint64_t i = 0; i < 4; i++) {
		get(BASE + i * PAGE_SIZE);
		forget_use(BASE + i * PAGE_SIZE);
	}
	uint64_t before = pages_free();

	assert_int_equal(host_reclaim(host(), 1), 1);
	assert_true(pte_is_empty(entry(BASE).pte));
	assert_true(pte_present(entry(BASE + PAGE_SIZE).pte));
	assert_int_equal(host_reclaim(host(), 9), 3);
	assert_int_equal(stats().cached, 0);
	expect_lists(0, 0, 0, 0, 0);
	/* The pages, and the tables that are empty now. */
	assert_int_equal(pages_free(), before + 4 + 3);
	assert_int_equal(host_reclaim(host(), 9), 0);
	assert_int_equal(get(BASE), 0);
}

/* Linux: folio_check_references, shrink_active_list. */
static void used_pages_stay_longer(void **state)
{
	(void)state;
	map_file(BASE, 5, PROTECTION_READ, SHARING_SHARED);
	for (uint64_t i = 0; i < 5; i++) {
		get(BASE + i * PAGE_SIZE);
		forget_use(BASE + i * PAGE_SIZE);
	}
	pfn_t once = frame_at(BASE), active = frame_at(BASE + 4 * PAGE_SIZE);

	get(BASE);				/* A in the entry */
	folio_mark_accessed(host(), active);
	folio_mark_accessed(host(), active);
	assert_int_equal(host_reclaim(host(), 1), 2);
	assert_true(pte_is_empty(entry(BASE + PAGE_SIZE).pte));
	/*
	 * It keeps its entry. A went on the way, and stands in the mark now; a second use makes it
	 * active.
	 */
	assert_true(pte_present(entry(BASE).pte));
	assert_false(pte_accessed(entry(BASE).pte));
	assert_int_equal(flags_of(once) & (FOLIO_ACCESSED | FOLIO_ACTIVE), FOLIO_ACCESSED);
	get(BASE);
	folio_get(host(), once);
	assert_true(lru_isolate(host(), once));
	folio_lock(host(), once);
	assert_int_equal(folio_referenced(host(), once), 1);
	assert_int_equal(folio_referenced(host(), once), 0);
	atomic_or(&folio_of(host(), once)->flags, FOLIO_YOUNG | FOLIO_IDLE);
	assert_int_equal(folio_referenced(host(), once), 1);
	assert_int_equal(flags_of(once) & (FOLIO_YOUNG | FOLIO_IDLE), 0);
	folio_unlock(host(), once);
	lru_putback(host(), once);
	/*
	 * Nothing is used any more: in the end all of it goes, from the active list by the
	 * inactive one.
	 */
	assert_int_equal(host_reclaim(host(), 9) + host_reclaim(host(), 9), 3);
	expect_lists(0, 0, 0, 0, 0);
}

/* Linux: shrink_folio_list, step by step. */
static void order_of_a_clean_page(void **state)
{
	(void)state;
	map_file(BASE, 1, PROTECTION_READ, SHARING_SHARED);
	get(BASE);
	forget_use(BASE);
	record(host(), STEP(LRU_DRAIN) | STEP(YOUNG_TEST) | STEP(RANGE_START) | STEP(PTE_CLEAR) |
		       STEP(TLB_FLUSH) | STEP(RANGE_END) | STEP(REF_FREEZE) | STEP(DIRTY_TEST) |
		       STEP(REMOVE_MAPPING) | STEP(STORE_WRITE) | STEP(FOLIO_FREE) |
		       STEP(FOLIO_ACCESSED) | STEP(FOLIO_DIRTY));
	assert_int_equal(host_reclaim(host(), 1), 1);
	expect_steps(TRACE_LRU_DRAIN, TRACE_YOUNG_TEST, TRACE_RANGE_START, TRACE_PTE_CLEAR,
		     TRACE_TLB_FLUSH, TRACE_FOLIO_FREE, TRACE_FOLIO_FREE, TRACE_FOLIO_FREE,
		     TRACE_RANGE_END, TRACE_REF_FREEZE, TRACE_DIRTY_TEST, TRACE_REMOVE_MAPPING,
		     TRACE_FOLIO_FREE);
}

/*
 * S53: dirty is taken, and judged, after the bracket in which every user was cut off. S96: nobody
 * is marked accessed.
 */
static void s53_s96_order_of_a_dirty_page(void **state)
{
	(void)state;
	map_file(BASE, 2, PROTECTION_READ_WRITE, SHARING_SHARED);
	put(BASE, 77);
	get(BASE + PAGE_SIZE);			/* the tables stay */
	record(host(), STEP(RANGE_START) | STEP(PTE_CLEAR) | STEP(TLB_FLUSH) | STEP(RANGE_END) |
		       STEP(REF_FREEZE) | STEP(DIRTY_TEST) | STEP(REMOVE_MAPPING) |
		       STEP(FOLIO_CLEAN) | STEP(STORE_WRITE) | STEP(FOLIO_FREE) |
		       STEP(FOLIO_ACCESSED) | STEP(FOLIO_DIRTY));
	assert_int_equal(reclaim_one(frame_at(BASE)), 1);
	expect_steps(TRACE_RANGE_START, TRACE_PTE_CLEAR, TRACE_FOLIO_DIRTY, TRACE_TLB_FLUSH,
		     TRACE_RANGE_END, TRACE_FOLIO_CLEAN, TRACE_STORE_WRITE, TRACE_REF_FREEZE,
		     TRACE_DIRTY_TEST, TRACE_REMOVE_MAPPING, TRACE_FOLIO_FREE);
	assert_int_equal(stored(0), 77);
	assert_int_equal(get(BASE), 77);
}

/* Every process's entry goes; a page is used if one of them has used it. */
static void all_who_map_it(void **state)
{
	(void)state;
	map_file(BASE, 1, PROTECTION_READ_WRITE, SHARING_SHARED);
	map_file(BASE + GIB, 1, PROTECTION_READ_WRITE, SHARING_SHARED);
	get(BASE);
	get(BASE + GIB);
	pfn_t frame = frame_at(BASE);

	folio_get(host(), frame);
	folio_lock(host(), frame);
	assert_int_equal(folio_referenced(host(), frame), 2);
	folio_unlock(host(), frame);
	folio_put(host(), frame);
	atomic_or(entry(BASE + GIB).slot, PTE_A | PTE_D | PTE_W);
	assert_int_equal(reclaim_one(frame), 1);
	assert_true(pte_is_empty(entry(BASE).pte));
	assert_true(pte_is_empty(entry(BASE + GIB).pte));
	expect_lists(0, 0, 0, 0, 0);
}

static void kept_while_somebody_needs_it(void **state)
{
	(void)state;
	map_file(BASE, 1, PROTECTION_READ_WRITE, SHARING_SHARED);
	put(BASE, 3);
	pfn_t frame = frame_at(BASE);

	folio_lock(host(), frame);			/* busy */
	assert_int_equal(reclaim_one(frame), 0);
	folio_unlock(host(), frame);
	assert_true(pte_present(entry(BASE).pte));
	atomic_or(&folio_of(host(), frame)->flags, FOLIO_WRITEBACK);
	assert_int_equal(reclaim_one(frame), 0);
	assert_true(flags_of(frame) & FOLIO_RECLAIM);
	atomic_and(&folio_of(host(), frame)->flags, ~(FOLIO_WRITEBACK | FOLIO_RECLAIM));
	assert_true(pte_present(entry(BASE).pte));
	folio_get(host(), frame);			/* pinned: no write, and no freeing */
	assert_int_equal(reclaim_one(frame), 0);
	assert_int_equal(stats().dirty, 1);
	folio_put(host(), frame);
	ram_store_set_faults(store, (struct store_faults){ .fail_writes = true });
	assert_int_equal(reclaim_one(frame), 0);
	assert_int_equal(stats().dirty, 1);
	ram_store_set_faults(store, (struct store_faults){ .piece = 512 });
	assert_int_equal(file_sync(file), STATUS_OK);	/* nothing had failed for the user */
	assert_int_equal(reclaim_one(frame), 1);
	assert_int_equal(get(BASE), 3);
	expect_lists(0, 0, 0, 0, 1);
}

/*
 * Neighbours of a file go in one bracket, with one flush; of 16 pages reclaim looks at one, one,
 * three, five, then the last six.
 */
static void neighbours_go_together(void **state)
{
	(void)state;
	map_file(BASE, PAGES, PROTECTION_READ_WRITE, SHARING_SHARED);
	for (uint64_t i = 0; i < PAGES; i++) {
		get(BASE + i * PAGE_SIZE);
		if (i != 12)
			forget_use(BASE + i * PAGE_SIZE);
	}
	*(uint64_t *)pfn_to_ptr(frame_at(BASE + 14 * PAGE_SIZE)) = 77;
	atomic_or(entry(BASE + 14 * PAGE_SIZE).slot, PTE_D | PTE_W);
	uint64_t brackets = host_read_count(host(), HOST_BRACKETS);
	uint64_t flushes = host_read_count(host(), HOST_TLB_FLUSHES);

	assert_int_equal(host_reclaim(host(), PAGES - 1), PAGES - 1);
	/* The last six around the one that was used. */
	assert_int_equal(host_read_count(host(), HOST_BRACKETS) - brackets, 4 + 2);
	assert_int_equal(host_read_count(host(), HOST_TLB_FLUSHES) - flushes, 4 + 2);
	for (uint64_t i = 0; i < PAGES; i++)
		assert_int_equal(pte_present(entry(BASE + i * PAGE_SIZE).pte), i == 12);
	assert_int_equal(stored(14), 77);
	expect_lists(0, 0, 1, 0, 0);
}

/* A private copy stands where the file's page would. */
static void copies_are_no_neighbours(void **state)
{
	const uint64_t copied = BASE + 10 * PAGE_SIZE;

	(void)state;
	map_file(BASE, PAGES, PROTECTION_READ_WRITE, SHARING_PRIVATE);
	map_file(BASE + GIB, PAGES, PROTECTION_READ_WRITE, SHARING_SHARED);
	put(copied, 5);
	atomic_and(entry(copied).slot, ~PTE_A);
	for (uint64_t at = BASE + GIB; at < BASE + GIB + PAGES * PAGE_SIZE; at += PAGE_SIZE) {
		get(at);
		forget_use(at);
	}
	assert_int_equal(host_reclaim(host(), PAGES), PAGES);
	assert_int_equal(get(copied), 5);
}

static void neighbours_of_two_processes(void **state)
{
	(void)state;
	map_file(BASE, PAGES, PROTECTION_READ_WRITE, SHARING_SHARED);
	map_file(BASE + GIB, PAGES, PROTECTION_READ_WRITE, SHARING_SHARED);
	for (uint64_t i = 0; i < PAGES; i++) {
		get(BASE + i * PAGE_SIZE);
		get(BASE + GIB + i * PAGE_SIZE);
		forget_use(BASE + i * PAGE_SIZE);
		forget_use(BASE + GIB + i * PAGE_SIZE);
	}
	assert_int_equal(host_reclaim(host(), PAGES), PAGES);
	expect_lists(0, 0, 0, 0, 0);
}

/* What waits for its writeback is next, when that has ended. Linux: folio_rotate_reclaimable. */
static void written_pages_are_next(void **state)
{
	(void)state;
	map_file(BASE, 3, PROTECTION_READ_WRITE, SHARING_SHARED);
	for (uint64_t i = 0; i < 3; i++)
		put(BASE + i * PAGE_SIZE, i);
	lru_drain(host());
	pfn_t last = frame_at(BASE + 2 * PAGE_SIZE);

	atomic_or(&folio_of(host(), last)->flags, FOLIO_RECLAIM);
	assert_int_equal(file_sync(file), STATUS_OK);
	assert_false(flags_of(last) & FOLIO_RECLAIM);
	for (uint64_t i = 0; i < 3; i++)
		forget_use(BASE + i * PAGE_SIZE);
	assert_int_equal(host_reclaim(host(), 1), 1);
	assert_true(pte_is_empty(entry(BASE + 2 * PAGE_SIZE).pte));
}

/* S48: marked and put between the look at the references and the look at the mark. */
static struct { struct trace trace; pfn_t frame; enum trace_step when; } user;

static void mark_and_put(struct trace *self, enum trace_step step, uint64_t subject, uint64_t value)
{
	(void)self;
	(void)subject;
	(void)value;
	if (step != user.when)
		return;
	host()->trace = NULL;
	*(uint64_t *)pfn_to_ptr(user.frame) = 9;
	folio_set_dirty(host(), user.frame);
	folio_put(host(), user.frame);
}

static void s48_references_first_dirty_second(void **state)
{
	static const enum trace_step moments[] = { TRACE_RANGE_END, TRACE_REF_FREEZE };

	(void)state;
	map_file(BASE, 2, PROTECTION_READ_WRITE, SHARING_SHARED);
	for (unsigned i = 0; i < 2; i++) {
		uint64_t at = BASE + i * PAGE_SIZE;

		get(at);
		user.frame = frame_at(at);
		user.when = moments[i];
		user.trace.step = mark_and_put;
		folio_get(host(), user.frame);
		host()->trace = &user.trace;
		(void)reclaim_one(user.frame);
		assert_null(host()->trace);
		assert_int_equal(get(at), 9);
	}
}

/* A page of a file that is gone has no place to be written to, and its user frees it. */
static void truncated_meanwhile(void **state)
{
	struct file *other;

	(void)state;
	assert_int_equal(file_create(host(), ram_store_of(store), 1, &other), STATUS_OK);
	pfn_t frame;

	assert_int_equal(file_get_folio(other, 0, &frame), STATUS_OK);
	folio_mark_dirty(host(), frame);
	folio_unlock(host(), frame);
	assert_int_equal(file_destroy(other), STATUS_OK);
	assert_int_equal(reclaim_one(frame), 0);
	folio_put(host(), frame);
}

/* ------------------------------------------------------------------ lazyfree */

static pfn_t make_lazyfree(uint64_t at)
{
	map(at, PAGE_SIZE, LEVEL_4K);
	put(at, 5);
	pfn_t frame = frame_at(at);

	lru_drain(host());
	folio_mark_lazyfree(host(), frame);
	atomic_and(entry(at).slot, ~(PTE_D | PTE_A));
	atomic_and(&folio_of(host(), frame)->flags, ~FOLIO_DIRTY);
	return frame;
}

/* Linux: try_to_unmap_one: after the flush references, then dirty. */
static void s45_lazyfree_judged_inside_the_bracket(void **state)
{
	(void)state;
	make_lazyfree(BASE);
	expect_lists(0, 0, 1, 0, 0);
	put(BASE + GIB * 0 + 0, 6);		/* written again */
	record(host(), STEP(RANGE_START) | STEP(PTE_CLEAR) | STEP(PTE_SET) | STEP(TLB_FLUSH) |
		       STEP(REF_TEST) | STEP(DIRTY_TEST) | STEP(FOLIO_DIRTY) | STEP(RANGE_END) |
		       STEP(FOLIO_FREE));
	assert_int_equal(reclaim_one(frame_at(BASE)), 0);
	expect_steps(TRACE_RANGE_START, TRACE_PTE_CLEAR, TRACE_FOLIO_DIRTY, TRACE_TLB_FLUSH,
		     TRACE_REF_TEST, TRACE_DIRTY_TEST, TRACE_PTE_SET, TRACE_RANGE_END);
	assert_int_equal(get(BASE), 6);
	expect_lists(0, 1, 0, 0, 0);		/* and needs swap again */
	assert_true(pte_own(entry(BASE).pte) && pte_writable(entry(BASE).pte));
}

/* Read only since: thrown away, without a write. */
static void lazyfree_goes_unwritten(void **state)
{
	(void)state;
	make_lazyfree(BASE);
	assert_int_equal(get(BASE), 5);
	forget_use(BASE);
	assert_int_equal(host_reclaim(host(), 1), 1);
	expect_lists(0, 0, 0, 0, 0);
	assert_int_equal(get(BASE), 0);
}

static void s46_a_reference_keeps_a_lazyfree_page(void **state)
{
	(void)state;
	pfn_t frame = make_lazyfree(BASE);

	folio_get(host(), frame);
	assert_int_equal(reclaim_one(frame), 0);
	assert_int_equal(frame_at(BASE).raw, frame.raw);
	assert_int_equal(folio_mapcount(host(), frame), 1);
	assert_int_equal(folio_refcount(host(), frame), 2);
	assert_false(flags_of(frame) & FOLIO_SWAPBACKED);
	expect_lists(0, 0, 0, 1, 0);
	folio_put(host(), frame);
	assert_int_equal(get(BASE), 5);
	assert_int_equal(reclaim_one(frame), 1);
}

/* S47: dirtied by a user without an entry, before the bracket's start has returned. */
static void dirty_it(struct trace *self, enum trace_step step, uint64_t subject, uint64_t value)
{
	(void)self;
	(void)subject;
	(void)value;
	if (step == user.when) {
		host()->trace = NULL;
		folio_set_dirty(host(), user.frame);
	}
}

static void s47_dirtied_meanwhile_is_kept(void **state)
{
	static const enum trace_step moments[] = { TRACE_RANGE_START, TRACE_TLB_FLUSH,
						   TRACE_REF_TEST };

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		uint64_t at = BASE + i * GIB;

		user.frame = make_lazyfree(at);
		user.when = moments[i];
		user.trace.step = dirty_it;
		host()->trace = &user.trace;
		assert_int_equal(reclaim_one(user.frame), 0);
		assert_null(host()->trace);
		assert_int_equal(frame_at(at).raw, user.frame.raw);
		assert_int_equal(get(at), 5);
		assert_true(flags_of(user.frame) & FOLIO_SWAPBACKED);
	}
}

/* ------------------------------------------------------------------ when memory is short */

static void a_fault_reclaims(void **state)
{
	uint64_t count, value = 1;
	enum status status = STATUS_OK;

	(void)state;
	map_file(BASE + GIB, PAGES, PROTECTION_READ, SHARING_SHARED);
	for (uint64_t i = 0; i < PAGES; i++)
		get(BASE + GIB + i * PAGE_SIZE);
	map(BASE, 128 * MIB, LEVEL_4K);
	for (count = 0; status == STATUS_OK; count++)
		status = space_write(space, hva(BASE + count * PAGE_SIZE), &value, sizeof(value));
	/* In the end there is nothing that could go, and that is said. */
	assert_int_equal(status, STATUS_NO_MEMORY);
	assert_int_equal(stats().cached, 0);
	assert_int_equal(host_read_count(host(), HOST_RECLAIMED), PAGES);
	assert_int_equal(pages_free(), 0);
	assert_int_equal(host_reclaim(host(), 1), 0);
	/* All the others are as they were. */
	for (uint64_t i = 0; i + 1 < count; i++)
		assert_int_equal(get(BASE + i * PAGE_SIZE), 1);
}

static void watermarks(void **state)
{
	(void)state;
	map_file(BASE, PAGES, PROTECTION_READ, SHARING_SHARED);
	for (uint64_t i = 0; i < PAGES; i++) {
		get(BASE + i * PAGE_SIZE);
		forget_use(BASE + i * PAGE_SIZE);
	}
	uint64_t free_now = pages_free();

	assert_int_equal(host_balance(host(), UINT64_MAX), 0);
	assert_int_equal(host_set_watermarks(host(), 2, 1), STATUS_BAD_RANGE);
	assert_int_equal(host_set_watermarks(host(), free_now, free_now + 3), STATUS_OK);
	assert_int_equal(host_balance(host(), UINT64_MAX), 0);
	assert_int_equal(host_set_watermarks(host(), free_now + 1, free_now + 3), STATUS_OK);
	uint64_t freed = host_balance(host(), UINT64_MAX);

	assert_in_range(freed, 3, 3 + PAGES / 4);
	assert_int_equal(pages_free(), free_now + freed);
	assert_int_equal(host_balance(host(), UINT64_MAX), 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		file_test(new_pages_wait_in_a_batch), file_test(the_last_put_takes_off),
		file_test(two_touches_activate), file_test(damage_is_seen),
		file_test(unused_pages_go_oldest_first),
		file_test(used_pages_stay_longer), file_test(order_of_a_clean_page),
		file_test(s53_s96_order_of_a_dirty_page), file_test(all_who_map_it),
		file_test(kept_while_somebody_needs_it), file_test(neighbours_go_together),
		file_test(copies_are_no_neighbours), file_test(neighbours_of_two_processes),
		file_test(written_pages_are_next),
		file_test(s48_references_first_dirty_second), file_test(truncated_meanwhile),
		file_test(s45_lazyfree_judged_inside_the_bracket),
		file_test(lazyfree_goes_unwritten),
		file_test(s46_a_reference_keeps_a_lazyfree_page),
		file_test(s47_dirtied_meanwhile_is_kept), file_test(a_fault_reclaims),
		file_test(watermarks),
	};

	return cmocka_run_group_tests_name("mm/reclaim", tests, NULL, NULL);
}
