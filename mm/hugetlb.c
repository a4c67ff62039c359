/*
 * Pools of large pages. Called by whoever makes one, by fault.c, space.c, folio.c. Linux: hugetlb.
 *
 * A mapping is promised its pages when it is made, so no fault finds the pool empty: what is free
 * is never less than what is promised and not there yet. A page that comes back (its last reference
 * is put) is zeroed at once, so that a fault has nothing long to do, and takes its page with
 * space->lock held: two faults on one page take one. Linux zeroes in the fault, and has a table of
 * mutexes to keep the second one away.
 *
 *	             map            fault          unmap of a hole    last put of a page
 *	promised     + pages        - 1            - 1
 *	free                        - 1                               + 1
 */
#include "mm/fault.h"
#include "mm/hugetlb.h"

static void push(struct pool *pool, pfn_t head)
{
	spin_lock(&pool->lock);
	page_folio(pool->host, head)->next = pool->first;
	pool->first = (uint32_t)head.raw;
	pool->free++;
	spin_unlock(&pool->lock);
}

static pfn_t pop(struct pool *pool)
{
	spin_lock(&pool->lock);
	check(pool->promised && pool->free);
	pfn_t head = pfn(pool->first);

	pool->first = page_folio(pool->host, head)->next;
	pool->free--;
	pool->promised--;
	spin_unlock(&pool->lock);
	return head;
}

static enum status promise(struct pool *pool, uint64_t pages)
{
	spin_lock(&pool->lock);
	bool can = pool->free - pool->promised >= pages;

	if (can)
		pool->promised += pages;
	spin_unlock(&pool->lock);
	return can ? STATUS_OK : STATUS_NO_MEMORY;
}

static void take_promise_back(struct pool *pool, uint64_t pages)
{
	spin_lock(&pool->lock);
	check(pool->promised >= pages);
	pool->promised -= pages;
	spin_unlock(&pool->lock);
}

/* ------------------------------------------------------------------ a pool */

/* Linux: prep_new_hugetlb_folio. Of the pool from now on, whoever uses it. */
static enum status add_page(struct pool *pool)
{
	pfn_t head;
	enum status status = folio_alloc_zeroed(pool->host, level_order(pool->level), &head);

	if (status != STATUS_OK)
		return status;

	struct folio *folio = page_folio(pool->host, head);

	folio->file = (uint32_t)ptr_to_pfn(pool).raw;
	atomic_or(&folio->flags, FOLIO_POOLED);
	atomic_write(&folio->refcount, 0);
	pool->total++;
	push(pool, head);
	return STATUS_OK;
}

enum status pool_create(struct host *host, unsigned level, uint64_t pages, struct pool **out)
{
	pfn_t frame;

	if (!pages || level < LEVEL_2M || level > LEVEL_1G)
		return STATUS_BAD_RANGE;
	enum status status = folio_alloc_zeroed(host, ORDER_4K, &frame);

	if (status != STATUS_OK)
		return status;

	struct pool *pool = pfn_to_ptr(frame);

	pool->host = host;
	pool->level = level;
	pool->first = NO_FRAME;
	while (status == STATUS_OK && pool->total < pages)
		status = add_page(pool);
	if (status == STATUS_OK)
		*out = pool;
	else
		check(pool_destroy(pool) == STATUS_OK);
	return status;
}

enum status pool_destroy(struct pool *pool)
{
	struct host *host = pool->host;

	spin_lock(&pool->lock);
	bool idle = pool->free == pool->total && !pool->promised;

	spin_unlock(&pool->lock);
	if (!idle)
		return STATUS_EXISTS;
	while (pool->first != NO_FRAME) {
		struct folio *folio = page_folio(host, pfn(pool->first));
		pfn_t head = pfn(pool->first);

		pool->first = folio->next;
		atomic_and(&folio->flags, ~FOLIO_POOLED);
		atomic_write(&folio->refcount, 1);
		folio_put(host, head);
	}
	folio_put(host, ptr_to_pfn(pool));
	return STATUS_OK;
}

void pool_read_stats(struct pool *pool, struct pool_stats *out)
{
	spin_lock(&pool->lock);
	*out = (struct pool_stats){ pool->total, pool->free, pool->promised };
	spin_unlock(&pool->lock);
}

/* Linux: free_huge_folio. Nobody has it any more, so its marks are nobody's. */
void pool_take_back(struct host *host, pfn_t head)
{
	struct folio *folio = page_folio(host, head);
	unsigned order = atomic_read(&folio->flags) & FOLIO_ORDER;

	__builtin_memset(pfn_to_ptr(head), 0, PAGE_SIZE << order);
	atomic_write(&folio->flags, FOLIO_USED | FOLIO_POOLED | order);
	push(pfn_to_ptr(pfn(folio->file)), head);
}

/* ------------------------------------------------------------------ its mappings */

enum status space_map_pool(struct space *space, hva_t start, uint64_t bytes,
			   enum protection protection, struct pool *pool)
{
	enum status status = space_check_range(start, bytes);

	if (status != STATUS_OK)
		return status;
	if ((start.raw | bytes) & (level_bytes(pool->level) - 1))
		return STATUS_BAD_RANGE;
	status = promise(pool, bytes >> level_shift(pool->level));
	if (status != STATUS_OK)
		return status;
	write_lock(&space->lock);
	status = space_insert(space, (struct vma){
		.start = start.raw, .end = start.raw + bytes, .kind = VMA_POOLED, .pool = pool,
		.protection = protection, .max_level = pool->level,
		.first = start.raw >> PAGE_SHIFT });
	write_unlock(&space->lock);
	if (status != STATUS_OK)
		take_promise_back(pool, bytes >> level_shift(pool->level));
	return status;
}

/* Linux: hugetlb_vm_op_split, hugetlb_unreserve_pages. */
void pool_unmapped(const struct space *space, const struct vma *vma, uint64_t start, uint64_t end)
{
	struct walk walk = { .at = start, .end = end };
	uint64_t holes = (end - start) >> level_shift(vma->pool->level);

	while (walk_next(space, &walk))
		holes--;
	take_promise_back(vma->pool, holes);
}

static enum status install(struct space *space, const struct fault *fault) HOLDS(space->lock)
{
	struct gather gather = gather_begin(space);
	unsigned level = fault->vma.pool->level;
	uint64_t start = fault->address & ~(level_bytes(level) - 1);
	pte_slot_t *slot = table_make(space, start, level);

	if (!slot)
		return STATUS_NO_MEMORY;

	pfn_t head = pop(fault->vma.pool);
	pte_t leaf = pte_make_leaf(head, level, fault->vma.protection);

	atomic_write(&page_folio(space->host, head)->refcount, 1);
	leaf.bits |= PTE_OWN;
	table_change(space, start, (struct place){ slot, pte_empty(), level },
		     pte_touched(leaf, fault->access), CONTENT_STAYS, &gather);
	return STATUS_OK;
}

enum status pool_fault(struct space *space, const struct fault *fault)
{
	enum status status = STATUS_OK;

	write_lock(&space->lock);
	if (fault_still(space, fault))
		status = install(space, fault);
	write_unlock(&space->lock);
	return status;
}
