/*
 * Who does the next operation (operations.h), at each point where more than one could. The actors
 * share one thread and, where one goes on inside another's operation, one stack: a point there is
 * one at which nothing is locked, or at which the other needs no lock.
 *
 * Points inside operations at which something is locked, each atomic access, would have to switch
 * stacks; choose() is the place where the schedule would be asked there, too.
 */
#include "ept/state.h"
#include "tests/host/actors.h"
#include "tests/host/kick.h"
#include "tests/host/operations.h"

enum { ARENA_MIB = 16 };

/* 0 is the plain way, and what comes when the schedule is used up. */
static unsigned choose(unsigned choices)
{
	return scene.schedule < scene.schedule_end ? *scene.schedule++ % choices : 0;
}

/* To the next operation of this actor. */
static void take_next(struct actor *actor)
{
	unsigned me = (unsigned)(actor - scene.actors);

	do
		actor->next += OPERATION_BYTES;
	while (actor->next < scene.end && operation_actor(actor->next) != me);
}

/* Those who may go on now, in the order in which their next operations stand in the input. */
static unsigned find_ready(struct actor *ready[ACTORS])
{
	unsigned count = 0;

	for (unsigned i = 0; i < ACTORS; i++) {
		struct actor *actor = &scene.actors[i];
		unsigned at = count;

		if (actor->doing || actor->next >= scene.end)
			continue;
		for (; at && ready[at - 1]->next > actor->next; at--)
			ready[at] = ready[at - 1];
		ready[at] = actor;
		count++;
	}
	return count;
}

static struct actor *choose_other(void)
{
	struct actor *ready[ACTORS];
	unsigned count = find_ready(ready);
	unsigned chosen = count ? choose(count + 1) : 0;

	return chosen ? ready[chosen - 1] : NULL;
}

static void perform_next(struct actor *actor)
{
	struct operation operation = operation_decode(actor->next);
	unsigned cpu = port_cpu();

	operation_log(actor, &operation);
	take_next(actor);
	port_set_cpu((unsigned)(actor - scene.actors));
	operation_perform(actor, &operation);
	port_set_cpu(cpu);
	if (scene.verify_always)
		verify_all();
}

static bool is_free(const rwlock_t *lock)
{
	return !atomic_read(&lock->readers) &&
	       atomic_read(&lock->writers.next) == atomic_read(&lock->writers.serving);
}

/* ------------------------------------------------------------------ inside operations */

/* An allocation without a lock: a long time may pass there. */
static void on_allocated(struct page_watch *self, pfn_t head, unsigned order)
{
	struct actor *other;

	scene.arena_watch.allocated(self, head, order);
	if (!is_free(&scene.space->lock) || !is_free(&scene.ept->lock))
		return;
	while ((other = choose_other()))
		perform_next(other);
}

static bool may_alloc(struct page_watch *self, unsigned order)
{
	bool allowed = scene.arena_watch.may_alloc(self, order);

	scene.refusals += !allowed;
	return allowed;
}

/* Inside a bracket, the guest goes on elsewhere: as far as it needs no help, for mm is locked. */
static void access_inside(struct actor *actor, const struct mm_range *range)
{
	struct operation operation = operation_decode(actor->next);
	uint64_t stored = operation.value;
	hva_t host = model_hva(operation.page);

	if (!is_guest_access(&operation))
		return;
	if (!actor->soft.inside)
		soft_enter(&actor->soft);

	struct soft_exit exit = soft_access(&actor->soft, guest_address(&operation),
					    operation.access, &operation.value);

	if (exit.kind == SOFT_VIOLATION || exit.kind == SOFT_MISCONFIGURATION) {
		soft_leave(&actor->soft);
		return;
	}
	port_log("    inside a bracket:");
	operation_log(actor, &operation);
	/* mm/notifier.h: nothing the listener owns reaches the range's frames. */
	check(host.raw < range->start.raw || host.raw >= range->end.raw);
	judge_done(&operation, stored);
	take_next(actor);
}

static void on_bracket(struct notifier *self, const struct mm_range *range)
{
	unsigned cpu = port_cpu();
	struct actor *other;

	(void)self;
	while ((other = choose_other())) {
		port_set_cpu((unsigned)(other - scene.actors));
		access_inside(other, range);
		port_set_cpu(cpu);
	}
}

static void on_release(struct notifier *self) { (void)self; }

static const struct notifier_ops listener_ops = {
	.start = on_bracket, .end = on_bracket, .release = on_release,
};

