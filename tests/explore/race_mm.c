/* The host alone: its allocator, and what a processor sets in its tables meanwhile. */
#include "tests/explore/world.h"

static pfn_t kept;

/* ------------------------------------------------------------------ the allocator */

static void open_kept(void)
{
	world_open(1, LEVEL_4K);
	check(folio_alloc(world.host, 1, &kept) == STATUS_OK);
}

static void allocate_and_free(void)
{
	pfn_t frame;

	check(folio_alloc(world.host, ORDER_4K, &frame) == STATUS_OK);
	check(frame.raw >> 1 != kept.raw >> 1);
	folio_put(world.host, frame);
}

static void look_up(void)
{
	folio_get(world.host, pfn_add(kept, 1));
	check(folio_head(world.host, pfn_add(kept, 1)).raw == kept.raw);
	folio_put(world.host, pfn_add(kept, 1));
}

static void verify_kept(void)
{
	check(folio_refcount(world.host, kept) == 1);
	folio_put(world.host, kept);
	world_verify();
}

SCENARIO(allocate_twice, .rule = "no frame is lent twice", .setup = open_kept,
	 .actors = { allocate_and_free, allocate_and_free, look_up },
	 .verify = verify_kept, .name_word = world_name);

static void put_last(void) { folio_put(world.host, kept); }

static void open_shared(void)
{
	open_kept();
	folio_get(world.host, kept);
}

/* Found by its second frame, for as long as the reference lasts. */
static void look_up_and_put(void)
{
	check(folio_head(world.host, pfn_add(kept, 1)).raw == kept.raw);
	folio_put(world.host, pfn_add(kept, 1));
}

static void put_and_allocate(void)
{
	pfn_t frame;

	folio_put(world.host, kept);
	check(folio_alloc(world.host, ORDER_4K, &frame) == STATUS_OK);
	folio_put(world.host, frame);
}

SCENARIO(look_up_allocate,
	 .rule = "a folio that is held is found, whatever is freed and lent again",
	 .setup = open_shared, .actors = { look_up_and_put, put_and_allocate },
	 .verify = world_verify, .name_word = world_name);

SCENARIO(last_put, .rule = "the last put frees, and only that one", .setup = open_shared,
	 .actors = { put_last, put_last }, .verify = world_verify, .name_word = world_name);

/* ------------------------------------------------------------------ marks */

static void mark_dirty(void) { folio_mark_dirty(world.host, kept); }
static void mark_accessed(void) { folio_mark_accessed(world.host, pfn_add(kept, 1)); }

static void verify_marks(void)
{
	check(folio_dirty(world.host, kept) && folio_accessed(world.host, kept));
	check(folio_order(world.host, kept) == 1);
	verify_kept();
}

SCENARIO(marks_together, .rule = "no mark of a folio is lost to another (I6)", .setup = open_kept,
	 .actors = { mark_dirty, mark_accessed, mark_dirty }, .verify = verify_marks,
	 .name_word = world_name);

/* ------------------------------------------------------------------ D set by a processor */

static void open_huge(void)
{
	uint64_t value = 0;

	world_open(512, LEVEL_2M);
	check(space_read(world.space, page_hva(0), &value, sizeof(value)) == STATUS_OK);
	soft_host_init(&world.cpus[0], world.space);
}

static void process_stores(void)
{
	uint64_t value = 7;

	check(soft_process(&world.cpus[0], world.space, page_hva(0), ACCESS_WRITE, &value) ==
	      STATUS_OK);
	soft_process_leave(&world.cpus[0], world.space);
}

static void split(void)
{
	check(space_split(world.space, page_hva(0), 512 * PAGE_SIZE) == STATUS_OK);
}

static void verify_dirty(void)
{
	struct place place;

	read_lock(&world.space->lock);
	place = table_find(world.space, WORLD_BACKING);
	read_unlock(&world.space->lock);
	check(place.level == LEVEL_4K && pte_dirty(place.pte));
	check(process_loads(0) == 7);
	world_verify();
}

SCENARIO(split_dirty,
	 .rule = "a D that a processor sets during a split is in the new entries (S27)",
	 .setup = open_huge, .actors = { process_stores, split }, .verify = verify_dirty,
	 .name_word = world_name);

/* ------------------------------------------------------------------ references during a split */

static pfn_t huge;

/* Somebody else has the folio, too: its reference was taken where it was found. */
static void open_huge_shared(void)
{
	struct mm_page page;

	open_huge();
	check(mm_peek(world.space, page_hva(0), &page) == STATUS_OK);
	huge = page.frame;
	folio_get(world.host, huge);
}

static void put_huge(void) { folio_put(world.host, huge); }

static void verify_references(void)
{
	check(folio_refcount(world.host, huge) == 512 && folio_mapcount(world.host, huge) == 512);
	world_verify();
}

SCENARIO(split_references, .rule = "a reference that is put during a split is gone",
	 .setup = open_huge_shared, .actors = { put_huge, split }, .verify = verify_references,
	 .name_word = world_name);

/* ------------------------------------------------------------------ two that touch a page */

static void open_untouched(void)
{
	uint64_t value = 0;
	struct place place;

	world_open(1, LEVEL_4K);
	check(space_read(world.space, page_hva(0), &value, sizeof(value)) == STATUS_OK);
	read_lock(&world.space->lock);
	place = table_find(world.space, WORLD_BACKING);
	read_unlock(&world.space->lock);
	atomic_and(place.slot, ~(PTE_A | PTE_D));
}

static void process_reads(void)
{
	uint64_t first;

	check(space_read(world.space, page_hva(0), &first, 1) == STATUS_OK);
}

/* Not the byte that the other reads: what a process's threads agree on is their own affair. */
static void process_writes(void)
{
	char value = 7;

	check(space_write(world.space, hva_add(page_hva(0), 8), &value, 1) == STATUS_OK);
}

static void verify_touched(void)
{
	struct place place;

	read_lock(&world.space->lock);
	place = table_find(world.space, WORLD_BACKING);
	read_unlock(&world.space->lock);
	check(place.pte.bits & PTE_A && pte_dirty(place.pte));
	world_verify();
}

SCENARIO(touch_together, .rule = "who reads a page forgets no D of who writes it (S27)",
	 .setup = open_untouched, .actors = { process_reads, process_writes },
	 .verify = verify_touched, .name_word = world_name);
