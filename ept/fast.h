/* The way of a fault that takes no lock. */
#ifndef EPT_FAST_H
#define EPT_FAST_H

#include "ept/state.h"

/*
 * FAULT_FIXED: the leaf allows the store now; FAULT_SPURIOUS: it did so already, or allows what was
 * wanted; anything else: it is for the slow way. Takes no lock, outside the guest.
 */
MUST_USE enum fault_result ept_fault_fast(struct ept *ept, gfn_t frame, enum access access);

#endif
