/* See unharmed.h. */
#include "tests/boot/unharmed.h"

#include "boot/layout.h"
#include "boot/traps.h"
#include "ept/region.h"
#include "ept/walk.h"
#include "mm/host.h"
#include "vmx/insn.h"

/* ------------------------------------------------------------------ frames */

/* A bit for each frame of the first 4 GiB: named by a leaf of the machine that is looked at. */
enum { FRAMES = 1 << 20 };
static uint64_t lent[FRAMES / 64];

static bool is_lent(pfn_t frame)
{
	return frame.raw < FRAMES && (lent[frame.raw / 64] >> frame.raw % 64 & 1);
}

static const char *lend(struct host *host, pfn_t frame)
{
	struct folio *folio = page_folio(host, frame);

	if (!folio || frame.raw >= FRAMES)
		return "a leaf names a frame that is not the host's to lend";
	if (is_lent(frame))
		return "two leaves name one frame";
	lent[frame.raw / 64] |= UINT64_C(1) << frame.raw % 64;
	folio = folio_of(host, frame);		/* panics when it is free */
	if (atomic_read(&folio->flags) & FOLIO_TABLE)
		return "a leaf names a page table";
	if (!atomic_read(&folio->mapcount))
		return "a leaf names a frame that no process has";
	return NULL;
}

/* The space at rest: what it has there now, it had when the leaf was made. */
static const char *leaf_fault(struct machine *m, const struct region *region, gfn_t start,
			      spte_t leaf, unsigned level)
{
	for (uint64_t i = 0; i < level_pages(level); i++) {
		pfn_t frame = pfn(spte_frame(leaf).raw + i);
		struct mm_page page;
		const char *fault;

		if (mm_peek(machine_space(m), region_hva(region, gfn_add(start, i)), &page))
			return "a leaf stands where its space has nothing";
		if (page.frame.raw != frame.raw)
			return "a leaf names another frame than its space has there";
		fault = lend(space_host(machine_space(m)), frame);
		if (fault)
			return fault;
	}
	return NULL;
}

/* The entry at or after *at that is a leaf, and the region it stands in. */
static bool next_leaf(struct ept *ept, gfn_t *at, struct ept_walk *walk, struct region *region,
		      const char **fault)
{
	uint64_t all = EPT_ENTRIES * level_pages(EPT_ROOT_LEVEL);
	const struct region *found = NULL;
	bool leaf = false;

	read_lock(&ept->lock);
	*walk = ept_walk_begin(ept, *at, all - at->raw);
	while (!leaf && ept_walk_next(walk))
		leaf = spte_is_leaf(walk->old);
	if (leaf) {
		found = region_find(ept, ept_walk_start(walk));
		if (found)
			*region = *found;
	}
	read_unlock(&ept->lock);
	*fault = leaf && !found ? "a leaf stands in no region" : NULL;
	*at = gfn_add(ept_walk_start(walk), walk->pages);
	return leaf;
}

static const char *shared_fault(struct machine *other)
{
	struct machine_memory memory;
	struct mm_page page;

	for (unsigned i = 0; other && machine_memory(other, i, &memory); i++)
		for (uint64_t at = 0; at < memory.bytes; at += PAGE_SIZE)
			if (!mm_peek(machine_space(other), hva_add(memory.backing, at), &page) &&
			    is_lent(page.frame))
				return "a leaf names a frame of the other VM";
	return NULL;
}

const char *frames_fault(struct machine *machine, struct machine *other, uint64_t *pages)
{
	struct ept *ept = machine_ept(machine);
	gfn_t at = gfn(0);
	struct ept_walk walk;
	struct region region;
	const char *fault;

	__builtin_memset(lent, 0, sizeof(lent));
	*pages = 0;
	while (next_leaf(ept, &at, &walk, &region, &fault)) {
		if (!fault)
			fault = leaf_fault(machine, &region, ept_walk_start(&walk), walk.old,
					   walk.level);
		if (fault)
			return fault;
		*pages += walk.pages;
	}
	return shared_fault(other);
}

