/*
 * What the scenarios of mm/ and ept/ stand on: a host of 4 MiB, a space, an EPT that maps it at
 * guest frame 0, and a soft CPU for each actor, whose number is its CPU's.
 */
#ifndef TESTS_EXPLORE_WORLD_H
#define TESTS_EXPLORE_WORLD_H

#include "ept/state.h"
#include "mm/space.h"
#include "mm/store.h"
#include "tests/explore/explore.h"
#include "tests/host/soft_cpu.h"

#define WORLD_BACKING (UINT64_C(64) << 30)	/* hva of guest frame 0 */

struct world {
	struct host *host;
	struct space *space;
	struct ept *ept;
	struct soft_cpu cpus[EXPLORE_ACTORS];
	struct page_watch watch;
	uint64_t pages_free;		/* before the space was made */
	struct file *file;		/* and its store, when there is one */
	struct ram_store *store;
};
extern struct world world;

/* Guest memory of so many pages; leaves of up to max_level. Nothing is touched yet. */
void world_open(uint64_t pages, unsigned max_level);
/* The same, and the soft CPU `cpu` has written `value` to each page, and is outside again. */
void world_open_touched(uint64_t pages, uint64_t value);

/* Guest memory is the first pages of a file. */
void world_open_file(uint64_t pages, enum sharing sharing);

/* On the actor's own soft CPU; each must succeed. The CPU stays in the guest until guest_leaves. */
void guest_stores(uint64_t page, uint64_t value);
uint64_t guest_loads(uint64_t page);
void guest_leaves(void);

/*
 * Actors that most scenarios have: the guest stores 7 to the first page, and leaves; that page
 * moves.
 */
void store_seven(void);
void migrate_first(void);

/* What the process, and so the host, finds in that page's first word. */
uint64_t process_loads(uint64_t page);
static inline hva_t page_hva(uint64_t page) { return hva(WORLD_BACKING + (page << PAGE_SHIFT)); }
static inline gpa_t page_gpa(uint64_t page) { return gpa(page << PAGE_SHIFT); }

/* Every invariant: host, space, EPT; then everything is torn down and every page must be back. */
void world_verify(void);
/* The same, after the 7 was found where the guest has stored it. */
void verify_seven(void);
/*
 * The file's dirty pages are written; afterwards the store has the 7, too, whoever writes back now.
 */
void sync_file(void);
void verify_written_back(void);
/* The process stores 8 behind the 7, in the same page; afterwards both are there. */
void process_writes_behind(void);
void verify_seven_and_eight(void);
bool world_name(const void *address, char *name, size_t bytes);

#endif
