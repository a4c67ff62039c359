/*
 * The hostile guest, in three files: hostile_draw.c draws operands, hostile.c makes code of them,
 * hostile_cpu.c runs it on a processor whose state it restores after a trap, as far as the guest
 * has left itself the means.
 */
#ifndef GUEST_PAYLOAD_HOSTILE_H
#define GUEST_PAYLOAD_HOSTILE_H

#include "guest/payload/lib.h"

/* Guest memory below 1 MiB, so that 16-bit code reaches it, and tables above the payload. */
#define PIECE_CODE   0x80000u		/* where a piece of code is put: 8 pages */
#define PIECE_BYTES  0x8000u
#define PIECE_STACK  0x9f000u
#define PIECE_CODE_USER  0x40080000u	/* in the test memory, which user code may use */
#define PIECE_STACK_USER 0x4009f000u
#define WILD_TABLES  0x100000u		/* page tables that point anywhere: 8 pages */
#define WILD_PAGES   8u

/* What a piece begins with: SDM "IRET", pushed in the order that enter_piece() pops. */
struct piece_frame {
	uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
	uint64_t rip, cs, rflags, rsp, ss;
};

enum piece_mode { MODE_64, MODE_64_USER, MODE_32, MODE_32_USER, MODE_16, PIECE_MODES };

/* ------------------------------------------------------------------ hostile_draw.c */

enum value {
	V_NONE, V_ANY, V_SMALL, V_ZERO, V_ADDRESS, V_PORT, V_MSR, V_CR0, V_CR3, V_CR4, V_LEAF,
	V_XCR0, V_DR7, V_FLAGS, V_SELECTOR, V_COUNT, V_CALL, V_MSR_VALUE
};

void draw_from(uint64_t seed, uint64_t test_bytes);
uint64_t draw(void);
uint64_t below(uint64_t limit);
bool one_in(uint64_t n);
uint64_t draw_value(enum value kind);
uint64_t draw_any(void);
uint64_t draw_address(void);		/* linear */
uint64_t draw_gpa(void);		/* a page of it */

/* ------------------------------------------------------------------ hostile_cpu.c */

/* Tables that map the first 2 MiB and the test memory as they are, in all kinds of paging. */
void cpu_set_up(uint64_t test_bytes);
uint64_t cpu_sane_root_32(void);
uint64_t cpu_sane_root_pae(void);
uint64_t cpu_sane_root(void);
uint64_t cpu_sane_upper_table(void);
uint64_t cpu_sane_gdtr(void);	/* where the operands of LGDT and LIDT are */
uint64_t cpu_sane_idtr(void);
/* Where descriptors of the piece's own choice may be put, and their first selector. */
uint64_t *cpu_wild_descriptors(void);
enum { WILD_DESCRIPTORS = 8, WILD_SELECTOR = 0x58 };
uint16_t cpu_code_selector(enum piece_mode mode);
uint16_t cpu_data_selector(enum piece_mode mode);
_Noreturn void enter_piece(const struct piece_frame *frame);

/* ------------------------------------------------------------------ hostile.c */

/* Where a piece goes on that trapped there; 0: not at all. */
uint64_t resume_piece(uint64_t rip);
/* The next piece, after whatever became of the one before. */
_Noreturn void next_piece(void);

#endif
