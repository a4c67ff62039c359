/* Regions: what may be one, finding, removing, guest memory for devices. */
#include "ept/age.h"
#include "ept/leave.h"
#include "tests/unit/ept_fixture.h"

#define HOST_PAGES   (SPACE_END >> PAGE_SHIFT)

static void bad_input(void **state)
{
	static const struct {
		uint64_t start, pages, backing;
		unsigned level;
		enum status status;
	} cases[] = {
		{ 0, 0, BACKING, 1, STATUS_BAD_RANGE },
		{ 0, UINT64_MAX, BACKING, 1, STATUS_BAD_RANGE },
		{ UINT64_MAX, 1, BACKING, 1, STATUS_BAD_RANGE },
		{ UINT64_MAX, 2, BACKING, 1, STATUS_BAD_RANGE },
		{ GUEST_FRAMES, 1, BACKING, 1, STATUS_BAD_RANGE },
		{ GUEST_FRAMES - 1, 2, BACKING, 1, STATUS_BAD_RANGE },
		{ 1, GUEST_FRAMES, 0, 1, STATUS_BAD_RANGE },
		{ 100, 1, BACKING + 1, 1, STATUS_BAD_RANGE },
		{ 100, 1, BACKING + 0x800, 1, STATUS_BAD_RANGE },
		{ 100, 1, SPACE_END, 1, STATUS_BAD_RANGE },
		{ 100, 2, SPACE_END - PAGE_SIZE, 1, STATUS_BAD_RANGE },
		{ 100, 1, UINT64_MAX & PAGE_MASK, 1, STATUS_BAD_RANGE },
		{ 100, 2, UINT64_MAX & PAGE_MASK, 1, STATUS_BAD_RANGE },
		{ 100, HOST_PAGES + 1, 0, 1, STATUS_BAD_RANGE },
		{ 100, 1, BACKING, 0, STATUS_BAD_RANGE },
		{ 100, 1, BACKING, 4, STATUS_BAD_RANGE },
		{ 10, 1, BACKING, 1, STATUS_EXISTS },
		{ 13, 1, BACKING, 1, STATUS_EXISTS },
		{ 9, 2, BACKING, 1, STATUS_EXISTS },
		{ 12, 10, BACKING, 1, STATUS_EXISTS },
		{ 0, 100, BACKING, 1, STATUS_EXISTS },
		{ 14, 1, BACKING, 1, STATUS_OK },
		{ 9, 1, BACKING, 3, STATUS_OK },
		{ 0, 9, BACKING, 2, STATUS_OK },
		{ GUEST_FRAMES - 1, 1, SPACE_END - PAGE_SIZE, 1, STATUS_OK },
	};

	(void)state;
	add_region(10, 4, BACKING, LEVEL_4K);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct region region = { gfn(cases[i].start), cases[i].pages, hva(cases[i].backing),
					 REGION_READ_WRITE, cases[i].level };

		assert_int_equal(ept_region_add(ept, &region), cases[i].status);
	}
	for (uint64_t i = 0; i < ept->region_count; i++)
		assert_true(!i || ept->regions[i - 1].start.raw < ept->regions[i].start.raw);
	assert_int_equal(ept->region_count, 5);
}

static void limit(void **state)
{
	struct region region = { gfn(1000), 1, hva(BACKING), REGION_READ_ONLY, LEVEL_4K };

	(void)state;
	for (uint64_t i = REGIONS_MAX; i--;)
		add_region(2 * i, 1, BACKING, LEVEL_4K);
	assert_int_equal(ept_region_add(ept, &region), STATUS_LIMIT);
	assert_int_equal(ept_region_remove(ept, gfn(6)), STATUS_OK);
	assert_int_equal(ept_region_add(ept, &region), STATUS_OK);
	for (uint64_t frame = 0; frame < 2 * REGIONS_MAX + 2; frame++)
		assert_int_equal(ept_region_find(ept, gfn(frame), &region),
				 frame & 1 || frame == 6 || frame >= 2 * REGIONS_MAX
					 ? STATUS_NOT_FOUND : STATUS_OK);
}

