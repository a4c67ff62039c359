/* An EPT's beginning and end, its pointer, its figures. Called by whoever builds a guest. */
#include "ept/change.h"
#include "ept/log.h"
#include "ept/memfd.h"
#include "ept/notify.h"
#include "ept/table.h"

enum status ept_create(struct space *space, const struct ept_caps *caps, struct ept **out)
{
	struct host *host = space_host(space);
	pfn_t frame, root;
	enum status status;

	if (caps->max_level < LEVEL_4K || caps->max_level > LEVEL_1G)
		return STATUS_UNSUPPORTED;
	status = folio_alloc_zeroed(host, bytes_order(sizeof(struct ept)), &frame);
	if (status != STATUS_OK)
		return status;
	status = folio_alloc_zeroed(host, ORDER_4K, &root);
	if (status != STATUS_OK) {
		folio_put(host, frame);
		return status;
	}

	struct ept *ept = pfn_to_ptr(frame);

	ept->space = space;
	ept->host = host;
	ept->caps = *caps;
	ept->ad = caps->accessed_dirty ? AD_PROCESSOR : AD_SOFTWARE;
	ept->root = root;
	for (unsigned i = 0; i < MAX_CPUS; i++)
		ept->cpu[i] = &ept->cpus[i];
	/* Zero is what a CPU that was never inside has seen. */
	atomic_write(&ept->notice.generation, 1);
	ept->notifier.ops = &ept_notifier_ops;
	notifier_register(space, &ept->notifier);
	*out = ept;
	return STATUS_OK;
}

/* No lock: nothing can be mapped yet. */
void ept_set_policy(struct ept *ept, enum ept_policy policy)
{
	check(!ept->region_count);
	ept->policy = policy;
}

void ept_set_prefetch(struct ept *ept, unsigned pages)
{
	check(!ept->region_count);
	/* A block lies in one table. */
	check(pages <= EPT_ENTRIES && !(pages & (pages - 1)));
	ept->prefetch = pages;
}

void ept_destroy(struct ept *ept)
{
	uint64_t all = EPT_ENTRIES * level_pages(EPT_ROOT_LEVEL);

	/*
	 * While the host still tells: a leaf that it takes back unheard may have been dirty. Linux:
	 * mmu_notifier_unregister calls release first. Then what regions have in common: tables.
	 */
	while (ept->region_count)
		check(ept_region_remove(ept, ept->regions[0].start) == STATUS_OK);
	write_lock(&ept->lock);
	flush_settle(ept, ept_zap_range(ept, gfn(0), all, ZAP_TABLES, flush_nothing()));
	write_unlock(&ept->lock);

	/* No lock: the space ends before this or after it, not meanwhile. */
	if (!ept->released)
		notifier_unregister(ept->space, &ept->notifier);
	memfd_unbind_all(ept);
	log_drop_all(ept);
	ept_table_drain(ept);
	ept_table_free(ept, ept->root);
	folio_put(ept->host, ptr_to_pfn(ept));
}

/* SDM "Extended-Page-Table Pointer (EPTP)": memory type 2:0, walk length less one 5:3. */
uint64_t ept_pointer(const struct ept *ept)
{
	enum { WRITE_BACK = 6, LENGTH_SHIFT = 3, ACCESSED_DIRTY = 1 << 6 };

	return pfn_to_hpa(ept->root).raw | WRITE_BACK | (EPT_ROOT_LEVEL - 1) << LENGTH_SHIFT |
	       (ept->caps.accessed_dirty ? ACCESSED_DIRTY : 0);
}

struct space *ept_space(const struct ept *ept)
{
	return ept->space;
}

/* One that also reads is a write, one that fetches nothing else. */
static unsigned fault_kind(unsigned access)
{
	enum { READ, WRITE, FETCH };

	if (access & ACCESS_EXEC)
		return FETCH;
	return access & ACCESS_WRITE ? WRITE : READ;
}

void ept_read_stats(struct ept *ept, struct ept_stats *out)
{
	uint64_t sum[COUNTS] = { 0 };

	for (unsigned i = 0; i < MAX_CPUS; i++)
		for (unsigned k = 0; k < COUNTS; k++)
			sum[k] += atomic_read(&ept->cpus[i].counts[k]);

	for (unsigned i = 0; i < 3; i++)
		out->faults[i] = 0;
	for (unsigned access = 0; COUNT_FAULTS + access <= COUNT_FAULTS_LAST; access++)
		out->faults[fault_kind(access)] += sum[COUNT_FAULTS + access];
	for (unsigned i = 0; i < 3; i++) {
		out->mapped[i] = sum[COUNT_MAPPED_4K + i];
		out->zapped[i] = sum[COUNT_ZAPPED_4K + i];
	}
	out->made_read_only = sum[COUNT_MADE_READ_ONLY];
	out->made_writable = sum[COUNT_MADE_WRITABLE];
	out->spurious = sum[COUNT_SPURIOUS];
	out->retries = sum[COUNT_RETRIES];
	out->invalidations = sum[COUNT_INVALIDATIONS];
	out->flushes = sum[COUNT_FLUSHES];
	out->kicks = sum[COUNT_KICKS];
	out->invepts = sum[COUNT_INVEPTS];
	out->tables_allocated = sum[COUNT_TABLES_ALLOCATED];
	out->tables_freed = sum[COUNT_TABLES_FREED];
	out->changes = sum[COUNT_CHANGES];
	out->fast = sum[COUNT_FAST];
	out->split = sum[COUNT_SPLIT];
	out->joined = sum[COUNT_JOINED];
	out->prefetched = sum[COUNT_PREFETCHED];
	out->prefetch_used = sum[COUNT_PREFETCH_USED];
	out->mmio_made = sum[COUNT_MMIO_MADE];
	out->mmio_hits = sum[COUNT_MMIO_HITS];
}
