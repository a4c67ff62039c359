/*
 * S37 to S39: which pages has the guest used? Asked page by page, as reclaim asks, between two
 * passes of loads: by the notifier, which takes A and flushes nothing, or without it (no young
 * hooks: "the entry is there" would be the answer), by taking each leaf away and seeing whether it
 * comes back. By one bracket for all it is the cheapest that the latter can be.
 *
 * And how far the answer is to be trusted, when somebody else takes the leaves away first.
 */
#include "mm/space.h"
#include "tests/bench/work.h"

enum { PASSES = 4 };

static void map_all(struct work *work)
{
	load_all(work);
	work->kind->forget();
}

/* ------------------------------------------------------------------ a pass */

static uint64_t ask(struct work *work, uint64_t page)
{
	struct space *space = work->guest.space;
	uint64_t at = page_hva(page).raw;

	read_lock(&space->lock);
	bool young = notifier_clear_young(space, at, at + PAGE_SIZE);

	read_unlock(&space->lock);
	return young;
}

static void age_by_flag(struct work *work)
{
	for (unsigned pass = 0; pass < PASSES; pass++) {
		uint64_t young = 0;

		for (uint64_t page = 0; page < work->pages; page++)
			young += ask(work, page);
		check(young == work->pages);
		work->kind->forget();
		load_all(work);
		work->kind->forget();
	}
}

static void age_by_zap(struct work *work)
{
	for (unsigned pass = 0; pass < PASSES; pass++) {
		for (uint64_t page = 0; page < work->pages; page++)
			take_back(work, page, 1);
		load_all(work);
	}
}

static void age_by_range(struct work *work)
{
	for (unsigned pass = 0; pass < PASSES; pass++) {
		take_all(work);
		load_all(work);
	}
}

WORKLOAD(aging_flag, "A is taken from each leaf, the guest loads again", .before = map_all,
	 .play = age_by_flag);
WORKLOAD(aging_zap, "each leaf is taken away, the guest loads again", .before = map_all,
	 .play = age_by_zap);
WORKLOAD(aging_zap_range, "all leaves are taken by one bracket, the guest loads again",
	 .before = map_all, .play = age_by_range);

/* ------------------------------------------------------------------ how much of it is true */

/*
 * 64 frames that one word speaks of. The guest's pages may
 * be anywhere in RAM, but not above 64 GiB.
 */
enum { GROUPS = (64 << (30 - PAGE_SHIFT)) / 64 };

static uint64_t marked[GROUPS / 64];	/* groups with pages that are marked */

static void mark_idle(struct work *work)
{
	__builtin_memset(marked, 0, sizeof(marked));
	for (uint64_t page = 0; page < work->pages; page++) {
		struct mm_page found;
		uint64_t group, word;

		must(mm_peek(work->guest.space, page_hva(page), &found));
		group = found.frame.raw / 64;
		check(group < GROUPS);
		marked[group / 64] |= UINT64_C(1) << group % 64;
		word = UINT64_C(1) << found.frame.raw % 64;
		must(idle_mark(work->host, pfn(group * 64), 64, &word));
	}
}

/* Of all frames of those groups: no others were marked. */
static uint64_t count_idle(struct work *work)
{
	uint64_t idle = 0, word;

	for (uint64_t group = 0; group < GROUPS; group++) {
		if (!(marked[group / 64] >> group % 64 & 1))
			continue;
		must(idle_read(work->host, pfn(group * 64), 64, &word));
		for (; word; word &= word - 1)
			idle++;
	}
	return idle;
}

/* Every page is stored to, so none is idle. */
static void judge(struct work *work)
{
	mark_idle(work);
	work->kind->forget();
	store_all(work);
	work->kind->forget();
	must(space_hint(work->guest.space, page_hva(0), work->pages / 2 * PAGE_SIZE,
			HINT_AT_ONCE));
	work->idle = count_idle(work);
}

static void store_first(struct work *work)
{
	store_all(work);
	work->kind->forget();
}

WORKLOAD(aging_accuracy, "idle tracking over a write pass, half of it hinted before the scan",
	 .full_hosted = true, .before = store_first, .play = judge);
