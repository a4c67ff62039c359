/* In the image: the workloads, by the payload where there is VMX, else by the soft CPU. */
#include "boot/boot.h"
#include "tests/bench/image.h"
#include "tests/bench/work.h"
#include "tests/tap.h"

enum { PAGES = 2048, PAGES_TESTED = 512 };

static void report(const struct workload *of, enum ept_policy policy,
		   const struct work_result *result)
{
	for (unsigned i = 0; i < WORK_COUNTS; i++) {
		print("# stat %s_%s_%s %llu %s\n", of->name, work_policies[policy],
		      work_names[i].name, (unsigned long long)result->counts[i],
		      work_names[i].unit);
		print("# stat %s_%s_%s.n %llu pages\n", of->name, work_policies[policy],
		      work_names[i].name, (unsigned long long)result->pages);
	}
}

static void run(const struct workload *of, const struct work_place *place)
{
	struct work_result result;

	print("# work %s: %s\n", of->name, of->about);
	for (enum ept_policy policy = 0; policy < EPT_POLICIES; policy++) {
		print("# running %s by %s\n", of->name, work_policies[policy]);
		if (work_run(of, place, policy, &result)) {
			report(of, policy, &result);
			continue;
		}
		print("bench: %s: not the memory for it%s\n", of->name,
		      of->headline ? ", a GiB in one piece; MEM=4096 has one" : "");
		return;
	}
}

static const struct guest_kind *kind(void) { return boot_has_vmx() ? &guest_vmx : &guest_soft; }

void bench_work(void)
{
	const struct work_place place = { .kind = kind(), .host = boot_host(), .pages = PAGES,
					  .now = tsc_now };

	for (const struct workload *w = workloads_start; w < workloads_end; w++)
		run(w, &place);
}

/* That they run: figures are not judged. */
BOOT_TEST("bench/work", NEEDS_NOTHING)
{
	const struct work_place place = { .kind = kind(), .host = boot_host(),
					  .pages = PAGES_TESTED, .now = tsc_now };
	struct work_result result;

	for (const struct workload *w = workloads_start; w < workloads_end; w++)
		if (!w->headline && expect(work_run(w, &place, EPT_POLICY_PTE, &result)))
			expect(result.counts[WORK_TICKS]);
	host_verify(boot_host());
}
