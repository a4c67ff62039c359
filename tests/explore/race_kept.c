/*
 * The frames that each CPU keeps for itself (struct host_cpu), two at most here: lent and taken
 * back without a lock, beside another CPU's, beside one that counts them, and when one asks for
 * them.
 */
#include "mm/host.h"
#include "tests/explore/world.h"

enum { MOST = 2 };

static pfn_t lent[MOST];
static uint64_t pages;		/* free, when the actors begin */

static void open_kept(void)
{
	world_open(1, LEVEL_4K);
	page_keep(world.host, MOST);
	pages = page_count_free(world.host);
}

static uint64_t *first_word(pfn_t frame) { return pfn_to_ptr(frame); }

static pfn_t lend(void)
{
	pfn_t frame;

	check(folio_alloc(world.host, ORDER_4K, &frame) == STATUS_OK);
	*first_word(frame) = port_cpu();
	return frame;
}

static void put(pfn_t frame)
{
	check(*first_word(frame) == port_cpu());
	folio_put(world.host, frame);
}

/* A refill; from the list; to the list, which is full then; to the allocator. */
static void two_and_back(void)
{
	pfn_t one = lend(), two = lend();

	put(one);
	put(two);
}

SCENARIO(lists_apart, .rule = "no frame is lent by two lists", .setup = open_kept,
	 .actors = { two_and_back, two_and_back }, .verify = world_verify,
	 .name_word = world_name);

/* ------------------------------------------------------------------ counted meanwhile */

/* CPU 1 has a frame on its list, and one lent. */
static void open_lent(void)
{
	open_kept();
	for (unsigned i = 0; i < MOST; i++)
		check(folio_alloc(world.host, ORDER_4K, &lent[i]) == STATUS_OK);
}

static void count_all(void) { host_verify(world.host); }
static void count_free(void)
{
	struct host_stats stats;

	host_read_stats(world.host, &stats);
	check(stats.pages_free <= pages && stats.pages_free + MOST >= pages);
}

static void back_and_again(void)
{
	folio_put(world.host, lent[0]);
	check(lend().raw == lent[0].raw);
	put(lent[0]);
}

static void verify_lent(void)
{
	folio_put(world.host, lent[1]);
	world_verify();
}

SCENARIO(count_beside, .rule = "who counts the frames on the lists sees a change under way",
	 .setup = open_lent, .actors = { back_and_again, count_all }, .verify = verify_lent,
	 .name_word = world_name);
SCENARIO(stats_beside, .rule = "a frame that moves between list and allocator is counted once",
	 .setup = open_kept, .actors = { two_and_back, count_free }, .verify = world_verify,
	 .name_word = world_name);

/* ------------------------------------------------------------------ asked for */

static bool refused;

static void use_own(void)
{
	struct block frame;

	check(page_alloc(world.host, ORDER_4K, &frame) == STATUS_OK);
	page_free(world.host, frame);
}

/* All the memory there is is kept by CPU 0. */
static void open_last(void)
{
	struct block frame;

	open_kept();
	while (page_alloc(world.host, ORDER_4K, &frame) == STATUS_OK)
		;
	page_free(world.host, frame);		/* to the allocator: it was asked for */
	use_own();
}

static void ask(void)
{
	struct block frame;

	refused = page_alloc(world.host, ORDER_4K, &frame) != STATUS_OK;
}

/* On CPU 0. What it frees after the question is there for all. */
static void verify_asked(void)
{
	if (refused && !world.host->pages_free) {
		use_own();
		check(world.host->pages_free);
	}
	host_verify(world.host);
}

SCENARIO(ask_for_kept, .rule = "who finds no memory gets what others keep at their next free",
	 .setup = open_last, .actors = { use_own, ask }, .verify = verify_asked,
	 .name_word = world_name);
