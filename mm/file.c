/*
 * Files: their pages in memory, and the way of those to the store and back. Called by fault.c
 * (pages in), folio.c (marks), and by whoever writes back.
 *
 * Writeback of one page, in Linux's order (write_cache_pages, folio_clear_dirty_for_io), against a
 * store of a process or of a guest:
 *
 *   a store                                writeback
 *   -------                                ---------
 *                                          lock the folio; wait for a writeback under way
 *   through an entry that has W            in a bracket for each entry: D and W go
 *                                            (D was there: mark the folio)
 *   no W: fault, wait for the lock         take the dirty mark; WRITEBACK; unlock
 *   W and D in the entry, mark, unlock     write; end WRITEBACK
 *
 * A store in the first line has landed when its bracket's start returns, so it is in what is
 * written after. One in the second marks the folio again, for the next writeback. A writeback that
 * did not wait for the one before could be overtaken by its older content.
 */
#include "mm/file.h"
#include "mm/lru.h"
#include "mm/rmap.h"

enum { BITS = 64 };

/* ------------------------------------------------------------------ a file */

static uint64_t words_of(uint64_t pages) { return (pages + BITS - 1) / BITS; }

enum status file_create(struct host *host, struct store *store, uint64_t pages, struct file **out)
{
	uint64_t bytes = sizeof(struct file) + TAGS * words_of(pages) * 8 + pages * 4;
	pfn_t frame;

	if (!pages || pages >= NO_FRAME)
		return STATUS_BAD_RANGE;
	enum status status = folio_alloc_zeroed(host, bytes_order(bytes), &frame);

	if (status != STATUS_OK)
		return status;

	struct file *file = pfn_to_ptr(frame);
	uint64_t *words = (uint64_t *)(void *)(file + 1);

	file->host = host;
	file->store = store;
	file->pages = pages;
	for (unsigned tag = 0; tag < TAGS; tag++, words += words_of(pages))
		file->tags[tag] = words;
	file->cache = (uint32_t *)(void *)words;
	for (uint64_t i = 0; i < pages; i++)
		file->cache[i] = NO_FRAME;
	spin_lock(&host->files_lock);
	list_append(&host->files, &file->link);
	host->file_count++;
	spin_unlock(&host->files_lock);
	*out = file;
	return STATUS_OK;
}

void file_read_stats(struct file *file, struct file_stats *out)
{
	spin_lock(&file->lock);
	out->cached = file->cached;
	out->dirty = file->dirty;
	spin_unlock(&file->lock);
}

/* ------------------------------------------------------------------ tags */

static bool has_tag(const struct file *file, enum file_tag tag, uint64_t page)
{
	return file->tags[tag][page / BITS] >> page % BITS & 1;
}

static void set_tag(struct file *file, enum file_tag tag, uint64_t page, bool on)
{
	uint64_t bit = UINT64_C(1) << page % BITS;

	if (on)
		file->tags[tag][page / BITS] |= bit;
	else
		file->tags[tag][page / BITS] &= ~bit;
}

static inline void set_dirty_tag(struct file *file, uint64_t page, bool on)
{
	if (has_tag(file, TAG_DIRTY, page) == on)
		return;
	set_tag(file, TAG_DIRTY, page, on);
	file->dirty += on ? 1 : UINT64_MAX;
}

void file_note_dirty(struct file *file, uint32_t index)
{
	spin_lock(&file->lock);
	set_dirty_tag(file, index, true);
	spin_unlock(&file->lock);
}

/* ------------------------------------------------------------------ pages in */

/* All of a page, in however many pieces the store takes it. */
enum status store_transfer(struct host *host, struct store *store, uint64_t index, char *page,
			   enum transfer way)
{
	const struct store_ops *ops = store->ops;
	bool in = way == TRANSFER_IN;

