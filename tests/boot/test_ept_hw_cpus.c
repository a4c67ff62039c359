/*
 * What one CPU remembers of an EPT that another changes: the stale entry that a test leaves behind
 * and sees, and the shootdown of ept/ that is waited for; and what it does not remember, of an
 * entry that says that nothing is there.
 */
#include "boot/boot.h"
#include "ept/port.h"
#include "mm/base/list.h"
#include "tests/boot/box.h"
#include "vmx/vmx.h"

enum { RWX = EPT_R | EPT_W | EPT_X };

/* ------------------------------------------------------------------ another CPU's cache */

/* A guest on CPU 1 that copies the word of page 6 to page 7 and counts, for ever. */
struct watcher { struct task task; struct box *box; struct vcpu_exit exit; };

static enum task_result watch_step(struct task *task)
{
	struct watcher *watcher = container_of(task, struct watcher, task);

	vcpu_run(watcher->box->vcpu, 0, &watcher->exit);
	return TASK_DONE;
}

static void start_watcher(struct watcher *watcher, struct box *box)
{
	*watcher = (struct watcher){ .task = { .name = "watcher", .step = watch_step, .home = 1 },
				     .box = box };
	task_start(&watcher->task);
}

static uint64_t seen(struct box *box)
{
	return __atomic_load_n(box_word(box, BOX_PAGE(7)), __ATOMIC_ACQUIRE);
}

static void await_rounds(struct box *box, uint64_t rounds)
{
	const uint64_t *count = box_word(box, BOX_PAGE(7) + 8);
	uint64_t start = __atomic_load_n(count, __ATOMIC_ACQUIRE);

	await(__atomic_load_n(count, __ATOMIC_ACQUIRE) >= start + rounds);
}

/*
 * The entry is changed in memory and nobody tells CPU 1: it goes on with what it has cached. This
 * is what a shootdown is for; without it the frame could have a new owner by now.
 */
BOOT_TEST("ept_hw/stale_without_shootdown", NEEDS_VMX | NEEDS_TWO_CPUS)
{
	struct watcher watcher;
	struct box box;

	box_create(&box, BOX_PLAIN);
	*box_word(&box, BOX_PAGE(6)) = 1;
	*box_word(&box, BOX_PAGE(8)) = 2;
	box_start(&box, BOX_LONG, SNIPPET(watch));
	vcpu_set_reg(box.vcpu, REG_RSI, BOX_PAGE(6));
	vcpu_set_reg(box.vcpu, REG_RDI, BOX_PAGE(7));
	start_watcher(&watcher, &box);
	await(seen(&box) == 1);

	__atomic_store_n(box_entry(&box, LEVEL_4K, BOX_PAGE(6)),
			 box_hpa(&box, BOX_PAGE(8)).raw | RWX | EPT_WB, __ATOMIC_RELEASE);
	await_rounds(&box, 1000);
	expect_equal(seen(&box), 1);		/* stale */

	port_kick(1);
	task_wait(&watcher.task);
	expect_equal(watcher.exit.kind, EXIT_KICK);
	vcpu_load(box.vcpu);		/* it leaves CPU 1, and so comes back with an INVEPT */
	start_watcher(&watcher, &box);
	await_rounds(&box, 10);
	expect_equal(seen(&box), 2);
	port_kick(1);
	task_wait(&watcher.task);
	box_destroy(&box);
}

/* ------------------------------------------------------------------ and with ept/ in charge */

enum { MEMORY_PAGES = 2048 };
#define MEMORY_HVA hva(UINT64_C(0x10000000))

/* A guest whose memory a host process lends, from GPA 0, at a snippet in 32-bit mode. */
struct lent {
	struct space *space;
	struct ept *ept;
	struct vm *vm;
	struct vcpu *vcpu;
	struct task task;		/* answers its faults, on CPU 1 */
	atomic32_t stop, lost;
	uint64_t kicks;
};

