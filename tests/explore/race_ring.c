/*
 * Rings of dirty pages against stores. As in race_log.c, who harvests keeps a copy by what the ring
 * lists, and the bitmap for what it has no room for (U33). By rings alone a store that it has no
 * room for waits for it, and a device's is refused.
 */
#include "ept/ring.h"
#include "tests/explore/world.h"

static struct ept_ring *ring;
static enum log_kind kind;
static uint64_t copy;

static void take_copy(void)
{
	atomic_copy(&copy, pfn_to_ptr(pte_frame(table_find(world.space, WORLD_BACKING).pte)),
		    sizeof(copy));
}

static void enable(void)
{
	const struct log_options options = { .kind = kind };

	check(ept_log_enable(world.ept, gfn(0), &options) == STATUS_OK);
}

/* The ring is the first actor's. */
static void open_pages(uint64_t pages) NOT_CHECKED
{
	world_open_touched(pages, 5);
	enable();
	check(ept_ring_create(world.ept, EPT_RING_LEAST, &ring) == STATUS_OK);
	ept_ring_use(world.ept, ring);
	take_copy();
}

static void open_ring(void)
{
	kind = LOG_RING;
	open_pages(1);
}

static void open_listed(void)
{
	open_ring();
	guest_stores(0, 6);
	guest_leaves();
}

/* The copy is of the first page. */
static void harvest(void) NOT_CHECKED
{
	gfn_t frame;
	unsigned count = ept_ring_harvest(ring, &frame, 1);

	check(ept_ring_reset(world.ept, ring) == count);
	if (count && !frame.raw)
		take_copy();
}

static void verify_copy(void) NOT_CHECKED
{
	enum status has_bitmap = kind == LOG_RING ? STATUS_OK : STATUS_UNSUPPORTED;
	uint64_t word = 0;

	for (unsigned i = 0; i < 3; i++)
		harvest();
	check(ept_log_get(world.ept, gfn(0), &word) == has_bitmap);
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

/* ------------------------------------------------------------------ by rings alone */

static void open_only(void)
{
	kind = LOG_RING_ONLY;
	open_pages(1);
}

static void open_only_listed(void)
{
	open_only();
	guest_stores(0, 6);
	guest_leaves();
}

SCENARIO(ring_only_fault, .rule = "a store by a fault is in this harvest or the next (U33)",
	 .setup = open_only, .actors = { store_seven, harvest }, .verify = verify_copy,
	 .name_word = world_name);
SCENARIO(ring_only_reset, .rule = "reset comes before the page is read (U33)",
	 .setup = open_only_listed, .actors = { store_seven, harvest }, .verify = verify_copy,
	 .name_word = world_name);

/* Two entries, which list both pages: the next that is listed waits for a reset. */
static void open_only_full(void)
{
	kind = LOG_RING_ONLY;
	open_pages(2);
	ring->entries = 2;
	for (uint64_t page = 0; page < 2; page++)
		guest_stores(page, 6);
	guest_leaves();
}

/* As a vCPU that does not run until its ring is reset. */
static void store_when_listed(void)
{
	enum fault_result result;

	while ((result = soft_store(&world.cpus[0], page_gpa(0), 7)) == FAULT_RING_FULL) {
		guest_leaves();
		await(ring_has_room(ring));
	}
	check(result == FAULT_FIXED);
	guest_leaves();
}

SCENARIO(ring_only_full, .rule = "a store that no ring can list is made after a reset (U33)",
	 .setup = open_only_full, .actors = { store_when_listed, harvest }, .verify = verify_copy,
	 .name_word = world_name);

/* The first page is clean, and two others fill the ring: W is missing from the beginning. */
static void open_only_full_of_others(void)
{
	kind = LOG_RING_ONLY;
	open_pages(3);
	ring->entries = 2;
	for (uint64_t page = 1; page < 3; page++)
		guest_stores(page, 6);
	guest_leaves();
}

SCENARIO(ring_only_full_clean, .rule = "nor has its leaf W before (U33)",
	 .setup = open_only_full_of_others, .actors = { store_when_listed, harvest },
	 .verify = verify_copy, .name_word = world_name);

/* ------------------------------------------------------------------ and a device */

/* No log yet, but who is to fill it has a ring. */
static void open_only_later(void)
{
	open_only();
	check(ept_log_disable(world.ept, gfn(0)) == STATUS_OK);
}

/* A device has no ring: it stores before there is such a log, or not at all. */
static void device_stores(void)
{
	uint64_t value = 9;
	enum status status = ept_write_guest(world.ept, page_gpa(0), &value, sizeof(value));

	check(status == STATUS_OK || status == STATUS_UNSUPPORTED);
}

static void enable_and_copy(void)
{
	enable();
	take_copy();
}

SCENARIO(ring_only_device, .rule = "what a device stores is there when the log has begun (U33)",
	 .setup = open_only_later, .actors = { device_stores, enable_and_copy },
	 .verify = verify_copy, .name_word = world_name);

static void enable_twice_and_copy(void)
{
	enable_and_copy();
	check(ept_log_disable(world.ept, gfn(0)) == STATUS_OK);
	enable_and_copy();
}

SCENARIO(ring_only_device_again, .rule = "and each time that one begins (U33)",
	 .setup = open_only_later, .actors = { device_stores, enable_twice_and_copy },
	 .verify = verify_copy, .name_word = world_name);
