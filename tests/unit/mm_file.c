/*
 * Files: pages in and out, shared and private, marks and what writeback makes of them. Numbers in
 * names are rows of the propagation table.
 */
#include "tests/host/soft_cpu.h"
#include "tests/unit/file_fixture.h"

#define OTHER (BASE + GIB)

static uint64_t get(uint64_t at)
{
	uint64_t value = 0;

	assert_int_equal(space_read(space, hva(at), &value, sizeof(value)), STATUS_OK);
	return value;
}

static void store_word(uint64_t page, uint64_t value)
{
	struct store *of = ram_store_of(store);
	uint64_t done;

	assert_int_equal(of->ops->write(of, page * PAGE_SIZE, &value, sizeof(value), &done),
			 STATUS_OK);
}

static pfn_t frame_at(uint64_t at) { return pte_frame(entry(at).pte); }
static bool is_dirty(uint64_t at) { return folio_dirty(arena.host, frame_at(at)); }

/* ------------------------------------------------------------------ in */

static void read_from_store(void **state)
{
	(void)state;
	store_word(2, 77);
	map_file(BASE, PAGES, PROTECTION_READ_WRITE, SHARING_SHARED);
	assert_int_equal(get(BASE + 2 * PAGE_SIZE), 77);
	assert_int_equal(get(BASE + 3 * PAGE_SIZE), 0);
	/* Mapped without W, so that the first store is seen: the VMA would allow it. */
	assert_false(pte_writable(entry(BASE + 2 * PAGE_SIZE).pte));
	assert_false(is_dirty(BASE + 2 * PAGE_SIZE));
	assert_int_equal(stats().cached, 2);
	assert_int_equal(stats().dirty, 0);
}

static void one_page_for_all(void **state)
{
	(void)state;
	map_file(BASE, PAGES, PROTECTION_READ_WRITE, SHARING_SHARED);
	map_file(OTHER, PAGES, PROTECTION_READ, SHARING_SHARED);
	put(BASE, 5);
	assert_int_equal(get(OTHER), 5);
	assert_int_equal(frame_at(BASE).raw, frame_at(OTHER).raw);
	assert_int_equal(folio_mapcount(arena.host, frame_at(BASE)), 2);
	assert_int_equal(folio_refcount(arena.host, frame_at(BASE)), 3);	/* the cache's */
}

static void ranges(void **state)
{
	struct file *none;

	(void)state;
	assert_int_equal(space_map_file(space, hva(BASE), 2 * PAGE_SIZE, PROTECTION_READ, file,
					PAGES - 1, SHARING_SHARED), STATUS_BAD_RANGE);
	assert_int_equal(space_map_file(space, hva(BASE), PAGE_SIZE, PROTECTION_READ, file,
					UINT64_MAX, SHARING_SHARED), STATUS_BAD_RANGE);
	assert_int_equal(space_map_file(space, hva(BASE + 1), PAGE_SIZE, PROTECTION_READ, file, 0,
					SHARING_SHARED), STATUS_BAD_RANGE);
	assert_int_equal(space_map_file(space, hva(BASE), PAGE_SIZE, PROTECTION_READ, file,
					PAGES - 1, SHARING_SHARED), STATUS_OK);
	assert_int_equal(space_map_file(space, hva(BASE), PAGE_SIZE, PROTECTION_READ, file, 0,
					SHARING_SHARED), STATUS_EXISTS);
	assert_int_equal(file_destroy(file), STATUS_EXISTS);
	assert_int_equal(file_create(arena.host, NULL, 0, &none), STATUS_BAD_RANGE);
}

static void errors_of_the_store(void **state)
{
	uint64_t value = 1;

	(void)state;
	map_file(BASE, PAGES, PROTECTION_READ_WRITE, SHARING_SHARED);
	ram_store_set_faults(store, (struct store_faults){ .fail_reads = true });
	assert_int_equal(space_read(space, hva(BASE), &value, 8), STATUS_IO_ERROR);
	assert_int_equal(space_write(space, hva(BASE), &value, 8), STATUS_IO_ERROR);
	ram_store_set_faults(store, (struct store_faults){ .piece = 100, .latency = 3 });
	store_word(1, 9);
	assert_int_equal(get(BASE + PAGE_SIZE), 9);
	put(BASE, 4);
	assert_int_equal(file_sync(file), STATUS_OK);
	assert_int_equal(stored(0), 4);

	/* A write that fails is told once, and the page's change is lost. */
	put(BASE, 5);
	ram_store_set_faults(store, (struct store_faults){ .fail_writes = true });
	assert_int_equal(file_sync(file), STATUS_IO_ERROR);
	assert_int_equal(file_sync(file), STATUS_OK);
	ram_store_set_faults(store, (struct store_faults){ 0 });
	assert_int_equal(stored(0), 4);
	assert_int_equal(get(BASE), 5);
}

