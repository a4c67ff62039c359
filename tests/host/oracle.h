/*
 * The content oracle, with all that a host does going on at once: vCPUs store at random, the
 * host's daemons and a device have the memory as well, and a harvester keeps a copy of it, up to
 * date by the dirty log alone. Now and then all stand still: then copy, memory and what everybody
 * remembers of his own stores are the same, byte for byte (S64, I6).
 *
 * Made of turns, so that threads (tests/unit/ept_oracle_live.c) and the image's tasks
 * (tests/boot/test_oracle.c) can play it: each actor calls its function again and again, from
 * whatever CPU, until it says false. No turn waits for another. A writer's accesses are made by
 * hands of two kinds: soft CPUs (oracle_soft.c) and the processor's own vCPUs (tests/boot/
 * oracle_vcpu.c).
 *
 *	writer, host				harvester
 *	------------				---------
 *	stop, then parked			harvest, copy
 *	stores, in its own words		stop = 1, all parked: harvest, copy, compare
 *	out of the guest			stop = 0; after so many rounds over = 1
 */
#ifndef TESTS_HOST_ORACLE_H
#define TESTS_HOST_ORACLE_H

#include "mm/mm.h"
#include "mm/store.h"
#include "tests/host/soft_cpu.h"

enum {
	ORACLE_WRITERS = 4, ORACLE_CPUS = 8,
	ORACLE_PAGES = 1536, ORACLE_WORDS = (1 << ORDER_1G) / 64
};

/*
 * What the guests are lent. With leaves of up to 2 MiB: anonymous pages, which may be swapped,
 * moved, merged and split, and a file's, which are written back. With leaves of 1 GiB: one from a
 * pool, in which the pages that are stored to lie far apart; it stays as it is.
 */
struct oracle_memory {
	struct host *host;
	struct space *space;
	unsigned level;
	uint64_t pages, stride;		/* in all; from one that is stored to, to the next */
	struct file *file;
	struct ram_store *swap, *disk;
	struct pool *pool;
};

/* STATUS_NO_MEMORY: the machine is too small for it. Starts KSM and swap, if they are needed. */
MUST_USE enum status oracle_memory_open(struct oracle_memory *memory, struct host *host,
					unsigned level);
void oracle_memory_close(struct oracle_memory *memory);

struct oracle;
struct oracle_writer;

/* Who makes the writers' accesses. */
struct oracle_hands {
	/* After the EPT and its memory, before the log. Close frees what an error leaves behind. */
	enum status (*open)(struct oracle *oracle);
	/*
	 * The accesses of this turn that are not made yet. False: some ring is full, or its time is
	 * over; the rest comes when it is called again. On a CPU below ORACLE_CPUS, outside the
	 * guest before and after.
	 */
	bool (*make)(struct oracle_writer *writer);
	void (*close)(struct oracle *oracle);
};
extern const struct oracle_hands oracle_soft_hands;

struct oracle_plan {
	enum ept_policy policy;
	struct log_options log;
	const struct oracle_hands *hands;
	struct ept_caps caps;		/* leaves as large as the memory's are made of it */
	unsigned writers;		/* 1 to ORACLE_WRITERS */
	unsigned rounds;
};

/* Of a page: one word for each writer, one for the device. */
enum { ORACLE_DEVICE = ORACLE_WRITERS, ORACLE_ACTORS };
struct oracle_page { uint64_t words[ORACLE_ACTORS]; };

/* One for each CPU below ORACLE_CPUS, who runs the writers that come there: it has the caches. */
struct oracle_cpu {
	struct soft_cpu soft;
	pfn_t list;
};

/* A load, a store, or one after the other. tests/boot's snippet oracle_turn knows the shape. */
enum { ORACLE_LOAD = 1, ORACLE_STORE = 2 };
struct oracle_access {
	uint64_t address;		/* guest-physical, of a word of eight bytes */
	uint64_t what;
	uint64_t value;			/* to store */
	uint64_t found;			/* by the load */
};
enum { ORACLE_TURN = 32 };		/* accesses */

struct oracle_writer {
	struct oracle *oracle;
	struct ept_ring *ring;
	unsigned number;
	uint64_t random;
	struct oracle_access turn[ORACLE_TURN];
	unsigned made;			/* of those; by hands that make them one by one */
	bool on_its_way;		/* between the turn's beginning and its end */
	uint64_t wrong;			/* loads that found what it had not stored */
	uint64_t refused;		/* accesses that ended in no memory, or worse */
	uint64_t full;			/* times that no ring had room: by LOG_RING_ONLY */
	atomic64_t stores;
	atomic32_t parked;
};

struct oracle {
	struct oracle_plan plan;
	struct oracle_memory *memory;
	struct ept *ept;
	struct oracle_cpu cpus[ORACLE_CPUS];	/* the soft hands' */
	struct oracle_writer writers[ORACLE_WRITERS];

	/* The host's task. */
	uint64_t random, failed;
	atomic64_t acts;
	atomic32_t host_parked;

	/* The harvester. */
	atomic32_t stop, over;
	uint64_t harvests, rounds, reported;
	uint64_t stores_then, acts_then;	/* when all stood still last */
	uint64_t stores_seen, turns;	/* at the last harvest, since then */
	uint64_t unknown;		/* pages reported that nobody ever stores to */
	uint64_t early;			/* and such as the copy has: told before the store */
	uint64_t lost, stale;		/* words that memory, or the copy, has not */
	uint64_t bits[ORACLE_WORDS];
	struct oracle_page copy[ORACLE_PAGES];

	/* Each word is one actor's; read by the harvester while all are parked. */
	struct oracle_page model[ORACLE_PAGES];
};

/* STATUS_NO_MEMORY; STATUS_UNSUPPORTED: such a log wants a processor that sets D. */
MUST_USE enum status oracle_open(struct oracle *oracle, struct oracle_memory *memory,
				 const struct oracle_plan *plan);
/* Verifies what is left behind, then leaves nothing but the memory. */
void oracle_close(struct oracle *oracle);

/* A turn of each. False: it is over. A writer's is on a CPU below ORACLE_CPUS. */
bool oracle_write(struct oracle_writer *writer);
bool oracle_host(struct oracle *oracle, uint64_t now);
bool oracle_harvest(struct oracle *oracle);

/* All that was wrong; 0: nothing is lost. */
uint64_t oracle_errors(const struct oracle *oracle);

#endif
