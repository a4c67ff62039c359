/*
 * Dirty logs: which pages of a region the guest stores to. Called by whoever copies or shows a
 * guest's memory.
 *
 *   a store (WRITE_PROTECT)                  a harvest (ept_log_get)
 *   -----------------------                  -----------------------
 *   leaf without W: fault                    word = xchg(bitmap word, 0)
 *   W into the leaf      (cmpxchg)           W from the leaves of the word's bits   (and)
 *   the bit into the word                    flush, then the words are the caller's
 *   back in the guest: stores
 *
 * Word first, W second. A store whose bit was taken has either landed before the flush, and is in
 * what the caller reads after, or finds no W any more and notes itself anew. The reverse loses the
 * one that comes between. The bit after W: were it before, a harvest between the two would take the
 * bit, find no W to take, and the store would leave no trace (U19, U30).
 *
 *   a device's store (log_stored)            a log that begins, or a harvest
 *   -----------------------------            -------------------------------
 *   the bytes into the page                  the log goes live   (locked)
 *   fence                                    the page is read, by the caller
 *   is any log live?
 *   ept->lock shared:                        ept->lock exclusive:
 *     is the bit set? else set it              word = xchg(bitmap word, 0)
 *                                            the page is read, by the caller
 *
 * Store before load, on both sides. A device that finds no log has looked before it went live: its
 * bytes were in the page by then, and are read. Without the fence they could still be in its store
 * buffer (I6). One that finds its bit set, and notes nothing, had the lock before the harvest did:
 * the page is read after its bytes, too.
 *
 * By DIRTY_BIT the processor notes the store in the leaf. A harvest takes D from every leaf there;
 * D of a leaf that goes is noted by the funnel. By PML it lists the page as well: pml.c. By
 * RING_ONLY there is no bitmap, and so no harvest here: ring.c.
 */
#include "ept/change.h"
#include "ept/log.h"
#include "ept/memfd.h"
#include "ept/notify.h"
#include "ept/pml.h"
#include "ept/region.h"
#include "ept/ring.h"

enum { WORD_PAGES = 64 };

static uint64_t words_of(uint64_t pages) { return (pages + WORD_PAGES - 1) / WORD_PAGES; }
/* A bit for each of the next so many pages, in one word. */
static uint64_t mask_of(uint64_t pages)
{
	return pages < WORD_PAGES ? (UINT64_C(1) << pages) - 1 : UINT64_MAX;
}

/* By the region's first frame. */
static struct ept_log *log_at(struct ept *ept, gfn_t start) HOLDS_SHARED(ept->lock)
{
	struct ept_log *log = log_find(ept, start);

	return log && log->start.raw == start.raw ? log : NULL;
}

/*
 * Without A and D in the processor, aging has taken W from leaves and flushed nothing: a CPU may
 * store by a W that no leaf has any more, so who takes bits flushes anyway (U27, U30).
 */
static bool stale_w(const struct ept *ept) { return !ept->caps.accessed_dirty; }

/* ------------------------------------------------------------------ from now on */

/* A leaf of a region whose log begins: split as far as it goes, then what its stores need goes. */
static void begin_leaf(struct ept *ept, struct ept_walk *walk, const struct ept_log *log, bool lazy,
		       struct flush_batch *batch) HOLDS(ept->lock)
{
	if (walk->level > LEVEL_4K && !lazy &&
	    ept_split_leaf(ept, walk->slot, walk->level, log_takes(log, walk->level - 1), batch)) {
		/* And on in the new table, unless its leaves have lost by now what they have to. */
		if (walk->level > LEVEL_2M)
			walk->old = slot_read(walk->slot);
		return;
	}

	/* Small ones, a word of them at a time. */
	uint64_t side = walk->level == LEVEL_4K ? ept_walk_side(walk, WORD_PAGES) : 1;

	ept_take_many(ept, walk->slot, mask_of(side), log_takes(log, walk->level), batch);
	ept_walk_skip(walk, side - 1);
}

