/*
 * A guest that means harm: piece after piece of code, drawn from the seed in the mailbox, each run
 * with random registers until a trap, the timer, or the end of the VM. A piece is a row of
 * instructions that a hypervisor has to answer for, with operands that are nearly right, and of
 * random bytes. Each life draws which kinds it likes (Groce et al., "Swarm Testing"), so that
 * what ends a VM early does not hide the rest.
 *
 * It never ends by itself: who runs it counts its exits and ends it.
 */
#include "guest/payload/hostile.h"

enum { STARTS_MAX = 128, RESUMPTIONS_MAX = 64 };

static uint32_t likes;			/* kinds of instruction, by bit */
static uint8_t *code, *code_start, *code_end;
static unsigned pieces;
/* Where the piece's instructions begin, as offsets: a trap goes on behind the one that made it. */
static uint16_t starts[STARTS_MAX];
static unsigned start_count, resumptions;

/* ------------------------------------------------------------------ instructions */

enum kind { K_IO, K_MSR, K_CR, K_DESCRIPTOR, K_PAGING, K_VMX, K_MEMORY, K_STRING, K_FLOW, K_CPUID,
	    K_CPU, K_RANDOM, KINDS };

enum pointer { POINTER_NONE, POINTER_ANY, POINTER_GDTR, POINTER_IDTR };

/* RAX, RCX, RDX get values of that sort first; `pointer`: what RSI and RDI get. */
struct instruction {
	uint8_t kind, length, rax, rcx, rdx, pointer;
	char bytes[10];
};

#define I(kind, a, c, d, p, text) { kind, sizeof(text) - 1, a, c, d, p, text }

