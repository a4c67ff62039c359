/* The soft CPU as a host process's processor: the primary tables, A and D, its TLB, page faults. */
#include "tests/unit/space_fixture.h"

#include "tests/host/soft_cpu.h"

static struct soft_cpu cpu;

static int open_process(void **state)
{
	int opened = open_space(state);

	soft_host_init(&cpu, space);
	map(BASE, 64 * PAGE_SIZE, LEVEL_4K);
	return opened;
}

static void store(uint64_t address, uint64_t value)
{
	assert_int_equal(soft_process(&cpu, space, hva(address), ACCESS_WRITE, &value), STATUS_OK);
}

static uint64_t load(uint64_t address)
{
	uint64_t value = 0;

	assert_int_equal(soft_process(&cpu, space, hva(address), ACCESS_READ, &value), STATUS_OK);
	return value;
}

static struct soft_exit try_access(uint64_t address, unsigned access)
{
	uint64_t value = 1;

	return soft_linear_access(&cpu, address, (enum access)access, &value);
}

static uint64_t flags(uint64_t address) { return entry(address).pte.bits & (PTE_A | PTE_D); }

static void set_entry(uint64_t address, uint64_t bits)
{
	atomic_write(entry(address).slot, bits);
}

static void demand_paging(void **state)
{
	uint64_t value = 0, before = pages_free();

	(void)state;
	assert_int_equal(try_access(BASE, ACCESS_READ).kind, SOFT_PAGE_FAULT);
	assert_int_equal(pages_free(), before);
	assert_int_equal(load(BASE), 0);
	for (uint64_t page = 0; page < 64; page++)
		store(BASE + page * PAGE_SIZE + 8, page);
	for (uint64_t page = 0; page < 64; page++)
		assert_int_equal(load(BASE + page * PAGE_SIZE + 8), page);
	assert_int_equal(space_read(space, hva(BASE + PAGE_SIZE + 8), &value, 8), STATUS_OK);
	assert_int_equal(value, 1);
	assert_true(look_up(BASE, ACCESS_WRITE).writable);
	value = 0;
	assert_int_equal(soft_process(&cpu, space, hva(BASE - 8), ACCESS_READ, &value),
			 STATUS_NOT_FOUND);
}

static void large_pages(void **state)
{
	(void)state;
	map(2 * BASE, 4 * MIB, LEVEL_2M);
	store(2 * BASE + 3 * MIB, 7);
	assert_int_equal(entry(2 * BASE + 3 * MIB).level, LEVEL_2M);
	assert_int_equal(load(2 * BASE + 3 * MIB), 7);
	assert_int_equal(load(2 * BASE + 2 * MIB), 0);
}

/* ---------------------------------- SDM "Accessed and Dirty Flags" */

static void accessed_and_dirty(void **state)
{
	(void)state;
	store(BASE, 1);
	soft_flush_linear(&cpu);
	set_entry(BASE, entry(BASE).pte.bits & ~(PTE_A | PTE_D));
	assert_int_equal(try_access(BASE, ACCESS_READ).kind, SOFT_DONE);
	assert_int_equal(flags(BASE), PTE_A);
	/* Cached clean: a write goes back to memory for D. */
	assert_int_equal(try_access(BASE, ACCESS_WRITE).kind, SOFT_DONE);
	assert_int_equal(flags(BASE), PTE_A | PTE_D);
	/* Cached dirty: it does not, until INVLPG. */
	set_entry(BASE, entry(BASE).pte.bits & ~(PTE_A | PTE_D));
	assert_int_equal(try_access(BASE, ACCESS_WRITE).kind, SOFT_DONE);
	assert_int_equal(flags(BASE), 0);
	soft_invlpg(&cpu, BASE);
	assert_int_equal(try_access(BASE, ACCESS_WRITE).kind, SOFT_DONE);
	assert_int_equal(flags(BASE), PTE_A | PTE_D);
	/* The twin that forgets. */
	soft_flush_linear(&cpu);
	set_entry(BASE, entry(BASE).pte.bits & ~PTE_D);
	cpu.broken = SOFT_TWIN_CLEAN_WRITE;
	assert_int_equal(try_access(BASE, ACCESS_READ).kind, SOFT_DONE);
	assert_int_equal(try_access(BASE, ACCESS_WRITE).kind, SOFT_DONE);
	assert_int_equal(flags(BASE), PTE_A);
}

static uint64_t moved_to;

static void move(struct soft_cpu *self)
{
	self->between = NULL;
	set_entry(BASE, moved_to);
}

