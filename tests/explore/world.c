/*
 * The world of the scenarios. The first words of a freed frame, which is where scenarios store and
 * where tables have their entries, are poisoned; a frame that comes back from the allocator must
 * still hold the poison, or zeros if it was never used: who wrote there meanwhile has kept it too
 * long (I8).
 */
#include <stdio.h>

#include "tests/explore/world.h"
#include "tests/host/arena.h"
#include "tests/host/kick.h"

enum { WORLD_BYTES = 4 << 20, POISON = 0x6b, POISONED = 64 };

struct world world;

/* ------------------------------------------------------------------ frames */

static bool may_alloc(struct page_watch *self, unsigned order)
{
	(void)self;
	(void)order;
	return true;
}

static void allocated(struct page_watch *self, pfn_t head, unsigned order)
{
	const uint64_t *words = pfn_to_ptr(head);

	(void)self;
	(void)order;
	for (uint64_t i = 1; i < POISONED / 8; i++)
		if (words[i] != words[0])
			port_panic("frame 0x%lx was written after it was freed", head.raw);
}

static void freeing(struct page_watch *self, pfn_t head, unsigned order)
{
	(void)self;
	(void)order;
	__builtin_memset(pfn_to_ptr(head), POISON, POISONED);
}

void world_open(uint64_t pages, unsigned max_level)
{
	struct ram_range ram = { hpa(0), hpa(WORLD_BYTES) };
	struct ept_caps caps = { .max_level = LEVEL_2M, .accessed_dirty = true, .pml = true };
	struct region region = { .pages = pages, .backing = hva(WORLD_BACKING),
				 .rights = REGION_READ_WRITE, .max_level = max_level };

	if (max_level > LEVEL_4K)
		ram.end = hpa(4 * WORLD_BYTES);
	arena_clear(&ram, 1);
	world.file = NULL;
	world.store = NULL;
	check(host_create(&ram, 1, &world.host) == STATUS_OK);
	page_keep(world.host, 0);	/* scenarios of the lists say so */
	world.watch = (struct page_watch){ may_alloc, allocated, freeing };
	world.host->watch = &world.watch;
	world.pages_free = page_count_free(world.host);
	check(space_create(world.host, &world.space) == STATUS_OK);
	check(space_map(world.space, hva(WORLD_BACKING), pages << PAGE_SHIFT,
			PROTECTION_READ_WRITE, max_level) == STATUS_OK);
	check(ept_create(world.space, &caps, &world.ept) == STATUS_OK);
	check(ept_region_add(world.ept, &region) == STATUS_OK);
	for (unsigned i = 0; i < EXPLORE_ACTORS; i++) {
		soft_cpu_init(&world.cpus[i], world.ept);
		kick_attach(i, &world.cpus[i]);
		/* A CPU's very first entry has steps of its own: only the first actor's is new. */
		explore_ignore(&world.cpus[i].entries, 3 * sizeof(atomic64_t));
	}
}

void world_open_file(uint64_t pages, enum sharing sharing)
{
	world_open(pages, LEVEL_4K);
	check(space_unmap(world.space, hva(WORLD_BACKING), pages << PAGE_SHIFT) == STATUS_OK);
	check(ram_store_create(world.host, pages, &world.store) == STATUS_OK);
	check(file_create(world.host, ram_store_of(world.store), pages, &world.file) == STATUS_OK);
	check(space_map_file(world.space, hva(WORLD_BACKING), pages << PAGE_SHIFT,
			     PROTECTION_READ_WRITE, world.file, 0, sharing) == STATUS_OK);
}

void world_open_touched(uint64_t pages, uint64_t value)
{
	world_open(pages, LEVEL_4K);
	for (uint64_t page = 0; page < pages; page++)
		guest_stores(page, value);
	guest_leaves();
}

/* ------------------------------------------------------------------ the guest, the process */

static struct soft_cpu *my_cpu(void) { return &world.cpus[port_cpu()]; }

void guest_stores(uint64_t page, uint64_t value)
{
	check(soft_store(my_cpu(), page_gpa(page), value) == FAULT_FIXED);
}

uint64_t guest_loads(uint64_t page)
{
	uint64_t value = 0;

	check(soft_load(my_cpu(), page_gpa(page), &value) == FAULT_FIXED);
	return value;
}

void guest_leaves(void) { soft_leave(my_cpu()); }

void store_seven(void)
{
	guest_stores(0, 7);
	guest_leaves();
}

void migrate_first(void)
{
	uint64_t moved;

	check(space_migrate(world.space, page_hva(0), PAGE_SIZE, &moved) == STATUS_OK);
}

uint64_t process_loads(uint64_t page)
{
	uint64_t value = 0;

	check(space_read(world.space, page_hva(page), &value, sizeof(value)) == STATUS_OK);
	return value;
}

