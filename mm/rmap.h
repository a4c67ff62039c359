/* From a folio to the entries that name it. For mm's own files. */
#ifndef MM_RMAP_H
#define MM_RMAP_H

#include "mm/space.h"

/* What listeners are told when D, with W or without, goes from entries that stay. */
static inline enum mm_event mkclean_event(const struct host *host)
{
	return host_has(host, OPTION_MKCLEAN) ? EVENT_MKCLEAN : EVENT_PROTECTION_PAGE;
}

/*
 * `visit` is called for each leaf, with its space locked exclusively; it may change the entry, or
 * empty it. False ends the walk.
 */
struct rmap {
	bool (*visit)(struct space *space, uint64_t address, struct place place, void *argument);
	void *argument;
};

/*
 * All leaves that name a frame of a locked folio. Takes each space->lock, one after the other; a
 * fault that would map the folio meanwhile waits for the folio's lock. Of a merged page (FOLIO_KSM)
 * only those are found that named it before it was one. Linux: rmap_walk, and rmap_walk_ksm, which
 * is not here.
 */
void rmap_walk(struct host *host, pfn_t frame, struct rmap rmap);

/*
 * For what must change all entries of a locked folio at once: the spaces that have some, locked
 * exclusively in the order of the host's list, which has a parent before its child, as fork locks
 * them.
 */
enum { RMAP_SPACES = 6 };
struct rmap_spaces {
	unsigned count;
	struct space *at[RMAP_SPACES];
};
/* False: they are more than that, and none is locked. */
MUST_USE bool rmap_lock_all(struct host *host, pfn_t frame, struct rmap_spaces *out);
void rmap_unlock_all(struct rmap_spaces *spaces);
/* The walk's part in one of them. */
void rmap_visit(struct space *space, pfn_t head, struct rmap rmap) HOLDS(space->lock);
/*
 * The same from a file's pages [first, first + pages): `visit` for each part of a VMA that shows
 * some of them, with its space locked exclusively. False ends the walk. Linux: walk_page_mapping.
 */
struct rmap_part {
	bool (*visit)(struct space *space, const struct vma *vma, uint64_t start, uint64_t end,
		      void *argument);
	void *argument;
};
void rmap_walk_mapping(struct file *file, uint64_t first, uint64_t pages, struct rmap_part part);
/*
 * Of a locked folio of a file: takes D and W from every leaf that names it. True: one was dirty.
 * Linux: folio_mkclean.
 */
MUST_USE bool rmap_mkclean(struct host *host, pfn_t frame);

#endif
