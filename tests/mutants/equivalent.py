"""Sampled changes that no test can tell from the original, each with its reason.

`old` and `new` are what `make mutants ALL=1` printed for the survivor.
"""
from mutant import Equivalent

EITHER = "Where the two are equal, either is the answer."
ONE_SPACE = ("A folio is mapped by one space, and who changes its mapcount holds that space's lock "
             "exclusively.")
READERS_LOCKED = ("ept->lock is held exclusively, and who reads the sequence holds it shared: what "
                  "is read afterwards is more than was read before, whichever brackets ended "
                  "meanwhile, and a fault that begins afterwards looks up what they left.")
TWO_CHECKS = "Two checks without effects: what breaks one of them panics, whichever is first."

EQUIVALENT = [
    Equivalent("ept/fault.c",
               "unsigned most = page->level < ept->caps.max_level ? page->level : "
               "ept->caps.max_level;",
               "unsigned most = page->level <= ept->caps.max_level ? page->level : "
               "ept->caps.max_level;",
               EITHER),
    Equivalent("ept/fault.c",
               "plan.leaf = spte_make_leaf(pfn(page->frame.raw & ~inside), page->writable && "
               "fault->region->rights == REGION_READ_WRITE); plan.hva_start = "
               "region_hva(fault->region, plan.start);",
               "plan.hva_start = region_hva(fault->region, plan.start); plan.leaf = "
               "spte_make_leaf(pfn(page->frame.raw & ~inside), page->writable && "
               "fault->region->rights == REGION_READ_WRITE);",
               "Two fields of a local struct, of which neither is made from the other."),
    Equivalent("ept/fault.c",
               "atomic_add(&ept->sequence, 1);",
               "atomic_write(&ept->sequence, atomic_read(&ept->sequence) + (1));",
               READERS_LOCKED),
    Equivalent("ept/lifecycle.c",
               "notifier_register(space, &ept->notifier); *out = ept;",
               "*out = ept; notifier_register(space, &ept->notifier);",
               "*out is the caller's, who reads it when ept_create has returned."),
    Equivalent("ept/lifecycle.c",
               "write_unlock(&ept->lock); ept_table_drain(ept);",
               "ept_table_drain(ept); write_unlock(&ept->lock);",
               "Nobody has the EPT any more: its stores of tables need no lock, and freeing may "
               "take host->lock inside ept->lock."),
    Equivalent("ept/lifecycle.c",
               "ept_table_drain(ept); ept_table_free(ept, ept->root);",
               "ept_table_free(ept, ept->root); ept_table_drain(ept);",
               "Nobody has the EPT any more: pages go back in one order or the other."),
    Equivalent("ept/leave.c",
               "atomic_add(&ept->sequence, 1);",
               "atomic_write(&ept->sequence, atomic_read(&ept->sequence) + (1));",
               READERS_LOCKED),
    Equivalent("mm/folio.c",
               "atomic_add(&folio_of(host, frame)->mapcount, 1);",
               "atomic_write(&folio_of(host, frame)->mapcount, atomic_read(&folio_of(host, "
               "frame)->mapcount) + (1));",
               ONE_SPACE),
    Equivalent("mm/lookup.c",
               "if (address.raw >= SPACE_END)",
               "if (address.raw > SPACE_END)",
               "No VMA reaches SPACE_END: the walk finds an empty entry there, and the answer "
               "is the same."),
    Equivalent("mm/page.c",
               "spin_lock(&host->lock); while (start.raw < end.raw) { unsigned order = 0; /* "
               "The largest block that is aligned here and ends inside. */ while (order < "
               "ORDER_MAX && !(start.raw & ((UINT64_C(2) << order) - 1)) && start.raw + "
               "(UINT64_C(2) << order) <= end.raw) order++; give_block(host, start, order); "
               "start = pfn_add(start, UINT64_C(1) << order); } spin_unlock(&host->lock);",
               "; while (start.raw < end.raw) { unsigned order = 0; /* The largest block that "
               "is aligned here and ends inside. */ while (order < ORDER_MAX && !(start.raw & "
               "((UINT64_C(2) << order) - 1)) && start.raw + (UINT64_C(2) << order) <= end.raw) "
               "order++; give_block(host, start, order); start = pfn_add(start, UINT64_C(1) << "
               "order); } ;",
               "Only host_create calls it, before anybody else knows the host. The lock is what "
               "the functions that it calls demand."),
    Equivalent("mm/table.c",
               "atomic_or(&folio->flags, FOLIO_TABLE);",
               "atomic_write(&folio->flags, atomic_read(&folio->flags) | (FOLIO_TABLE));",
               "The page was just allocated: nobody else knows it."),
    Equivalent("mm/table.c",
               "atomic_or(&folio->flags, FOLIO_TABLE); folio->entries = 0;",
               "folio->entries = 0; atomic_or(&folio->flags, FOLIO_TABLE);",
               "The page was just allocated: nobody else knows it."),
    Equivalent("mm/table.c",
               "atomic_xchg(parent.slot, pte_empty().bits);",
               "atomic_write(parent.slot, pte_empty().bits);",
               "What stood there is not used, and the store has left its buffer before the "
               "table can be used again: the put of its reference is a locked operation."),
    Equivalent("mm/table.c",
               "atomic_add(&folio->mapcount, 512);",
               "atomic_write(&folio->mapcount, atomic_read(&folio->mapcount) + (512));",
               ONE_SPACE),
    Equivalent("mm/verify.c",
               "check(folio->entries == entries); check(entries || level == ROOT_LEVEL);",
               "check(entries || level == ROOT_LEVEL); check(folio->entries == entries);",
               TWO_CHECKS),
    Equivalent("mm/verify.c",
               "check(!(pte_frame(pte).raw & (frames - 1))); check(order >= "
               "level_order(walk->place.level));",
               "check(order >= level_order(walk->place.level)); check(!(pte_frame(pte).raw & "
               "(frames - 1)));",
               TWO_CHECKS),
]