	trace_step(host->trace, in ? TRACE_STORE_READ : TRACE_STORE_WRITE, index, 0);
	host_count(host, in ? HOST_PAGES_IN : HOST_PAGES_OUT, 1);
	for (uint64_t at = 0, done = 0; at < PAGE_SIZE; at += done) {
		uint64_t from = index * PAGE_SIZE + at, left = PAGE_SIZE - at;
		enum status status = in ? ops->read(store, from, page + at, left, &done)
					: ops->write(store, from, page + at, left, &done);

		if (status != STATUS_OK)
			return status;
	}
	return STATUS_OK;
}

/* The folio in the cache, with a reference; NO_FRAME: none. */
static uint32_t find_cached(struct file *file, uint64_t index)
{
	spin_lock(&file->lock);
	uint32_t frame = file->cache[index];

	if (frame != NO_FRAME)
		folio_get(file->host, pfn(frame));
	spin_unlock(&file->lock);
	return frame;
}

/* A new folio, not read yet; *out is another's when that was quicker. With a reference. */
static enum status add_to_cache(struct file *file, uint64_t index, uint32_t *out)
{
	pfn_t frame;
	enum status status = folio_alloc(file->host, ORDER_4K, &frame);

	if (status != STATUS_OK)
		return status;

	struct folio *folio = page_folio(file->host, frame);

	folio->file = (uint32_t)ptr_to_pfn(file).raw;
	folio->index = (uint32_t)index;
	spin_lock(&file->lock);
	if (file->cache[index] == NO_FRAME) {
		folio_get(file->host, frame);	/* the cache's */
		file->cache[index] = (uint32_t)frame.raw;
		file->cached++;
	}
	*out = file->cache[index];
	if (*out != frame.raw)
		folio_get(file->host, pfn(*out));
	spin_unlock(&file->lock);
	if (*out == frame.raw)
		lru_add(file->host, frame);
	else
		folio_put(file->host, frame);
	return STATUS_OK;
}

enum status file_get_folio(struct file *file, uint64_t index, pfn_t *out)
{
	uint32_t frame = find_cached(file, index);
	enum status status = STATUS_OK;

	if (frame == NO_FRAME)
		status = add_to_cache(file, index, &frame);
	if (status != STATUS_OK)
		return status;
	*out = pfn(frame);
	folio_lock(file->host, *out);

	struct folio *folio = page_folio(file->host, *out);

	if (!(atomic_read(&folio->flags) & FOLIO_UPTODATE)) {
		status = store_transfer(file->host, file->store, index, pfn_to_ptr(*out),
					TRANSFER_IN);
		if (status == STATUS_OK)
			atomic_or(&folio->flags, FOLIO_UPTODATE);
	}
	if (status != STATUS_OK) {
		folio_unlock(file->host, *out);
		folio_put(file->host, *out);
	}
	return status;
}

/* ------------------------------------------------------------------ pages out */

bool folio_clear_dirty_for_io(struct host *host, pfn_t frame)
{
	struct folio *folio = folio_of(host, frame);

	if (rmap_mkclean(host, frame))
		folio_mark_dirty(host, frame);
	trace_step(host->trace, TRACE_FOLIO_CLEAN, frame.raw, 0);
	return atomic_and(&folio->flags, ~FOLIO_DIRTY) & FOLIO_DIRTY;
}

/* The tag goes with the flag, unless somebody has marked the folio since. */
static void settle_dirty_tag(struct file *file, const struct folio *folio)
{
	if (!(atomic_read(&folio->flags) & FOLIO_DIRTY))
		set_dirty_tag(file, folio->index, false);
}

/* Linux: folio_start_writeback. */
static void start_writeback(struct file *file, pfn_t frame)
{
	struct folio *folio = page_folio(file->host, frame);

	spin_lock(&file->lock);
	atomic_or(&folio->flags, FOLIO_WRITEBACK);
	set_tag(file, TAG_WRITEBACK, folio->index, true);
	settle_dirty_tag(file, folio);
	spin_unlock(&file->lock);
}

