/* The soft CPU with paging in the guest: both dimensions at once. */
#include "tests/unit/ept_fixture.h"

#include "mm/pte.h"

static struct soft_cpu *const cpu = &soft[1];

/* The guest's memory: its four tables in pages 1 to 4, pages 8 and 9 mapped at LINEAR. */
enum { ROOT = 1, PAGES = 16 };
#define LINEAR UINT64_C(0x123456789000)

static gpa_t guest_entry(unsigned level, uint64_t linear)
{
	return gpa((ROOT + 4 - level) * PAGE_SIZE + level_index(linear, level) * 8);
}

static uint64_t *guest_word(unsigned level, uint64_t linear)
{
	gpa_t at = guest_entry(level, linear);

	return (uint64_t *)pfn_to_ptr(host_frame(BACKING + at.raw)) + (at.raw & 0xfff) / 8;
}

static uint64_t ept_flags(uint64_t page)
{
	return slot_read(slot_of(page * PAGE_SIZE, LEVEL_4K)).bits & (SPTE_A | SPTE_D);
}

/* Both TLBs empty, the EPT's flags of all pages clear, the guest's own as they are. */
static void clear_ept(void)
{
	for (uint64_t page = 0; page < PAGES; page++)
		slot_and_not(slot_of(page * PAGE_SIZE, LEVEL_4K), SPTE_A | SPTE_D);
	soft_invept(cpu);
}

static int open_paging(void **state)
{
	open_small(state);
	lend(PAGES * PAGE_SIZE, LEVEL_4K);
	for (uint64_t page = 0; page < PAGES; page++)
		assert_int_equal(fault(page * PAGE_SIZE, ACCESS_WRITE), FAULT_FIXED);
	for (unsigned level = 4; level > 1; level--)
		*guest_word(level, LINEAR) = (ROOT + 5 - level) * PAGE_SIZE | PTE_P | PTE_W | PTE_U;
	*guest_word(1, LINEAR) = 8 * PAGE_SIZE | PTE_P | PTE_W | PTE_U;
	*guest_word(1, LINEAR + PAGE_SIZE) = 9 * PAGE_SIZE | PTE_P | PTE_W | PTE_U;
	cpu->paging = true;
	cpu->cr3 = ROOT * PAGE_SIZE;
	clear_ept();
	return 0;
}

static int close_paging(void **state)
{
	for (uint64_t page = 0; page < PAGES; page++) {
		spte_t leaf = slot_read(slot_of(page * PAGE_SIZE, LEVEL_4K));

		slot_xchg(slot_of(page * PAGE_SIZE, LEVEL_4K), (spte_t){
			leaf.bits | SPTE_RIGHTS | SPTE_MMU_WRITABLE | SPTE_HOST_WRITABLE |
			SPTE_A | SPTE_D });
	}
	return close_ept(state);
}

static struct soft_exit access_linear(unsigned access)
{
	uint64_t value = 5;

	return soft_linear_access(cpu, LINEAR, (enum access)access, &value);
}

/* SDM "Accessed and Dirty Flags for EPT": a look at a paging structure counts as a write. */
static void both_dimensions(void **state)
{
	(void)state;
	assert_int_equal(access_linear(ACCESS_READ).kind, SOFT_DONE);
	for (unsigned level = 1; level <= 4; level++)
		assert_int_equal(*guest_word(level, LINEAR) & (PTE_A | PTE_D), PTE_A);
	for (uint64_t page = ROOT; page < ROOT + 4; page++)
		assert_int_equal(ept_flags(page), SPTE_A | SPTE_D);
	assert_int_equal(ept_flags(8), SPTE_A);
	assert_int_equal(access_linear(ACCESS_WRITE).kind, SOFT_DONE);
	assert_int_equal(*guest_word(1, LINEAR) & (PTE_A | PTE_D), PTE_A | PTE_D);
	assert_int_equal(ept_flags(8), SPTE_A | SPTE_D);

	/* Cached: no table is looked at. After INVEPT all are, guest's own flags set or not. */
	for (uint64_t page = 0; page < PAGES; page++)
		slot_and_not(slot_of(page * PAGE_SIZE, LEVEL_4K), SPTE_A | SPTE_D);
	assert_int_equal(access_linear(ACCESS_READ).kind, SOFT_DONE);
	for (uint64_t page = 0; page < PAGES; page++)
		assert_int_equal(ept_flags(page), 0);
	soft_invept(cpu);
	assert_int_equal(access_linear(ACCESS_READ).kind, SOFT_DONE);
	for (uint64_t page = ROOT; page < ROOT + 4; page++)
		assert_int_equal(ept_flags(page), SPTE_A | SPTE_D);
}

