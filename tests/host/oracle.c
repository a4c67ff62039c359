/* See oracle.h. In order: the memory, the writers, the host, the harvester, beginning and end. */
#include "tests/host/oracle.h"

#include "ept/log.h"
#include "mm/daemon.h"

#define BACKING hva(UINT64_C(1) << 40)

enum {
	STAYING = 2, MEETING = 64,	/* pages that a turn may be among: the first ones */
	ANONYMOUS = 1024,		/* pages; the rest of ORACLE_PAGES are a file's */
	SWAP_PAGES = 2 * ANONYMOUS,
	STORES_A_ROUND = 128, ACTS_A_ROUND = 2,	/* at least */
	STORES_A_HARVEST = 32, TURNS_A_HARVEST = 16,	/* whichever comes first */
};

static uint64_t draw(uint64_t *state, uint64_t below)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return (*state >> 11) % below;
}

/* ------------------------------------------------------------------ the memory */

static enum status map_pool(struct oracle_memory *m)
{
	enum status status = pool_create(m->host, m->level, 1, &m->pool);

	m->stride = m->pages / ORACLE_PAGES;
	return status != STATUS_OK ? status
				   : space_map_pool(m->space, BACKING, m->pages * PAGE_SIZE,
						    PROTECTION_READ_WRITE, m->pool);
}

static enum status map_pages(struct oracle_memory *m)
{
	hva_t file = hva_add(BACKING, ANONYMOUS * PAGE_SIZE);
	uint64_t count = ORACLE_PAGES - ANONYMOUS;
	enum status status;

	m->stride = 1;
	status = space_map(m->space, BACKING, ANONYMOUS * PAGE_SIZE, PROTECTION_READ_WRITE,
			   m->level);
	if (status == STATUS_OK)
		status = space_merge(m->space, BACKING, ANONYMOUS * PAGE_SIZE);
	if (status == STATUS_OK)
		status = ksm_start(m->host, ANONYMOUS);
	if (status == STATUS_OK)
		status = ram_store_create(m->host, count, &m->disk);
	if (status == STATUS_OK)
		status = file_create(m->host, ram_store_of(m->disk), count, &m->file);
	if (status == STATUS_OK)
		status = space_map_file(m->space, file, count * PAGE_SIZE, PROTECTION_READ_WRITE,
					m->file, 0, SHARING_SHARED);
	if (status == STATUS_OK)
		status = ram_store_create(m->host, SWAP_PAGES, &m->swap);
	return status == STATUS_OK ? host_swap_on(m->host, ram_store_of(m->swap), SWAP_PAGES)
				   : status;
}

enum status oracle_memory_open(struct oracle_memory *m, struct host *host, unsigned level)
{
	enum status status;

	*m = (struct oracle_memory){ .host = host, .level = level,
				     .pages = level == LEVEL_1G ? level_pages(level)
								: ORACLE_PAGES };
	status = space_create(host, &m->space);
	if (status == STATUS_OK)
		status = level == LEVEL_1G ? map_pool(m) : map_pages(m);
	if (status != STATUS_OK)
		oracle_memory_close(m);
	return status;
}

void oracle_memory_close(struct oracle_memory *m)
{
	if (m->space) {
		space_verify(m->space);
		space_destroy(m->space);
	}
	if (m->swap) {
		check(host_swap_off(m->host) == STATUS_OK);
		ram_store_destroy(m->swap);
	}
	if (m->file)
		check(file_destroy(m->file) == STATUS_OK);
	if (m->disk) {
		ram_store_destroy(m->disk);
		ksm_stop(m->host);
	}
	if (m->pool)
		check(pool_destroy(m->pool) == STATUS_OK);
}

/* Where an actor's word of the nth page is. */
static gpa_t word_gpa(const struct oracle *o, unsigned page, unsigned actor)
{
	return gpa(page * o->memory->stride * PAGE_SIZE + actor * 512);
}

static uint64_t word_in_memory(struct oracle *o, unsigned page, unsigned actor)
{
	uint64_t value = 0;

	o->failed += space_read(o->memory->space, hva_add(BACKING, word_gpa(o, page, actor).raw),
				&value, sizeof(value)) != STATUS_OK;
	return value;
}

static void read_page(struct oracle *o, unsigned page, struct oracle_page *into)
{
	for (unsigned actor = 0; actor < ORACLE_ACTORS; actor++)
		into->words[actor] = word_in_memory(o, page, actor);
}

