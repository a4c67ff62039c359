/*
 * CPUID: of what the CPU has, the features that work in a guest here. Feature words are masks of
 * what may show; what is not named in a mask does not exist for the guest. All of it is asked of
 * the CPU and masked once, when the machine is made; an exit finds it in a table. SDM "CPUID".
 */
#include "guest/machine/parts.h"

#include "guest/abi.h"
#include "vmx/port.h"

#define BIT(n) (UINT32_C(1) << (n))

/*
 * Left out, because a control, an MSR or a device for it is missing: VMX, SMX, MONITOR, DS, thermal
 * and performance monitoring, x2APIC, local APIC, TSC deadline, MTRR, machine check, PDCM, DCA,
 * RDTSCP, INVPCID, XSAVES, SGX, PT, PKU.
 */
#define LEAF1_EDX                                                                                  \
	(BIT(0) /* FPU */ | BIT(1) /* VME */ | BIT(2) /* DE */ | BIT(3) /* PSE */ |                \
	 BIT(4) /* TSC */ | BIT(5) /* MSR */ | BIT(6) /* PAE */ | BIT(8) /* CX8 */ |               \
	 BIT(11) /* SEP */ | BIT(13) /* PGE */ | BIT(15) /* CMOV */ | BIT(16) /* PAT */ |          \
	 BIT(17) /* PSE-36 */ | BIT(19) /* CLFSH */ | BIT(23) /* MMX */ | BIT(24) /* FXSR */ |     \
	 BIT(25) /* SSE */ | BIT(26) /* SSE2 */ | BIT(27) /* SS */)
#define LEAF1_ECX                                                                                  \
	(BIT(0) /* SSE3 */ | BIT(1) /* PCLMULQDQ */ | BIT(9) /* SSSE3 */ | BIT(12) /* FMA */ |     \
	 BIT(13) /* CX16 */ | BIT(17) /* PCID */ | BIT(19) /* SSE4.1 */ | BIT(20) /* SSE4.2 */ |   \
	 BIT(22) /* MOVBE */ | BIT(23) /* POPCNT */ | BIT(25) /* AES */ | BIT(26) /* XSAVE */ |    \
	 BIT(28) /* AVX */ | BIT(29) /* F16C */ | BIT(30) /* RDRAND */)
#define LEAF1_ECX_OSXSAVE    BIT(27)
#define LEAF1_ECX_HYPERVISOR BIT(31)
#define LEAF7_EBX                                                                                  \
	(BIT(0) /* FSGSBASE */ | BIT(3) /* BMI1 */ | BIT(5) /* AVX2 */ | BIT(7) /* SMEP */ |       \
	 BIT(8) /* BMI2 */ | BIT(9) /* ERMS */ | BIT(16) /* AVX512F */ | BIT(17) /* AVX512DQ */ |  \
	 BIT(18) /* RDSEED */ | BIT(19) /* ADX */ | BIT(20) /* SMAP */ |                           \
	 BIT(21) /* AVX512_IFMA */ | BIT(23) /* CLFLUSHOPT */ | BIT(24) /* CLWB */ |               \
	 BIT(28) /* AVX512CD */ | BIT(29) /* SHA */ | BIT(30) /* AVX512BW */ |                     \
	 BIT(31) /* AVX512VL */)
#define LEAF7_ECX                                                                                  \
	(BIT(1) /* AVX512_VBMI */ | BIT(2) /* UMIP */ | BIT(6) /* AVX512_VBMI2 */ |                \
	 BIT(8) /* GFNI */ | BIT(9) /* VAES */ | BIT(10) /* VPCLMULQDQ */ | BIT(11) /* VNNI */ |   \
	 BIT(12) /* BITALG */ | BIT(14) /* VPOPCNTDQ */)
#define LEAFD_XCR0 (BIT(0)	/* x87 */ | BIT(1) /* SSE */ | BIT(2) /* AVX */ | \
		   BIT(5) | BIT(6) | BIT(7) /* AVX-512 */)
#define LEAFD_1_EAX (BIT(0) /* XSAVEOPT */ | BIT(1) /* XSAVEC */ | BIT(2) /* XGETBV with ECX = 1   \
									   */)
#define EXTENDED1_ECX                                                                              \
	(BIT(0) /* LAHF in 64-bit mode */ | BIT(5) /* LZCNT */ | BIT(8) /* PREFETCHW */)
