/*
 * Random operations of guests, host and devices against a model that has no page tables: an array
 * of host pages and a few regions. Every result and every word is compared, ept_verify and
 * space_verify look at everything after each step.
 */
#include "tests/unit/ept_fixture.h"

enum { SMALL = 1024, PAGES = 2 * SMALL, REGIONS = 4, STEPS = 4000, SEEDS = 8 };

struct model_page {
	bool mapped;
	enum protection protection;
	uint64_t word;			/* the first word of the page */
};

struct model_region {
	struct region region;
	uint64_t first;			/* host page */
	bool there;
};

static struct model_page pages[PAGES];
static struct model_region regions[REGIONS];
static uint64_t random_state, counter;
static uint64_t small_zapped, large_zapped, flushes, tables_freed;

static uint64_t pick(uint64_t below)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (random_state >> 11) % below;
}

static hva_t page_hva(uint64_t page) { return hva(BACKING + page * PAGE_SIZE); }

/* ------------------------------------------------------------------ what should come of it */

static struct model_page *model_find(uint64_t frame, const struct model_region **where)
{
	for (unsigned i = 0; i < REGIONS; i++) {
		const struct region *region = &regions[i].region;

		if (regions[i].there && frame >= region->start.raw &&
		    frame < region->start.raw + region->pages) {
			*where = &regions[i];
			return &pages[regions[i].first + frame - region->start.raw];
		}
	}
	return NULL;
}

static enum fault_result model_access(uint64_t frame, bool write, struct model_page **out)
{
	const struct model_region *where;
	struct model_page *page = model_find(frame, &where);

	*out = page;
	if (!page)
		return FAULT_NO_REGION;
	if (write && where->region.rights == REGION_READ_ONLY)
		return FAULT_READ_ONLY;
	if (!page->mapped || page->protection == PROTECTION_NONE)
		return FAULT_NO_HOST;
	if (write && page->protection == PROTECTION_READ)
		return FAULT_NO_HOST;
	return FAULT_FIXED;
}

/* ------------------------------------------------------------------ steps */

/* A frame in a region or just beside one. */
static uint64_t some_frame(void)
{
	const struct region *region = &regions[pick(REGIONS)].region;

	return (region->start.raw + pick(region->pages + 2)) - (region->start.raw ? 1 : 0);
}

static void guest_step(void)
{
	unsigned cpu = 1 + (unsigned)pick(3);
	bool write = pick(2), fetch = !write && pick(2);
	uint64_t frame = some_frame(), value = ++counter;
	struct model_page *page;
	enum fault_result wanted = model_access(frame, write, &page), found;
	gpa_t address = gpa(frame << PAGE_SHIFT);

	port_set_cpu(cpu);
	found = write ? soft_store(&soft[cpu], address, value)
		: fetch ? soft_fetch(&soft[cpu], address, &value)
			: soft_load(&soft[cpu], address, &value);
	if (!pick(4))
		soft_leave(&soft[cpu]);
	port_set_cpu(0);
	assert_int_equal(found, wanted);
	if (found != FAULT_FIXED)
		return;
	if (write)
		page->word = value;
	else
		assert_int_equal(value, page->word);
}

static void device_step(void)
{
	bool write = pick(2);
	uint64_t frame = some_frame(), value = ++counter;
	struct model_page *page;
	enum fault_result wanted = model_access(frame, write, &page);
	gpa_t address = gpa(frame << PAGE_SHIFT);
	enum status found = write ? ept_write_guest(ept, address, &value, 8)
				  : ept_read_guest(ept, address, &value, 8);

	assert_int_equal(found == STATUS_OK, wanted == FAULT_FIXED);
	if (wanted == FAULT_NO_REGION)
		assert_int_equal(found, STATUS_NOT_FOUND);
	if (wanted == FAULT_READ_ONLY)
		assert_int_equal(found, STATUS_NO_ACCESS);
	if (found != STATUS_OK)
		return;
	if (write)
		page->word = value;
	else
		assert_int_equal(value, page->word);
}

struct span { uint64_t first, count; };

/* Small ones, often; sometimes large ones. Never across the border between the two sizes. */
static struct span some_span(void)
{
	uint64_t half = pick(2) * SMALL;
	uint64_t first = pick(SMALL), count = 1 + pick(pick(4) ? 8 : 600);

	return (struct span){ half + first, count < SMALL - first ? count : SMALL - first };
}

static void forget(struct span span, bool mapped)
{
	for (uint64_t i = span.first; i < span.first + span.count; i++) {
		pages[i].word = 0;
		pages[i].mapped = pages[i].mapped && mapped;
	}
}

static unsigned count_mapped(struct span span)
{
	unsigned count = 0;

	for (uint64_t i = span.first; i < span.first + span.count; i++)
		count += pages[i].mapped;
	return count;
}