/*
 * Who comes out says so and looks again: the harvester may have asked all to stop since, and taken
 * him for parked as he was. Store before load, on both sides.
 */
static bool stands_still(struct oracle *o, atomic32_t *parked)
{
	if (!atomic_read(&o->stop)) {
		atomic_xchg(parked, 0);
		if (!atomic_read(&o->stop))
			return false;
	}
	atomic_write(parked, 1);
	return true;
}

/* ------------------------------------------------------------------ a writer */

static unsigned page_of(const struct oracle *o, uint64_t address)
{
	return (unsigned)(address / PAGE_SIZE / o->memory->stride);
}

static struct oracle_access access_to(struct oracle_writer *w, unsigned page, unsigned what)
{
	return (struct oracle_access){ .address = word_gpa(w->oracle, page, w->number).raw,
				       .what = what, .value = w->random };
}

/*
 * Some are where others store, too, so that they meet. Of two pages a vCPU has the translations all
 * the while and stays inside, whatever is taken from their leaves: what it stores unseen then, it
 * does not soon store again.
 */
static void draw_turn(struct oracle_writer *w)
{
	static const uint64_t sizes[] = { STAYING, MEETING, ORACLE_PAGES };
	uint64_t among = sizes[draw(&w->random, sizeof(sizes) / sizeof(*sizes))];

	for (unsigned i = 0; i < ORACLE_TURN; i++) {
		unsigned page = (unsigned)draw(&w->random, among);

		w->turn[i] = access_to(w, page, 1 + (unsigned)draw(&w->random, 3));
	}
}

/* All of them are made: what it found is what it stored last; what it stored is remembered. */
static void settle_turn(struct oracle_writer *w)
{
	uint64_t stores = 0;

	for (unsigned i = 0; i < ORACLE_TURN; i++) {
		const struct oracle_access *access = &w->turn[i];
		unsigned page = page_of(w->oracle, access->address);
		uint64_t *word = &w->oracle->model[page].words[w->number];

		if (access->what & ORACLE_LOAD)
			w->wrong += access->found != *word;
		if (access->what & ORACLE_STORE) {
			*word = access->value;
			stores++;
		}
	}
	atomic_bump(&w->stores, stores);
}

static void make_turn(struct oracle_writer *w)
{
	w->on_its_way = !w->oracle->plan.hands->make(w);
	if (!w->on_its_way)
		settle_turn(w);
}

/*
 * Every second one waits while its ring is full; what the others store then is in the bitmap, or
 * not made.
 */
static bool waits_for_ring(const struct oracle_writer *w)
{
	return w->ring && !(w->number & 1) && ept_ring_is_full(w->ring);
}

bool oracle_write(struct oracle_writer *w)
{
	struct oracle *o = w->oracle;

	if (atomic_read(&o->over))
		return false;
	if (!w->on_its_way) {
		if (stands_still(o, &w->parked) || waits_for_ring(w))
			return true;
		draw_turn(w);
		w->made = 0;
	}
	make_turn(w);
	return true;
}

/* ------------------------------------------------------------------ the host */

static void device_stores(struct oracle *o)
{
	unsigned page = (unsigned)draw(&o->random, ORACLE_PAGES);
	uint64_t value = o->random;
	bool refused = o->plan.log.kind == LOG_RING_ONLY;

	o->failed += ept_write_guest(o->ept, word_gpa(o, page, ORACLE_DEVICE), &value,
				     sizeof(value)) != (refused ? STATUS_UNSUPPORTED : STATUS_OK);
	if (!refused)
		o->model[page].words[ORACLE_DEVICE] = value;
}

/* What only anonymous memory of small pages bears. */
static enum status act_on_pages(struct oracle *o, hva_t at, uint64_t bytes)
{
	struct oracle_memory *m = o->memory;
	uint64_t done;

	switch (draw(&o->random, 8)) {
	case 0: return space_split(m->space, at, bytes);
	case 1: return space_migrate(m->space, at, bytes, &done);
	case 2: return space_page_out(m->space, at, bytes, &done);
	case 3: return space_cool(m->space, at, bytes);
	case 4: return space_hint(m->space, at, bytes, HINT_EACH_2M);
	case 5: return space_collapse(m->space, BACKING, ANONYMOUS * PAGE_SIZE, &done);
	case 6: return file_sync(m->file);
	default: host_reclaim(m->host, bytes >> PAGE_SHIFT); return STATUS_OK;
	}
}

