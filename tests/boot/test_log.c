/*
 * A whole machine under a log: while the demo guest stores and the host moves its pages, a copy of
 * its memory is kept up to date by the log alone. When the guest has ended, after one more harvest,
 * copy and memory are the same, byte for byte (S64, I6). Each policy by each kind of log and size
 * of leaves, with writers that meet: oracle_hw/... (test_oracle.c).
 */
#include "tests/boot/guest_run.h"

#include "boot/string.h"
#include "ept/log.h"
#include "vmx/vmx.h"

enum { GUEST_MIB = 4, WORDS = 1024 };	/* of pages: 256 MiB at most */
enum { RING_ENTRIES = EPT_RING_LEAST };	/* they are full again and again */
/* The harvester's turn comes often enough, though a vCPU has its CPU as well. */
enum { SLICE = 20000 };

static struct guest_run one;
static uint64_t words[WORDS];

struct oracle {
	struct ept *ept;
	struct space *space;
	struct machine_memory memory;
	pfn_t frame;			/* of the copy */
	char *copy;
	uint64_t pages, copied, harvests, moved;
	enum log_kind kind;
};

static void copy_page(struct oracle *oracle, uint64_t page)
{
	hva_t from = hva_add(oracle->memory.backing, page * PAGE_SIZE);

	expect_equal(space_read(oracle->space, from, oracle->copy + page * PAGE_SIZE, PAGE_SIZE),
		     STATUS_OK);
	oracle->copied++;
}

static void add_ring(struct oracle *oracle, struct ept_ring *ring)
{
	static gfn_t frames[RING_ENTRIES];
	unsigned count = ept_ring_harvest(ring, frames, RING_ENTRIES);

	for (unsigned i = 0; i < count; i++) {
		uint64_t page = frames[i].raw - gpa_to_gfn(oracle->memory.start).raw;

		if (expect(page < oracle->pages))
			words[page / 64] |= UINT64_C(1) << page % 64;
	}
	expect_equal(ept_ring_reset(oracle->ept, ring), count);
}

static void harvest(struct oracle *oracle)
{
	struct ept_ring *ring;

	memset(words, 0, sizeof(words));
	expect_equal(ept_log_get(oracle->ept, gpa_to_gfn(oracle->memory.start), words),
		     oracle->kind == LOG_RING_ONLY ? STATUS_UNSUPPORTED : STATUS_OK);
	for (unsigned i = 0; (ring = machine_ring(one.machine, i)); i++)
		add_ring(oracle, ring);
	for (uint64_t i = 0; i < (oracle->pages + 63) / 64; i++)
		for (uint64_t bits = words[i]; bits; bits &= bits - 1)
			copy_page(oracle, i * 64 + (unsigned)__builtin_ctzll(bits));
	oracle->harvests++;
}

static void compare(struct oracle *oracle)
{
	static char page[PAGE_SIZE];
	uint64_t different = 0;

	for (uint64_t i = 0; i < oracle->pages; i++) {
		hva_t from = hva_add(oracle->memory.backing, i * PAGE_SIZE);

		expect_equal(space_read(oracle->space, from, page, PAGE_SIZE), STATUS_OK);
		different += memcmp(page, oracle->copy + i * PAGE_SIZE, PAGE_SIZE) != 0;
	}
	expect_equal(different, 0);
}

static bool begin(struct oracle *oracle, const struct log_options *options)
{
	*oracle = (struct oracle){ .ept = machine_ept(one.machine),
				   .space = machine_space(one.machine), .kind = options->kind };
	if (!expect(machine_memory(one.machine, 1, &oracle->memory)))
		return false;
	oracle->pages = oracle->memory.bytes >> PAGE_SHIFT;
	if (!expect(oracle->pages <= WORDS * 64) ||
	    !expect_equal(folio_alloc(boot_host(), bytes_order(oracle->memory.bytes),
				      &oracle->frame), STATUS_OK))
		return false;
	oracle->copy = pfn_to_ptr(oracle->frame);
	expect_equal(ept_log_enable(oracle->ept, gpa_to_gfn(oracle->memory.start), options),
		     STATUS_OK);
	for (uint64_t page = 0; page < oracle->pages; page++)
		copy_page(oracle, page);
	oracle->copied = 0;
	return true;
}

