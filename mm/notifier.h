/*
 * What mm tells those who map its frames elsewhere, when, and why. Linux: mmu_notifier.
 *
 *   mm                                          a listener (ept/notify.c)
 *   --                                          -------------------------
 *   start(range, event)    before it changes    drops what it maps there, waits until no CPU can
 *                                               use it, and lends nothing there until end
 *   ... primary entries change, frames are freed ...
 *   end(range, event)      after                may look the range up again
 *
 * When start returns, nothing the listener owns reaches the range's frames. A lookup made before
 * or inside a bracket may be out of date when it is about to be used: the listener keeps a
 * sequence count, advanced by end, and a count of the brackets in progress, and throws the
 * lookup away if either speaks against it (Linux: mmu_invalidate_retry). Brackets of one space
 * nest and overlap freely; mm holds space->lock during all of them (exclusively, but for
 * space_invalidate), so a listener must not look up or fault from within a callback.
 */
#ifndef MM_NOTIFIER_H
#define MM_NOTIFIER_H

#include "mm/base/list.h"
#include "mm/mm.h"

/* Why: Linux enum mmu_notifier_event. */
enum mm_event {
	EVENT_UNMAP,			/* munmap, mremap: the mapping itself goes */
	EVENT_CLEAR,			/* entries go, the mapping stays: discard, COW, reclaim */
	EVENT_PROTECTION_VMA,		/* rights of a whole VMA change: mprotect, NUMA hinting */
	EVENT_PROTECTION_PAGE,		/* W, and D, of some pages go: writeback, fork */
	EVENT_SOFT_DIRTY,		/* W and the soft dirty bit go */
	EVENT_RELEASE,			/* the space ends */
	EVENT_MIGRATE,			/* the content moves to other frames */
	EVENT_EXCLUSIVE,		/* a device takes the page for itself */
	EVENT_YOUNG,			/* no bracket, nothing goes: who was there is asked */
};

struct mm_range {
	hva_t start, end;		/* bytes [start, end), multiples of PAGE_SIZE */
	enum mm_event event;
};

struct notifier;

struct notifier_ops {
	void (*start)(struct notifier *self, const struct mm_range *range);
	void (*end)(struct notifier *self, const struct mm_range *range);
	/* The space ends: drop everything, for ever. No start or end follows; self is unlinked. */
	void (*release)(struct notifier *self);
	/*
	 * Was a page of the range used, through what the listener maps there, since this was last
	 * cleared? All three are optional; a listener without them is never young. No bracket: what is
	 * mapped may stay, and pages may be used again before the answer is. The first two forget it; the
	 * second is for those who can do without the last word, and need not reach CPUs that still hold a
	 * translation (U36: a listener may elide that in the first, too). Called with space->lock
	 * held, shared or exclusively, so as in a bracket it must not look up or fault. No folio is
	 * marked: what an answer means is the caller's affair. There is none of this for dirty (S33).
	 * Linux: clear_flush_young, clear_young, test_young.
	 */
	bool (*clear_flush_young)(struct notifier *self, const struct mm_range *range);
	bool (*clear_young)(struct notifier *self, const struct mm_range *range);
	bool (*test_young)(struct notifier *self, const struct mm_range *range);
};

struct notifier {
	const struct notifier_ops *ops;
	struct list_node link;		/* space->notifiers, under space->lock */
};

/* Both take space->lock exclusively: neither returns while a bracket is open. */
void notifier_register(struct space *space, struct notifier *notifier);
void notifier_unregister(struct space *space, struct notifier *notifier);

#endif
