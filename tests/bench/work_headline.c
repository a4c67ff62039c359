/*
 * S3: how often a folio of 1 GiB is marked, in the two shapes that the threads argue about.
 *
 *	split	mapped by one large leaf, then logged, so split; every page stored to; a bracket
 *	fault	every page stored to, and so faulted in by itself at 4 KiB; a bracket
 */
#include "tests/bench/work.h"

static void split(struct work *work)
{
	const struct log_options log = { .kind = LOG_WRITE_PROTECT };

	store(work, 0, 1);
	must(ept_log_enable(work->guest.ept, gpa_to_gfn(GUEST_BASE), &log));
	store_all(work);
	take_all(work);
}

static void fault(struct work *work)
{
	store_all(work);
	take_all(work);
}

WORKLOAD(headline_split, "one large leaf, split by a log", .headline = true,
	 .space_level = LEVEL_1G, .region_level = LEVEL_1G, .play = split);
WORKLOAD(headline_fault, "faulted in page by page", .headline = true,
	 .space_level = LEVEL_1G, .region_level = LEVEL_4K, .play = fault);
