/*
 * What this processor does with EPT entries, on tables made by hand: every fact of SDM "The
 * Extended Page Table Mechanism (EPT)" that ept/ relies on.
 */
#include "tests/boot/box.h"
#include "vmx/caps.h"
#include "vmx/insn.h"
#include "vmx/vmx.h"

enum { RWX = EPT_R | EPT_W | EPT_X };

static void flush(struct box *box)
{
	vmx_invept(box->vm->eptp);
}

/* The leaf of a page to play with gets other rights. */
static void set_leaf(struct box *box, uint64_t address, uint64_t bits)
{
	*box_entry(box, LEVEL_4K, address) = bits;
	flush(box);
}

static void run_access(struct box *box, struct snippet snippet, uint64_t address,
		       struct vcpu_exit *exit)
{
	box_start(box, BOX_LONG, snippet);
	vcpu_set_reg(box->vcpu, REG_RSI, address);
	vcpu_set_reg(box->vcpu, REG_RAX, 0x77);
	box_run(box->vcpu, exit);
}

static uint64_t flags(struct box *box, unsigned level, uint64_t address)
{
	return __atomic_load_n(box_entry(box, level, address), __ATOMIC_ACQUIRE) & (EPT_A | EPT_D);
}

/* ------------------------------------------------------------------ accessed and dirty */

static void read_and_write(struct box *box)
{
	struct vcpu_exit exit;

	run_access(box, SNIPPET(read), BOX_PAGE(0), &exit);
	expect_equal(exit.kind, EXIT_HLT);
	run_access(box, SNIPPET(write), BOX_PAGE(1), &exit);
	expect_equal(exit.kind, EXIT_HLT);
}

BOOT_TEST("ept_hw/accessed_dirty", NEEDS_VMX)
{
	struct box box;

	if (!vmx_ept_caps()->accessed_dirty) {
		tap_skip("no accessed and dirty flags for EPT");
		return;
	}
	box_create(&box, BOX_ACCESSED_DIRTY);
	read_and_write(&box);
	for (unsigned level = LEVEL_2M; level <= LEVEL_512G; level++)
		expect_equal(flags(&box, level, 0), EPT_A);
	expect_equal(flags(&box, LEVEL_4K, BOX_PAGE(0)), EPT_A);
	expect_equal(flags(&box, LEVEL_4K, BOX_PAGE(1)), EPT_A | EPT_D);
	expect_equal(flags(&box, LEVEL_4K, BOX_PAGE(2)), 0);
	expect_equal(flags(&box, LEVEL_4K, BOX_CODE), EPT_A);
	/* With the flags on, an access to a guest's paging structure counts as a write. */
	for (uint64_t i = 0; i < 3; i++)
		expect_equal(flags(&box, LEVEL_4K, BOX_TABLES + i * PAGE_SIZE), EPT_A | EPT_D);

	/* Cleared and flushed they are set again; D alone, too. */
	*box_entry(&box, LEVEL_4K, BOX_PAGE(0)) &= ~EPT_A;
	*box_entry(&box, LEVEL_4K, BOX_PAGE(1)) &= ~EPT_D;
	*box_entry(&box, LEVEL_2M, 0) &= ~EPT_A;
	flush(&box);
	read_and_write(&box);
	expect_equal(flags(&box, LEVEL_4K, BOX_PAGE(0)), EPT_A);
	expect_equal(flags(&box, LEVEL_4K, BOX_PAGE(1)), EPT_A | EPT_D);
	expect_equal(flags(&box, LEVEL_2M, 0), EPT_A);
	box_destroy(&box);
}

BOOT_TEST("ept_hw/accessed_dirty_off", NEEDS_VMX)
{
	struct box box;

	box_create(&box, BOX_PLAIN);
	read_and_write(&box);
	for (unsigned level = LEVEL_2M; level <= LEVEL_512G; level++)
		expect_equal(flags(&box, level, 0), 0);
	expect_equal(flags(&box, LEVEL_4K, BOX_PAGE(0)), 0);
	expect_equal(flags(&box, LEVEL_4K, BOX_PAGE(1)), 0);
	box_destroy(&box);
}

