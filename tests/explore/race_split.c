/* A folio of two pages is split in two, against those who use, find, or unmap a page of it. */
#include "mm/rmap.h"
#include "tests/explore/world.h"

static pfn_t pair;

static void map_half(uint64_t page) HOLDS(world.space->lock)
{
	struct gather gather = gather_begin(world.space);
	uint64_t address = page_hva(page).raw;
	pte_t leaf = pte_make_leaf(pfn_add(pair, page), LEVEL_4K, PROTECTION_READ_WRITE);
	pte_slot_t *slot = table_make(world.space, address, LEVEL_4K);

	leaf.bits |= PTE_OWN;
	table_change(world.space, address, (struct place){ slot, pte_empty(), LEVEL_4K }, leaf,
		     CONTENT_STAYS, &gather);
}

static void open_pair(void)
{
	world_open(2, LEVEL_4K);
	check(folio_alloc_zeroed(world.host, 1, &pair) == STATUS_OK);
	folio_make_anon(world.host, pair, world.space->family, WORLD_BACKING >> PAGE_SHIFT);
	folio_get(world.host, pair);
	write_lock(&world.space->lock);
	map_half(0);
	map_half(1);
	write_unlock(&world.space->lock);
}

/* As reclaim does: it knows a frame. */
static void split_pair(void)
{
	pfn_t head;

	if (!folio_find(world.host, pair, &head))
		return;
	folio_lock(world.host, head);
	enum status status = folio_split(world.host, head);

	check(status == STATUS_OK || status == STATUS_IN_USE);
	folio_unlock(world.host, head);
	folio_put(world.host, head);
}

/* Nobody but the entries has a reference now. */
static void verify_counts(void)
{
	for (uint64_t i = 0; i < 2; i++)
		check(folio_refcount(world.host, pfn_add(pair, i)) ==
		      folio_mapcount(world.host, pfn_add(pair, i)));
	world_verify();
}

/* ------------------------------------------------------------------ found by its number */

static void find_second(void)
{
	pfn_t second = pfn_add(pair, 1), head;

	if (!folio_find(world.host, second, &head))
		return;
	check(folio_head(world.host, second).raw == head.raw);
	folio_put(world.host, second);
}

SCENARIO(split_find, .rule = "who finds a page while its folio is split has the folio it is in",
	 .setup = open_pair, .actors = { find_second, split_pair }, .verify = verify_counts,
	 .name_word = world_name);

/* The host's own census meets no folio half split. */
static void verify_host(void) { host_verify(world.host); }

SCENARIO(split_census, .rule = "all frames are accounted for while a folio is split",
	 .setup = open_pair, .actors = { verify_host, split_pair }, .verify = verify_counts,
	 .name_word = world_name);

/* ------------------------------------------------------------------ used meanwhile */

static void store_to_second(void)
{
	guest_stores(1, 7);
	guest_leaves();
}

static void verify_second(void)
{
	check(folio_dirty(world.host, pfn_add(pair, 1)));
	check(process_loads(1) == 7);
	verify_counts();
}

SCENARIO(split_guest, .rule = "a store's mark is its page's, whatever folio that is in (I6)",
	 .setup = open_pair, .actors = { store_to_second, split_pair }, .verify = verify_second,
	 .name_word = world_name);

static void process_stores(void)
{
	uint64_t value = 7;

	check(space_write(world.space, page_hva(1), &value, sizeof(value)) == STATUS_OK);
}

static void verify_entry(void)
{
	read_lock(&world.space->lock);
	struct place place = table_find(world.space, page_hva(1).raw);

	read_unlock(&world.space->lock);
	check(pte_dirty(place.pte) && pte_own(place.pte) &&
	      pte_frame(place.pte).raw == pair.raw + 1);
	check(process_loads(1) == 7);
	verify_counts();
}

SCENARIO(split_store,
	 .rule = "a D that a processor sets before an entry is parked comes back (S27)",
	 .setup = open_pair, .actors = { process_stores, split_pair }, .verify = verify_entry,
	 .name_word = world_name);

/* ------------------------------------------------------------------ unmapped meanwhile */

static void discard_second(void)
{
	check(space_discard(world.space, page_hva(1), PAGE_SIZE) == STATUS_OK);
}

/* Freed by the split or by the discard, or kept by a folio that was not split. */
static void verify_first(void)
{
	pfn_t head;

	check(folio_refcount(world.host, pair) == 1 && folio_mapcount(world.host, pair) == 1);
	check(folio_find(world.host, pfn_add(pair, 1), &head) ==
	      (folio_order(world.host, pair) == 1));
	if (folio_order(world.host, pair) == 1)
		folio_put(world.host, head);
	check(process_loads(1) == 0);
	world_verify();
}

SCENARIO(split_discard, .rule = "a page that is unmapped while its folio is split is free, once",
	 .setup = open_pair, .actors = { discard_second, split_pair }, .verify = verify_first,
	 .name_word = world_name);

/* ------------------------------------------------------------------ two processes */

static struct space *child;

static void fork_it(void) { check(space_fork(world.space, &child) == STATUS_OK); }

/* Who splits has a reference: fork may take the page for one in use, and copy it. */
static void verify_child(void)
{
	uint64_t value = 1;

	for (uint64_t i = 0; i < 2; i++) {
		check(space_read(child, page_hva(i), &value, sizeof(value)) == STATUS_OK && !value);
		check(process_loads(i) == 0);
	}
	space_verify(child);
	space_destroy(child);
	verify_counts();
}

SCENARIO(split_fork,
	 .rule = "a process that is forked meanwhile has each page, and no count is wrong",
	 .setup = open_pair, .actors = { fork_it, split_pair }, .verify = verify_child,
	 .name_word = world_name);
