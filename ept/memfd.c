/*
 * Regions backed by memory that no process maps. Called by region.c, fault.c, verify.c, and by mm
 * with the memfd's lock held. Linux: kvm_gmem_bind, kvm_gmem_invalidate_begin.
 *
 * Such a region's `backing` is an address beyond every space's end: its own 128 TiB, of which the
 * memfd's first page is the first. So it overlaps no other region's, and all that goes by addresses
 * (the bracket, the zap, the comparison of sequences) needs to know nothing of memfds.
 */
#include "ept/change.h"
#include "ept/memfd.h"
#include "ept/notify.h"
#include "ept/region.h"

static uint64_t base_of(const struct ept *ept, const struct ept_memfd *bound)
{
	return SPACE_END * (uint64_t)(bound - ept->memfds + 1);
}

/* Of an address beyond SPACE_END. */
static const struct ept_memfd *bound_at(const struct ept *ept, hva_t address, uint64_t *page)
{
	*page = (address.raw & (SPACE_END - 1)) >> PAGE_SHIFT;
	return &ept->memfds[address.raw / SPACE_END - 1];
}

enum status memfd_region_lookup(const struct ept *ept, hva_t address, enum access access,
				struct mm_page *out)
{
	uint64_t page;
	const struct ept_memfd *bound = bound_at(ept, address, &page);

	return memfd_lookup(bound->memfd, page, access, out);
}

enum status memfd_region_peek(const struct ept *ept, hva_t address, struct mm_page *out)
{
	uint64_t page;
	const struct ept_memfd *bound = bound_at(ept, address, &page);

	return memfd_peek(bound->memfd, page, out);
}

/* ------------------------------------------------------------------ brackets */

static struct mm_range translated(const struct ept_memfd *bound, const struct mm_range *range)
{
	uint64_t base = base_of(bound->ept, bound);

	return (struct mm_range){ .start = hva_add(range->start, base),
				  .end = hva_add(range->end, base), .event = range->event };
}

static void start(struct notifier *notifier, const struct mm_range *range)
{
	const struct ept_memfd *bound = container_of(notifier, struct ept_memfd, notifier);
	struct mm_range here = translated(bound, range);

	notify_start(bound->ept, &here);
}

static void end(struct notifier *notifier, const struct mm_range *range)
{
	(void)range;
	notify_end(container_of(notifier, struct ept_memfd, notifier)->ept);
}

static const struct notifier_ops memfd_ops = { .start = start, .end = end };

/* ------------------------------------------------------------------ binding */

static struct ept_memfd *take_place(struct ept *ept, struct memfd *memfd)
{
	struct ept_memfd *bound = NULL;

	write_lock(&ept->lock);
	for (unsigned i = 0; i < REGIONS_MAX && !bound; i++)
		if (!ept->memfds[i].memfd)
			bound = &ept->memfds[i];
	if (bound)
		*bound = (struct ept_memfd){ memfd, ept, { .ops = &memfd_ops } };
	write_unlock(&ept->lock);
	return bound;
}

/* Listens no more. The place is free when nobody listens for it. */
static void unbind(struct ept_memfd *bound)
{
	memfd_unregister(bound->memfd, &bound->notifier);
	write_lock(&bound->ept->lock);
	bound->memfd = NULL;
	write_unlock(&bound->ept->lock);
}

/* Listens before it is seen: no page is lent that could go without a word. */
enum status ept_region_add_memfd(struct ept *ept, const struct region *region, struct memfd *memfd)
{
	struct region at = *region;
	uint64_t first = at.backing.raw >> PAGE_SHIFT;

	if (first >= memfd_pages(memfd) || at.pages > memfd_pages(memfd) - first)
		return STATUS_BAD_RANGE;
	struct ept_memfd *bound = take_place(ept, memfd);

	if (!bound)
		return STATUS_LIMIT;
	memfd_register(memfd, &bound->notifier);
	at.backing = hva_add(at.backing, base_of(ept, bound));
	enum status status = region_insert(ept, &at);

	if (status != STATUS_OK)
		unbind(bound);
	return status;
}

void memfd_region_gone(struct ept *ept, hva_t backing)
{
	if (memfd_is(backing))
		unbind(&ept->memfds[backing.raw / SPACE_END - 1]);
}

void memfd_unbind_all(struct ept *ept)
{
	for (unsigned i = 0; i < REGIONS_MAX; i++)
		if (ept->memfds[i].memfd)
			unbind(&ept->memfds[i]);
}