/* ------------------------------------------------------------------ copy on write */

static void private_copy(void **state)
{
	(void)state;
	store_word(0, 3);
	map_file(BASE, PAGES, PROTECTION_READ_WRITE, SHARING_PRIVATE);
	map_file(OTHER, PAGES, PROTECTION_READ_WRITE, SHARING_SHARED);
	assert_int_equal(get(BASE), 3);
	assert_int_equal(frame_at(BASE).raw, (get(OTHER), frame_at(OTHER).raw));
	put(BASE + 8, 6);				/* over the file's page: wp_page_copy */
	assert_int_not_equal(frame_at(BASE).raw, frame_at(OTHER).raw);
	assert_int_equal(get(BASE), 3);
	assert_int_equal(get(BASE + 8), 6);
	assert_int_equal(get(OTHER + 8), 0);
	put(BASE + PAGE_SIZE, 7);			/* where nothing was: do_cow_fault */
	assert_int_equal(get(OTHER + PAGE_SIZE), 0);
	assert_int_equal(stats().dirty, 0);
	assert_int_equal(file_sync(file), STATUS_OK);
	assert_int_equal(stored(1), 0);
}

struct listener { struct notifier notifier; unsigned starts; enum mm_event event; pte_t seen; };

static void on_start(struct notifier *self, const struct mm_range *range)
{
	struct listener *listener = container_of(self, struct listener, notifier);

	listener->starts++;
	listener->event = range->event;
	listener->seen = entry(range->start.raw).pte;
}
static void on_end(struct notifier *self, const struct mm_range *range)
{
	(void)self;
	(void)range;
}
static void on_release(struct notifier *self) { (void)self; }
static const struct notifier_ops listener_ops = {
	.start = on_start, .end = on_end, .release = on_release,
};
static struct listener listener;

static void listen(void)
{
	listener = (struct listener){ .notifier = { .ops = &listener_ops } };
	notifier_register(space, &listener.notifier);
}

/* The listener lets go of the old page before the new one stands there. */
static void copy_tells_first(void **state)
{
	(void)state;
	map_file(BASE, PAGES, PROTECTION_READ_WRITE, SHARING_PRIVATE);
	get(BASE);
	pfn_t old = frame_at(BASE);

	listen();
	put(BASE, 1);
	assert_int_equal(listener.starts, 1);
	assert_int_equal(listener.event, EVENT_CLEAR);
	assert_int_equal(pte_frame(listener.seen).raw, old.raw);
	assert_false(pte_writable(listener.seen));
	notifier_unregister(space, &listener.notifier);
}

/* ---------------------------------- marks at the end of a mapping */

static void s10_unmap_passes_both_marks_on(void **state)
{
	pfn_t read, written;

	(void)state;
	map_file(BASE, PAGES, PROTECTION_READ_WRITE, SHARING_SHARED);
	get(BASE);
	put(BASE + PAGE_SIZE, 1);
	assert_int_equal(file_sync(file), STATUS_OK);
	read = frame_at(BASE);
	written = frame_at(BASE + PAGE_SIZE);
	/* As the CPU would set them, so that only the entries know. */
	atomic_or(entry(BASE + PAGE_SIZE).slot, PTE_W | PTE_D | PTE_A);
	assert_false(folio_accessed(arena.host, read));
	assert_false(folio_dirty(arena.host, written));
	assert_int_equal(space_unmap(space, hva(BASE), 2 * PAGE_SIZE), STATUS_OK);
	assert_true(folio_accessed(arena.host, read));
	assert_false(folio_dirty(arena.host, read));
	assert_true(folio_dirty(arena.host, written));
	assert_int_equal(stats().dirty, 1);
}

