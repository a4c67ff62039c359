"""Mutants of entries where no region stands: part of the named list (named.py)."""
from mutant import Mutant

MMIO = "unit/ept_mmio:"
OUTDATE = "mmio_outdate(ept);"
INSTALL = "mmio_install(ept, frame);"
FILLED = "if (!spte_is_mmio(*found))"
HERE = "if (spte_is_mmio(walk.old) && mmio_is_current(ept, walk.old))"
SOUND = "else if (walk.old.bits & SPTE_RIGHTS && spte_fault(walk.old, walk.level))"

NOTHING = [
    Mutant("mmio-never-made", "ept/fault.c", INSTALL, "",
           "U26: nothing is found without a lock the second time",
           MMIO + "u26_answered_without_a_lock"),
    Mutant("mmio-readable", "ept/spte.h",
           "return (spte_t){ SPTE_W | SPTE_X | (~(generation << PAGE_SHIFT) & SPTE_FRAME) };",
           "return (spte_t){ SPTE_R | SPTE_W | (~(generation << PAGE_SHIFT) & SPTE_FRAME) };",
           "U26: to the processor it is misconfigured", MMIO + "format",
           runs_in=("tests/unit/ept_mmio.c",)),
    Mutant("mmio-frame-seen", "ept/spte.h",
           "return (spte_t){ SPTE_W | SPTE_X | (~(generation << PAGE_SHIFT) & SPTE_FRAME) };",
           "return (spte_t){ SPTE_W | SPTE_X | (generation << PAGE_SHIFT & SPTE_FRAME) };",
           "what looks like a frame is no memory", MMIO + "format",
           also=("static inline uint64_t spte_generation(spte_t s) "
                 "{ return (~s.bits & SPTE_FRAME) >> PAGE_SHIFT; }",
                 "static inline uint64_t spte_generation(spte_t s) "
                 "{ return (s.bits & SPTE_FRAME) >> PAGE_SHIFT; }"),
           runs_in=("tests/unit/ept_mmio.c",)),
    Mutant("mmio-for-ever", "ept/region.c", OUTDATE, "",
           "U26: a region makes the entries out of date",
           MMIO + "u26_out_of_date_when_a_region_comes"),
    Mutant("explored-mmio-for-ever", "ept/region.c", OUTDATE, "",
           "U26: nobody finds nothing once the region has come", "explore/mmio_add"),
    Mutant("explored-mmio-outdated-too-soon", "ept/region.c", OUTDATE, "",
           "U26: the generation moves with the region, under one lock", "explore/mmio_made_add",
           also=("return memfd_is(region->backing) ? STATUS_BAD_RANGE "
                 ": region_insert(ept, region);",
                 "atomic_add(&ept->region_generation, 1); "
                 "return memfd_is(region->backing) ? STATUS_BAD_RANGE "
                 ": region_insert(ept, region);")),
    Mutant("explored-mmio-made-unlocked", "ept/mmio.c",
           "ept_fill_entry(ept, at.slot, at.level, spte_make_mmio(generation), &found))",
           "(read_unlock(&ept->lock), read_lock(&ept->lock), true) && "
           "ept_fill_entry(ept, at.slot, at.level, "
           "spte_make_mmio(atomic_read(&ept->region_generation)), &found))",
           "U26: by the generation of the lock under which no region was found",
           "explore/mmio_made_add"),
    Mutant("mmio-believed-always", "ept/mmio.c", HERE, "if (spte_is_mmio(walk.old))",
           "U26: one that is out of date goes the slow way", MMIO + "u26_replaced_by_a_leaf"),
    Mutant("explored-mmio-believed-always", "ept/mmio.c", HERE, "if (spte_is_mmio(walk.old))",
           "U26: one that is out of date goes the slow way", "explore/mmio_add"),
    Mutant("mmio-never-believed", "ept/mmio.c", HERE, "if (false)",
           "U26: without a lock", MMIO + "u26_answered_without_a_lock"),
    Mutant("mmio-in-the-way", "ept/change.h", FILLED, "", "U8: an entry there is replaced",
           MMIO + "u26_filled_by_a_fault", within="ept_fill_entry"),
    Mutant("mmio-no-neighbour", "ept/prefetch.c",
           "if (walk.level == LEVEL_4K && !spte_present(walk.old))",
           "if (walk.level == LEVEL_4K && !walk.old.bits)", "a neighbour takes its place",
           MMIO + "u26_replaced_by_neighbours"),
    Mutant("mmio-stays", "ept/mmio.c", "ept_forget_mmio(walk.slot, walk.old);", "",
           "U26: one that is out of date goes", MMIO + "u26_out_of_date_says_nothing"),
    Mutant("explored-mmio-emptied-blindly", "ept/change.h",
           "(void)slot_cmpxchg(slot, &old, spte_empty());",
           "(void)slot_xchg(slot, (old = spte_empty()));",
           "U26: only what was read is emptied", "explore/mmio_two_fill"),
    Mutant("mmio-over-a-region", "ept/mmio.c", "if (!region_overlaps(ept, &place) &&", "if (",
           "U26: nothing is in all that the entry translates", MMIO + "u26_none_over_a_region"),
    Mutant("mmio-over-one-that-leaves", "ept/region.c", "return leave_overlaps(ept, region);",
           "return false;", "U26: nor what may come back", MMIO + "u26_none_over_a_region"),
    Mutant("mmio-of-another-address", "ept/mmio.c",
           "if (frame.raw >= GUEST_FRAMES || generation == SPTE_GENERATION_LAST)",
           "if (generation == SPTE_GENERATION_LAST)",
           "an address that no table translates has no entry", MMIO + "u26_none_over_a_region"),
    Mutant("mmio-of-the-last-generation", "ept/mmio.c",
           "if (frame.raw >= GUEST_FRAMES || generation == SPTE_GENERATION_LAST)",
           "if (frame.raw >= GUEST_FRAMES)",
           "U26: none is made that could outlive its generation",
           MMIO + "u26_no_generation_comes_twice"),
    Mutant("mmio-generation-wraps", "ept/mmio.h",
           "if (atomic_read(&ept->region_generation) < SPTE_GENERATION_LAST)", "if (true)",
           "U26: the last generation stays", MMIO + "u26_no_generation_comes_twice"),
    Mutant("mmio-is-a-table", "ept/leave.c", "if (spte_is_mmio(walk->old))", "if (false)",
           "a region that leaves has no table there", MMIO + "u26_regions_leave_them"),
    Mutant("mmio-misconfigured", "ept/mmio.c", SOUND, "else if (false)",
           "what is wrong is told from what is ours", MMIO + "u26_a_true_misconfiguration"),
    Mutant("mmio-empty-misconfigured", "ept/mmio.c", SOUND,
           "else if (spte_fault(walk.old, walk.level))",
           "what is nothing to a processor is not wrong", MMIO + "u26_changed_since_the_exit"),
    Mutant("explored-mmio-unseen-walk", "ept/mmio.c", "walk_enter(ept, cpu);", "",
           "a table is not freed under a look without the lock", "explore/mmio_table_goes",
           also=("walk_leave(cpu);", "")),
    Mutant("mmio-unverified", "ept/verify.c",
           "if (mmio_is_current(ept, walk->old) && region_overlaps(ept, &place))", "if (false)",
           "U26: none that is up to date over a region", "unit/ept_verify:u26_mmio_over_a_region"),
    Mutant("mmio-any-bits", "ept/spte.c",
           "if (spte_is_mmio(s))", "if (spte_is_mmio(s)) return NULL; if (false)",
           "it has a generation and no more", "unit/ept_verify:mmio_format"),
]
