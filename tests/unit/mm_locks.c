/* What mm.h and space.h say of locks: each operation waits for who holds one that it takes. */
#include "tests/unit/space_fixture.h"
#include "tests/unit/lock_fixture.h"

static int open_watched(void **state)
{
	int failed = open_space(state);

	if (!failed)
		watch_locks(arena.host);
	return failed;
}

static int close_watched(void **state)
{
	port_look_hook(NULL);
	return close_space(state);
}

static void op_map(void)
{
	static uint64_t at;

	map(at, PAGE_SIZE, LEVEL_4K);
	at += PAGE_SIZE;
}

static void op_unmap(void)
{
	assert_int_equal(space_unmap(space, hva(GIB), MIB), STATUS_OK);
}

static void op_discard(void) { assert_int_equal(space_discard(space, hva(GIB), MIB), STATUS_OK); }

static void op_protect(void)
{
	assert_int_equal(space_protect(space, hva(BASE), PAGE_SIZE, PROTECTION_READ_WRITE),
			 STATUS_OK);
}

static void op_split(void) { assert_int_equal(space_split(space, hva(BASE), MIB), STATUS_OK); }

static void op_migrate(void)
{
	uint64_t moved;

	assert_int_equal(space_migrate(space, hva(BASE), MIB, &moved), STATUS_OK);
}

static void op_lazyfree(void)
{
	assert_int_equal(space_lazyfree(space, hva(BASE), MIB), STATUS_OK);
}

static void op_cool(void) { assert_int_equal(space_cool(space, hva(BASE), MIB), STATUS_OK); }

static void op_invalidate(void)
{
	assert_int_equal(space_invalidate(space, hva(BASE), MIB), STATUS_OK);
}

static void op_fork(void)
{
	struct space *child;

	assert_int_equal(space_fork(space, &child), STATUS_OK);
	space_destroy(child);
}

static void op_move(void)
{
	static uint64_t at = BASE + GIB;

	assert_int_equal(space_move(space, hva(at), MIB, hva(at + MIB)), STATUS_OK);
	at += MIB;
}

static void op_insert(void)
{
	pfn_t frame = pfn(0);

	assert_int_equal(space_insert_page(space, hva(BASE), frame), STATUS_EXISTS);
}

static void op_merge(void) { assert_int_equal(space_merge(space, hva(BASE), MIB), STATUS_OK); }

static void op_hint(void)
{
	assert_int_equal(space_hint(space, hva(BASE), MIB, HINT_AT_ONCE), STATUS_OK);
}

static void op_hint_fault(void) { assert_int_equal(hint_fault(space, BASE), STATUS_OK); }

static void op_scan(void) { assert_int_equal(space_scan(space, 1, HINT_AT_ONCE), STATUS_OK); }
static void op_clear_soft(void) { space_clear_soft_dirty(space); }

static void op_soft(void)
{
	bool written;

	assert_int_equal(space_soft_dirty(space, hva(BASE), &written), STATUS_OK);
}

static void op_reap(void) { assert_true(space_reap(space)); }

static void op_verify(void) { space_verify(space); }

static void op_gup(void)
{
	struct mm_page page;

	assert_int_equal(gup_get(space, hva(BASE), 0, &page), STATUS_OK);
	gup_put(arena.host, page.frame);
}

static void op_lookup(void) { look_up(BASE, ACCESS_READ); }

static void op_peek(void)
{
	struct mm_page page;

	assert_int_equal(mm_peek(space, hva(BASE), &page), STATUS_OK);
}

static void op_read(void)
{
	char byte;

	assert_int_equal(space_read(space, hva(BASE), &byte, 1), STATUS_OK);
}

static void op_plan(void)
{
	assert_int_equal(fault_in(space, BASE - PAGE_SIZE, ACCESS_READ), STATUS_NOT_FOUND);
}

static struct notifier listener;

static void op_register(void) { notifier_register(space, &listener); }
static void op_unregister(void) { notifier_unregister(space, &listener); }

static void of_a_space(void **state)
{
	(void)state;
	map(BASE, 4 * MIB, LEVEL_2M);
	look_up(BASE, ACCESS_WRITE);
	takes(EXCLUSIVE, &space->lock, op_map);
	takes(EXCLUSIVE, &space->lock, op_unmap);
	takes(EXCLUSIVE, &space->lock, op_discard);
	takes(EXCLUSIVE, &space->lock, op_protect);
	takes(EXCLUSIVE, &space->lock, op_split);
	takes(EXCLUSIVE, &space->lock, op_migrate);
	other.host = NULL;			/* the child's own pages come before the lock */
	takes(EXCLUSIVE, &space->lock, op_fork);
	other.host = arena.host;
	map(BASE + GIB, MIB, LEVEL_4K);
	takes(EXCLUSIVE, &space->lock, op_move);
	takes(EXCLUSIVE, &space->lock, op_insert);
	takes(EXCLUSIVE, &space->lock, op_merge);
	takes(EXCLUSIVE, &space->lock, op_verify);
	takes(EXCLUSIVE, &space->lock, op_lazyfree);
	takes(EXCLUSIVE, &space->lock, op_cool);
	takes(SHARED, &space->lock, op_invalidate);
	takes(SHARED, &space->lock, op_gup);
	assert_int_equal(waits_for(&space->lock, EXCLUSIVE, op_lookup), 0);
	assert_int_equal(waits_for(&space->lock, EXCLUSIVE, op_peek), 0);
	assert_int_equal(waits_for(&space->lock, EXCLUSIVE, op_read), 0);
	takes(SHARED, &space->lock, op_plan);
	takes(EXCLUSIVE, &space->lock, op_hint);
	takes(EXCLUSIVE, &space->lock, op_hint_fault);
	takes(EXCLUSIVE, &space->lock, op_scan);
	takes(EXCLUSIVE, &space->lock, op_clear_soft);
	takes(SHARED, &space->lock, op_soft);
	takes(EXCLUSIVE, &space->lock, op_reap);
	for (enum hold how = SHARED; how <= EXCLUSIVE; how++) {
		assert_int_equal(waits_for(&space->lock, how, op_register), 1);
		assert_int_equal(waits_for(&space->lock, how, op_unregister), 1);
	}
}

