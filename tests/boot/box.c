/* The small guest of box.h. Called by tests, on whatever CPU they run; no locks. */
#include "tests/boot/box.h"

#include "vmx/caps.h"
#include "vmx/port.h"

enum { TABLES_ORDER = 2, MEMORY_ORDER = 6, ENTRIES = 512 };

#define PTE_LINK 0x07			/* present, writable, user */
#define PTE_LARGE 0xe7			/* and accessed, dirty, a 2 MiB page */
#define EPTP_WB 6
#define EPTP_FOUR_LEVELS (3 << 3)
#define EPTP_ACCESSED_DIRTY (1 << 6)

static uint64_t link_to(const void *table)
{
	return ptr_to_hpa(table).raw | EPT_R | EPT_W | EPT_X;
}

static void map_memory(struct box *box)
{
	for (unsigned level = LEVEL_512G; level > LEVEL_4K; level--)
		*box_entry(box, level, 0) = link_to(box_entry(box, level - 1, 0));
	for (uint64_t at = 0; at < BOX_BYTES; at += PAGE_SIZE)
		*box_entry(box, LEVEL_4K, at) =
			box_hpa(box, at).raw | EPT_R | EPT_W | EPT_X | EPT_WB;
}

/* Identity, so that a snippet's addresses mean the same in every mode. */
static void write_guest_tables(struct box *box)
{
	*box_word(box, BOX_TABLES) = (BOX_TABLES + PAGE_SIZE) | PTE_LINK;
	*box_word(box, BOX_TABLES + PAGE_SIZE) = (BOX_TABLES + 2 * PAGE_SIZE) | PTE_LINK;
	for (uint64_t i = 0; i < ENTRIES; i++)
		*box_word(box, BOX_TABLES + 2 * PAGE_SIZE + i * 8) = i << 21 | PTE_LARGE;
	*box_word(box, BOX_GDT + 0x08) = UINT64_C(0x00af9b000000ffff);
	*box_word(box, BOX_GDT + 0x10) = UINT64_C(0x00cf93000000ffff);
	*box_word(box, BOX_GDT + 0x18) = UINT64_C(0x00cf9b000000ffff);
}

void box_create_vm(struct box *box, enum box_kind kind)
{
	uint64_t eptp = EPTP_WB | EPTP_FOUR_LEVELS;
	void *tables, *memory;

	check(port_pages_alloc(TABLES_ORDER, &tables) == STATUS_OK);
	check(port_pages_alloc(MEMORY_ORDER, &memory) == STATUS_OK);
	*box = (struct box){ .tables = tables, .memory = memory };
	map_memory(box);
	write_guest_tables(box);
	if (kind == BOX_ACCESSED_DIRTY)
		eptp |= EPTP_ACCESSED_DIRTY;
	check(vm_create_raw(ptr_to_hpa(tables).raw | eptp, &box->vm) == STATUS_OK);
}

void box_create_vcpu(struct box *box)
{
	check(vcpu_create(box->vm, &box->vcpu) == STATUS_OK);
}

void box_create(struct box *box, enum box_kind kind)
{
	box_create_vm(box, kind);
	box_create_vcpu(box);
}

void box_destroy(struct box *box)
{
	vcpu_destroy(box->vcpu);
	vm_destroy(box->vm);
	port_pages_free(box->memory);
	port_pages_free(box->tables);
}

void box_start_vcpu(struct vcpu *vcpu, enum box_mode mode)
{
	if (mode == BOX_REAL)
		vcpu_start_real(vcpu, 0, BOX_CODE);
	else if (mode == BOX_PROTECTED)
		vcpu_start_protected(vcpu, BOX_CODE);
	else
		vcpu_start_long(vcpu, BOX_CODE, BOX_TABLES);
	vcpu_set_reg(vcpu, REG_RSP, BOX_STACK);
	vmcs_write(VMCS_GUEST_GDTR_BASE, BOX_GDT);
	vmcs_write(VMCS_GUEST_GDTR_LIMIT, 0x1f);
	vmcs_write(VMCS_GUEST_IDTR_BASE, BOX_IDT);
	vmcs_write(VMCS_GUEST_IDTR_LIMIT, 0xfff);
}

void box_start(struct box *box, enum box_mode mode, struct snippet snippet)
{
	check(snippet.end - snippet.start <= (int64_t)PAGE_SIZE);
	for (const uint8_t *from = snippet.start; from < snippet.end; from++)
		box->memory[BOX_CODE + (from - snippet.start)] = *from;
	box_start_vcpu(box->vcpu, mode);
}

/* SDM "64-Bit IDT Gate Descriptors": an interrupt gate, DPL 0. */
void box_handler(struct box *box, uint8_t vector, uint64_t offset)
{
	uint64_t at = BOX_CODE + offset;
	uint64_t gate = BOX_IDT + (uint64_t)vector * 16;

	*box_word(box, gate) = (at & 0xffff) | 0x08 << 16 | UINT64_C(0x8e00) << 32 |
		(at >> 16 & 0xffff) << 48;
	*box_word(box, gate + 8) = at >> 32;
}

uint64_t *box_entry(struct box *box, unsigned level, uint64_t address)
{
	return box->tables + (LEVEL_512G - level) * ENTRIES + level_index(address, level);
}

uint64_t *box_word(struct box *box, uint64_t address)
{
	check(address < BOX_BYTES);
	return (uint64_t *)(void *)(box->memory + address);
}

hpa_t box_hpa(struct box *box, uint64_t address)
{
	return ptr_to_hpa(box->memory + address);
}

void box_run(struct vcpu *vcpu, struct vcpu_exit *exit)
{
	do
		vcpu_run(vcpu, BOX_TICKS, exit);
	while (exit->kind == EXIT_INTERRUPT);
}

void box_run_to_hlt(struct vcpu *vcpu)
{
	struct vcpu_exit exit;

	box_run(vcpu, &exit);
	expect_equal(exit.kind, EXIT_HLT);
	if (exit.kind == EXIT_HLT)
		vcpu_skip(vcpu, exit.length);
}