static void act(struct oracle *o)
{
	struct oracle_memory *m = o->memory;
	uint64_t limit = m->level == LEVEL_1G ? m->pages : ANONYMOUS;
	uint64_t first = draw(&o->random, limit), count = 1 + draw(&o->random, 64);
	uint64_t bytes = (count < limit - first ? count : limit - first) * PAGE_SIZE;
	hva_t at = hva_add(BACKING, first * PAGE_SIZE);
	enum status status;

	if (m->level == LEVEL_1G || !draw(&o->random, 4))
		status = space_invalidate(m->space, at, bytes);
	else
		status = act_on_pages(o, at, bytes);
	o->failed += status != STATUS_OK;
	atomic_bump(&o->acts, 1);
}

bool oracle_host(struct oracle *o, uint64_t now)
{
	if (atomic_read(&o->over))
		return false;
	if (stands_still(o, &o->host_parked))
		return true;
	for (enum daemon_kind kind = 0; kind < DAEMONS; kind++)
		(void)daemon_step(o->memory->host, kind, now);
	if (draw(&o->random, 2))
		device_stores(o);
	act(o);
	return true;
}

/* ------------------------------------------------------------------ the harvester */

static void note_ring(struct oracle *o, struct ept_ring *ring)
{
	gfn_t frames[EPT_RING_LEAST];
	unsigned count = ept_ring_harvest(ring, frames, EPT_RING_LEAST);

	for (unsigned i = 0; i < count; i++)
		o->bits[frames[i].raw / 64] |= UINT64_C(1) << frames[i].raw % 64;
	(void)ept_ring_reset(o->ept, ring);
}

static void copy_reported(struct oracle *o, uint64_t frame)
{
	uint64_t page = frame / o->memory->stride;
	struct oracle_page now;

	o->reported++;
	if (frame % o->memory->stride || page >= ORACLE_PAGES) {
		o->unknown++;
		return;
	}
	read_page(o, (unsigned)page, &now);
	o->early += !__builtin_memcmp(&now, &o->copy[page], sizeof(now));
	o->copy[page] = now;
}

static void harvest(struct oracle *o)
{
	if (o->plan.log.kind == LOG_RING_ONLY)
		__builtin_memset(o->bits, 0, sizeof(o->bits));
	else
		check(ept_log_get(o->ept, gfn(0), o->bits) == STATUS_OK);
	if (o->plan.log.manual)
		check(ept_log_clear(o->ept, gfn(0), 0, o->memory->pages, o->bits) == STATUS_OK);
	for (unsigned i = 0; i < o->plan.writers; i++)
		if (o->writers[i].ring)
			note_ring(o, o->writers[i].ring);
	for (uint64_t i = 0; i < o->memory->pages / 64; i++)
		for (uint64_t bits = o->bits[i]; bits; bits &= bits - 1)
			copy_reported(o, i * 64 + (unsigned)__builtin_ctzll(bits));
	o->harvests++;
}

static void compare(struct oracle *o, unsigned pages)
{
	for (unsigned page = 0; page < pages; page++) {
		struct oracle_page memory;

		read_page(o, page, &memory);
		for (unsigned actor = 0; actor < ORACLE_ACTORS; actor++) {
			o->lost += memory.words[actor] != o->model[page].words[actor];
			o->stale += memory.words[actor] != o->copy[page].words[actor];
		}
	}
}

static bool all_parked(const struct oracle *o)
{
	bool parked = atomic_read(&o->host_parked);

	for (unsigned i = 0; i < o->plan.writers; i++)
		parked &= atomic_read(&o->writers[i].parked);
	return parked;
}

static uint64_t stores(const struct oracle *o)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < o->plan.writers; i++)
		sum += atomic_read(&o->writers[i].stores);
	return sum;
}

static bool enough(const struct oracle *o)
{
	return stores(o) - o->stores_then >= STORES_A_ROUND &&
	       atomic_read(&o->acts) - o->acts_then >= ACTS_A_ROUND;
}

/* There is something to harvest, or somebody waits for room in his ring. */
static bool it_is_time(struct oracle *o)
{
	if (stores(o) - o->stores_seen < STORES_A_HARVEST && ++o->turns < TURNS_A_HARVEST)
		return false;
	o->stores_seen = stores(o);
	o->turns = 0;
	return true;
}

