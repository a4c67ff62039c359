/*
 * The soft CPU inside the image: guests that need no VMX, one on each CPU, whose memory the host
 * moves, takes and gives back all the while. Every word they load is compared with what they
 * stored. The same, with its figures, is the demo of `ENGINE=qemu make run`.
 */
#include "boot/boot.h"
#include "ept/change.h"
#include "mm/mm.h"
#include "tests/host/soft_cpu.h"
#include "tests/tap.h"

#define BACKING  hva(UINT64_C(1) << 40)
#define LARGE_AT (UINT64_C(64) << 20)	/* the large part, in the guest and in the backing */

enum {
	GUESTS_MAX = 4,
	PAGES = 96,			/* of 4 KiB, for each guest */
	LOST_PAGES = 32,		/* the last of them: the host may discard their content */
	LARGE_PAGES = 512,		/* one leaf of 2 MiB, shared by all guests, word by word */
	OPERATIONS_A_STEP = 64,
};

struct soft_guest {
	struct task task;
	struct soft_cpu cpu;
	struct soft_world *world;
	unsigned number;
	uint64_t random, operations, target, refused;
	uint64_t wrong;			/* loads that found what nobody had stored */
	uint64_t stored[PAGES + LARGE_PAGES];
};

enum host_action { MIGRATE, DISCARD, PROTECT, INVALIDATE, INVALIDATE_LARGE, HOST_ACTIONS };

/* One space, one EPT, the guests on it, and the host's task. */
struct soft_world {
	struct task host_task;
	struct space *space;
	struct ept *ept;
	unsigned guests;
	atomic32_t running;
	uint64_t random, actions[HOST_ACTIONS], moved, failed;
	struct soft_guest guest[GUESTS_MAX];
};

static struct soft_world world;

/* A small generator (xorshift): the same sequence in every run. */
static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* ------------------------------------------------------------------ a guest */

/* Where this guest's word of that page is: pages of the guests alternate. */
static gpa_t page_address(const struct soft_guest *guest, unsigned page)
{
	unsigned guests = guest->world->guests;

	if (page >= PAGES)
		return gpa(LARGE_AT + (page - PAGES) * PAGE_SIZE + guest->number * 8);
	return gpa(((uint64_t)page * guests + guest->number) * PAGE_SIZE + guest->number * 8);
}

static void store(struct soft_guest *guest, unsigned page)
{
	uint64_t value = (uint64_t)(guest->number + 1) << 56 | (uint64_t)page << 40 |
			 (guest->operations + 1);

	if (soft_store(&guest->cpu, page_address(guest, page), value) == FAULT_FIXED)
		guest->stored[page] = value;
	else
		guest->refused++;
}

static void load(struct soft_guest *guest, unsigned page, bool fetch)
{
	bool may_be_lost = page >= PAGES - LOST_PAGES && page < PAGES;
	gpa_t address = page_address(guest, page);
	uint64_t value;
	enum fault_result result = fetch ? soft_fetch(&guest->cpu, address, &value)
					 : soft_load(&guest->cpu, address, &value);

	if (result != FAULT_FIXED) {
		guest->refused++;
		return;
	}
	if (!value && may_be_lost)
		guest->stored[page] = 0;
	if (value != guest->stored[page])
		guest->wrong++;
}

static enum task_result guest_step(struct task *task)
{
	struct soft_guest *guest = (struct soft_guest *)task;

	for (unsigned i = 0; i < OPERATIONS_A_STEP; i++) {
		uint64_t random = next_random(&guest->random);
		unsigned page = (unsigned)(random >> 8) % (PAGES + LARGE_PAGES);

		if (random & 1)
			store(guest, page);
		else
			load(guest, page, random & 2);
		guest->operations++;
	}
	/* Another task may want this CPU: it must be outside then. */
	soft_leave(&guest->cpu);
	if (guest->operations < guest->target)
		return TASK_AGAIN;
	atomic_sub(&guest->world->running, 1);
	return TASK_DONE;
}

/* ------------------------------------------------------------------ the host */

