/* EPT faults against the host that takes memory away, and against each other. */
#include "tests/explore/world.h"

/* ------------------------------------------------------------------ fault against zap */

static void open_untouched(void)
{
	uint64_t zero = 0;

	world_open(2, LEVEL_4K);
	check(space_write(world.space, page_hva(0), &zero, sizeof(zero)) == STATUS_OK);
}

SCENARIO(fault_migrate, .rule = "a store that faults while its page moves is in the page (I1, I6)",
	 .setup = open_untouched, .actors = { store_seven, migrate_first }, .verify = verify_seven,
	 .name_word = world_name);

static void discard(void)
{
	check(space_discard(world.space, page_hva(0), PAGE_SIZE) == STATUS_OK);
}

SCENARIO(fault_discard, .rule = "no frame is freed while the EPT maps it (I1, I8)",
	 .setup = open_untouched, .actors = { store_seven, discard }, .verify = world_verify,
	 .name_word = world_name);

/* The host says no, or the EPT has no region any more; what is mapped then, verify knows. */
static void store_or_fail(void)
{
	enum fault_result result = soft_store(&world.cpus[0], page_gpa(0), 7);

	check(result == FAULT_FIXED || result == FAULT_NO_HOST || result == FAULT_NO_REGION);
	guest_leaves();
}

static void protect(void)
{
	check(space_protect(world.space, page_hva(0), PAGE_SIZE, PROTECTION_READ) == STATUS_OK);
}

SCENARIO(fault_protect, .rule = "no leaf is writable where the process may not write (I1)",
	 .setup = open_untouched, .actors = { store_or_fail, protect }, .verify = world_verify,
	 .name_word = world_name);

static void unmap(void)
{
	check(space_unmap(world.space, page_hva(0), PAGE_SIZE) == STATUS_OK);
}

SCENARIO(fault_unmap, .rule = "no leaf outlives its mapping (I1, I8)", .setup = open_untouched,
	 .actors = { store_or_fail, unmap }, .verify = world_verify, .name_word = world_name);

static void remove_region(void)
{
	check(ept_region_remove(world.ept, gfn(0)) == STATUS_OK);
}

SCENARIO(fault_remove, .rule = "no leaf without a region (I7, U23)", .setup = open_untouched,
	 .actors = { store_or_fail, remove_region }, .verify = world_verify,
	 .name_word = world_name);

/* ------------------------------------------------------------------ two faults, one entry */

SCENARIO(two_faults, .rule = "two faults on one entry make one leaf, and one set of tables (U24)",
	 .setup = open_untouched, .actors = { store_seven, store_seven }, .verify = verify_seven,
	 .name_word = world_name);
