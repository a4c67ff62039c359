/* host_verify and space_verify find what is wrong: each rule broken by hand, once. */
#include "tests/unit/space_fixture.h"

/* Small pages, a large one, a neighbour that differs by its rights alone, one by its level. */
static int open_sound(void **state)
{
	if (open_space(state))
		return -1;
	map(BASE, 4 * PAGE_SIZE, LEVEL_4K);
	map(BASE + 4 * MIB, 2 * MIB, LEVEL_2M);
	map(BASE + 6 * MIB, 2 * MIB, LEVEL_4K);
	look_up(BASE, ACCESS_WRITE);
	look_up(BASE + PAGE_SIZE, ACCESS_WRITE);
	look_up(BASE + 4 * MIB, ACCESS_WRITE);
	host_verify(arena.host);
	space_verify(space);
	return 0;
}

static int abandon(void **state)
{
	(void)state;
	arena_abandon(&arena);
	return 0;
}

static void put(uint64_t address, uint64_t bits) { atomic_write(entry(address).slot, bits); }
static uint64_t bits_at(uint64_t address) { return entry(address).pte.bits; }
static struct folio *page_at(uint64_t address)
{
	return page_folio(arena.host, pte_frame(entry(address).pte));
}

/* The metadata of the lowest table on the way to the address. */
static struct folio *table_at(uint64_t address)
{
	return page_folio(arena.host, ptr_to_pfn(entry(address).slot));
}

/* The order of the smallest free block. */
static unsigned lowest(void) { return (unsigned)__builtin_ctz(arena.host->free_orders); }

static struct folio *first_free(void)
{
	return page_folio(arena.host, pfn(arena.host->free_heads[lowest()]));
}

/* The lock is held at each look: a panic leaves it so. */
static bool space_is_locked(void) { return atomic_read(&space->lock.readers) == RWLOCK_WRITER; }
static bool host_is_locked(void)
{
	return atomic_read(&arena.host->lock.next) != atomic_read(&arena.host->lock.serving);
}

/* Two lists of one block each: every count stays right. */
static void exchange_lists(void)
{
	uint32_t *heads = arena.host->free_heads, *other = NULL;

	for (unsigned order = 0; order <= ORDER_MAX; order++) {
		if (heads[order] == NO_FRAME ||
		    page_folio(arena.host, pfn(heads[order]))->next != NO_FRAME)
			continue;
		if (other) {
			uint32_t head = heads[order];

			heads[order] = *other;
			*other = head;
			return;
		}
		other = &heads[order];
	}
	fail();
}

#define damage(name, verify, locked, what, message)                                         \
	static void name(void **state)                                                      \
	{                                                                                   \
		(void)state;                                                                \
		what;                                                                       \
		assert_true(panics(verify, message));                                       \
		assert_true(locked);                                                        \
	}
#define space_damage(name, what, message)                                                   \
	damage(name, space_verify(space), space_is_locked(), what, message)
#define host_damage(name, what, message)                                                    \
	damage(name, host_verify(arena.host), host_is_locked(), what, message)

space_damage(vma_beyond_space, space->vmas[2].end = SPACE_END + PAGE_SIZE, "SPACE_END")
space_damage(vma_start_unaligned, space->vmas[1].start += 1, "PAGE_MASK")
space_damage(vma_level_low, space->vmas[0].max_level = 0, "max_level")
space_damage(vma_level_high, space->vmas[0].max_level = 4, "max_level")
space_damage(vmas_overlap, space->vmas[0].end = BASE + 5 * MIB, "next->start")
space_damage(vmas_not_merged, space->vmas[2].max_level = LEVEL_2M, "vma_can_merge")
space_damage(table_flags, atomic_or(&table_at(BASE)->flags, FOLIO_DIRTY), "FOLIO_TABLE")
space_damage(table_shared, atomic_add(&table_at(BASE)->refcount, 1), "refcount) == 1")
space_damage(entries_wrong, table_at(BASE)->entries++, "entries == entries")
space_damage(table_empty, (table_at(BASE)->entries = 0, put(BASE, 0), put(BASE + PAGE_SIZE, 0)),
	     "entries || level")
space_damage(half_a_leaf, put(BASE + 4 * MIB, bits_at(BASE + 4 * MIB) + PAGE_SIZE), "frames - 1")
space_damage(leaf_of_a_table, put(BASE, (bits_at(BASE) & ~PTE_FRAME) |
		pfn_to_hpa(ptr_to_pfn(entry(BASE).slot)).raw), "")
space_damage(leaf_larger_than_folio, atomic_write(&page_at(BASE + 4 * MIB)->flags,
		FOLIO_USED | (ORDER_2M - 1)), "level_order")
space_damage(leaf_beyond_vma, (space->vma_count = 2, space->vmas[1].end -= MIB), "vma->end")
space_damage(leaf_outside_vmas, space->vmas[0].start = BASE + PAGE_SIZE, "vma &&")
space_damage(leaf_without_right, put(BASE, (bits_at(BASE) & ~PTE_P) | PTE_NONE), "pte_present")
space_damage(leaf_writable, space->vmas[0].protection = PROTECTION_READ, "!pte_writable")
space_damage(leaf_not_counted, folio_unmap(page_block(arena.host, pte_frame(entry(BASE).pte))),
	     "mapcount")
space_damage(leaf_twice, put(BASE, bits_at(BASE + PAGE_SIZE)), "mapcount")
space_damage(leaf_without_reference, atomic_write(&page_at(BASE)->refcount, 0), "refcount")

host_damage(list_lost, (arena.host->free_heads[lowest()] = NO_FRAME,
			arena.host->free_orders &= arena.host->free_orders - 1), "!blocks")
host_damage(order_not_noted, arena.host->free_orders &= arena.host->free_orders - 1, "free_orders")
host_damage(list_of_other_order, atomic_add(&first_free()->flags, 1), "")
host_damage(lists_exchanged, exchange_lists(), "FOLIO_FREE | order")
host_damage(list_circular, first_free()->next = arena.host->free_heads[lowest()], "previous")
host_damage(list_torn, first_free()->previous = 3, "previous")
host_damage(pages_lost, arena.host->pages_total++, "pages_total")
host_damage(pages_free_wrong, arena.host->pages_free++, "pages_free")

#define verify_test(name) cmocka_unit_test_setup_teardown(name, open_sound, abandon)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		verify_test(vma_beyond_space), verify_test(vma_start_unaligned),
		verify_test(vma_level_low), verify_test(vma_level_high), verify_test(vmas_overlap),
		verify_test(vmas_not_merged), verify_test(table_flags), verify_test(table_shared),
		verify_test(entries_wrong), verify_test(table_empty), verify_test(half_a_leaf),
		verify_test(leaf_of_a_table), verify_test(leaf_larger_than_folio),
		verify_test(leaf_beyond_vma), verify_test(leaf_outside_vmas),
		verify_test(leaf_without_right), verify_test(leaf_writable),
		verify_test(leaf_not_counted), verify_test(leaf_twice),
		verify_test(leaf_without_reference), verify_test(list_lost),
		verify_test(order_not_noted), verify_test(list_of_other_order),
		verify_test(lists_exchanged), verify_test(list_circular), verify_test(list_torn),
		verify_test(pages_lost), verify_test(pages_free_wrong),
	};

	return cmocka_run_group_tests_name("mm/verify", tests, NULL, NULL);
}
