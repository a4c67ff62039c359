/* Worlds of agree.h, and the judgement on what came of them. No processor is known here. */
#include "tests/host/agree.h"

#include "mm/base/check.h"

enum { ENTRIES = 512, LOW_PAGES = 64, FIRST_PAGE = 32 };

#define RWX        UINT64_C(7)
#define WRITE_BACK (UINT64_C(6) << 3)
#define LEAF       (UINT64_C(1) << 7)
#define EPT_A      (UINT64_C(1) << 8)
#define EPT_D      (UINT64_C(1) << 9)
#define EPTP_FLAGS (UINT64_C(1) << 6)
#define GUEST_LINK UINT64_C(0x27)	/* present, writable, user, accessed */
#define GUEST_PAGE UINT64_C(0x67)	/* and dirty */
#define GUEST_PS   UINT64_C(0x80)
#define GUEST_AD   UINT64_C(0x60)

/* The eight pages of tables: the root, levels 3, 2, 1 of low memory, levels 3, 2, 1 of AT. */
static uint64_t *table(const struct agree_world *world, unsigned n)
{
	return world->tables + (uint64_t)n * ENTRIES;
}
static uint64_t *low_table(const struct agree_world *world, unsigned level)
{
	return table(world, 4 - level);
}
static uint64_t *tested_table(const struct agree_world *world, unsigned level)
{
	return level == 4 ? table(world, 0) : table(world, 7 - level);
}

static uint64_t raw(const void *pointer) { return ptr_to_hpa(pointer).raw; }

static uint8_t *page_at(const struct agree_world *world, unsigned page)
{
	return world->memory + (FIRST_PAGE + page) * PAGE_SIZE;
}

static uint64_t *word_at(const struct agree_world *world, uint64_t address)
{
	return (uint64_t *)(void *)(world->memory + address);
}

static unsigned leaf_level(const struct agree_case *what)
{
	if (what->flags & AGREE_1G)
		return LEVEL_1G;
	return what->flags & AGREE_2M ? LEVEL_2M : LEVEL_4K;
}

gpa_t agree_gpa(const struct agree_world *world, unsigned page)
{
	unsigned level = leaf_level(world->what);

	if (level == LEVEL_4K)
		return gpa(AGREE_AT + page * PAGE_SIZE);
	return gpa(AGREE_AT + (raw(page_at(world, page)) & (level_bytes(level) - 1)));
}

uint64_t *agree_entry(const struct agree_world *world, enum agree_place place, unsigned level,
		      unsigned page)
{
	unsigned index = level == LEVEL_4K ? page : 0;

	if (place == AGREE_EPT)
		return tested_table(world, level) + (level == 4 ? 1 : index);
	if (level == 4)
		return word_at(world, AGREE_TABLES + 8);
	return (uint64_t *)(void *)page_at(world, 11 - level) + index;
}

bool agree_can(const struct agree_world *world, const struct agree_case *what)
{
	if (!(what->flags & AGREE_PLAIN) && !world->accessed_dirty)
		return false;
	if (what->flags & AGREE_LOG && !world->pml)
		return false;
	if (what->flags & (world->execute_only ? AGREE_NO_EXECUTE_ONLY : AGREE_EXECUTE_ONLY))
		return false;
	for (unsigned i = 0; i < AGREE_PATCHES; i++)
		if (what->patches[i].beyond && world->physical_bits >= 52)
			return false;
	return world->physical_bits >= 40 && leaf_level(what) <= world->max_level;
}

/* ------------------------------------------------------------------ building */

static void build_low_ept(struct agree_world *world)
{
	*table(world, 0) = raw(low_table(world, 3)) | RWX | EPT_A;
	*low_table(world, 3) = raw(low_table(world, 2)) | RWX | EPT_A;
	*low_table(world, 2) = raw(low_table(world, 1)) | RWX | EPT_A;
	for (unsigned i = 0; i < LOW_PAGES; i++)
		low_table(world, 1)[i] = (raw(world->memory) + i * PAGE_SIZE) | RWX | WRITE_BACK |
					 EPT_A | EPT_D;
	for (unsigned level = 3; level >= 1; level--)
		low_table(world, 1)[LOW_PAGES + 3 - level] = raw(tested_table(world, level)) | RWX |
							     WRITE_BACK | EPT_A | EPT_D;
}

