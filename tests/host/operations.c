/* One operation: what bytes mean, what it does, and whether that was right. Called by actors.c. */
#include "tests/host/actors.h"
#include "tests/host/operations.h"

struct scene scene;

struct kind_row {
	const char *name;
	unsigned weight;		/* of 64 */
	enum access access;		/* to a word, by `reach`, whose result it returns; or 0 */
	unsigned (*reach)(struct actor *actor, struct operation *operation);
	void (*change)(struct actor *actor, const struct operation *operation);
};

static const struct kind_row kinds[KINDS];

/* ------------------------------------------------------------------ what bytes mean */

static enum kind kind_of(unsigned byte)
{
	unsigned kind = 0;

	for (byte &= 63; byte >= kinds[kind].weight; kind++)
		byte -= kinds[kind].weight;
	return (enum kind)kind;
}

unsigned operation_actor(const uint8_t *bytes) { return (bytes[0] >> 6) % ACTORS; }

/* Never across the border between the halves. Mostly short. */
static struct span span_of(unsigned place, unsigned choice)
{
	bool large = place & 0x8000;
	unsigned pages = large ? MODEL_LARGE : MODEL_SMALL;
	unsigned first = (place & 0x7fff) % pages;
	unsigned count = choice >= 0xc0 ? 1 + (choice & 0x3f) * 16 : 1 + (choice & 7);

	return (struct span){ first + (large ? MODEL_SMALL : 0),
			      count < pages - first ? count : pages - first };
}

/* A frame of a region, or just beside it. */
static uint64_t frame_of(unsigned place, unsigned choice)
{
	const struct region *region = &scene.model.regions[choice % MODEL_REGIONS].region;
	uint64_t before = region->start.raw ? 1 : 0;

	return region->start.raw - before + place % (region->pages + 2);
}

static unsigned page_of(const struct operation *operation)
{
	const struct model_region *found = model_region(&scene.model, operation->frame);

	return found ? (unsigned)(found->first + operation->frame - found->region.start.raw)
		     : MODEL_PAGES;
}

struct operation operation_decode(const uint8_t *bytes)
{
	unsigned place = bytes[1] + 256u * bytes[2], choice = bytes[3];
	enum kind kind = kind_of(bytes[0]);
	struct operation operation = {
		.kind = kind, .access = kinds[kind].access, .word = choice >> 2 & 1,
		.choice = choice, .frame = frame_of(place, choice),
		.span = span_of(place, choice), .refusals = scene.refusals };

	operation.page = kind == PROCESS_READ || kind == PROCESS_WRITE ? operation.span.first
								       : page_of(&operation);
	if (operation.access & ACCESS_WRITE)
		operation.value = ++scene.counter;
	return operation;
}

/* ------------------------------------------------------------------ what should come of it */

bool is_guest_access(const struct operation *operation)
{
	return operation->kind <= GUEST_FETCH;
}

static enum fault_result expected_by_guest(const struct operation *operation)
{
	const struct model_region *region = model_region(&scene.model, operation->frame);

	if (!region || !region->there)
		return FAULT_NO_REGION;
	if (operation->access & ACCESS_WRITE && region->region.rights == REGION_READ_ONLY)
		return FAULT_READ_ONLY;
	if (model_reach(&scene.model, operation->page, operation->access) != STATUS_OK)
		return FAULT_NO_HOST;
	return FAULT_FIXED;
}

static enum status expected_by_device(const struct operation *operation)
{
	const struct model_region *region = model_region(&scene.model, operation->frame);

	if (!region || !region->there)
		return STATUS_NOT_FOUND;
	if (operation->access & ACCESS_WRITE && region->region.rights == REGION_READ_ONLY)
		return STATUS_NO_ACCESS;
	return model_reach(&scene.model, operation->page, operation->access);
}

/* An enum fault_result for the guest, an enum status for all others. */
static unsigned expected(const struct operation *operation)
{
	if (is_guest_access(operation))
		return expected_by_guest(operation);
	if (operation->kind == DEVICE_READ || operation->kind == DEVICE_WRITE)
		return expected_by_device(operation);
	return model_reach(&scene.model, operation->page, operation->access);
}

_Static_assert((unsigned)FAULT_FIXED == STATUS_OK, "one meaning of 0 for both");

/* Something has changed: what others are in the middle of may see the one or the other. */
static void widen_others(void)
{
	for (unsigned i = 0; i < ACTORS; i++)
		if (scene.actors[i].doing && scene.actors[i].doing->access)
			scene.actors[i].doing->possible |= 1u << expected(scene.actors[i].doing);
}

void judge_done(const struct operation *operation, uint64_t stored)
{
	uint64_t *word = &scene.model.pages[operation->page].words[operation->word];

	/* Whatever went on before: the last step found the page like this. */
	check(model_reach(&scene.model, operation->page, operation->access) == STATUS_OK);
	check(!is_guest_access(operation) || expected(operation) == FAULT_FIXED);
	if (operation->access != ACCESS_WRITE && operation->value != *word)
		port_panic("%s of frame 0x%lx, page %u: found %lu, stored was %lu",
			   kinds[operation->kind].name, operation->frame, operation->page,
			   operation->value, *word);
	if (operation->access & ACCESS_WRITE)
		*word = stored;
}