static void find(void **state)
{
	struct region found;

	(void)state;
	add_region(10, 4, BACKING, LEVEL_4K);
	add_region(20, 1, BACKING + 16 * PAGE_SIZE, LEVEL_2M);
	assert_int_equal(ept_region_find(ept, gfn(9), &found), STATUS_NOT_FOUND);
	assert_int_equal(ept_region_find(ept, gfn(14), &found), STATUS_NOT_FOUND);
	assert_int_equal(ept_region_find(ept, gfn(21), &found), STATUS_NOT_FOUND);
	assert_int_equal(ept_region_find(ept, gfn(UINT64_MAX), &found), STATUS_NOT_FOUND);
	assert_int_equal(ept_region_find(ept, gfn(13), &found), STATUS_OK);
	assert_int_equal(found.start.raw, 10);
	assert_int_equal(found.pages, 4);
	assert_int_equal(ept_region_find(ept, gfn(20), &found), STATUS_OK);
	assert_int_equal(found.backing.raw, BACKING + 16 * PAGE_SIZE);
	assert_int_equal(found.max_level, LEVEL_2M);
}

/* ------------------------------------------------------------------ where the last fault was */

static uint64_t mapped_frame(uint64_t page) { return spte_frame(leaf(page * PAGE_SIZE)).raw; }

/* Two regions with a gap, each backed by what the other's skew would not lead to. */
static void open_two(void)
{
	map_host(BACKING, 32 * PAGE_SIZE, LEVEL_4K);
	add_region(0, 4, BACKING, LEVEL_4K);
	add_region(8, 4, BACKING + 20 * PAGE_SIZE, LEVEL_4K);
}

/* What a CPU remembers is the region of its last fault, and judged by the frame of this one. */
static void remembered_and_judged(void **state)
{
	(void)state;
	open_two();
	assert_int_equal(fault(0, ACCESS_WRITE), FAULT_FIXED);
	assert_int_equal(fault(8 * PAGE_SIZE, ACCESS_WRITE), FAULT_FIXED);
	assert_int_equal(fault(3 * PAGE_SIZE, ACCESS_WRITE), FAULT_FIXED);
	assert_int_equal(fault(4 * PAGE_SIZE, ACCESS_WRITE), FAULT_NO_REGION);
	assert_int_equal(mapped_frame(8), host_frame(BACKING + 20 * PAGE_SIZE).raw);
	assert_int_equal(mapped_frame(3), host_frame(BACKING + 3 * PAGE_SIZE).raw);
}

/* What stands behind the array's end is no region, though it once was this one. */
static void remembered_and_gone(void **state)
{
	(void)state;
	open_two();
	assert_int_equal(fault(8 * PAGE_SIZE, ACCESS_WRITE), FAULT_FIXED);
	assert_int_equal(ept_region_remove(ept, gfn(8)), STATUS_OK);
	assert_int_equal(fault(8 * PAGE_SIZE, ACCESS_WRITE), FAULT_NO_REGION);
	assert_int_equal(level_at(8 * PAGE_SIZE), 0);
}

/* It has another place in the array by now. */
static void remembered_and_moved(void **state)
{
	(void)state;
	open_two();
	assert_int_equal(fault(8 * PAGE_SIZE, ACCESS_WRITE), FAULT_FIXED);
	assert_int_equal(ept_region_remove(ept, gfn(0)), STATUS_OK);
	assert_int_equal(fault(9 * PAGE_SIZE, ACCESS_WRITE), FAULT_FIXED);
	assert_int_equal(fault(0, ACCESS_WRITE), FAULT_NO_REGION);
	assert_int_equal(mapped_frame(9), host_frame(BACKING + 21 * PAGE_SIZE).raw);
}

/* ------------------------------------------------------------------ one that goes */

