/*
 * What a guest's memory and a process's should hold, kept without page tables: an array of host
 * pages, a few regions that show parts of it to the guest, and in each page two words, the first
 * and the last. For operations.c, which does the same to the real thing and compares.
 */
#ifndef TESTS_HOST_MODEL_H
#define TESTS_HOST_MODEL_H

#include "ept/ept.h"

/* Below: backed by 4 KiB pages only. Above: two folios of 2 MiB, until something splits them. */
enum { MODEL_SMALL = 512, MODEL_LARGE = 1024, MODEL_PAGES = MODEL_SMALL + MODEL_LARGE };
enum { MODEL_REGIONS = 4, MODEL_WORDS = 2 };

#define MODEL_BACKING (UINT64_C(64) << 30)	/* hva of page 0 */

struct model_page {
	bool mapped;
	enum protection protection;
	uint64_t words[MODEL_WORDS];
};

struct model_region {
	struct region region;
	unsigned first;			/* host page */
	bool there;
};

struct model {
	struct model_page pages[MODEL_PAGES];
	struct model_region regions[MODEL_REGIONS];
};

struct span { unsigned first, count; };		/* host pages */

/* Nothing is mapped; all regions are there. */
void model_init(struct model *model);

static inline hva_t model_hva(unsigned page) { return hva(MODEL_BACKING + page * PAGE_SIZE); }
/* The word's place in its page. */
static inline uint64_t model_offset(unsigned word) { return word ? PAGE_SIZE - 8 : 0; }

/* The region that has the guest frame; NULL: none, be it there or not. */
const struct model_region *model_region(const struct model *model, uint64_t frame);

/* What the host would say to an access to the page: STATUS_OK, _NOT_FOUND, _NO_ACCESS. */
enum status model_reach(const struct model *model, unsigned page, enum access access);

unsigned model_count_mapped(const struct model *model, struct span span);
void model_map(struct model *model, struct span span);
void model_unmap(struct model *model, struct span span);
void model_discard(struct model *model, struct span span);
void model_protect(struct model *model, struct span span, enum protection protection);

#endif
