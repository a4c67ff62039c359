/*
 * Making a host out of ranges of RAM, its figures, and the check of its whole state. Called once
 * by boot or a test, before any other CPU knows the host.
 *
 * All metadata is one run at the start of the smallest range that can hold it, so that large
 * ranges stay whole for large folios:
 *
 *	| struct host | section table, one entry for 128 MiB | folios of section a | of b | ...
 */
#include "mm/lru.h"

struct frames { uint64_t start, end; };		/* frame numbers [start, end) */

/* Whole frames only. Empty when there is none. */
static struct frames range_frames(const struct ram_range *range)
{
	struct frames frames = { (range->start.raw + PAGE_SIZE - 1) >> PAGE_SHIFT,
				 range->end.raw >> PAGE_SHIFT };

	if (frames.end < frames.start)
		frames.end = frames.start;
	return frames;
}

static enum status check_ranges(const struct ram_range *ranges, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		const struct ram_range *a = &ranges[i];

		if (a->start.raw > a->end.raw || a->end.raw > RAM_END - PAGE_SIZE)
			return STATUS_BAD_RANGE;
		for (unsigned k = 0; k < i; k++) {
			const struct ram_range *b = &ranges[k];

			if (a->start.raw < b->end.raw && b->start.raw < a->end.raw)
				return STATUS_EXISTS;
		}
	}
	return STATUS_OK;
}

/* The smallest run of frames of this section that holds all its RAM; empty when it has none. */
static struct frames section_extent(const struct ram_range *ranges, unsigned count,
				    uint64_t section)
{
	uint64_t low = section << SECTION_SHIFT, high = low + SECTION_FRAMES;
	struct frames extent = { high, low };

	for (unsigned i = 0; i < count; i++) {
		struct frames ram = range_frames(&ranges[i]);
		uint64_t start = ram.start > low ? ram.start : low;
		uint64_t end = ram.end < high ? ram.end : high;

		if (start >= end)
			continue;
		if (start < extent.start)
			extent.start = start;
		if (end > extent.end)
			extent.end = end;
	}
	if (extent.end < extent.start)
		extent.end = extent.start;
	return extent;
}

static uint64_t count_sections(const struct ram_range *ranges, unsigned count)
{
	uint64_t end = 0;

	for (unsigned i = 0; i < count; i++) {
		struct frames ram = range_frames(&ranges[i]);

		if (ram.start < ram.end && ram.end > end)
			end = ram.end;
	}
	return (end + SECTION_FRAMES - 1) >> SECTION_SHIFT;
}

static uint64_t metadata_size(const struct ram_range *ranges, unsigned count)
{
	uint64_t sections = count_sections(ranges, count);
	uint64_t bytes = sizeof(struct host) + sections * sizeof(struct section);

	for (uint64_t i = 0; i < sections; i++) {
		struct frames extent = section_extent(ranges, count, i);

		bytes += (extent.end - extent.start) * sizeof(struct folio);
	}
	return bytes;
}

/* The index of the smallest range of at least so many frames; `count` when there is none. */
static unsigned smallest_range(const struct ram_range *ranges, unsigned count, uint64_t need)
{
	unsigned best = count;
	uint64_t best_size = UINT64_MAX;

	for (unsigned i = 0; i < count; i++) {
		struct frames ram = range_frames(&ranges[i]);
		uint64_t size = ram.end - ram.start;

		if (size >= need && size < best_size) {
			best = i;
			best_size = size;
		}
	}
	return best;
}

static void lay_out_sections(struct host *host, const struct ram_range *ranges, unsigned count)
{
	host->section_count = count_sections(ranges, count);
	host->sections = (struct section *)(host + 1);

	struct folio *next = (struct folio *)(host->sections + host->section_count);

	for (uint64_t i = 0; i < host->section_count; i++) {
		struct frames extent = section_extent(ranges, count, i);
		struct section *section = &host->sections[i];

		section->folios = next - extent.start;
		section->first = (uint32_t)(extent.start & (SECTION_FRAMES - 1));
		section->count = (uint32_t)(extent.end - extent.start);
		next += section->count;
	}
}

enum status host_create(const struct ram_range *ranges, unsigned count, struct host **out)
{
	enum status status = check_ranges(ranges, count);

	if (status != STATUS_OK)
		return status;

	uint64_t bytes = metadata_size(ranges, count);
	uint64_t pages = (bytes + PAGE_SIZE - 1) >> PAGE_SHIFT;
	unsigned place = smallest_range(ranges, count, pages);

	if (place == count)
		return STATUS_NO_MEMORY;

	struct host *host = pfn_to_ptr(pfn(range_frames(&ranges[place]).start));

	__builtin_memset(host, 0, pages << PAGE_SHIFT);
	host->metadata_bytes = pages << PAGE_SHIFT;
	list_init(&host->spaces);
	host_set_marking(host, MARKING_LOOKS);
	list_init(&host->files);
	page_lists_init(host);
	lru_init(host);
	lay_out_sections(host, ranges, count);
	for (unsigned i = 0; i < count; i++) {
		struct frames ram = range_frames(&ranges[i]);

		page_add_range(host, pfn(ram.start + (i == place ? pages : 0)), pfn(ram.end));
	}
	*out = host;
	return STATUS_OK;
}

void host_set_options(struct host *host, unsigned options)
{
	atomic_write(&host->options, options);
}

uint64_t host_read_count(struct host *host, enum host_count what)
{
	uint64_t sum = 0;

	for (unsigned cpu = 0; cpu < MAX_CPUS; cpu++)
		sum += atomic_read(&host->cpus[cpu].counts[what]);
	return sum;
}

void host_read_stats(struct host *host, struct host_stats *out)
{
	uint64_t pages = host->pages_total + (host->metadata_bytes >> PAGE_SHIFT);

	spin_lock(&host->lock);
	out->pages_free = page_count_free(host);
	spin_unlock(&host->lock);
	out->pages_total = host->pages_total;
	out->metadata_bytes = host->metadata_bytes;
	out->metadata_bytes_per_page = (host->metadata_bytes + pages - 1) / pages;
}
