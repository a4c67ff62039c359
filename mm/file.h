/* Files and their pages in memory, inside. For mm's own files and tests. */
#ifndef MM_FILE_H
#define MM_FILE_H

#include "mm/host.h"

/* Linux: PAGECACHE_TAG_DIRTY, PAGECACHE_TAG_WRITEBACK: a bit a page. */
enum file_tag { TAG_DIRTY, TAG_WRITEBACK, TAGS };

struct file {				/* Linux: struct address_space */
	struct host *host;
	struct store *store;
	uint64_t pages;
	struct list_node link;		/* host->files, under host->files_lock */
	atomic32_t users;		/* who write back: file_destroy waits for them */
	atomic32_t vmas;		/* that show it */
	spinlock_t lock;
	/* Under lock. A folio in the cache has a reference for it. */
	uint32_t *cache;		/* by page: a frame, or NO_FRAME */
	uint64_t *tags[TAGS];		/* by page: bits */
	uint64_t cached, dirty;
	uint64_t flushed;		/* where the next flush goes on. Linux: writeback_index */
	bool failed;			/* a write did, and nobody has been told */
};

/* Page `index` of a store, all of it. STATUS_IO_ERROR. No lock held. */
enum transfer { TRANSFER_IN, TRANSFER_OUT };
MUST_USE enum status store_transfer(struct host *host, struct store *store, uint64_t index,
				    char *page, enum transfer way);

/*
 * The page's folio, read in if need be: locked, up to date, with a reference for the caller.
 * STATUS_IO_ERROR, STATUS_NO_MEMORY. No lock held. Linux: filemap_fault.
 */
MUST_USE enum status file_get_folio(struct file *file, uint64_t index, pfn_t *out);
/* Of any frame: the file whose page it is, or NULL. */
static inline struct file *file_of(const struct host *host, pfn_t frame)
{
	return folio_file(folio_of(host, frame));
}
/* By folio_mark_dirty: the flag has just been set. */
void file_note_dirty(struct file *file, uint32_t index);
/*
 * Of a locked folio of a file: takes D and W from every entry that maps it, and says whether it was
 * dirty, in an entry or by its flag, which is clear now. Linux: folio_clear_dirty_for_io.
 */
MUST_USE bool folio_clear_dirty_for_io(struct host *host, pfn_t frame);
/* A locked folio that no entry maps: written if it is dirty, and unlocked. Linux: pageout. */
void file_pageout(struct file *file, pfn_t frame);
/*
 * Locked folios, those that `which` has a bit for: bit n of what it returns says that blocks[n],
 * clean, is out of the cache, and its references, the cache's and the caller's, are gone: the
 * caller frees it (folio_free_frozen). The others are somebody's, or dirty. Linux:
 * __remove_mapping.
 */
MUST_USE uint32_t file_remove_mappings(struct file *file, const struct block *blocks,
				       uint32_t which);

#endif