/* Its leaves go, its neighbours' stay; tables that had nothing else are freed. */
static void remove_unmaps(void **state)
{
	(void)state;
	map_host(BACKING, 8 * MIB, LEVEL_4K);
	add_region(0, 1024, BACKING, LEVEL_4K);			/* 0 .. 4 MiB */
	add_region(1024, 513, BACKING + 4 * MIB, LEVEL_4K);	/* 4 MiB .. 6 MiB + 4 KiB */
	for (uint64_t at = 0; at < 6 * MIB; at += 256 * PAGE_SIZE)
		store_on(1, at, at + 1);
	store_on(1, 6 * MIB, 1);
	assert_int_equal(stats()->tables_allocated, 6);
	all_leave();

	assert_int_equal(ept_region_remove(ept, gfn(1)), STATUS_NOT_FOUND);
	assert_int_equal(ept_region_remove(ept, gfn(1024)), STATUS_OK);
	assert_int_equal(stats()->zapped[0], 3);
	assert_int_equal(stats()->tables_freed, 1);
	assert_int_equal(stats()->flushes, 1);
	assert_int_equal(level_at(4 * MIB), 0);
	assert_int_equal(level_at(6 * MIB), 0);
	assert_int_equal(level_at(2 * MIB), LEVEL_4K);
	assert_int_equal(fault(4 * MIB, ACCESS_READ), FAULT_NO_REGION);
	ept_verify(ept);
	assert_int_equal(ept_region_remove(ept, gfn(0)), STATUS_OK);
	assert_int_equal(stats()->tables_freed, 3);
	/* Nothing was mapped in it: no flush. */
	add_region(4096, 16, BACKING, LEVEL_4K);
	assert_int_equal(ept_region_remove(ept, gfn(4096)), STATUS_OK);
	assert_int_equal(stats()->flushes, 2);
}

/* ------------------------------------------------------------------ out of use, then apart */

static struct { unsigned kicks; pfn_t table; } midway;

/* Between the detaching and the shootdown: ept->lock is held. */
static void look_midway(unsigned cpu) NOT_CHECKED
{
	spte_t top = slot_read(slot_of(2 * MIB, LEVEL_2M));

	(void)cpu;
	midway.kicks++;
	check(spte_is_dead(top) && !(top.bits & SPTE_RIGHTS));
	check(spte_dead_table(top).raw == midway.table.raw);
	/* A processor that still walks there finds what it did: its D is not lost (U12). */
	check(spte_dirty(slot_read(&table_slots(midway.table)[1])));
	check(atomic_read(&ept->leaving_count) == 1 && !ept->region_count &&
	      leave_holds(ept, gfn(512)));
	check(!stats()->zapped[0]);
}

static void u28_one_flush_then_apart(void **state)
{
	(void)state;
	lend(4 * MIB, LEVEL_4K);
	store_on(1, 2 * MIB + PAGE_SIZE, 1);
	store_on(2, PAGE_SIZE, 1);
	midway.table = spte_frame(slot_read(slot_of(2 * MIB, LEVEL_2M)));
	midway.kicks = 0;
	at_kick = look_midway;
	assert_int_equal(ept_region_remove(ept, gfn(0)), STATUS_OK);
	at_kick = NULL;
	assert_int_equal(midway.kicks, 2);
	assert_int_equal(stats()->flushes, 1);
	assert_int_equal(stats()->zapped[0], 2);
	assert_int_equal(stats()->tables_freed, 2);
	assert_int_equal(atomic_read(&ept->leaving_count), 0);
	assert_int_equal(slot_read(slot_of(2 * MIB, LEVEL_2M)).bits, 0);
}