static void end_writeback(struct file *file, pfn_t frame, enum status status)
{
	struct folio *folio = page_folio(file->host, frame);

	spin_lock(&file->lock);
	set_tag(file, TAG_WRITEBACK, folio->index, false);
	if (status != STATUS_OK)
		file->failed = true;
	uint32_t flags = atomic_and(&folio->flags, ~(FOLIO_WRITEBACK | FOLIO_RECLAIM));

	spin_unlock(&file->lock);
	if (flags & FOLIO_RECLAIM)
		lru_rotate(file->host, frame);
}

/* Of a locked folio, unlocked afterwards. True: it was dirty, and its content is to be written. */
static bool begin_output(struct file *file, pfn_t frame)
{
	bool dirty = folio_clear_dirty_for_io(file->host, frame);

	if (dirty) {
		start_writeback(file, frame);
	} else {
		/* Noted by one whose mark an earlier writeback has taken. */
		spin_lock(&file->lock);
		settle_dirty_tag(file, page_folio(file->host, frame));
		spin_unlock(&file->lock);
	}
	folio_unlock(file->host, frame);
	return dirty;
}

static enum status write_page(struct file *file, pfn_t frame)
{
	return store_transfer(file->host, file->store, page_known(file->host, frame)->index,
			      pfn_to_ptr(frame), TRANSFER_OUT);
}

/* A page that is noted as dirty, with a reference for us. */
static void write_back(struct file *file, pfn_t frame)
{
	const struct folio *folio = page_folio(file->host, frame);

	folio_lock(file->host, frame);
	await(!(atomic_read(&folio->flags) & FOLIO_WRITEBACK));
	if (begin_output(file, frame))
		end_writeback(file, frame, write_page(file, frame));
}

/*
 * For reclaim. A page that can't be written stays dirty, and in memory: nobody has asked to be
 * told.
 */
void file_pageout(struct file *file, pfn_t frame)
{
	if (!begin_output(file, frame))
		return;
	if (write_page(file, frame) != STATUS_OK)
		folio_mark_dirty(file->host, frame);
	end_writeback(file, frame, STATUS_OK);
}

/* The first page from `from` on that has the tag; file->pages: none. */
static uint64_t search_tag(const struct file *file, enum file_tag tag, uint64_t from)
{
	for (; from < file->pages; from = (from / BITS + 1) * BITS) {
		uint64_t left = file->tags[tag][from / BITS] >> from % BITS;

		if (left) {
			from += (unsigned)__builtin_ctzll(left);
			break;
		}
	}
	return from < file->pages ? from : file->pages;
}

static uint64_t next_tagged(struct file *file, enum file_tag tag, uint64_t from)
{
	spin_lock(&file->lock);
	uint64_t at = search_tag(file, tag, from);

	spin_unlock(&file->lock);
	return at;
}

/* Round and round the file, so that a page that is dirtied all the time keeps no other waiting. */
static uint64_t next_to_flush(struct file *file)
{
	spin_lock(&file->lock);
	uint64_t at = search_tag(file, TAG_DIRTY, file->flushed);

	if (at == file->pages)
		at = search_tag(file, TAG_DIRTY, 0);
	file->flushed = at + 1;
	spin_unlock(&file->lock);
	return at;
}

static uint64_t flush_file(struct file *file, uint64_t pages)
{
	uint64_t done = 0, at;

	for (; done < pages && (at = next_to_flush(file)) < file->pages; done++) {
		uint32_t frame = find_cached(file, at);

		if (frame == NO_FRAME)
			continue;
		write_back(file, pfn(frame));
		folio_put(file->host, pfn(frame));
	}
	return done;
}

/*
 * The file that has waited longest, with a user more; it is the last of the list now. NULL: none.
 */
static struct file *take_file(struct host *host, uint64_t *count)
{
	struct file *file = NULL;

	spin_lock(&host->files_lock);
	*count = host->file_count;
	if (!list_empty(&host->files)) {
		file = container_of(host->files.next, struct file, link);
		list_remove(&file->link);
		list_append(&host->files, &file->link);
		atomic_add(&file->users, 1);
	}
	spin_unlock(&host->files_lock);
	return file;
}