static void lent_create(struct lent *lent, struct snippet snippet)
{
	const struct region region = { gfn(0), MEMORY_PAGES, MEMORY_HVA, REGION_READ_WRITE, 1 };
	uint64_t bytes = MEMORY_PAGES * PAGE_SIZE;

	*lent = (struct lent){ 0 };
	check(space_create(boot_host(), &lent->space) == STATUS_OK);
	check(space_map(lent->space, MEMORY_HVA, bytes, PROTECTION_READ_WRITE, 1) == STATUS_OK);
	check(ept_create(lent->space, vmx_ept_caps(), &lent->ept) == STATUS_OK);
	check(ept_region_add(lent->ept, &region) == STATUS_OK);
	check(vm_create(lent->ept, &lent->vm) == STATUS_OK);
	check(vcpu_create(lent->vm, &lent->vcpu) == STATUS_OK);
	check(ept_write_guest(lent->ept, gpa(BOX_CODE), snippet.start,
			      (uint64_t)(snippet.end - snippet.start)) == STATUS_OK);
	vcpu_start_protected(lent->vcpu, BOX_CODE);
}

static void lent_destroy(struct lent *lent)
{
	vcpu_destroy(lent->vcpu);
	vm_destroy(lent->vm);
	ept_destroy(lent->ept);
	space_destroy(lent->space);
}

static uint64_t lent_word(struct lent *lent, uint64_t address)
{
	uint64_t value = 0;

	check(ept_read_guest(lent->ept, gpa(address), &value, sizeof value) == STATUS_OK);
	return value;
}

/* Answers the guest's faults until it is told to stop. */
static enum task_result lent_step(struct task *task)
{
	struct lent *lent = container_of(task, struct lent, task);
	struct vcpu_exit exit;

	vcpu_run(lent->vcpu, 100000, &exit);
	if (exit.kind == EXIT_EPT_VIOLATION) {
		enum fault_result result = ept_fault(lent->ept, exit.ept.address, exit.ept.access,
						     exit_ept_allowed(&exit));

		if (result != FAULT_FIXED && result != FAULT_SPURIOUS && result != FAULT_RETRY)
			atomic_write(&lent->lost, 1);
	} else if (exit.kind == EXIT_KICK) {
		lent->kicks++;
	} else if (exit.kind != EXIT_TIMER && exit.kind != EXIT_INTERRUPT) {
		atomic_write(&lent->lost, 1);
	}
	return atomic_read(&lent->lost) || atomic_read(&lent->stop) ? TASK_DONE : TASK_AGAIN;
}

/*
 * The host takes the watched page back: when space_discard returns, CPU 1 can't see it any more;
 * what it reads next are the zeros of a new page.
 */
BOOT_TEST("ept_hw/shootdown_waited_for", NEEDS_VMX | NEEDS_TWO_CPUS)
{
	enum { WATCHED = 0x20000, REPORT = 0x21000, ROUNDS = 20 };
	struct lent lent;
	struct ept_stats stats;

	lent_create(&lent, SNIPPET(watch32));
	lent.task = (struct task){ .name = "lent", .step = lent_step, .home = 1 };
	vcpu_set_reg(lent.vcpu, REG_RSI, WATCHED);
	vcpu_set_reg(lent.vcpu, REG_RDI, REPORT);
	task_start(&lent.task);
	for (uint64_t i = 1; i <= ROUNDS && !atomic_read(&lent.lost); i++) {
		uint64_t value = i;

		check(ept_write_guest(lent.ept, gpa(WATCHED), &value, 8) == STATUS_OK);
		await(lent_word(&lent, REPORT) == i || atomic_read(&lent.lost));
		check(space_discard(lent.space, hva_add(MEMORY_HVA, WATCHED), PAGE_SIZE) ==
		      STATUS_OK);
		await(lent_word(&lent, REPORT) == 0 || atomic_read(&lent.lost));
	}
	atomic_write(&lent.stop, 1);
	task_wait(&lent.task);
	ept_read_stats(lent.ept, &stats);
	expect(!atomic_read(&lent.lost));
	expect(stats.flushes >= ROUNDS);
	expect(stats.invepts >= ROUNDS);
	expect(lent.kicks > 0);
	ept_verify(lent.ept);
	lent_destroy(&lent);
}

