/* Between the files of the soft CPU. */
#ifndef TESTS_HOST_SOFT_INSIDE_H
#define TESTS_HOST_SOFT_INSIDE_H

#include "mm/base/check.h"
#include "tests/host/soft_cpu.h"

#define SOFT_ADDRESS UINT64_C(0x000ffffffffff000)	/* of a frame, in entries of both formats */
#define EPTP_ACCESSED_DIRTY (UINT64_C(1) << 6)

/* Exit qualification: a linear address is known; the access is to its translation. */
#define QUALIFIED_LINEAR      UINT64_C(0x080)
#define QUALIFIED_TRANSLATION UINT64_C(0x180)

/* ------------------------------------------------------------------ soft_cache.c */

/* The cached entry of that level, or NULL; asks whether it is still there. */
struct soft_cached *soft_cache_find(struct soft_cpu *cpu, struct soft_cache *cache,
				    uint64_t context, uint64_t address, unsigned level);
void soft_cache_keep(struct soft_cache *cache, uint64_t context, uint64_t address, unsigned level,
		     uint64_t entry, uint64_t rights);
/* One address, on all levels. */
void soft_cache_drop(struct soft_cache *cache, uint64_t context, uint64_t address);
/* Levels of a context, `lowest` and above. */
void soft_cache_drop_context(struct soft_cache *cache, uint64_t context, unsigned lowest);
void soft_cache_drop_all(struct soft_cache *cache);

/* ------------------------------------------------------------------ soft_cpu.c */

/* Whose translations: SDM "Caching Translation Information": EP4TA, bits 51:12 of the EPTP. */
static inline uint64_t soft_context(const struct soft_cpu *cpu) { return cpu->eptp & SOFT_ADDRESS; }

/* Bits of an address that this processor does not have. */
static inline uint64_t soft_beyond(const struct soft_cpu *cpu)
{
	return SOFT_ADDRESS & ~((UINT64_C(1) << cpu->physical_bits) - 1);
}

/* A guest-physical access on its way: what its exit will say of it. */
struct soft_request {
	enum access access;
	uint64_t about;			/* QUALIFIED_... */
	uint64_t linear;
	bool quiet;			/* a walk of the processor's own accord: it never exits */
};
struct soft_exit soft_translate(struct soft_cpu *cpu, gpa_t address,
				const struct soft_request *request, hpa_t *out);
/* The access itself, where the translation has led. */
void soft_perform(hpa_t where, enum access access, uint64_t *value);

/*
 * Sets flags in the entry that was read there, by one locked operation. False: it is no longer
 * what it was, *entry is what it is now.
 */
bool soft_set_flags(struct soft_cpu *cpu, atomic64_t *place, uint64_t *entry, uint64_t flags);

/* ------------------------------------------------------------------ soft_paging.c */

struct soft_exit soft_linear_translate(struct soft_cpu *cpu, uint64_t linear, enum access access,
				       gpa_t *out);

#endif
