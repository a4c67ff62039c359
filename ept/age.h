/* Whether the guest has used what host addresses back. */
#ifndef EPT_AGE_H
#define EPT_AGE_H

#include "ept/state.h"

/*
 * True when the guest has used a page of [start, end) since this was last cleared; a large leaf is
 * used as a whole. Takes ept->lock, shared.
 */
bool ept_test_young(struct ept *ept, hva_t start, hva_t end);
bool ept_clear_young(struct ept *ept, hva_t start, hva_t end);

#endif