/* ------------------------------------------------------------------ the hypervisor and its CPUs */

static uint64_t sum_image(void)
{
	uint64_t sum = 0;

	for (const uint8_t *at = image_start; at < image_rodata_end; at += 8)
		sum = (sum << 1 | sum >> 63) ^ *(const uint64_t *)(const void *)at;
	return sum;
}

/*
 * Registers that a guest could reach, or that an exit restores; not those that stay the last
 * vCPU's until somebody needs them (vcpu.c).
 */
static const struct { uint32_t msr; const char *name; } msrs[] = {
	{ 0x1b, "IA32_APIC_BASE" },	{ 0x174, "IA32_SYSENTER_CS" },
	{ 0x175, "IA32_SYSENTER_ESP" }, { 0x176, "IA32_SYSENTER_EIP" },
	{ 0x1a0, "IA32_MISC_ENABLE" },	{ 0x1d9, "IA32_DEBUGCTL" },
	{ 0x277, "IA32_PAT" },		{ 0x2ff, "IA32_MTRR_DEF_TYPE" },
	{ 0xda0, "IA32_XSS" },		{ 0xc0000080, "IA32_EFER" },
	{ 0xc0000100, "IA32_FS_BASE" }, { 0xc0000101, "IA32_GS_BASE" },
	{ 0xc0000103, "IA32_TSC_AUX" },
};
/*
 * Not the limits of GDTR and IDTR, which any exit makes FFFFH: SDM "Loading Host Segment and
 * Descriptor-Table Registers".
 */
static const char *const others[] = { "CR0", "CR3", "CR4", "GDTR", "IDTR", "TR", "CS and SS",
				      "DS and ES", "DR7" };

enum { MSRS = sizeof(msrs) / sizeof(msrs[0]), OTHERS = sizeof(others) / sizeof(others[0]) };
_Static_assert(MSRS + OTHERS <= UNHARMED_STATE, "one word each");

struct __attribute__((packed)) table { uint16_t limit; uint64_t base; };

static void note_cpu(void *argument)
{
	uint64_t *state = argument;
	struct table gdtr, idtr;
	uint64_t dr7;

	__asm__ volatile("sgdt %0; sidt %1" : "=m"(gdtr), "=m"(idtr));
	__asm__ volatile("mov %%dr7, %0" : "=r"(dr7));
	*state++ = insn_read_cr0();
	*state++ = insn_read_cr3();
	*state++ = insn_read_cr4();
	*state++ = gdtr.base;
	*state++ = idtr.base;
	*state++ = insn_read_tr();
	*state++ = (uint64_t)insn_read_cs() << 16 | insn_read_ss();
	*state++ = (uint64_t)insn_read_ds() << 16 | insn_read_es();
	*state++ = dr7;
	for (unsigned i = 0; i < MSRS; i++, state++)
		if (!try_rdmsr(msrs[i].msr, state))
			*state = 0;
}

void unharmed_note(struct unharmed *out)
{
	out->image = sum_image();
	for (unsigned cpu = 0; cpu < cpu_count(); cpu++)
		cpu_call(cpu, note_cpu, out->state[cpu]);
}

const char *unharmed_fault(const struct unharmed *before, unsigned *cpu, uint64_t *now,
			   uint64_t *then)
{
	static struct unharmed after;

	unharmed_note(&after);
	*cpu = 0;
	*now = after.image;
	*then = before->image;
	if (*now != *then)
		return "the image's code and constants";
	for (; *cpu < cpu_count(); ++*cpu)
		for (unsigned i = 0; i < OTHERS + MSRS; i++) {
			*now = after.state[*cpu][i];
			*then = before->state[*cpu][i];
			if (*now != *then)
				return i < OTHERS ? others[i] : msrs[i - OTHERS].name;
		}
	return NULL;
}
