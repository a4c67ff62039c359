/* Regions without a space behind them: memfd.c. Addresses from SPACE_END on are theirs. */
#ifndef EPT_MEMFD_H
#define EPT_MEMFD_H

#include "ept/state.h"

static inline bool memfd_is(hva_t address) { return address.raw >= SPACE_END; }

/* mm_lookup and mm_peek for such an address. */
MUST_USE enum status memfd_region_lookup(const struct ept *ept, hva_t address, enum access access,
					 struct mm_page *out);
MUST_USE enum status memfd_region_peek(const struct ept *ept, hva_t address, struct mm_page *out);

/* The region with that backing was removed: if it was a memfd's, nobody listens for it any more. */
void memfd_region_gone(struct ept *ept, hva_t backing);
/* No CPU and no fault is left. */
void memfd_unbind_all(struct ept *ept);

/* What stands behind an address, whichever it is of. */
static inline enum status region_peek(const struct ept *ept, hva_t address, struct mm_page *out)
{
	return memfd_is(address) ? memfd_region_peek(ept, address, out)
				 : mm_peek(ept->space, address, out);
}

#endif