static void on_look_mend(void)
{
	space->vmas[0].end -= PAGE_SIZE / 2;
	on_look();
}

/* Who holds the lock may be half way through a change. */
static void verify_looks_after_the_lock(void **state)
{
	(void)state;
	map(BASE, PAGE_SIZE, LEVEL_4K);
	space->vmas[0].end += PAGE_SIZE / 2;
	port_look_hook(on_look_mend);
	assert_int_equal(waits_for(&space->lock, EXCLUSIVE, op_verify), 1);
}

/* A fault allocates without the lock, then installs with it. */
static struct page_watch arena_watch;

static void reader_comes(struct page_watch *self, pfn_t head, unsigned order)
{
	arena.watch.allocated = arena_watch.allocated;
	arena_watch.allocated(self, head, order);
	other_takes(&space->lock, SHARED);
}

static void fault_installs(void **state)
{
	(void)state;
	map(BASE, PAGE_SIZE, LEVEL_4K);
	arena_watch = arena.watch;
	arena.watch.allocated = reader_comes;
	other.waits = 0;
	look_up(BASE, ACCESS_WRITE);
	assert_int_equal(other.waits, 1);
	assert_null(other.lock);
}

/* ------------------------------------------------------------------ the host's lock, a spinlock */

static spinlock_t *spinning;

static void on_spin(void) NOT_CHECKED
{
	other.waits++;
	assert_int_equal(page_count_free(arena.host), other.pages_before);
	spin_unlock(spinning);
}

static void spins(void (*operation)(void)) NOT_CHECKED
{
	port_look_hook(on_spin);
	spinning = &arena.host->lock;
	other.waits = 0;
	other.pages_before = page_count_free(arena.host);
	spin_lock(spinning);
	operation();
	assert_int_equal(other.waits, 1);
	port_look_hook(NULL);
}

static struct block frame;

static void op_alloc(void) { assert_int_equal(page_alloc(arena.host, 1, &frame), STATUS_OK); }
static void op_alloc_one(void) { assert_int_equal(page_alloc(arena.host, 0, &frame), STATUS_OK); }
static void op_free(void) { page_free(arena.host, frame); }
static void op_host_verify(void) { host_verify(arena.host); }
static void op_stats(void) { (void)pages_free(); }

static void of_a_host(void **state)
{
	(void)state;
	spins(op_alloc);
	spins(op_free);
	spins(op_host_verify);
	spins(op_stats);
}

static void no_wait(void) { fail(); }

static uint32_t kept(void) { return kept_frames(atomic_read(&arena.host->cpus[0].kept)); }

/* A CPU's own frames need no lock, until there are none, or too many. */
static void of_a_list(void **state) NOT_CHECKED
{
	static struct block frames[3 * KEPT_MAX];
	unsigned count = 0;

	(void)state;
	for (; count <= KEPT_MAX || kept(); count++)
		assert_int_equal(page_alloc(arena.host, 0, &frames[count]), STATUS_OK);
	spins(op_alloc_one);
	frames[count++] = frame;
	assert_true(kept() > 0);

	port_look_hook(no_wait);
	spin_lock(&arena.host->lock);
	for (; kept(); count++)
		assert_int_equal(page_alloc(arena.host, 0, &frames[count]), STATUS_OK);
	while (kept() < KEPT_MAX)
		page_free(arena.host, frames[--count]);
	spin_unlock(&arena.host->lock);

	frame = frames[--count];
	spins(op_free);
	assert_in_range(kept(), 1, KEPT_MAX - 1);
	while (count)
		page_free(arena.host, frames[--count]);
}

#define LOCKED(test) cmocka_unit_test_setup_teardown(test, open_watched, close_watched)

int main(void)
{
	const struct CMUnitTest tests[] = {
		LOCKED(of_a_space), LOCKED(verify_looks_after_the_lock), LOCKED(fault_installs),
		LOCKED(of_a_host), LOCKED(of_a_list),
	};

	return cmocka_run_group_tests_name("mm/locks", tests, NULL, NULL);
}