static void judge(const struct operation *operation, unsigned result, uint64_t stored)
{
	unsigned no_memory = is_guest_access(operation) ? (unsigned)FAULT_NO_MEMORY
							: (unsigned)STATUS_NO_MEMORY;

	port_log("    -> %u, value %lu", result, operation->value);
	if (result == no_memory) {
		check(scene.refusals > operation->refusals);
		return;
	}
	if (!(operation->possible & 1u << result))
		port_panic("%s of frame 0x%lx, page %u: result %u, possible were 0x%x",
			   kinds[operation->kind].name, operation->frame, operation->page, result,
			   operation->possible);
	if (result == STATUS_OK)
		judge_done(operation, stored);
}

/* True when a change of the host's was made; out of memory, nothing has changed. */
static bool changed(const struct operation *operation, enum status status, enum status wanted)
{
	port_log("    -> %s", status_name(status));
	if (status == STATUS_NO_MEMORY) {
		check(scene.refusals > operation->refusals);
		return false;
	}
	check(status == wanted);
	return status == STATUS_OK;
}

/* ------------------------------------------------------------------ accesses */

gpa_t guest_address(const struct operation *operation)
{
	return gpa((operation->frame << PAGE_SHIFT) + model_offset(operation->word));
}

static unsigned reach_as_guest(struct actor *actor, struct operation *operation)
{
	gpa_t address = guest_address(operation);

	switch (operation->access) {
	case ACCESS_READ: return soft_load(&actor->soft, address, &operation->value);
	case ACCESS_EXEC: return soft_fetch(&actor->soft, address, &operation->value);
	case ACCESS_WRITE: return soft_store(&actor->soft, address, operation->value);
	case ACCESS_NONE: break;
	}
	return soft_exchange(&actor->soft, address, &operation->value);
}

static unsigned reach_as_device(struct actor *actor, struct operation *operation)
{
	uint64_t *value = &operation->value;

	(void)actor;
	return operation->access == ACCESS_WRITE ?
	       ept_write_guest(scene.ept, guest_address(operation), value, sizeof(*value)) :
	       ept_read_guest(scene.ept, guest_address(operation), value, sizeof(*value));
}

static unsigned reach_as_process(struct actor *actor, struct operation *operation)
{
	hva_t address = hva_add(model_hva(operation->page), model_offset(operation->word));
	uint64_t *value = &operation->value;

	(void)actor;
	return operation->access == ACCESS_WRITE ?
	       space_write(scene.space, address, value, sizeof(*value)) :
	       space_read(scene.space, address, value, sizeof(*value));
}

static void reach_word(struct actor *actor, struct operation *operation)
{
	uint64_t stored = operation->value;

	operation->possible = 1u << expected(operation);
	judge(operation, kinds[operation->kind].reach(actor, operation), stored);
}

/* ------------------------------------------------------------------ changes */

static void do_evict(struct actor *actor, const struct operation *operation)
{
	soft_evict(&actor->soft, guest_address(operation));
}

static void do_leave(struct actor *actor, const struct operation *operation)
{
	(void)operation;
	soft_leave(&actor->soft);
}

static void map_span(const struct operation *operation, struct span span)
{
	unsigned level = span.first < MODEL_SMALL ? LEVEL_4K : LEVEL_2M;
	enum status wanted = model_count_mapped(&scene.model, span) ? STATUS_EXISTS : STATUS_OK;

	if (changed(operation, space_map(scene.space, model_hva(span.first), span.count * PAGE_SIZE,
					 PROTECTION_READ_WRITE, level), wanted))
		model_map(&scene.model, span);
}

static void unmap_span(const struct operation *operation, struct span span)
{
	if (changed(operation, space_unmap(scene.space, model_hva(span.first),
					   span.count * PAGE_SIZE), STATUS_OK))
		model_unmap(&scene.model, span);
}

static hva_t span_start(const struct operation *operation)
{
	return model_hva(operation->span.first);
}

static uint64_t span_bytes(const struct operation *operation)
{
	return operation->span.count * PAGE_SIZE;
}

static void do_map(struct actor *actor, const struct operation *operation)
{
	(void)actor;
	map_span(operation, operation->span);
}

static void do_unmap(struct actor *actor, const struct operation *operation)
{
	(void)actor;
	unmap_span(operation, operation->span);
}

/* The large half begins anew, in one piece. */
static void do_renew(struct actor *actor, const struct operation *operation)
{
	struct span large = { MODEL_SMALL, MODEL_LARGE };

	(void)actor;
	unmap_span(operation, large);
	map_span(operation, large);
}

static void do_discard(struct actor *actor, const struct operation *operation)
{
	(void)actor;
	if (changed(operation, space_discard(scene.space, span_start(operation),
					     span_bytes(operation)), STATUS_OK))
		model_discard(&scene.model, operation->span);
}