static void begin_all(struct ept *ept, const struct ept_log *log, bool lazy) HOLDS(ept->lock)
{
	struct ept_walk walk = ept_walk_begin(ept, log->start, log->pages);
	struct flush_batch batch = flush_nothing();

	batch.owed = stale_w(ept);
	while (ept_walk_next(&walk))
		if (spte_is_leaf(walk.old))
			begin_leaf(ept, &walk, log, lazy, &batch);
	flush_settle(ept, batch);
}

/* U31: as if every page had been stored to; the leaves lose what they need as the bits go. */
static void set_all(struct ept_log *log)
{
	for (uint64_t n = 0; n < log->pages; n += WORD_PAGES)
		atomic_write(&log->bitmap[n / WORD_PAGES], mask_of(log->pages - n));
}

static enum status judge(struct ept *ept, gfn_t start, const struct log_options *options,
			 uint64_t *pages) HOLDS_SHARED(ept->lock)
{
	const struct region *region = region_find(ept, start);

	if (!region || region->start.raw != start.raw)
		return STATUS_NOT_FOUND;
	if (log_at(ept, start))
		return STATUS_EXISTS;
	if (log_is_by_processor(options->kind) && !ept->caps.accessed_dirty)
		return STATUS_UNSUPPORTED;
	if (options->kind == LOG_PML && !ept->caps.pml)
		return STATUS_UNSUPPORTED;
	/* Both are about bits. */
	if (options->kind == LOG_RING_ONLY && (options->manual || options->initially_set))
		return STATUS_UNSUPPORTED;
	*pages = region->pages;
	return STATUS_OK;
}

/* The region is judged again: it may have gone while the bitmap was made. */
static enum status begin_log(struct ept *ept, gfn_t start, const struct log_options *options,
			     uint64_t pages, atomic64_t *bitmap) HOLDS(ept->lock)
{
	unsigned free = (unsigned)__builtin_ctzll(~atomic_read(&ept->logs_live));
	struct ept_log *log = &ept->logs[free];
	uint64_t now;
	enum status status = judge(ept, start, options, &now);

	if (status != STATUS_OK)
		return status;
	if (now != pages)
		return STATUS_NOT_FOUND;
	*log = (struct ept_log){ .start = start, .pages = pages, .kind = options->kind,
				 .manual = options->manual, .bitmap = bitmap,
				 .listed = log_is_by_rings(options->kind) };
	if (options->initially_set)
		set_all(log);
	atomic_or(&ept->logs_live, UINT64_C(1) << free);
	/* Faults that have looked before make no leaf that has W, or is large. */
	atomic_add(&ept->sequence, 1);
	/* Nor does a fault without the lock give W to one from now on, and note it nowhere. */
	if (log->kind == LOG_PML)
		pml_begin(ept);
	else
		walk_await(ept);
	if (!options->initially_set)
		begin_all(ept, log, options->lazy);
	return STATUS_OK;
}

/* All clean. Rings alone have none. */
static enum status make_bitmap(struct ept *ept, enum log_kind kind, uint64_t pages,
			       atomic64_t **bitmap)
{
	uint64_t bytes = words_of(pages) * 8;
	pfn_t frame;

	*bitmap = NULL;
	if (kind == LOG_RING_ONLY)
		return STATUS_OK;
	enum status status = folio_alloc_zeroed(ept->host, bytes_order(bytes), &frame);

	if (status == STATUS_OK)
		*bitmap = pfn_to_ptr(frame);
	return status;
}

static void free_bitmap(struct ept *ept, atomic64_t *bitmap)
{
	if (bitmap)
		folio_put(ept->host, ptr_to_pfn(bitmap));
}

enum status ept_log_enable(struct ept *ept, gfn_t start, const struct log_options *options)
{
	atomic64_t *bitmap;
	uint64_t pages = 0;

	read_lock(&ept->lock);
	enum status status = judge(ept, start, options, &pages);

	read_unlock(&ept->lock);
	if (status == STATUS_OK)
		status = make_bitmap(ept, options->kind, pages, &bitmap);
	if (status != STATUS_OK)
		return status;
	write_lock(&ept->lock);
	status = begin_log(ept, start, options, pages, bitmap);
	write_unlock(&ept->lock);
	if (status != STATUS_OK)
		free_bitmap(ept, bitmap);
	/* A device that has found no log notes nothing: its bytes are there first. */
	else if (!bitmap)
		device_await(ept);
	return status;
}

