/*
 * Which transition next. One depth-first search, undoing as it goes back, in three forms: plain;
 * stateful, which leaves a state that it has seen; reduced by sleep sets (Godefroid, "Partial-Order
 * Methods for the Verification of Concurrent Systems"), which takes one order of transitions that
 * commute. Beside them walks: at random, uniformly and by PCT (Burckhardt and others, "A
 * Randomized Scheduler with Probabilistic Guarantees of Finding Bugs"), and along given bytes.
 *
 * A preemption is a switch away from an actor that could go on. Drains and choices are free.
 *
 * A part of a search has the schedules whose first preemption comes at some depths, and those that
 * have none: the parts together are the whole.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/explore/internal.h"

enum { ALTERNATIVES = 24, WARM_UP_RUNS = 200 };

/* A transition that need not be taken here: another order of the same has been tried. */
struct asleep { struct transition transition; const struct footprint *footprint; };
struct sleepers { unsigned count; struct asleep list[2 * ALTERNATIVES]; };

struct search {
	const struct plan *plan;
	struct result *out;
	bool stop;
	struct node *nodes[DEPTH_MAX + 1];
	char *saved;			/* stacks of the actors on the path */
	size_t saved_bytes, saved_room;
	uint64_t random;
	struct given {
		size_t used;		/* bytes of the schedule */
		unsigned choices[EXPLORE_ACTORS];	/* made so far, by actor */
		unsigned holding;	/* steps until the next pair */
		bool lazy;
	} given;
};

/* ------------------------------------------------------------------ states that were seen */

struct seen { uint64_t key; uint8_t budget; };
static struct seen *seen;
static size_t seen_count, seen_room;
static size_t seen_ends;		/* of these, ends of executions */

static struct seen *seen_place(struct seen *table, size_t room, uint64_t key)
{
	size_t i = key & (room - 1);

	while (table[i].key && table[i].key != key)
		i = (i + 1) & (room - 1);
	return &table[i];
}

static void seen_grow(void)
{
	size_t room = seen_room * 2;
	struct seen *larger = calloc(room, sizeof(*larger));

	check(larger);
	for (size_t i = 0; i < seen_room; i++)
		if (seen[i].key)
			*seen_place(larger, room, seen[i].key) = seen[i];
	free(seen);
	seen = larger;
	seen_room = room;
}

static void seen_forget(void)
{
	free(seen);
	seen_room = 1 << 14;
	seen_count = 0;
	seen_ends = 0;
	seen = calloc(seen_room, sizeof(*seen));
	check(seen);
}

/* True: new, or seen only with fewer preemptions left. `budget` + 1 is kept: 0 is none. */
static bool seen_add(uint64_t key, unsigned budget)
{
	key |= 1;
	if (seen_count > seen_room / 2)
		seen_grow();

	struct seen *place = seen_place(seen, seen_room, key);

	if (place->key && place->budget >= budget)
		return false;
	seen_count += !place->key;
	*place = (struct seen){ key, (uint8_t)budget };
	return true;
}

/* True: memory has not been left like this before. */
static bool seen_add_end(void)
{
	bool is_new = seen_add(mix(memory_hash(), ~UINT64_C(0)), 1);

	seen_ends += is_new;
	return is_new;
}

/* ------------------------------------------------------------------ one transition */

struct saved { struct mark mark; size_t stack; struct tally tally; uint64_t hash; unsigned actor; };

static struct saved save(struct search *search, unsigned actor, struct footprint *footprint)
{
	struct span span = actor_span(actor);
	struct saved saved = { memory_mark(footprint), search->saved_bytes, machine.tallies[actor],
			       machine.hashes[actor], actor };

	if (search->saved_bytes + span.bytes + sizeof(span) > search->saved_room) {
		search->saved_room = 2 * search->saved_room + STACK_BYTES;
		search->saved = realloc(search->saved, search->saved_room);
		check(search->saved);
	}
	memcpy(search->saved + search->saved_bytes, &span, sizeof(span));
	memcpy(search->saved + search->saved_bytes + sizeof(span), span.start, span.bytes);
	search->saved_bytes += sizeof(span) + span.bytes;
	return saved;
}