static void s11_advice_says_that_accessed_is_nothing(void **state)
{
	static const struct { enum advice advice; bool marked; } cases[] = {
		{ ADVICE_NORMAL, true }, { ADVICE_SEQUENTIAL, false }, { ADVICE_RANDOM, false },
	};

	(void)state;
	map_file(BASE, PAGES, PROTECTION_READ, SHARING_SHARED);
	for (unsigned i = 0; i < 3; i++) {
		uint64_t at = BASE + i * PAGE_SIZE;

		assert_int_equal(space_advise(space, hva(at), PAGE_SIZE, cases[i].advice),
				 STATUS_OK);
		get(at);
	}
	pfn_t frames[3] = { frame_at(BASE), frame_at(BASE + PAGE_SIZE),
			    frame_at(BASE + 2 * PAGE_SIZE) };

	assert_int_equal(space_unmap(space, hva(BASE), 3 * PAGE_SIZE), STATUS_OK);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(folio_accessed(arena.host, frames[i]), cases[i].marked);
	assert_int_equal(space_advise(space, hva(BASE), PAGE_SIZE, ADVICE_RANDOM),
			 STATUS_NOT_FOUND);
}

static void s12_anonymous_pages_take_their_marks_along(void **state)
{
	(void)state;
	map(BASE, PAGE_SIZE, LEVEL_4K);
	put(BASE, 1);
	pfn_t frame = frame_at(BASE);

	folio_get(arena.host, frame);
	assert_int_equal(space_unmap(space, hva(BASE), PAGE_SIZE), STATUS_OK);
	assert_false(folio_dirty(arena.host, frame));
	assert_false(folio_accessed(arena.host, frame));
	folio_put(arena.host, frame);
}

/* ------------------------------------------------------------------ writeback */

static void store_is_written_once(void **state)
{
	struct store_stats before, after;

	(void)state;
	map_file(BASE, PAGES, PROTECTION_READ_WRITE, SHARING_SHARED);
	put(BASE + 5 * PAGE_SIZE, 1);
	assert_true(is_dirty(BASE + 5 * PAGE_SIZE));
	assert_int_equal(stats().dirty, 1);
	ram_store_read_stats(store, &before);
	assert_int_equal(file_sync(file), STATUS_OK);
	assert_int_equal(file_sync(file), STATUS_OK);
	ram_store_read_stats(store, &after);
	assert_int_equal(after.writes - before.writes, 1);
	assert_int_equal(stored(5), 1);
	assert_int_equal(stats().dirty, 0);
	assert_false(is_dirty(BASE + 5 * PAGE_SIZE));
	/* The next store faults, and is noted again. */
	assert_false(pte_writable(entry(BASE + 5 * PAGE_SIZE).pte));
	put(BASE + 5 * PAGE_SIZE, 2);
	assert_int_equal(stats().dirty, 1);
	assert_int_equal(file_sync(file), STATUS_OK);
	assert_int_equal(stored(5), 2);
}

/* S91: start, then the entry loses W and D, then the folio is clean. */
static void s91_listener_before_entry_before_folio(void **state)
{
	(void)state;
	map_file(BASE, PAGES, PROTECTION_READ_WRITE, SHARING_SHARED);
	put(BASE, 1);
	listen();
	assert_int_equal(file_sync(file), STATUS_OK);
	assert_int_equal(listener.starts, 1);
	assert_int_equal(listener.event, EVENT_PROTECTION_PAGE);
	assert_true(pte_writable(listener.seen) && pte_dirty(listener.seen));
	assert_false(pte_writable(entry(BASE).pte) || pte_dirty(entry(BASE).pte));
	/* A page that is clean everywhere costs no bracket. */
	folio_mark_dirty(arena.host, frame_at(BASE));
	assert_int_equal(file_sync(file), STATUS_OK);
	assert_int_equal(listener.starts, 1);
	notifier_unregister(space, &listener.notifier);
}

static void s58_a_bare_flag_is_no_note(void **state)
{
	(void)state;
	map_file(BASE, PAGES, PROTECTION_READ_WRITE, SHARING_SHARED);
	get(BASE);
	*(uint64_t *)pfn_to_ptr(frame_at(BASE)) = 8;	/* by a hand that owns no entry */
	folio_set_dirty(arena.host, frame_at(BASE));
	assert_true(is_dirty(BASE));
	assert_int_equal(stats().dirty, 0);
	assert_int_equal(file_sync(file), STATUS_OK);
	assert_int_equal(stored(0), 0);			/* the writeback went by the notes */
	/* And since the flag stands, a mark that comes now is not noted either. */
	folio_mark_dirty(arena.host, frame_at(BASE));
	assert_int_equal(stats().dirty, 0);
}

