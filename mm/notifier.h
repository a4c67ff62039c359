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
 * When start returns, nothing the listener owns reaches the range's frames (or, of an event that
 * only protects, writes there). A lookup made before or inside a bracket may be out of date when it
 * is about to be used: the listener keeps a sequence count, advanced by end, and a count of the
 * brackets in progress, and throws the lookup away if either speaks against it (Linux:
 * mmu_invalidate_retry). Brackets of one space nest and overlap freely; mm holds space->lock during
 * all of them (exclusively, but for space_invalidate), so a listener must not look up or fault from
 * within a callback.
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
	/* Proposed, not in Linux; each comes only with its option (enum host_option). */
	EVENT_WRITE_PROTECT,		/* D goes, W may stay: lazyfree. For EVENT_CLEAR */
	EVENT_MKCLEAN,			/* D goes, W may: writeback. For EVENT_PROTECTION_PAGE */
};

/*
 * What a listener maps there may stay and be read: nothing of what is behind the entries changes
 * but who may write. When start returns, no store of the listener's lands any more, and the next
 * one asks mm_lookup again.
 */
static inline bool event_only_protects(enum mm_event event)
{
	return event == EVENT_WRITE_PROTECT || event == EVENT_MKCLEAN;
}

struct mm_range {
	hva_t start, end;		/* bytes [start, end), multiples of PAGE_SIZE */
	enum mm_event event;
	const void *owner;		/* EVENT_EXCLUSIVE: for whom; this listener drops nothing */
};

struct notifier;

/*
 * How listeners learn that one page took the place of another (copy-on-write, KSM, uprobes).
 * Linux had an operation for it, change_pte: a listener exchanged the page in its own tables
 * instead of losing it. It is history, and off by default, for the reason that ended it
 * (removed in 6.10): since 6bdb913f0a70 the change stood inside a bracket, whose start had
 * unmapped the page, so the one listener that had the operation, KVM, found nothing to change.
 * To revive it means that a bracket which a listener passes over is as good as one that it
 * obeys, and every rule below then holds or a guest's store is lost; what it saves is one fault
 * for each merged page. The lives of it:
 *
 *	NONE		brackets alone
 *	UNBRACKETED	2009: change_pte, and no bracket. Safe because a lookup that finds the entry
 *			cleared waits for space->lock, and because change_pte advances the
 *			listener's sequence
 *	BRACKETED	2012: in a bracket that has unmapped already; moot
 *	FORMER_GLORY	2019, proposed: in a bracket that is counted and unmaps nothing
 *
 * Rules, if it is on: the entry is cleared and flushed first, by ptep_clear_flush and not by
 * its _notify form, which would be a bracket; then change_pte; then the entry is set. And a
 * page that was writable must not change its frame.
 */
enum change_pte {
	CHANGE_PTE_NONE, CHANGE_PTE_UNBRACKETED, CHANGE_PTE_BRACKETED, CHANGE_PTE_FORMER_GLORY,
};
/* While nobody uses the host's spaces. */
void host_set_change_pte(struct host *host, enum change_pte change_pte);
enum change_pte host_change_pte(const struct host *host);

struct notifier_ops {
	void (*start)(struct notifier *self, const struct mm_range *range);
	void (*end)(struct notifier *self, const struct mm_range *range);
	/*
	 * Of a listener whose start may sleep: the same where nobody may (Linux: a range without
	 * MMU_NOTIFIER_RANGE_BLOCKABLE, and -EAGAIN). False: it would have to, nothing was dropped,
	 * and no end follows. NULL: start never sleeps.
	 */
	MUST_USE bool (*try_start)(struct notifier *self, const struct mm_range *range);
	/* The space ends: drop everything, for ever. No start or end follows; self is unlinked. */
	void (*release)(struct notifier *self);
	/*
	 * Was a page of the range used, through what the listener maps there, since this was
	 * last cleared? All three are optional; a listener without them is never young. No
	 * bracket: what is mapped may stay, and pages may be used again before the answer is.
	 * The first two forget it; the second is for those who can do without the last word,
	 * and need not reach CPUs that still hold a translation (U36: a listener may elide that
	 * in the first, too). Called with space->lock held, shared or exclusively, so as in a
	 * bracket it must not look up or fault. No folio is marked: what an answer means is the
	 * caller's affair. There is none of this for dirty (S33). Linux: clear_flush_young,
	 * clear_young, test_young.
	 */
	bool (*clear_flush_young)(struct notifier *self, const struct mm_range *range);
	bool (*clear_young)(struct notifier *self, const struct mm_range *range);
	bool (*test_young)(struct notifier *self, const struct mm_range *range);
	/*
	 * Both or none. start_change: as start, but what is mapped stays for change_pte to
	 * exchange; the bracket counts, and ends by `end`. change_pte: the page at the address
	 * will be this one when the call has returned; when it returns, the old one must be out
	 * of reach. Neither fails.
	 */
	void (*start_change)(struct notifier *self, const struct mm_range *range);
	void (*change_pte)(struct notifier *self, hva_t address, const struct mm_page *page);
};

struct notifier {
	const struct notifier_ops *ops;
	struct list_node link;		/* space->notifiers, under space->lock */
};

/*
 * The same for memory without a space (mm.h: struct memfd): start and end alone are called, with
 * its lock held exclusively, and a range is in bytes from its first page.
 */
void memfd_register(struct memfd *memfd, struct notifier *notifier);
void memfd_unregister(struct memfd *memfd, struct notifier *notifier);

/* Both take space->lock exclusively: neither returns while a bracket is open. */
void notifier_register(struct space *space, struct notifier *notifier);
void notifier_unregister(struct space *space, struct notifier *notifier);

#endif