/* ------------------------------------------------------------------ violations */

/* Bits of the leaf, what is tried, SDM "Exit Qualification for EPT Violations". */
static void expect_violation(struct box *box, uint64_t bits, struct snippet snippet,
			     uint64_t qualification)
{
	uint64_t leaf = bits ? box_hpa(box, BOX_PAGE(3)).raw | bits | EPT_WB : 0;
	struct vcpu_exit exit;

	set_leaf(box, BOX_PAGE(3), leaf);
	run_access(box, snippet, BOX_PAGE(3) + 8, &exit);
	expect_equal(exit.kind, EXIT_EPT_VIOLATION);
	/* Later bits are of features that are off. */
	expect_equal(exit.qualification & 0x1bf, qualification);
	expect_equal(exit.ept.address.raw, BOX_PAGE(3) + 8);
	expect_equal(exit.ept.access, qualification & 7);
	expect_equal(exit_ept_allowed(&exit), bits & 7);
	expect(exit_ept_linear_valid(&exit));
	expect(!exit_ept_table_walk(&exit));
	expect_equal(vcpu_exit_linear(box->vcpu), BOX_PAGE(3) + 8);
}

static void all_violations(enum box_kind kind)
{
	struct box box;

	box_create(&box, kind);
	expect_violation(&box, 0, SNIPPET(read), 0x181);
	expect_violation(&box, 0, SNIPPET(write), 0x182);
	expect_violation(&box, 0, SNIPPET(call), 0x184);
	expect_violation(&box, EPT_R | EPT_X, SNIPPET(write), 0x1aa);
	expect_violation(&box, EPT_R, SNIPPET(write), 0x18a);
	expect_violation(&box, EPT_R, SNIPPET(call), 0x18c);
	expect_violation(&box, EPT_R | EPT_W, SNIPPET(call), 0x19c);
	if (vmx_caps.execute_only) {
		expect_violation(&box, EPT_X, SNIPPET(read), 0x1a1);
		expect_violation(&box, EPT_X, SNIPPET(write), 0x1a2);
	}
	box_destroy(&box);
}

BOOT_TEST("ept_hw/violations", NEEDS_VMX)
{
	all_violations(BOX_PLAIN);
	if (vmx_ept_caps()->accessed_dirty)
		all_violations(BOX_ACCESSED_DIRTY);
}

/* Rights are those of all levels together. */
BOOT_TEST("ept_hw/rights_of_all_levels", NEEDS_VMX)
{
	struct vcpu_exit exit;
	struct box box;

	for (unsigned level = LEVEL_2M; level <= LEVEL_512G; level++) {
		box_create(&box, BOX_PLAIN);
		*box_entry(&box, level, 0) &= ~EPT_W;
		flush(&box);
		run_access(&box, SNIPPET(read), BOX_PAGE(0), &exit);
		expect_equal(exit.kind, EXIT_HLT);
		run_access(&box, SNIPPET(write), BOX_PAGE(0), &exit);
		expect_equal(exit.kind, EXIT_EPT_VIOLATION);
		expect_equal(exit.qualification & 0x1bf, 0x1aa);
		box_destroy(&box);
	}
}

/* The instruction is tried again when its page is there, and its effect happens once. */
BOOT_TEST("ept_hw/violation_retried", NEEDS_VMX)
{
	struct vcpu_exit exit;
	struct box box;

	box_create(&box, BOX_PLAIN);
	set_leaf(&box, BOX_PAGE(3), 0);
	run_access(&box, SNIPPET(write), BOX_PAGE(3), &exit);
	expect_equal(exit.kind, EXIT_EPT_VIOLATION);
	/* From not present to present no INVEPT is needed: SDM "Guidelines for Use of INVEPT". */
	*box_entry(&box, LEVEL_4K, BOX_PAGE(3)) = box_hpa(&box, BOX_PAGE(3)).raw | RWX | EPT_WB;
	box_run_to_hlt(box.vcpu);
	expect_equal(*box_word(&box, BOX_PAGE(3)), 0x77);
	box_destroy(&box);
}