/* Tables of each level, dead with all that is below, and leaves of each size. */
static void u28_every_level(void **state)
{
	static const struct { uint64_t start, bytes; unsigned level, tables; } cases[] = {
		{ 0, GIB, LEVEL_4K, 2 }, { 0, GIB, LEVEL_2M, 1 },
		{ 2 * MIB, GIB, LEVEL_2M, 0 }, { 512 * GIB, 512 * GIB, LEVEL_2M, 3 },
		{ 511 * GIB, 2 * GIB, LEVEL_4K, 4 }, { 0, 6 * MIB + PAGE_SIZE, LEVEL_4K, 2 },
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		uint64_t start = cases[i].start, bytes = cases[i].bytes, leaves = 0;

		open_ept(64, (struct ept_caps){ .max_level = LEVEL_1G, .accessed_dirty = true });
		map_host(BACKING, bytes, cases[i].level);
		add_region(start >> PAGE_SHIFT, bytes >> PAGE_SHIFT, BACKING, cases[i].level);
		/* The first page, the last, and one in the middle. */
		for (uint64_t at = 0; at <= bytes - PAGE_SIZE;
		     at += (bytes - PAGE_SIZE) / 2 & PAGE_MASK) {
			assert_int_equal(fault(start + at, ACCESS_WRITE), FAULT_FIXED);
			leaves++;
		}
		uint64_t tables = stats()->tables_allocated;

		assert_int_equal(ept_region_remove(ept, gfn(start >> PAGE_SHIFT)), STATUS_OK);
		assert_int_equal(stats()->zapped[cases[i].level - 1], leaves);
		assert_int_equal(stats()->flushes, 1);
		assert_true(stats()->tables_freed >= cases[i].tables &&
			    stats()->tables_freed <= tables);
		assert_int_equal(level_at(start), 0);
		close_ept(NULL);
	}
}

/* The host asks in a bracket; what only a leaf out of use knows it must have been told (I4). */
static void bracket_midway(unsigned cpu) NOT_CHECKED
{
	const struct mm_range range = { .start = hva(BACKING + 2 * MIB), .event = EVENT_CLEAR,
					.end = hva(BACKING + 2 * MIB + PAGE_SIZE) };

	(void)cpu;
	midway.kicks++;
	leave_tell(ept, range.start, range.end);
	check(folio_dirty(arena.host, host_frame(BACKING + 2 * MIB)));
	check(!folio_dirty(arena.host, host_frame(BACKING)));
	check(!slot_read(slot_of(2 * MIB, LEVEL_2M)).bits);
	check(spte_is_dead(slot_read(slot_of(0, LEVEL_2M))));
	/* Twice is as good as once. */
	leave_tell(ept, range.start, range.end);
}

static void i4_told_while_a_region_leaves(void **state)
{
	(void)state;
	for (enum ept_policy policy = EPT_POLICY_ZAP; policy <= EPT_POLICY_BATCH; policy++) {
		if (policy == EPT_POLICY_RFC)
			continue;
		open_small(NULL);
		ept_set_policy(ept, policy);
		lend(4 * MIB, LEVEL_4K);
		store_on(1, 2 * MIB, 1);
		store_on(1, 0, 1);
		midway.kicks = 0;
		at_kick = bracket_midway;
		assert_int_equal(ept_region_remove(ept, gfn(0)), STATUS_OK);
		at_kick = NULL;
		assert_int_equal(midway.kicks, 1);
		assert_true(folio_dirty(arena.host, host_frame(BACKING)));
		assert_int_equal(stats()->zapped[0], 2);
		close_ept(NULL);
	}
}

/* U10: whoever meets a frozen entry goes away, and comes again. */
static void u10_faults_leave_frozen_entries(void **state) NOT_CHECKED
{
	(void)state;
	lend(2 * MIB, LEVEL_4K);
	for (unsigned level = LEVEL_4K; level <= LEVEL_1G; level++) {
		store_on(1, 0, 1);
		all_leave();
		spte_slot_t *slot = slot_of(0, level);
		spte_t old = slot_freeze(slot);
		uint64_t mapped = stats()->mapped[0];

		/* A table is dead before its slot is frozen, and that has been shot down. */
		atomic_add(&ept->notice.generation, 1);
		assert_true(spte_is_frozen(slot_read(slot)) && !spte_present(spte_frozen()));
		assert_int_equal(spte_frozen().bits & (SPTE_RIGHTS | SPTE_FRAME), 0);
		for (unsigned access = ACCESS_READ; access <= ACCESS_WRITE; access++) {
			assert_int_equal(fault(0, access), FAULT_RETRY);
			assert_true(spte_is_frozen(slot_read(slot)));
		}
		assert_int_equal(stats()->mapped[0], mapped);
		/* Aging and a bracket have no business there either. */
		assert_false(ept_clear_young(ept, hva(BACKING), hva(BACKING + PAGE_SIZE)));
		assert_true(spte_is_frozen(slot_read(slot)));
		assert_true(panics(ept_verify(ept), "frozen, and nobody is at it"));
		write_unlock(&ept->lock);
		slot_thaw(slot, old);
		assert_int_equal(fault(0, ACCESS_READ), FAULT_SPURIOUS);
	}
}

