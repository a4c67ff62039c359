/* The soft CPU step by step: the log, locked flags, what it may forget or fetch. */
#include "tests/unit/soft_fixture.h"

/* ------------------------------------------------------------------ execute-only */

static void execute_only(void **state)
{
	uint64_t leaf = bits_of(1);

	(void)state;
	cpu->execute_only = true;
	put(1, (leaf & ~SPTE_RIGHTS) | SPTE_X);
	assert_int_equal(access_page(ACCESS_EXEC).kind, SOFT_DONE);
	expect_violation(ACCESS_READ, 4);
	expect_violation(ACCESS_WRITE, 4);
	put(1, (leaf & ~SPTE_RIGHTS) | SPTE_W | SPTE_X);
	assert_int_equal(access_page(ACCESS_EXEC).kind, SOFT_MISCONFIGURATION);
	put(1, leaf);
}

/* ---------------------------------- SDM "Page-Modification Logging" */

static uint64_t *open_log(uint16_t index)
{
	static pfn_t frame;

	assert_int_equal(folio_alloc_zeroed(arena.host, 0, &frame), STATUS_OK);
	cpu->pml = true;
	cpu->pml_index = index;
	cpu->pml_address = pfn_to_hpa(frame).raw;
	return pfn_to_ptr(frame);
}

static void close_log(uint64_t *log)
{
	folio_put(arena.host, ptr_to_pfn(log));
}

static struct soft_exit write_at(uint64_t address)
{
	uint64_t value = 9;

	return soft_access(cpu, gpa(address), ACCESS_WRITE, &value);
}

static void clear_leaf(uint64_t address)
{
	slot_and_not(slot_of(address, LEVEL_4K), SPTE_A | SPTE_D);
	soft_invept(cpu);
}

/* From the end down; pages, not addresses; once for each time D is set. */
static void logged(void **state)
{
	uint64_t *log = open_log(511);

	(void)state;
	map_host(BACKING + PAGE_SIZE, 2 * PAGE_SIZE, LEVEL_4K);
	add_region(5, 2, BACKING + PAGE_SIZE, LEVEL_4K);
	for (uint64_t page = 5; page < 7; page++) {
		assert_int_equal(fault(page * PAGE_SIZE, ACCESS_WRITE), FAULT_FIXED);
		clear_leaf(page * PAGE_SIZE);
	}
	clear_leaf(0);
	assert_int_equal(access_page(ACCESS_READ).kind, SOFT_DONE);
	assert_int_equal(cpu->pml_index, 511);
	assert_int_equal(write_at(6 * PAGE_SIZE + 0x238).kind, SOFT_DONE);
	assert_int_equal(write_at(5 * PAGE_SIZE + 8).kind, SOFT_DONE);
	assert_int_equal(write_at(6 * PAGE_SIZE).kind, SOFT_DONE);
	assert_int_equal(write_at(0).kind, SOFT_DONE);
	assert_int_equal(cpu->pml_index, 508);
	assert_int_equal(log[511], 6 * PAGE_SIZE);
	assert_int_equal(log[510], 5 * PAGE_SIZE);
	assert_int_equal(log[509], 0);
	clear_leaf(5 * PAGE_SIZE);
	assert_int_equal(write_at(5 * PAGE_SIZE).kind, SOFT_DONE);
	assert_int_equal(log[508], 5 * PAGE_SIZE);
	assert_int_equal(log[507], 0);
	close_log(log);
}

/* The last place is used; then neither A nor D can be set, and nothing is done. */
static void log_full(void **state)
{
	uint64_t *log = open_log(0), value = 0;

	(void)state;
	clear_flags();
	assert_int_equal(access_page(ACCESS_WRITE).kind, SOFT_DONE);
	assert_int_equal(cpu->pml_index, 0xffff);
	/* No flag is needed: no look at the index. */
	assert_int_equal(access_page(ACCESS_WRITE).kind, SOFT_DONE);
	soft_invept(cpu);
	assert_int_equal(access_page(ACCESS_WRITE).kind, SOFT_DONE);

	slot_and_not(slot_of(0, 1), SPTE_D);
	soft_invept(cpu);
	value = 77;
	assert_int_equal(soft_access(cpu, gpa(0), ACCESS_WRITE, &value).kind, SOFT_PML_FULL);
	assert_int_equal(bits_of(1) & (SPTE_A | SPTE_D), SPTE_A);
	assert_int_equal(soft_access(cpu, gpa(0), ACCESS_READ, &value).kind, SOFT_DONE);
	assert_int_equal(value, 5);
	slot_and_not(slot_of(0, 2), SPTE_A);
	soft_invept(cpu);
	assert_int_equal(access_page(ACCESS_READ).kind, SOFT_PML_FULL);
	assert_int_equal(bits_of(2) & SPTE_A, 0);
	close_log(log);
}

