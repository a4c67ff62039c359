/*
 * Marks by policy, against who consumes them. S49: by the policy ZAP only the guest's leaf knows
 * that it was stored by, until that goes: in a bracket's start, before who opened it asks. The same
 * by MAP is in race_file.c, race_lazyfree.c, race_reclaim.c.
 */
#include "mm/lru.h"
#include "tests/explore/world.h"

/* The leaves made so far go, and the region comes again. */
static void choose_policy(enum ept_policy policy, uint64_t pages)
{
	struct region region = { .pages = pages, .backing = hva(WORLD_BACKING),
				 .rights = REGION_READ_WRITE, .max_level = LEVEL_4K };

	check(ept_region_remove(world.ept, gfn(0)) == STATUS_OK);
	ept_set_policy(world.ept, policy);
	check(ept_region_add(world.ept, &region) == STATUS_OK);
}

static void choose_zap(uint64_t pages) { choose_policy(EPT_POLICY_ZAP, pages); }

static bool clean_in_host(void) NOT_CHECKED
{
	pte_t pte = table_find(world.space, WORLD_BACKING).pte;

	return !pte_dirty(pte) && !folio_dirty(world.host, pte_frame(pte));
}

/* ------------------------------------------------------------------ writeback */

static void open_file(void)
{
	world_open_file(1, SHARING_SHARED);
	choose_zap(1);
	guest_stores(0, 5);
	guest_leaves();
}

SCENARIO(zap_writeback,
	 .rule = "marked by what goes, a store is in what is written, or dirty again (S49)",
	 .setup = open_file, .actors = { store_seven, sync_file }, .verify = verify_written_back,
	 .name_word = world_name);

/* ---------------------------------- reclaim of a page given away */

static void open_given(void)
{
	world_open_touched(1, 5);
	lru_drain(world.host);
	choose_zap(1);
	check(space_lazyfree(world.space, page_hva(0), PAGE_SIZE) == STATUS_OK);
}

/* And stored to since: nobody but the leaf says so. */
static void open_stored(void)
{
	open_given();
	guest_stores(0, 6);
	guest_leaves();
	check(clean_in_host());
}

static void page_out(void)
{
	uint64_t freed;

	check(space_page_out(world.space, page_hva(0), PAGE_SIZE, &freed) == STATUS_OK);
}

/* Who looks for pages to free does it once more; then the content says it. */
static void verify_kept(void)
{
	page_out();
	check(process_loads(0) == 7);
	world_verify();
}

SCENARIO(zap_reclaim, .rule = "what a leaf knows is told before dirty is judged (S45, S49)",
	 .setup = open_given, .actors = { store_seven, page_out }, .verify = verify_kept,
	 .name_word = world_name);

SCENARIO(zap_reclaim_leaf,
	 .rule = "a leaf that stands tells of every store by it when it goes (S49)",
	 .setup = open_stored, .actors = { store_seven, page_out }, .verify = verify_kept,
	 .name_word = world_name);

/* ------------------------------------------------------------------ an EPT that ends */

static struct { struct ept *ept; struct soft_cpu cpu; } going;

/* Of a second guest of the same memory. The first one's leaf is not there. */
static void open_going(void)
{
	struct ept_caps caps = { .max_level = LEVEL_4K, .accessed_dirty = true };
	struct region region = { .pages = 1, .backing = hva(WORLD_BACKING),
				 .rights = REGION_READ_WRITE, .max_level = LEVEL_4K };

	open_given();
	check(ept_create(world.space, &caps, &going.ept) == STATUS_OK);
	ept_set_policy(going.ept, EPT_POLICY_ZAP);
	check(ept_region_add(going.ept, &region) == STATUS_OK);
	soft_cpu_init(&going.cpu, going.ept);
	check(soft_store(&going.cpu, page_gpa(0), 7) == FAULT_FIXED);
	soft_leave(&going.cpu);
	check(clean_in_host());
}

static void destroy_ept(void) { ept_destroy(going.ept); }

SCENARIO(zap_ept_goes, .rule = "an EPT that ends has told before it stops to listen (S49)",
	 .setup = open_going, .actors = { destroy_ept, page_out }, .verify = verify_kept,
	 .name_word = world_name);

/* ------------------------------------------------------------------ the others */

/*
 * By BATCH the mark waits for the end of the range, before start returns; by PTE there is none, and
 * the process's own entry says it. RFC's dirty marks are MAP's.
 */
static void open_file_by(enum ept_policy policy)
{
	world_open_file(1, SHARING_SHARED);
	choose_policy(policy, 1);
	guest_stores(0, 5);
	guest_leaves();
}

static void open_given_by(enum ept_policy policy)
{
	world_open_touched(1, 5);
	lru_drain(world.host);
	choose_policy(policy, 1);
	check(space_lazyfree(world.space, page_hva(0), PAGE_SIZE) == STATUS_OK);
}

static void open_file_batch(void) { open_file_by(EPT_POLICY_BATCH); }
static void open_file_rfc(void) { open_file_by(EPT_POLICY_RFC); }
static void open_file_pte(void) { open_file_by(EPT_POLICY_PTE); }
static void open_given_batch(void) { open_given_by(EPT_POLICY_BATCH); }
static void open_given_rfc(void) { open_given_by(EPT_POLICY_RFC); }
static void open_given_pte(void) { open_given_by(EPT_POLICY_PTE); }

SCENARIO(batch_writeback, .rule = "BATCH: a store is in what is written, or dirty again (S49)",
	 .setup = open_file_batch, .actors = { store_seven, sync_file },
	 .verify = verify_written_back, .name_word = world_name);
SCENARIO(rfc_writeback, .rule = "RFC: a store is in what is written, or dirty again (S49)",
	 .setup = open_file_rfc, .actors = { store_seven, sync_file },
	 .verify = verify_written_back, .name_word = world_name);
SCENARIO(pte_writeback, .rule = "PTE: a store is in what is written, or dirty again (S23, S52)",
	 .setup = open_file_pte, .actors = { store_seven, sync_file },
	 .verify = verify_written_back, .name_word = world_name);
SCENARIO(batch_reclaim,
	 .rule = "BATCH: what a leaf knows is told before dirty is judged (S45, S49)",
	 .setup = open_given_batch, .actors = { store_seven, page_out }, .verify = verify_kept,
	 .name_word = world_name);
SCENARIO(rfc_reclaim, .rule = "RFC: a lazyfree page that a guest writes is not thrown away (S45)",
	 .setup = open_given_rfc, .actors = { store_seven, page_out }, .verify = verify_kept,
	 .name_word = world_name);
SCENARIO(pte_reclaim, .rule = "PTE: the process's entry says that a guest has written (S22, S45)",
	 .setup = open_given_pte, .actors = { store_seven, page_out }, .verify = verify_kept,
	 .name_word = world_name);
