/*
 * Regions that leave, or change, against those who use them: ept/leave.c has the table. By policy
 * ZAP where a leaf is to be the only one that knows of a store.
 */
#include "ept/age.h"
#include "ept/notify.h"
#include "mm/lru.h"
#include "tests/explore/world.h"

/* As many pages as a table of leaves has, so that the table goes with the region. */
enum { TABLE = 512 };

static atomic32_t over;

static void add_region(enum ept_policy policy, uint64_t pages)
{
	struct region region = { .pages = pages, .backing = hva(WORLD_BACKING),
				 .rights = REGION_READ_WRITE, .max_level = LEVEL_4K };

	check(ept_region_remove(world.ept, gfn(0)) == STATUS_OK);
	ept_set_policy(world.ept, policy);
	check(ept_region_add(world.ept, &region) == STATUS_OK);
	atomic_write(&over, 0);
}

static void remove_region(void)
{
	check(ept_region_remove(world.ept, gfn(0)) == STATUS_OK);
	atomic_write(&over, 1);
}

/* No store lands when the removal, or the change, is over; one that landed is never lost. */
static bool landed;

static void store_or_not(void)
{
	bool too_late = atomic_read(&over);
	enum fault_result result = soft_store(&world.cpus[0], page_gpa(0), 7);

	landed = result == FAULT_FIXED;
	check(!landed || !too_late);
	check(landed || result == FAULT_NO_REGION || result == FAULT_READ_ONLY);
	/* Nothing is there when it is gone, not when it is about to go. */
	check(result != FAULT_NO_REGION || !atomic_read(&world.ept->leaving_count));
	guest_leaves();
}

static void verify_landed(void)
{
	check(process_loads(0) == (landed ? 7 : 6));
	world_verify();
}

/* ------------------------------------------------------------------ who consumes dirtiness */

/* A page that was given away, and stored to since: nobody but the leaf says so. */
static void open_given(enum ept_policy policy)
{
	world_open(TABLE, LEVEL_4K);
	guest_stores(0, 5);
	guest_leaves();
	lru_drain(world.host);
	add_region(policy, TABLE);
	check(space_lazyfree(world.space, page_hva(0), PAGE_SIZE) == STATUS_OK);
	guest_stores(0, 6);
	guest_leaves();
}

static void open_given_zap(void) { open_given(EPT_POLICY_ZAP); }
static void open_given_batch(void) { open_given(EPT_POLICY_BATCH); }

static void page_out(void)
{
	uint64_t freed;

	check(space_page_out(world.space, page_hva(0), PAGE_SIZE, &freed) == STATUS_OK);
}

static void verify_six(void)
{
	check(process_loads(0) == 6);
	world_verify();
}

SCENARIO(leave_reclaim,
	 .rule = "what a leaf out of use knows is told before dirty is judged (I4, U28)",
	 .setup = open_given_zap, .actors = { remove_region, page_out }, .verify = verify_six,
	 .name_word = world_name);

SCENARIO(leave_reclaim_batch,
	 .rule = "once for a folio, and no later (I4)", .setup = open_given_batch,
	 .actors = { remove_region, page_out }, .verify = verify_six, .name_word = world_name);

/* And the guest stores by what its TLB remembers of the table. */
SCENARIO(leave_store_reclaim,
	 .rule = "a store by a stale translation is told with the leaf (I6, U12)",
	 .setup = open_given_zap, .actors = { store_or_not, remove_region, page_out },
	 .verify = verify_landed, .name_word = world_name);

/* ------------------------------------------------------------------ who stores, who looks */

static unsigned choose(struct soft_cpu *cpu, unsigned n)
{
	(void)cpu;
	return explore_choose(n);
}

static void open_forgetful(void)
{
	world_open(TABLE, LEVEL_4K);
	add_region(EPT_POLICY_ZAP, TABLE);
	guest_stores(0, 6);
	guest_leaves();
	world.cpus[0].choose = choose;
}