static void restore(struct search *search, const struct saved *saved)
{
	struct span span;

	memory_undo(saved->mark);
	memcpy(&span, search->saved + saved->stack, sizeof(span));
	memcpy(span.start, search->saved + saved->stack + sizeof(span), span.bytes);
	search->saved_bytes = saved->stack;
	machine.tallies[saved->actor] = saved->tally;
	machine.hashes[saved->actor] = saved->hash;
	machine.failure = NULL;
}

static void fail(struct search *search, enum verdict verdict, unsigned depth, const char *message)
{
	search->out->verdict = verdict;
	search->out->length = depth;
	snprintf(search->out->message, sizeof(search->out->message), "%s", message);
	search->stop = true;
}

/* Makes the transition, the depth-th of the path. */
static void take(struct search *search, unsigned depth, struct transition transition)
{
	struct result *out = search->out;
	struct tally *tally = &machine.tallies[transition.actor];
	uint32_t before = tally->accesses;

	out->transitions++;
	if (transition.kind == DRAIN)
		transition.accesses = tally->stores[0];
	if (transition.kind == STEP)
		actor_step(transition.actor, transition.choice);
	else
		actor_drain(transition.actor);
	if (search->plan->engine == ENGINE_STATEFUL)
		actor_hash(transition.actor);
	if (transition.kind == STEP)
		transition.accesses = tally->accesses - before;
	out->path[depth] = transition;
	if (depth + 1 > out->depth)
		out->depth = depth + 1;
	if (machine.failure)
		fail(search, VERDICT_FAIL, depth + 1, machine.failure);
	if (!(out->transitions & 0xfffff) && search->plan->progress)
		search->plan->progress(out->transitions, seen_count);
	if (search->plan->most && out->transitions > search->plan->most && !search->stop)
		fail(search, VERDICT_TIMEOUT, depth + 1, "more transitions than allowed");
}

/* Those that can be made; the last actor's first, so that a preemption comes last. */
static unsigned list(unsigned last, struct transition *out)
{
	unsigned n = 0;

	for (unsigned k = 0; k < machine.count; k++) {
		unsigned i = (last + k) % machine.count;

		if (actor_can_step(i))
			for (unsigned c = 0; c < actor_choices(i) && n < ALTERNATIVES; c++)
				out[n++] = (struct transition){ (uint8_t)i, STEP, (uint16_t)c, 0 };
	}
	for (unsigned i = 0; i < machine.count; i++)
		if (actor_can_drain(i) && n < ALTERNATIVES)
			out[n++] = (struct transition){ (uint8_t)i, DRAIN, 0, 0 };
	return n;
}

static void at_end(struct search *search, unsigned depth)
{
	const struct scenario *scenario = search->plan->scenario;
	struct mark mark = memory_mark(NULL);

	for (unsigned i = 0; i < machine.count; i++)
		if (!actor_done(i)) {
			fail(search, VERDICT_DEADLOCK, depth, "nobody can go on");
			return;
		}
	search->out->executions++;
	if (search->plan->terminal)
		search->plan->terminal();
	/* To verify takes longer than most executions, and looks at memory alone: each end once. */
	if (scenario->verify && (search->plan->engine != ENGINE_STATEFUL || seen_add_end()))
		judge_run(scenario->verify);
	if (machine.failure)
		fail(search, VERDICT_FAIL, depth, machine.failure);
	memory_undo(mark);
	machine.failure = NULL;
}

/* ------------------------------------------------------------------ what commutes */

static bool overlap(const struct access *a, const struct access *b)
{
	return (a->write || b->write) && a->at < b->at + b->bytes && b->at < a->at + a->bytes;
}

static bool independent(const struct footprint *a, const struct footprint *b)
{
	if (a->count > FOOTPRINT_MAX || b->count > FOOTPRINT_MAX)
		return false;
	for (unsigned i = 0; i < a->count; i++)
		for (unsigned k = 0; k < b->count; k++)
			if (overlap(&a->accesses[i], &b->accesses[k]))
				return false;
	return true;
}

/*
 * The first of a transition's accesses, if atomic, is the only one that can order it after another
 * actor's: all that follow are to words that no other actor shares, or plain.
 */