/* U13: found frozen, it is waited for; here the other CPU is done when this one looks again. */
static spte_slot_t *frozen_slot;
static unsigned looks;

static void thaw_it(void)
{
	looks++;
	if (spte_is_frozen(slot_read(frozen_slot)))
		slot_thaw(frozen_slot, spte_empty());
}

static void u13_a_frozen_entry_is_waited_for(void **state)
{
	(void)state;
	lend(2 * MIB, LEVEL_4K);
	store_on(1, 0, 1);
	all_leave();
	frozen_slot = slot_of(0, LEVEL_4K);
	looks = 0;
	assert_true(spte_is_leaf(slot_freeze(frozen_slot)));
	port_look_hook(thaw_it);
	assert_int_equal(slot_freeze(frozen_slot).bits, 0);
	port_look_hook(NULL);
	assert_int_equal(looks, 1);
	slot_thaw(frozen_slot, spte_empty());
	/* The leaf went without a word. */
	atomic_bump(&ept->cpus[0].counts[COUNT_ZAPPED_4K], 1);
}

/* Its place is taken, and faults there wait, until it is gone. */
static void u23_the_place_of_one_that_leaves(void **state)
{
	struct region region = { gfn(8), 8, hva(BACKING), REGION_READ_WRITE, LEVEL_4K };

	(void)state;
	map_host(BACKING, MIB, LEVEL_4K);
	ept->leaving[0] = region;
	atomic_write(&ept->leaving_count, 1);
	assert_int_equal(fault(7 * PAGE_SIZE, ACCESS_READ), FAULT_NO_REGION);
	assert_int_equal(fault(8 * PAGE_SIZE, ACCESS_READ), FAULT_RETRY);
	assert_int_equal(fault(15 * PAGE_SIZE, ACCESS_READ), FAULT_RETRY);
	assert_int_equal(fault(16 * PAGE_SIZE, ACCESS_READ), FAULT_NO_REGION);
	for (uint64_t start = 1; start < 16; start++) {
		region.start = gfn(start);
		assert_int_equal(ept_region_add(ept, &region), STATUS_EXISTS);
	}
	for (uint64_t i = 1; i < REGIONS_MAX; i++)
		add_region(8 + 8 * i, 8, BACKING, LEVEL_4K);
	region.start = gfn(0);
	assert_int_equal(ept_region_add(ept, &region), STATUS_LIMIT);
	atomic_write(&ept->leaving_count, 0);
	assert_int_equal(ept_region_add(ept, &region), STATUS_OK);
}

static void close_open_bracket(void)
{
	looks++;
	if (atomic_read(&ept->brackets))
		notify_end(ept);
}

static void u23_waits_until_no_bracket_is_open(void **state)
{
	const struct mm_range range = { .start = hva(0), .end = hva(PAGE_SIZE) };

	(void)state;
	lend(PAGE_SIZE, LEVEL_4K);
	for (unsigned i = 0; i < 3; i++) {
		looks = 0;
		notify_start(ept, &range);
		port_look_hook(close_open_bracket);
		assert_int_equal(i == 0 ? ept_region_set_rights(ept, gfn(0), REGION_READ_ONLY)
				 : i == 1 ? ept_region_move(ept, gfn(0), gfn(2))
					  : ept_region_remove(ept, gfn(2)), STATUS_OK);
		port_look_hook(NULL);
		assert_int_equal(looks, 1);
	}
}