static void on_kick(unsigned cpu)
{
	unsigned me = port_cpu();

	port_set_cpu(cpu);
	soft_leave(&scene.actors[cpu].soft);
	port_set_cpu(me);
}

/* ------------------------------------------------------------------ the run */

static void map_half(struct span span, unsigned level)
{
	check(space_map(scene.space, model_hva(span.first), span.count * PAGE_SIZE,
			PROTECTION_READ_WRITE, level) == STATUS_OK);
	model_map(&scene.model, span);
}

static void open_all(unsigned options)
{
	struct ept_caps caps = {
		.max_level = options & OPERATIONS_SMALL_LEAVES ? LEVEL_4K : LEVEL_2M,
		.accessed_dirty = options & OPERATIONS_ACCESSED_DIRTY };

	check(space_create(arena_open(&scene.arena, ARENA_MIB), &scene.space) == STATUS_OK);
	check(ept_create(scene.space, &caps, &scene.ept) == STATUS_OK);
	ept_set_prefetch(scene.ept, options & OPERATIONS_PREFETCH ? 8 : 0);
	scene.listener = (struct notifier){ .ops = &listener_ops };
	notifier_register(scene.space, &scene.listener);
	kick_hook(on_kick);
	model_init(&scene.model);
	for (unsigned i = 0; i < MODEL_REGIONS; i++)
		check(ept_region_add(scene.ept, &scene.model.regions[i].region) == STATUS_OK);
	map_half((struct span){ 0, MODEL_SMALL }, LEVEL_4K);
	map_half((struct span){ MODEL_SMALL, MODEL_LARGE }, LEVEL_2M);
	scene.arena_watch = scene.arena.watch;
	scene.arena.watch.allocated = on_allocated;
	scene.arena.watch.may_alloc = may_alloc;
}

/* What was stored last is there, as far as the process may read it. */
static void check_words(void)
{
	for (unsigned page = 0; page < MODEL_PAGES; page++)
		for (unsigned word = 0; word < MODEL_WORDS; word++) {
			uint64_t wanted = scene.model.pages[page].words[word], found;
			hva_t at = hva_add(model_hva(page), model_offset(word));

			if (!wanted || model_reach(&scene.model, page, ACCESS_READ) != STATUS_OK)
				continue;
			check(space_read(scene.space, at, &found, sizeof(found)) == STATUS_OK);
			check(found == wanted);
		}
}

static void close_all(unsigned options, struct ept_stats *stats)
{
	arena_fail_after(&scene.arena, -1);
	for (unsigned i = 0; i < ACTORS; i++) {
		port_set_cpu(i);
		soft_leave(&scene.actors[i].soft);
	}
	port_set_cpu(0);
	verify_all();
	check_words();
	ept_read_stats(scene.ept, stats);
	if (options & OPERATIONS_SPACE_FIRST) {
		space_destroy(scene.space);
		ept_destroy(scene.ept);
	} else {
		ept_destroy(scene.ept);
		space_verify(scene.space);
		space_destroy(scene.space);
	}
	kick_hook(NULL);
	arena_close(&scene.arena);
}

static void start_actors(const uint8_t *bytes, size_t size)
{
	size_t scheduled = size > 1 ? bytes[1] : 0;
	size_t header = size < 2 ? size : 2;

	if (scheduled > size - header)
		scheduled = size - header;
	scene.schedule_end = bytes + size;
	scene.schedule = scene.schedule_end - scheduled;
	scene.end = scene.schedule - (size - header - scheduled) % OPERATION_BYTES;
	for (unsigned i = 0; i < ACTORS; i++) {
		struct actor *actor = &scene.actors[i];

		soft_cpu_init(&actor->soft, scene.ept);
		actor->doing = NULL;
		actor->next = bytes + header;
		if (actor->next < scene.end && operation_actor(actor->next) != i)
			take_next(actor);
	}
}

void operations_run(const uint8_t *bytes, size_t size, struct ept_stats *stats)
{
	unsigned options = size ? bytes[0] : 0;
	struct actor *ready[ACTORS];

	scene.counter = scene.refusals = 0;
	scene.verify_always = (options & OPERATIONS_VERIFY_ALL) == OPERATIONS_VERIFY_ALL;
	open_all(options);
	start_actors(bytes, size);
	for (unsigned count; (count = find_ready(ready));)
		perform_next(ready[choose(count)]);
	close_all(options, stats);
}
