/*
 * What a page costs, by how many there are: the paths of `on_ept.c` that go over all of a guest's
 * memory, on 16 MiB, on 256 MiB and on 1 GiB of it, in leaves of 4 KiB. A path that is well built
 * costs the same for each page of them all.
 */
#include "boot/boot.h"
#include "tests/bench/image.h"
#include "tests/bench/work.h"

static const uint64_t sizes[] = { 4096, 65536, HEADLINE_PAGES };
static uint64_t words[HEADLINE_PAGES / 64];
static gfn_t start;

static void enable(struct work *work)
{
	const struct log_options log = { .kind = LOG_WRITE_PROTECT };

	must(ept_log_enable(work->guest.ept, start, &log));
}

static void harvest(struct work *work) { must(ept_log_get(work->guest.ept, start, words)); }
static void disable(struct work *work) { must(ept_log_disable(work->guest.ept, start)); }
static void remove(struct work *work) { must(ept_region_remove(work->guest.ept, start)); }

/* In this order: each finds what the one before has left. NULL: it is not measured. */
static const struct { const char *name; void (*body)(struct work *work); } steps[] = {
	{ "populate_4k", store_all },		/* with the guest's exits */
	{ "log_enable_wp_4k", enable },
	{ "wp_fault_fast", store_all },
	{ "log_get_dirty_4k", harvest },
	{ NULL, disable },
	{ NULL, store_all },
	{ "zap_4k", take_all },
	{ NULL, store_all },
	{ "slot_delete_4k", remove },
};

static void report(const char *name, uint64_t pages, uint64_t ticks)
{
	uint64_t hundredths = (ticks * 100 + pages / 2) / pages;

	print("# stat scale_%s_%llu %llu.%02llu ticks/page\n", name, (unsigned long long)pages,
	      (unsigned long long)hundredths / 100, (unsigned long long)hundredths % 100);
	print("# stat scale_%s_%llu.n %llu pages\n", name, (unsigned long long)pages,
	      (unsigned long long)pages);
}

static void measure(struct work *work)
{
	for (unsigned i = 0; i < sizeof(steps) / sizeof(*steps); i++) {
		uint64_t before = tsc_now();

		steps[i].body(work);
		if (steps[i].name)
			report(steps[i].name, work->pages, tsc_now() - before);
	}
}

void bench_scale(void)
{
	static const struct workload small_leaves = { .name = "scale" };
	struct work_place place = { .kind = boot_has_vmx() ? &guest_vmx : &guest_soft,
				    .host = boot_host(), .now = tsc_now };
	struct work work;

	start = gpa_to_gfn(GUEST_BASE);
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		place.pages = sizes[i];
		if (!work_open(&work, &small_leaves, &place, EPT_POLICY_MAP)) {
			print("bench: no %llu MiB for a guest, so no figures of that size\n",
			      (unsigned long long)sizes[i] >> (20 - PAGE_SHIFT));
			return;
		}
		measure(&work);
		work_close(&work);
	}
}