/* ------------------------------------------------------------------ elsewhere, and other rights */

static void move_maps_anew(void **state)
{
	(void)state;
	lend(4 * MIB, LEVEL_4K);
	store_on(1, 2 * MIB + 8, 77);
	assert_int_equal(ept_region_move(ept, gfn(0), gfn(4096)), STATUS_OK);
	assert_int_equal(stats()->zapped[0], 1);
	assert_int_equal(stats()->flushes, 1);
	assert_int_equal(fault(2 * MIB, ACCESS_READ), FAULT_NO_REGION);
	assert_int_equal(load_on(1, 18 * MIB + 8), 77);
	all_leave();
	ept_verify(ept);
	/* By less than its length, and back. */
	assert_int_equal(ept_region_move(ept, gfn(4096), gfn(4097)), STATUS_OK);
	assert_int_equal(load_on(1, 18 * MIB + PAGE_SIZE + 8), 77);
	all_leave();
	assert_int_equal(ept_region_move(ept, gfn(4097), gfn(0)), STATUS_OK);
	assert_int_equal(load_on(1, 2 * MIB + 8), 77);
}

static void move_stays_where_it_must(void **state)
{
	const struct log_options log = { .kind = LOG_WRITE_PROTECT };
	struct region found;

	(void)state;
	lend(2 * MIB, LEVEL_4K);
	map_host(BACKING + GIB, PAGE_SIZE, LEVEL_4K);
	add_region(1024, 1, BACKING + GIB, LEVEL_4K);
	store_on(1, 8, 77);
	all_leave();
	assert_int_equal(ept_region_move(ept, gfn(1), gfn(2048)), STATUS_NOT_FOUND);
	assert_int_equal(ept_region_move(ept, gfn(0), gfn(1000)), STATUS_EXISTS);
	assert_int_equal(ept_region_move(ept, gfn(0), gfn(GUEST_FRAMES - 511)), STATUS_BAD_RANGE);
	assert_int_equal(ept_region_find(ept, gfn(511), &found), STATUS_OK);
	assert_int_equal(load_on(1, 8), 77);
	all_leave();
	assert_int_equal(ept_log_enable(ept, gfn(0), &log), STATUS_OK);
	assert_int_equal(ept_region_move(ept, gfn(0), gfn(2048)), STATUS_EXISTS);
	assert_int_equal(level_at(0), LEVEL_4K);
	assert_int_equal(ept_log_disable(ept, gfn(0)), STATUS_OK);
	assert_int_equal(ept_region_move(ept, gfn(0), gfn(2048)), STATUS_OK);
}

static void rights_go_and_come(void **state)
{
	unsigned level;

	(void)state;
	lend(2 * PAGE_SIZE, LEVEL_4K);
	store_on(1, 8, 77);
	assert_int_equal(ept_region_set_rights(ept, gfn(1), REGION_READ_ONLY), STATUS_NOT_FOUND);
	assert_int_equal(ept_region_set_rights(ept, gfn(0), REGION_READ_ONLY), STATUS_OK);
	assert_int_equal(kicked[1], 1);
	assert_int_equal(stats()->flushes, 1);
	assert_int_equal(leaf_at(0, &level).bits & SPTE_WRITE_BITS, 0);
	assert_int_equal(load_on(1, 8), 77);
	assert_int_equal(stats()->zapped[0], 0);
	all_leave();
	ept_verify(ept);
	assert_int_equal(fault(8, ACCESS_WRITE), FAULT_READ_ONLY);
	assert_int_equal(ept_region_set_rights(ept, gfn(0), REGION_READ_WRITE), STATUS_OK);
	assert_int_equal(stats()->flushes, 1);
	store_on(1, 8, 78);
	assert_int_equal(stats()->made_writable, 1);
	/* The CPU that was refused hears of it, too. */
	assert_int_equal(fault(PAGE_SIZE, ACCESS_WRITE), FAULT_FIXED);
}