static void do_protect(struct actor *actor, const struct operation *operation)
{
	/* Mostly all rights, so that much stays writable. */
	static const enum protection choices[] = { PROTECTION_READ_WRITE, PROTECTION_READ,
						   PROTECTION_NONE, PROTECTION_READ_WRITE };
	enum protection protection = choices[operation->choice >> 3 & 3];
	bool whole = model_count_mapped(&scene.model, operation->span) == operation->span.count;

	(void)actor;
	if (changed(operation, space_protect(scene.space, span_start(operation),
					     span_bytes(operation), protection),
		    whole ? STATUS_OK : STATUS_NOT_FOUND))
		model_protect(&scene.model, operation->span, protection);
}

/* The three that change no content and no right: nothing follows from them. */
static void do_migrate(struct actor *actor, const struct operation *operation)
{
	uint64_t moved;

	(void)actor;
	(void)changed(operation, space_migrate(scene.space, span_start(operation),
					       span_bytes(operation), &moved), STATUS_OK);
	check(moved <= operation->span.count);
}

static void do_split(struct actor *actor, const struct operation *operation)
{
	(void)actor;
	(void)changed(operation, space_split(scene.space, span_start(operation),
					     span_bytes(operation)), STATUS_OK);
}

static void do_invalidate(struct actor *actor, const struct operation *operation)
{
	(void)actor;
	(void)changed(operation, space_invalidate(scene.space, span_start(operation),
						  span_bytes(operation)), STATUS_OK);
}

static void do_region(struct actor *actor, const struct operation *operation)
{
	struct model_region *region = &scene.model.regions[operation->choice % MODEL_REGIONS];
	enum status status = region->there ? ept_region_remove(scene.ept, region->region.start)
					   : ept_region_add(scene.ept, &region->region);

	(void)actor;
	check(status == STATUS_OK);
	region->there = !region->there;
}

static void do_fail(struct actor *actor, const struct operation *operation)
{
	(void)actor;
	arena_fail_after(&scene.arena, operation->choice % 8);
}

void verify_all(void)
{
	space_verify(scene.space);
	ept_verify(scene.ept);
}

static void do_verify(struct actor *actor, const struct operation *operation)
{
	(void)actor, (void)operation;
	verify_all();
}

static const struct kind_row kinds[KINDS] = {
	[GUEST_LOAD] = { "guest load", 9, ACCESS_READ, reach_as_guest, NULL },
	[GUEST_STORE] = { "guest store", 11, ACCESS_WRITE, reach_as_guest, NULL },
	[GUEST_EXCHANGE] = { "guest exchange", 4, (enum access)(ACCESS_READ | ACCESS_WRITE),
			     reach_as_guest, NULL },
	[GUEST_FETCH] = { "guest fetch", 3, ACCESS_EXEC, reach_as_guest, NULL },
	[DEVICE_READ] = { "device read", 2, ACCESS_READ, reach_as_device, NULL },
	[DEVICE_WRITE] = { "device write", 2, ACCESS_WRITE, reach_as_device, NULL },
	[PROCESS_READ] = { "process read", 2, ACCESS_READ, reach_as_process, NULL },
	[PROCESS_WRITE] = { "process write", 3, ACCESS_WRITE, reach_as_process, NULL },
	[GUEST_EVICT] = { "guest evict", 2, 0, NULL, do_evict },
	[GUEST_LEAVE] = { "guest leave", 3, 0, NULL, do_leave },
	[MAP] = { "map", 5, 0, NULL, do_map },
	[UNMAP] = { "unmap", 2, 0, NULL, do_unmap },
	[DISCARD] = { "discard", 2, 0, NULL, do_discard },
	[MIGRATE] = { "migrate", 3, 0, NULL, do_migrate },
	[INVALIDATE] = { "invalidate", 2, 0, NULL, do_invalidate },
	[PROTECT] = { "protect", 3, 0, NULL, do_protect },
	[SPLIT] = { "split", 1, 0, NULL, do_split },
	[RENEW] = { "renew", 1, 0, NULL, do_renew },
	[REGION] = { "region", 1, 0, NULL, do_region },
	[FAIL] = { "fail", 2, 0, NULL, do_fail },
	[VERIFY] = { "verify", 1, 0, NULL, do_verify },
};

/* ------------------------------------------------------------------ one operation */

void operation_log(const struct actor *actor, const struct operation *operation)
{
	port_log("actor %u: %s: frame 0x%lx, page %u, word %u, value %lu, span %u+%u, choice %u",
		 (unsigned)(actor - scene.actors), kinds[operation->kind].name, operation->frame,
		 operation->page, operation->word, operation->value, operation->span.first,
		 operation->span.count, operation->choice);
}

void operation_perform(struct actor *actor, struct operation *operation)
{
	actor->doing = operation;
	/* All but what a guest does itself is done outside. */
	if (operation->kind > GUEST_EVICT)
		soft_leave(&actor->soft);
	if (operation->access)
		reach_word(actor, operation);
	else
		kinds[operation->kind].change(actor, operation);
	actor->doing = NULL;
	widen_others();
}
