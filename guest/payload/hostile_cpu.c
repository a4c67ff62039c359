/*
 * The hostile guest's processor: descriptors, sane page tables, and the trap that every piece of
 * code ends in. All traps change to a stack of their own (SDM "Interrupt Stack Table"), so a piece
 * may ruin its registers; what it does to tables and descriptors may end the VM, as it likes.
 */
#include "guest/payload/hostile.h"

extern const char trap_entries[];	/* 48, 16 bytes apart */

enum { VECTORS = 256, ENTRIES = 48, VECTOR_DB = 1, VECTOR_IRQ0 = 32, VECTOR_IRQ_LAST = 47 };
enum { TSS_SELECTOR = 0x48, TSS_INDEX = 9, TRAP_STACK = 4096 };
enum { STEPS = 200 };			/* of a piece that runs with TF */

#define RFLAGS_TF      (UINT64_C(1) << 8)
#define MSR_EFER       0xc0000080u
#define CR0_SANE       UINT64_C(0x80000013)
#define CR4_SANE       UINT64_C(0x00000020)
#define LARGE          UINT64_C(0xe3)	/* a large page, dirty, accessed, writable */
#define LARGE_USER     UINT64_C(0xe7)
#define LARGE_BYTES    UINT64_C(0x200000)
#define NOWHERE        (ABI_FLAT_REGION1 - LARGE_BYTES)	/* mapped, and nothing is there */

struct __attribute__((packed)) table { uint16_t limit; uint64_t base; };
struct __attribute__((packed)) tss {
	uint32_t reserved;
	uint64_t rsp[3], reserved2, ist[7], reserved3;
	uint16_t reserved4, io_map;
};

/* SDM "Segment Descriptors": flat code and data of each size and privilege, then the TSS. */
static const uint64_t gdt_sane[WILD_SELECTOR / 8] = {
	0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cf9b000000ffff, 0x008f9b000000ffff,
	0x00affb000000ffff, 0x00cff3000000ffff, 0x00cffb000000ffff, 0x008f93000000ffff,
};
static const uint16_t code_selectors[PIECE_MODES] = { 0x08, 0x2b, 0x18, 0x3b, 0x20 };
static const uint16_t data_selectors[PIECE_MODES] = { 0x10, 0x33, 0x10, 0x33, 0x40 };

static uint64_t gdt[WILD_SELECTOR / 8 + WILD_DESCRIPTORS];
static uint64_t idt[VECTORS * 2];
static struct tss tss;
static uint8_t trap_stack[TRAP_STACK] __attribute__((aligned(16)));
static uint8_t main_stack[TRAP_STACK] __attribute__((aligned(16)));
static uint64_t root[512] __attribute__((aligned(4096)));
static uint64_t upper[512] __attribute__((aligned(4096)));
static uint64_t lower[2][512] __attribute__((aligned(4096)));
static uint64_t root_pae[512] __attribute__((aligned(4096)));
static uint32_t root_32[1024] __attribute__((aligned(4096)));
static struct table gdtr, idtr;
static unsigned steps;

/* ------------------------------------------------------------------ tables that work */

/* What there is, as it is, in each kind of paging; for user code the test memory alone. */
static bool has_memory(uint64_t address, uint64_t test_bytes)
{
	return !address || (address >= ABI_FLAT_REGION1 && address < ABI_FLAT_REGION1 + test_bytes);
}

static uint64_t large_page(uint64_t address)
{
	return address | (address < ABI_FLAT_REGION1 ? LARGE : LARGE_USER);
}

static void make_page_tables(uint64_t test_bytes)
{
	for (uint64_t at = 0; at < UINT64_C(1) << 31; at += LARGE_BYTES)
		if (has_memory(at, test_bytes) || at == NOWHERE)
			lower[at >> 30][at >> 21 & 511] = large_page(at);
	for (uint64_t at = 0; at < UINT64_C(1) << 31; at += 2 * LARGE_BYTES)
		if (has_memory(at, test_bytes))
			root_32[at >> 22] = (uint32_t)large_page(at);
	for (unsigned gib = 0; gib < 2; gib++) {
		upper[gib] = (uint64_t)lower[gib] | 7;
		root_pae[gib] = (uint64_t)lower[gib] | 1;
	}
	root[0] = (uint64_t)upper | 7;
}

static void make_idt(void)
{
	for (unsigned v = 0; v < VECTORS; v++) {
		unsigned entry = v < ENTRIES ? v : VECTOR_IRQ0 + v % 16;
		uint64_t at = (uint64_t)trap_entries + entry * 16;

		/* An interrupt gate of DPL 3, stack 1: SDM "64-Bit Mode IDT Descriptors". */
		idt[v * 2] = (at & 0xffff) | 0x08 << 16 | UINT64_C(0xee01) << 32 |
			     (at >> 16 & 0xffff) << 48;
		idt[v * 2 + 1] = at >> 32;
	}
}

