/*
 * Hosted: the workloads on the soft CPU, by each policy. Counts, not instructions: nothing is
 * stepped through.
 *
 *	work [PAGES]	`# work NAME: words`, and `# stat NAME_POLICY_COUNT VALUE UNIT` lines;
 *			headlines have pages of their own
 */
#include <stdio.h>
#include <stdlib.h>

#include "tests/bench/work.h"
#include "tests/host/arena.h"

enum { HOST_MIB = 4096, PAGES = 2048 };

static uint64_t pages_of(const struct workload *of, uint64_t pages)
{
	return of->full_hosted && pages >= PAGES ? HEADLINE_PAGES : pages;
}

static void report(const struct workload *of, enum ept_policy policy,
		   const struct work_result *result)
{
	for (unsigned i = 0; i < WORK_COUNTS; i++) {
		if (i == WORK_TICKS)
			continue;
		printf("# stat %s_%s_%s %lu %s\n", of->name, work_policies[policy],
		       work_names[i].name, result->counts[i], work_names[i].unit);
		printf("# stat %s_%s_%s.n %lu pages\n", of->name, work_policies[policy],
		       work_names[i].name, result->pages);
	}
}

int main(int count, char **arguments)
{
	const struct ram_range ram = { hpa(0), hpa((uint64_t)HOST_MIB << 20) };
	struct work_place place = { .kind = &guest_soft };
	uint64_t pages = count == 2 ? strtoull(arguments[1], NULL, 10) : PAGES;
	struct work_result result;

	if (count > 2 || !pages || pages % 512 || pages > HEADLINE_PAGES) {
		fprintf(stderr, "usage: work [PAGES], multiples of 512 up to %u\n",
			(unsigned)HEADLINE_PAGES);
		return 2;
	}
	arena_clear(&ram, 1);
	must(host_create(&ram, 1, &place.host));
	for (const struct workload *w = workloads_start; w < workloads_end; w++) {
		printf("# work %s: %s\n", w->name, w->about);
		place.pages = pages_of(w, pages);
		for (enum ept_policy policy = 0; policy < EPT_POLICIES; policy++) {
			check(work_run(w, &place, policy, &result));
			report(w, policy, &result);
		}
	}
	return 0;
}
