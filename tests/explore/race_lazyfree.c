/*
 * A page that its process has given away, and stores to it. One that begins after the advice is
 * kept; one that comes with it may be lost, as a process that gives a page away while it writes
 * there must expect.
 */
#include "mm/lru.h"
#include "tests/explore/world.h"

static struct { atomic32_t over; bool late; } advice;

static void open_touched(void)
{
	world_open_touched(1, 5);
	lru_drain(world.host);
	atomic_write(&advice.over, 0);
	advice.late = false;
}

static void open_proposed(void)
{
	open_touched();
	host_set_options(world.host, OPTION_WRITE_PROTECT);
}

static void guest_stores_seven(void)
{
	advice.late = atomic_read(&advice.over);
	store_seven();
}

static void process_stores_seven(void)
{
	uint64_t value = 7;

	advice.late = atomic_read(&advice.over);
	check(space_write(world.space, page_hva(0), &value, sizeof(value)) == STATUS_OK);
}

static void advise(void)
{
	check(space_lazyfree(world.space, page_hva(0), PAGE_SIZE) == STATUS_OK);
	atomic_write(&advice.over, 1);
}

static void page_out(void)
{
	uint64_t freed;

	check(space_page_out(world.space, page_hva(0), PAGE_SIZE, &freed) == STATUS_OK);
}

static void advise_and_page_out(void)
{
	advise();
	page_out();
}

/* Who looks for pages to free does it now, and again; then the content says it. */
static void verify_kept(void)
{
	page_out();
	uint64_t found = process_loads(0);

	check(found == 7 || (!advice.late && (found == 5 || found == 0)));
	world_verify();
}

SCENARIO(lazyfree, .rule = "a store after the advice is kept (S44, S57)",
	 .setup = open_touched, .actors = { guest_stores_seven, advise }, .verify = verify_kept,
	 .name_word = world_name);

SCENARIO(lazyfree_protects, .rule = "a store after the advice is kept, by a leaf that stayed (S63)",
	 .setup = open_proposed, .actors = { guest_stores_seven, advise }, .verify = verify_kept,
	 .name_word = world_name);

SCENARIO(lazyfree_process, .rule = "a process's store after the advice sets D again (S42)",
	 .setup = open_touched, .actors = { process_stores_seven, advise_and_page_out },
	 .verify = verify_kept, .name_word = world_name);

/* The page is given away already. */
static void open_given(void)
{
	open_touched();
	advise();
}

SCENARIO(lazyfree_reclaim, .rule = "dirty is judged when no leaf is left to store by (S45)",
	 .setup = open_given, .actors = { guest_stores_seven, page_out }, .verify = verify_kept,
	 .name_word = world_name);
