/* A guest's own memory, punched under it. */
#include "tests/explore/world.h"

static struct memfd *memfd;
enum { FRAME = 64 };

static void open_memfd(void)
{
	struct region region = { gfn(FRAME), 2, hva(0), REGION_READ_WRITE, LEVEL_4K };

	world_open(1, LEVEL_4K);
	check(memfd_create(world.host, 2, &memfd) == STATUS_OK);
	check(ept_region_add_memfd(world.ept, &region, memfd) == STATUS_OK);
}

static void open_filled(void)
{
	open_memfd();
	guest_stores(FRAME, 5);
	guest_leaves();
}

static void store_seven_there(void)
{
	guest_stores(FRAME, 7);
	guest_leaves();
}

static void store_beside(void)
{
	guest_stores(FRAME + 1, 8);
	guest_leaves();
}

/* The frame's next user finds it as he leaves it. */
static void punch(void)
{
	pfn_t frame;

	check(memfd_punch(memfd, 0, 1) == STATUS_OK);
	check(folio_alloc(world.host, ORDER_4K, &frame) == STATUS_OK);
	atomic_write((atomic64_t *)pfn_to_ptr(frame), 1);
	check(atomic_read((atomic64_t *)pfn_to_ptr(frame)) == 1);
	folio_put(world.host, frame);
}

static void verify_punched(void)
{
	uint64_t value = guest_loads(FRAME);

	guest_leaves();
	check(value == 0 || value == 7);
	ept_verify(world.ept);
	check(ept_region_remove(world.ept, gfn(FRAME)) == STATUS_OK);
	check(memfd_destroy(memfd) == STATUS_OK);
	world_verify();
}

SCENARIO(punch, .rule = "no guest stores to a page that was punched (I7, I8)", .setup = open_filled,
	 .actors = { store_seven_there, punch }, .verify = verify_punched, .name_word = world_name);

static void verify_filled(void)
{
	check(memfd_filled(memfd) == 1 && guest_loads(FRAME) == 7);
	guest_leaves();
	ept_verify(world.ept);
	check(ept_region_remove(world.ept, gfn(FRAME)) == STATUS_OK);
	check(memfd_destroy(memfd) == STATUS_OK);
	world_verify();
}

SCENARIO(memfd_fill, .rule = "two first touches are of one page", .setup = open_memfd,
	 .actors = { store_seven_there, store_seven_there }, .verify = verify_filled,
	 .name_word = world_name);

static void verify_both(void)
{
	check(memfd_filled(memfd) <= 2 && guest_loads(FRAME + 1) == 8);
	guest_leaves();
	verify_punched();
}

SCENARIO(punch_beside, .rule = "a page beside what is punched keeps its stores (I6)",
	 .setup = open_filled, .actors = { store_beside, punch }, .verify = verify_both,
	 .name_word = world_name);
