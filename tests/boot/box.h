/*
 * A small guest for tests of the hardware: a VM on hand-made EPT tables, 256 KiB of memory from
 * GPA 0, one vCPU, a snippet of code. Everything that a test wants to get wrong can be reached.
 *
 *	GPA	0x1000	the snippet		0x8000	words that snippet and test exchange
 *		0x3000	its stack's top		0x10000	page tables: identity, 0..1 GiB, 2 MiB pages
 *		0x4000	GDT			0x20000	sixteen pages that tests play with
 *		0x5000	IDT
 */
#ifndef TESTS_BOOT_BOX_H
#define TESTS_BOOT_BOX_H

#include "tests/tap.h"
#include "vmx/vcpu_state.h"

#define BOX_CODE   0x1000
#define BOX_STACK  0x3000
#define BOX_GDT    0x4000
#define BOX_IDT    0x5000
#define BOX_WORDS  0x8000
#define BOX_TABLES 0x10000
#define BOX_PAGE(n) (0x20000 + (uint64_t)(n) * PAGE_SIZE)
#define BOX_BYTES  0x40000

#define BOX_TICKS  20000000		/* no test's guest runs that long unless it is lost */

/* EPT entries by hand: SDM "EPT Translation Mechanism". */
#define EPT_R  UINT64_C(1)
#define EPT_W  UINT64_C(2)
#define EPT_X  UINT64_C(4)
#define EPT_WB (UINT64_C(6) << 3)
#define EPT_LARGE (UINT64_C(1) << 7)
#define EPT_A  (UINT64_C(1) << 8)
#define EPT_D  (UINT64_C(1) << 9)

enum box_kind { BOX_PLAIN, BOX_ACCESSED_DIRTY };
enum box_mode { BOX_REAL, BOX_PROTECTED, BOX_LONG };

struct box {
	uint64_t *tables;		/* four pages: levels 4, 3, 2, 1 */
	uint8_t *memory;
	struct vm *vm;
	struct vcpu *vcpu;
};

/* A snippet of snippets.S. */
struct snippet { const uint8_t *start, *end; };
#define SNIPPET(name)                                                                       \
	({                                                                                  \
		extern const uint8_t snippet_##name[], snippet_##name##_end[];              \
		(struct snippet){ snippet_##name, snippet_##name##_end };                   \
	})

/* All but the vCPU, so that what is set before vCPUs exist can be set. */
void box_create_vm(struct box *box, enum box_kind kind);
void box_create_vcpu(struct box *box);
void box_create(struct box *box, enum box_kind kind);
void box_destroy(struct box *box);

/* The vCPU at the start of the snippet, in that mode; stack, GDT and IDT as above. */
void box_start(struct box *box, enum box_mode mode, struct snippet snippet);
/* Another vCPU at what is there already. */
void box_start_vcpu(struct vcpu *vcpu, enum box_mode mode);
/* Long mode: this vector's handler is that many bytes into the snippet. */
void box_handler(struct box *box, uint8_t vector, uint64_t offset);

/* The EPT entry of that level for a GPA below 1 GiB. */
uint64_t *box_entry(struct box *box, unsigned level, uint64_t address);
uint64_t *box_word(struct box *box, uint64_t address);
hpa_t box_hpa(struct box *box, uint64_t address);

/* Runs until something other than a host interrupt comes back. */
void box_run(struct vcpu *vcpu, struct vcpu_exit *exit);
/* The same; expects a HLT, and steps over it. */
void box_run_to_hlt(struct vcpu *vcpu);

#endif