uint64_t host_flush(struct host *host, uint64_t pages)
{
	struct file *file;
	uint64_t done = 0, count;

	for (uint64_t i = 0; done < pages && (file = take_file(host, &count)); i++) {
		done += flush_file(file, pages - done);
		atomic_sub(&file->users, 1);
		if (i + 1 >= count)
			break;
	}
	return done;
}

enum status file_sync(struct file *file)
{
	for (uint64_t at = 0; (at = next_tagged(file, TAG_DIRTY, at)) < file->pages; at++) {
		uint32_t frame = find_cached(file, at);

		if (frame == NO_FRAME)
			continue;
		write_back(file, pfn(frame));
		folio_put(file->host, pfn(frame));
	}
	/* What others are writing. */
	for (uint64_t at = 0; (at = next_tagged(file, TAG_WRITEBACK, at)) < file->pages; at++) {
		uint32_t frame = find_cached(file, at);

		if (frame == NO_FRAME)
			continue;
		await(!(atomic_read(&page_folio(file->host, pfn(frame))->flags) &
			FOLIO_WRITEBACK));
		folio_put(file->host, pfn(frame));
	}
	spin_lock(&file->lock);
	bool failed = file->failed;

	file->failed = false;
	spin_unlock(&file->lock);
	return failed ? STATUS_IO_ERROR : STATUS_OK;
}

/* ------------------------------------------------------------------ pages go */

/* Out of the cache. The cache's reference, if it still has one, is the caller's. */
static inline void forget(struct file *file, const struct folio *folio) HOLDS(file->lock)
{
	trace_step(file->host->trace, TRACE_REMOVE_MAPPING, file->cache[folio->index], 0);
	file->cache[folio->index] = NO_FRAME;
	file->cached--;
	set_dirty_tag(file, folio->index, false);
}

uint32_t file_remove_mappings(struct file *file, const struct block *blocks, uint32_t which)
{
	uint32_t gone = 0;

	if (!which)
		return 0;
	spin_lock(&file->lock);
	for (; which; which &= which - 1) {
		unsigned i = (unsigned)__builtin_ctz(which);

		/* The cache's, and the caller's. */
		if (!folio_freeze_clean(file->host, blocks[i], 2))
			continue;
		forget(file, blocks[i].folio);
		gone |= UINT32_C(1) << i;
	}
	spin_unlock(&file->lock);
	return gone;
}

/*
 * One page leaves its file, content and all, unless reclaim has been quicker. Whoever still has a
 * reference finds, under the folio's lock, that it is nobody's. Linux: truncate_inode_folio,
 * __filemap_remove_folio.
 */
static void drop_page(struct file *file, pfn_t frame)
{
	struct folio *folio = page_folio(file->host, frame);

	folio_lock(file->host, frame);
	await(!(atomic_read(&folio->flags) & FOLIO_WRITEBACK));
	spin_lock(&file->lock);
	bool cached = file->cache[folio->index] == frame.raw;

	if (cached) {
		forget(file, folio);
		folio->file = NO_FRAME;
	}
	spin_unlock(&file->lock);
	folio_unlock(file->host, frame);
	folio_put_many(file->host, frame, cached ? 2 : 1);
}

enum status file_destroy(struct file *file)
{
	struct host *host = file->host;

	if (atomic_read(&file->vmas))
		return STATUS_EXISTS;
	spin_lock(&host->files_lock);
	list_remove(&file->link);
	host->file_count--;
	spin_unlock(&host->files_lock);
	await(!atomic_read(&file->users));
	for (uint64_t i = 0; i < file->pages; i++) {
		uint32_t frame = find_cached(file, i);

		if (frame != NO_FRAME)
			drop_page(file, pfn(frame));
	}
	folio_put(host, ptr_to_pfn(file));
	return STATUS_OK;
}