/* By kind. */
static const struct instruction instructions[] = {
	I(K_IO, V_ANY, V_NONE, V_PORT, 0, "\xec"), I(K_IO, V_ANY, V_NONE, V_PORT, 0, "\xed"),
	I(K_IO, V_ANY, V_NONE, V_PORT, 0, "\x66\xed"), I(K_IO, V_ANY, V_NONE, V_PORT, 0, "\xee"),
	I(K_IO, V_ANY, V_NONE, V_PORT, 0, "\xef"), I(K_IO, V_ANY, V_NONE, V_PORT, 0, "\x66\xef"),
	/* Strings of I/O: all sizes, REP, backwards, other segments, other addresses. */
	I(K_IO, V_NONE, V_COUNT, V_PORT, 1, "\xf3\x6c"),
	I(K_IO, V_NONE, V_COUNT, V_PORT, 1, "\xf3\x6e"),
	I(K_IO, V_NONE, V_COUNT, V_PORT, 1, "\xf3\x6d"),
	I(K_IO, V_NONE, V_COUNT, V_PORT, 1, "\xf3\x66\x6f"),
	I(K_IO, V_NONE, V_NONE, V_PORT, 1, "\x6d"), I(K_IO, V_NONE, V_NONE, V_PORT, 1, "\x6f"),
	I(K_IO, V_NONE, V_COUNT, V_PORT, 1, "\xfd\xf3\x6f\xfc"),
	I(K_IO, V_NONE, V_COUNT, V_PORT, 1, "\x67\xf3\x6e"),
	I(K_IO, V_NONE, V_COUNT, V_PORT, 1, "\x65\xf3\x6e"),
	I(K_IO, V_NONE, V_COUNT, V_PORT, 1, "\x36\xf3\x6d"),
	I(K_MSR, V_NONE, V_MSR, V_NONE, 0, "\x0f\x32"),
	I(K_MSR, V_MSR_VALUE, V_MSR, V_ZERO, 0, "\x0f\x30"),
	I(K_MSR, V_MSR_VALUE, V_MSR, V_ANY, 0, "\x0f\x30"),
	I(K_CR, V_CR0, V_NONE, V_NONE, 0, "\x0f\x22\xc0"),
	I(K_CR, V_CR4, V_NONE, V_NONE, 0, "\x0f\x22\xe0"),
	I(K_CR, V_ADDRESS, V_NONE, V_NONE, 0, "\x0f\x22\xd0"),
	I(K_CR, V_SMALL, V_NONE, V_NONE, 0, "\x44\x0f\x22\xc0"),
	I(K_CR, V_ANY, V_NONE, V_NONE, 0, "\x44\x0f\x22\xc0"),
	I(K_CR, V_NONE, V_NONE, V_NONE, 0, "\x44\x0f\x20\xc0"),
	I(K_CR, V_NONE, V_NONE, V_NONE, 0, "\x0f\x20\xc0"),
	I(K_CR, V_NONE, V_NONE, V_NONE, 0, "\x0f\x20\xe0\x0f\x22\xe0"),
	I(K_CR, V_CR0, V_NONE, V_NONE, 0, "\x0f\x01\xf0"),		/* LMSW, CLTS */
	I(K_CR, V_NONE, V_NONE, V_NONE, 0, "\x0f\x06"),
	I(K_CR, V_XCR0, V_ZERO, V_ZERO, 0, "\x0f\x01\xd1"),		/* XSETBV */
	I(K_CR, V_DR7, V_NONE, V_NONE, 0, "\x0f\x23\xf8"),
	I(K_CR, V_ANY, V_NONE, V_NONE, 0, "\x0f\x23\xf0"),
	I(K_CR, V_ADDRESS, V_NONE, V_NONE, 0, "\x0f\x23\xc0"),
	I(K_CR, V_NONE, V_NONE, V_NONE, 0, "\x0f\x21\xf8"),
	/* LGDT, LIDT with junk; LLDT, LTR, segment registers; far transfers through descriptors. */
	I(K_DESCRIPTOR, V_NONE, V_NONE, V_NONE, POINTER_GDTR, "\x0f\x01\x17"),
	I(K_DESCRIPTOR, V_NONE, V_NONE, V_NONE, POINTER_IDTR, "\x0f\x01\x1f"),
	I(K_DESCRIPTOR, V_NONE, V_NONE, V_NONE, 1, "\x0f\x01\x07"),
	I(K_DESCRIPTOR, V_SELECTOR, V_NONE, V_NONE, 0, "\x0f\x00\xd0"),
	I(K_DESCRIPTOR, V_SELECTOR, V_NONE, V_NONE, 0, "\x0f\x00\xd8"),
	I(K_DESCRIPTOR, V_SELECTOR, V_NONE, V_NONE, 0, "\x8e\xd8"),
	I(K_DESCRIPTOR, V_SELECTOR, V_NONE, V_NONE, 0, "\x8e\xe0"),
	I(K_DESCRIPTOR, V_SELECTOR, V_NONE, V_NONE, 0, "\x8e\xd0"),
	I(K_DESCRIPTOR, V_SELECTOR, V_NONE, V_NONE, 0, "\x0f\x02\xc0"),
	I(K_DESCRIPTOR, V_SELECTOR, V_ADDRESS, V_NONE, 0, "\x50\x51\xcb"),
	I(K_DESCRIPTOR, V_NONE, V_NONE, V_NONE, 1, "\xff\x2f"),
	I(K_DESCRIPTOR, V_NONE, V_NONE, V_NONE, 1, "\xff\x1f"),
	I(K_PAGING, V_CR3, V_NONE, V_NONE, 0, "\x0f\x22\xd8"),
	I(K_PAGING, V_CR3, V_NONE, V_NONE, 1, "\x0f\x22\xd8\x48\x8b\x07"),
	I(K_PAGING, V_CR3, V_NONE, V_NONE, 1, "\x0f\x22\xd8\x48\x89\x07"),
	I(K_PAGING, V_CR3, V_NONE, V_NONE, 1, "\x0f\x22\xd8\xff\xd7"),
	I(K_PAGING, V_NONE, V_NONE, V_NONE, 1, "\x0f\x01\x3f"),		/* INVLPG, INVPCID */
	I(K_PAGING, V_SMALL, V_NONE, V_NONE, 1, "\x66\x0f\x38\x82\x07"),
	I(K_PAGING, V_NONE, V_NONE, V_NONE, 0, "\x0f\x20\xd8\x0f\x22\xd8"),
	/* VMX: VMCALL to VMXOFF, VMFUNC, VMPTRLD, VMCLEAR, VMXON, VMREAD, VMWRITE, INVEPT... */
	I(K_VMX, V_CALL, V_NONE, V_ADDRESS, 1, "\x0f\x01\xc1"),
	I(K_VMX, V_CALL, V_NONE, V_ADDRESS, 1, "\xbf\x01\x00\x00\x00\x0f\x01\xc1"),
	I(K_VMX, V_NONE, V_NONE, V_NONE, 0, "\x0f\x01\xc2"),
	I(K_VMX, V_NONE, V_NONE, V_NONE, 0, "\x0f\x01\xc3"),
	I(K_VMX, V_NONE, V_NONE, V_NONE, 0, "\x0f\x01\xc4"),
	I(K_VMX, V_SMALL, V_SMALL, V_NONE, 0, "\x0f\x01\xd4"),
	I(K_VMX, V_NONE, V_NONE, V_NONE, 1, "\x0f\xc7\x37"),
	I(K_VMX, V_NONE, V_NONE, V_NONE, 1, "\x66\x0f\xc7\x37"),
	I(K_VMX, V_NONE, V_NONE, V_NONE, 1, "\xf3\x0f\xc7\x37"),
	I(K_VMX, V_NONE, V_NONE, V_NONE, 1, "\x0f\xc7\x3f"),
	I(K_VMX, V_ANY, V_ANY, V_NONE, 0, "\x0f\x78\xc1"),
	I(K_VMX, V_ANY, V_ANY, V_NONE, 0, "\x0f\x79\xc1"),
	I(K_VMX, V_SMALL, V_NONE, V_NONE, 1, "\x66\x0f\x38\x80\x07"),
	I(K_VMX, V_SMALL, V_NONE, V_NONE, 1, "\x66\x0f\x38\x81\x07"),
	I(K_MEMORY, V_ANY, V_NONE, V_NONE, 1, "\x48\x89\x07"),
	I(K_MEMORY, V_ANY, V_NONE, V_NONE, 1, "\x48\x8b\x07"),
	I(K_MEMORY, V_ANY, V_NONE, V_NONE, 1, "\xf0\x48\x0f\xc7\x0f"),
	I(K_MEMORY, V_XCR0, V_NONE, V_ZERO, 1, "\x0f\xae\x27"),		/* XSAVE, XRSTOR */
	I(K_MEMORY, V_XCR0, V_NONE, V_ZERO, 1, "\x0f\xae\x2f"),
	I(K_MEMORY, V_NONE, V_NONE, V_NONE, 1, "\x0f\xae\x0f"),
	I(K_MEMORY, V_NONE, V_NONE, V_NONE, 1, "\xc5\xfc\x11\x07"),
	/* It changes the instruction behind it. */
	I(K_MEMORY, V_ANY, V_NONE, V_NONE, 0, "\x88\x05\x01\x00\x00\x00"),
	I(K_STRING, V_ANY, V_COUNT, V_NONE, 1, "\xf3\xa4"),
	I(K_STRING, V_ANY, V_COUNT, V_NONE, 1, "\xf3\xaa"),
	I(K_STRING, V_ANY, V_COUNT, V_NONE, 1, "\xf3\x48\xa5"),
	I(K_STRING, V_ANY, V_COUNT, V_NONE, 1, "\xfd\xf3\xa4\xfc"),
	I(K_STRING, V_ANY, V_COUNT, V_NONE, 1, "\xf3\xa6"),
	I(K_FLOW, V_NONE, V_NONE, V_NONE, 0, "\xcd\x80"),
	I(K_FLOW, V_NONE, V_NONE, V_NONE, 0, "\xf1"),
	I(K_FLOW, V_NONE, V_NONE, V_NONE, 0, "\xcd\x0d"),
	I(K_FLOW, V_NONE, V_NONE, V_NONE, 0, "\xcd\x02"),
	I(K_FLOW, V_FLAGS, V_NONE, V_NONE, 0, "\x50\x9d"),
	I(K_FLOW, V_NONE, V_ADDRESS, V_NONE, 0, "\x0f\x05"),		/* SYSCALL, SYSRET */
	I(K_FLOW, V_NONE, V_ADDRESS, V_NONE, 0, "\x48\x0f\x07"),
	I(K_FLOW, V_NONE, V_ADDRESS, V_ADDRESS, 0, "\x0f\x34"),		/* SYSENTER, SYSEXIT */
	I(K_FLOW, V_NONE, V_ADDRESS, V_ADDRESS, 0, "\x48\x0f\x35"),
	I(K_FLOW, V_SELECTOR, V_FLAGS, V_ADDRESS, 0, "\x50\x52\x51\x50\x52\x48\xcf"),
	I(K_FLOW, V_NONE, V_NONE, V_NONE, 1, "\xff\xd7"),
	I(K_FLOW, V_NONE, V_NONE, V_NONE, 0, "\x8e\xd0\xf4"),
	I(K_CPUID, V_LEAF, V_SMALL, V_NONE, 0, "\x0f\xa2"),
	I(K_CPUID, V_ANY, V_ANY, V_NONE, 0, "\x0f\xa2"),
	/* HLT, INVD, WBINVD, RDPMC, GETSEC, RSM, MONITOR, MWAIT, XGETBV, ENCLS, RDTSCP... */
	I(K_CPU, V_NONE, V_NONE, V_NONE, 0, "\xfb\xf4"),
	I(K_CPU, V_NONE, V_NONE, V_NONE, 0, "\xfb"),
	I(K_CPU, V_NONE, V_NONE, V_NONE, 0, "\x0f\x08"),
	I(K_CPU, V_NONE, V_NONE, V_NONE, 0, "\x0f\x09"),
	I(K_CPU, V_NONE, V_SMALL, V_NONE, 0, "\x0f\x33"),
	I(K_CPU, V_SMALL, V_NONE, V_NONE, 0, "\x0f\x37"),
	I(K_CPU, V_NONE, V_NONE, V_NONE, 0, "\x0f\xaa"),
	I(K_CPU, V_ADDRESS, V_ZERO, V_ZERO, 0, "\x0f\x01\xc8"),
	I(K_CPU, V_ZERO, V_ZERO, V_NONE, 0, "\x0f\x01\xc9"),
	I(K_CPU, V_NONE, V_ZERO, V_NONE, 0, "\x0f\x01\xd0"),
	I(K_CPU, V_SMALL, V_NONE, V_NONE, 0, "\x0f\x01\xcf"),
	I(K_CPU, V_NONE, V_NONE, V_NONE, 0, "\x0f\x01\xf9"),
	I(K_CPU, V_NONE, V_NONE, V_NONE, 0, "\xf3\x0f\xc7\xf8"),
	I(K_CPU, V_NONE, V_NONE, V_NONE, 0, "\x0f\x01\xf8"),
	I(K_CPU, V_NONE, V_NONE, V_NONE, 0, "\x0f\x31"),
	I(K_CPU, V_NONE, V_NONE, V_NONE, 1, "\x0f\xc7\x2f"),
	I(K_CPU, V_NONE, V_NONE, V_NONE, 0, "\xfa"),
};