static unsigned emptied;

static void empty_log(struct soft_cpu *self)
{
	assert_false(self->inside);
	self->pml_index = 511;
	emptied++;
}

static void log_emptied(void **state)
{
	uint64_t *log = open_log(0xffff);

	(void)state;
	clear_leaf(0);
	emptied = 0;
	cpu->pml_full = empty_log;
	store_on(1, 0, 42);
	assert_int_equal(emptied, 1);
	assert_int_equal(cpu->pml_index, 510);
	assert_int_equal(load_on(2, 0), 42);
	close_log(log);
}

/* ------------------------------------------------------------------ locked operations */

/* Between the reading of the leaf and the setting of its flags another CPU takes it away. */
static void take_leaf(struct soft_cpu *self)
{
	self->between = NULL;
	slot_xchg(slot_of(0, 1), spte_empty());
}

static void changed_entry_is_read_again(void **state)
{
	uint64_t leaf = bits_of(1);

	(void)state;
	clear_leaf(0);
	assert_int_equal(access_page(ACCESS_READ).kind, SOFT_DONE);
	cpu->between = take_leaf;
	expect_violation(ACCESS_WRITE, 0);
	assert_int_equal(bits_of(1), 0);

	/* The twin that stores what it read brings the entry back to life. */
	put(1, leaf & ~SPTE_D);
	cpu->broken = SOFT_TWIN_PLAIN_STORE;
	cpu->between = take_leaf;
	assert_int_equal(access_page(ACCESS_WRITE).kind, SOFT_DONE);
	assert_int_equal(bits_of(1), leaf);
}

/* The twin that forgets: D stays clear behind a write, a page that nobody will ever save. */
static void clean_write_twin(void **state)
{
	(void)state;
	clear_flags();
	cpu->broken = SOFT_TWIN_CLEAN_WRITE;
	assert_int_equal(access_page(ACCESS_READ).kind, SOFT_DONE);
	assert_int_equal(access_page(ACCESS_WRITE).kind, SOFT_DONE);
	assert_int_equal(bits_of(1) & SPTE_D, 0);
	cpu->broken = 0;
	assert_int_equal(access_page(ACCESS_WRITE).kind, SOFT_DONE);
	assert_int_equal(bits_of(1) & SPTE_D, SPTE_D);
}

/* ---------------------------------- SDM "Details of TLB Use", "Information That May Be Cached" */

static unsigned asked, answers;		/* bit n: what the nth question is answered */

static unsigned answer(struct soft_cpu *self, unsigned n)
{
	(void)self;
	assert_int_equal(n, 2);
	return answers >> asked++ & 1;
}

static void forgets_when_told(void **state)
{
	uint64_t leaf = bits_of(1);

	(void)state;
	soft_invept(cpu);
	cpu->choose = answer;
	asked = answers = 0;
	assert_int_equal(access_page(ACCESS_READ).kind, SOFT_DONE);
	assert_int_equal(asked, 0);		/* nothing was cached */
	slot_xchg(slot_of(0, 1), spte_empty());
	assert_int_equal(access_page(ACCESS_READ).kind, SOFT_DONE);
	assert_int_equal(asked, 1);
	asked = 0;
	answers = 1;			/* the leaf goes, its table's place stays */
	expect_violation(ACCESS_READ, 0);
	assert_int_equal(asked, 2);
	slot_xchg(slot_of(0, 1), (spte_t){ leaf });
	assert_int_equal(access_page(ACCESS_READ).kind, SOFT_DONE);
	/* Forgotten is forgotten, even if the walk that follows ends badly. */
	slot_xchg(slot_of(0, 1), (spte_t){ leaf | 1 << 3 });
	asked = 0;
	assert_int_equal(access_page(ACCESS_READ).kind, SOFT_MISCONFIGURATION);
	cpu->choose = NULL;
	assert_int_equal(access_page(ACCESS_READ).kind, SOFT_MISCONFIGURATION);
	slot_xchg(slot_of(0, 1), (spte_t){ leaf });
}

