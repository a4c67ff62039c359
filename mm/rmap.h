/* From a file's page to the entries that map it. For file.c. */
#ifndef MM_RMAP_H
#define MM_RMAP_H

#include "mm/space.h"

/*
 * Of a locked folio of a file: takes D and W from every leaf that names it. True: one was dirty.
 * Takes each space->lock, one after the other; a fault that maps the folio meanwhile waits for its
 * lock. Linux: folio_mkclean.
 */
MUST_USE bool rmap_mkclean(struct host *host, pfn_t frame);

#endif
