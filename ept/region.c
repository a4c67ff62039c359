/*
 * Regions: a small sorted array under ept->lock. Called by the machine that builds a guest, by
 * fault.c and notify.c. A change advances the sequence, as a bracket's end does, so that a fault
 * which looked at the old regions starts again. A region goes by leave.c. Linux: kvm_memslots.
 */
#include "ept/leave.h"
#include "ept/log.h"
#include "ept/memfd.h"
#include "ept/mmio.h"
#include "ept/notify.h"
#include "ept/region.h"
#include "ept/ring.h"

/* The first region that ends above the frame: region_count when there is none. */
static unsigned region_search(const struct ept *ept, gfn_t frame) HOLDS_SHARED(ept->lock)
{
	unsigned low = 0, high = ept->region_count;

	while (low < high) {
		unsigned middle = (low + high) / 2;
		const struct region *region = &ept->regions[middle];

		if (region->start.raw + region->pages <= frame.raw)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

const struct region *region_find(const struct ept *ept, gfn_t frame)
{
	unsigned i = region_search(ept, frame);

	if (i == ept->region_count || ept->regions[i].start.raw > frame.raw)
		return NULL;
	return &ept->regions[i];
}

unsigned region_level(const struct region *region, gfn_t frame, unsigned most)
{
	uint64_t skew = region->start.raw ^ region->backing.raw >> PAGE_SHIFT;
	unsigned level = most < region->max_level ? most : region->max_level;

	for (; level > LEVEL_4K; level--) {
		uint64_t pages = level_pages(level);
		uint64_t start = frame.raw & ~(pages - 1);

		if (!(skew & (pages - 1)) && start >= region->start.raw &&
		    start + pages <= region->start.raw + region->pages)
			break;
	}
	return level;
}

bool region_is_sound(const struct region *region)
{
	uint64_t host_pages = SPACE_END >> PAGE_SHIFT;
	uint64_t backing = (region->backing.raw & (SPACE_END - 1)) >> PAGE_SHIFT;

	/* In this order, so that no sum wraps. */
	return region->pages && region->start.raw < GUEST_FRAMES &&
	       region->pages <= GUEST_FRAMES - region->start.raw &&
	       !(region->backing.raw & ~PAGE_MASK) && backing < host_pages &&
	       region->pages <= host_pages - backing && region->max_level >= LEVEL_4K &&
	       region->max_level <= LEVEL_1G;
}

/* One that leaves has its place until it is gone, and may need it again. */
bool region_overlaps(const struct ept *ept, const struct region *region)
{
	unsigned i = region_search(ept, region->start);

	if (i < ept->region_count && ept->regions[i].start.raw < region->start.raw + region->pages)
		return true;
	return leave_overlaps(ept, region);
}

enum status region_place(struct ept *ept, const struct region *region)
{
	unsigned i = region_search(ept, region->start);

	if (region_overlaps(ept, region))
		return STATUS_EXISTS;
	if (ept->region_count + atomic_read(&ept->leaving_count) == REGIONS_MAX)
		return STATUS_LIMIT;
	for (unsigned k = ept->region_count++; k > i; k--)
		ept->regions[k] = ept->regions[k - 1];
	ept->regions[i] = *region;
	mmio_outdate(ept);
	return STATUS_OK;
}

/* U23: a bracket that is open was told of the regions as they are. */
void region_lock_between_brackets(struct ept *ept)
{
	for (;;) {
		await(!atomic_read(&ept->brackets));
		write_lock(&ept->lock);
		if (!atomic_read(&ept->brackets))
			return;
		write_unlock(&ept->lock);
	}
}

enum status ept_region_add(struct ept *ept, const struct region *region)
{
	return memfd_is(region->backing) ? STATUS_BAD_RANGE : region_insert(ept, region);
}

enum status region_insert(struct ept *ept, const struct region *region)
{
	if (!region_is_sound(region))
		return STATUS_BAD_RANGE;

	write_lock(&ept->lock);
	enum status status = region_place(ept, region);

	write_unlock(&ept->lock);
	return status;
}

enum status region_take(struct ept *ept, gfn_t start, struct region *region)
{
	unsigned i = region_search(ept, start);

	if (i == ept->region_count || ept->regions[i].start.raw != start.raw)
		return STATUS_NOT_FOUND;
	*region = ept->regions[i];
	ept->region_count--;
	for (; i < ept->region_count; i++)
		ept->regions[i] = ept->regions[i + 1];
	return STATUS_OK;
}

/* A bracket of our own over what backs the region, that only protects. */
static void protect(struct ept *ept, const struct region *region)
{
	const struct mm_range range = {
		.start = region->backing,
		.end = hva_add(region->backing, region->pages << PAGE_SHIFT),
		.event = EVENT_MKCLEAN,
	};

	notify_start(ept, &range);
	notify_end(ept);
}

/*
 * The rights first. A fault that has seen the old ones maps before the bracket, which takes W from
 * it, or after, and finds the sequence moved. Where rights grow, leaves do at the next store.
 */
enum status ept_region_set_rights(struct ept *ept, gfn_t start, enum region_rights rights)
{
	struct region region;

	region_lock_between_brackets(ept);
	unsigned i = region_search(ept, start);
	bool found = i < ept->region_count && ept->regions[i].start.raw == start.raw;

	if (found) {
		ept->regions[i].rights = rights;
		region = ept->regions[i];
		/* What CPUs remember of it ends here. */
		atomic_add(&ept->sequence, 1);
	}
	write_unlock(&ept->lock);
	if (found && rights == REGION_READ_ONLY)
		protect(ept, &region);
	return found ? STATUS_OK : STATUS_NOT_FOUND;
}

enum status ept_region_find(struct ept *ept, gfn_t frame, struct region *out)
{
	read_lock(&ept->lock);
	const struct region *region = region_find(ept, frame);

	if (region)
		*out = *region;
	read_unlock(&ept->lock);
	return region ? STATUS_OK : STATUS_NOT_FOUND;
}

/* ------------------------------------------------------------------ guest memory for devices */

/* The part of [address, address + bytes) up to the end of its region, and where the host has it. */
static enum status find_part(struct ept *ept, gpa_t address, uint64_t bytes, struct region *region,
			     hva_t *where, uint64_t *part)
{
	gfn_t frame = gpa_to_gfn(address);
	enum status status = ept_region_find(ept, frame, region);

	if (status == STATUS_OK && memfd_is(region->backing))
		status = STATUS_NO_ACCESS;
	if (status != STATUS_OK)
		return status;

	uint64_t end = (region->start.raw + region->pages) << PAGE_SHIFT;

	*where = hva_add(region_hva(region, frame), address.raw & ~PAGE_MASK);
	*part = bytes < end - address.raw ? bytes : end - address.raw;
	return STATUS_OK;
}

enum status ept_read_guest(struct ept *ept, gpa_t from, void *into, uint64_t bytes)
{
	while (bytes) {
		struct region region;
		uint64_t part;
		hva_t where;
		enum status status = find_part(ept, from, bytes, &region, &where, &part);

		if (status == STATUS_OK)
			status = space_read(ept->space, where, into, part);
		if (status != STATUS_OK)
			return status;
		into = (char *)into + part;
		from = gpa_add(from, part);
		bytes -= part;
	}
	return STATUS_OK;
}

static enum status write_parts(struct ept *ept, gpa_t to, const void *from, uint64_t bytes)
{
	while (bytes) {
		struct region region;
		uint64_t part;
		hva_t where;
		enum status status = find_part(ept, to, bytes, &region, &where, &part);

		if (status == STATUS_OK && region.rights == REGION_READ_ONLY)
			status = STATUS_NO_ACCESS;
		if (status == STATUS_OK && !device_has_log(ept, gpa_to_gfn(to)))
			status = STATUS_UNSUPPORTED;
		if (status == STATUS_OK)
			status = space_write(ept->space, where, from, part);
		if (status != STATUS_OK)
			return status;
		log_stored(ept, to, part);
		from = (const char *)from + part;
		to = gpa_add(to, part);
		bytes -= part;
	}
	return STATUS_OK;
}

/* Whatever logs it finds on its way, one that begins meanwhile may wait for all of it (ring.c). */
enum status ept_write_guest(struct ept *ept, gpa_t to, const void *from, uint64_t bytes)
{
	struct ept_cpu *cpu = ept_this_cpu(ept);

	device_begin(cpu);
	enum status status = write_parts(ept, to, from, bytes);

	device_end(cpu);
	return status;
}

struct region_part region_behind(const struct region *region, hva_t start, hva_t end)
{
	uint64_t first = region->backing.raw, last = first + (region->pages << PAGE_SHIFT);

	if (start.raw > first)
		first = start.raw;
	if (end.raw < last)
		last = end.raw;
	if (first >= last)
		return (struct region_part){ 0 };
	return (struct region_part){ gfn_add(region->start,
					     (first - region->backing.raw) >> PAGE_SHIFT),
				     (last - first) >> PAGE_SHIFT };
}