/* It goes on while the others come to a stop: one of them may wait for room in its ring. */
bool oracle_harvest(struct oracle *o)
{
	bool all_still = atomic_read(&o->stop) && all_parked(o);

	if (all_still || it_is_time(o))
		harvest(o);
	if (!all_still) {
		if (enough(o))
			atomic_xchg(&o->stop, 1);
		return true;
	}
	/* All of them once; on the way those that most is stored to. */
	compare(o, ++o->rounds == o->plan.rounds ? ORACLE_PAGES : MEETING);
	o->stores_then = stores(o);
	o->acts_then = atomic_read(&o->acts);
	if (o->rounds == o->plan.rounds)
		atomic_write(&o->over, 1);
	atomic_write(&o->stop, 0);
	return o->rounds < o->plan.rounds;
}

uint64_t oracle_errors(const struct oracle *o)
{
	uint64_t errors = o->lost + o->stale + o->unknown + o->failed;

	for (unsigned i = 0; i < o->plan.writers; i++)
		errors += o->writers[i].wrong + o->writers[i].refused;
	return errors;
}

/* ------------------------------------------------------------------ beginning and end */

static enum status open_writer(struct oracle *o, unsigned number)
{
	struct oracle_writer *w = &o->writers[number];

	w->oracle = o;
	w->number = number;
	w->random = 0x9e3779b97f4a7c15 + number + o->random;
	return log_is_by_rings(o->plan.log.kind) ?
	       ept_ring_create(o->ept, EPT_RING_LEAST, &w->ring) : STATUS_OK;
}

static enum status lend(struct oracle *o)
{
	struct region region = { gfn(0), o->memory->pages, BACKING, REGION_READ_WRITE,
				 o->memory->level };
	enum status status = ept_region_add(o->ept, &region);

	for (unsigned i = 0; i < o->plan.writers && status == STATUS_OK; i++)
		status = open_writer(o, i);
	return status == STATUS_OK ? o->plan.hands->open(o) : status;
}

/* Some stores before there is a log: by large leaves, and such as are dirty already. */
static void store_before(struct oracle *o)
{
	struct oracle_writer *w = &o->writers[0];

	for (unsigned page = 0; page < ORACLE_PAGES; page += 7 * ORACLE_TURN) {
		for (unsigned i = 0; i < ORACLE_TURN; i++)
			w->turn[i] = access_to(w, (page + 7 * i) % ORACLE_PAGES, ORACLE_STORE);
		w->made = 0;
		do
			make_turn(w);
		while (w->on_its_way);
	}
}

static enum status begin(struct oracle *o)
{
	enum status status = lend(o);

	if (status != STATUS_OK)
		return status;
	for (unsigned page = 0; page < ORACLE_PAGES; page++)
		read_page(o, page, &o->model[page]);
	store_before(o);
	status = ept_log_enable(o->ept, gfn(0), &o->plan.log);
	for (unsigned page = 0; page < ORACLE_PAGES; page++)
		read_page(o, page, &o->copy[page]);
	for (enum daemon_kind kind = 0; kind < DAEMONS && status == STATUS_OK; kind++)
		status = daemon_start(o->memory->host, kind, (struct daemon_rate){ 0, 16 });
	return status;
}

enum status oracle_open(struct oracle *o, struct oracle_memory *memory,
			const struct oracle_plan *plan)
{
	struct ept_caps caps = plan->caps;
	enum status status;

	caps.max_level = memory->level;

	__builtin_memset(o, 0, sizeof(*o));
	o->plan = *plan;
	o->memory = memory;
	o->random = UINT64_C(0x2545f4914f6cdd1d) + (unsigned)plan->policy +
		    EPT_POLICIES * (unsigned)plan->log.kind;
	status = ept_create(memory->space, &caps, &o->ept);
	if (status != STATUS_OK)
		return status;
	ept_set_policy(o->ept, plan->policy);
	status = begin(o);
	if (status != STATUS_OK)
		oracle_close(o);
	return status;
}

void oracle_close(struct oracle *o)
{
	for (enum daemon_kind kind = 0; kind < DAEMONS; kind++)
		daemon_stop(o->memory->host, kind);
	ept_verify(o->ept);
	(void)!ept_log_disable(o->ept, gfn(0));
	ept_verify(o->ept);
	o->plan.hands->close(o);
	for (unsigned i = 0; i < o->plan.writers; i++)
		if (o->writers[i].ring)
			ept_ring_destroy(o->ept, o->writers[i].ring);
	ept_destroy(o->ept);
}