/* A guest's own paging structure is not there: the walk is told from the access. */
static void walk_violation(enum box_kind kind)
{
	struct vcpu_exit exit;
	struct box box;

	box_create(&box, kind);
	for (uint64_t i = 0; i < 3; i++) {
		uint64_t table = BOX_TABLES + i * PAGE_SIZE;

		*box_entry(&box, LEVEL_4K, table) &= ~(uint64_t)RWX;
		flush(&box);
		box_start(&box, BOX_LONG, SNIPPET(long));
		box_run(box.vcpu, &exit);
		expect_equal(exit.kind, EXIT_EPT_VIOLATION);
		expect(exit_ept_linear_valid(&exit));
		expect(exit_ept_table_walk(&exit));
		expect_equal(exit.ept.address.raw, table);
		expect_equal(vcpu_exit_linear(box.vcpu), BOX_CODE);
		expect(exit.ept.access & (ACCESS_READ | ACCESS_WRITE));
		expect(!(exit.ept.access & ACCESS_EXEC));
		*box_entry(&box, LEVEL_4K, table) |= RWX;
	}
	box_run_to_hlt(box.vcpu);
	box_destroy(&box);
}

BOOT_TEST("ept_hw/walk_violation", NEEDS_VMX)
{
	walk_violation(BOX_PLAIN);
	if (vmx_ept_caps()->accessed_dirty)
		walk_violation(BOX_ACCESSED_DIRTY);
}

/*
 * A guest's table that may not be written: with A/D on, a walk through it is a write (SDM
 * "Accessed and Dirty Flags for EPT"), without it is none as long as the guest's own A is set.
 */
BOOT_TEST("ept_hw/walk_of_read_only_table", NEEDS_VMX)
{
	const uint64_t table = BOX_TABLES + 2 * PAGE_SIZE;	/* its entries have A and D set */
	struct vcpu_exit exit;
	struct box box;

	box_create(&box, BOX_PLAIN);
	*box_entry(&box, LEVEL_4K, table) &= ~EPT_W;
	box_start(&box, BOX_LONG, SNIPPET(long));
	box_run(box.vcpu, &exit);
	expect_equal(exit.kind, EXIT_HLT);
	box_destroy(&box);

	if (!vmx_ept_caps()->accessed_dirty)
		return;
	box_create(&box, BOX_ACCESSED_DIRTY);
	*box_entry(&box, LEVEL_4K, table) &= ~EPT_W;
	box_start(&box, BOX_LONG, SNIPPET(long));
	box_run(box.vcpu, &exit);
	expect_equal(exit.kind, EXIT_EPT_VIOLATION);
	expect(exit_ept_table_walk(&exit));
	/* The SDM sets bits 0 and 1, Bochs bit 1 only: nobody may rely on bit 0. */
	expect(exit.ept.access & ACCESS_WRITE);
	expect_equal(exit.ept.address.raw, table);
	box_destroy(&box);
}

/* ------------------------------------------------------------------ misconfiguration */

static void expect_misconfiguration(struct box *box, uint64_t leaf)
{
	struct vcpu_exit exit;

	set_leaf(box, BOX_PAGE(4), leaf);
	run_access(box, SNIPPET(read), BOX_PAGE(4) + 16, &exit);
	expect_equal(exit.kind, EXIT_EPT_MISCONFIGURATION);
	expect_equal(exit.reason, 49);
	expect_equal(exit.ept.address.raw, BOX_PAGE(4) + 16);
}

