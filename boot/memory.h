/*
 * The machine's memory before there is a host to manage it. One CPU, at boot.
 */
#ifndef BOOT_MEMORY_H
#define BOOT_MEMORY_H

#include "boot/loader.h"

/* Refuses a machine with too little RAM, or with RAM beyond the direct map. */
void memory_init(const struct loader_facts *facts);
/* Nobody gets these bytes: firmware's tables in what the loader calls RAM. */
void memory_reserve(hpa_t start, uint64_t bytes);
/* Zeroed pages in a row, in the direct map and in the early map; for ever. Refuses without. */
void *memory_take_pages(uint64_t count);
/* A page below 1 MiB, for processors that start in real mode. False when there is none. */
bool memory_take_low_page(hpa_t *out);
/* All RAM; what is still free. */
const struct range_set *memory_ram(void);
const struct range_set *memory_free(void);

#endif