enum { INSTRUCTIONS = sizeof(instructions) / sizeof(instructions[0]) };

/* ------------------------------------------------------------------ a piece of code */

static void put(const void *bytes, unsigned count)
{
	const uint8_t *from = bytes;

	while (count-- && code < code_end)
		*code++ = *from++;
}

static void put_byte(uint8_t byte) { put(&byte, 1); }

/* MOV of an immediate to one of the first eight registers, as the mode has it. */
static void put_load(enum piece_mode mode, unsigned reg, uint64_t value)
{
	if (mode == MODE_64 || mode == MODE_64_USER)
		put_byte(0x48);
	else if (mode == MODE_16)
		put_byte(0x66);
	put_byte((uint8_t)(0xb8 + reg));
	put(&value, mode == MODE_64 || mode == MODE_64_USER ? 8 : 4);
}

static void put_start(void)
{
	if (start_count < STARTS_MAX)
		starts[start_count++] = (uint16_t)(code - code_start);
}

/* A table of descriptors that is junk is the end, at the next trap: so now and then only. */
static uint64_t draw_pointer(enum pointer pointer)
{
	if (pointer == POINTER_ANY || one_in(16))
		return draw_address();
	return pointer == POINTER_GDTR ? cpu_sane_gdtr() : cpu_sane_idtr();
}

