/*
 * From capability MSRs to controls. One table has every control that foliovisor sets or must
 * see clear; all that is required and missing is named at once. Runs once, on the boot CPU.
 *
 * SDM appendix "VMX Capability Reporting Facility": of a control word's MSR, bits 31:0 say which
 * controls must be 1 and bits 63:32 which may be. The TRUE MSRs say so of the "default1" controls
 * too, which the older ones report as fixed.
 */
#include "vmx/caps.h"

#include "vmx/insn.h"
#include "vmx/port.h"
#include "vmx/vmx.h"

#define MSR_FEATURE_CONTROL 0x3a
#define MSR_VMX_BASIC       0x480
#define MSR_VMX_MISC        0x485
#define MSR_VMX_CR0_FIXED0  0x486
#define MSR_VMX_EPT_VPID    0x48c

#define FEATURE_CONTROL_LOCK  (UINT64_C(1) << 0)
#define FEATURE_CONTROL_VMXON (UINT64_C(1) << 2)
#define BASIC_TRUE_CONTROLS   (UINT64_C(1) << 55)
#define BASIC_WRITE_BACK      6

enum need {
	REQUIRED,			/* set; without it we can't run */
	WANTED,				/* set where it can be */
	SWITCHED,			/* required; set and cleared as a vCPU runs */
	CLEAR,				/* must be clear, and so must be allowed to be */
	NOTED,				/* reported; whoever uses it sets it */
};

struct control {
	enum control_word word;
	unsigned bit;
	enum need need;
	const char *name;
};

static const struct control controls[] = {
	{ PIN,       0,  REQUIRED, "external-interrupt exiting" },
	{ PIN,       3,  REQUIRED, "NMI exiting" },
	{ PIN,       6,  REQUIRED, "activate VMX-preemption timer" },
	{ PRIMARY,   2,  SWITCHED, "interrupt-window exiting" },
	{ PRIMARY,   3,  REQUIRED, "use TSC offsetting" },
	{ PRIMARY,   7,  REQUIRED, "HLT exiting" },
	{ PRIMARY,   10, REQUIRED, "MWAIT exiting" },
	{ PRIMARY,   11, REQUIRED, "RDPMC exiting" },
	{ PRIMARY,   15, CLEAR,    "CR3-load exiting" },
	{ PRIMARY,   16, CLEAR,    "CR3-store exiting" },
	{ PRIMARY,   19, REQUIRED, "CR8-load exiting" },	/* or it is the host's TPR */
	{ PRIMARY,   20, REQUIRED, "CR8-store exiting" },
	{ PRIMARY,   25, REQUIRED, "use I/O bitmaps" },
	{ PRIMARY,   28, REQUIRED, "use MSR bitmaps" },
	{ PRIMARY,   29, REQUIRED, "MONITOR exiting" },
	{ PRIMARY,   31, REQUIRED, "activate secondary controls" },
	{ SECONDARY, 1,  REQUIRED, "enable EPT" },
	{ SECONDARY, 5,  WANTED,   "enable VPID" },
	{ SECONDARY, 7,  REQUIRED, "unrestricted guest" },
	{ SECONDARY, 17, NOTED,    "enable PML" },		/* where it can be, for some logs */
	{ EXIT,      2,  REQUIRED, "save debug controls" },
	{ EXIT,      9,  REQUIRED, "host address-space size" },
	{ EXIT,      18, REQUIRED, "save IA32_PAT" },
	{ EXIT,      19, REQUIRED, "load IA32_PAT on VM exit" },
	{ EXIT,      20, REQUIRED, "save IA32_EFER" },
	{ EXIT,      21, REQUIRED, "load IA32_EFER on VM exit" },
	{ ENTRY,     2,  REQUIRED, "load debug controls" },
	{ ENTRY,     9,  SWITCHED, "IA-32e mode guest" },
	{ ENTRY,     14, REQUIRED, "load IA32_PAT" },
	{ ENTRY,     15, REQUIRED, "load IA32_EFER" },
	{ EPT_VPID,  0,  NOTED,    "EPT execute-only translations" },
	{ EPT_VPID,  6,  REQUIRED, "EPT page-walk length 4" },
	{ EPT_VPID,  14, REQUIRED, "EPT write-back memory type" },
	{ EPT_VPID,  16, WANTED,   "EPT 2-MByte pages" },
	{ EPT_VPID,  17, WANTED,   "EPT 1-GByte pages" },
	{ EPT_VPID,  20, REQUIRED, "INVEPT" },
	{ EPT_VPID,  21, WANTED,   "accessed and dirty flags for EPT" },
	{ EPT_VPID,  25, REQUIRED, "single-context INVEPT" },
	{ EPT_VPID,  26, WANTED,   "all-context INVEPT" },
	{ EPT_VPID,  32, WANTED,   "INVVPID" },
	{ EPT_VPID,  41, WANTED,   "single-context INVVPID" },
	{ EPT_VPID,  42, WANTED,   "all-context INVVPID" },
};

