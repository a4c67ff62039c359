/* See model.h. One thread. */
#include "tests/host/model.h"

/*
 * All of the memory in place; a part of it once more, out of step with 2 MiB; the large half for
 * reading only; a part across both halves by 4 KiB leaves.
 */
void model_init(struct model *model)
{
	static const struct model_region layout[MODEL_REGIONS] = {
		{ { { 0 }, MODEL_PAGES, { 0 }, REGION_READ_WRITE, LEVEL_2M }, 0, true },
		{ { { 4096 + 3 }, 256, { 0 }, REGION_READ_WRITE, LEVEL_2M }, 300, true },
		{ { { 8192 }, MODEL_LARGE, { 0 }, REGION_READ_ONLY, LEVEL_1G }, MODEL_SMALL, true },
		{ { { 1 << 30 }, 1000, { 0 }, REGION_READ_WRITE, LEVEL_4K }, 250, true },
	};

	__builtin_memset(model, 0, sizeof(*model));
	for (unsigned i = 0; i < MODEL_REGIONS; i++) {
		model->regions[i] = layout[i];
		model->regions[i].region.backing = model_hva(layout[i].first);
	}
}

const struct model_region *model_region(const struct model *model, uint64_t frame)
{
	for (unsigned i = 0; i < MODEL_REGIONS; i++) {
		const struct region *region = &model->regions[i].region;

		if (frame >= region->start.raw && frame < region->start.raw + region->pages)
			return &model->regions[i];
	}
	return NULL;
}

enum status model_reach(const struct model *model, unsigned page, enum access access)
{
	const struct model_page *found = &model->pages[page];
	enum protection least = access & ACCESS_WRITE ? PROTECTION_READ_WRITE : PROTECTION_READ;

	if (!found->mapped)
		return STATUS_NOT_FOUND;
	return found->protection >= least ? STATUS_OK : STATUS_NO_ACCESS;
}

unsigned model_count_mapped(const struct model *model, struct span span)
{
	unsigned count = 0;

	for (unsigned i = span.first; i < span.first + span.count; i++)
		count += model->pages[i].mapped;
	return count;
}

void model_map(struct model *model, struct span span)
{
	for (unsigned i = span.first; i < span.first + span.count; i++)
		model->pages[i] = (struct model_page){ true, PROTECTION_READ_WRITE, { 0 } };
}

void model_unmap(struct model *model, struct span span)
{
	for (unsigned i = span.first; i < span.first + span.count; i++)
		model->pages[i] = (struct model_page){ 0 };
}

void model_discard(struct model *model, struct span span)
{
	for (unsigned i = span.first; i < span.first + span.count; i++)
		for (unsigned word = 0; word < MODEL_WORDS; word++)
			model->pages[i].words[word] = 0;
}

void model_protect(struct model *model, struct span span, enum protection protection)
{
	for (unsigned i = span.first; i < span.first + span.count; i++)
		model->pages[i].protection = protection;
}