static void build_tested_ept(struct agree_world *world)
{
	unsigned leaf = leaf_level(world->what);
	uint64_t inside = level_bytes(leaf) - 1;

	for (unsigned level = 4; level > leaf; level--)
		*agree_entry(world, AGREE_EPT, level, 0) =
			raw(tested_table(world, level - 1)) | RWX;
	if (leaf > LEVEL_4K)
		*agree_entry(world, AGREE_EPT, leaf, 0) = (raw(world->memory) & ~inside) | RWX |
							  WRITE_BACK | LEAF;
	else
		for (unsigned i = 0; i < AGREE_PAGES; i++)
			*agree_entry(world, AGREE_EPT, 1, i) = raw(page_at(world, i)) | RWX |
							       WRITE_BACK;
}

/* Low memory by pages of 2 MiB; AT by pages of 1 GiB, or by the tables of pages 8 to 10. */
static void build_guest_tables(struct agree_world *world)
{
	*word_at(world, AGREE_TABLES) = (AGREE_TABLES + PAGE_SIZE) | GUEST_LINK;
	*word_at(world, AGREE_TABLES + PAGE_SIZE) = (AGREE_TABLES + 2 * PAGE_SIZE) | GUEST_LINK;
	for (uint64_t i = 0; i < ENTRIES; i++) {
		*word_at(world, AGREE_TABLES + 2 * PAGE_SIZE + i * 8) =
			i << 21 | GUEST_PAGE | GUEST_PS;
		*word_at(world, AGREE_TABLES + 3 * PAGE_SIZE + i * 8) =
			(AGREE_AT + (i << 30)) | GUEST_PAGE | GUEST_PS;
	}
	*word_at(world, AGREE_TABLES + 8) = (AGREE_TABLES + 3 * PAGE_SIZE) | GUEST_LINK;
	if (!(world->what->flags & AGREE_PAGING))
		return;
	for (unsigned level = 4; level > 1; level--)
		*agree_entry(world, AGREE_GUEST, level, 0) =
			(AGREE_AT + (12 - level) * PAGE_SIZE) | GUEST_LINK;
	for (unsigned i = 0; i < AGREE_PAGES; i++)
		*agree_entry(world, AGREE_GUEST, 1, i) = (AGREE_AT + i * PAGE_SIZE) | GUEST_PAGE;
}

static void fill_page(struct agree_world *world, unsigned page, uint64_t value)
{
	uint64_t *words = (uint64_t *)(void *)page_at(world, page);

	for (unsigned i = 0; i < ENTRIES; i++)
		words[i] = value;
}

void agree_build(struct agree_world *world, const struct agree_case *what)
{
	world->what = what;
	for (unsigned i = 0; i < 8 * ENTRIES; i++)
		world->tables[i] = 0;
	for (unsigned i = 0; i < ENTRIES; i++)
		world->log[i] = 0;
	for (unsigned page = 0; page < AGREE_PAGES; page++) {
		bool is_table = what->flags & AGREE_PAGING && page >= 8 && page < 11;

		fill_page(world, page, is_table ? 0 : AGREE_RETURNS);
	}
	build_low_ept(world);
	build_tested_ept(world);
	build_guest_tables(world);
	for (unsigned i = 0; i < AGREE_PATCHES && what->patches[i].place; i++) {
		const struct agree_patch *patch = &what->patches[i];
		uint64_t *entry = agree_entry(world, patch->place, patch->level, patch->page);

		*entry = (*entry & ~patch->clear) | patch->set;
		if (patch->beyond)
			*entry |= UINT64_C(1) << world->physical_bits;
	}
	world->eptp = raw(world->tables) | 6 | 3 << 3 |
		      (what->flags & AGREE_PLAIN ? 0 : EPTP_FLAGS);
}

/* ------------------------------------------------------------------ judging */

static uint64_t read_word(const uint64_t *word)
{
	return atomic_read((const atomic64_t *)(const void *)word);
}

