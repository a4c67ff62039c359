/*
 * Real concurrency: three soft CPUs run guest programs while two host threads move, discard,
 * protect, unmap and invalidate their memory and a region comes and goes. Each guest owns a word in
 * every page, so what it loads is what it stored, or nothing where content may be lost. A broken
 * twin, whose soft CPUs leave out INVEPT, must be caught by the same oracle.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/ept_fixture.h"

enum { GUESTS = 3, HOSTS = 2, FIRST_HOST_CPU = 8 };
enum { KEPT = 64, LOST = 64, LARGE = 512, PAGES = KEPT + LOST + LARGE };
enum { ROUNDS = 3000, QUICK_ROUNDS = 300 };	/* QUICK is set by `make check` */

#define FLICKER_AT (UINT64_C(1) << 32)	/* guest address of a region that comes and goes */

struct guest {
	pthread_t thread;
	unsigned number;
	uint64_t random, wrong, refused, fixed;
	uint64_t stored[PAGES];
};

static struct guest guests[GUESTS];
static atomic32_t hosts_busy;
static atomic64_t failed, arrived;

static uint64_t pick(uint64_t *state, uint64_t below)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return (*state >> 11) % below;
}

/* ------------------------------------------------------------------ guests */

/* Small pages from 0; the large leaf from 2 MiB. */
static gpa_t address_of(const struct guest *guest, uint64_t page)
{
	uint64_t at = page < KEPT + LOST ? page * PAGE_SIZE
					 : 2 * MIB + (page - KEPT - LOST) * PAGE_SIZE;

	return gpa(at + guest->number * 8);
}

static void compare(struct guest *guest, uint64_t page, uint64_t value)
{
	if (value == guest->stored[page])
		return;
	guest->wrong++;
	if (soft[guest->number].broken)
		_exit(1);
}

static void guest_load(struct guest *guest, struct soft_cpu *cpu, uint64_t page, bool fetch)
{
	bool may_be_lost = page >= KEPT && page < KEPT + LOST;
	uint64_t value = 0;
	gpa_t address = address_of(guest, page);
	enum fault_result result = fetch ? soft_fetch(cpu, address, &value)
					 : soft_load(cpu, address, &value);

	if (result != FAULT_FIXED) {
		guest->refused++;
		return;
	}
	guest->fixed++;
	if (!value && may_be_lost)
		guest->stored[page] = 0;
	compare(guest, page, value);
}

static void guest_store(struct guest *guest, struct soft_cpu *cpu, uint64_t page, uint64_t value)
{
	if (soft_store(cpu, address_of(guest, page), value) == FAULT_FIXED)
		guest->stored[page] = value;
	else
		guest->refused++;
}

/* The other window on the kept pages: there or not, never something else. */
static void guest_flicker(struct guest *guest, struct soft_cpu *cpu, uint64_t page)
{
	uint64_t value = 0;

	if (soft_load(cpu, gpa(FLICKER_AT + address_of(guest, page).raw), &value) == FAULT_FIXED)
		compare(guest, page, value);
}

static void *guest_thread(void *argument)
{
	struct guest *guest = argument;
	struct soft_cpu *cpu = &soft[guest->number];

	port_set_cpu(guest->number);
	for (uint64_t i = 1; atomic_read(&hosts_busy); i++) {
		uint64_t kind = pick(&guest->random, 16), page = pick(&guest->random, PAGES);

		if (kind < 8)
			guest_store(guest, cpu, page,
				    (uint64_t)guest->number << 56 | page << 40 | i);
		else if (kind < 14)
			guest_load(guest, cpu, page, kind & 1);
		else if (kind < 15)
			guest_flicker(guest, cpu, page % KEPT);
		else
			soft_leave(cpu);
	}
	soft_leave(cpu);
	return NULL;
}

/* ------------------------------------------------------------------ the host */

static void must(enum status status)
{
	if (status != STATUS_OK)
		atomic_add(&failed, 1);
}

/* The large leaf turns into small ones or back; faults find tables, or none, in their way. */
static void flip_level(void)
{
	write_lock(&ept->lock);
	ept->regions[1].max_level ^= LEVEL_4K ^ LEVEL_2M;
	atomic_add(&ept->sequence, 1);
	flush_settle(ept, ept_zap_range(ept, gfn(512), 512, ZAP_LEAVES, flush_nothing()));
	write_unlock(&ept->lock);
}

