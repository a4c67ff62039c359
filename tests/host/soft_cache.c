/*
 * What a soft CPU has cached: SDM "Information That May Be Cached". Each level is a table of its
 * own; a leaf of any size is an entry of its level. An entry may go at any time, so one that is
 * found is asked about (`choose`), each time anew: whether the processor never cached it, or lost
 * it since, can't be told apart.
 */
#include "tests/host/soft_inside.h"

static struct soft_cached *place_of(struct soft_cache *cache, uint64_t address, unsigned level)
{
	return &cache->sets[level - 1][(address >> level_shift(level)) % SOFT_CACHE_SETS];
}

static bool is_of(const struct soft_cached *cached, uint64_t context, uint64_t address,
		  unsigned level)
{
	return cached->valid && cached->context == context &&
	       cached->tag == address >> level_shift(level);
}

struct soft_cached *soft_cache_find(struct soft_cpu *cpu, struct soft_cache *cache,
				    uint64_t context, uint64_t address, unsigned level)
{
	struct soft_cached *cached = place_of(cache, address, level);

	if (!is_of(cached, context, address, level))
		return NULL;
	if (!cpu->choose || !cpu->choose(cpu, 2))
		return cached;
	*cached = (struct soft_cached){ 0 };
	return NULL;
}

void soft_cache_keep(struct soft_cache *cache, uint64_t context, uint64_t address, unsigned level,
		     uint64_t entry, uint64_t rights)
{
	*place_of(cache, address, level) = (struct soft_cached){
		context, address >> level_shift(level), entry, (uint32_t)rights, true };
}

/* What is dropped leaves zeros: two processors that know the same are the same to an explorer. */
void soft_cache_drop(struct soft_cache *cache, uint64_t context, uint64_t address)
{
	for (unsigned level = 1; level <= SOFT_LEVELS; level++) {
		struct soft_cached *cached = place_of(cache, address, level);

		if (is_of(cached, context, address, level))
			*cached = (struct soft_cached){ 0 };
	}
}

void soft_cache_drop_context(struct soft_cache *cache, uint64_t context, unsigned lowest)
{
	for (unsigned level = lowest; level <= SOFT_LEVELS; level++)
		for (unsigned i = 0; i < SOFT_CACHE_SETS; i++) {
			struct soft_cached *cached = &cache->sets[level - 1][i];

			if (cached->valid && cached->context == context)
				*cached = (struct soft_cached){ 0 };
		}
}

void soft_cache_drop_all(struct soft_cache *cache)
{
	*cache = (struct soft_cache){ 0 };
}
