/*
 * The hosted machine's RAM: one sparse mapping at DIRECT_MAP, made when the first arena opens and
 * kept; an arena is a part of it, given back to the kernel when it closes, so that the next one
 * finds zeros. One arena at a time may use a byte of it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "tests/host/arena.h"

#if defined(__SANITIZE_ADDRESS__)
#define WITH_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ASAN 1
#endif
#endif
#ifdef WITH_ASAN
#include <sanitizer/asan_interface.h>
#define forbid(p, bytes) __asan_poison_memory_region((p), (bytes))
#define allow(p, bytes)  __asan_unpoison_memory_region((p), (bytes))
#else
#define forbid(p, bytes) ((void)(p), (void)(bytes))
#define allow(p, bytes)  ((void)(p), (void)(bytes))
#endif

/*
 * Where the kernel puts libraries and stacks begins, at random, anywhere in the last TiB below
 * 2^47: RAM of 256 GiB ends well below.
 */
#define MEMORY_BYTES (UINT64_C(1) << 38)

static bool kept;

void arena_keep(bool keep) { kept = keep; }

static void map_memory(void)
{
	static bool mapped;
	void *wanted = hpa_to_ptr(hpa(0));

	if (mapped)
		return;
	if (mmap(wanted, MEMORY_BYTES, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0) !=
	    wanted) {
		perror("arena: the direct map can't be mapped");
		exit(2);
	}
	mapped = true;
}

void arena_clear(const struct ram_range *ranges, unsigned count)
{
	map_memory();
	for (unsigned i = 0; i < count; i++) {
		uint64_t start = ranges[i].start.raw & PAGE_MASK;
		uint64_t end = (ranges[i].end.raw + PAGE_SIZE - 1) & PAGE_MASK;

		if (start >= end || end > MEMORY_BYTES)
			continue;
		allow(hpa_to_ptr(hpa(start)), end - start);
		if (!kept)
			madvise(hpa_to_ptr(hpa(start)), end - start, MADV_DONTNEED);
	}
}

/* ------------------------------------------------------------------ the watch */

static bool may_alloc(struct page_watch *self, unsigned order)
{
	struct arena *arena = (struct arena *)self;
	int64_t left = __atomic_load_n(&arena->fail_after, __ATOMIC_RELAXED);

	if (left < 0 || order < arena->fail_order)
		return true;
	if (left > 0) {
		__atomic_fetch_sub(&arena->fail_after, 1, __ATOMIC_RELAXED);
		return true;
	}
	if (!arena->fail_all)
		arena->fail_after = -1;
	arena->refused++;
	return false;
}

static void allocated(struct page_watch *self, pfn_t head, unsigned order)
{
	(void)self;
	allow(pfn_to_ptr(head), PAGE_SIZE << order);
}

static void freeing(struct page_watch *self, pfn_t head, unsigned order)
{
	(void)self;
	if (order == ORDER_4K)
		memset(pfn_to_ptr(head), ARENA_POISON, PAGE_SIZE);
	forbid(pfn_to_ptr(head), PAGE_SIZE << order);
}

void arena_fail_after(struct arena *arena, int64_t n)
{
	arena->fail_after = n;
	arena->fail_all = false;
	arena->fail_order = 0;
	arena->refused = 0;
}

void arena_fail_from_order(struct arena *arena, unsigned order)
{
	arena_fail_after(arena, 0);
	arena->fail_all = true;
	arena->fail_order = order;
}

/* ------------------------------------------------------------------ open, close */

struct host *arena_open_ranges(struct arena *arena, const struct ram_range *ranges, unsigned count)
{
	memset(arena, 0, sizeof(*arena));
	check(count <= ARENA_RANGES_MAX);
	memcpy(arena->ranges, ranges, count * sizeof(*ranges));
	arena->count = count;
	arena_clear(ranges, count);
	check(host_create(ranges, count, &arena->host) == STATUS_OK);
	arena->watch = (struct page_watch){ may_alloc, allocated, freeing };
	arena->fail_after = -1;
	arena->host->watch = &arena->watch;
	arena->pages_free = page_count_free(arena->host);
	return arena->host;
}

struct host *arena_open(struct arena *arena, uint64_t mebibytes)
{
	struct ram_range range = { hpa(0), hpa(mebibytes << 20) };

	return arena_open_ranges(arena, &range, 1);
}

void arena_abandon(struct arena *arena)
{
	arena_clear(arena->ranges, arena->count);
}

void arena_close(struct arena *arena)
{
	struct host_stats stats;

	host_verify(arena->host);
	host_read_stats(arena->host, &stats);
	if (stats.pages_free != arena->pages_free)
		port_panic("%lu pages leaked", arena->pages_free - stats.pages_free);
	arena_abandon(arena);
}
