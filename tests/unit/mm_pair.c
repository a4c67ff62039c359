/*
 * S54: with two things of mm's a listener need mark no folio. A page that it may write was made
 * dirty in the process's own entry by the lookup (LOOKUP_TOUCH), and it is told of every D that
 * goes. So while the entry is clean the listener can't write, at any step of any operation, by
 * pages of 4 KiB and of 2 MiB, with the events that Linux has and with those that are proposed.
 */
#include "mm/lru.h"
#include "mm/store.h"
#include "tests/unit/disk_fixture.h"
#include "tests/unit/space_fixture.h"

enum { PAGES = 16 };
enum memory { OWN, OWN_LARGE, FILE_SHARED };

static struct ram_store *store;
static struct file *file;

/* ------------------------------------------------------------------ the listener */

/* It maps frames by PAGE_SIZE, of as many pages as it has asked for. */
static struct second {
	struct notifier notifier;
	struct trace trace;
	struct { bool present, writable; pfn_t frame; } map[PAGES];
	unsigned dropped, protected, checked, clean;
} second;

static uint64_t address_of(uint64_t page) { return BASE + page * PAGE_SIZE; }

static void on_start(struct notifier *self, const struct mm_range *range)
{
	(void)self;
	for (uint64_t page = 0; page < PAGES; page++) {
		if (address_of(page) >= range->end.raw || address_of(page) < range->start.raw)
			continue;
		second.protected += second.map[page].writable;
		second.map[page].writable = false;
		if (!event_only_protects(range->event)) {
			second.dropped += second.map[page].present;
			second.map[page].present = false;
		}
	}
}

static void on_end(struct notifier *self, const struct mm_range *range)
{
	(void)self;
	(void)range;
}

static const struct notifier_ops second_ops = { .start = on_start, .end = on_end };

/* Only what it was looked up to write is written: a read says nothing about D. */
static void look_up_to(uint64_t page, enum access access)
{
	struct mm_page found;

	assert_int_equal(mm_lookup_with(space, hva(address_of(page)), access, LOOKUP_TOUCH, &found),
			 STATUS_OK);
	second.map[page].present = true;
	second.map[page].frame = found.frame;
	second.map[page].writable = access == ACCESS_WRITE;
}

static uint64_t *word_of(uint64_t page) { return pfn_to_ptr(second.map[page].frame); }

static void second_stores(uint64_t page, uint64_t value)
{
	if (!second.map[page].writable)
		look_up_to(page, ACCESS_WRITE);
	*word_of(page) = value;
}

static uint64_t second_loads(uint64_t page)
{
	if (!second.map[page].present)
		look_up_to(page, ACCESS_READ);
	return *word_of(page);
}

/* I2, of each page. */
static void check_pair(void) NOT_CHECKED
{
	for (uint64_t page = 0; page < PAGES; page++) {
		struct place place = table_find(space, address_of(page));
		bool dirty = pte_present(place.pte) && pte_dirty(place.pte);

		second.clean += !dirty;
		second.checked++;
		if (!second.map[page].writable)
			continue;
		assert_true(dirty && pte_writable(place.pte));
		assert_int_equal(place_frame(place, address_of(page)).raw,
				 second.map[page].frame.raw);
	}
}

static void on_step(struct trace *self, enum trace_step step, uint64_t subject, uint64_t value)
{
	(void)self;
	(void)step;
	(void)subject;
	(void)value;
	check_pair();
}

/* ------------------------------------------------------------------ what cleans */

static uint64_t bytes;

static bool did(enum status status) { return status == STATUS_OK; }
static bool op_lazyfree(void) { return did(space_lazyfree(space, hva(BASE), bytes)); }
static bool op_discard(void) { return did(space_discard(space, hva(BASE), bytes)); }
static bool op_hint(void) { return did(space_hint(space, hva(BASE), bytes, HINT_EACH_2M)); }
static bool op_split(void) { return did(space_split(space, hva(BASE), bytes)); }
static bool op_sync(void) { return did(file_sync(file)); }

static bool op_protect_both_ways(void)
{
	return did(space_protect(space, hva(BASE), bytes, PROTECTION_READ)) &&
	       did(space_protect(space, hva(BASE), bytes, PROTECTION_READ_WRITE));
}

static bool op_soft_dirty(void)
{
	space_clear_soft_dirty(space);
	return true;
}

static bool op_migrate(void)
{
	uint64_t moved;

	return did(space_migrate(space, hva(BASE), bytes, &moved)) && moved;
}

static bool op_page_out(void)
{
	uint64_t freed;

	return did(space_page_out(space, hva(BASE), bytes, &freed)) && freed;
}

static bool op_fork(void)
{
	struct space *child;
	bool forked = did(space_fork(space, &child));

	if (forked)
		space_destroy(child);
	return forked;
}

static bool op_clean_record(void)
{
	uint64_t bits = 0, count;
	struct clean_record record = { .bitmap = &bits };

	return did(file_clean_record(file, 0, PAGES, &record, &count)) && count == PAGES;
}

static bool op_write_protect(void)
{
	uint64_t count;

	return did(file_write_protect(file, 0, PAGES, &count)) && count == PAGES;
}