static void act(struct soft_world *w, enum host_action action, uint64_t random)
{
	uint64_t all = (uint64_t)PAGES * w->guests, lost = (uint64_t)LOST_PAGES * w->guests;
	uint64_t page = random % all, count = 1 + (random >> 20) % 8, moved = 0;
	enum status status = STATUS_OK;

	if (action == DISCARD)
		page = all - 1 - page % lost;
	if (count > all - page)
		count = all - page;

	hva_t start = hva_add(BACKING, page * PAGE_SIZE);
	uint64_t bytes = count * PAGE_SIZE;

	switch (action) {
	case MIGRATE:
		status = space_migrate(w->space, start, bytes, &moved);
		break;
	case DISCARD:
		status = space_discard(w->space, start, bytes);
		break;
	case PROTECT:
		status = space_protect(w->space, start, bytes, PROTECTION_READ);
		if (status == STATUS_OK)
			status = space_protect(w->space, start, bytes, PROTECTION_READ_WRITE);
		break;
	case INVALIDATE:
		status = space_invalidate(w->space, start, bytes);
		break;
	case INVALIDATE_LARGE:
		status = space_invalidate(w->space, hva_add(BACKING, LARGE_AT), PAGE_SIZE);
		break;
	case HOST_ACTIONS:
		break;
	}
	w->moved += moved;
	w->failed += status != STATUS_OK;
	w->actions[action]++;
}

static enum task_result host_step(struct task *task)
{
	struct soft_world *w = (struct soft_world *)task;
	uint64_t random = next_random(&w->random);

	if (!atomic_read(&w->running))
		return TASK_DONE;
	act(w, (enum host_action)(random >> 40) % HOST_ACTIONS, random);
	return TASK_AGAIN;
}

/* ------------------------------------------------------------------ beginning and end */

static enum status add_memory(struct soft_world *w)
{
	uint64_t pages = (uint64_t)PAGES * w->guests;
	struct region small = { gfn(0), pages, BACKING, REGION_READ_WRITE, LEVEL_4K };
	struct region large = { gpa_to_gfn(gpa(LARGE_AT)), LARGE_PAGES, hva_add(BACKING, LARGE_AT),
				REGION_READ_WRITE, LEVEL_2M };
	enum status status = space_map(w->space, small.backing, pages * PAGE_SIZE,
				       PROTECTION_READ_WRITE, LEVEL_4K);

	if (status == STATUS_OK)
		status = space_map(w->space, large.backing, LARGE_PAGES * PAGE_SIZE,
				   PROTECTION_READ_WRITE, LEVEL_2M);
	if (status == STATUS_OK)
		status = ept_region_add(w->ept, &small);
	if (status == STATUS_OK)
		status = ept_region_add(w->ept, &large);
	return status;
}

static void open_guest(struct soft_world *w, unsigned number, uint64_t operations)
{
	struct soft_guest *guest = &w->guest[number];

	guest->task = (struct task){ .name = "soft guest", .step = guest_step,
				     .home = (int)number };
	soft_cpu_init(&guest->cpu, w->ept);
	guest->cpu.polls = true;
	guest->world = w;
	guest->number = number;
	guest->random = 0x9e3779b97f4a7c15 + number;
	guest->target = operations;
}

static enum status world_open(struct soft_world *w, uint64_t operations)
{
	struct ept_caps caps = { .max_level = LEVEL_2M, .accessed_dirty = true };
	enum status status;

	__builtin_memset(w, 0, sizeof(*w));
	w->guests = cpu_count() < GUESTS_MAX ? cpu_count() : GUESTS_MAX;
	w->random = 0x2545f4914f6cdd1d;
	status = space_create(boot_host(), &w->space);
	if (status != STATUS_OK)
		return status;
	status = ept_create(w->space, &caps, &w->ept);
	if (status == STATUS_OK) {
		status = add_memory(w);
		if (status != STATUS_OK)
			ept_destroy(w->ept);
	}
	if (status != STATUS_OK) {
		space_destroy(w->space);
		return status;
	}
	for (unsigned i = 0; i < w->guests; i++)
		open_guest(w, i, operations);
	return STATUS_OK;
}

/* Verifies what is left behind, then leaves nothing. */
static void world_close(struct soft_world *w)
{
	ept_verify(w->ept);
	space_verify(w->space);
	ept_destroy(w->ept);
	space_destroy(w->space);
}

/* The host works on the last CPU, beside that CPU's guest. */
static void world_run(struct soft_world *w)
{
	atomic_write(&w->running, w->guests);
	w->host_task = (struct task){ .name = "soft host", .step = host_step,
				      .home = (int)w->guests - 1 };
	task_start(&w->host_task);
	for (unsigned i = 0; i < w->guests; i++)
		task_start(&w->guest[i].task);
	for (unsigned i = 0; i < w->guests; i++)
		task_wait(&w->guest[i].task);
	task_wait(&w->host_task);
}