static void map_step(struct span span)
{
	unsigned level = span.first < SMALL ? LEVEL_4K : LEVEL_2M;
	enum status status = space_map(space, page_hva(span.first), span.count * PAGE_SIZE,
				       PROTECTION_READ_WRITE, level);

	assert_int_equal(status, count_mapped(span) ? STATUS_EXISTS : STATUS_OK);
	if (status == STATUS_OK)
		for (uint64_t i = span.first; i < span.first + span.count; i++)
			pages[i] = (struct model_page){ true, PROTECTION_READ_WRITE, 0 };
}

/* Mostly back to all rights, so that much stays writable. */
static void protect_step(struct span span)
{
	enum protection protection = (enum protection)pick(4);

	if (protection > PROTECTION_READ_WRITE)
		protection = PROTECTION_READ_WRITE;
	enum status status = space_protect(space, page_hva(span.first), span.count * PAGE_SIZE,
					   protection);

	assert_int_equal(status, count_mapped(span) == span.count ? STATUS_OK : STATUS_NOT_FOUND);
	if (status == STATUS_OK)
		for (uint64_t i = span.first; i < span.first + span.count; i++)
			pages[i].protection = protection;
}

/* The large half begins anew, in one piece. */
static void renew_step(void)
{
	struct span large = { SMALL, SMALL };

	assert_int_equal(space_unmap(space, page_hva(SMALL), SMALL * PAGE_SIZE), STATUS_OK);
	forget(large, false);
	map_step(large);
}

static void host_step(void)
{
	struct span span = some_span();
	hva_t start = page_hva(span.first);
	uint64_t bytes = span.count * PAGE_SIZE, moved;

	switch (pick(8)) {
	case 0:
		assert_int_equal(space_unmap(space, start, bytes), STATUS_OK);
		forget(span, false);
		break;
	case 1:
		assert_int_equal(space_discard(space, start, bytes), STATUS_OK);
		forget(span, true);
		break;
	case 2:
		assert_int_equal(space_migrate(space, start, bytes, &moved), STATUS_OK);
		break;
	case 3:
		assert_int_equal(space_invalidate(space, start, bytes), STATUS_OK);
		break;
	case 4:
		protect_step(span);
		break;
	case 5:
		renew_step();
		break;
	default:
		map_step(span);
		break;
	}
}

static void region_step(void)
{
	struct model_region *model = &regions[pick(REGIONS)];
	enum status status;

	if (model->there)
		status = ept_region_remove(ept, model->region.start);
	else
		status = ept_region_add(ept, &model->region);
	assert_int_equal(status, STATUS_OK);
	model->there = !model->there;
}

/* ------------------------------------------------------------------ the run */

static void add_model_region(unsigned i, uint64_t start, uint64_t count, uint64_t first,
			     enum region_rights rights, unsigned level)
{
	regions[i] = (struct model_region){
		{ gfn(start), count, page_hva(first), rights, level }, first, true };
	assert_int_equal(ept_region_add(ept, &regions[i].region), STATUS_OK);
}

static void step(void)
{
	uint64_t kind = pick(100);

	if (kind < 70)
		guest_step();
	else if (kind < 75)
		device_step();
	else if (kind < 98)
		host_step();
	else
		region_step();
}

static void run_seed(uint64_t seed)
{
	open_ept(64, (struct ept_caps){ .max_level = LEVEL_2M, .accessed_dirty = seed & 1 });
	random_state = seed * UINT64_C(0x9e3779b97f4a7c15);
	memset(pages, 0, sizeof(pages));
	add_model_region(0, 0, PAGES, 0, REGION_READ_WRITE, LEVEL_2M);
	add_model_region(1, 4096 + 3, 512, 700, REGION_READ_WRITE, LEVEL_2M);
	add_model_region(2, 8192, SMALL, SMALL, REGION_READ_ONLY, LEVEL_1G);
	add_model_region(3, UINT64_C(1) << 30, 1500, 500, REGION_READ_WRITE, LEVEL_4K);
	map_step((struct span){ 0, SMALL });
	map_step((struct span){ SMALL, SMALL });
	for (unsigned i = 0; i < STEPS; i++) {
		step();
		ept_verify(ept);
	}
	space_verify(space);
	small_zapped += stats()->zapped[0];
	large_zapped += stats()->zapped[1];
	flushes += stats()->flushes;
	tables_freed += stats()->tables_freed;
	close_ept(NULL);
}

static void random_operations(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS; seed++)
		run_seed(seed);
	/* It was worth the walk. */
	assert_true(small_zapped > 100 * SEEDS && large_zapped > 20 * SEEDS);
	assert_true(flushes > 100 * SEEDS && tables_freed > 20 * SEEDS);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(random_operations) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