/* The entry changes under the walk: the flag goes to the new one, the old one stays away. */
static void locked(void **state)
{
	(void)state;
	store(BASE, 1);
	store(BASE + PAGE_SIZE, 2);
	soft_flush_linear(&cpu);

	uint64_t first = entry(BASE).pte.bits, second = entry(BASE + PAGE_SIZE).pte.bits;

	moved_to = second & ~(PTE_A | PTE_D);
	set_entry(BASE, first & ~(PTE_A | PTE_D));
	cpu.between = move;
	assert_int_equal(try_access(BASE, ACCESS_WRITE).kind, SOFT_DONE);
	assert_int_equal(entry(BASE).pte.bits, second);

	soft_flush_linear(&cpu);
	set_entry(BASE, first & ~(PTE_A | PTE_D));
	cpu.between = move;
	cpu.broken = SOFT_TWIN_PLAIN_STORE;
	assert_int_equal(try_access(BASE, ACCESS_WRITE).kind, SOFT_DONE);
	assert_int_equal(entry(BASE).pte.bits, first);	/* the change is lost */
}

/* ---------------------------------- SDM "Invalidation of TLBs and Paging-Structure Caches" */

static void stale_until_invalidated(void **state)
{
	uint64_t saved;

	(void)state;
	store(BASE, 42);
	store(BASE + PAGE_SIZE, 43);
	assert_int_equal(load(BASE), 42);	/* a fault was taken outside, with nothing cached */
	saved = entry(BASE).pte.bits;
	set_entry(BASE, 0);
	assert_int_equal(load(BASE), 42);
	/* Another address's: tables are forgotten, this leaf is not. */
	soft_invlpg(&cpu, BASE + PAGE_SIZE);
	assert_int_equal(load(BASE), 42);
	soft_invlpg(&cpu, BASE);
	assert_int_equal(try_access(BASE, ACCESS_READ).kind, SOFT_PAGE_FAULT);
	set_entry(BASE, saved);
	assert_int_equal(load(BASE), 42);
}

/* A page fault forgets what it came from: rights that have grown are seen at the second try. */
static void fault_invalidates(void **state)
{
	uint64_t saved;

	(void)state;
	store(BASE, 1);
	soft_flush_linear(&cpu);
	saved = entry(BASE).pte.bits;
	set_entry(BASE, saved & ~PTE_W);
	assert_int_equal(load(BASE), 1);
	set_entry(BASE, saved);
	assert_int_equal(try_access(BASE, ACCESS_WRITE).qualification, 7);
	assert_int_equal(try_access(BASE, ACCESS_WRITE).kind, SOFT_DONE);
}

static void prefetched(void **state)
{
	(void)state;
	store(BASE, 1);
	soft_flush_linear(&cpu);
	set_entry(BASE, entry(BASE).pte.bits & ~(PTE_A | PTE_D));
	soft_prefetch(&cpu, BASE);
	assert_int_equal(flags(BASE), PTE_A);
	soft_prefetch(&cpu, BASE + 9 * PAGE_SIZE);
	assert_int_equal(try_access(BASE + 9 * PAGE_SIZE, ACCESS_READ).kind, SOFT_PAGE_FAULT);
}

/* ---------------------------------- SDM "Page-Fault Exceptions" */

static void error_codes(void **state)
{
	const uint64_t at = BASE + PAGE_SIZE;
	const struct { uint64_t clear, set; unsigned access; uint64_t code; } cases[] = {
		{ PTE_P, 0, ACCESS_READ, 4 }, { PTE_P, 0, ACCESS_WRITE, 6 },
		{ PTE_P, 0, ACCESS_EXEC, 0x14 },
		{ PTE_W, 0, ACCESS_WRITE, 7 }, { PTE_W, 0, ACCESS_READ | ACCESS_WRITE, 7 },
		{ PTE_U, 0, ACCESS_READ, 5 }, { 0, PTE_NX, ACCESS_EXEC, 0x15 },
		{ 0, UINT64_C(1) << 50, ACCESS_READ, 0xd },
		{ 0, UINT64_C(1) << 46, ACCESS_WRITE, 0xf },
	};

	(void)state;
	store(at, 1);

	uint64_t whole = entry(at).pte.bits & ~PTE_NX;

	for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		set_entry(at, (whole & ~cases[i].clear) | cases[i].set);
		soft_flush_linear(&cpu);
		struct soft_exit exit = try_access(at, cases[i].access);

		assert_int_equal(exit.kind, SOFT_PAGE_FAULT);
		assert_int_equal(exit.qualification, cases[i].code);
		assert_int_equal(exit.linear, at);
	}
	/* The supervisor is let in where the user is not. */
	set_entry(at, whole & ~PTE_U);
	cpu.user = false;
	assert_int_equal(try_access(at, ACCESS_EXEC).kind, SOFT_DONE);
	set_entry(at, whole | PTE_NX);
}

#define host_test(name) cmocka_unit_test_setup_teardown(name, open_process, close_space)

int main(void)
{
	const struct CMUnitTest tests[] = {
		host_test(demand_paging), host_test(large_pages), host_test(accessed_and_dirty),
		host_test(locked), host_test(stale_until_invalidated),
		host_test(fault_invalidates), host_test(prefetched), host_test(error_codes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
