/*
 * What the EPT's tests stand on: an arena, a space, an EPT, and three soft CPUs (1, 2, 3) played
 * by one thread, which is CPU 0. A kick of a soft CPU makes it leave at once.
 */
#ifndef TESTS_UNIT_EPT_FIXTURE_H
#define TESTS_UNIT_EPT_FIXTURE_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "ept/change.h"
#include "ept/notify.h"
#include "ept/region.h"
#include "mm/space.h"
#include "tests/host/arena.h"
#include "tests/host/kick.h"

#define MIB UINT64_C(0x100000)
#define GIB (1024 * MIB)
#define BACKING (64 * GIB)		/* hva of the test's memory */

enum { SOFT_CPUS = 4 };

static struct arena arena;
static struct space *space;
static struct ept *ept;
static struct soft_cpu soft[SOFT_CPUS];
static unsigned kicked[SOFT_CPUS];
static void (*at_kick)(unsigned cpu);

static inline void on_cpu_leave(unsigned cpu)
{
	unsigned me = port_cpu();

	kicked[cpu]++;
	if (at_kick)
		at_kick(cpu);
	port_set_cpu(cpu);
	soft_leave(&soft[cpu]);
	port_set_cpu(me);
}

static inline void open_ept(uint64_t mebibytes, struct ept_caps caps)
{
	assert_int_equal(space_create(arena_open(&arena, mebibytes), &space), STATUS_OK);
	assert_int_equal(ept_create(space, &caps, &ept), STATUS_OK);
	/* What follows the struct in its folio is nobody's. */
	memset(ept + 1, 0xff,
	       (PAGE_SIZE << folio_order(arena.host, ptr_to_pfn(ept))) - sizeof(*ept));
	for (unsigned i = 0; i < SOFT_CPUS; i++)
		soft_cpu_init(&soft[i], ept);
	memset(kicked, 0, sizeof(kicked));
	at_kick = NULL;
	kick_hook(on_cpu_leave);
}

/* As if region 0 had been another, of which nobody remembers anything. */
static inline void set_max_level(unsigned level)
{
	ept->regions[0].max_level = level;
	atomic_add(&ept->sequence, 1);
}

static inline void all_leave(void)
{
	for (unsigned i = 0; i < SOFT_CPUS; i++) {
		port_set_cpu(i);
		soft_leave(&soft[i]);
	}
	port_set_cpu(0);
}

static inline int open_small(void **state)
{
	(void)state;
	open_ept(64, (struct ept_caps){ .max_level = LEVEL_1G, .accessed_dirty = true });
	return 0;
}

static inline void open_policy(enum ept_policy policy)
{
	open_small(NULL);
	ept_set_policy(ept, policy);
}

static inline int close_ept(void **state)
{
	(void)state;
	all_leave();
	ept_verify(ept);
	ept_destroy(ept);
	space_verify(space);
	space_destroy(space);
	arena_close(&arena);
	return 0;
}

/* ------------------------------------------------------------------ short forms */

static inline void map_host(uint64_t start, uint64_t bytes, unsigned level)
{
	assert_int_equal(space_map(space, hva(start), bytes, PROTECTION_READ_WRITE, level),
			 STATUS_OK);
}

static inline void add_region(uint64_t frame, uint64_t pages, uint64_t backing, unsigned level)
{
	struct region region = { gfn(frame), pages, hva(backing), REGION_READ_WRITE, level };

	assert_int_equal(ept_region_add(ept, &region), STATUS_OK);
}

/* Host memory of that level at BACKING, and a region of it from guest frame 0. */
static inline void lend(uint64_t bytes, unsigned level)
{
	map_host(BACKING, bytes, level);
	add_region(0, bytes >> PAGE_SHIFT, BACKING, level);
}

/* As of this call; the next one overwrites it. */
static inline const struct ept_stats *stats(void)
{
	static struct ept_stats now;

	ept_read_stats(ept, &now);
	return &now;
}

/* The leaf for a guest address and its level; an empty entry where there is none. */
static inline spte_t leaf_at(uint64_t address, unsigned *level)
{
	struct ept_walk walk = ept_walk_begin(ept, gpa_to_gfn(gpa(address)), 1);

	*level = 0;
	while (ept_walk_next(&walk)) {
		if (!spte_is_leaf(walk.old))
			continue;
		*level = walk.level;
		return walk.old;
	}
	return spte_empty();
}

static inline spte_t leaf(uint64_t address)
{
	unsigned level;

	return leaf_at(address, &level);
}

/*
 * The entry of that level that leads to the guest address, as it stands in the tree. Not inline:
 * AddressSanitizer makes room for each.
 */
static __attribute__((noinline, unused)) spte_slot_t *slot_of(uint64_t address, unsigned level)
{
	struct ept_walk walk = ept_walk_begin(ept, gpa_to_gfn(gpa(address)), 1);

	while (ept_walk_next(&walk))
		if (walk.level == level)
			return walk.slot;
	fail_msg("no entry of level %u", level);
	return NULL;
}

/* As a processor does that knows no more than what the tables say. */
static __attribute__((noinline, unused)) enum fault_result fault(uint64_t address, unsigned access)
{
	unsigned level;
	uint64_t allowed = leaf_at(address, &level).bits & SPTE_RIGHTS;

	return ept_fault(ept, gpa(address), (enum access)access, (enum access)allowed);
}

static inline unsigned level_at(uint64_t address)
{
	unsigned level;

	(void)leaf_at(address, &level);
	return level;
}

static inline pfn_t host_frame(uint64_t address)
{
	struct mm_page page;

	assert_int_equal(mm_peek(space, hva(address), &page), STATUS_OK);
	return page.frame;
}

static inline uint64_t load_on(unsigned cpu, uint64_t address)
{
	uint64_t value = 0;

	port_set_cpu(cpu);
	assert_int_equal(soft_load(&soft[cpu], gpa(address), &value), FAULT_FIXED);
	port_set_cpu(0);
	return value;
}

static inline void store_on(unsigned cpu, uint64_t address, uint64_t value)
{
	port_set_cpu(cpu);
	assert_int_equal(soft_store(&soft[cpu], gpa(address), value), FAULT_FIXED);
	port_set_cpu(0);
}

#endif