#define EXTENDED1_EDX (BIT(11)	/* SYSCALL */ | BIT(20) /* NX */ | BIT(26) /* 1-GByte pages */ | \
		   BIT(29) /* Intel 64 */)

enum { BASIC_MAX = CPUID_BASIC - 1, EXTENDED_MAX = CPUID_EXTENDED - 1, SUBLEAF_AVX512_LAST = 7 };

#define EXTENDED      0x80000000
#define CR4_OSXSAVE   (UINT64_C(1) << 18)

static struct cpuid real_cpuid(uint32_t leaf, uint32_t subleaf)
{
	struct cpuid c;

	__asm__ volatile("cpuid"
			 : "=a"(c.eax), "=b"(c.ebx), "=c"(c.ecx), "=d"(c.edx)
			 : "a"(leaf), "c"(subleaf));
	return c;
}

static uint32_t at_most(uint32_t value, uint32_t limit) { return value < limit ? value : limit; }

/* Caches as they are, each of them of one CPU alone. */
static struct cpuid cache_leaf(uint32_t subleaf)
{
	struct cpuid c = real_cpuid(4, subleaf);

	c.eax &= 0x3fff;
	return c;
}

static struct cpuid xsave_leaf(uint32_t subleaf)
{
	struct cpuid c = real_cpuid(0xd, subleaf);

	switch (subleaf) {
	case 0:
		c.eax &= LEAFD_XCR0;
		c.edx = 0;
		return c;
	case 1:
		return (struct cpuid){ .eax = c.eax & LEAFD_1_EAX };
	default:
		if (subleaf <= SUBLEAF_AVX512_LAST && (LEAFD_XCR0 & BIT(subleaf)))
			return c;
		return (struct cpuid){ 0 };
	}
}

static struct cpuid basic_leaf(uint32_t leaf, uint32_t subleaf)
{
	struct cpuid c = real_cpuid(leaf, subleaf);

	switch (leaf) {
	case 0:
		c.eax = at_most(c.eax, BASIC_MAX);
		return c;
	case 1:
		c.ebx &= 0x0000ff00;	/* the CLFLUSH line size */
		c.ecx = (c.ecx & LEAF1_ECX) | LEAF1_ECX_HYPERVISOR;
		c.edx &= LEAF1_EDX;
		return c;
	case 2:
		return c;
	case 4:
		return cache_leaf(subleaf);
	case 7:
		return subleaf ? (struct cpuid){ 0 } :
				 (struct cpuid){ 0, c.ebx & LEAF7_EBX, c.ecx & LEAF7_ECX, 0 };
	case 0xd:
		return xsave_leaf(subleaf);
	default:
		return (struct cpuid){ 0 };
	}
}

static struct cpuid extended_leaf(uint32_t leaf)
{
	struct cpuid c = real_cpuid(leaf, 0);

	switch (leaf - EXTENDED) {
	case 0:
		return (struct cpuid){ .eax = at_most(c.eax, EXTENDED + EXTENDED_MAX) };
	case 1:
		return (struct cpuid){ c.eax, 0, c.ecx & EXTENDED1_ECX, c.edx & EXTENDED1_EDX };
	case 2:
	case 3:
	case 4:
	case 6:
		return c;
	case 7:
		return (struct cpuid){ .edx = c.edx & BIT(8) };	/* the TSC's rate is constant */
	case 8:				/* 4-level tables: 48 bits of linear address */
		return (struct cpuid){ .eax = at_most(c.eax & 0xff, 48) | 48 << 8 };
	default:
		return (struct cpuid){ 0 };
	}
}

static struct cpuid signature_leaf(void)
{
	return (struct cpuid){ ABI_CPUID_MACHINE, 0x696c6f66 /* foli */, 0x7369766f /* ovis */,
			       0x0000726f /* or */ };
}

/* ------------------------------------------------------------------ the table */

static void add_subleaves(struct cpuid_table *table, unsigned leaf, unsigned row, unsigned count)
{
	table->basic[leaf].row = (uint8_t)row;
	table->basic[leaf].subleaves = (uint16_t)count;
	for (unsigned i = 0; i < count; i++)
		table->subleaf[row][i] = basic_leaf(leaf, i);
}

static void mark_plain(struct cpuid_leaf *leaves, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		leaves[i].plain = !leaves[i].subleaves && !leaves[i].varies;
}