static void devices(void **state)
{
	static char wrote[3 * PAGE_SIZE], read[3 * PAGE_SIZE];
	struct region rom = { gfn(8), 1, hva(BACKING + 8 * PAGE_SIZE), REGION_READ_ONLY, LEVEL_4K };

	(void)state;
	for (unsigned i = 0; i < sizeof(wrote); i++)
		wrote[i] = (char)(i * 7 + i / 256);
	map_host(BACKING, 16 * PAGE_SIZE, LEVEL_4K);
	/* Guest frames 2..7, backed in two parts, the second before the first. */
	add_region(2, 3, BACKING + 3 * PAGE_SIZE, LEVEL_4K);
	add_region(5, 3, BACKING, LEVEL_4K);
	assert_int_equal(ept_region_add(ept, &rom), STATUS_OK);

	assert_int_equal(ept_write_guest(ept, gpa(3 * PAGE_SIZE + 77), wrote, sizeof(wrote)),
			 STATUS_OK);
	assert_int_equal(ept_read_guest(ept, gpa(3 * PAGE_SIZE + 77), read, sizeof(read)),
			 STATUS_OK);
	assert_memory_equal(wrote, read, sizeof(read));
	assert_int_equal(space_read(space, hva(BACKING), read, 8), STATUS_OK);
	assert_memory_equal(read, wrote + 2 * PAGE_SIZE - 77, 8);
	assert_int_equal(ept_read_guest(ept, gpa(0), read, 0), STATUS_OK);

	assert_int_equal(ept_read_guest(ept, gpa(2 * PAGE_SIZE - 1), read, 2), STATUS_NOT_FOUND);
	assert_int_equal(ept_write_guest(ept, gpa(UINT64_MAX), wrote, 8), STATUS_NOT_FOUND);
	assert_int_equal(ept_read_guest(ept, gpa(8 * PAGE_SIZE), read, PAGE_SIZE), STATUS_OK);
	assert_int_equal(ept_read_guest(ept, gpa(9 * PAGE_SIZE - 1), read, 2), STATUS_NOT_FOUND);
	assert_int_equal(ept_write_guest(ept, gpa(8 * PAGE_SIZE), wrote, 1), STATUS_NO_ACCESS);
	assert_int_equal(space_unmap(space, hva(BACKING), PAGE_SIZE), STATUS_OK);
	assert_int_equal(ept_read_guest(ept, gpa(5 * PAGE_SIZE), read, 1), STATUS_NOT_FOUND);
}

/* A device and the guest see one memory. */
static void devices_and_guest(void **state)
{
	uint64_t value = 0;

	(void)state;
	lend(PAGE_SIZE, LEVEL_4K);
	store_on(1, 0x18, 0x1122334455667788);
	all_leave();
	assert_int_equal(ept_read_guest(ept, gpa(0x18), &value, 8), STATUS_OK);
	assert_int_equal(value, 0x1122334455667788);
	value = 99;
	assert_int_equal(ept_write_guest(ept, gpa(0x18), &value, 8), STATUS_OK);
	assert_int_equal(load_on(1, 0x18), 99);
}

#define ept_test(name) cmocka_unit_test_setup_teardown(name, open_small, close_ept)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ept_test(bad_input), ept_test(limit), ept_test(find),
		ept_test(remembered_and_judged), ept_test(remembered_and_gone),
		ept_test(remembered_and_moved), ept_test(remove_unmaps),
		ept_test(u28_one_flush_then_apart), cmocka_unit_test(u28_every_level),
		cmocka_unit_test(i4_told_while_a_region_leaves),
		ept_test(u10_faults_leave_frozen_entries),
		ept_test(u13_a_frozen_entry_is_waited_for),
		ept_test(u23_the_place_of_one_that_leaves),
		ept_test(u23_waits_until_no_bracket_is_open),
		ept_test(move_maps_anew), ept_test(move_stays_where_it_must),
		ept_test(rights_go_and_come),
		ept_test(devices), ept_test(devices_and_guest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
