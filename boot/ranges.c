/* Sets of physical addresses, for the memory map: boot/ranges.h. One CPU, at boot. */
#include "boot/ranges.h"
#include "boot/string.h"

static void delete_at(struct range_set *set, unsigned i)
{
	set->count--;
	memmove(&set->range[i], &set->range[i + 1], (set->count - i) * sizeof(set->range[0]));
}

static enum status insert_at(struct range_set *set, unsigned i, struct ram_range range)
{
	if (set->count == RANGES_MAX)
		return STATUS_LIMIT;
	memmove(&set->range[i + 1], &set->range[i], (set->count - i) * sizeof(set->range[0]));
	set->range[i] = range;
	set->count++;
	return STATUS_OK;
}

enum status range_set_add(struct range_set *set, hpa_t start, hpa_t end)
{
	unsigned i = 0;

	if (start.raw >= end.raw)
		return STATUS_OK;
	while (i < set->count && set->range[i].end.raw < start.raw)
		i++;
	while (i < set->count && set->range[i].start.raw <= end.raw) {
		if (set->range[i].start.raw < start.raw)
			start = set->range[i].start;
		if (set->range[i].end.raw > end.raw)
			end = set->range[i].end;
		delete_at(set, i);
	}
	return insert_at(set, i, (struct ram_range){ start, end });
}

enum status range_set_remove(struct range_set *set, hpa_t start, hpa_t end)
{
	unsigned i = 0;

	if (start.raw >= end.raw)
		return STATUS_OK;
	while (i < set->count) {
		struct ram_range *range = &set->range[i];
		hpa_t range_end = range->end;

		if (range_end.raw <= start.raw || range->start.raw >= end.raw) {
			i++;
		} else if (range->start.raw >= start.raw && range_end.raw <= end.raw) {
			delete_at(set, i);
		} else if (range->start.raw >= start.raw) {
			range->start = end;
		} else {
			if (range_end.raw > end.raw && set->count == RANGES_MAX)
				return STATUS_LIMIT;
			range->end = start;
			i++;
			if (range_end.raw > end.raw)
				return insert_at(set, i, (struct ram_range){ end, range_end });
		}
	}
	return STATUS_OK;
}

bool range_set_holds(const struct range_set *set, hpa_t start, hpa_t end)
{
	for (unsigned i = 0; i < set->count; i++)
		if (set->range[i].start.raw <= start.raw && end.raw <= set->range[i].end.raw)
			return start.raw <= end.raw;
	return false;
}

uint64_t range_set_bytes(const struct range_set *set)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < set->count; i++)
		bytes += set->range[i].end.raw - set->range[i].start.raw;
	return bytes;
}
