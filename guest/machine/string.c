/*
 * INS and OUTS: the processor only says that one was met, so their memory operand is found and
 * moved here. SDM "INS/INSB/INSW/INSD", "OUTS/OUTSB/OUTSW/OUTSD". Exits come before any fault of
 * the memory operand (SDM "Relative Priority of Faults and VM Exits"), so those are raised here
 * too.
 */
#include "guest/machine/gva.h"
#include "guest/machine/parts.h"

/* Elements moved before the guest gets a chance to take an interrupt between two iterations. */
enum { ELEMENTS_AT_ONCE = 256 };

#define EFER_LMA         (UINT64_C(1) << 10)
#define RFLAGS_DF        (UINT64_C(1) << 10)
#define RFLAGS_VM        (UINT64_C(1) << 17)
#define CR0_PE           (UINT64_C(1) << 0)

/* Segment access rights: SDM "Guest Register State". */
#define ACCESS_WRITABLE  (1u << 1)
#define ACCESS_DOWN      (1u << 2)
#define ACCESS_CODE      (1u << 3)
#define ACCESS_LONG      (1u << 13)
#define ACCESS_32        (1u << 14)
#define ACCESS_UNUSABLE  (1u << 16)

struct operand {
	struct gva_context paging;
	enum vcpu_segment segment;
	struct vcpu_segment_state state;
	enum vcpu_reg index;			/* RSI or RDI */
	unsigned address_bytes;			/* 2, 4 or 8 */
	bool long_mode, real_mode;
};

static enum status read_memory(void *memory, gpa_t from, void *into, uint64_t bytes)
{
	return ept_read_guest(memory, from, into, bytes);
}

static enum status write_memory(void *memory, gpa_t to, const void *from, uint64_t bytes)
{
	return ept_write_guest(memory, to, from, bytes);
}

static struct gva_context paging_of(struct machine *m, struct vcpu *vcpu)
{
	struct vcpu_segment_state stack;

	vcpu_segment(vcpu, SEGMENT_SS, &stack);
	return (struct gva_context){
		.cr0 = vcpu_control(vcpu, CONTROL_CR0),
		.cr3 = vcpu_control(vcpu, CONTROL_CR3),
		.cr4 = vcpu_control(vcpu, CONTROL_CR4),
		.efer = vcpu_control(vcpu, CONTROL_EFER),
		.rflags = vcpu_reg(vcpu, REG_RFLAGS),
		.user = (stack.access >> 5 & 3) == 3,
		.read = read_memory,
		.write = write_memory,
		.memory = m->ept,
	};
}

/* ------------------------------------------------------------------ the instruction's prefixes */

/* The instruction was fetched just now; a byte that can't be read any more counts as no prefix. */
static uint8_t code_byte(const struct gva_context *paging, uint64_t linear)
{
	struct gva_translation at;
	uint8_t byte = 0;

	if (gva_translate(paging, linear, ACCESS_READ, &at) != GVA_OK ||
	    paging->read(paging->memory, at.address, &byte, 1))
		return 0;
	return byte;
}

static bool segment_prefix(uint8_t byte, enum vcpu_segment *segment)
{
	switch (byte) {
	case 0x26: *segment = SEGMENT_ES; return true;
	case 0x2e: *segment = SEGMENT_CS; return true;
	case 0x36: *segment = SEGMENT_SS; return true;
	case 0x3e: *segment = SEGMENT_DS; return true;
	case 0x64: *segment = SEGMENT_FS; return true;
	case 0x65: *segment = SEGMENT_GS; return true;
	default: return false;
	}
}

/* INS always stores to ES; OUTS loads from DS unless a prefix says another. */
static void read_prefixes(struct vcpu *vcpu, struct operand *o, uint32_t length, bool in)
{
	struct vcpu_segment_state code;
	uint64_t rip = vcpu_reg(vcpu, REG_RIP);
	enum vcpu_segment prefix = SEGMENT_DS;
	bool other_size = false;

	vcpu_segment(vcpu, SEGMENT_CS, &code);
	o->long_mode = (o->paging.efer & EFER_LMA) && (code.access & ACCESS_LONG);
	for (uint32_t i = 0; i + 1 < length && i < 15; i++) {
		uint8_t byte = code_byte(&o->paging, (o->long_mode ? 0 : code.base) + rip + i);

		if (byte == 0x67)
			other_size = true;
		else
			(void)segment_prefix(byte, &prefix);
	}
	o->segment = in ? SEGMENT_ES : prefix;
	if (o->long_mode)
		o->address_bytes = other_size ? 4 : 8;
	else
		o->address_bytes = !(code.access & ACCESS_32) == other_size ? 4 : 2;
}

static struct operand decode(struct machine *m, struct vcpu *vcpu, const struct vcpu_exit *exit)
{
	struct operand o = { .paging = paging_of(m, vcpu) };

	read_prefixes(vcpu, &o, exit->length, exit->io.in);
	o.real_mode = !(o.paging.cr0 & CR0_PE) || (o.paging.rflags & RFLAGS_VM);
	o.index = exit->io.in ? REG_RDI : REG_RSI;
	vcpu_segment(vcpu, o.segment, &o.state);
	return o;
}

static uint64_t mask_of(unsigned bytes)
{
	return bytes == 8 ? UINT64_MAX : (UINT64_C(1) << 8 * bytes) - 1;
}