enum { CONTROLS = sizeof controls / sizeof controls[0] };

struct vmx_caps vmx_caps;

bool vmx_present(void)
{
	return insn_cpuid(1, 0).ecx & UINT32_C(1) << 5;
}

void caps_read(uint64_t allowed[CONTROL_WORDS])
{
	static const uint16_t msrs[2][EPT_VPID] = {
		{ 0x481, 0x482, 0x48b, 0x483, 0x484 },
		{ 0x48d, 0x48e, 0x48b, 0x48f, 0x490 },	/* the TRUE ones; SECONDARY has none */
	};
	const uint64_t ept_or_vpid = UINT64_C(0x22) << 32, secondary = UINT64_C(1) << 63;
	bool true_controls = insn_rdmsr(MSR_VMX_BASIC) & BASIC_TRUE_CONTROLS;

	for (unsigned word = PIN; word < CONTROL_WORDS; word++)
		allowed[word] = 0;
	for (unsigned word = PIN; word < EPT_VPID; word++)
		if (word != SECONDARY || allowed[PRIMARY] & secondary)
			allowed[word] = insn_rdmsr(msrs[true_controls][word]);
	/* This MSR, as that of SECONDARY, is there only if what leads to it is. */
	if (allowed[SECONDARY] & ept_or_vpid)
		allowed[EPT_VPID] = insn_rdmsr(MSR_VMX_EPT_VPID);
}

static bool may_be_set(const struct control *control, uint64_t allowed)
{
	return allowed >> (control->word == EPT_VPID ? 0 : 32) >> control->bit & 1;
}

static bool may_be_clear(const struct control *control, uint64_t allowed)
{
	return control->word == EPT_VPID || !(allowed >> control->bit & 1);
}

static bool satisfied(const struct control *control, uint64_t allowed)
{
	switch (control->need) {
	case REQUIRED:
		return may_be_set(control, allowed);
	case SWITCHED:
		return may_be_set(control, allowed) && may_be_clear(control, allowed);
	case CLEAR:
		return may_be_clear(control, allowed);
	case WANTED:
	case NOTED:
		return true;
	}
	return false;
}

/* A list of names in a string of fixed size; what no longer fits is left out whole. */
struct names { char *text; unsigned size, used; };

static void names_add(struct names *names, const char *name)
{
	unsigned length = 0;

	while (name[length])
		length++;
	if (names->used + length + 3 > names->size)
		return;
	if (names->used) {
		names->text[names->used++] = ',';
		names->text[names->used++] = ' ';
	}
	for (unsigned i = 0; i < length; i++)
		names->text[names->used++] = name[i];
	names->text[names->used] = 0;
}

static void choose_controls(const uint64_t allowed[CONTROL_WORDS], struct vmx_caps *caps,
			    struct names *missing)
{
	for (unsigned i = 0; i < CONTROLS; i++) {
		const struct control *control = &controls[i];
		enum control_word word = control->word;
		bool set = control->need == REQUIRED || control->need == WANTED;

		if (!satisfied(control, allowed[word]))
			names_add(missing, control->name);
		if (word != EPT_VPID && set && may_be_set(control, allowed[word]))
			caps->control[word] |= UINT32_C(1) << control->bit;
	}
	for (unsigned word = PIN; word < EPT_VPID; word++)
		caps->control[word] |= (uint32_t)allowed[word];
}

static bool bit(uint64_t word, unsigned number)
{
	return word >> number & 1;
}

/* VPIDs are of use only when they can be invalidated. */
static void choose_vpid(uint64_t ept_vpid, struct vmx_caps *caps)
{
	const uint32_t enable_vpid = UINT32_C(1) << 5;

	caps->invvpid_single = bit(ept_vpid, 41);
	caps->vpid = caps->control[SECONDARY] & enable_vpid && bit(ept_vpid, 32) &&
		(bit(ept_vpid, 41) || bit(ept_vpid, 42));
	if (!caps->vpid)
		caps->control[SECONDARY] &= ~enable_vpid;
}

static void note_ept(uint64_t ept_vpid, struct vmx_caps *caps)
{
	caps->ept.max_level = LEVEL_4K;
	if (bit(ept_vpid, 16))
		caps->ept.max_level = bit(ept_vpid, 17) ? LEVEL_1G : LEVEL_2M;
	caps->ept.accessed_dirty = bit(ept_vpid, 21);
	caps->invept_all = bit(ept_vpid, 26);
	caps->execute_only = bit(ept_vpid, 0);
}

void caps_choose(const uint64_t allowed[CONTROL_WORDS], struct vmx_caps *caps, char *missing,
		 unsigned size)
{
	struct names names = { missing, size, 0 };

	missing[0] = 0;
	*caps = (struct vmx_caps){ 0 };
	choose_controls(allowed, caps, &names);
	choose_vpid(allowed[EPT_VPID], caps);
	note_ept(allowed[EPT_VPID], caps);
	caps->pml = bit(allowed[SECONDARY], 32 + 17);
	/* It lists where D is set: SDM "Page-Modification Logging". */
	caps->ept.pml = caps->pml && caps->ept.accessed_dirty;
}

