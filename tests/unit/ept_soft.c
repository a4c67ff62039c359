/* The soft CPU against the SDM: what it walks, sets, caches, forgets and complains about. */
#include "tests/unit/soft_fixture.h"

/* ---------------------------------- SDM "Exit Qualification for EPT Violations" */

static void qualifications(void **state)
{
	uint64_t leaf = bits_of(1), table = bits_of(2);

	(void)state;
	for (unsigned access = 1; access < 8; access++)
		for (uint64_t rights = 0; rights < 8; rights++) {
			/* W without R, X alone: misconfigured. */
			if (rights == 2 || rights == 4 || rights == 6)
				continue;
			put(1, (leaf & ~SPTE_RIGHTS) | rights);
			if ((rights & access) == access)
				assert_int_equal(access_page(access).kind, SOFT_DONE);
			else
				expect_violation(access, rights);
			/* The same rights taken away one level higher. */
			put(1, leaf);
			put(2, (table & ~SPTE_RIGHTS) | rights);
			if ((rights & access) == access)
				assert_int_equal(access_page(access).kind, SOFT_DONE);
			else
				expect_violation(access, rights);
			put(2, table);
		}
}

static void not_present(void **state)
{
	uint64_t saved[5];

	(void)state;
	for (unsigned level = 1; level <= 4; level++) {
		saved[level] = bits_of(level);
		spte_slot_t *slot = slot_of(0, level);

		/* All other bits are ignored then. */
		slot_xchg(slot, (spte_t){ ~SPTE_RIGHTS });
		soft_invept(cpu);
		expect_violation(ACCESS_WRITE, 0);
		slot_xchg(slot, (spte_t){ saved[level] });
	}
}

/* ---------------------------------- SDM "EPT Misconfigurations" */

static void misconfigurations(void **state)
{
	const struct { unsigned level; uint64_t clear, set; } cases[] = {
		{ 1, SPTE_R, 0 },			/* W and X without R */
		{ 1, SPTE_R | SPTE_X, 0 },		/* W alone */
		{ 1, SPTE_R | SPTE_W, 0 },		/* X alone: not supported */
		{ 2, SPTE_R, 0 }, { 4, SPTE_R | SPTE_X, 0 },
		{ 1, SPTE_TYPE, 2 << 3 }, { 1, SPTE_TYPE, 3 << 3 }, { 1, SPTE_TYPE, 7 << 3 },
		{ 1, 0, UINT64_C(1) << 46 }, { 3, 0, UINT64_C(1) << 51 },
		{ 2, 0, 1 << 3 }, { 3, 0, 1 << 6 }, { 4, 0, 1 << 5 }, { 4, 0, SPTE_LEAF },
		{ 2, 0, SPTE_LEAF | 6 << 3 | 1 << 12 },	/* a leaf of 2 MiB, not aligned */
		{ 3, SPTE_FRAME, SPTE_LEAF | 6 << 3 | 1 << 21 },
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		spte_slot_t *slot = slot_of(0, cases[i].level);
		uint64_t saved = slot_read(slot).bits;

		slot_xchg(slot, (spte_t){ (saved & ~cases[i].clear) | cases[i].set });
		soft_invept(cpu);
		/* Whatever the access: misconfigurations come before rights. */
		for (unsigned access = 1; access < 8; access++)
			assert_int_equal(access_page(access).kind, SOFT_MISCONFIGURATION);
		slot_xchg(slot, (spte_t){ saved });
	}
	soft_invept(cpu);
	assert_int_equal(access_page(ACCESS_READ).kind, SOFT_DONE);
	for (uint64_t type = 0; type < 8; type++) {
		put(1, (bits_of(1) & ~SPTE_TYPE) | type << 3);
		assert_int_equal(access_page(ACCESS_READ).kind == SOFT_DONE,
				 type != 2 && type != 3 && type != 7);
	}
	put(1, (bits_of(1) & ~SPTE_TYPE) | SPTE_WRITE_BACK);
}

/* ---------------------------------- SDM "Accessed and Dirty Flags for EPT" */

static void accessed_and_dirty(void **state)
{
	(void)state;
	clear_flags();
	assert_int_equal(access_page(ACCESS_READ).kind, SOFT_DONE);
	for (unsigned level = 1; level <= 4; level++)
		assert_int_equal(bits_of(level) & (SPTE_A | SPTE_D), SPTE_A);
	assert_int_equal(access_page(ACCESS_EXEC).kind, SOFT_DONE);
	assert_int_equal(bits_of(1) & SPTE_D, 0);
	/* The translation is cached clean: the write has to go back to memory for D. */
	assert_int_equal(access_page(ACCESS_WRITE).kind, SOFT_DONE);
	assert_int_equal(bits_of(1) & SPTE_D, SPTE_D);
	for (unsigned level = 2; level <= 4; level++)
		assert_int_equal(bits_of(level) & SPTE_D, 0);

	/* Cached dirty: D cleared in memory is not set again until INVEPT. */
	slot_and_not(slot_of(0, 1), SPTE_A | SPTE_D);
	assert_int_equal(access_page(ACCESS_WRITE).kind, SOFT_DONE);
	assert_int_equal(bits_of(1) & (SPTE_A | SPTE_D), 0);
	soft_invept(cpu);
	assert_int_equal(access_page(ACCESS_WRITE).kind, SOFT_DONE);
	assert_int_equal(bits_of(1) & (SPTE_A | SPTE_D), SPTE_A | SPTE_D);
}