/* ------------------------------------------------------------------ the memory operand */

/* False: the guest was given #GP or #SS. */
static bool linear_address(struct vcpu *vcpu, const struct operand *o, unsigned size, bool write,
			   uint64_t *linear)
{
	uint64_t offset = vcpu_reg(vcpu, o->index) & mask_of(o->address_bytes);
	uint64_t last = offset + size - 1;
	uint32_t access = o->state.access;
	bool good;

	if (o->long_mode) {
		*linear = (o->segment >= SEGMENT_FS ? o->state.base : 0) + offset;
		good = (uint64_t)((int64_t)(*linear << 16) >> 16) == *linear;
	} else {
		*linear = (o->state.base + offset) & UINT32_MAX;
		good = !(access & ACCESS_UNUSABLE);
		if (!o->real_mode && write)
			good = good && !(access & ACCESS_CODE) && (access & ACCESS_WRITABLE);
		if ((access & (ACCESS_CODE | ACCESS_DOWN)) == ACCESS_DOWN)
			good = good && offset > o->state.limit &&
			       last <= (access & ACCESS_32 ? UINT32_MAX : 0xffff);
		else
			good = good && last <= o->state.limit;
	}
	if (!good)
		vcpu_inject_exception(vcpu, o->segment == SEGMENT_SS ? VECTOR_SS : VECTOR_GP, 0);
	return good;
}

static bool translate(struct machine *m, struct virtual_cpu *cpu, const struct operand *o,
		      uint64_t linear, enum access access, gpa_t *out)
{
	struct gva_translation t;

	switch (gva_translate(&o->paging, linear, access, &t)) {
	case GVA_OK:
		*out = t.address;
		return true;
	case GVA_FAULT:
		vcpu_set_control(cpu->vcpu, CONTROL_CR2, linear);
		vcpu_inject_exception(cpu->vcpu, VECTOR_PF, t.error);
		return false;
	case GVA_NO_TABLE:
		machine_end(m, END_KILLED, 0, "page table at GPA %#lx where nothing is, RIP %#lx",
			    t.table.raw, vcpu_reg(cpu->vcpu, REG_RIP));
		return false;
	}
	return false;
}

/* One element, which may lie in two pages: both are translated before anything moves. */
static bool move_element(struct machine *m, struct virtual_cpu *cpu, const struct operand *o,
			 const struct exit_io *io)
{
	enum access access = io->in ? ACCESS_WRITE : ACCESS_READ;
	uint32_t value = 0;
	uint64_t linear;
	gpa_t first, second;
	unsigned here = io->size;
	enum status status;

	if (!linear_address(cpu->vcpu, o, io->size, io->in, &linear) ||
	    !translate(m, cpu, o, linear, access, &first))
		return false;
	if (PAGE_SIZE - (linear & ~PAGE_MASK) < io->size)
		here = (unsigned)(PAGE_SIZE - (linear & ~PAGE_MASK));
	if (here < io->size && !translate(m, cpu, o, linear + here, access, &second))
		return false;

	if (io->in) {
		value = port_read(m, io->port, io->size);
		status = ept_write_guest(m->ept, first, &value, here);
		if (!status && here < io->size)
			status = ept_write_guest(m->ept, second, (char *)&value + here,
						 io->size - here);
	} else {
		status = ept_read_guest(m->ept, first, &value, here);
		if (!status && here < io->size)
			status = ept_read_guest(m->ept, second, (char *)&value + here,
						io->size - here);
		if (!status)
			port_write(m, io->port, value, io->size);
	}
	if (status)
		machine_end(m, END_KILLED, 0, "%s GPA %#lx by a string instruction: %s, RIP %#lx",
			    io->in ? "write to" : "read of", first.raw, status_name(status),
			    vcpu_reg(cpu->vcpu, REG_RIP));
	return !status;
}

/* ------------------------------------------------------------------ the whole instruction */

/* 16-bit parts keep the rest of a register, 32-bit ones clear it: SDM "General-Purpose Registers".
 */
static void set_part(struct vcpu *vcpu, enum vcpu_reg reg, uint64_t value, unsigned bytes)
{
	uint64_t keep = bytes == 2 ? ~mask_of(2) : 0;

	vcpu_set_reg(vcpu, reg, (vcpu_reg(vcpu, reg) & keep) | (value & mask_of(bytes)));
}

void answer_string_io(struct machine *m, struct virtual_cpu *cpu, const struct vcpu_exit *exit)
{
	const struct exit_io *io = &exit->io;
	struct operand o = decode(m, cpu->vcpu, exit);
	uint64_t step = o.paging.rflags & RFLAGS_DF ? -(uint64_t)io->size : io->size;
	uint64_t count = 1;

	if (io->repeat)
		count = vcpu_reg(cpu->vcpu, REG_RCX) & mask_of(o.address_bytes);
	for (unsigned i = 0; count && i < ELEMENTS_AT_ONCE; i++) {
		if (!move_element(m, cpu, &o, io))
			return;		/* RIP and the registers still name this element */
		set_part(cpu->vcpu, o.index, vcpu_reg(cpu->vcpu, o.index) + step, o.address_bytes);
		count--;
		if (io->repeat)
			set_part(cpu->vcpu, REG_RCX, count, o.address_bytes);
	}
	if (!count)
		vcpu_skip(cpu->vcpu, exit->length);
}