/* SDM "CPUID", leaf 0DH: which state components there are, and what saving all of them takes. */
static void note_fpu(void)
{
	struct cpuid leaf;

	vmx_caps.fpu_bytes = 512;
	vmx_caps.xsave = insn_cpuid(1, 0).ecx & UINT32_C(1) << 26;
	if (!vmx_caps.xsave)
		return;
	leaf = insn_cpuid(0xd, 0);
	vmx_caps.xcr0 = (uint64_t)leaf.edx << 32 | leaf.eax;
	vmx_caps.fpu_bytes = leaf.ecx;
}

static bool feature_control_usable(void)
{
	uint64_t control = insn_rdmsr(MSR_FEATURE_CONTROL);

	return !(control & FEATURE_CONTROL_LOCK) || (control & FEATURE_CONTROL_VMXON);
}

/* What is missing beside controls; goes behind what caps_choose listed. */
static void check_basics(struct names *names)
{
	while (names->used < names->size && names->text[names->used])
		names->used++;
	if (!feature_control_usable())
		names_add(names, "VMX outside SMX (IA32_FEATURE_CONTROL, locked by firmware)");
	if ((insn_rdmsr(MSR_VMX_BASIC) >> 50 & 15) != BASIC_WRITE_BACK)
		names_add(names, "write-back memory type for the VMCS");
}

enum status vmx_probe(char *missing, unsigned size)
{
	struct names names = { missing, size, 0 };
	uint64_t allowed[CONTROL_WORDS];

	missing[0] = 0;
	if (!vmx_present()) {
		names_add(&names, "CPUID.1:ECX.VMX[bit 5]");
		return STATUS_UNSUPPORTED;
	}
	caps_read(allowed);
	caps_choose(allowed, &vmx_caps, missing, size);
	check_basics(&names);
	note_fpu();
	vmx_caps.revision = (uint32_t)insn_rdmsr(MSR_VMX_BASIC) & 0x7fffffff;
	vmx_caps.timer_shift = (unsigned)insn_rdmsr(MSR_VMX_MISC) & 31;
	vmx_caps.cr0_fixed0 = insn_rdmsr(MSR_VMX_CR0_FIXED0);
	vmx_caps.cr0_fixed1 = insn_rdmsr(MSR_VMX_CR0_FIXED0 + 1);
	vmx_caps.cr4_fixed0 = insn_rdmsr(MSR_VMX_CR0_FIXED0 + 2);
	vmx_caps.cr4_fixed1 = insn_rdmsr(MSR_VMX_CR0_FIXED0 + 3);
	vmx_caps.probed = !names.used;
	return names.used ? STATUS_UNSUPPORTED : STATUS_OK;
}

const struct ept_caps *vmx_ept_caps(void)
{
	return &vmx_caps.ept;
}

void vmx_print_caps(void)
{
	static const char *const words[] = { "pin-based", "primary", "secondary", "VM-exit",
					     "VM-entry", "EPT and VPID" };

	uint64_t allowed[CONTROL_WORDS];

	caps_read(allowed);
	for (unsigned i = 0; i < CONTROLS; i++) {
		const struct control *control = &controls[i];
		bool there = may_be_set(control, allowed[control->word]);
		const char *state = there ? "there" : "not there";

		if (control->word != EPT_VPID &&
		    vmx_caps.control[control->word] >> control->bit & 1)
			state = "set";
		port_log("vmx: %s: %s: %s", words[control->word], control->name, state);
	}
	port_log("vmx: preemption timer counts TSC / 2^%u; XCR0 0x%llx in %u bytes",
		 vmx_caps.timer_shift, (unsigned long long)vmx_caps.xcr0, vmx_caps.fpu_bytes);
}

/*
 * SDM "Enabling and Entering VMX Operation": firmware may leave IA32_FEATURE_CONTROL unlocked;
 * then it is ours to set and lock, on each CPU.
 */
static enum status allow_vmxon(void)
{
	uint64_t control = insn_rdmsr(MSR_FEATURE_CONTROL);

	if (!feature_control_usable())
		return STATUS_UNSUPPORTED;
	if (!(control & FEATURE_CONTROL_LOCK))
		insn_wrmsr(MSR_FEATURE_CONTROL,
			   control | FEATURE_CONTROL_LOCK | FEATURE_CONTROL_VMXON);
	return STATUS_OK;
}

enum status caps_allow_vmxon(void)
{
	/* A CPU of another make than the boot CPU has VMCSs that can't move here. */
	if (!vmx_caps.probed || !vmx_present() ||
	    ((uint32_t)insn_rdmsr(MSR_VMX_BASIC) & 0x7fffffff) != vmx_caps.revision)
		return STATUS_UNSUPPORTED;
	return allow_vmxon();
}