static void flags_off(void **state)
{
	(void)state;
	cpu->eptp &= ~UINT64_C(0x40);
	clear_flags();
	assert_int_equal(access_page(ACCESS_READ | ACCESS_WRITE).kind, SOFT_DONE);
	for (unsigned level = 1; level <= 4; level++)
		assert_int_equal(bits_of(level) & (SPTE_A | SPTE_D), 0);
	slot_xchg(slot_of(0, 1), (spte_t){ bits_of(1) | SPTE_D });
}

/* A write that is refused leaves D alone. */
static void refused_write(void **state)
{
	uint64_t leaf = bits_of(1);

	(void)state;
	put(1, leaf & ~(SPTE_W | SPTE_D | SPTE_MMU_WRITABLE | SPTE_HOST_WRITABLE));
	expect_violation(ACCESS_WRITE, 5);
	assert_int_equal(bits_of(1) & SPTE_D, 0);
	put(1, leaf);
}

/* ------------------------------------------------------------------ what is cached */

/* Rights that have grown in memory: one violation from the stale entry, which forgets it. */
static void grown_rights(void **state)
{
	uint64_t leaf = bits_of(1);

	(void)state;
	put(1, leaf & ~(SPTE_W));
	assert_int_equal(access_page(ACCESS_READ).kind, SOFT_DONE);
	slot_xchg(slot_of(0, 1), (spte_t){ leaf });
	/* Cached with D set, so the cached rights decide. */
	expect_violation(ACCESS_WRITE, 5);
	assert_int_equal(access_page(ACCESS_WRITE).kind, SOFT_DONE);
}

/* A table unlinked without a flush is still walked from the cache of paging structures. */
static void stale_table(void **state)
{
	uint64_t table = bits_of(3), value = 0;
	spte_slot_t *slot = slot_of(0, 3);

	(void)state;
	assert_int_equal(access_page(ACCESS_READ).kind, SOFT_DONE);
	slot_xchg(slot, spte_empty());
	/* Another page of the same table, never touched: found through the cached PDE. */
	assert_int_equal(soft_access(cpu, gpa(PAGE_SIZE), ACCESS_READ, &value).kind,
			 SOFT_VIOLATION);
	assert_int_equal(access_page(ACCESS_READ).kind, SOFT_DONE);
	soft_evict(cpu, gpa(0));
	expect_violation(ACCESS_READ, 0);
	slot_xchg(slot, (spte_t){ table });
}

static void large_leaf(void **state)
{
	uint64_t value = 77;

	(void)state;
	open_ept(64, (struct ept_caps){ .max_level = LEVEL_2M, .accessed_dirty = true });
	lend(4 * MIB, LEVEL_2M);
	for (uint64_t at = 0; at < 4 * MIB; at += 64 * PAGE_SIZE + 8)
		store_on(1, at, at ^ 0x5555);
	assert_int_equal(stats()->mapped[1], 2);
	for (uint64_t at = 0; at < 4 * MIB; at += 64 * PAGE_SIZE + 8)
		assert_int_equal(load_on(2, at), at ^ 0x5555);
	assert_int_equal(space_read(space, hva(BACKING + 64 * PAGE_SIZE + 8), &value, 8),
			 STATUS_OK);
	assert_int_equal(value, (64 * PAGE_SIZE + 8) ^ 0x5555);
	close_ept(NULL);
}

static void exchange_and_fetch(void **state)
{
	uint64_t value = 11;

	(void)state;
	store_on(1, 0, 3);
	port_set_cpu(1);
	assert_int_equal(soft_exchange(cpu, gpa(0), &value), FAULT_FIXED);
	assert_int_equal(value, 3);
	assert_int_equal(soft_fetch(cpu, gpa(0), &value), FAULT_FIXED);
	assert_int_equal(value, 11);
	assert_int_equal(soft_load(cpu, gpa(PAGE_SIZE), &value), FAULT_NO_REGION);
	port_set_cpu(0);
	assert_int_equal(atomic_read(&cpu->violations), 1);
}

/* The image's way of hearing of a shootdown: it looks for a new generation itself. */
static void polls(void **state)
{
	(void)state;
	kick_hook(NULL);
	cpu->polls = true;
	store_on(1, 0, 3);
	uint64_t kicks = atomic_read(&cpu->kicks);

	assert_int_equal(load_on(1, 0), 3);
	assert_int_equal(atomic_read(&cpu->kicks), kicks);
	atomic_add(&ept->notice.generation, 1);
	assert_int_equal(load_on(1, 0), 3);
	assert_int_equal(atomic_read(&cpu->kicks), kicks + 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		soft_test(qualifications), soft_test(not_present), soft_test(misconfigurations),
		soft_test(accessed_and_dirty), soft_test(flags_off), soft_test(refused_write),
		soft_test(grown_rights), soft_test(stale_table), cmocka_unit_test(large_leaf),
		soft_test(exchange_and_fetch), soft_test(polls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