/* ------------------------------------------------------------------ where nothing is */

enum { HOLE = 16 << 20, SEEN = 0x40000, TOLD = 0x21000 };

/* Exits of each kind that were answered with FAULT_NO_REGION. */
struct met { unsigned violations, misconfigurations; };

/* What this small machine has at an address of nobody's: all ones. The load is of two bytes. */
static void emulate_load(struct lent *lent)
{
	vcpu_set_reg(lent->vcpu, REG_RAX, UINT32_MAX);
	vcpu_skip(lent->vcpu, 2);
}

/* Until the guest has told of that word; false: it can't. */
static bool watch_until(struct lent *lent, uint64_t word, struct met *met)
{
	struct vcpu_exit exit;

	while ((uint32_t)lent_word(lent, TOLD) != word) {
		enum fault_result result = FAULT_FIXED;

		vcpu_run(lent->vcpu, 100000, &exit);
		if (exit.kind == EXIT_EPT_VIOLATION)
			result = ept_fault(lent->ept, exit.ept.address, exit.ept.access,
					   exit_ept_allowed(&exit));
		else if (exit.kind == EXIT_EPT_MISCONFIGURATION)
			result = ept_fault_misconfigured(lent->ept, exit.ept.address);
		else if (exit.kind != EXIT_TIMER && exit.kind != EXIT_INTERRUPT)
			return false;
		if (result == FAULT_NO_REGION) {
			met->violations += exit.kind == EXIT_EPT_VIOLATION;
			met->misconfigurations += exit.kind == EXIT_EPT_MISCONFIGURATION;
			expect_equal(exit.ept.address.raw, HOLE);
			emulate_load(lent);
		} else if (result != FAULT_FIXED && result != FAULT_RETRY) {
			return false;
		}
	}
	return true;
}

static void tell(struct lent *lent, uint64_t address, uint32_t word)
{
	check(ept_write_guest(lent->ept, gpa(address), &word, sizeof word) == STATUS_OK);
}

/*
 * U26: the first load from nothing is a violation, those after it are misconfigurations, until a
 * region is there: then this processor reads it, though nobody has told it, nor flushed.
 */
BOOT_TEST("ept_hw/nothing_there", NEEDS_VMX)
{
	const struct region late = { gfn(HOLE >> PAGE_SHIFT), 1, hva_add(MEMORY_HVA, SEEN),
				     REGION_READ_WRITE, 1 };
	struct ept_stats before, after;
	struct met met = { 0 };
	struct lent lent;

	lent_create(&lent, SNIPPET(watch32));
	vcpu_set_reg(lent.vcpu, REG_RSI, HOLE);
	vcpu_set_reg(lent.vcpu, REG_RDI, TOLD);
	tell(&lent, SEEN, 0x1234);
	for (unsigned i = 1; i <= 5; i++) {
		tell(&lent, TOLD, 0);
		expect(watch_until(&lent, UINT32_MAX, &met));
		expect_equal(met.violations, 1);
		expect(met.misconfigurations >= i - 1);
	}
	ept_read_stats(lent.ept, &before);
	expect_equal(before.mmio_made, 1);
	expect_equal(before.mmio_hits, met.misconfigurations);

	expect_equal(ept_region_add(lent.ept, &late), STATUS_OK);
	expect(watch_until(&lent, 0x1234, &met));
	ept_read_stats(lent.ept, &after);
	expect_equal(after.mmio_hits, before.mmio_hits);
	expect_equal(after.flushes, 0);
	expect_equal(after.invepts, before.invepts);
	ept_verify(lent.ept);
	lent_destroy(&lent);
}

/* ------------------------------------------------------------------ page-modification logging */

enum { STORED_FROM = 256, LOG_WORDS = MEMORY_PAGES / 64 };