static void make_gdt(void)
{
	uint64_t at = (uint64_t)&tss;

	for (unsigned i = 0; i < WILD_SELECTOR / 8; i++)
		gdt[i] = gdt_sane[i];
	gdt[TSS_INDEX] = (sizeof(tss) - 1) | (at & 0xffffff) << 16 | UINT64_C(0x89) << 40 |
			 (at >> 24 & 0xff) << 56;
	gdt[TSS_INDEX + 1] = at >> 32;
}

static void load_tables(void)
{
	make_gdt();			/* the TSS is no longer busy, too */
	__asm__ volatile("mov %0, %%cr3\n\t"
			 "mov %1, %%cr4\n\t"
			 "mov %2, %%cr0" :: "r"(root), "r"(CR4_SANE), "r"(CR0_SANE) : "memory");
	__asm__ volatile("lgdt %0\n\t"
			 "lidt %1\n\t"
			 "ltr %w2\n\t"
			 "lldt %w3" :: "m"(gdtr), "m"(idtr), "r"(TSS_SELECTOR), "r"(0) : "memory");
	__asm__ volatile("mov %0, %%ds\n\t"
			 "mov %0, %%es\n\t"
			 "mov %0, %%fs\n\t"
			 "mov %0, %%gs\n\t"
			 "mov %1, %%dr7" :: "r"(0x10), "r"(UINT64_C(0x400)) : "memory");
}

/* ------------------------------------------------------------------ what pieces need to know */

uint64_t cpu_sane_root(void) { return (uint64_t)root; }
uint64_t cpu_sane_root_32(void) { return (uint64_t)root_32; }
uint64_t cpu_sane_root_pae(void) { return (uint64_t)root_pae; }
uint64_t cpu_sane_upper_table(void) { return (uint64_t)upper; }
uint64_t cpu_sane_gdtr(void) { return (uint64_t)&gdtr; }
uint64_t cpu_sane_idtr(void) { return (uint64_t)&idtr; }
uint64_t *cpu_wild_descriptors(void) { return &gdt[WILD_SELECTOR / 8]; }
uint16_t cpu_code_selector(enum piece_mode mode) { return code_selectors[mode]; }
uint16_t cpu_data_selector(enum piece_mode mode) { return data_selectors[mode]; }

/* ------------------------------------------------------------------ into a piece and out of it */

void enter_piece(const struct piece_frame *frame)
{
	steps = STEPS;
	__asm__ volatile("mov %0, %%rsp\n\t"
			 "pop %%r15\n\tpop %%r14\n\tpop %%r13\n\tpop %%r12\n\t"
			 "pop %%r11\n\tpop %%r10\n\tpop %%r9\n\tpop %%r8\n\t"
			 "pop %%rdi\n\tpop %%rsi\n\tpop %%rbp\n\tpop %%rbx\n\t"
			 "pop %%rdx\n\tpop %%rcx\n\tpop %%rax\n\t"
			 "iretq" :: "r"(frame) : "memory");
	__builtin_unreachable();
}

static _Noreturn void go_on(void)
{
	__asm__ volatile("mov %0, %%rsp\n\t"
			 "call next_piece" :: "r"(main_stack + sizeof(main_stack)) : "memory");
	__builtin_unreachable();
}

/*
 * A single step goes on for a while, an exception behind the instruction that made it, where the
 * piece is known so well. Else, and at the timer, the piece is over and the CPU made sane.
 */
void trap(uint64_t vector, uint64_t error, struct trap_frame *frame)
{
	uint64_t next = vector < VECTOR_IRQ0 ? resume_piece(frame->rip) : 0;

	(void)error;
	if (vector == VECTOR_DB && (frame->rflags & RFLAGS_TF) && steps--)
		return;
	if (next) {
		frame->rip = next;
		return;
	}
	load_tables();
	if (vector >= VECTOR_IRQ0 && vector <= VECTOR_IRQ_LAST) {
		out8(0xa0, 0x20);
		out8(0x20, 0x20);
	}
	go_on();
}

void cpu_set_up(uint64_t test_bytes)
{
	make_page_tables(test_bytes);
	make_idt();
	tss = (struct tss){ .io_map = sizeof(tss) };
	for (unsigned i = 0; i < 7; i++)
		tss.ist[i] = (uint64_t)(trap_stack + sizeof(trap_stack));
	for (unsigned i = 0; i < 3; i++)
		tss.rsp[i] = tss.ist[0];
	gdtr = (struct table){ sizeof(gdt) - 1, (uint64_t)gdt };
	idtr = (struct table){ sizeof(idt) - 1, (uint64_t)idt };
	load_tables();
}
