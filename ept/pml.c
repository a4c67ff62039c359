/*
 * Dirty logs kept by the processor: SDM "Page-Modification Logging". Where it sets D in a leaf, it
 * adds the page to a list of the CPU's own; the CPU side hands that over when it leaves the guest
 * (ept_leave_logged). Begun and ended by log.c.
 *
 *   CPU                                      a harvest (ept_log_get, ept->lock exclusive)
 *   ---                                      --------------------------------------------
 *   presence = ++n | IN_GUEST   (xchg)
 *   ... guest: store sets D, lists page      IN_GUEST: kick, wait until presence != sample
 *   exit
 *   list -> bits of the words   (or)
 *   presence = n | OUTSIDE      (release)    word = xchg(bitmap word, 0)
 *                                            D from the leaves of the word's bits   (and)
 *                                            flush, then the words are the caller's
 *
 * - The list is emptied before the CPU says OUTSIDE. So whoever sees presence change, or finds the
 *   CPU outside, has what it stored until then in the bitmap; and a log that ends waits for the
 *   same word before its bitmap is freed.
 * - A leaf with D whose page has no bit in the bitmap is in a list, or a fault is about to note it
 *   (log_mark): nobody else sets D. Word first, D second keeps it so. The reverse lets a store
 *   between the two set D and come into the word that is then taken: D stays, and the next store to
 *   the page is in no list.
 * - A list outlives the leaf it speaks of. The zap's flush makes the CPU leave, which notes it: the
 *   funnel need not look at D.
 * - A CPU that is inside when a log begins runs without the list, and would set D unseen. So it has
 *   to leave before D is taken from the leaves. Store before load on both sides, as in flush.c: it
 *   finds `entering` set, or it is found inside. A flush at the end would not do: D that it
 *   sets between the two is never set again.
 */
#include "ept/flush.h"
#include "ept/log.h"
#include "ept/pml.h"

void pml_begin(struct ept *ept)
{
	atomic_xchg(&ept->notice.entering, EPT_LOGGED);
	flush_expel(ept);
}

void pml_end(struct ept *ept)
{
	bool others = false;

	for (uint64_t live = atomic_read(&ept->logs_live); live; live &= live - 1)
		others |= ept->logs[__builtin_ctzll(live)].kind == LOG_PML;
	if (!others)
		atomic_xchg(&ept->notice.entering, EPT_CLEAN);
	flush_expel(ept);
}

/*
 * The index goes down from the last place and stands before the newest entry; below 0, it is full.
 */
static void drain(struct ept *ept, const uint64_t *page, uint16_t index)
{
	for (unsigned i = index > EPT_PML_LAST ? 0 : index + 1u; i <= EPT_PML_LAST; i++) {
		gfn_t frame = gpa_to_gfn(gpa(page[i]));
		struct ept_log *log = log_find(ept, frame);

		if (log && log->kind == LOG_PML)
			log_mark(log, frame);
	}
}

void ept_leave_logged(struct ept *ept, const uint64_t *page, uint16_t index)
{
	drain(ept, page, index);
	ept_leave(ept);
}
