/*
 * What the hostile guest draws: numbers from its seed, and operands that are nearly right: values
 * at which a hypervisor has something to decide.
 */
#include "guest/payload/hostile.h"

#define MIB 0x100000u
#define GIB 0x40000000u

static uint64_t state, test_bytes;

void draw_from(uint64_t seed, uint64_t bytes)
{
	state = seed;
	test_bytes = bytes;
}

/* SplitMix64, by Sebastiano Vigna's public description. */
uint64_t draw(void)
{
	uint64_t z = state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

uint64_t below(uint64_t limit) { return draw() % limit; }
bool one_in(uint64_t n) { return !below(n); }

static uint64_t pick(const uint32_t *from, unsigned count) { return from[below(count)]; }
#define PICK(list) pick(list, sizeof(list) / sizeof((list)[0]))

uint64_t draw_any(void)
{
	switch (below(6)) {
	case 0: return below(256);
	case 1: return UINT64_C(1) << below(64);
	case 2: return (uint64_t)-(int64_t)below(4096);
	case 3: return (uint32_t)draw();
	default: return draw();
	}
}

static uint64_t draw_port(void)
{
	static const uint32_t known[] = {
		0x20, 0x21, 0x40, 0x41, 0x42, 0x43, 0x60, 0x61, 0x64, 0x70, 0x71, 0x80, 0x92, 0xa0,
		0xa1, 0xe9, 0xf5, 0x1f0, 0x3c4, 0x3d4, 0x3f8, 0x3f9, 0x3fa, 0x3fb, 0x3fc, 0x3fd,
		0x4d0, 0x510, 0x604, 0xb004, 0xcf8, 0xcfa, 0xcfc, 0x8900,
	};
	static const uint32_t ends[] = { ABI_EXIT_PORT, 0xcf9, 0x64 };

	if (one_in(128))
		return PICK(ends);
	return one_in(4) ? below(0x10000) : PICK(known);
}

static uint64_t draw_msr(void)
{
	static const uint32_t known[] = {
		0x10, 0x17, 0x1b, 0x3a, 0x3b, 0x48, 0x49, 0x8b, 0xc1, 0xfe, 0x174, 0x175, 0x176,
		0x179, 0x17a, 0x186, 0x198, 0x199, 0x19c, 0x1a0, 0x1c9, 0x1d9, 0x200, 0x201, 0x250,
		0x277, 0x2ff, 0x345, 0x38d, 0x38f, 0x480, 0x481, 0x48b, 0x48c, 0x491, 0x6e0, 0x802,
		0x80b, 0x830, 0x832, 0xda0, 0x1fff, 0x2000, 0x40000000, 0xc0000080, 0xc0000081,
		0xc0000082, 0xc0000083, 0xc0000084, 0xc0000100, 0xc0000101, 0xc0000102, 0xc0000103,
		0xc0001fff, 0xc0002000,
	};

	return one_in(8) ? (uint32_t)draw() : PICK(known);
}

/* Linear addresses: most of them behind which there is memory, and the edges of it. */
uint64_t draw_address(void)
{
	uint64_t region1_end = GIB + test_bytes;

	switch (below(24)) {
	case 0: return (one_in(2) ? 2 * MIB : region1_end) - (one_in(4) ? 1 : 6) * below(2000);
	case 1: return one_in(8) ? 2 * MIB - below(16) : region1_end - 4096 - below(16);
	case 2: return GIB + below(16);
	case 3: return one_in(4) ? draw_any() : PIECE_CODE + below(PIECE_BYTES);
	case 4: return one_in(16) ? GIB - 1 - below(16) : PIECE_STACK;
	case 5: return one_in(16) ? (uint64_t)(2 * MIB) + below(GIB - 2 * MIB) : 0xb8000;
	case 6: return UINT64_C(0x7ffffffffff0) + below(32);
	case 7: return UINT64_C(0xffff800000000000) - 8 + below(16);
	case 8: return one_in(4) ? below(2 * MIB) : GIB + 4096 * below(64) - 1;
	/* By way of the wild tables, where CR3 leads there. */
	case 9 ... 11: return (uint64_t)((int64_t)(draw() << 16) >> 16);
	case 12 ... 13: return WILD_TABLES + below(WILD_PAGES * 4096);
	case 14 ... 15: return PIECE_CODE + below(PIECE_BYTES);
	default: return GIB + below(test_bytes);
	}
}

/* Guest-physical, for page tables: memory, the hole, devices' places, as far as 52 bits go. */
uint64_t draw_gpa(void)
{
	switch (below(64)) {
	case 0: return UINT64_C(0xfee00000);
	case 1: return (UINT64_C(1) << 48) - 4096 * (1 + below(4));
	case 2: return draw() & UINT64_C(0x000ffffffffff000);
	case 3: return 2 * MIB + below(GIB - 2 * MIB);
	case 4 ... 31: return WILD_TABLES + 4096 * below(WILD_PAGES);
	case 32 ... 36: return below(2 * MIB);
	default: return GIB + below(test_bytes);
	}
}

static uint64_t draw_cr3(void)
{
	switch (below(32)) {
	case 0: return draw_gpa();
	case 1: return draw_any();
	case 2: return cpu_sane_root_pae();
	case 3: return cpu_sane_root_32();
	case 4 ... 12: return cpu_sane_root() | below(4096);
	default: return WILD_TABLES + 4096 * below(WILD_PAGES) + (one_in(4) ? below(4096) : 0);
	}
}

static uint64_t flip(uint64_t sane, unsigned bits)
{
	if (one_in(8))
		return draw_any();
	for (uint64_t n = below(3); n; n--)
		sane ^= UINT64_C(1) << below(bits);
	return sane;
}

static uint64_t draw_msr_value(void)
{
	switch (below(5)) {
	case 0: return flip(0x500, 16);			/* EFER */
	case 1: return draw_address();
	case 2: return UINT64_C(0x0007040600070406) ^ UINT64_C(1) << below(64);
	default: return draw_any();
	}
}

uint64_t draw_value(enum value kind)
{
	switch (kind) {
	case V_NONE: case V_ANY: return draw_any();
	case V_SMALL: return below(16);
	case V_ZERO: return one_in(8) ? draw_any() : 0;
	case V_ADDRESS: return draw_address();
	case V_PORT: return draw_port();
	case V_MSR: return draw_msr();
	case V_CR0: return flip(0x80000013, 32);
	case V_CR3: return draw_cr3();
	case V_CR4: return flip(0x20, 26);
	case V_LEAF: return one_in(4) ? 0x40000000 + below(4)
				      : (one_in(2) ? below(0x20) : 0x80000000 + below(10));
	case V_XCR0: return flip(7, 10);
	case V_DR7: return flip(0x400, 32);
	case V_FLAGS: return flip(0x202, 22);
	case V_SELECTOR: return one_in(4) ? below(0x10000) : below(WILD_SELECTOR + 64);
	case V_COUNT: return one_in(32) ? draw_any() : below(400);
	case V_CALL: return one_in(2) ? ABI_CALL_START_CPU : draw_any();
	case V_MSR_VALUE: return draw_msr_value();
	}
	return 0;
}