/* SDM "EPT Misconfigurations". */
BOOT_TEST("ept_hw/misconfigurations", NEEDS_VMX)
{
	unsigned physical_bits = insn_cpuid(0x80000008, 0).eax & 0xff;
	struct box box;
	uint64_t page;

	box_create(&box, BOX_PLAIN);
	page = box_hpa(&box, BOX_PAGE(4)).raw;
	expect_misconfiguration(&box, page | EPT_W | EPT_WB);
	expect_misconfiguration(&box, page | EPT_W | EPT_X | EPT_WB);
	if (!vmx_caps.execute_only)
		expect_misconfiguration(&box, page | EPT_X | EPT_WB);
	expect_misconfiguration(&box, page | RWX | UINT64_C(2) << 3);
	expect_misconfiguration(&box, page | RWX | UINT64_C(3) << 3);
	expect_misconfiguration(&box, page | RWX | UINT64_C(7) << 3);
	if (physical_bits < 52)
		expect_misconfiguration(&box, page | RWX | EPT_WB | UINT64_C(1) << physical_bits);
	/* And put right it works. */
	set_leaf(&box, BOX_PAGE(4), page | RWX | EPT_WB);
	*box_word(&box, BOX_PAGE(4) + 16) = 0x99;
	box_run_to_hlt(box.vcpu);
	expect_equal(vcpu_reg(box.vcpu, REG_RAX), 0x99);
	box_destroy(&box);
}

/* An entry that is not present may hold anything else. */
BOOT_TEST("ept_hw/not_present_ignores_the_rest", NEEDS_VMX)
{
	struct vcpu_exit exit;
	struct box box;

	box_create(&box, BOX_PLAIN);
	set_leaf(&box, BOX_PAGE(4), ~(uint64_t)RWX);
	run_access(&box, SNIPPET(read), BOX_PAGE(4), &exit);
	expect_equal(exit.kind, EXIT_EPT_VIOLATION);
	box_destroy(&box);
}

/* ------------------------------------------------------------------ large leaves */

/* The box's memory once more, through a leaf of that level further up. */
static void large_leaf(unsigned level)
{
	struct vcpu_exit exit;
	struct box box;
	uint64_t bytes = level_bytes(level), word, at;
	uint64_t *entry;

	box_create(&box, vmx_ept_caps()->accessed_dirty ? BOX_ACCESSED_DIRTY : BOX_PLAIN);
	word = box_hpa(&box, BOX_PAGE(5) + 24).raw;
	/* At 1 GiB the guest has no paging structures of its own: the 2 MiB leaf is below it. */
	at = level == LEVEL_1G ? bytes : 2 * bytes;
	entry = level == LEVEL_1G ? box_entry(&box, level, 0) + 1 : box_entry(&box, level, at);
	*entry = (word & ~(bytes - 1)) | RWX | EPT_WB | EPT_LARGE;
	/* The guest's own map of it: a 1 GiB page. */
	*box_word(&box, BOX_TABLES + PAGE_SIZE + 8) = UINT64_C(0x40000000) | 0xe7;
	at += word & (bytes - 1);

	*box_word(&box, BOX_PAGE(5) + 24) = 0x4242;
	run_access(&box, SNIPPET(read), at, &exit);
	expect_equal(exit.kind, EXIT_HLT);
	expect_equal(vcpu_reg(box.vcpu, REG_RAX), 0x4242);
	if (vmx_ept_caps()->accessed_dirty)
		expect_equal(*entry & (EPT_A | EPT_D), EPT_A);
	run_access(&box, SNIPPET(write), at, &exit);
	expect_equal(exit.kind, EXIT_HLT);
	expect_equal(*box_word(&box, BOX_PAGE(5) + 24), 0x77);
	if (vmx_ept_caps()->accessed_dirty)
		expect_equal(*entry & (EPT_A | EPT_D), EPT_A | EPT_D);
	box_destroy(&box);
}

BOOT_TEST("ept_hw/leaf_2m", NEEDS_VMX)
{
	if (vmx_ept_caps()->max_level >= LEVEL_2M)
		large_leaf(LEVEL_2M);
	else
		tap_skip("no 2 MiB leaves");
}

BOOT_TEST("ept_hw/leaf_1g", NEEDS_VMX)
{
	if (vmx_ept_caps()->max_level >= LEVEL_1G && insn_cpuid(0x80000001, 0).edx & 1 << 26)
		large_leaf(LEVEL_1G);
	else
		tap_skip("no 1 GiB leaves, or no such guest pages");
}