/* All levels: whatever is forgotten, the access ends well and finds the same. */
static void every_choice(void **state)
{
	(void)state;
	cpu->choose = answer;
	for (answers = 0; answers < 16; answers++) {
		uint64_t value = 0;

		asked = 0;
		store_on(2, 0, answers);
		assert_int_equal(soft_access(cpu, gpa(0), ACCESS_READ, &value).kind, SOFT_DONE);
		assert_int_equal(value, answers);
		asked = 0;
		assert_int_equal(soft_access(cpu, gpa(0), ACCESS_WRITE, &value).kind, SOFT_DONE);
		assert_in_range(asked, 1, 4);
	}
	cpu->choose = NULL;
}

static void prefetch(void **state)
{
	uint64_t leaf = bits_of(1), violations = atomic_read(&cpu->violations);

	(void)state;
	clear_flags();
	soft_prefetch(cpu, 0);
	for (unsigned level = 1; level <= 4; level++)
		assert_int_equal(bits_of(level) & (SPTE_A | SPTE_D), SPTE_A);
	/* It is cached: the leaf may go, and the page is read all the same. */
	slot_xchg(slot_of(0, 1), spte_empty());
	assert_int_equal(access_page(ACCESS_READ).kind, SOFT_DONE);
	/* Where there is nothing, nothing happens, and nothing is remembered. */
	soft_invept(cpu);
	soft_prefetch(cpu, 0);
	assert_int_equal(atomic_read(&cpu->violations), violations);
	slot_xchg(slot_of(0, 1), (spte_t){ leaf });
	assert_int_equal(access_page(ACCESS_READ).kind, SOFT_DONE);
	put(1, leaf | 1 << 3);
	soft_prefetch(cpu, 0);
	put(1, leaf);
}

/* SDM "Operations that Invalidate Cached Mappings": single context is that of the EPTP. */
static void contexts(void **state)
{
	uint64_t leaf = bits_of(1), own = cpu->eptp;
	pfn_t root;

	(void)state;
	assert_int_equal(folio_alloc_zeroed(arena.host, 0, &root), STATUS_OK);
	assert_int_equal(access_page(ACCESS_READ).kind, SOFT_DONE);
	slot_xchg(slot_of(0, 1), spte_empty());
	cpu->eptp = pfn_to_hpa(root).raw | (own & 0xfff);
	expect_violation(ACCESS_READ, 0);
	soft_invept(cpu);
	cpu->eptp = own;
	assert_int_equal(access_page(ACCESS_READ).kind, SOFT_DONE);
	soft_invept_all(cpu);
	expect_violation(ACCESS_READ, 0);
	slot_xchg(slot_of(0, 1), (spte_t){ leaf });
	folio_put(arena.host, root);
}

static void program(void **state)
{
	struct soft_step steps[] = {
		{ ACCESS_WRITE, 0, 1 }, { ACCESS_READ, 0, 0 },
		{ (enum access)(ACCESS_READ | ACCESS_WRITE), 0, 2 }, { ACCESS_EXEC, 0, 0 },
		{ ACCESS_READ, PAGE_SIZE, 3 }, { ACCESS_WRITE, 0, 4 },
	};

	(void)state;
	port_set_cpu(1);
	assert_int_equal(soft_run(cpu, steps, 6), FAULT_NO_REGION);
	port_set_cpu(0);
	assert_int_equal(steps[1].value, 1);
	assert_int_equal(steps[2].value, 1);
	assert_int_equal(steps[3].value, 2);
	assert_int_equal(load_on(1, 0), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		soft_test(execute_only), soft_test(logged), soft_test(log_full),
		soft_test(log_emptied), soft_test(changed_entry_is_read_again),
		soft_test(clean_write_twin), soft_test(forgets_when_told), soft_test(every_choice),
		soft_test(prefetch), soft_test(contexts), soft_test(program),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
