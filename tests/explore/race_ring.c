/*
 * Rings of dirty pages against stores. As in race_log.c, who harvests keeps a copy by what the ring
 * lists, and the bitmap for what it has no room for (U33).
 */
#include "ept/ring.h"
#include "tests/explore/world.h"

static struct ept_ring *ring;
static uint64_t copy;

static void take_copy(void)
{
	atomic_copy(&copy, pfn_to_ptr(pte_frame(table_find(world.space, WORLD_BACKING).pte)),
		    sizeof(copy));
}

/* The ring is the first actor's. */
static void open_ring(void) NOT_CHECKED
{
	const struct log_options options = { .kind = LOG_RING };

	world_open_touched(1, 5);
	check(ept_log_enable(world.ept, gfn(0), &options) == STATUS_OK);
	check(ept_ring_create(world.ept, EPT_RING_LEAST, &ring) == STATUS_OK);
	ept_ring_use(world.ept, ring);
	take_copy();
}

static void open_listed(void)
{
	open_ring();
	guest_stores(0, 6);
	guest_leaves();
}

static void harvest(void) NOT_CHECKED
{
	gfn_t frame;
	unsigned count = ept_ring_harvest(ring, &frame, 1);

	check(ept_ring_reset(world.ept, ring) == count);
	if (count)
		take_copy();
}

static void verify_copy(void) NOT_CHECKED
{
	uint64_t word;

	for (unsigned i = 0; i < 3; i++)
		harvest();
	check(ept_log_get(world.ept, gfn(0), &word) == STATUS_OK);
	if (word)
		take_copy();
	check(copy == process_loads(0));
	check(ept_log_disable(world.ept, gfn(0)) == STATUS_OK);
	ept_ring_destroy(world.ept, ring);
	world_verify();
}

SCENARIO(ring_fault, .rule = "a store by a fault is in this harvest or the next (U33)",
	 .setup = open_ring, .actors = { store_seven, harvest }, .verify = verify_copy,
	 .name_word = world_name);
SCENARIO(ring_reset, .rule = "reset comes before the page is read (U33)",
	 .setup = open_listed, .actors = { store_seven, harvest }, .verify = verify_copy,
	 .name_word = world_name);

/* What its TLB has forgotten by then it finds in the tables. */
static unsigned choose(struct soft_cpu *cpu, unsigned n)
{
	(void)cpu;
	return explore_choose(n);
}

static void open_forgetful(void)
{
	open_listed();
	world.cpus[0].choose = choose;
}

SCENARIO(ring_reset_tlb, .rule = "an entry is free when W is gone, not before (U33)",
	 .setup = open_forgetful, .actors = { store_seven, harvest }, .verify = verify_copy,
	 .name_word = world_name);
