/*
 * Users without page tables, and lookups that touch, hold, or take from a pool, against those who
 * change entries.
 */
#include "tests/explore/world.h"

/* ------------------------------------------------------------------ a reference without a lock */

static void open_five(void) { world_open_touched(1, 5); }

/* Whatever happens to the mapping: what was got is that page, and stays. */
static void get_fast(void)
{
	struct mm_page page;

	if (gup_get_fast(world.space, page_hva(0), GUP_FAST_ONLY, &page) != STATUS_OK)
		return;
	check(atomic_read((atomic64_t *)pfn_to_ptr(page.frame)) == 5);
	gup_put(world.host, page.frame);
}

static void hold(void)
{
	struct mm_page page;

	if (mm_lookup_with(world.space, page_hva(0), ACCESS_READ, LOOKUP_HOLD, &page) != STATUS_OK)
		return;
	check(atomic_read((atomic64_t *)pfn_to_ptr(page.frame)) == 5);
	gup_put(world.host, page.frame);
}

static void unmap(void)
{
	check(space_unmap(world.space, page_hva(0), PAGE_SIZE) == STATUS_OK);
}

SCENARIO(get_fast_unmap, .rule = "a page that is got without a lock is not freed (S16)",
	 .setup = open_five, .actors = { get_fast, unmap }, .verify = world_verify,
	 .name_word = world_name);

static void verify_five(void)
{
	check(process_loads(0) == 5);
	world_verify();
}

SCENARIO(hold_migrate, .rule = "a page that is held stays, or had moved before (S89, S95)",
	 .setup = open_five, .actors = { hold, migrate_first }, .verify = verify_five,
	 .name_word = world_name);

/* What is written by the reference is in the page, wherever the page is then. */
static void write_fast(void)
{
	struct mm_page page;

	check(gup_get_fast(world.space, page_hva(0), GUP_WRITE, &page) == STATUS_OK);
	atomic_write((atomic64_t *)pfn_to_ptr(page.frame), 7);
	gup_put_dirty(world.host, page.frame);
}

SCENARIO(write_fast_migrate, .rule = "no page moves away from who writes by a reference (S46)",
	 .setup = open_five, .actors = { write_fast, migrate_first }, .verify = verify_seven,
	 .name_word = world_name);

/* ---------------------------------- A and D, by hand and by a CPU */

static pte_slot_t *slot_of_first(void)
{
	read_lock(&world.space->lock);
	pte_slot_t *slot = table_find(world.space, WORLD_BACKING).slot;

	read_unlock(&world.space->lock);
	return slot;
}

static void open_untouched(void)
{
	open_five();
	atomic_and(slot_of_first(), ~(PTE_A | PTE_D));
}

static void touch_for_read(void)
{
	struct mm_page page;

	check(mm_lookup_with(world.space, page_hva(0), ACCESS_READ, LOOKUP_TOUCH, &page) ==
	      STATUS_OK);
}

static void touch_for_write(void)
{
	struct mm_page page;

	check(mm_lookup_with(world.space, page_hva(0), ACCESS_WRITE, LOOKUP_TOUCH, &page) ==
	      STATUS_OK);
}

static void process_writes(void)
{
	char value = 5;

	check(space_write(world.space, page_hva(0), &value, 1) == STATUS_OK);
}

static void verify_touched(void)
{
	check((pte_read(slot_of_first()).bits & (PTE_A | PTE_D)) == (PTE_A | PTE_D));
	world_verify();
}

SCENARIO(touch_beside_cpu, .rule = "software's A and the CPU's D are both there in the end (S27)",
	 .setup = open_untouched, .actors = { touch_for_read, process_writes },
	 .verify = verify_touched, .name_word = world_name);

SCENARIO(touch_beside_touch, .rule = "two that touch forget nothing of each other (S24, S27)",
	 .setup = open_untouched, .actors = { touch_for_read, touch_for_write },
	 .verify = verify_touched, .name_word = world_name);

/* ------------------------------------------------------------------ the last page of a pool */

static struct pool *pool;
static const hva_t pooled = { WORLD_BACKING << 1 };

static void open_pool(void)
{
	world_open(1, LEVEL_4K);
	check(pool_create(world.host, LEVEL_2M, 1, &pool) == STATUS_OK);
	check(space_map_pool(world.space, pooled, level_bytes(LEVEL_2M), PROTECTION_READ_WRITE,
			     pool) == STATUS_OK);
}

static void write_at(uint64_t at)
{
	char value = 7;

	check(space_write(world.space, hva_add(pooled, at), &value, 1) == STATUS_OK);
}

static void write_low(void) { write_at(0); }
static void write_high(void) { write_at(PAGE_SIZE); }

static void verify_pool(void)
{
	struct pool_stats stats;
	char low = 0, high = 0;

	check(space_read(world.space, pooled, &low, 1) == STATUS_OK);
	check(space_read(world.space, hva_add(pooled, PAGE_SIZE), &high, 1) == STATUS_OK);
	pool_read_stats(pool, &stats);
	check(low == 7 && high == 7 && !stats.free && !stats.promised);
	space_verify(world.space);
}

SCENARIO(pool_twice, .rule = "two faults on one page take one page of the pool, the last",
	 .setup = open_pool, .actors = { write_low, write_high }, .verify = verify_pool,
	 .name_word = world_name);