/* ------------------------------------------------------------------ and no more */

void log_drop(struct ept *ept, gfn_t start)
{
	struct ept_log *log = log_at(ept, start);

	if (!log)
		return;
	atomic_and(&ept->logs_live, ~(UINT64_C(1) << (log - ept->logs)));
	atomic_add(&ept->sequence, 1);
	/* Faults without the lock may be noting a store in it, or CPUs on their way out. */
	if (log->kind == LOG_PML)
		pml_end(ept);
	else
		walk_await(ept);
	free_bitmap(ept, log->bitmap);
}

void log_drop_all(struct ept *ept)
{
	for (uint64_t live = atomic_read(&ept->logs_live); live; live &= live - 1)
		free_bitmap(ept, ept->logs[__builtin_ctzll(live)].bitmap);
	atomic_write(&ept->logs_live, 0);
}

/*
 * What the host has at the table's pages now, if it is one page as large. Primary entries change
 * inside brackets alone, and none begins while ept->lock is held.
 */
static bool is_one_page(struct ept *ept, const struct region *region, const struct ept_walk *walk,
			struct mm_page *page) HOLDS(ept->lock)
{
	gfn_t frame = ept_walk_start(walk);
	hva_t start = region_hva(region, frame);

	return walk->level <= ept->caps.max_level && ept_walk_covers(walk) &&
	       region_level(region, frame, walk->level) == walk->level &&
	       !notify_busy(ept, start, hva_add(start, level_bytes(walk->level))) &&
	       !memfd_is(start) && mm_peek(ept->space, start, page) == STATUS_OK &&
	       page->level >= walk->level;
}

/* From the smallest tables up: two levels of them take two rounds. */
static void join_all(struct ept *ept, const struct region *region, unsigned level,
		     struct flush_batch *batch) HOLDS(ept->lock)
{
	struct ept_walk walk = ept_walk_begin(ept, region->start, region->pages);

	while (ept_walk_next(&walk)) {
		struct mm_page page;

		if (walk.level != level || !spte_is_table(walk.old) ||
		    !is_one_page(ept, region, &walk, &page))
			continue;
		if (ept_join_leaves(ept, walk.slot, ept_walk_start(&walk), level, page.frame,
				    batch))
			walk.old = slot_read(walk.slot);
	}
}

enum status ept_log_disable(struct ept *ept, gfn_t start)
{
	struct flush_batch batch = flush_nothing();

	write_lock(&ept->lock);
	bool logged = log_at(ept, start);

	log_drop(ept, start);
	if (logged && !ept->released) {
		const struct region *region = region_find(ept, start);

		join_all(ept, region, LEVEL_2M, &batch);
		join_all(ept, region, LEVEL_1G, &batch);
	}
	flush_settle(ept, batch);
	write_unlock(&ept->lock);
	return logged ? STATUS_OK : STATUS_NOT_FOUND;
}

/* ------------------------------------------------------------------ harvests */

void log_stored(struct ept *ept, gpa_t at, uint64_t bytes)
{
	gfn_t last = gpa_to_gfn(gpa_add(at, bytes - 1));

	/* The bytes before the look for a log: the second table at the top. */
	atomic_fence();
	if (!atomic_read(&ept->logs_live))
		return;
	read_lock(&ept->lock);
	for (gfn_t frame = gpa_to_gfn(at); frame.raw <= last.raw; frame = gfn_add(frame, 1)) {
		struct ept_log *log = log_find(ept, frame);

		/* Without a bitmap it has begun meanwhile, and waits for us (device_await). */
		if (log && log->bitmap)
			log_mark(log, frame);
	}
	read_unlock(&ept->lock);
}

void log_note_dirty(struct ept *ept, gfn_t frame)
{
	struct ept_log *log = log_find(ept, frame);

	if (log && log->kind == LOG_DIRTY_BIT)
		log_mark(log, frame);
}

/*
 * The stores to the pages of a word's bits will fault, or be listed, again. By DIRTY_BIT those to
 * leaves of 4 KiB need not; a large one that was there when the log began does.
 */
