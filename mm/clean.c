/*
 * What a file's shared mappings have written, for a record of somebody else's: D goes from the
 * entries and into a bitmap. Public, no lock held. Linux: mm/mapping_dirty_helpers.c.
 *
 *   a process's store                      file_clean_record
 *   -----------------                      -----------------
 *                                          start: listeners let go
 *   D set, by a locked operation           D taken, by a locked operation: noted
 *   the word is stored                     flush: waits for who knew of the old D
 *                                          end
 *                                          (the record's owner reads the page)
 *
 * A store that set D before it was taken is in what the owner reads, since the flush waits for it;
 * one that comes after has set D again. So D is in the entry or in the record, or in both.
 */
#include "mm/rmap.h"

/* Of one walk. */
struct clean {
	uint64_t bits;				/* that go */
	uint64_t first;				/* the page of the record's bit 0 */
	struct clean_record *record;		/* NULL: none is kept */
	uint64_t count;
};

static void note(struct clean_record *record, uint64_t bit)
{
	record->bitmap[bit / 64] |= UINT64_C(1) << bit % 64;
	if (record->start >= record->end) {
		record->start = bit;
		record->end = bit + 1;
	}
	if (bit < record->start)
		record->start = bit;
	if (bit >= record->end)
		record->end = bit + 1;
}

/* Linux: clean_record_pte, wp_pte. */
static void clean_leaf(struct space *space, const struct vma *vma, const struct walk *walk,
		       struct clean *clean, struct gather *gather) HOLDS(space->lock)
{
	pte_t old = walk->place.pte;

	if (!(old.bits & clean->bits))
		return;
	table_take_bits(space, walk->start, walk->place, clean->bits, gather);
	clean->count++;
	if (clean->record)
		note(clean->record, vma_page(vma, walk->start) - clean->first);
}

/*
 * Linux: wp_clean_test_walk, wp_clean_pre_vma, wp_clean_post_vma. A file's leaves are of 4 KiB.
 * What is private is not the file's to be told.
 */
static bool clean_part(struct space *space, const struct vma *vma, uint64_t start, uint64_t end,
		       void *argument) HOLDS(space->lock)
{
	if (vma->sharing == SHARING_PRIVATE)
		return true;

	struct walk walk = { .at = start, .end = end };
	struct gather gather = gather_begin(space);
	struct mm_range range = notifier_start(space, start, end, mkclean_event(space->host));

	while (walk_next(space, &walk))
		clean_leaf(space, vma, &walk, argument, &gather);
	gather_finish(&gather);
	notifier_end(space, &range);
	return true;
}

static enum status clean_file(struct file *file, uint64_t pages, struct clean *clean,
			      uint64_t *count)
{
	*count = 0;
	if (!pages || clean->first >= file->pages || pages > file->pages - clean->first)
		return STATUS_BAD_RANGE;
	rmap_walk_mapping(file, clean->first, pages, (struct rmap_part){ clean_part, clean });
	*count = clean->count;
	return STATUS_OK;
}

enum status file_clean_record(struct file *file, uint64_t first, uint64_t pages,
			      struct clean_record *record, uint64_t *count)
{
	struct clean clean = { .bits = PTE_D, .first = first, .record = record };

	return clean_file(file, pages, &clean, count);
}

enum status file_write_protect(struct file *file, uint64_t first, uint64_t pages, uint64_t *count)
{
	struct clean clean = { .bits = PTE_W, .first = first };

	return clean_file(file, pages, &clean, count);
}
