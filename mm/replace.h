/* Another page where one stood. For mm's own files. */
#ifndef MM_REPLACE_H
#define MM_REPLACE_H

#include "mm/space.h"

/*
 * A present leaf of 4 KiB that is out of its place, for whoever must judge its page when no CPU
 * uses it any more. Its reference is the gather's until the end, and the one that the caller
 * has to the new entry's page becomes that entry's. Linux: ptep_clear_flush; set_pte_at, before
 * 6.10 set_pte_at_notify.
 */
struct replace {
	struct space *space;
	uint64_t address;
	struct place place;
	pte_t old;
	bool bracket;
	struct mm_range range;
	struct gather gather;
};
void replace_begin(struct replace *replace, struct space *space, uint64_t address,
		   struct place place, enum mm_event event) HOLDS(space->lock);
/*
 * If the frame is another, nobody could store to the old one since its content was copied, or
 * compared.
 */
void replace_end(struct replace *replace, pte_t new) HOLDS(replace->space->lock);

/* Both. */
void page_replace(struct space *space, uint64_t address, struct place place, pte_t new,
		  enum mm_event event) HOLDS(space->lock);

/*
 * What a listener may be told of by change_pte, instead of a bracket (S78, S79, S80): rights
 * that grow or shrink over the same frame, and another frame where nobody could store to the
 * old one. A frame that was writable was copied while stores went on.
 */
static inline bool replace_keeps_stores(pte_t old, pte_t new)
{
	return !pte_writable(old) || pte_frame(old).raw == pte_frame(new).raw;
}

#endif
