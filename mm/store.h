/*
 * A backing store in memory: what a disk is to a file. What was written reads back; what never was
 * reads as zeros. It can be slow, transfer less than it is asked to, and fail, as a test wants.
 */
#ifndef MM_STORE_H
#define MM_STORE_H

#include "mm/mm.h"

struct ram_store;

struct store_faults {
	uint64_t piece;			/* bytes of one transfer at most; 0: all */
	uint64_t latency;		/* port_relax() so often before each transfer */
	bool fail_reads, fail_writes;	/* STATUS_IO_ERROR */
};

/*
 * STATUS_BAD_RANGE: no page; STATUS_NO_MEMORY. Its pages are the host's, taken as they are written.
 */
MUST_USE enum status ram_store_create(struct host *host, uint64_t pages, struct ram_store **out);
/* No file uses it. */
void ram_store_destroy(struct ram_store *ram);
struct store *ram_store_of(struct ram_store *ram);
/* From now on. Not while a transfer is under way. */
void ram_store_set_faults(struct ram_store *ram, struct store_faults faults);
/* Transfers so far, pieces and failures too. */
struct store_stats { uint64_t reads, writes; };
void ram_store_read_stats(struct ram_store *ram, struct store_stats *out);

#endif