static void run_logged(const struct log_options *options, unsigned level, unsigned vcpus)
{
	struct host_stats before, after;
	struct oracle oracle;

	host_read_stats(boot_host(), &before);
	guest_prepare(&one, "demo", GUEST_MIB, vcpus);
	one.config.max_level = level;
	one.config.ring_entries = log_is_by_rings(options->kind) ? RING_ENTRIES : 0;
	one.slice = SLICE;
	if (!guest_create(&one))
		return;
	if (begin(&oracle, options)) {
		guest_start(&one);
		for (uint64_t i = 0; one.status.end == END_RUNNING && i < 100000; i++) {
			hva_t from = hva_add(oracle.memory.backing, i * 37 % 31 * 16 * PAGE_SIZE);
			uint64_t moved = 0;

			harvest(&oracle);
			if (space_migrate(oracle.space, from, 16 * PAGE_SIZE, &moved) == STATUS_OK)
				oracle.moved += moved;
			task_turn(200);
			machine_read_status(one.machine, &one.status);
		}
		guest_wait(&one);
		harvest(&oracle);
		compare(&oracle);
		print("# log %u: %llu harvests, %llu pages copied, %llu moved\n", options->kind,
		      (unsigned long long)oracle.harvests, (unsigned long long)oracle.copied,
		      (unsigned long long)oracle.moved);
		expect_equal(one.status.code, 1);
		expect(oracle.harvests > 6 && oracle.copied >= oracle.pages);
		folio_put(boot_host(), oracle.frame);
	}
	guest_destroy(&one);
	host_read_stats(boot_host(), &after);
	expect_equal(after.pages_free, before.pages_free);
}

BOOT_TEST("log/write_protect", NEEDS_VMX)
{
	run_logged(&(struct log_options){ .kind = LOG_WRITE_PROTECT }, LEVEL_4K, 2);
}

BOOT_TEST("log/write_protect_2m", NEEDS_VMX)
{
	run_logged(&(struct log_options){ .kind = LOG_WRITE_PROTECT, .lazy = true }, LEVEL_2M, 1);
}

BOOT_TEST("log/pml", NEEDS_VMX)
{
	if (!vmx_ept_caps()->pml) {
		tap_skip("this CPU has no PML");
		return;
	}
	run_logged(&(struct log_options){ .kind = LOG_PML }, LEVEL_4K, 1);
}

BOOT_TEST("log/pml_2m", NEEDS_VMX)
{
	if (!vmx_ept_caps()->pml) {
		tap_skip("this CPU has no PML");
		return;
	}
	run_logged(&(struct log_options){ .kind = LOG_PML, .lazy = true }, LEVEL_2M, 1);
}

BOOT_TEST("log/dirty_bit", NEEDS_VMX)
{
	if (!vmx_ept_caps()->accessed_dirty) {
		tap_skip("this CPU has no dirty bits in its EPT");
		return;
	}
	run_logged(&(struct log_options){ .kind = LOG_DIRTY_BIT }, LEVEL_4K, 2);
}

BOOT_TEST("log/rings", NEEDS_VMX)
{
	run_logged(&(struct log_options){ .kind = LOG_RING }, LEVEL_4K, 2);
}

BOOT_TEST("log/rings_only", NEEDS_VMX)
{
	run_logged(&(struct log_options){ .kind = LOG_RING_ONLY }, LEVEL_4K, 2);
}

/* U33: a vCPU without a ring can't go on, and says why. */
BOOT_TEST("log/rings_only_and_no_ring", NEEDS_VMX)
{
	const struct log_options options = { .kind = LOG_RING_ONLY };
	struct machine_memory memory;

	guest_prepare(&one, "demo", GUEST_MIB, 1);
	if (!guest_create(&one))
		return;
	expect(machine_memory(one.machine, 1, &memory));
	expect_equal(ept_log_enable(machine_ept(one.machine), gpa_to_gfn(memory.start), &options),
		     STATUS_OK);
	guest_start(&one);
	guest_wait(&one);
	expect_equal(one.status.end, END_KILLED);
	expect(guest_why(&one, "which only a ring can list, and this vCPU has none, RIP"));
	guest_destroy(&one);
}