static bool ordered(const struct footprint *a, const struct footprint *b)
{
	return !a->accesses[0].plain && !b->accesses[0].plain &&
	       overlap(&a->accesses[0], &b->accesses[0]);
}

/* The access of `a`, from its `first` on, that conflicts with one of `b`; one of them is plain. */
static const struct access *conflict(const struct footprint *a, unsigned first,
				     const struct footprint *b)
{
	if (a->count > FOOTPRINT_MAX || b->count > FOOTPRINT_MAX)
		return NULL;
	for (unsigned i = first; i < a->count; i++)
		for (unsigned k = 0; k < b->count; k++)
			if ((a->accesses[i].plain || b->accesses[k].plain) &&
			    overlap(&a->accesses[i], &b->accesses[k]))
				return &a->accesses[i];
	return NULL;
}

/* Two actors can both make these transitions now, so nothing orders what is in them. */
static const struct access *race(const struct footprint *a, const struct footprint *b)
{
	return a->count && b->count && !ordered(a, b) ? conflict(a, 0, b) : NULL;
}

/*
 * An actor made `b` right behind another's `a`. If they begin with the same word, as the takers of
 * a lock do, then what `a` did after that is in no order with `b`.
 */
static const struct access *race_behind(const struct footprint *a, const struct footprint *b)
{
	return a->count && b->count ? conflict(a, ordered(a, b), b) : NULL;
}

static void report_race(struct search *search, unsigned depth, const struct access *access)
{
	const struct scenario *scenario = search->plan->scenario;
	char name[64], message[160];

	if (!scenario->name_word ||
	    !scenario->name_word((const void *)access->at, name, sizeof(name)))
		snprintf(name, sizeof(name), "0x%lx", access->at);
	snprintf(message, sizeof(message), "data race on %s, %u bytes: a plain access that nothing "
		 "orders", name, access->bytes);
	fail(search, VERDICT_FAIL, depth, message);
}

/* Among the transitions made from one state. */
static void find_races(struct search *search, unsigned depth, const struct asleep *made, unsigned n)
{
	for (unsigned i = 0; i < n && !search->stop; i++)
		for (unsigned k = 0; k < i; k++) {
			if (made[i].transition.actor == made[k].transition.actor)
				continue;
			const struct access *access = race(made[i].footprint, made[k].footprint);

			if (access) {
				report_race(search, depth, access);
				break;
			}
		}
}

/* ------------------------------------------------------------------ depth first */

static bool same(struct transition a, struct transition b)
{
	return a.actor == b.actor && a.kind == b.kind && a.choice == b.choice;
}

static bool sleeps(const struct sleepers *sleepers, struct transition transition)
{
	for (unsigned i = 0; i < sleepers->count; i++)
		if (same(sleepers->list[i].transition, transition))
			return true;
	return false;
}

static uint64_t state_key(void)
{
	uint64_t key = memory_hash();

	for (unsigned i = 0; i < machine.count; i++)
		key = mix(key, machine.hashes[i]);
	return key;
}

/* Of the list, what is still not worth taking after this transition; appended to below. */
static void stay_asleep(struct sleepers *below, const struct asleep *list, unsigned n,
			const struct asleep *made)
{
	for (unsigned i = 0; i < n; i++)
		if (list[i].transition.actor != made->transition.actor &&
		    independent(list[i].footprint, made->footprint))
			below->list[below->count++] = list[i];
}

/* A state on the path. */
struct node {
	unsigned last;			/* the actor that made the last step */
	struct asleep arrived;		/* by which transition */
	int budget;			/* preemptions left */
	bool preempted;			/* on the way here */
	struct sleepers asleep;
	unsigned made_count;
	struct asleep made[ALTERNATIVES];
	struct footprint footprints[ALTERNATIVES];
};

/* False: this state was seen before, and with it all that can follow. */
static bool enter(const struct search *search, unsigned depth)
{
	const struct plan *plan = search->plan;
	const struct node *node = search->nodes[depth];
	bool in_parts = plan->parts > 1 && !node->preempted;

	if (plan->engine != ENGINE_STATEFUL)
		return true;

	uint64_t key = state_key();

	if (plan->bound != UNBOUNDED || in_parts)
		key = mix(key, node->last);
	if (in_parts)
		key = mix(key, depth + 1);
	return seen_add(key, node->budget < 0 ? 1 : (unsigned)node->budget + 1);
}

