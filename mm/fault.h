/*
 * A page fault on its way. For fault.c, and for the files of single kinds of faults, which it
 * calls.
 */
#ifndef MM_FAULT_H
#define MM_FAULT_H

#include "mm/space.h"

struct fault {
	uint64_t address;
	enum access access;
	/* What was found there, under the lock that is dropped by now: copies. */
	struct vma vma;
	struct place place;
	bool of_file;			/* the page there, if there is one, is a file's */
};

static inline bool fault_is_write(const struct fault *fault)
{
	return fault->access & ACCESS_WRITE;
}

/* Whether it is all as it was when the fault looked: under the lock again. */
bool fault_still(struct space *space, const struct fault *fault) HOLDS(space->lock);
/*
 * A leaf of that level where nothing was, if nothing is there still. *installed: the caller's
 * reference to its frame is the entry's now. STATUS_NO_MEMORY: for a table. Takes space->lock.
 */
MUST_USE enum status fault_install(struct space *space, const struct fault *fault, pte_t leaf,
				   unsigned level, bool *installed);

/* hugetlb.c. No page can be missing, but a table. */
MUST_USE enum status pool_fault(struct space *space, const struct fault *fault);
/* secret.c */
MUST_USE enum status secret_fault(struct space *space, const struct fault *fault);

#endif
