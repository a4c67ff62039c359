/*
 * A hostile guest, shortly, on every machine that has VMX; and that the looks which find nothing
 * wrong (unharmed.h) would find it. The long run is the scenario `hostile`.
 */
#include "tests/boot/hostile.h"

#include "boot/string.h"
#include "ept/walk.h"
#include "tests/boot/unharmed.h"
#include "tests/tap.h"

BOOT_TEST("hostile/does_no_harm", NEEDS_VMX)
{
	const struct hostile_plan plan = { .seed = 7001, .exits = 2000, .lives = 20,
					   .harass = 100 };

	expect_equal(hostile_run(&plan), 0);
}

/* ------------------------------------------------------------------ frames that are not its own */

static struct machine *hostile, *other;

static bool open_two(void)
{
	if (!expect(hostile_create(1, &hostile)))
		return false;
	if (expect(hostile_create(2, &other)))
		return true;
	machine_destroy(hostile);
	return false;
}

/* What it has written by itself, or the loader for it, is lent to it. */
static void run_a_little(struct machine *m)
{
	for (unsigned i = 0; i < 10 && machine_run(m, 0, 100000) != MACHINE_ENDED; i++)
		;
}

static spte_slot_t *first_leaf(struct machine *m)
{
	struct ept_walk walk = ept_walk_begin(machine_ept(m), gfn(0), 512);

	while (ept_walk_next(&walk))
		if (spte_is_leaf(walk.old) && walk.level == LEVEL_4K)
			return walk.slot;
	return NULL;
}

static const char *fault(void)
{
	uint64_t pages;

	return frames_fault(hostile, other, &pages);
}

/* The leaf names that frame, until it is looked at: the guest never runs with it. */
static void expect_seen(spte_slot_t *slot, pfn_t frame, const char *wanted)
{
	spte_t good = slot_read(slot);
	const char *found;

	slot_xchg(slot, (spte_t){ (good.bits & ~SPTE_FRAME) | frame.raw << PAGE_SHIFT });
	found = fault();
	slot_xchg(slot, good);
	if (!expect(found && !strcmp(found, wanted)))
		print("# %s\n", found ? found : "nothing was found");
}

BOOT_TEST("hostile/foreign_frame_is_seen", NEEDS_VMX)
{
	static const char *const differs = "a leaf names another frame than its space has there";
	spte_slot_t *slot, *others;

	if (!open_two())
		return;
	run_a_little(hostile);
	run_a_little(other);
	slot = first_leaf(hostile);
	others = first_leaf(other);
	if (expect(slot && others)) {
		expect(!fault());
		expect_seen(slot, spte_frame(slot_read(others)), differs);
		expect_seen(slot, machine_ept(hostile)->root, differs);
		expect_seen(slot, hpa_to_pfn(hpa(0x100000)), differs);		/* the image */
		expect(!fault());
	}
	machine_destroy(hostile);
	machine_destroy(other);
}

/* One frame in both VMs, as two mistakes of the host would make it: both sides agree, and err. */
BOOT_TEST("hostile/shared_frame_is_seen", NEEDS_VMX)
{
	uint64_t pages;

	if (!open_two())
		return;
	run_a_little(hostile);
	expect(!frames_fault(hostile, other, &pages));
	expect(pages > 0);
	expect(frames_fault(hostile, hostile, &pages) != NULL);
	machine_destroy(hostile);
	machine_destroy(other);
}

/* ------------------------------------------------------------------ a host that was changed */

BOOT_TEST("hostile/changed_host_is_seen", NEEDS_NOTHING)
{
	static struct unharmed before;
	uint64_t now, then;
	const char *found;
	unsigned cpu;

	unharmed_note(&before);
	expect(!unharmed_fault(&before, &cpu, &now, &then));
	before.image ^= 1;
	expect(unharmed_fault(&before, &cpu, &now, &then) != NULL);
	before.image ^= 1;
	before.state[cpu_count() - 1][0] ^= 1;
	found = unharmed_fault(&before, &cpu, &now, &then);
	expect(found && !strcmp(found, "CR0"));
	expect_equal(cpu, cpu_count() - 1);
	expect_equal(now ^ then, 1);
}
