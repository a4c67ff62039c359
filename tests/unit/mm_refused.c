/*
 * Every allocation refused in turn: each operation is run again and again, the first time with its
 * first allocation refused, then its second, until one run needs no more. A refusal is a status
 * (or a smaller folio), changes nothing that a process can see, and leaks nothing.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "mm/store.h"
#include "mm/space.h"
#include "tests/host/arena.h"

#define MIB  UINT64_C(0x100000)
#define GIB  (1024 * MIB)
#define BASE (UINT64_C(64) << 30)
#define PAGES 2048		/* the 8 MiB that are looked at */

static struct arena arena;
static struct space *space;

/* What each page is to a process: the frame behind it and the rights; splitting is invisible. */
struct picture { uint64_t frames[PAGES]; uint64_t rights[PAGES]; unsigned vmas; };
static struct picture before, after;

static void take_picture(struct picture *picture) NOT_CHECKED
{
	memset(picture, 0, sizeof(*picture));
	for (uint64_t i = 0; i < PAGES; i++) {
		uint64_t address = BASE + i * PAGE_SIZE;
		struct place place = table_find(space, address);
		uint64_t inside = address & (level_bytes(place.level) - 1);
		const struct vma *vma = vma_find(space, address);

		if (pte_leaf(place.pte, place.level))
			picture->frames[i] = pte_frame(place.pte).raw + (inside >> PAGE_SHIFT);
		picture->rights[i] = vma ? vma->protection + 1u : 0;
	}
	picture->vmas = space->vma_count;
}

static char bytes[64];

static enum status create(void)
{
	struct space *other;
	enum status status = space_create(arena.host, &other);

	if (status == STATUS_OK)
		space_destroy(other);
	return status;
}

static enum status map_first(void)
{
	struct space *other;

	/* Its first VMA needs an array. The space itself is not what is refused here. */
	int64_t left = arena.fail_after;

	arena.fail_after = -1;
	assert_int_equal(space_create(arena.host, &other), STATUS_OK);
	arena.fail_after = left;
	enum status status = space_map(other, hva(0), MIB, PROTECTION_READ, LEVEL_4K);

	space_destroy(other);
	return status;
}

static enum status unmap_inside(void)
{
	return space_unmap(space, hva(BASE + PAGE_SIZE), 4 * MIB);
}

static enum status unmap_between_two(void)
{
	return space_unmap(space, hva(BASE + PAGE_SIZE), 2 * MIB);
}

static enum status discard_inside(void)
{
	return space_discard(space, hva(BASE + PAGE_SIZE), 4 * MIB);
}

static enum status protect_inside(void)
{
	return space_protect(space, hva(BASE + PAGE_SIZE), 4 * MIB, PROTECTION_NONE);
}

static enum status hint_inside(void)
{
	return space_hint(space, hva(BASE + PAGE_SIZE), 4 * MIB, HINT_EACH_2M);
}

static enum status hint_between_two(void)
{
	return space_hint(space, hva(BASE + PAGE_SIZE), 2 * MIB, HINT_AT_ONCE);
}

/* A page of a large one goes to a device, and comes back. */
static enum status make_exclusive(void)
{
	pfn_t frame;
	enum status status = space_make_exclusive(space, hva(BASE + MIB), NULL, &frame);

	if (status != STATUS_OK)
		return status;
	exclusive_done(arena.host, frame);
	return space_read(space, hva(BASE + MIB), bytes, 1);
}

static enum status look_up_large(void)
{
	struct mm_page page;

	return mm_lookup(space, hva(BASE + 6 * MIB), ACCESS_WRITE, &page);
}

static enum status look_up_far(void)
{
	struct mm_page page;

	return mm_lookup(space, hva(PAGE_SIZE), ACCESS_WRITE, &page);
}

static enum status write_across(void)
{
	return space_write(space, hva(2 * PAGE_SIZE - 32), bytes, sizeof(bytes));
}

static enum status read_across(void)
{
	return space_read(space, hva(2 * PAGE_SIZE - 32), bytes, sizeof(bytes));
}

static enum status allocate(void)
{
	pfn_t frame;
	enum status status = folio_alloc(arena.host, ORDER_2M, &frame);

	if (status == STATUS_OK)
		folio_put(arena.host, frame);
	return status;
}

static enum status migrate(void)
{
	uint64_t moved;
	enum status status = space_migrate(space, hva(BASE + 4 * MIB), 2 * MIB, &moved);

	assert_int_equal(status == STATUS_OK, moved == 3);
	return status;
}

static enum status split(void)
{
	return space_split(space, hva(BASE), 4 * MIB);
}

static enum status fork_it(void)
{
	struct space *child;
	struct mm_page pinned;
	/* One page is held: the child gets a copy of it. */
	int64_t left = arena.fail_after;

