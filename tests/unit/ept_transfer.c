/*
 * S34, invariant I4: when a bracket has begun, a page's folio knows all that a guest has done to
 * it. Every operation that takes a page from a guest, by each policy, with what Linux tells and
 * with what is proposed.
 *
 * Where only the guest's leaf can know (the process's own memory, its entries and folios clean), it
 * must have told by then; and no leaf that is still there has D, or W to get it by.
 */
#include "mm/file.h"
#include "mm/lru.h"
#include "mm/store.h"
#include "tests/unit/disk_fixture.h"
#include "tests/unit/ept_fixture.h"

enum { PAGES = 16, LARGE_PAGES = 512 };
enum memory { OWN, OWN_SMALL_OF_LARGE, OWN_LARGE, FILE_SHARED };

static struct ram_store *store;
static struct file *file;
static uint64_t pages;
static uint64_t bytes(void) { return pages * PAGE_SIZE; }

/* ------------------------------------------------------------------ the eye */

/*
 * A listener that is told after the EPT was, of the range; then the trace, when all of them have
 * been. `frame`: of each page that the guest has stored to, and no bracket has been over since.
 */
static struct eye {
	struct notifier notifier;
	struct trace trace;
	struct mm_range range;
	unsigned looked;
	uint64_t frame[LARGE_PAGES];
} eye;

static void note_start(struct notifier *self, const struct mm_range *range)
{
	(void)self;
	eye.range = *range;
}

static void note_end(struct notifier *self, const struct mm_range *range)
{
	(void)self;
	(void)range;
}

static void note_release(struct notifier *self)
{
	(void)self;
	eye.range = (struct mm_range){ .start = hva(0), .end = hva(SPACE_END) };
}

static const struct notifier_ops eye_ops = {
	.start = note_start, .end = note_end, .release = note_release,
};

static void look_at(uint64_t page)
{
	unsigned level;
	spte_t leaf = leaf_at(page * PAGE_SIZE, &level);

	assert_false(spte_writable(leaf) || spte_dirty(leaf));
	if (eye.frame[page])
		assert_true(folio_dirty(arena.host, pfn(eye.frame[page])));
	eye.frame[page] = 0;
	eye.looked++;
}

static void look(struct trace *self, enum trace_step step, uint64_t subject, uint64_t value)
{
	(void)self;
	(void)subject;
	(void)value;
	for (uint64_t page = 0; page < pages && step == TRACE_RANGE_START; page++) {
		uint64_t at = BACKING + page * PAGE_SIZE;

		if (eye.range.start.raw < at + PAGE_SIZE && at < eye.range.end.raw)
			look_at(page);
	}
}

/* ------------------------------------------------------------------ the operations */

static bool did(enum status status) { return status == STATUS_OK; }
static bool op_bracket(void) { return did(space_invalidate(space, hva(BACKING), bytes())); }
static bool op_unmap(void) { return did(space_unmap(space, hva(BACKING), bytes())); }
static bool op_discard(void) { return did(space_discard(space, hva(BACKING), bytes())); }
static bool op_lazyfree(void) { return did(space_lazyfree(space, hva(BACKING), bytes())); }
static bool op_reap(void) { return space_reap(space); }

static bool op_protect(void)
{
	return did(space_protect(space, hva(BACKING), bytes(), PROTECTION_READ));
}

static bool op_hint(void)
{
	return did(space_hint(space, hva(BACKING), bytes(), HINT_EACH_2M));
}

static bool op_soft_dirty(void)
{
	space_clear_soft_dirty(space);
	return true;
}

static bool op_move(void)
{
	return did(space_move(space, hva(BACKING), bytes(), hva(2 * BACKING)));
}

static bool op_migrate(void)
{
	uint64_t moved;

	return did(space_migrate(space, hva(BACKING), bytes(), &moved)) && moved == pages;
}

static bool op_page_out(void)
{
	uint64_t freed;

	return did(space_page_out(space, hva(BACKING), bytes(), &freed)) && freed == pages;
}

static bool op_collapse(void)
{
	uint64_t collapsed;

	return did(space_collapse(space, hva(BACKING), bytes(), &collapsed)) && collapsed;
}

static bool op_exclusive(void)
{
	pfn_t frame;

	for (uint64_t page = 0; page < pages; page++) {
		hva_t at = hva(BACKING + page * PAGE_SIZE);

		if (!did(space_make_exclusive(space, at, NULL, &frame)))
			return false;
		exclusive_done(arena.host, frame);
	}
	return true;
}

static bool op_fork(void)
{
	struct space *child;
	bool forked = did(space_fork(space, &child));

	if (forked)
		space_destroy(child);
	return forked;
}

/* Twice round: a page that has changed since it was last seen is left alone. */
static bool op_merge(void)
{
	uint64_t merged = 0;

	if (!did(ksm_start(arena.host, 8)) || !did(space_merge(space, hva(BACKING), bytes())))
		return false;
	for (unsigned i = 0; i < 4; i++)
		merged += ksm_scan(arena.host, 2 * pages);
	ksm_stop(arena.host);
	return merged;
}

static bool op_end(void)
{
	space_destroy(space);
	space = NULL;
	return true;
}

static bool op_writeback(void) { return did(file_sync(file)); }

static bool op_clean_record(void)
{
	uint64_t bits[1] = { 0 }, count;
	struct clean_record record = { .bitmap = bits };

	return did(file_clean_record(file, 0, pages, &record, &count));
}

static bool op_write_protect(void)
{
	uint64_t count;

	return did(file_write_protect(file, 0, pages, &count));
}