/* The locked operations of ten marks of each kind, by frame and by metadata. */
static uint64_t locked_by_marks(pfn_t frame)
{
	const struct block block = { folio_of(arena.host, frame), frame };
	uint64_t before = host_read_count(arena.host, HOST_MARKS_LOCKED);

	for (unsigned i = 0; i < 10; i++) {
		folio_mark_dirty(arena.host, frame);
		folio_mark_dirty_held(arena.host, folio_of(arena.host, frame));
		folio_set_dirty(arena.host, frame);
		folio_mark_accessed(arena.host, frame);
		folio_mark_accessed_held(arena.host, block);
	}
	return host_read_count(arena.host, HOST_MARKS_LOCKED) - before;
}

static void s59_a_mark_that_stands_is_not_set_again(void **state)
{
	uint64_t calls = host_read_count(arena.host, HOST_MARKS_DIRTY);
	pfn_t frame;

	(void)state;
	map_file(BASE, PAGES, PROTECTION_READ_WRITE, SHARING_SHARED);
	get(BASE);
	frame = frame_at(BASE);
	/* Dirty; accessed, and again when that has made it active. */
	assert_int_equal(locked_by_marks(frame), 3);
	assert_int_equal(locked_by_marks(frame), 0);
	assert_int_equal(stats().dirty, 1);
	assert_int_equal(host_read_count(arena.host, HOST_MARKS_DIRTY) - calls, 2 * 20);

	/*
	 * Without the test the marks are the same, and noted once, but each is a locked operation.
	 */
	host_set_marking(arena.host, MARKING_SETS);
	assert_int_equal(locked_by_marks(frame), 50);
	assert_true(folio_dirty(arena.host, frame) && folio_accessed(arena.host, frame));
	assert_int_equal(stats().dirty, 1);
	host_set_marking(arena.host, MARKING_LOOKS);
}

/* Inactive or active, marked or not: who is used is not idle. */
static void a_use_ends_idleness(void **state)
{
	struct block page;
	uint64_t locked = host_read_count(arena.host, HOST_MARKS_LOCKED);

	(void)state;
	map_file(BASE, PAGES, PROTECTION_READ_WRITE, SHARING_SHARED);
	get(BASE);
	page = (struct block){ folio_of(arena.host, frame_at(BASE)), frame_at(BASE) };
	for (unsigned turn = 0; turn < 5; turn++) {
		atomic_or(&page.folio->flags, FOLIO_IDLE);
		folio_mark_accessed_held(arena.host, page);
		assert_true(folio_accessed(arena.host, page.head));
		assert_false(atomic_read(&page.folio->flags) & FOLIO_IDLE);
	}
	assert_int_equal(host_read_count(arena.host, HOST_MARKS_LOCKED) - locked, 2);
}

enum { MARKS = FOLIO_DIRTY | FOLIO_ACCESSED | FOLIO_ACTIVE | FOLIO_IDLE };

/* A page's marks as they are to be found; active by two uses, which put it on its list. */
static struct folio *marked(uint64_t address, uint32_t marks)
{
	struct folio *folio = folio_of(arena.host, frame_at(address));

	for (unsigned use = 0; marks & FOLIO_ACTIVE && use < 2; use++)
		folio_mark_accessed(arena.host, frame_at(address));
	atomic_and(&folio->flags, ~(MARKS & ~FOLIO_ACTIVE));
	atomic_or(&folio->flags, marks & ~FOLIO_ACTIVE);
	return folio;
}

/*
 * Of one page at once, of its neighbour by one call each.
 * Returns the locked operations of the first.
 */
static uint64_t expect_both(uint64_t address, uint32_t marks)
{
	struct folio *stored = marked(address, marks), *other = marked(address + PAGE_SIZE, marks);
	uint64_t before = host_read_count(arena.host, HOST_MARKS_LOCKED), locked;

	folio_mark_stored(arena.host, frame_at(address));
	locked = host_read_count(arena.host, HOST_MARKS_LOCKED) - before;
	folio_mark_dirty(arena.host, frame_at(address + PAGE_SIZE));
	folio_mark_accessed(arena.host, frame_at(address + PAGE_SIZE));
	assert_int_equal(atomic_read(&stored->flags) & MARKS, atomic_read(&other->flags) & MARKS);
	assert_true(atomic_read(&stored->flags) & FOLIO_DIRTY);
	return locked;
}

