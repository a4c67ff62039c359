/*
 * The walk of a guest's paging structures: SDM "Paging", all modes but 5-level, rights and flags
 * included. Called for instructions that the machine carries out itself (string.c).
 *
 *	mode		entries		levels	leaves
 *	32-bit		4 bytes, 1024	2	4K; 4M with CR4.PSE
 *	PAE		8 bytes, 512	3	4K, 2M; the top has 4 entries without rights
 *	4-level		8 bytes, 512	4	4K, 2M, 1G
 */
#include "guest/machine/gva.h"

#define CR0_WP          (UINT64_C(1) << 16)
#define CR0_PG          (UINT64_C(1) << 31)
#define CR4_PSE         (UINT64_C(1) << 4)
#define CR4_PAE         (UINT64_C(1) << 5)
#define CR4_SMAP        (UINT64_C(1) << 21)
#define EFER_LMA        (UINT64_C(1) << 10)
#define RFLAGS_AC       (UINT64_C(1) << 18)

#define ENTRY_PRESENT   (UINT64_C(1) << 0)
#define ENTRY_WRITABLE  (UINT64_C(1) << 1)
#define ENTRY_USER      (UINT64_C(1) << 2)
#define ENTRY_ACCESSED  (UINT64_C(1) << 5)
#define ENTRY_DIRTY     (UINT64_C(1) << 6)
#define ENTRY_LARGE     (UINT64_C(1) << 7)
#define ENTRY_ADDRESS   UINT64_C(0x000ffffffffff000)

#define ERROR_PRESENT   1u
#define ERROR_WRITE     2u
#define ERROR_USER      4u

enum { LEVELS_MAX = 4 };

struct walk {
	const struct gva_context *context;
	uint64_t linear;
	unsigned levels, entry_bytes, index_bits;
	uint64_t rights;			/* ENTRY_WRITABLE and ENTRY_USER, and-ed */
	gpa_t where[LEVELS_MAX + 1];		/* of the entry used at each level */
	uint64_t entry[LEVELS_MAX + 1];
	unsigned leaf;
};

static unsigned shift_of(const struct walk *w, unsigned level)
{
	return PAGE_SHIFT + (level - 1) * w->index_bits;
}

static bool is_leaf(const struct walk *w, unsigned level, uint64_t entry)
{
	if (level == 1)
		return true;
	if (!(entry & ENTRY_LARGE) || level == w->levels)
		/* 32-bit paging's upper level is the one with large pages. */
		return w->entry_bytes == 4 && (entry & ENTRY_LARGE) && (w->context->cr4 & CR4_PSE);
	return true;
}

/* 32-bit paging keeps bits 39:32 of a 4-MByte page in bits 20:13 (PSE-36). */
static uint64_t leaf_address(const struct walk *w)
{
	uint64_t entry = w->entry[w->leaf];
	uint64_t inside = (UINT64_C(1) << shift_of(w, w->leaf)) - 1;
	uint64_t base = entry & ENTRY_ADDRESS & ~inside;

	if (w->entry_bytes == 4 && w->leaf == 2)
		base |= (entry >> 13 & 0xff) << 32;
	return base | (w->linear & inside);
}

static struct walk start(const struct gva_context *context, uint64_t linear)
{
	struct walk w = { .context = context, .linear = linear, .entry_bytes = 8, .index_bits = 9,
			  .rights = ENTRY_WRITABLE | ENTRY_USER };

	if (context->efer & EFER_LMA) {
		w.levels = 4;
	} else if (context->cr4 & CR4_PAE) {
		w.levels = 3;
	} else {
		w.levels = 2;
		w.entry_bytes = 4;
		w.index_bits = 10;
	}
	return w;
}

static gpa_t root(const struct walk *w)
{
	uint64_t cr3 = w->context->cr3;

	/* PAE's top table is 32 bytes, aligned to as much. */
	return gpa(w->levels == 3 ? cr3 & 0xffffffe0 : cr3 & ENTRY_ADDRESS);
}

static enum gva_result descend(struct walk *w, struct gva_translation *out)
{
	gpa_t table = root(w);

	for (unsigned level = w->levels;; level--) {
		uint64_t index = w->linear >> shift_of(w, level) & ((1u << w->index_bits) - 1);
		uint64_t entry = 0;

		if (w->levels == 3 && level == 3)
			index &= 3;
		w->where[level] = gpa_add(table, index * w->entry_bytes);
		out->table = w->where[level];
		if (w->context->read(w->context->memory, w->where[level], &entry, w->entry_bytes))
			return GVA_NO_TABLE;
		w->entry[level] = entry;
		if (!(entry & ENTRY_PRESENT))
			return GVA_FAULT;
		if (!(w->levels == 3 && level == 3))
			w->rights &= entry;
		if (is_leaf(w, level, entry)) {
			w->leaf = level;
			out->error |= ERROR_PRESENT;
			return GVA_OK;
		}
		table = gpa(entry & ENTRY_ADDRESS);
	}
}

static bool allowed(const struct walk *w, enum access access)
{
	const struct gva_context *c = w->context;
	bool write = access & ACCESS_WRITE;

	if (c->user)
		return (w->rights & ENTRY_USER) && (!write || (w->rights & ENTRY_WRITABLE));
	if ((w->rights & ENTRY_USER) && (c->cr4 & CR4_SMAP) && !(c->rflags & RFLAGS_AC))
		return false;
	return !write || (w->rights & ENTRY_WRITABLE) || !(c->cr0 & CR0_WP);
}

/*
 * Both flags are in the entry's first byte. It is read and written in two steps, so a guest that
 * changes the same entry on another CPU meanwhile could lose its change; hardware locks it.
 */
static enum gva_result set_flags(const struct walk *w, enum access access)
{
	const struct gva_context *c = w->context;

	for (unsigned level = w->levels; level >= w->leaf; level--) {
		uint64_t wanted = ENTRY_ACCESSED;
		uint8_t byte = (uint8_t)w->entry[level];

		if (level == w->leaf && (access & ACCESS_WRITE))
			wanted |= ENTRY_DIRTY;
		if ((w->levels == 3 && level == 3) || (byte & wanted) == wanted)
			continue;
		byte |= (uint8_t)wanted;
		if (c->write(c->memory, w->where[level], &byte, 1))
			return GVA_NO_TABLE;
	}
	return GVA_OK;
}

enum gva_result gva_translate(const struct gva_context *context, uint64_t linear,
			      enum access access, struct gva_translation *out)
{
	struct walk w = start(context, linear);
	enum gva_result result;

	*out = (struct gva_translation){ .address = gpa(linear) };
	if (!(context->cr0 & CR0_PG))
		return GVA_OK;
	out->error = (access & ACCESS_WRITE ? ERROR_WRITE : 0) | (context->user ? ERROR_USER : 0);
	result = descend(&w, out);
	if (result != GVA_OK)
		return result;
	if (!allowed(&w, access))
		return GVA_FAULT;
	out->address = gpa(leaf_address(&w));
	return set_flags(&w, access);
}