void cpuid_make_table(struct machine *m)
{
	struct cpuid_table *table = &m->cpuid;

	for (unsigned i = 0; i < CPUID_BASIC; i++)
		table->basic[i].answer = basic_leaf(i, 0);
	add_subleaves(table, 4, 0, CPUID_SUBLEAVES);
	add_subleaves(table, 7, 1, 1);
	add_subleaves(table, 0xd, 2, CPUID_SUBLEAVES);
	for (unsigned i = 0; i < CPUID_EXTENDED; i++)
		table->extended[i].answer = extended_leaf(EXTENDED + i);
	table->signature[0].answer = signature_leaf();
	table->signature[1].answer.eax = m->cpu_count;
	table->signature[1].answer.ecx = (uint32_t)(port_tsc_hz() / 1000);
	table->basic[1].answer.ebx |= m->cpu_count << 16;
	if (m->cpu_count > 1)
		table->basic[1].answer.edx |= BIT(28);	/* HTT: the count in EBX is valid */
	table->basic[1].varies = table->basic[0xd].varies = table->signature[1].varies = true;
	mark_plain(table->basic, CPUID_BASIC);
	mark_plain(table->signature, CPUID_SIGNATURE);
	mark_plain(table->extended, CPUID_EXTENDED);
}

uint32_t cpuid_xcr0(const struct machine *m)
{
	return m->cpuid.subleaf[m->cpuid.basic[0xd].row][0].eax;
}

/* ------------------------------------------------------------------ the exit */

static const struct cpuid_leaf *find_leaf(const struct cpuid_table *table, uint32_t leaf)
{
	static const struct cpuid_leaf none = { .plain = true };

	if (leaf < CPUID_BASIC)
		return &table->basic[leaf];
	if (leaf - EXTENDED < CPUID_EXTENDED)
		return &table->extended[leaf - EXTENDED];
	if (leaf - ABI_CPUID_SIGNATURE < CPUID_SIGNATURE)
		return &table->signature[leaf - ABI_CPUID_SIGNATURE];
	return &none;
}

/* What no table has: the vCPU's number, and what depends on its CR4 and XCR0. */
static struct cpuid of_cpu(struct virtual_cpu *cpu, uint32_t leaf, uint32_t subleaf, struct cpuid c)
{
	if (leaf == 1) {
		c.ebx |= cpu->number << 24;
		if (vcpu_control(cpu->vcpu, CONTROL_CR4) & CR4_OSXSAVE)
			c.ecx |= LEAF1_ECX_OSXSAVE;
	} else if (leaf == ABI_CPUID_MACHINE) {
		c.ebx = cpu->number;
	} else if (leaf == 0xd && subleaf == 0) {
		c.ebx = real_cpuid(leaf, subleaf).ebx;	/* by the XCR0 in the CPU: the guest's */
	}
	return c;
}

static enum vcpu_go tell(struct vcpu *vcpu, struct cpuid c)
{
	vcpu_set_reg(vcpu, REG_RAX, c.eax);
	vcpu_set_reg(vcpu, REG_RBX, c.ebx);
	vcpu_set_reg(vcpu, REG_RCX, c.ecx);
	vcpu_set_reg(vcpu, REG_RDX, c.edx);
	return VCPU_PAST;
}

static __attribute__((noinline))
enum vcpu_go tell_refined(struct virtual_cpu *cpu, const struct cpuid_leaf *found)
{
	uint32_t leaf = (uint32_t)vcpu_reg(cpu->vcpu, REG_RAX);
	uint32_t subleaf = (uint32_t)vcpu_reg(cpu->vcpu, REG_RCX);
	struct cpuid c = found->answer;

	if (found->subleaves)
		c = subleaf < found->subleaves ? cpu->machine->cpuid.subleaf[found->row][subleaf] :
						 (struct cpuid){ 0 };
	return tell(cpu->vcpu, found->varies ? of_cpu(cpu, leaf, subleaf, c) : c);
}

enum vcpu_go answer_cpuid(struct vcpu_turn *turn, const struct vcpu_exit *exit)
{
	struct virtual_cpu *cpu = cpu_of(turn);
	uint32_t leaf = (uint32_t)vcpu_reg(cpu->vcpu, REG_RAX);
	const struct cpuid_leaf *found = find_leaf(&cpu->machine->cpuid, leaf);

	(void)exit;
	return found->plain ? tell(cpu->vcpu, found->answer) : tell_refined(cpu, found);
}
