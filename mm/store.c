/* The store of store.h. Called by file.c, for several pages at a time. */
#include "mm/store.h"

#include "mm/base/atomic.h"
#include "mm/base/list.h"

struct ram_store {
	struct store store;
	struct host *host;
	uint64_t pages;
	struct store_faults faults;
	atomic64_t reads, writes;
	atomic64_t frames[];		/* by page: frame + 1, or 0 while it was never written */
};

static struct ram_store *ram_of(struct store *store)
{
	return container_of(store, struct ram_store, store);
}

/* How much of a transfer is made now: up to the end of a page, and no more than a piece. */
static uint64_t begin(struct ram_store *ram, atomic64_t *count, uint64_t at, uint64_t bytes)
{
	uint64_t most = PAGE_SIZE - (at & ~PAGE_MASK);

	check(bytes && at >> PAGE_SHIFT < ram->pages);
	atomic_add(count, 1);
	for (uint64_t i = 0; i < ram->faults.latency; i++)
		port_relax();
	if (ram->faults.piece && ram->faults.piece < most)
		most = ram->faults.piece;
	return bytes < most ? bytes : most;
}

static enum status ram_read(struct store *store, uint64_t at, void *into, uint64_t bytes,
			    uint64_t *done)
{
	struct ram_store *ram = ram_of(store);
	uint64_t part = begin(ram, &ram->reads, at, bytes);
	uint64_t frame = atomic_read(&ram->frames[at >> PAGE_SHIFT]);

	if (ram->faults.fail_reads)
		return STATUS_IO_ERROR;
	if (frame)
		__builtin_memcpy(into, (char *)pfn_to_ptr(pfn(frame - 1)) + (at & ~PAGE_MASK),
				 part);
	else
		__builtin_memset(into, 0, part);
	*done = part;
	return STATUS_OK;
}

static enum status ram_write(struct store *store, uint64_t at, const void *from, uint64_t bytes,
			     uint64_t *done)
{
	struct ram_store *ram = ram_of(store);
	uint64_t part = begin(ram, &ram->writes, at, bytes);
	atomic64_t *slot = &ram->frames[at >> PAGE_SHIFT];
	uint64_t frame = atomic_read(slot);
	pfn_t fresh;

	if (ram->faults.fail_writes)
		return STATUS_IO_ERROR;
	if (!frame) {
		/* Under writeback: nobody else writes this page. */
		if (folio_alloc_zeroed(ram->host, ORDER_4K, &fresh) != STATUS_OK)
			return STATUS_IO_ERROR;
		frame = fresh.raw + 1;
		atomic_write(slot, frame);
	}
	atomic_copy((char *)pfn_to_ptr(pfn(frame - 1)) + (at & ~PAGE_MASK), from, part);
	*done = part;
	return STATUS_OK;
}

static const struct store_ops ram_ops = { ram_read, ram_write };

enum status ram_store_create(struct host *host, uint64_t pages, struct ram_store **out)
{
	uint64_t bytes = sizeof(struct ram_store) + pages * sizeof(atomic64_t);
	pfn_t frame;

	if (!pages || pages > UINT64_C(1) << ORDER_MAX)
		return STATUS_BAD_RANGE;
	enum status status = folio_alloc_zeroed(host, bytes_order(bytes), &frame);

	if (status != STATUS_OK)
		return status;
	*out = pfn_to_ptr(frame);
	(*out)->store.ops = &ram_ops;
	(*out)->host = host;
	(*out)->pages = pages;
	return STATUS_OK;
}

void ram_store_destroy(struct ram_store *ram)
{
	for (uint64_t i = 0; i < ram->pages; i++)
		if (atomic_read(&ram->frames[i]))
			folio_put(ram->host, pfn(atomic_read(&ram->frames[i]) - 1));
	folio_put(ram->host, ptr_to_pfn(ram));
}

struct store *ram_store_of(struct ram_store *ram) { return &ram->store; }

void ram_store_set_faults(struct ram_store *ram, struct store_faults faults)
{
	ram->faults = faults;
}

void ram_store_read_stats(struct ram_store *ram, struct store_stats *out)
{
	out->reads = atomic_read(&ram->reads);
	out->writes = atomic_read(&ram->writes);
}