/* ------------------------------------------------------------------ the end */

void world_verify(void)
{
	ept_verify(world.ept);
	space_verify(world.space);
	host_verify(world.host);
	ept_destroy(world.ept);
	space_destroy(world.space);
	if (world.host->swap)
		check(host_swap_off(world.host) == STATUS_OK);
	if (world.file)
		check(file_destroy(world.file) == STATUS_OK);
	if (world.store)
		ram_store_destroy(world.store);
	if (page_count_free(world.host) != world.pages_free)
		port_panic("%lu pages are still in use after everything was torn down",
			   world.pages_free - page_count_free(world.host));
}

void verify_seven(void)
{
	check(process_loads(0) == 7);
	world_verify();
}

void sync_file(void) { check(file_sync(world.file) == STATUS_OK); }

static uint64_t in_store(void)
{
	struct store *store = ram_store_of(world.store);
	uint64_t value = 0, done;

	check(store->ops->read(store, 0, &value, sizeof(value), &done) == STATUS_OK);
	return value;
}

void verify_written_back(void)
{
	check(process_loads(0) == 7);
	sync_file();
	check(in_store() == 7);
	world_verify();
}

void process_writes_behind(void)
{
	uint64_t value = 8;

	check(space_write(world.space, hva_add(page_hva(0), 8), &value, sizeof(value)) ==
	      STATUS_OK);
}

void verify_seven_and_eight(void)
{
	uint64_t words[2] = { 0 };

	check(space_read(world.space, page_hva(0), words, sizeof(words)) == STATUS_OK);
	check(words[0] == 7 && words[1] == 8);
	world_verify();
}

/* ------------------------------------------------------------------ names */

struct field { size_t offset, bytes; const char *name; };
#define FIELD(type, path) { __builtin_offsetof(type, path), sizeof(((type *)0)->path), #path }

static const struct field ept_fields[] = {
	FIELD(struct ept, lock.readers), FIELD(struct ept, lock.writers.next),
	FIELD(struct ept, lock.writers.serving), FIELD(struct ept, sequence),
	FIELD(struct ept, brackets), FIELD(struct ept, bracket_start),
	FIELD(struct ept, bracket_end), FIELD(struct ept, notice.generation),
	FIELD(struct ept, cpus_entered),
};
static const struct field space_fields[] = {
	FIELD(struct space, lock.readers), FIELD(struct space, lock.writers.next),
	FIELD(struct space, lock.writers.serving),
};
static const struct field host_fields[] = {
	FIELD(struct host, lock.next), FIELD(struct host, lock.serving),
};

static bool name_field(const void *address, const char *prefix, const void *base,
		       const struct field *fields, size_t count, char *name, size_t bytes)
{
	uint64_t offset = (uint64_t)address - (uint64_t)base;

	for (size_t i = 0; i < count; i++)
		if (offset - fields[i].offset < fields[i].bytes) {
			snprintf(name, bytes, "%s.%s", prefix, fields[i].name);
			return true;
		}
	return false;
}

static bool name_folio(const void *address, char *name, size_t bytes)
{
	const struct section *section = &world.host->sections[0];
	uint64_t offset = (uint64_t)address - (uint64_t)section->folios;
	uint64_t frame = offset / sizeof(struct folio);
	static const char *const fields[] = { "flags", "refcount", "file", "index", "mapcount",
					      "next", "previous" };

	if (frame < section->first || frame - section->first >= section->count)
		return false;
	snprintf(name, bytes, "folio[0x%lx].%s", frame, fields[offset % sizeof(struct folio) / 4]);
	return true;
}

#define NAME_FIELDS(prefix, base, fields)                                           \
	name_field(address, prefix, base, fields, sizeof(fields) / sizeof(*(fields)), name, bytes)

bool world_name(const void *address, char *name, size_t bytes)
{
	for (unsigned i = 0; i < EXPLORE_ACTORS; i++) {
		if (address == &world.ept->cpus[i].visitor.presence)
			return snprintf(name, bytes, "ept.cpus[%u].presence", i) > 0;
		if (address == &world.cpus[i].kicked)
			return snprintf(name, bytes, "cpu %u kicked", i) > 0;
	}
	if (NAME_FIELDS("ept", world.ept, ept_fields) ||
	    NAME_FIELDS("space", world.space, space_fields) ||
	    NAME_FIELDS("host", world.host, host_fields) || name_folio(address, name, bytes))
		return true;
	if ((uint64_t)address - DIRECT_MAP >= RAM_END)
		return false;
	snprintf(name, bytes, "frame 0x%lx[%lu]", ptr_to_pfn(address).raw,
		 ((uint64_t)address & ~PAGE_MASK) >> 3);
	return true;
}
