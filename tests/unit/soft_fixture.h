/* For tests of the soft CPU on a real EPT: guest page 0 is mapped, cpu is soft CPU 1. */
#ifndef TESTS_UNIT_SOFT_FIXTURE_H
#define TESTS_UNIT_SOFT_FIXTURE_H

#include "tests/unit/ept_fixture.h"

static struct soft_cpu *const cpu = &soft[1];

static inline uint64_t bits_of(unsigned level) { return slot_read(slot_of(0, level)).bits; }

static inline void put(unsigned level, uint64_t bits)
{
	slot_xchg(slot_of(0, level), (spte_t){ bits });
	soft_invept(cpu);
}

static inline struct soft_exit access_page(unsigned access)
{
	uint64_t value = 5;

	return soft_access(cpu, gpa(0), (enum access)access, &value);
}

static inline int open_mapped(void **state)
{
	open_small(state);
	lend(PAGE_SIZE, LEVEL_4K);
	return fault(0, ACCESS_WRITE) == FAULT_FIXED ? 0 : -1;
}

static inline void expect_violation(unsigned access, uint64_t rights)
{
	struct soft_exit exit = access_page(access);

	assert_int_equal(exit.kind, SOFT_VIOLATION);
	assert_int_equal(exit.address.raw, 0);
	assert_int_equal(exit.qualification, 0x180 | rights << 3 | access);
}

static inline void clear_flags(void)
{
	for (unsigned level = 1; level <= 4; level++)
		slot_and_not(slot_of(0, level), SPTE_A | SPTE_D);
	soft_invept(cpu);
}

/* What the processor was made to leave behind is no state of ept/'s: its leaves are born dirty. */
static inline int close_mapped(void **state)
{
	struct ept_walk walk = ept_walk_begin(ept, gfn(0), 16);

	while (ept_walk_next(&walk))
		if (spte_is_leaf(walk.old))
			slot_xchg(walk.slot, (spte_t){ walk.old.bits | SPTE_A | SPTE_D });
	return close_ept(state);
}

#define soft_test(name) cmocka_unit_test_setup_teardown(name, open_mapped, close_mapped)

#endif