static void take_write(uint64_t page)
{
	slot_and_not(slot_of(page * PAGE_SIZE, LEVEL_4K),
		     SPTE_W | SPTE_D | SPTE_HOST_WRITABLE | SPTE_MMU_WRITABLE);
	soft_invept(cpu);
}

/* SDM "Exit Qualification for EPT Violations": read and write, and bit 8 clear. */
static void table_read_only(void **state)
{
	(void)state;
	for (unsigned level = 4; level >= 1; level--) {
		uint64_t page = ROOT + 4 - level;

		take_write(page);
		struct soft_exit exit = access_linear(ACCESS_READ);

		assert_int_equal(exit.kind, SOFT_VIOLATION);
		assert_int_equal(exit.qualification, 0xab);
		assert_int_equal(exit.address.raw, guest_entry(level, LINEAR).raw);
		assert_int_equal(exit.linear, LINEAR);
		slot_xchg(slot_of(page * PAGE_SIZE, LEVEL_4K), (spte_t){
			slot_read(slot_of(page * PAGE_SIZE, LEVEL_4K)).bits | SPTE_W });
	}
}

/* With the EPT's flags off a look is a read, but the guest's A is a write. */
static void flags_off(void **state)
{
	(void)state;
	cpu->eptp &= ~UINT64_C(0x40);
	take_write(ROOT);
	struct soft_exit exit = access_linear(ACCESS_READ);

	assert_int_equal(exit.kind, SOFT_VIOLATION);
	assert_int_equal(exit.qualification, 0xaa);
	*guest_word(4, LINEAR) |= PTE_A;
	assert_int_equal(access_linear(ACCESS_READ).kind, SOFT_DONE);
	take_write(ROOT + 3);
	exit = access_linear(ACCESS_WRITE);
	assert_int_equal(exit.qualification, 0xaa);
	assert_int_equal(exit.address.raw, guest_entry(1, LINEAR).raw);
	assert_int_equal(*guest_word(1, LINEAR) & PTE_D, 0);
	cpu->eptp |= 0x40;
}

/* A guest's entry that has moved is used until INVLPG or INVEPT. */
static void stale_guest_entry(void **state)
{
	uint64_t value = 8;

	(void)state;
	assert_int_equal(soft_linear_access(cpu, LINEAR, ACCESS_WRITE, &value).kind, SOFT_DONE);
	value = 9;
	assert_int_equal(soft_linear_access(cpu, LINEAR + PAGE_SIZE, ACCESS_WRITE, &value).kind,
			 SOFT_DONE);
	*guest_word(1, LINEAR) = *guest_word(1, LINEAR + PAGE_SIZE);
	assert_int_equal(soft_linear_access(cpu, LINEAR, ACCESS_READ, &value).kind, SOFT_DONE);
	assert_int_equal(value, 8);
	soft_invlpg(cpu, LINEAR);
	assert_int_equal(soft_linear_access(cpu, LINEAR, ACCESS_READ, &value).kind, SOFT_DONE);
	assert_int_equal(value, 9);
}

/* A table that is gone is walked until INVLPG, of any address: it forgets all tables. */
static void stale_guest_table(void **state)
{
	uint64_t value;

	(void)state;
	*guest_word(1, LINEAR + 2 * PAGE_SIZE) = *guest_word(1, LINEAR + PAGE_SIZE);
	assert_int_equal(access_linear(ACCESS_READ).kind, SOFT_DONE);
	*guest_word(2, LINEAR) = 0;
	assert_int_equal(soft_linear_access(cpu, LINEAR + PAGE_SIZE, ACCESS_READ, &value).kind,
			 SOFT_DONE);
	soft_invlpg(cpu, LINEAR + GIB);
	assert_int_equal(soft_linear_access(cpu, LINEAR + 2 * PAGE_SIZE, ACCESS_READ, &value).kind,
			 SOFT_PAGE_FAULT);
	assert_int_equal(access_linear(ACCESS_READ).kind, SOFT_DONE);
}

/* SDM "Operations that Invalidate Cached Mappings": a violation forgets the linear address too. */
static void violation_forgets(void **state)
{
	spte_slot_t *slot = slot_of(8 * PAGE_SIZE, LEVEL_4K);
	spte_t leaf;

	(void)state;
	assert_int_equal(access_linear(ACCESS_READ).kind, SOFT_DONE);
	*guest_word(1, LINEAR) = 9 * PAGE_SIZE | PTE_P | PTE_W | PTE_U;
	leaf = slot_xchg(slot, spte_empty());
	soft_evict(cpu, gpa(8 * PAGE_SIZE));
	struct soft_exit exit = access_linear(ACCESS_READ);

	assert_int_equal(exit.kind, SOFT_VIOLATION);
	assert_int_equal(exit.address.raw, 8 * PAGE_SIZE | (LINEAR & 0xfff));
	assert_int_equal(access_linear(ACCESS_READ).kind, SOFT_DONE);
	slot_xchg(slot, leaf);
}