static void put_instruction(enum piece_mode mode, const struct instruction *i)
{
	const uint8_t sorts[3] = { i->rax, i->rcx, i->rdx };

	put_start();
	if (i->pointer) {
		put_load(mode, 6, draw_address());
		put_load(mode, 7, draw_pointer((enum pointer)i->pointer));
	}
	for (unsigned reg = 0; reg < 3; reg++)
		if (sorts[reg] != V_NONE)
			put_load(mode, reg, draw_value((enum value)sorts[reg]));
	put(i->bytes, i->length);
}

static void put_random(void)
{
	for (uint64_t n = 1 + below(64); n; n--)
		put_byte((uint8_t)draw());
}

/* The kind first, so that the kinds with many instructions don't hide those with few. */
static const struct instruction *draw_instruction(void)
{
	uint64_t kind, first = 0, count = 0;

	do
		kind = below(K_RANDOM);
	while (!(likes >> kind & 1));
	while (instructions[first].kind != kind)
		first++;
	while (first + count < INSTRUCTIONS && instructions[first + count].kind == kind)
		count++;
	return &instructions[first + below(count)];
}

static void put_row(enum piece_mode mode, uint64_t count)
{
	while (count--) {
		put_instruction(mode, draw_instruction());
		if ((likes >> K_RANDOM & 1) && one_in(16))
			put_random();
	}
}