/* The first preemption comes here in another part of the search. */
static bool elsewhere(const struct plan *plan, const struct node *node, unsigned depth)
{
	return plan->parts > 1 && !node->preempted && depth % plan->parts != plan->part;
}

static void visit(struct search *search, unsigned depth);

/* What was made now, against the transition before. */
static void find_race_behind(struct search *search, unsigned depth, const struct asleep *arrived,
			     const struct asleep *made)
{
	const struct access *access;

	if (!arrived->footprint || arrived->transition.actor == made->transition.actor)
		return;
	access = race_behind(arrived->footprint, made->footprint);
	if (access && !search->stop)
		report_race(search, depth + 1, access);
}

static void try(struct search *search, unsigned depth, struct transition transition)
{
	struct node *node = search->nodes[depth], *next = search->nodes[depth + 1];
	struct footprint *footprint = &node->footprints[node->made_count];
	struct asleep made = { transition, footprint };
	bool preempts = transition.kind == STEP && transition.actor != node->last &&
			actor_can_step(node->last);
	bool reduced = search->plan->engine == ENGINE_REDUCED;

	if ((preempts && (!node->budget || elsewhere(search->plan, node, depth))) ||
	    (reduced && sleeps(&node->asleep, transition)))
		return;
	struct saved saved = save(search, transition.actor, footprint);

	take(search, depth, transition);
	memory_settle(saved.mark);
	find_race_behind(search, depth, &node->arrived, &made);
	next->arrived = made;
	next->last = transition.kind == STEP ? transition.actor : node->last;
	next->budget = preempts && node->budget > 0 ? node->budget - 1 : node->budget;
	next->preempted = node->preempted || preempts;
	next->asleep.count = 0;
	if (reduced) {
		stay_asleep(&next->asleep, node->asleep.list, node->asleep.count, &made);
		stay_asleep(&next->asleep, node->made, node->made_count, &made);
	}
	if (!search->stop)
		visit(search, depth + 1);
	restore(search, &saved);
	node->made[node->made_count++] = made;
}

static struct node *node_at(struct search *search, unsigned depth)
{
	if (!search->nodes[depth]) {
		search->nodes[depth] = calloc(1, sizeof(struct node));
		check(search->nodes[depth]);
	}
	return search->nodes[depth];
}

static bool touches_shared(const struct footprint *footprint)
{
	for (unsigned i = 0; i < footprint->count && i < FOOTPRINT_MAX; i++)
		if (footprint->accesses[i].plain && memory_is_shared(footprint->accesses[i].at))
			return true;
	return false;
}

/* A state seen before, but not behind this transition: who races with it? */
static void look_behind(struct search *search, unsigned depth)
{
	struct node *node = search->nodes[depth];
	struct transition alternatives[ALTERNATIVES];
	unsigned n;

	if (!node->arrived.footprint || !touches_shared(node->arrived.footprint) ||
	    depth == DEPTH_MAX)
		return;
	n = list(node->last, alternatives);
	for (unsigned i = 0; i < n && !search->stop; i++) {
		struct asleep made = { alternatives[i], &node->footprints[0] };

		if (made.transition.actor == node->arrived.transition.actor)
			continue;
		struct saved saved = save(search, made.transition.actor, &node->footprints[0]);

		take(search, depth, made.transition);
		memory_settle(saved.mark);
		find_race_behind(search, depth, &node->arrived, &made);
		restore(search, &saved);
	}
}

static void visit(struct search *search, unsigned depth)
{
	struct node *node = node_at(search, depth);
	struct transition alternatives[ALTERNATIVES];
	unsigned n;

	if (!enter(search, depth)) {
		look_behind(search, depth);
		return;
	}
	n = list(node->last, alternatives);
	if (!n) {
		at_end(search, depth);
		return;
	}
	if (depth == DEPTH_MAX) {
		fail(search, VERDICT_STEP_BOUND, depth, "the schedule does not end");
		return;
	}
	node_at(search, depth + 1);
	node->made_count = 0;
	for (unsigned i = 0; i < n && !search->stop; i++)
		try(search, depth, alternatives[i]);
	if (!search->stop)
		find_races(search, depth, node->made, node->made_count);
}

