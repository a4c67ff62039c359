/*
 * Rights taken in place, for a hint, for soft dirty, for a device, while CPUs and guests store
 * there.
 */
#include "tests/explore/world.h"

/*
 * The page's first word, whoever may use it; and what stood there when its rights had been taken.
 */
static atomic64_t *word;
static uint64_t snapshot;

static struct place place_now(void)
{
	read_lock(&world.space->lock);
	struct place place = table_find(world.space, WORLD_BACKING);

	read_unlock(&world.space->lock);
	return place;
}

static pte_t leaf_now(void) { return place_now().pte; }

/* Written, and clean: the next store sets D. */
static void open_page(void)
{
	uint64_t one = 1;

	world_open(1, LEVEL_4K);
	check(space_write(world.space, page_hva(0), &one, sizeof(one)) == STATUS_OK);
	atomic_and(place_now().slot, ~(PTE_A | PTE_D));
	word = pfn_to_ptr(pte_frame(leaf_now()));
	snapshot = 1;
}

/* The guest has it mapped, and is outside. */
static void open_lent(void)
{
	world_open_touched(1, 1);
	word = pfn_to_ptr(pte_frame(leaf_now()));
	snapshot = 1;
}

static void process_stores(void)
{
	uint64_t value = 7;

	check(space_write(world.space, page_hva(0), &value, sizeof(value)) == STATUS_OK);
}

static void hint(void)
{
	check(space_hint(world.space, page_hva(0), PAGE_SIZE, HINT_EACH_2M) == STATUS_OK);
}

/* ------------------------------------------------------------------ a hint */

static void hint_and_look(void)
{
	hint();
	snapshot = atomic_read(word);
}

/* It waits still: so nobody has taken the fault, and nobody may have stored since. */
static void verify_hinted(void)
{
	if (!pte_present(leaf_now()))
		check(atomic_read(word) == snapshot);
	check(process_loads(0) == 7);
	world_verify();
}

SCENARIO(hint_store, .rule = "once a page is hinted no CPU stores there without a fault",
	 .setup = open_page, .actors = { process_stores, hint_and_look }, .verify = verify_hinted,
	 .name_word = world_name);

SCENARIO(hint_guest_store,
	 .rule = "once a page is hinted no guest stores there without a fault (I1)",
	 .setup = open_lent, .actors = { store_seven, hint_and_look }, .verify = verify_hinted,
	 .name_word = world_name);

/*
 * Two nodes: the faults of the two CPUs move the page to and fro while the guest first touches it.
 */
static void open_nodes(void)
{
	open_page();
	host_set_nodes(world.host, 2);
}

static void hint_and_load(void)
{
	hint();
	check(process_loads(0) == 1 || process_loads(0) == 7);
}

SCENARIO(hint_moves, .rule = "a store is in the page wherever hinting faults move it (I6)",
	 .setup = open_nodes, .actors = { store_seven, hint_and_load }, .verify = verify_seven,
	 .name_word = world_name);

static void open_hinted(void)
{
	open_page();
	hint();
}

static void load(void) { check(process_loads(0) <= 1); }

static void discard(void)
{
	check(space_discard(world.space, page_hva(0), PAGE_SIZE) == STATUS_OK);
}

SCENARIO(hint_fault_discard, .rule = "a hinting fault brings back only what is still there",
	 .setup = open_hinted, .actors = { load, discard }, .verify = world_verify,
	 .name_word = world_name);

/* ------------------------------------------------------------------ soft dirty */

static void clear_and_save(void)
{
	space_clear_soft_dirty(world.space);
	snapshot = atomic_read(word);
}

/*
 * Who saves memory piece by piece saves this page again, or has it as it is. Of D nothing is lost
 * (S27).
 */
static void verify_saved(void)
{
	if (!pte_soft(leaf_now()))
		check(atomic_read(word) == snapshot);
	check(pte_dirty(leaf_now()));
	check(process_loads(0) == 7);
	world_verify();
}

SCENARIO(soft_dirty_store, .rule = "what a CPU stores after soft dirty was cleared sets it again",
	 .setup = open_page, .actors = { process_stores, clear_and_save }, .verify = verify_saved,
	 .name_word = world_name);

SCENARIO(soft_dirty_guest_store,
	 .rule = "what a guest stores after soft dirty was cleared sets it again",
	 .setup = open_lent, .actors = { store_seven, clear_and_save }, .verify = verify_saved,
	 .name_word = world_name);

/* ------------------------------------------------------------------ a device */

/* A device's operation in two halves: nobody's store may come between them. */
static void device_works(void)
{
	pfn_t frame;

	check(space_make_exclusive(world.space, page_hva(0), &word, &frame) == STATUS_OK);
	uint64_t value = atomic_read(word);

	atomic_write(word, value | 0x100);
	exclusive_done(world.host, frame);
}

static void verify_stored(void)
{
	check((process_loads(0) & 0xff) == 7);
	world_verify();
}

SCENARIO(exclusive_store, .rule = "no CPU stores to a page while a device works on it",
	 .setup = open_page, .actors = { process_stores, device_works }, .verify = verify_stored,
	 .name_word = world_name);

SCENARIO(exclusive_guest_store, .rule = "no guest stores to a page while a device works on it",
	 .setup = open_lent, .actors = { store_seven, device_works }, .verify = verify_stored,
	 .name_word = world_name);

/* ------------------------------------------------------------------ a bracket refused */

static struct { struct notifier notifier; atomic32_t open; } sleeper;

static void sleeper_start(struct notifier *self, const struct mm_range *range)
{
	(void)self;
	(void)range;
	atomic_add(&sleeper.open, 1);
}

static bool sleeper_try(struct notifier *self, const struct mm_range *range)
{
	(void)self;
	(void)range;
	return false;
}

static void sleeper_end(struct notifier *self, const struct mm_range *range)
{
	(void)self;
	(void)range;
	check(atomic_sub(&sleeper.open, 1));
}

static const struct notifier_ops sleeper_ops = {
	.start = sleeper_start, .try_start = sleeper_try, .end = sleeper_end,
};

static void open_sleeper(void)
{
	open_lent();
	sleeper.notifier.ops = &sleeper_ops;
	atomic_write(&sleeper.open, 0);
	notifier_register(world.space, &sleeper.notifier);
}

static void reap(void) { check(!space_reap(world.space)); }

static void verify_refused(void)
{
	check(!atomic_read(&sleeper.open));
	notifier_unregister(world.space, &sleeper.notifier);
	verify_seven();
}

SCENARIO(reap_refused, .rule = "a bracket that one listener refuses ends for the others (U22)",
	 .setup = open_sleeper, .actors = { store_seven, reap }, .verify = verify_refused,
	 .name_word = world_name);