/*
 * Out of IA-32e mode, from code of 32 bits in memory that is mapped where it is: paging off,
 * EFER.LME off, then PAE paging, 32-bit paging, none, or real mode. SDM "Initializing IA-32e
 * Mode". No trap leads back from there.
 */
static void put_legacy_mode(void)
{
	static const uint8_t leave[] = {
		0x0f, 0x20, 0xc0, 0x0f, 0xba, 0xf0, 0x1f, 0x0f, 0x22, 0xc0,	/* CR0.PG = 0 */
		0xb9, 0x80, 0x00, 0x00, 0xc0, 0x31, 0xc0, 0x31, 0xd2, 0x0f, 0x30,
	};
	uint64_t kind = below(4);

	put(leave, sizeof(leave));
	if (kind == 0) {		/* real mode, but for the code segment's size */
		put_load(MODE_32, 0, 0x10);
		put("\x0f\x22\xc0", 3);
	} else if (kind < 3) {
		put_load(MODE_32, 0, kind == 1 ? 0x20 : 0x10);
		put("\x0f\x22\xe0", 3);
		put_load(MODE_32, 0, one_in(4) ? draw_value(V_CR3)
			 : kind == 1 ? cpu_sane_root_pae() : cpu_sane_root_32());
		put("\x0f\x22\xd8", 3);
		put_load(MODE_32, 0, 0x80000011);
		put("\x0f\x22\xc0", 3);
	}
	put_row(MODE_32, 40);
}

static enum piece_mode draw_mode(void)
{
	switch (below(16)) {
	case 0: return MODE_64_USER;
	case 1: return MODE_32;
	case 2: return MODE_32_USER;
	case 3: return MODE_16;
	default: return MODE_64;
	}
}

/* ------------------------------------------------------------------ what pieces work with */

static uint64_t draw_entry(void)
{
	uint64_t flags = draw() & (one_in(32) ? UINT64_C(0xfff0000000000fff) : 0x7f);

	return draw_gpa() | flags | (one_in(8) ? 0x80 : 0) | (one_in(16) ? 0 : 7);
}

/* The first entry of most tables keeps the payload where it is; the others lead anywhere. */
static void draw_tables(unsigned entries)
{
	while (entries--) {
		uint64_t *table = (uint64_t *)(uintptr_t)(WILD_TABLES + 4096 * below(WILD_PAGES));

		table[below(512)] = draw_entry();
		table[0] = one_in(64) ? draw_entry() : cpu_sane_upper_table() | 7;
	}
}

static void draw_descriptors(void)
{
	uint64_t *descriptor = cpu_wild_descriptors();

	for (unsigned i = 0; i < WILD_DESCRIPTORS; i++)
		descriptor[i] = one_in(2) ? draw() : UINT64_C(0x00cf93000000ffff) ^
				UINT64_C(1) << (32 + below(24));
}