	arena.fail_after = -1;
	assert_int_equal(gup_get(space, hva(BASE + 4 * MIB), 0, &pinned), STATUS_OK);
	arena.fail_after = left;
	enum status status = space_fork(space, &child);

	gup_put(arena.host, pinned.frame);
	if (status == STATUS_OK)
		space_destroy(child);
	return status;
}

/* A large page goes to where it must be small, and back: both need tables. */
static enum status move(void)
{
	enum status status = space_move(space, hva(BASE), 2 * MIB, hva(GIB + PAGE_SIZE));

	if (status != STATUS_OK)
		return status;
	arena_fail_after(&arena, -1);
	return space_move(space, hva(GIB + PAGE_SIZE), 2 * MIB, hva(BASE));
}

static enum status patch(void)
{
	int64_t left = arena.fail_after;

	/* The first page becomes one that is only read, large as it is. */
	arena.fail_after = -1;
	assert_int_equal(space_protect(space, hva(BASE), 2 * MIB, PROTECTION_READ), STATUS_OK);
	arena.fail_after = left;
	enum status status = space_patch(space, hva(BASE), bytes, sizeof(bytes));

	left = arena.fail_after;
	arena.fail_after = -1;
	assert_int_equal(space_protect(space, hva(BASE), 2 * MIB, PROTECTION_READ_WRITE),
			 STATUS_OK);
	arena.fail_after = left;
	return status;
}

static enum status insert(void)
{
	int64_t left = arena.fail_after;
	pfn_t frame;

	arena.fail_after = -1;
	assert_int_equal(space_unmap(space, hva(GIB), PAGE_SIZE), STATUS_OK);
	assert_int_equal(space_map(space, hva(GIB), PAGE_SIZE, PROTECTION_READ, LEVEL_4K),
			 STATUS_OK);
	assert_int_equal(folio_alloc_zeroed(arena.host, ORDER_4K, &frame), STATUS_OK);
	arena.fail_after = left;
	enum status status = space_insert_page(space, hva(GIB), frame);

	if (status != STATUS_OK)
		folio_put(arena.host, frame);
	return status;
}

static enum status start_ksm(void)
{
	enum status status = ksm_start(arena.host, 100);

	ksm_stop(arena.host);
	return status;
}

/* Two pages are one, and are two again: each needs a page. */
static enum status unmerge(void)
{
	int64_t left = arena.fail_after;

	arena.fail_after = -1;
	assert_int_equal(ksm_start(arena.host, 16), STATUS_OK);
	assert_int_equal(space_merge(space, hva(BASE), 8 * MIB), STATUS_OK);
	ksm_scan(arena.host, 10);
	arena.fail_after = left;
	enum status status = space_unmerge(space, hva(BASE), 8 * MIB);

	left = arena.fail_after;
	arena.fail_after = -1;
	assert_int_equal(space_unmerge(space, hva(BASE), 8 * MIB), STATUS_OK);
	ksm_stop(arena.host);
	arena.fail_after = left;
	return status;
}

static enum status lazyfree(void)
{
	return space_lazyfree(space, hva(BASE + PAGE_SIZE), 2 * MIB);
}

static enum status cool(void)
{
	return space_cool(space, hva(BASE + PAGE_SIZE), 2 * MIB);
}

static enum status page_out(void)
{
	uint64_t freed;

	return space_page_out(space, hva(BASE + PAGE_SIZE), 2 * MIB, &freed);
}

/* What is not to be refused stands between the two. */
static int64_t spare(void)
{
	int64_t left = arena.fail_after;

	arena.fail_after = -1;
	return left;
}

static void go_on(int64_t left) { arena.fail_after = left; }

/* One of the small pages has a frame of its own: the large page must be a new one. */
static enum status collapse(void)
{
	int64_t left = spare();
	uint64_t count;

	assert_int_equal(space_split(space, hva(BASE), 2 * MIB), STATUS_OK);
	assert_int_equal(space_migrate(space, hva(BASE), PAGE_SIZE, &count), STATUS_OK);
	for (uint64_t at = 0; at < 2 * MIB; at += PAGE_SIZE)
		assert_int_equal(space_write(space, hva(BASE + at), bytes, 1), STATUS_OK);
	go_on(left);
	return space_collapse(space, hva(BASE), 2 * MIB, &count);
}

static void forget_far(void)
{
	int64_t left = spare();

	assert_int_equal(space_unmap(space, hva(2 * GIB), 2 * MIB), STATUS_OK);
	go_on(left);
}

static enum status secret(void)
{
	enum status status = space_map_secret(space, hva(2 * GIB), PAGE_SIZE,
					      PROTECTION_READ_WRITE);

	if (status == STATUS_OK)
		status = space_write(space, hva(2 * GIB), bytes, 1);
	forget_far();
	return status;
}

