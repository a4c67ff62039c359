/*
 * A set of physical addresses: sorted ranges that neither touch nor overlap. Filled while the
 * machine has one CPU, read-only after that.
 */
#ifndef BOOT_RANGES_H
#define BOOT_RANGES_H

#include "mm/base/check.h"
#include "mm/mm.h"

enum { RANGES_MAX = 256 };

struct range_set {
	unsigned count;
	struct ram_range range[RANGES_MAX];
};

/* Bytes [start, end). STATUS_LIMIT when the set would fall into more than RANGES_MAX pieces. */
MUST_USE enum status range_set_add(struct range_set *set, hpa_t start, hpa_t end);
MUST_USE enum status range_set_remove(struct range_set *set, hpa_t start, hpa_t end);
bool range_set_holds(const struct range_set *set, hpa_t start, hpa_t end);
uint64_t range_set_bytes(const struct range_set *set);

#endif