/* The watchdog: a piece that loops with interrupts on ends at the next tick, 20 ms apart. */
static void set_up_interrupts(void)
{
	static const uint8_t pic[4] = { 0x11, 0x20, 0x04, 0x01 };

	out8(0x20, pic[0]);
	for (unsigned i = 1; i < 4; i++)
		out8(0x21, pic[i]);
	out8(0x21, 0);
	out8(0xa1, 0xff);
	out8(0x43, 0x34);
	out8(0x40, 0x37);
	out8(0x40, 0x5d);
}

static bool is_user(enum piece_mode mode)
{
	return mode == MODE_64_USER || mode == MODE_32_USER;
}

static void draw_registers(struct piece_frame *frame, enum piece_mode mode)
{
	uint64_t *reg = &frame->r15;

	for (unsigned i = 0; i < 15; i++)
		reg[i] = one_in(2) ? draw_address() : draw_any();
	frame->cs = cpu_code_selector(mode);
	frame->ss = cpu_data_selector(mode);
	frame->rip = (uint64_t)code_start;
	frame->rsp = one_in(16) ? draw_address() : is_user(mode) ? PIECE_STACK_USER : PIECE_STACK;
	frame->rflags = one_in(16) ? 0x002 : 0x202;
	if (one_in(16))
		frame->rflags |= 0x100;
}

uint64_t resume_piece(uint64_t rip)
{
	uint64_t start = (uint64_t)code_start;

	if (rip < start || rip >= start + PIECE_BYTES || !resumptions--)
		return 0;
	for (unsigned i = 0; i < start_count; i++)
		if (start + starts[i] > rip)
			return start + starts[i];
	return 0;
}

void next_piece(void)
{
	static struct piece_frame frame;
	enum piece_mode mode = draw_mode();
	bool wild;

	code_start = (uint8_t *)(uintptr_t)(is_user(mode) ? PIECE_CODE_USER : PIECE_CODE);
	code = code_start;
	code_end = code + PIECE_BYTES - 1;
	start_count = 0;
	resumptions = RESUMPTIONS_MAX;
	draw_tables(4);
	draw_descriptors();
	wild = (likes & 1u << K_RANDOM) && one_in(4);
	if (wild || !(pieces++ % 32))
		set_up_interrupts();
	if (wild)
		for (unsigned i = 0; i < 16; i++)
			put_random();
	else if (mode == MODE_32 && pieces > 8 && one_in(4))
		put_legacy_mode();
	else
		put_row(mode, 1 + below(24));
	*code = 0xcc;
	draw_registers(&frame, mode);
	enter_piece(&frame);
}

/* Another CPU changes the first one's code and page tables under it. */
void cpu_main(uint64_t number)
{
	uint64_t mine = number * UINT64_C(0x9e3779b97f4a7c15);

	for (;;) {
		mine ^= mine << 13;
		mine ^= mine >> 7;
		mine ^= mine << 17;

		volatile uint8_t *at = (uint8_t *)(uintptr_t)(mine & 1 ? PIECE_CODE + mine / 2 % 512
							: WILD_TABLES + mine / 2 % 0x20000);

		*at ^= (uint8_t)(1u << (mine >> 60));
		for (unsigned i = 0; i < 200; i++)
			__builtin_ia32_pause();
	}
}

/* Where a SYSCALL leads, and many a jump: breakpoints. */
static void fill_page_0(void)
{
	void *at = NULL;
	uint64_t count = 4096;

	__asm__ volatile("rep stosb" : "+D"(at), "+c"(count) : "a"(0xcc) : "memory");
}

uint32_t main(uint64_t *mailbox)
{
	uint64_t test_bytes = mail(mailbox, ABI_MAIL_COUNT) * 4096;

	draw_from(mail(mailbox, ABI_MAIL_VALUE), test_bytes);
	likes = (uint32_t)draw() | 1u << below(KINDS) | 1u << K_CPUID;
	if (cpus() > 1)
		(void)start_cpu(1);
	cpu_set_up(test_bytes);
	fill_page_0();
	draw_tables(200);
	next_piece();
}
