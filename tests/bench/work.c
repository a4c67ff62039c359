/*
 * The order of a workload: a guest, memory behind it that the host has already, what comes before;
 * then what is counted; then all goes.
 */
#include "mm/host.h"
#include "mm/lru.h"
#include "tests/bench/no_store.h"
#include "tests/bench/work.h"

const struct work_name work_names[WORK_COUNTS] = {
	[WORK_DIRTY] = { "dirty_marks", "marks" },
	[WORK_ACCESSED] = { "accessed_marks", "marks" },
	[WORK_LOCKED] = { "locked", "operations" },
	[WORK_FAST] = { "fast_faults", "faults" },
	[WORK_SLOW] = { "slow_faults", "faults" },
	[WORK_FLUSHES] = { "flushes", "shootdowns" },
	[WORK_BRACKETS] = { "brackets", "brackets" },
	[WORK_SLOW_LOOKUPS] = { "slow_lookups", "lookups" },
	[WORK_CLEANED] = { "cleaned", "entries" },
	[WORK_TICKS] = { "ticks", "ticks" },
	[WORK_IDLE] = { "idle", "pages" },
};

const char *const work_policies[EPT_POLICIES] = {
	[EPT_POLICY_ZAP] = "zap", [EPT_POLICY_RFC] = "rfc", [EPT_POLICY_MAP] = "map",
	[EPT_POLICY_PTE] = "pte", [EPT_POLICY_BATCH] = "batch",
};

/* ------------------------------------------------------------------ its memory */

static unsigned level_or_4k(unsigned level) { return level ? level : LEVEL_4K; }

static enum status map_memory(struct work *work)
{
	uint64_t bytes = work->pages * PAGE_SIZE;
	enum status status;

	if (work->of->memory == MEMORY_ANON)
		return space_map(work->guest.space, page_hva(0), bytes, PROTECTION_READ_WRITE,
				 level_or_4k(work->of->space_level));
	status = file_create(work->host, &no_store, work->pages, &work->file);
	return status ? status
		      : space_map_file(work->guest.space, page_hva(0), bytes,
				       PROTECTION_READ_WRITE, work->file, 0, SHARING_SHARED);
}

/* The host has all of it: what the workload asks for is only lent. */
static enum status fill_memory(struct work *work)
{
	enum status status = STATUS_OK;
	uint64_t step = level_pages(level_or_4k(work->of->space_level));

	for (uint64_t page = 0; !status && page < work->pages; page += step)
		status = space_write(work->guest.space, page_hva(page), &page, sizeof(page));
	lru_drain(work->host);
	return status;
}

static bool is_one_folio(struct work *work)
{
	struct mm_page page;

	return mm_peek(work->guest.space, page_hva(0), &page) == STATUS_OK &&
	       folio_order(work->host, page.frame) == ORDER_1G;
}

static bool give_memory(struct work *work)
{
	const struct region region = {
		gpa_to_gfn(GUEST_BASE), work->pages, page_hva(0), REGION_READ_WRITE,
		level_or_4k(work->of->region_level),
	};

	if (map_memory(work) != STATUS_OK || fill_memory(work) != STATUS_OK)
		return false;
	if (work->of->headline && !is_one_folio(work))
		return false;
	must(ept_region_add(work->guest.ept, &region));
	return true;
}

/* Its pages, their tables, and what the guest itself needs. */
static bool has_room(const struct work *work)
{
	enum { BESIDES = 2048 };
	struct host_stats stats;

	host_read_stats(work->host, &stats);
	return stats.pages_free >= work->pages + work->pages / 64 + BESIDES;
}

void work_close(struct work *work)
{
	work->kind->close();
	if (work->file)
		must(file_destroy(work->file));
	host_set_options(work->host, 0);
	host_set_marking(work->host, MARKING_LOOKS);
}

bool work_open(struct work *work, const struct workload *workload, const struct work_place *place,
	       enum ept_policy policy)
{
	*work = (struct work){
		.of = workload, .kind = place->kind, .host = place->host,
		.pages = workload->headline ? HEADLINE_PAGES : place->pages,
	};
	if (!has_room(work) || !work->kind->open(work->host, policy, &work->guest))
		return false;
	host_set_options(work->host, workload->options);
	host_set_marking(work->host, workload->marking);
	if (give_memory(work))
		return true;
	work_close(work);
	return false;
}

/* ------------------------------------------------------------------ what is counted */

static void read_counts(const struct work *work, uint64_t counts[WORK_COUNTS])
{
	struct ept_stats stats;

	ept_read_stats(work->guest.ept, &stats);
	counts[WORK_DIRTY] = host_read_count(work->host, HOST_MARKS_DIRTY);
	counts[WORK_ACCESSED] = host_read_count(work->host, HOST_MARKS_ACCESSED);
	counts[WORK_LOCKED] = host_read_count(work->host, HOST_MARKS_LOCKED);
	counts[WORK_FAST] = stats.fast;
	counts[WORK_SLOW] = stats.faults[0] + stats.faults[1] + stats.faults[2] - stats.fast;
	counts[WORK_FLUSHES] = stats.flushes;
	counts[WORK_BRACKETS] = stats.invalidations;
	counts[WORK_SLOW_LOOKUPS] = host_read_count(work->host, HOST_SLOW_LOOKUPS);
	counts[WORK_CLEANED] = host_read_count(work->host, HOST_MKCLEANS);
	counts[WORK_TICKS] = 0;
	counts[WORK_IDLE] = 0;
}

static void play(struct work *work, const struct work_place *place, struct work_result *out)
{
	uint64_t before[WORK_COUNTS], start, end;

	read_counts(work, before);
	start = place->now ? place->now() : 0;
	work->of->play(work);
	end = place->now ? place->now() : 0;
	read_counts(work, out->counts);
	for (unsigned i = 0; i < WORK_COUNTS; i++)
		out->counts[i] -= before[i];
	out->counts[WORK_TICKS] = end - start;
	out->counts[WORK_IDLE] = work->idle;
	out->pages = work->pages;
}

bool work_run(const struct workload *workload, const struct work_place *place,
	      enum ept_policy policy, struct work_result *out)
{
	struct work work;

	if (!work_open(&work, workload, place, policy))
		return false;
	if (workload->before)
		workload->before(&work);
	play(&work, place, out);
	work_close(&work);
	return true;
}