static void take_and_give(uint64_t *random)
{
	uint64_t page = pick(random, KEPT), count = 1 + pick(random, KEPT - page), moved;
	hva_t kept = hva(BACKING + page * PAGE_SIZE), lost = hva_add(kept, KEPT * PAGE_SIZE);
	uint64_t bytes = count * PAGE_SIZE;

	switch (pick(random, 7)) {
	case 0:
		must(space_migrate(space, kept, bytes, &moved));
		break;
	case 1:
		must(space_protect(space, kept, bytes, PROTECTION_READ));
		must(space_protect(space, kept, bytes, PROTECTION_READ_WRITE));
		break;
	case 2:
		must(space_discard(space, lost, bytes));
		break;
	case 3:
		must(space_invalidate(space, kept, bytes));
		break;
	case 4:
		must(space_invalidate(space, hva(BACKING + 2 * MIB + page * PAGE_SIZE), bytes));
		break;
	case 5:
		flip_level();
		break;
	default:
		must(space_migrate(space, lost, bytes, &moved));
		break;
	}
}

/* What only one thread may do: it must find things as it left them. */
static void unmap_and_map(uint64_t *random)
{
	hva_t lost = hva(BACKING + (KEPT + pick(random, LOST)) * PAGE_SIZE);
	struct region window = { gfn(FLICKER_AT >> PAGE_SHIFT), KEPT, hva(BACKING),
				 REGION_READ_ONLY, LEVEL_4K };

	must(space_unmap(space, lost, PAGE_SIZE));
	must(space_map(space, lost, PAGE_SIZE, PROTECTION_READ_WRITE, LEVEL_4K));
	must(ept_region_add(ept, &window));
	ept_verify(ept);
	must(ept_region_remove(ept, window.start));
}

/* On a busy machine the threads take turns: the host goes on until it has met guests inside. */
static bool is_enough(void)
{
	struct ept_stats now;

	ept_read_stats(ept, &now);
	return now.flushes > 1000 && now.kicks > 100 && now.mapped[1] > 10;
}

static unsigned rounds = ROUNDS;

static void *host_thread(void *argument)
{
	unsigned number = *(unsigned *)argument;
	uint64_t random = 77 + number;

	port_set_cpu(FIRST_HOST_CPU + number);
	for (unsigned i = 0; i < rounds || !is_enough(); i++) {
		take_and_give(&random);
		if (!number)
			unmap_and_map(&random);
	}
	atomic_sub(&hosts_busy, 1);
	return NULL;
}

/* ------------------------------------------------------------------ the run */

static void open_guests(bool deaf, unsigned block)
{
	open_ept(64, (struct ept_caps){ .max_level = LEVEL_2M, .accessed_dirty = true });
	ept_set_prefetch(ept, block);
	kick_hook(NULL);
	map_host(BACKING, (KEPT + LOST) * PAGE_SIZE, LEVEL_4K);
	map_host(BACKING + 2 * MIB, 2 * MIB, LEVEL_2M);
	add_region(0, KEPT + LOST, BACKING, LEVEL_4K);
	add_region(512, 512, BACKING + 2 * MIB, LEVEL_2M);
	memset(guests, 0, sizeof(guests));
	for (unsigned i = 0; i < GUESTS; i++) {
		guests[i].number = i + 1;
		guests[i].random = 12345 + i;
		soft[i + 1].broken = deaf ? SOFT_TWIN_DEAF : 0;
		kick_attach(i + 1, &soft[i + 1]);
	}
}

static uint64_t run_guests(void)
{
	pthread_t hosts[HOSTS];
	unsigned numbers[HOSTS];
	uint64_t wrong = 0;

	atomic_write(&hosts_busy, HOSTS);
	atomic_write(&failed, 0);
	for (unsigned i = 0; i < GUESTS; i++)
		pthread_create(&guests[i].thread, NULL, guest_thread, &guests[i]);
	for (unsigned i = 0; i < HOSTS; i++) {
		numbers[i] = i;
		pthread_create(&hosts[i], NULL, host_thread, &numbers[i]);
	}
	for (unsigned i = 0; i < GUESTS; i++) {
		pthread_join(guests[i].thread, NULL);
		wrong += guests[i].wrong;
	}
	for (unsigned i = 0; i < HOSTS; i++)
		pthread_join(hosts[i], NULL);
	return wrong;
}

static void nothing_is_lost_by(unsigned block)
{
	if (getenv("QUICK"))
		rounds = QUICK_ROUNDS;
	open_guests(false, block);
	assert_int_equal(run_guests(), 0);
	assert_int_equal(atomic_read(&failed), 0);
	for (unsigned i = 0; i < GUESTS; i++)
		assert_true(guests[i].fixed > 0);
	assert_int_equal(stats()->prefetched > 0, block > 0);
	close_ept(NULL);
}