/* ------------------------------------------------------------------ at random */

static uint32_t draw(struct search *search, uint32_t below)
{
	search->random ^= search->random << 13;
	search->random ^= search->random >> 7;
	search->random ^= search->random << 17;
	return (uint32_t)((search->random >> 32) * below >> 32);
}

struct pct { unsigned priority[EXPLORE_ACTORS], change_at[8], changes; };

/* The transition of the actor that stands highest; a drain comes at any time. */
static unsigned pct_pick(struct search *search, struct pct *pct, unsigned depth,
			 const struct transition *alternatives, unsigned n)
{
	unsigned best = draw(search, n);

	if (alternatives[best].kind == DRAIN && !draw(search, 2))
		return best;
	for (unsigned i = 0; i < n; i++)
		if (alternatives[best].kind == DRAIN ||
		    (alternatives[i].kind == STEP && pct->priority[alternatives[i].actor] >
						     pct->priority[alternatives[best].actor]))
			best = i;
	for (unsigned i = 0; i < pct->changes; i++)
		if (pct->change_at[i] == depth)
			pct->priority[alternatives[best].actor] = i;
	return best;
}

static struct pct pct_begin(struct search *search, unsigned length)
{
	struct pct pct = { .changes = search->plan->depth ? search->plan->depth - 1 : 0 };

	for (unsigned i = 0; i < machine.count; i++)
		pct.priority[i] = 8 + i;
	for (unsigned i = machine.count; i-- > 1;) {
		unsigned k = draw(search, i + 1), priority = pct.priority[i];

		pct.priority[i] = pct.priority[k];
		pct.priority[k] = priority;
	}
	for (unsigned i = 0; i < pct.changes; i++)
		pct.change_at[i] = draw(search, length);
	return pct;
}

/* Store buffers drain at once, and the first alternative is that things go on as they do. */
static unsigned go_on(bool lazy, const struct transition *alternatives, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (alternatives[i].kind == DRAIN && (!lazy || alternatives[0].kind == DRAIN))
			return i;
	return 0;
}

static unsigned given_choice(struct search *search, unsigned actor, unsigned n)
{
	unsigned made = search->given.choices[actor]++ % GIVEN_CHOICES;
	size_t at = actor * GIVEN_CHOICES + made;

	return at < search->plan->given_bytes ? search->plan->given[at] % n : 0;
}

static unsigned given_pick(struct search *search, const struct transition *alternatives, unsigned n)
{
	const struct plan *plan = search->plan;
	struct given *given = &search->given;
	unsigned actor = alternatives[0].actor;

	if (alternatives[0].kind == STEP && actor_choices(actor) > 1)
		return given_choice(search, actor, actor_choices(actor));
	if (given->holding) {
		given->holding--;
		return go_on(given->lazy, alternatives, n);
	}
	if (given->used + 2 > plan->given_bytes)
		return go_on(false, alternatives, n);

	uint8_t who = plan->given[given->used];

	given->holding = plan->given[given->used + 1];
	given->lazy = who & 0x80;
	given->used += 2;
	return who % n;
}

static unsigned pick(struct search *search, struct pct *pct, unsigned depth,
		     const struct transition *alternatives, unsigned n)
{
	switch (search->plan->engine) {
	case ENGINE_PCT: return pct_pick(search, pct, depth, alternatives, n);
	case ENGINE_GIVEN: return given_pick(search, alternatives, n);
	case ENGINE_PLAIN:
	case ENGINE_STATEFUL:
	case ENGINE_REDUCED:
	case ENGINE_RANDOM: break;
	}
	return draw(search, n);
}