static enum status frames(void)
{
	enum status status = space_map_frames(space, hva(2 * GIB), 2 * PAGE_SIZE, PROTECTION_READ,
					      pfn(UINT64_C(1) << 28), LEVEL_4K, FRAMES_BARE);

	forget_far();
	return status;
}

static enum status pool(void)
{
	struct pool *pool;
	enum status status = pool_create(arena.host, LEVEL_2M, 1, &pool);

	if (status != STATUS_OK)
		return status;
	status = space_map_pool(space, hva(2 * GIB), 2 * MIB, PROTECTION_READ_WRITE, pool);
	if (status == STATUS_OK)
		status = space_write(space, hva(2 * GIB), bytes, 1);
	forget_far();
	assert_int_equal(pool_destroy(pool), STATUS_OK);
	return status;
}

static enum status memfd(void)
{
	struct memfd *memfd;
	struct mm_page page;
	enum status status = memfd_create(arena.host, 4, &memfd);

	if (status != STATUS_OK)
		return status;
	status = memfd_lookup(memfd, 2, ACCESS_WRITE, &page);
	assert_int_equal(memfd_destroy(memfd), STATUS_OK);
	return status;
}

/* A page goes out, and comes back. The store's own memory is not meant. */
static enum status swap(void)
{
	int64_t left = spare();
	struct ram_store *store;
	uint64_t freed;

	assert_int_equal(ram_store_create(arena.host, 4, &store), STATUS_OK);
	go_on(left);
	enum status status = host_swap_on(arena.host, ram_store_of(store), 4);

	left = spare();
	if (status == STATUS_OK) {
		assert_int_equal(space_page_out(space, hva(BASE + 4 * MIB), PAGE_SIZE, &freed),
				 STATUS_OK);
		assert_int_equal(freed, 1);
		go_on(left);
		status = space_read(space, hva(BASE + 4 * MIB), bytes, 1);
		left = spare();
		/* Who found no memory has reclaimed others. */
		for (uint64_t at = 0; at < 8 * MIB; at += PAGE_SIZE)
			assert_int_equal(space_write(space, hva(BASE + at), bytes, 1), STATUS_OK);
		assert_int_equal(host_swap_off(arena.host), STATUS_OK);
	}
	ram_store_destroy(store);
	go_on(left);
	return status;
}

static enum status map_until_the_array_grows(void)
{
	enum status status = STATUS_OK;
	unsigned first = space->vma_count;

	for (uint64_t i = 0; status == STATUS_OK && i < PAGE_SIZE / sizeof(struct vma) + 5; i++)
		status = space_map(space, hva(16 * MIB + i * 2 * PAGE_SIZE), PAGE_SIZE,
				   PROTECTION_READ, LEVEL_4K);
	/* Takes back what was done before the refusal, all of it in one go. */
	assert_int_equal(space_unmap(space, hva(16 * MIB), 16 * MIB), STATUS_OK);
	assert_int_equal(space->vma_count, first);
	return status;
}

static int open_space(void **state)
{
	(void)state;
	arena_open(&arena, 64);
	assert_int_equal(space_create(arena.host, &space), STATUS_OK);
	/* Two large pages, three small ones, room for another large one; and a page far away. */
	assert_int_equal(space_map(space, hva(BASE), 8 * MIB, PROTECTION_READ_WRITE, LEVEL_2M),
			 STATUS_OK);
	assert_int_equal(space_map(space, hva(PAGE_SIZE), 2 * PAGE_SIZE, PROTECTION_READ_WRITE,
				   LEVEL_4K), STATUS_OK);
	assert_int_equal(space_write(space, hva(BASE), bytes, 1), STATUS_OK);
	assert_int_equal(space_write(space, hva(BASE + 2 * MIB), bytes, 1), STATUS_OK);
	arena_fail_from_order(&arena, ORDER_2M);
	for (uint64_t i = 0; i < 3; i++)
		assert_int_equal(space_write(space, hva(BASE + 4 * MIB + i * 5 * PAGE_SIZE), bytes,
					     1), STATUS_OK);
	arena_fail_after(&arena, -1);
	return 0;
}

static int close_space(void **state)
{
	(void)state;
	space_destroy(space);
	arena_close(&arena);
	return 0;
}

/* Whether a refusal leaves every page as it was, or the operation may have got part of the way. */
enum effect { ALL_OR_NOTHING, PARTLY };