/* folio_mark_stored is folio_mark_dirty and folio_mark_accessed, whatever stood before. */
static void stored_is_both_marks(void **state)
{
	uint64_t at = BASE;

	(void)state;
	map(BASE, 32 * PAGE_SIZE, LEVEL_4K);
	for (unsigned i = 0; i < 32; i++)
		put(BASE + i * PAGE_SIZE, 1);
	for (unsigned i = 0; i < 16; i++, at += 2 * PAGE_SIZE) {
		uint32_t marks = (i & 1 ? FOLIO_DIRTY : 0) | (i & 2 ? FOLIO_ACCESSED : 0) |
				 (i & 4 ? FOLIO_ACTIVE : 0) | (i & 8 ? FOLIO_IDLE : 0);
		uint64_t locked = expect_both(at, marks);

		/* None of the two: one operation sets both. Both, and active: none does. */
		if (!(marks & (FOLIO_DIRTY | FOLIO_ACCESSED | FOLIO_IDLE)))
			assert_int_equal(locked, 1);
		if ((marks & (MARKS & ~FOLIO_IDLE)) == (MARKS & ~FOLIO_IDLE))
			assert_int_equal(locked, 0);
	}
}

/* A file hears of it. */
static void stored_pages_are_noted(void **state)
{
	(void)state;
	map_file(BASE, PAGES, PROTECTION_READ_WRITE, SHARING_SHARED);
	get(BASE);
	get(BASE + PAGE_SIZE);
	expect_both(BASE, 0);
	assert_int_equal(stats().dirty, 2);
}

/* Two processes map the page; both entries are cleaned. */
static void all_spaces_are_cleaned(void **state)
{
	struct space *second;
	uint64_t value = 4;

	(void)state;
	assert_int_equal(space_create(arena.host, &second), STATUS_OK);
	assert_int_equal(space_map_file(second, hva(OTHER), 2 * PAGE_SIZE, PROTECTION_READ_WRITE,
					file, 3, SHARING_SHARED), STATUS_OK);
	map_file(BASE, PAGES, PROTECTION_READ_WRITE, SHARING_SHARED);
	put(BASE + 4 * PAGE_SIZE, 3);
	assert_int_equal(space_write(second, hva(OTHER + PAGE_SIZE), &value, 8), STATUS_OK);
	assert_int_equal(get(BASE + 4 * PAGE_SIZE), 4);
	assert_int_equal(file_sync(file), STATUS_OK);
	assert_int_equal(stored(4), 4);
	assert_false(pte_writable(entry(BASE + 4 * PAGE_SIZE).pte));
	value = 5;
	assert_int_equal(space_write(second, hva(OTHER + PAGE_SIZE), &value, 8), STATUS_OK);
	assert_int_equal(stats().dirty, 1);
	space_verify(second);
	space_destroy(second);
	assert_int_equal(file_sync(file), STATUS_OK);
	assert_int_equal(stored(4), 5);
}

/* ------------------------------------------------------------------ what a CPU sets by itself */

/* S8, S9: through the tables themselves, without a fault. */
static void s8_s9_a_cpu_sets_both_flags(void **state)
{
	static struct soft_cpu cpu;
	uint64_t value = 0;

	(void)state;
	map(BASE, PAGE_SIZE, LEVEL_4K);
	look_up(BASE, ACCESS_READ);
	atomic_and(entry(BASE).slot, ~(PTE_A | PTE_D));
	soft_host_init(&cpu, space);
	pte_t before = entry(BASE).pte;

	assert_int_equal(soft_linear_access(&cpu, BASE, ACCESS_READ, &value).kind, SOFT_DONE);
	assert_int_equal(entry(BASE).pte.bits, before.bits | PTE_A);
	assert_int_equal(soft_linear_access(&cpu, BASE, ACCESS_WRITE, &value).kind, SOFT_DONE);
	assert_int_equal(entry(BASE).pte.bits, before.bits | PTE_A | PTE_D);
}

static void s13_a_page_that_moves_takes_only_dirty_along(void **state)
{
	uint64_t moved;

	(void)state;
	map(BASE, PAGE_SIZE, LEVEL_4K);
	put(BASE, 1);
	assert_int_equal(entry(BASE).pte.bits & (PTE_A | PTE_D), PTE_A | PTE_D);
	assert_int_equal(space_migrate(space, hva(BASE), PAGE_SIZE, &moved), STATUS_OK);
	assert_int_equal(moved, 1);
	assert_true(is_dirty(BASE));
	assert_false(folio_accessed(arena.host, frame_at(BASE)));
}

/* ------------------------------------------------------------------ rights, splits, exhaustion */

