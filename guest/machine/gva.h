/*
 * Guest linear addresses to guest physical ones, as the guest's own paging says. Knows no VM: the
 * registers and guest memory are passed in, so that it is tested hosted.
 */
#ifndef GUEST_MACHINE_GVA_H
#define GUEST_MACHINE_GVA_H

#include "mm/mm.h"

struct gva_context {
	uint64_t cr0, cr3, cr4, efer, rflags;
	bool user;				/* CPL 3 */
	enum status (*read)(void *memory, gpa_t from, void *into, uint64_t bytes);
	enum status (*write)(void *memory, gpa_t to, const void *from, uint64_t bytes);
	void *memory;
};

enum gva_result {
	GVA_OK,
	GVA_FAULT,				/* the guest gets #PF with `error` */
	GVA_NO_TABLE,				/* a guest table is where there is no memory */
};

/*
 * One data access of kind ACCESS_READ or ACCESS_WRITE, at most to the end of the page. Sets the
 * accessed and dirty flags of the guest's entries. `table` names the address of GVA_NO_TABLE.
 */
struct gva_translation { gpa_t address, table; uint32_t error; };
MUST_USE enum gva_result gva_translate(const struct gva_context *context, uint64_t linear,
				       enum access access, struct gva_translation *out);

#endif