static void faults_of_its_own(void **state)
{
	uint64_t whole = *guest_word(1, LINEAR);

	(void)state;
	*guest_word(1, LINEAR) = 0;
	assert_int_equal(access_linear(ACCESS_READ).kind, SOFT_PAGE_FAULT);
	assert_int_equal(access_linear(ACCESS_WRITE).qualification, 2);
	*guest_word(1, LINEAR) = whole & ~PTE_W;
	assert_int_equal(access_linear(ACCESS_WRITE).qualification, 3);
	/* A large page where level 4 has none, and one that is not aligned. */
	*guest_word(4, LINEAR) |= PTE_PS;
	assert_int_equal(access_linear(ACCESS_READ).qualification, 9);
	*guest_word(4, LINEAR) &= ~PTE_PS;
	*guest_word(2, LINEAR) = UINT64_C(0x2000) | PTE_PS | PTE_P;
	assert_int_equal(access_linear(ACCESS_READ).qualification, 9);
}

static void large_guest_page(void **state)
{
	uint64_t value = 0;

	(void)state;
	/* LINEAR's place in the 2 MiB page that begins at gpa 0 is page 0x189: far beyond. */
	*guest_word(2, LINEAR) = PTE_PS | PTE_P | PTE_W;
	struct soft_exit exit = access_linear(ACCESS_READ);

	assert_int_equal(exit.kind, SOFT_VIOLATION);
	assert_int_equal(exit.address.raw, LINEAR & (2 * MIB - 1));
	assert_int_equal(exit.qualification, 0x181);
	/* PAT, bit 12, is not an address. */
	*guest_word(2, LINEAR) |= 0x1000;
	store_on(2, 9 * PAGE_SIZE, 99);
	assert_int_equal(soft_linear_access(cpu, (LINEAR & ~(2 * MIB - 1)) + 9 * PAGE_SIZE,
					    ACCESS_READ, &value).kind, SOFT_DONE);
	assert_int_equal(value, 99);
}

/* A prefetch walks both dimensions: A everywhere, D only where tables count as written. */
static void prefetch(void **state)
{
	(void)state;
	soft_prefetch(cpu, LINEAR);
	for (unsigned level = 1; level <= 4; level++)
		assert_int_equal(*guest_word(level, LINEAR) & (PTE_A | PTE_D), PTE_A);
	assert_int_equal(ept_flags(8), SPTE_A);
	for (uint64_t page = ROOT; page < ROOT + 4; page++)
		assert_int_equal(ept_flags(page), SPTE_A | SPTE_D);
	uint64_t violations = atomic_read(&cpu->violations);

	take_write(ROOT + 1);
	soft_prefetch(cpu, LINEAR);
	assert_int_equal(atomic_read(&cpu->violations), violations);
}

static void program(void **state)
{
	struct soft_step steps[] = { { ACCESS_WRITE, LINEAR, 3 }, { ACCESS_READ, LINEAR, 0 } };

	(void)state;
	/* The EPT gives the tables' and the page's frames back and must be asked again. */
	assert_int_equal(space_invalidate(space, hva(BACKING), PAGES * PAGE_SIZE), STATUS_OK);
	port_set_cpu(1);
	assert_int_equal(soft_run(cpu, steps, 2), FAULT_FIXED);
	assert_int_equal(steps[1].value, 3);
	*guest_word(1, LINEAR) = 0;
	soft_invlpg(cpu, LINEAR);
	assert_true(panics(check(!soft_run(cpu, steps, 2)), "page fault"));
	port_set_cpu(0);
	for (uint64_t page = 0; page < PAGES; page++)
		(void)fault(page * PAGE_SIZE, ACCESS_WRITE);
}

#define paging_test(name) cmocka_unit_test_setup_teardown(name, open_paging, close_paging)

int main(void)
{
	const struct CMUnitTest tests[] = {
		paging_test(both_dimensions), paging_test(table_read_only), paging_test(flags_off),
		paging_test(stale_guest_entry), paging_test(stale_guest_table),
		paging_test(violation_forgets), paging_test(faults_of_its_own),
		paging_test(large_guest_page), paging_test(prefetch), paging_test(program),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