static const struct operation {
	const char *name;
	enum status (*run)(void);
	enum effect effect;
	uint64_t refusals;		/* how many of its allocations can be refused */
	uint64_t survived;		/* and after how many of those it goes on all the same */
} operations[] = {
	{ "space_create", create, ALL_OR_NOTHING, 2, 0 },
	{ "space_map, first", map_first, ALL_OR_NOTHING, 1, 0 },
	{ "space_unmap", unmap_inside, ALL_OR_NOTHING, 1, 0 },
	{ "space_unmap, two splits", unmap_between_two, ALL_OR_NOTHING, 2, 0 },
	{ "space_discard", discard_inside, ALL_OR_NOTHING, 1, 0 },
	{ "space_protect", protect_inside, ALL_OR_NOTHING, 1, 0 },
	{ "space_hint", hint_inside, ALL_OR_NOTHING, 1, 0 },
	{ "space_hint, two splits", hint_between_two, ALL_OR_NOTHING, 2, 0 },
	{ "space_make_exclusive", make_exclusive, ALL_OR_NOTHING, 1, 0 },
	{ "mm_lookup, large", look_up_large, ALL_OR_NOTHING, 1, 1 },
	{ "mm_lookup, far", look_up_far, ALL_OR_NOTHING, 3, 0 },
	{ "space_write", write_across, PARTLY, 4, 0 },
	{ "space_read", read_across, PARTLY, 4, 0 },
	{ "folio_alloc", allocate, ALL_OR_NOTHING, 1, 0 },
	{ "space_migrate", migrate, PARTLY, 3, 0 },
	{ "space_split", split, PARTLY, 2, 0 },
	{ "space_fork", fork_it, ALL_OR_NOTHING, 7, 0 },
	{ "space_move", move, ALL_OR_NOTHING, 4, 0 },
	{ "space_patch", patch, PARTLY, 3, 0 },
	{ "space_insert_page", insert, PARTLY, 2, 0 },
	{ "ksm_start", start_ksm, ALL_OR_NOTHING, 1, 0 },
	{ "space_unmerge", unmerge, PARTLY, 4, 0 },
	{ "space_lazyfree", lazyfree, ALL_OR_NOTHING, 2, 0 },
	{ "space_cool", cool, ALL_OR_NOTHING, 2, 0 },
	{ "space_page_out", page_out, ALL_OR_NOTHING, 2, 0 },
	{ "space_collapse", collapse, PARTLY, 1, 0 },
	{ "space_map_secret", secret, ALL_OR_NOTHING, 3, 0 },
	{ "space_map_frames", frames, ALL_OR_NOTHING, 2, 0 },
	{ "pool_create", pool, ALL_OR_NOTHING, 3, 0 },
	{ "memfd_lookup", memfd, ALL_OR_NOTHING, 2, 0 },
	{ "host_swap_on", swap, PARTLY, 2, 1 },
	{ "space_map, many", map_until_the_array_grows, ALL_OR_NOTHING, 1, 0 },
};

static void each_in_turn(void **state)
{
	for (unsigned k = 0; k < sizeof(operations) / sizeof(operations[0]); k++) {
		const struct operation *operation = &operations[k];
		uint64_t refusals = 0, survived = 0;

		for (;;) {
			open_space(state);
			take_picture(&before);
			arena_fail_after(&arena, (int64_t)refusals);
			enum status status = operation->run();
			uint64_t refused = arena.refused;

			arena_fail_after(&arena, -1);
			take_picture(&after);
			space_verify(space);
			host_verify(arena.host);
			if (refused && status == STATUS_OK)
				survived++;
			else if (refused)
				assert_int_equal(status, STATUS_NO_MEMORY);
			if (status != STATUS_OK && operation->effect == ALL_OR_NOTHING)
				assert_memory_equal(&before, &after, sizeof(before));
			assert_int_equal(operation->run(), STATUS_OK);
			space_verify(space);
			close_space(state);
			if (!refused)
				break;
			refusals++;
		}
		if (refusals != operation->refusals || survived != operation->survived)
			print_error("%s: %lu refusals, %lu survived\n", operation->name, refusals,
				    survived);
		assert_int_equal(refusals, operation->refusals);
		assert_int_equal(survived, operation->survived);
	}
}

/* A VMA that finds room needs no memory: two are kept free, no more. */
static void room_comes_first(void **state)
{
	uint64_t at = 16 * MIB;

	open_space(state);
	for (; space->vma_count + 2 < space->vma_capacity; at += 2 * PAGE_SIZE)
		assert_int_equal(space_map(space, hva(at), PAGE_SIZE, PROTECTION_READ, LEVEL_4K),
				 STATUS_OK);
	arena_fail_from_order(&arena, 0);
	assert_int_equal(space_map(space, hva(at), PAGE_SIZE, PROTECTION_READ, LEVEL_4K),
			 STATUS_OK);
	at += 2 * PAGE_SIZE;
	assert_int_equal(space_map(space, hva(at), PAGE_SIZE, PROTECTION_READ, LEVEL_4K),
			 STATUS_NO_MEMORY);
	arena_fail_after(&arena, -1);
	close_space(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_in_turn), cmocka_unit_test(room_comes_first),
	};

	return cmocka_run_group_tests_name("mm/refused", tests, NULL, NULL);
}
