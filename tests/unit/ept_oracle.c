/*
 * The content oracle: a guest stores at random on three CPUs while its host takes pages back, moves
 * them, swaps them, splits them, and a device writes; who harvests keeps a copy of the memory, up
 * to date by the dirty log alone. After each harvest of a guest that stands still, copy, memory and
 * model are the same, byte for byte, by each policy, kind of log and size of leaves (S64, I6). And
 * no page is reported that was not stored to.
 */
#include "ept/log.h"
#include "tests/unit/disk_fixture.h"
#include "tests/unit/ept_fixture.h"

enum { PAGES = 1024, WORDS = PAGES / 64, STEPS = 1500 };

static uint64_t model[PAGES][8], copy[PAGES][8];	/* eight words of a page */
static bool stored[PAGES];
static uint64_t words[WORDS];
static struct ept_ring *rings[SOFT_CPUS];
static uint64_t random_state;
static uint64_t reported, over, refused;
static bool rings_only;

static uint64_t draw(uint64_t below)
{
	random_state = random_state * 6364136223846793005 + 1442695040888963407;
	return (random_state >> 33) % below;
}

static hva_t host_address(uint64_t page, uint64_t word)
{
	return hva(BACKING + page * PAGE_SIZE + word * 512);
}

static void copy_page(uint64_t page)
{
	for (uint64_t word = 0; word < 8; word++)
		assert_int_equal(space_read(space, host_address(page, word), &copy[page][word], 8),
				 STATUS_OK);
}

/*
 * What the vCPUs' rings list; what they had no room for, and what devices store, is in the bitmap,
 * if there is one.
 */
static void harvest_rings(void)
{
	static gfn_t frames[EPT_RING_LEAST];

	for (unsigned cpu = 1; cpu < SOFT_CPUS && rings[cpu]; cpu++) {
		unsigned count = ept_ring_harvest(rings[cpu], frames, EPT_RING_LEAST);

		for (unsigned i = 0; i < count; i++)
			words[frames[i].raw / 64] |= UINT64_C(1) << frames[i].raw % 64;
		assert_int_equal(ept_ring_reset(ept, rings[cpu]), count);
	}
}

static void harvest_bitmap(void)
{
	memset(words, 0, sizeof(words));
	assert_int_equal(ept_log_get(ept, gfn(0), words),
			 rings_only ? STATUS_UNSUPPORTED : STATUS_OK);
}

static void harvest(void)
{
	harvest_bitmap();
	harvest_rings();
	for (uint64_t page = 0; page < PAGES; page++) {
		if (!(words[page / 64] >> page % 64 & 1)) {
			assert_false(stored[page]);
			continue;
		}
		reported++;
		over += !stored[page];
		stored[page] = false;
		copy_page(page);
	}
}

static void compare(void)
{
	harvest();
	assert_memory_equal(copy, model, sizeof(model));
}

/* ------------------------------------------------------------------ who stores, who takes */

/* It is refused while the ring is full, where nothing else lists it: then after a harvest. */
static void guest_stores(void)
{
	uint64_t page = draw(PAGES), word = draw(8), value = random_state;
	gpa_t address = gpa(page * PAGE_SIZE + word * 512);
	unsigned cpu = 1 + (unsigned)draw(3);

	for (;;) {
		port_set_cpu(cpu);
		enum fault_result result = soft_store(&soft[cpu], address, value);

		port_set_cpu(0);
		if (result == FAULT_FIXED)
			break;
		assert_true(rings_only && result == FAULT_RING_FULL);
		refused++;
		harvest();
	}
	model[page][word] = value;
	stored[page] = true;
}

static void guest_loads(void)
{
	uint64_t page = draw(PAGES), word = draw(8);

	assert_int_equal(load_on(1 + (unsigned)draw(3), page * PAGE_SIZE + word * 512),
			 model[page][word]);
}

/* By rings alone it stores nothing. */
static void device_stores(void)
{
	uint64_t page = draw(PAGES), value = ~random_state;

	all_leave();
	assert_int_equal(ept_write_guest(ept, gpa(page * PAGE_SIZE + 7 * 512), &value, 8),
			 rings_only ? STATUS_UNSUPPORTED : STATUS_OK);
	if (rings_only)
		return;
	model[page][7] = value;
	stored[page] = true;
}

static void host_acts(void)
{
	uint64_t first = draw(PAGES), count = 1 + draw(64), done;

	if (count > PAGES - first)
		count = PAGES - first;
	switch (draw(5)) {
	case 0:
		assert_int_equal(space_invalidate(space, host_address(first, 0), count * PAGE_SIZE),
				 STATUS_OK);
		break;
	case 1:
		assert_int_equal(space_split(space, host_address(first, 0), count * PAGE_SIZE),
				 STATUS_OK);
		assert_int_equal(space_migrate(space, host_address(first, 0), count * PAGE_SIZE,
					       &done),
				 STATUS_OK);
		break;
	case 2:
		assert_int_equal(space_page_out(space, host_address(first, 0), count * PAGE_SIZE,
						&done),
				 STATUS_OK);
		break;
	case 3:
		assert_int_equal(space_cool(space, host_address(first, 0), count * PAGE_SIZE),
				 STATUS_OK);
		break;
	default:
		(void)host_reclaim(arena.host, count);
	}
}