/* The guest stores to so many pages; returns the EPT violations that it took. */
static unsigned store_pages(struct lent *lent, uint64_t pages)
{
	struct vcpu_exit exit = { .kind = EXIT_TIMER };
	unsigned violations = 0;

	vcpu_set_reg(lent->vcpu, REG_RIP, BOX_CODE);
	vcpu_set_reg(lent->vcpu, REG_RSI, STORED_FROM * PAGE_SIZE);
	vcpu_set_reg(lent->vcpu, REG_RCX, pages);
	while (exit.kind == EXIT_TIMER || exit.kind == EXIT_INTERRUPT ||
	       exit.kind == EXIT_EPT_VIOLATION) {
		vcpu_run(lent->vcpu, 0, &exit);
		if (exit.kind != EXIT_EPT_VIOLATION)
			continue;
		violations++;
		if (!expect_equal(ept_fault(lent->ept, exit.ept.address, exit.ept.access,
					    exit_ept_allowed(&exit)),
				  FAULT_FIXED))
			break;
	}
	expect_equal(exit.kind, EXIT_HLT);
	return violations;
}

/* The log has the first pages that are stored to, so many, and no other. */
static void expect_logged(struct lent *lent, uint64_t pages)
{
	static uint64_t words[LOG_WORDS];
	uint64_t wrong = 0;

	expect_equal(ept_log_get(lent->ept, gfn(0), words), STATUS_OK);
	for (uint64_t page = 0; page < MEMORY_PAGES; page++)
		wrong += (words[page / 64] >> page % 64 & 1) != (page - STORED_FROM < pages);
	expect_equal(wrong, 0);
}

/*
 * The processor lists exactly what the guest stores to, and no store exits: more than a list holds
 * and exactly as many, full lists on the way, then few. When the log ends, so does the listing.
 */
BOOT_TEST("ept_hw/pml_lists", NEEDS_VMX)
{
	static const struct log_options pml = { .kind = LOG_PML };
	static const unsigned counts[] = { 1300, 512, 513, 1024, 1 };
	struct lent lent;

	if (!vmx_ept_caps()->pml) {
		tap_skip("this CPU has no PML");
		return;
	}
	lent_create(&lent, SNIPPET(store_pages));
	expect(store_pages(&lent, counts[0]) >= counts[0]);
	expect_equal(ept_log_enable(lent.ept, gfn(0), &pml), STATUS_OK);
	expect_logged(&lent, 0);
	for (unsigned i = 0; i < sizeof counts / sizeof counts[0]; i++) {
		expect_equal(store_pages(&lent, counts[i]), 0);
		expect(lent.vcpu->logged);
		expect_logged(&lent, counts[i]);
	}
	expect_equal(ept_log_disable(lent.ept, gfn(0)), STATUS_OK);
	expect_equal(store_pages(&lent, 1), 0);
	expect(!lent.vcpu->logged);
	ept_verify(lent.ept);
	lent_destroy(&lent);
}

/* ------------------------------------------------------------------ what it costs */

/* The same figure as vmx/cpuid_round_trip, with an EPT of ept/ entered and left. */
BOOT_TEST("ept_hw/cpuid_round_trip", NEEDS_VMX)
{
	enum { ROUNDS = 1000, LOOP = 3 };
	struct vcpu_exit exit = { .kind = EXIT_KINDS };
	struct lent lent;
	uint64_t start;

	lent_create(&lent, SNIPPET(cpuid));
	while (exit.kind != EXIT_CPUID) {
		vcpu_run(lent.vcpu, 0, &exit);
		if (exit.kind == EXIT_EPT_VIOLATION)
			expect_equal(ept_fault(lent.ept, exit.ept.address, exit.ept.access,
					       exit_ept_allowed(&exit)),
				     FAULT_FIXED);
	}
	start = tsc_now();
	for (unsigned i = 0; i < ROUNDS; i++) {
		vcpu_skip(lent.vcpu, exit.length);
		vcpu_run(lent.vcpu, 0, &exit);
		if (exit.kind != EXIT_CPUID)
			expect_equal(exit.kind, EXIT_CPUID);
	}
	print("# stat vmx_round_trip_with_ept %llu instructions\n",
	      (unsigned long long)((tsc_now() - start) / ROUNDS - LOOP));
	lent_destroy(&lent);
}