static const struct operation {
	const char *name;
	enum memory memory;
	bool (*run)(void);
} operations[] = {
	{ "bracket", OWN, op_bracket }, { "unmap", OWN, op_unmap }, { "discard", OWN, op_discard },
	{ "protect", OWN, op_protect }, { "hint", OWN, op_hint }, { "lazyfree", OWN, op_lazyfree },
	{ "soft dirty", OWN, op_soft_dirty }, { "move", OWN, op_move },
	{ "migrate", OWN, op_migrate }, { "page out", OWN, op_page_out },
	{ "exclusive", OWN, op_exclusive }, { "fork", OWN, op_fork }, { "merge", OWN, op_merge },
	{ "reap", OWN, op_reap }, { "end", OWN, op_end },
	{ "collapse", OWN_SMALL_OF_LARGE, op_collapse },
	{ "unmap, large", OWN_LARGE, op_unmap }, { "discard, large", OWN_LARGE, op_discard },
	{ "lazyfree, large", OWN_LARGE, op_lazyfree }, { "fork, large", OWN_LARGE, op_fork },
	{ "end, large", OWN_LARGE, op_end },
	{ "writeback", FILE_SHARED, op_writeback }, { "page out, file", FILE_SHARED, op_page_out },
	{ "clean record", FILE_SHARED, op_clean_record },
	{ "write-protect", FILE_SHARED, op_write_protect },
	{ "unmap, file", FILE_SHARED, op_unmap },
};

/* ------------------------------------------------------------------ before and after */

static void open_own(enum memory memory)
{
	uint64_t value = 1;

	lend(bytes(), memory == OWN ? LEVEL_4K : LEVEL_2M);
	assert_int_equal(host_swap_on(arena.host, disk_open(), DISK_PAGES), STATUS_OK);
	if (memory == OWN_SMALL_OF_LARGE)
		arena_fail_from_order(&arena, 1);
	for (uint64_t page = 0; page < pages; page++)
		assert_int_equal(space_write(space, hva(BACKING + page * PAGE_SIZE), &value, 8),
				 STATUS_OK);
	arena_fail_after(&arena, -1);
	for (uint64_t page = 0; page < pages; page++) {
		write_lock(&space->lock);
		struct place place = table_find(space, BACKING + page * PAGE_SIZE);

		atomic_and(place.slot, ~PTE_D);
		write_unlock(&space->lock);
		atomic_and(&folio_of(arena.host, pte_frame(place.pte))->flags, ~FOLIO_DIRTY);
	}
}

static void open_file(void)
{
	assert_int_equal(ram_store_create(arena.host, pages, &store), STATUS_OK);
	assert_int_equal(file_create(arena.host, ram_store_of(store), pages, &file), STATUS_OK);
	assert_int_equal(space_map_file(space, hva(BACKING), bytes(), PROTECTION_READ_WRITE, file,
					0, SHARING_SHARED),
			 STATUS_OK);
	add_region(0, pages, BACKING, LEVEL_4K);
}

static void open_memory(enum memory memory, enum ept_policy policy, unsigned options)
{
	open_small(NULL);
	ept_set_policy(ept, policy);
	host_set_options(arena.host, options);
	pages = memory == OWN || memory == FILE_SHARED ? PAGES : LARGE_PAGES;
	if (memory == FILE_SHARED)
		open_file();
	else
		open_own(memory);
	eye = (struct eye){ .notifier.ops = &eye_ops, .trace.step = look };
	notifier_register(space, &eye.notifier);
	for (uint64_t page = 0; page < pages; page++)
		store_on(1, page * PAGE_SIZE, 7);
	for (uint64_t page = 0; page < pages; page++)
		eye.frame[page] = host_frame(BACKING + page * PAGE_SIZE).raw;
	lru_drain(arena.host);
	arena.host->trace = &eye.trace;
}

static void close_memory(enum memory memory)
{
	arena.host->trace = NULL;
	all_leave();
	ept_verify(ept);
	if (space)
		notifier_unregister(space, &eye.notifier);
	ept_destroy(ept);
	if (space)
		space_destroy(space);
	if (memory == FILE_SHARED) {
		assert_int_equal(file_destroy(file), STATUS_OK);
		ram_store_destroy(store);
	} else {
		assert_int_equal(host_swap_off(arena.host), STATUS_OK);
	}
	arena_close(&arena);
}

static void run_all(enum ept_policy policy, unsigned options)
{
	for (unsigned i = 0; i < sizeof(operations) / sizeof(*operations); i++) {
		const struct operation *operation = &operations[i];

		open_memory(operation->memory, policy, options);
		if (!operation->run())
			fail_msg("%s: not done", operation->name);
		if (eye.looked < pages)
			fail_msg("%s: told of %u pages", operation->name, eye.looked);
		close_memory(operation->memory);
	}
}

/* S34: in sync with what the primary loses, or before. */
static void s34_told_before_a_bracket_has_begun(void **state)
{
	(void)state;
	run_all(EPT_POLICY_MAP, 0);
	run_all(EPT_POLICY_ZAP, 0);
}

static void s34_told_by_leaves_that_stay(void **state)
{
	(void)state;
	run_all(EPT_POLICY_MAP, OPTION_WRITE_PROTECT | OPTION_MKCLEAN);
	run_all(EPT_POLICY_ZAP, OPTION_WRITE_PROTECT | OPTION_MKCLEAN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(s34_told_before_a_bracket_has_begun),
		cmocka_unit_test(s34_told_by_leaves_that_stay),
	};

	return cmocka_run_group_tests_name("ept/transfer", tests, NULL, NULL);
}