/* By rings alone so seldom that they are full now and then. */
static bool is_time(void) { return !rings_only || !draw(64); }

static void live(void)
{
	for (unsigned step = 0; step < STEPS; step++) {
		switch (draw(16)) {
		case 0: host_acts(); break;
		case 1: device_stores(); break;
		case 2:
			if (is_time())
				harvest();
			break;
		case 3:
			if (is_time())
				compare();
			break;
		case 4 ... 7: guest_loads(); break;
		default: guest_stores(); break;
		}
	}
	compare();
	ept_verify(ept);
}

static void run(enum ept_policy policy, const struct log_options *options, unsigned level,
		bool flags)
{
	pfn_t lists[SOFT_CPUS];

	open_ept(64,
		 (struct ept_caps){ .max_level = LEVEL_2M, .accessed_dirty = flags, .pml = flags });
	for (unsigned cpu = 1; cpu < SOFT_CPUS; cpu++) {
		assert_int_equal(folio_alloc_zeroed(arena.host, ORDER_4K, &lists[cpu]), STATUS_OK);
		soft_give_list(&soft[cpu], lists[cpu]);
	}
	assert_int_equal(host_swap_on(arena.host, disk_open(), DISK_PAGES), STATUS_OK);
	ept_set_policy(ept, policy);
	lend(PAGES * PAGE_SIZE, level);
	memset(model, 0, sizeof(model));
	memset(copy, 0, sizeof(copy));
	memset(stored, 0, sizeof(stored));
	random_state = 1 + policy;
	reported = over = refused = 0;
	rings_only = false;
	for (unsigned i = 0; i < 300; i++)
		guest_stores();
	assert_int_equal(ept_log_enable(ept, gfn(0), options), STATUS_OK);
	rings_only = options->kind == LOG_RING_ONLY;
	for (unsigned cpu = 1; cpu < SOFT_CPUS && log_is_by_rings(options->kind); cpu++) {
		assert_int_equal(ept_ring_create(ept, EPT_RING_LEAST, &rings[cpu]), STATUS_OK);
		port_set_cpu(cpu);
		ept_ring_use(ept, rings[cpu]);
		port_set_cpu(0);
	}
	memset(stored, 0, sizeof(stored));
	for (uint64_t page = 0; page < PAGES; page++)
		copy_page(page);
	live();
	print_message("# policy %u, log %u, leaves %u, flags %u: %lu pages reported, "
		      "%lu not stored to, %lu stores refused\n",
		      policy, options->kind, level, flags, reported, over, refused);
	assert_int_equal(over, 0);
	assert_int_equal(refused != 0, rings_only);
	all_leave();
	assert_int_equal(ept_log_disable(ept, gfn(0)), STATUS_OK);
	ept_verify(ept);
	for (unsigned cpu = 1; cpu < SOFT_CPUS && rings[cpu]; cpu++) {
		ept_ring_destroy(ept, rings[cpu]);
		rings[cpu] = NULL;
	}
	for (unsigned cpu = 1; cpu < SOFT_CPUS; cpu++)
		folio_put(arena.host, lists[cpu]);
	ept_destroy(ept);
	space_destroy(space);
	assert_int_equal(host_swap_off(arena.host), STATUS_OK);
	arena_close(&arena);
}

static void each(const struct log_options *options)
{
	for (enum ept_policy policy = 0; policy < EPT_POLICIES; policy++)
		for (unsigned level = LEVEL_4K; level <= LEVEL_2M; level++)
			for (unsigned flags = log_is_by_processor(options->kind); flags < 2;
			     flags++)
				run(policy, options, level, flags);
}

static void s64_by_write_protection(void **state)
{
	(void)state;
	each(&(struct log_options){ .kind = LOG_WRITE_PROTECT });
}

static void s64_by_write_protection_lazily(void **state)
{
	(void)state;
	each(&(struct log_options){ .kind = LOG_WRITE_PROTECT, .lazy = true });
}

static void s64_by_dirty_bits(void **state)
{
	(void)state;
	each(&(struct log_options){ .kind = LOG_DIRTY_BIT });
}

static void s64_by_rings(void **state)
{
	(void)state;
	each(&(struct log_options){ .kind = LOG_RING });
}

static void s64_by_rings_only(void **state)
{
	(void)state;
	each(&(struct log_options){ .kind = LOG_RING_ONLY });
	each(&(struct log_options){ .kind = LOG_RING_ONLY, .lazy = true });
}

static void s64_by_pml(void **state)
{
	(void)state;
	each(&(struct log_options){ .kind = LOG_PML });
	each(&(struct log_options){ .kind = LOG_PML, .lazy = true });
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(s64_by_write_protection),
		cmocka_unit_test(s64_by_write_protection_lazily),
		cmocka_unit_test(s64_by_dirty_bits), cmocka_unit_test(s64_by_rings),
		cmocka_unit_test(s64_by_rings_only), cmocka_unit_test(s64_by_pml),
	};

	return cmocka_run_group_tests_name("ept/oracle", tests, NULL, NULL);
}
