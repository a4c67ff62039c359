/*
 * Races made to happen: the allocator's watch does, at the one moment when it matters, what another
 * CPU (or the process's own, which sets A and D without a lock) might do there.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "mm/space.h"
#include "tests/host/arena.h"

#define MIB  UINT64_C(0x100000)
#define BASE (UINT64_C(64) << 30)

static struct arena arena;
static struct space *space;
static struct page_watch arena_watch;
static void (*meanwhile)(void);			/* once, after the next allocation */

static void on_allocated(struct page_watch *self, pfn_t head, unsigned order)
{
	void (*now)(void) = meanwhile;

	arena_watch.allocated(self, head, order);
	meanwhile = NULL;
	if (now)
		now();
}

static int open_space(void **state)
{
	(void)state;
	if (space_create(arena_open(&arena, 64), &space) != STATUS_OK)
		return 1;
	arena_watch = arena.watch;
	arena.watch.allocated = on_allocated;
	return space_map(space, hva(BASE), 4 * MIB, PROTECTION_READ_WRITE, LEVEL_2M) != STATUS_OK;
}

static int close_space(void **state)
{
	(void)state;
	assert_null(meanwhile);
	space_verify(space);
	space_destroy(space);
	arena_close(&arena);
	return 0;
}

static struct place entry(uint64_t address) NOT_CHECKED { return table_find(space, address); }

static struct mm_page other_page;

/* ------------------------------------------------------------------ two faults at once */

static void other_faults(void)
{
	uint64_t value = 7;

	assert_int_equal(space_write(space, hva(BASE), &value, sizeof(value)), STATUS_OK);
	assert_int_equal(mm_lookup(space, hva(BASE), ACCESS_WRITE, &other_page), STATUS_OK);
}

static void two_faults(void **state)
{
	struct mm_page page;
	uint64_t found = 0;

	(void)state;
	meanwhile = other_faults;
	assert_int_equal(mm_lookup(space, hva(BASE), ACCESS_WRITE, &page), STATUS_OK);
	assert_int_equal(page.frame.raw, other_page.frame.raw);
	assert_int_equal(folio_refcount(arena.host, page.frame), 1);
	assert_int_equal(space_read(space, hva(BASE), &found, sizeof(found)), STATUS_OK);
	assert_int_equal(found, 7);

	/* The other was first, before this one had allocated anything. */
	assert_int_equal(fault_in(space, BASE, ACCESS_WRITE), STATUS_OK);
	assert_int_equal(entry(BASE).pte.bits & PTE_FRAME, page.frame.raw << PAGE_SHIFT);
}

static void other_faults_small(void)
{
	arena_fail_from_order(&arena, ORDER_2M);
	assert_int_equal(mm_lookup(space, hva(BASE + PAGE_SIZE), ACCESS_WRITE, &other_page),
			 STATUS_OK);
	arena_fail_after(&arena, -1);
}

/* This one has a large folio, but a small page is in its way now. */
static void large_fault_after_a_small_one(void **state)
{
	struct mm_page page;

	(void)state;
	meanwhile = other_faults_small;
	assert_int_equal(mm_lookup(space, hva(BASE), ACCESS_WRITE, &page), STATUS_OK);
	assert_int_equal(page.level, LEVEL_4K);
	assert_int_equal(other_page.level, LEVEL_4K);
}

/* ------------------------------------------------------------------ the mapping goes */

static void other_unmaps(void)
{
	assert_int_equal(space_unmap(space, hva(BASE), 4 * MIB), STATUS_OK);
}

static void other_protects(void)
{
	assert_int_equal(space_protect(space, hva(BASE), 4 * MIB, PROTECTION_READ), STATUS_OK);
}

static void other_unmaps_half(void)
{
	assert_int_equal(space_unmap(space, hva(BASE + MIB), 3 * MIB), STATUS_OK);
}

static void mapping_goes(void **state)
{
	struct mm_page page;

	(void)state;
	meanwhile = other_protects;
	assert_int_equal(mm_lookup(space, hva(BASE), ACCESS_WRITE, &page), STATUS_NO_ACCESS);
	meanwhile = other_unmaps_half;
	assert_int_equal(mm_lookup(space, hva(BASE), ACCESS_READ, &page), STATUS_OK);
	assert_int_equal(page.level, LEVEL_4K);
	meanwhile = other_unmaps;
	assert_int_equal(mm_lookup(space, hva(BASE + PAGE_SIZE), ACCESS_READ, &page),
			 STATUS_NOT_FOUND);
}

/* ------------------------------------------------------------------ the CPU sets A and D */

static pte_slot_t *touched;

static void cpu_writes(void)
{
	atomic_or(touched, PTE_A | PTE_D);
}

/* Between a split's look at the large leaf and its link of the 512 small ones. */
static void split_keeps_dirty(void **state)
{
	struct mm_page page;

	(void)state;
	assert_int_equal(mm_lookup(space, hva(BASE), ACCESS_READ, &page), STATUS_OK);
	touched = entry(BASE).slot;
	assert_false(pte_dirty(entry(BASE).pte));
	meanwhile = cpu_writes;
	assert_int_equal(space_discard(space, hva(BASE), PAGE_SIZE), STATUS_OK);
	assert_int_equal(entry(BASE + PAGE_SIZE).level, LEVEL_4K);
	assert_true(pte_dirty(entry(BASE + PAGE_SIZE).pte));
	assert_true(pte_dirty(entry(BASE + 2 * MIB - 1).pte));
	assert_int_equal(folio_mapcount(arena.host, page.frame), 511);
}

/* Between a migration's look at the leaf and its exchange: the content is copied after that. */
static void migration_keeps_dirty(void **state)
{
	struct mm_page page, moved_page;
	uint64_t moved;

	(void)state;
	assert_int_equal(space_map(space, hva(0), PAGE_SIZE, PROTECTION_READ_WRITE, LEVEL_4K),
			 STATUS_OK);
	assert_int_equal(mm_lookup(space, hva(0), ACCESS_READ, &page), STATUS_OK);
	touched = entry(0).slot;
	meanwhile = cpu_writes;
	assert_int_equal(space_migrate(space, hva(0), PAGE_SIZE, &moved), STATUS_OK);
	assert_int_equal(moved, 1);
	assert_int_equal(mm_lookup(space, hva(0), ACCESS_READ, &moved_page), STATUS_OK);
	assert_int_not_equal(moved_page.frame.raw, page.frame.raw);
	assert_true(folio_dirty(arena.host, moved_page.frame));
	assert_true(pte_dirty(entry(0).pte));
}

/* ------------------------------------------------------------------ words */

static void every_status_has_a_name(void **state)
{
	(void)state;
	for (unsigned i = STATUS_OK; i <= STATUS_IO_ERROR; i++) {
		assert_string_not_equal(status_name((enum status)i), "unknown status");
		for (unsigned k = 0; k < i; k++)
			assert_string_not_equal(status_name((enum status)i),
						status_name((enum status)k));
	}
	assert_string_equal(status_name((enum status)(STATUS_IO_ERROR + 1)), "unknown status");
}

#define IN_SPACE(test) cmocka_unit_test_setup_teardown(test, open_space, close_space)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_SPACE(two_faults),
		IN_SPACE(large_fault_after_a_small_one),
		IN_SPACE(mapping_goes),
		IN_SPACE(split_keeps_dirty),
		IN_SPACE(migration_keeps_dirty),
		cmocka_unit_test(every_status_has_a_name),
	};

	return cmocka_run_group_tests_name("mm/race", tests, NULL, NULL);
}