/* `cleans`: an entry that stays is clean afterwards, or there is none. */
static const struct operation {
	const char *name;
	enum memory memory;
	bool (*run)(void);
	bool cleans;
} operations[] = {
	{ "lazyfree", OWN, op_lazyfree, true }, { "discard", OWN, op_discard, true },
	{ "page out", OWN, op_page_out, true }, { "migrate", OWN, op_migrate, false },
	{ "protect", OWN, op_protect_both_ways, false },
	{ "soft dirty", OWN, op_soft_dirty, false },
	{ "hint", OWN, op_hint, false }, { "fork", OWN, op_fork, false },
	{ "lazyfree, large", OWN_LARGE, op_lazyfree, true },
	{ "discard, large", OWN_LARGE, op_discard, true },
	{ "protect, large", OWN_LARGE, op_protect_both_ways, false },
	{ "soft dirty, large", OWN_LARGE, op_soft_dirty, false },
	{ "hint, large", OWN_LARGE, op_hint, false }, { "fork, large", OWN_LARGE, op_fork, false },
	{ "split, large", OWN_LARGE, op_split, false },
	{ "writeback", FILE_SHARED, op_sync, true },
	{ "clean record", FILE_SHARED, op_clean_record, true },
	{ "write-protect", FILE_SHARED, op_write_protect, false },
	{ "page out, file", FILE_SHARED, op_page_out, true },
};

/* ------------------------------------------------------------------ the pair */

static void open_memory(enum memory memory, unsigned options)
{
	assert_int_equal(open_space(NULL), 0);
	host_set_options(arena.host, options);
	bytes = memory == OWN_LARGE ? 2 * MIB : PAGES * PAGE_SIZE;
	assert_int_equal(host_swap_on(arena.host, disk_open(), DISK_PAGES), STATUS_OK);
	if (memory == FILE_SHARED) {
		assert_int_equal(ram_store_create(arena.host, PAGES, &store), STATUS_OK);
		assert_int_equal(file_create(arena.host, ram_store_of(store), PAGES, &file),
				 STATUS_OK);
		assert_int_equal(space_map_file(space, hva(BASE), bytes, PROTECTION_READ_WRITE,
						file, 0, SHARING_SHARED), STATUS_OK);
	} else {
		map(BASE, bytes, memory == OWN_LARGE ? LEVEL_2M : LEVEL_4K);
	}
	second = (struct second){ .notifier.ops = &second_ops, .trace.step = on_step };
	notifier_register(space, &second.notifier);
	arena.host->trace = &second.trace;
}

static void close_memory(enum memory memory)
{
	arena.host->trace = NULL;
	notifier_unregister(space, &second.notifier);
	space_verify(space);
	space_destroy(space);
	assert_int_equal(host_swap_off(arena.host), STATUS_OK);
	if (memory == FILE_SHARED) {
		assert_int_equal(file_destroy(file), STATUS_OK);
		ram_store_destroy(store);
	}
	arena_close(&arena);
}

static void store_all(uint64_t from)
{
	for (uint64_t page = 0; page < PAGES; page++)
		second_stores(page, from + page);
	check_pair();
}

/* By eviction, if it can be: what mm has not been told of would be thrown away. */
static void expect_kept(uint64_t from)
{
	for (unsigned i = 0; i < 4; i++)
		(void)host_reclaim(arena.host, UINT64_MAX);
	for (uint64_t page = 0; page < PAGES; page++) {
		uint64_t value = 0;

		assert_int_equal(second_loads(page), from + page);
		assert_int_equal(space_read(space, hva(address_of(page)), &value, sizeof(value)),
				 STATUS_OK);
		assert_int_equal(value, from + page);
	}
}

static void run(const struct operation *operation, unsigned options)
{
	open_memory(operation->memory, options);
	store_all(100);
	assert_int_equal(entry(BASE).level, operation->memory == OWN_LARGE ? LEVEL_2M : LEVEL_4K);
	lru_drain(arena.host);
	second.clean = 0;
	if (!operation->run())
		fail_msg("%s: not done", operation->name);
	if (operation->cleans && second.protected < PAGES)
		fail_msg("%s: %u pages were told of", operation->name, second.protected);
	check_pair();
	if (operation->cleans && !second.clean)
		fail_msg("%s: no entry was clean", operation->name);
	/* Whoever may read goes on; whoever stores makes the entry dirty first. */
	for (uint64_t page = 0; page < PAGES; page++)
		(void)second_loads(page);
	check_pair();
	store_all(200);
	expect_kept(200);
	store_all(300);
	close_memory(operation->memory);
}

static void s54_no_writer_over_a_clean_entry(void **state)
{
	(void)state;
	for (unsigned i = 0; i < sizeof(operations) / sizeof(*operations); i++) {
		run(&operations[i], 0);
		run(&operations[i], OPTION_WRITE_PROTECT | OPTION_MKCLEAN);
	}
}

/* The other half: without the touch the entry stays clean under a page that may be written. */
static void s54_a_lookup_alone_is_not_enough(void **state)
{
	struct mm_page page;

	(void)state;
	open_memory(OWN, 0);
	store_all(1);
	lru_drain(arena.host);
	assert_true(op_lazyfree());
	assert_int_equal(mm_lookup(space, hva(BASE), ACCESS_WRITE, &page), STATUS_OK);
	assert_true(page.writable);
	assert_false(pte_dirty(entry(BASE).pte));
	second_stores(0, 2);
	assert_true(pte_dirty(entry(BASE).pte));
	close_memory(OWN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(s54_no_writer_over_a_clean_entry),
		cmocka_unit_test(s54_a_lookup_alone_is_not_enough),
	};

	return cmocka_run_group_tests_name("mm/pair", tests, NULL, NULL);
}
