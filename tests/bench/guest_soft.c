/* A guest on the soft CPU, which sets A and D, and keeps translations, by the processor's rules. */
#include "tests/bench/guest.h"
#include "tests/host/soft_cpu.h"

static struct guest guest;
static struct soft_cpu cpu;

static bool open(struct host *host, enum ept_policy policy, struct guest *out)
{
	const struct ept_caps caps = { .max_level = LEVEL_1G, .accessed_dirty = true };

	if (space_create(host, &guest.space) != STATUS_OK)
		return false;
	if (ept_create(guest.space, &caps, &guest.ept) != STATUS_OK) {
		space_destroy(guest.space);
		return false;
	}
	ept_set_policy(guest.ept, policy);
	soft_cpu_init(&cpu, guest.ept);
	*out = guest;
	return true;
}

static void touch(uint64_t first, uint64_t pages, enum access access)
{
	for (uint64_t page = first; page < first + pages; page++) {
		gpa_t at = gpa(GUEST_BASE.raw + page * PAGE_SIZE);
		uint64_t word;

		check((access == ACCESS_WRITE ? soft_store(&cpu, at, page)
					      : soft_load(&cpu, at, &word)) == FAULT_FIXED);
	}
	soft_leave(&cpu);
}

static void forget(void) { soft_invept(&cpu); }

static void close(void)
{
	ept_destroy(guest.ept);
	space_destroy(guest.space);
}

const struct guest_kind guest_soft = { open, touch, forget, close };