static void nothing_is_lost(void **state)
{
	(void)state;
	nothing_is_lost_by(0);
}

/* S5: nor where each fault maps what is beside it. */
static void s5_nothing_is_lost_beside(void **state)
{
	(void)state;
	nothing_is_lost_by(8);
}

/*
 * In a process of its own, which ends at the first wrong word; under AddressSanitizer earlier, by
 * the access to a page that was freed. Stores to such pages may break anything: hence the alarm.
 */
static void deaf_twin_is_caught(void **state)
{
	int status = 0;
	pid_t child = fork();

	(void)state;
	assert_true(child >= 0);
	if (!child) {
		check(freopen("/dev/null", "w", stderr));
		alarm(30);
		open_guests(true, 0);
		_exit(run_guests() ? 1 : 0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* Many faults on the same few entries at once: each page is mapped once a bracket, no more. */
static void *racing_faults(void *argument)
{
	unsigned number = *(unsigned *)argument;

	port_set_cpu(number + 1);
	for (uint64_t page = 0; page < 512; page++) {
		enum fault_result result;

		do
			result = fault(page * PAGE_SIZE, ACCESS_WRITE);
		while (result == FAULT_RETRY);
		if (result != FAULT_FIXED && result != FAULT_SPURIOUS)
			atomic_add(&failed, 1);
	}
	return NULL;
}

static void faults_race(void **state)
{
	pthread_t threads[GUESTS];
	unsigned numbers[GUESTS];

	(void)state;
	open_ept(64, (struct ept_caps){ .max_level = LEVEL_2M, .accessed_dirty = true });
	lend(2 * MIB, LEVEL_4K);
	atomic_write(&failed, 0);
	for (unsigned i = 0; i < GUESTS; i++) {
		numbers[i] = i;
		pthread_create(&threads[i], NULL, racing_faults, &numbers[i]);
	}
	for (unsigned i = 0; i < GUESTS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(atomic_read(&failed), 0);
	assert_int_equal(stats()->mapped[0], 512);
	assert_int_equal(stats()->spurious, (GUESTS - 1) * 512);
	assert_int_equal(stats()->tables_allocated, 3);
	close_ept(NULL);
}

/*
 * Whole ways down are made at once: 32 guest addresses that share no table, again and again. Who
 * loses the race for an entry puts the table back, and none is lost.
 */
enum { WINDOWS = REGIONS_MAX, RACES = 60 };

static void *racing_tables(void *argument)
{
	unsigned number = *(unsigned *)argument;

	port_set_cpu(number + 1);
	for (uint64_t i = 0; i < WINDOWS; i++) {
		enum fault_result result = fault(i << 39, ACCESS_WRITE);

		/* All wait for each other before the next. */
		atomic_add(&failed, result != FAULT_FIXED && result != FAULT_SPURIOUS);
		atomic_add(&arrived, 1);
		await(atomic_read(&arrived) >= (i + 1) * GUESTS);
	}
	return NULL;
}

static void tables_race(void **state)
{
	pthread_t threads[GUESTS];
	unsigned numbers[GUESTS];

	(void)state;
	open_ept(64, (struct ept_caps){ .max_level = LEVEL_2M, .accessed_dirty = true });
	map_host(BACKING, PAGE_SIZE, LEVEL_4K);
	atomic_write(&failed, 0);
	for (unsigned round = 0; round < RACES; round++) {
		for (uint64_t i = 0; i < WINDOWS; i++)
			add_region(i << 27, 1, BACKING, LEVEL_4K);
		atomic_write(&arrived, 0);
		for (unsigned i = 0; i < GUESTS; i++) {
			numbers[i] = i;
			pthread_create(&threads[i], NULL, racing_tables, &numbers[i]);
		}
		for (unsigned i = 0; i < GUESTS; i++)
			pthread_join(threads[i], NULL);
		ept_verify(ept);
		for (uint64_t i = 0; i < WINDOWS; i++)
			assert_int_equal(ept_region_remove(ept, gfn(i << 27)), STATUS_OK);
		assert_int_equal(stats()->mapped[0], (round + 1) * WINDOWS);
	}
	assert_int_equal(atomic_read(&failed), 0);
	close_ept(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(deaf_twin_is_caught), cmocka_unit_test(nothing_is_lost),
		cmocka_unit_test(s5_nothing_is_lost_beside),
		cmocka_unit_test(faults_race), cmocka_unit_test(tables_race),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