/* The folio is marked by the leaf alone: D that a CPU sets in a table out of use must be seen. */
static void verify_marked(void) NOT_CHECKED
{
	check(folio_dirty(world.host, pte_frame(table_find(world.space, WORLD_BACKING).pte)));
	verify_landed();
}

SCENARIO(leave_store,
	 .rule = "whatever a TLB keeps or forgets, no store lands afterwards (I8, U12)",
	 .setup = open_forgetful, .actors = { store_or_not, remove_region },
	 .verify = verify_marked,
	 .name_word = world_name);

/* Young or not: an answer, and no more than that. */
static void age(void)
{
	(void)ept_test_young(world.ept, page_hva(0), page_hva(1));
	(void)ept_clear_young(world.ept, page_hva(0), page_hva(1));
}

SCENARIO(leave_age, .rule = "aging passes a region that leaves by", .setup = open_forgetful,
	 .actors = { age, remove_region }, .verify = world_verify, .name_word = world_name);

static void open_logged(void)
{
	const struct log_options log = { .kind = LOG_WRITE_PROTECT };

	open_forgetful();
	check(ept_log_enable(world.ept, gfn(0), &log) == STATUS_OK);
}

static void harvest(void)
{
	uint64_t words[TABLE / 64];
	enum status status = ept_log_get(world.ept, gfn(0), words);

	check(status == STATUS_OK || status == STATUS_NOT_FOUND);
}

SCENARIO(leave_harvest, .rule = "a log goes with its region, and is not used after that",
	 .setup = open_logged, .actors = { store_or_not, harvest, remove_region },
	 .verify = world_verify, .name_word = world_name);

/* ------------------------------------------------------------------ between brackets */

static bool is_there(void)
{
	struct region found;

	return ept_region_find(world.ept, gfn(0), &found) == STATUS_OK;
}

static void bracket(void)
{
	const struct mm_range range = { .start = page_hva(0), .end = page_hva(1),
					.event = EVENT_CLEAR };

	notify_start(world.ept, &range);
	bool there = is_there();

	check(is_there() == there);
	notify_end(world.ept);
}

SCENARIO(leave_bracket, .rule = "the regions stay as they are as long as a bracket is open (U23)",
	 .setup = open_forgetful, .actors = { bracket, remove_region }, .verify = world_verify,
	 .name_word = world_name);

/* ------------------------------------------------------------------ moved, and other rights */

static void move_region(void)
{
	check(ept_region_move(world.ept, gfn(0), gfn(TABLE)) == STATUS_OK);
	atomic_write(&over, 1);
}

static void verify_moved(void)
{
	check(process_loads(0) == (landed ? 7 : 6));
	check(guest_loads(TABLE) == (landed ? 7 : 6));
	guest_leaves();
	world_verify();
}

SCENARIO(move_fault, .rule = "a region is at one place or the other, and no store is lost (U23)",
	 .setup = open_forgetful, .actors = { store_or_not, move_region }, .verify = verify_moved,
	 .name_word = world_name);

static void open_writable(void)
{
	world_open(1, LEVEL_4K);
	guest_stores(0, 6);
	guest_leaves();
	atomic_write(&over, 0);
}

static void forbid_stores(void)
{
	check(ept_region_set_rights(world.ept, gfn(0), REGION_READ_ONLY) == STATUS_OK);
	atomic_write(&over, 1);
}

SCENARIO(rights_fault, .rule = "no store lands where none is allowed any more (U23)",
	 .setup = open_writable, .actors = { store_or_not, forbid_stores }, .verify = verify_landed,
	 .name_word = world_name);

/* Which began before, and gives W back by what it has seen. */
static void open_read_only(void)
{
	open_writable();
	check(ept_region_set_rights(world.ept, gfn(0), REGION_READ_ONLY) == STATUS_OK);
	check(ept_region_set_rights(world.ept, gfn(0), REGION_READ_WRITE) == STATUS_OK);
}

SCENARIO(rights_grow, .rule = "nor is a leaf made by rights that were", .setup = open_read_only,
	 .actors = { store_or_not, forbid_stores }, .verify = verify_landed,
	 .name_word = world_name);