static void walk(struct search *search, unsigned length)
{
	struct pct pct = pct_begin(search, length);
	struct transition alternatives[ALTERNATIVES];
	static struct footprint footprints[2];
	struct saved saved[EXPLORE_ACTORS];
	struct asleep before = { { 0 }, NULL };
	unsigned depth = 0, last = 0;

	for (unsigned i = 0; i < machine.count; i++)
		saved[i] = save(search, i, NULL);
	search->given = (struct given){ .used = machine.count * GIVEN_CHOICES };
	while (!search->stop) {
		unsigned n = list(last, alternatives);

		if (!n) {
			at_end(search, depth);
			break;
		}
		if (depth == DEPTH_MAX) {
			fail(search, VERDICT_STEP_BOUND, depth, "the schedule does not end");
			break;
		}
		struct asleep made = { alternatives[pick(search, &pct, depth, alternatives, n)],
				       &footprints[depth % 2] };

		memory_mark(&footprints[depth % 2]);
		take(search, depth, made.transition);
		find_race_behind(search, depth, &before, &made);
		before = made;
		last = made.transition.kind == STEP ? made.transition.actor : last;
		depth++;
	}
	for (unsigned i = machine.count; i-- > 0;)
		restore(search, &saved[i]);
}

static void run_many(struct search *search, uint64_t runs)
{
	for (uint64_t i = 0; i < runs && !search->stop; i++)
		walk(search, search->out->depth ? search->out->depth : 64);
}

/* ------------------------------------------------------------------ the whole */

static void run_engine(struct search *search)
{
	switch (search->plan->engine) {
	case ENGINE_PLAIN:
	case ENGINE_STATEFUL:
	case ENGINE_REDUCED:
		node_at(search, 0)->budget = search->plan->bound;
		search->nodes[0]->last = 0;
		search->nodes[0]->arrived.footprint = NULL;
		search->nodes[0]->preempted = false;
		search->nodes[0]->asleep.count = 0;
		visit(search, 0);
		break;
	case ENGINE_PCT:
	case ENGINE_RANDOM:
		run_many(search, search->plan->runs);
		break;
	case ENGINE_GIVEN:
		run_many(search, 1);
		break;
	}
	if (search->plan->engine >= ENGINE_PCT && !search->stop)
		search->out->verdict = VERDICT_SAMPLED;
}

/*
 * A few random runs, so that most of the shared words are known before the search begins. Nobody
 * looks at how they end: to verify takes longer than most of them.
 */
static void warm_up(struct search *search)
{
	struct plan plan = *search->plan;
	struct scenario scenario = *plan.scenario;
	const struct plan *real = search->plan;

	scenario.verify = NULL;
	plan.scenario = &scenario;
	plan.engine = ENGINE_RANDOM;
	plan.most = 0;
	plan.terminal = NULL;
	search->plan = &plan;
	for (unsigned i = 0; i < WARM_UP_RUNS; i++) {
		run_many(search, 1);
		search->stop = false;	/* what fails here, the search is to find in its own way */
	}
	search->plan = real;
}

static void reset(struct search *search)
{
	memset(search->out, 0, sizeof(*search->out));
	seen_forget();
	memory_clear_grew();
	search->stop = false;
	search->saved_bytes = 0;
	search->random = mix(search->plan->seed + 1, 1) | 1;
}

static struct search current;

void search_open(const struct plan *plan, struct result *out)
{
	memset(&current, 0, sizeof(current));
	current.plan = plan;
	current.out = out;
	seen_forget();
	memory_forget();
	if (plan->scenario->setup)
		plan->scenario->setup();
	machine.compares = plan->engine == ENGINE_STATEFUL;
	machine_start(plan->scenario, plan->model);
	memory_begin();
	reset(&current);
	warm_up(&current);
}

void search_run(void)
{
	do {
		reset(&current);
		run_engine(&current);
		/*
		 * What failed before all words on its way were known to be shared may be false: a
		 * store to a word that nobody seems to share overtakes those in the buffer.
		 */
	} while (memory_grew());
	current.out->states = seen_count - seen_ends;
}

void search_close(void)
{
	memory_end();
	for (unsigned i = 0; i <= DEPTH_MAX; i++)
		free(current.nodes[i]);
	free(current.saved);
}

void search(const struct plan *plan, struct result *out)
{
	search_open(plan, out);
	search_run();
	search_close();
}