static uint64_t sum_wrong(const struct soft_world *w)
{
	uint64_t wrong = 0;

	for (unsigned i = 0; i < w->guests; i++)
		wrong += w->guest[i].wrong;
	return wrong;
}

static uint64_t free_pages(void)
{
	struct host_stats stats;

	host_read_stats(boot_host(), &stats);
	return stats.pages_free;
}

/* ------------------------------------------------------------------ tests */

BOOT_TEST("soft/lend_and_take", NEEDS_NOTHING)
{
	uint64_t before = free_pages();
	struct ept_stats stats;

	if (!expect_equal(world_open(&world, 20000), STATUS_OK))
		return;
	world_run(&world);
	ept_read_stats(world.ept, &stats);
	expect_equal(sum_wrong(&world), 0);
	expect_equal(world.failed, 0);
	/* All of it happened. */
	expect(stats.mapped[0] && stats.mapped[1] && stats.zapped[0] && stats.zapped[1]);
	expect(stats.flushes && stats.invepts && world.moved);
	for (unsigned i = 0; i < HOST_ACTIONS; i++)
		expect(world.actions[i]);
	world_close(&world);
	expect_equal(free_pages(), before);
}

/* An entry is taken away and the flush left out: the soft CPU goes on with what it has cached. */
BOOT_TEST("soft/flush_left_out", NEEDS_NOTHING)
{
	struct soft_cpu *cpu = &world.guest[0].cpu;
	uint64_t value = 0;

	if (!expect_equal(world_open(&world, 0), STATUS_OK))
		return;
	expect_equal(soft_store(cpu, gpa(0), 42), FAULT_FIXED);

	struct ept_walk walk = ept_walk_begin(world.ept, gfn(0), 1);

	while (ept_walk_next(&walk) && !spte_is_leaf(walk.old))
		continue;
	spte_t old = slot_xchg(walk.slot, spte_empty());

	expect(spte_is_leaf(old));
	expect_equal(soft_access(cpu, gpa(0), ACCESS_READ, &value).kind, SOFT_DONE);
	expect_equal(value, 42);
	soft_invept(cpu);
	expect_equal(soft_access(cpu, gpa(0), ACCESS_READ, &value).kind, SOFT_VIOLATION);
	slot_xchg(walk.slot, old);
	soft_leave(cpu);
	world_close(&world);
}

/* ------------------------------------------------------------------ the demo */

static void stat(const char *name, uint64_t value, const char *unit)
{
	print("# stat %s %llu %s\n", name, (unsigned long long)value, unit);
}

static void print_figures(struct soft_world *w)
{
	struct ept_stats stats;
	uint64_t operations = 0, refused = 0;

	ept_read_stats(w->ept, &stats);
	for (unsigned i = 0; i < w->guests; i++) {
		operations += w->guest[i].operations;
		refused += w->guest[i].refused;
	}
	stat("soft_accesses", operations, "accesses");
	stat("soft_accesses_refused", refused, "accesses");
	stat("soft_faults_read", stats.faults[0], "faults");
	stat("soft_faults_write", stats.faults[1], "faults");
	stat("soft_faults_fetch", stats.faults[2], "faults");
	stat("soft_faults_spurious", stats.spurious, "faults");
	stat("soft_faults_retried", stats.retries, "faults");
	stat("soft_lent_4k", stats.mapped[0], "folios");
	stat("soft_lent_2m", stats.mapped[1], "folios");
	stat("soft_taken_4k", stats.zapped[0], "folios");
	stat("soft_taken_2m", stats.zapped[1], "folios");
	stat("soft_migrated", w->moved, "pages");
	stat("soft_invalidations", stats.invalidations, "brackets");
	stat("soft_flushes", stats.flushes, "flushes");
	stat("soft_kicks", stats.kicks, "kicks");
	stat("soft_invepts", stats.invepts, "invalidations");
}

int soft_demo(void)
{
	enum status status = world_open(&world, 50000);
	uint64_t wrong;

	if (status != STATUS_OK) {
		print("soft CPU demo: %s\n", status_name(status));
		return 1;
	}
	print("demo on the soft CPU: %u guest CPUs load, store and fetch in %u pages of 4 KiB\n"
	      "and one of 2 MiB, while the host moves, discards, protects and invalidates them\n",
	      world.guests, PAGES * world.guests);
	world_run(&world);
	wrong = sum_wrong(&world);
	print_figures(&world);
	world_close(&world);
	if (wrong)
		print("soft CPU demo: %llu loads found what nobody had stored\n",
		      (unsigned long long)wrong);
	else
		print("every load found what was stored last\n");
	return wrong || world.failed;
}