static void protect_and_back(void **state)
{
	(void)state;
	map_file(BASE, PAGES, PROTECTION_READ_WRITE, SHARING_SHARED);
	put(BASE, 1);
	assert_int_equal(file_sync(file), STATUS_OK);
	assert_int_equal(space_protect(space, hva(BASE), PAGE_SIZE, PROTECTION_READ), STATUS_OK);
	assert_int_equal(space_protect(space, hva(BASE), PAGE_SIZE, PROTECTION_READ_WRITE),
			 STATUS_OK);
	/* The file must hear of the next store. */
	assert_false(pte_writable(entry(BASE).pte));
	put(BASE, 2);
	assert_int_equal(stats().dirty, 1);
}

static void vmas_split_and_merge(void **state)
{
	(void)state;
	store_word(7, 70);
	map_file(BASE, PAGES, PROTECTION_READ_WRITE, SHARING_SHARED);
	assert_int_equal(space_unmap(space, hva(BASE + 3 * PAGE_SIZE), PAGE_SIZE), STATUS_OK);
	assert_int_equal(get(BASE + 7 * PAGE_SIZE), 70);
	assert_int_equal(space->vma_count, 2);
	assert_int_equal(space_map_file(space, hva(BASE + 3 * PAGE_SIZE), PAGE_SIZE,
					PROTECTION_READ_WRITE, file, 3, SHARING_SHARED), STATUS_OK);
	assert_int_equal(space->vma_count, 1);
	assert_int_equal(space_unmap(space, hva(BASE + 3 * PAGE_SIZE), PAGE_SIZE), STATUS_OK);
	assert_int_equal(space_map_file(space, hva(BASE + 3 * PAGE_SIZE), PAGE_SIZE,
					PROTECTION_READ_WRITE, file, 9, SHARING_SHARED), STATUS_OK);
	assert_int_equal(space->vma_count, 3);		/* the same file, another page of it */
	assert_int_equal(atomic_read(&file->vmas), 3);
}

static void stays_when_moved(void **state)
{
	uint64_t moved;

	(void)state;
	map_file(BASE, 2, PROTECTION_READ_WRITE, SHARING_PRIVATE);
	get(BASE);
	put(BASE + PAGE_SIZE, 5);
	assert_int_equal(space_migrate(space, hva(BASE), 2 * PAGE_SIZE, &moved), STATUS_OK);
	assert_int_equal(moved, 1);			/* the copy, which is anonymous */
	assert_int_equal(get(BASE + PAGE_SIZE), 5);
}

/*
 * Each allocation of three kinds of fault refused in turn: an error, nothing leaked, then it works.
 */
static void allocations_fail(void **state)
{
	static const struct { enum sharing sharing; bool read_first; } cases[] = {
		{ SHARING_SHARED, false }, { SHARING_PRIVATE, false }, { SHARING_PRIVATE, true },
	};
	uint64_t value = 1;

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		uint64_t at = BASE + i * GIB;
		enum status status = STATUS_NO_MEMORY;

		map_file(at, 1, PROTECTION_READ_WRITE, cases[i].sharing);
		if (cases[i].read_first)
			get(at);
		for (int64_t turn = 0; status == STATUS_NO_MEMORY; turn++) {
			arena_fail_after(&arena, turn);
			status = space_write(space, hva(at), &value, sizeof(value));
			space_verify(space);
		}
		arena_fail_after(&arena, -1);
		assert_int_equal(status, STATUS_OK);
		assert_int_equal(get(at), 1);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		file_test(read_from_store), file_test(one_page_for_all), file_test(ranges),
		file_test(errors_of_the_store), file_test(private_copy),
		file_test(copy_tells_first), file_test(s10_unmap_passes_both_marks_on),
		file_test(s11_advice_says_that_accessed_is_nothing),
		file_test(s12_anonymous_pages_take_their_marks_along),
		file_test(store_is_written_once), file_test(s91_listener_before_entry_before_folio),
		file_test(s58_a_bare_flag_is_no_note),
		file_test(s59_a_mark_that_stands_is_not_set_again),
		file_test(a_use_ends_idleness), file_test(stored_is_both_marks),
		file_test(stored_pages_are_noted), file_test(all_spaces_are_cleaned),
		file_test(s8_s9_a_cpu_sets_both_flags),
		file_test(s13_a_page_that_moves_takes_only_dirty_along),
		file_test(protect_and_back), file_test(vmas_split_and_merge),
		file_test(stays_when_moved), file_test(allocations_fail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