static void protect_word(struct ept *ept, const struct ept_log *log, uint64_t n, uint64_t bits,
			 struct flush_batch *batch) HOLDS(ept->lock)
{
	while (bits) {
		unsigned first = (unsigned)__builtin_ctzll(bits);
		gfn_t frame = gfn_add(log->start, n + first);
		struct ept_place at = ept_find(ept, frame);
		/* As far as the table goes, or what the one entry stands for. */
		uint64_t span = level_pages(at.level > LEVEL_4K ? at.level : LEVEL_2M);
		uint64_t which = bits >> first & mask_of(span - frame.raw % span);

		/* A large one once, whatever of it was stored to. */
		if (at.level > LEVEL_4K || log->kind != LOG_DIRTY_BIT)
			ept_take_many(ept, at.slot, at.level > LEVEL_4K ? 1 : which,
				      log_takes(log, at.level), batch);
		bits &= ~(which << first);
	}
}

/* What the processor has noted in the leaves goes to the bitmap. */
static void sweep(struct ept *ept, struct ept_log *log, struct flush_batch *batch) HOLDS(ept->lock)
{
	struct ept_walk walk = ept_walk_begin(ept, log->start, log->pages);

	while (ept_walk_next(&walk)) {
		if (walk.level > LEVEL_4K || !spte_is_leaf(walk.old) || !spte_dirty(walk.old))
			continue;
		ept_take_bits(ept, walk.slot, SPTE_D, batch);
		log_mark(log, ept_walk_start(&walk));
	}
}

static enum status judge_harvest(const struct ept_log *log)
{
	if (!log)
		return STATUS_NOT_FOUND;
	return log->bitmap ? STATUS_OK : STATUS_UNSUPPORTED;
}

enum status ept_log_get(struct ept *ept, gfn_t start, uint64_t *words)
{
	struct flush_batch batch = flush_nothing();

	write_lock(&ept->lock);
	struct ept_log *log = log_at(ept, start);
	enum status status = judge_harvest(log);

	if (log && log->kind == LOG_DIRTY_BIT)
		sweep(ept, log, &batch);
	if (log && log->kind == LOG_PML)
		flush_expel(ept);
	for (uint64_t n = 0; status == STATUS_OK && n < log->pages; n += WORD_PAGES) {
		atomic64_t *word = &log->bitmap[n / WORD_PAGES];
		uint64_t bits = atomic_read(word);

		/* Most are clean, and cost no locked operation. */
		if (bits && !log->manual) {
			bits = atomic_xchg(word, 0);
			batch.owed |= stale_w(ept);
			protect_word(ept, log, n, bits, &batch);
		}
		words[n / WORD_PAGES] = bits;
	}
	flush_settle(ept, batch);
	write_unlock(&ept->lock);
	return status;
}

static bool is_part(const struct ept_log *log, uint64_t first, uint64_t pages)
{
	return pages && !(first % WORD_PAGES) && first < log->pages &&
	       pages <= log->pages - first &&
	       (!(pages % WORD_PAGES) || pages == log->pages - first);
}

enum status ept_log_clear(struct ept *ept, gfn_t start, uint64_t first, uint64_t pages,
			  const uint64_t *words)
{
	struct flush_batch batch = flush_nothing();

	write_lock(&ept->lock);
	struct ept_log *log = log_at(ept, start);
	enum status status = judge_harvest(log);

	if (status == STATUS_OK && !log->manual)
		status = STATUS_NOT_FOUND;
	if (status == STATUS_OK && !is_part(log, first, pages))
		status = STATUS_BAD_RANGE;
	if (status == STATUS_OK && log->kind == LOG_PML)
		flush_expel(ept);
	for (uint64_t n = 0; status == STATUS_OK && n < pages; n += WORD_PAGES) {
		uint64_t mask = words[n / WORD_PAGES];

		if (mask)
			mask &= atomic_and(&log->bitmap[(first + n) / WORD_PAGES], ~mask);
		batch.owed |= mask && stale_w(ept);
		protect_word(ept, log, first + n, mask, &batch);
	}
	flush_settle(ept, batch);
	write_unlock(&ept->lock);
	return status;
}