static uint64_t found(const struct agree_world *world, const struct agree_seen *seen,
		      const struct agree_claim *claim)
{
	switch (claim->subject) {
	case AGREE_EXIT: return seen->exit.kind;
	case AGREE_QUALIFICATION: return seen->exit.qualification;
	case AGREE_ADDRESS: return seen->exit.address.raw;
	case AGREE_LINEAR: return seen->exit.linear;
	case AGREE_EPT_FLAGS:
		return read_word(agree_entry(world, AGREE_EPT, claim->which, claim->page)) &
		       (EPT_A | EPT_D);
	case AGREE_GUEST_FLAGS:
		return read_word(agree_entry(world, AGREE_GUEST, claim->which, claim->page)) &
		       GUEST_AD;
	case AGREE_LOGGED:
	case AGREE_NOT_LOGGED: return read_word(&world->log[claim->which]);
	case AGREE_INDEX: return seen->index;
	case AGREE_WORD: return read_word((uint64_t *)(void *)page_at(world, claim->page));
	case AGREE_LOADED: return seen->loaded[claim->which];
	case AGREE_NOTHING: break;
	}
	return 0;
}

static uint64_t wanted(const struct agree_world *world, const struct agree_claim *claim)
{
	bool address = claim->subject == AGREE_ADDRESS || claim->subject == AGREE_LINEAR ||
		       claim->subject == AGREE_LOGGED;

	return claim->wanted + (address ? agree_gpa(world, claim->page).raw : 0);
}

static bool name_matches(const char *name, const char *pattern)
{
	while (*pattern && *pattern != '*' && *name == *pattern) {
		name++;
		pattern++;
	}
	return *pattern == '*' || *name == *pattern;
}

static bool is_excused(const char *name, enum agree_subject subject, uint64_t differs,
		       struct agree_tally *tally)
{
	bool excused = false;

	for (unsigned i = 0; i < agree_erratum_count; i++) {
		const struct agree_erratum *erratum = &agree_errata[i];
		bool met = differs && (erratum->differs == differs ||
				       erratum->differs == AGREE_ANYHOW);

		if (erratum->subject != subject || !name_matches(name, erratum->name))
			continue;
		tally->asked[i]++;
		tally->met[i] += met;
		excused |= met;
	}
	return excused;
}

void agree_judge(const struct agree_world *world, const struct agree_seen *seen, bool errata,
		 struct agree_tally *tally)
{
	static const char *const subjects[] = {
		"nothing", "exit", "qualification", "guest-physical address", "linear address",
		"EPT flags", "guest flags", "log", "place in the log", "index", "word",
			"loaded word" };
	const struct agree_case *what = world->what;

	tally->cases++;
	for (unsigned i = 0; i < AGREE_CLAIMS && what->claims[i].subject; i++) {
		const struct agree_claim *claim = &what->claims[i];
		uint64_t is = found(world, seen, claim), should = wanted(world, claim);
		uint64_t differs = (is ^ should) & ~claim->free;
		bool excused = errata && is_excused(what->name, claim->subject, differs, tally);

		tally->claims++;
		tally->agreed += !differs;
		tally->excused += differs && excused;
		tally->wrong += differs && !excused;
		if (differs && !excused)
			tally->say("# agree: %s: %s (%u, page %u) is 0x%llx, the SDM says 0x%llx\n",
				   what->name, subjects[claim->subject], claim->which, claim->page,
				   (unsigned long long)is, (unsigned long long)should);
	}
}

/* One line for each fault. True when a claim that it should touch is met after all. */
static bool report_errata(const struct agree_tally *tally)
{
	bool gone = false;

	for (unsigned i = 0, next; i < agree_erratum_count; i = next) {
		unsigned met = 0, asked = 0, unmet = 0;

		for (next = i; next < agree_erratum_count &&
			       agree_errata[next].why == agree_errata[i].why; next++) {
			asked += tally->asked[next];
			met += tally->met[next];
			unmet += tally->asked[next] && !tally->met[next];
		}
		if (asked)
			tally->say("# erratum %s, %u assertions: %s\n", unmet ? "NOT met" : "met",
				   met, agree_errata[i].why);
		gone |= unmet;
	}
	return gone;
}

bool agree_report(const struct agree_tally *tally, const char *whose)
{
	bool gone;

	tally->say("# stat agree_%s_assertions %u assertions\n", whose, tally->claims);
	tally->say("# stat agree_%s_agreed %u assertions\n", whose, tally->agreed);
	tally->say("# agree: %u cases, %u left out for want of a feature; %u assertions: "
		   "%u agreed, %u by errata, %u wrong\n", tally->cases, tally->left_out,
		   tally->claims, tally->agreed, tally->excused, tally->wrong);
	gone = report_errata(tally);
	/* A processor without any of them is another one. */
	return !tally->wrong && !(tally->excused && gone);
}
