"""Mutants of when a folio is marked: part of the named list (named.py)."""
from mutant import Mutant

POLICY, TRANSFER, PAIR = "unit/ept_policy:", "unit/ept_transfer:", "unit/mm_pair:"
ZAP_REGION = "batch = zap_region(ept, &ept->regions[i], range, batch);"
# The frame that the guest has stored to: its leaf is the first one.
STORED = ("struct ept_walk walk = ept_walk_begin(ept, gfn(0), 1); while (ept_walk_next(&walk)) "
          "if (spte_is_leaf(walk.old) && spte_dirty(walk.old)) ")
# A word that no scenario uses, to remember it by until the bracket's end.
LATER = "ept->regions[REGIONS_MAX - 1].start"

POLICIES = [
    Mutant("zap-marks-nothing", "ept/change.c",
           "propagate_taken(ept, old, SPTE_A | SPTE_D);", "",
           "S34, I4: a leaf that goes has told of its stores",
           TRANSFER + "s34_told_before_a_bracket_has_begun"),
    Mutant("zap-protects-unmarked", "ept/change.c",
           "propagate_taken(ept, old, SPTE_WRITE_BITS);", "",
           "S34, I4: a leaf that loses D has told of its stores",
           TRANSFER + "s34_told_by_leaves_that_stay"),
    Mutant("zap-leaves-kept", "ept/notify.c", ZAP_REGION, "",
           "S34, I4: no leaf has W in a bracket whose start has returned",
           TRANSFER + "s34_told_before_a_bracket_has_begun"),
    Mutant("zap-marks-at-map", "ept/change.c",
           "[EPT_POLICY_ZAP] = { .zap = SPTE_A | SPTE_D },",
           "[EPT_POLICY_ZAP] = { .map = SPTE_A | SPTE_D, .zap = SPTE_A | SPTE_D },",
           "S1: by ZAP a fault marks nothing", POLICY + "s1_marked_when_the_leaf_goes"),
    Mutant("map-marks-at-zap", "ept/change.c",
           "[EPT_POLICY_MAP] = { .map = SPTE_A | SPTE_D },",
           "[EPT_POLICY_MAP] = { .map = SPTE_A | SPTE_D, .zap = SPTE_A | SPTE_D },",
           "S92: by MAP what goes marks nothing", POLICY + "s92_a_zap_marks_nothing"),
    Mutant("zap-dirty-forgotten", "ept/change.c",
           "folio_mark_dirty(ept->host, spte_frame(leaf));", "",
           "S4: the marks are the same in the end", POLICY + "s4_same_marks_in_the_end",
           within="propagate_taken"),
    Mutant("zap-accessed-forgotten", "ept/change.c",
           "folio_mark_accessed(ept->host, spte_frame(leaf));", "",
           "S4: the marks are the same in the end", POLICY + "s4_same_marks_in_the_end",
           within="propagate_taken"),
    Mutant("zap-accessed-though-it-stays", "ept/change.c",
           "propagate_taken(ept, old, SPTE_WRITE_BITS);",
           "propagate_taken(ept, old, SPTE_WRITE_BITS | SPTE_A);",
           "only a flag that goes is passed on", POLICY + "marked_however_it_goes"),
    Mutant("zap-marks-unasked", "ept/change.c",
           "uint64_t marks = leaf.bits & taken & policies[ept->policy].zap;",
           "uint64_t marks = taken & policies[ept->policy].zap;",
           "S1: what the flags say, no more", POLICY + "only_what_the_flags_say"),
    Mutant("zap-marks-bare-frames", "mm/folio.c",
           "return page_find_head(host, frame, &head) && folio_mapcount(host, head);",
           "return page_find_head(host, frame, &head);",
           "S85: a bare frame's folio is its owner's", POLICY + "bare_frames_are_not_marked"),
    Mutant("policy-changed-late", "ept/lifecycle.c", "check(!ept->region_count);", "",
           "one policy for all leaves of an EPT", POLICY + "chosen_before_the_regions"),
    Mutant("verified-by-zap-alone", "ept/verify.c",
           "(ept->policy == EPT_POLICY_ZAP && spte_dirty(s));", "spte_dirty(s);",
           "U2: by MAP the folio is dirty as soon as the leaf is there", POLICY + "verified"),

    # S54, S55: what makes marks unnecessary, and how often it costs.
    Mutant("pair-lazyfree-untold", "mm/madvise.c", "notifier_open(space, &range);", "",
           "S54: listeners hear of D that goes", PAIR + "s54_no_writer_over_a_clean_entry",
           within="free_part", also=("notifier_end(space, &range);", "")),
    Mutant("pair-writeback-told-late", "mm/rmap.c",
           "struct mm_range range = notifier_start(space, address, end, mkclean_event(space->host));",
           "", "S54: and before it goes", PAIR + "s54_no_writer_over_a_clean_entry",
           within="mkclean_one",
           also=("gather_flush(&gather, address);",
                 "struct mm_range range = notifier_start(space, address, end, "
                 "mkclean_event(space->host)); gather_flush(&gather, address);")),
    Mutant("pair-untouched", "mm/lookup.c", "if (slow->lookup.flags & LOOKUP_TOUCH)", "if (false)",
           "S54: who may write has a dirty entry", PAIR + "s54_no_writer_over_a_clean_entry"),
    Mutant("mkcleans-not-counted", "mm/table.c",
           "host_count(host, HOST_MKCLEANS, pte_dirty(old));", "",
           "S55: D that is taken from an entry that stays is counted",
           "unit/mm_cost:s55_d_alone_is_rarely_taken"),

    # S49: safe if (a) marked while the lookup holds, or (b) before start returns; and dropped there.
    Mutant("explored-map-without-mark", "ept/change.c",
           "[EPT_POLICY_MAP] = { .map = SPTE_A | SPTE_D },",
           "[EPT_POLICY_MAP] = { .map = SPTE_A },",
           "S49 (a): MAP marks dirty while the lookup holds", "explore/lazyfree"),
    Mutant("explored-map-marks-unlocked", "ept/fault.c",
           "if (result == MAP_CONFLICT) {",
           "if (result == MAP_INSTALLED || result == MAP_FOUND) "
           "folio_set_dirty(ept->host, spte_frame(planned.leaf)); if (result == MAP_CONFLICT) {",
           "S49 (a): not when the lock is gone, and the page may be", "explore/lazyfree_reclaim",
           also=("ept_propagate_map(ept, leaf, &fault->page);", "")),
    Mutant("explored-zap-without-mark", "ept/change.c",
           "[EPT_POLICY_ZAP] = { .zap = SPTE_A | SPTE_D },",
           "[EPT_POLICY_ZAP] = { .zap = SPTE_A },",
           "S49 (b): ZAP marks dirty when the leaf goes", "explore/zap_reclaim"),
    Mutant("explored-zap-marks-late", "ept/notify.c", ZAP_REGION,
           "{ " + STORED + LATER + " = gfn(spte_frame(walk.old).raw); "
           "ept->policy = EPT_POLICY_MAP; " + ZAP_REGION + " ept->policy = EPT_POLICY_ZAP; }",
           "S49 (b): before start returns, not at the bracket's end", "explore/zap_reclaim_leaf",
           also=("check(atomic_sub(&ept->brackets, 1));",
                 "if (" + LATER + ".raw && folio_is_mapped(ept->host, pfn(" + LATER + ".raw))) "
                 "folio_mark_dirty(ept->host, pfn(" + LATER + ".raw)); "
                 "check(atomic_sub(&ept->brackets, 1));")),
    Mutant("explored-zap-marks-and-keeps", "ept/notify.c", ZAP_REGION,
           "{ " + STORED + "folio_mark_dirty(ept->host, spte_frame(walk.old)); }",
           "S49: a leaf that has told must go, or it is stored by again", "explore/zap_writeback"),
    Mutant("explored-map-keeps", "ept/notify.c", ZAP_REGION, "",
           "S49: a leaf that was marked for must go, or it is stored by again",
           "explore/writeback"),
    Mutant("explored-ept-goes-unheard", "ept/lifecycle.c", "write_lock(&ept->lock);",
           "if (!ept->released) notifier_unregister(ept->space, &ept->notifier); "
           "write_lock(&ept->lock);",
           "S49: what leaves know is told while the host still tells", "explore/zap_ept_goes",
           within="ept_destroy", also=("if (!ept->released)", "if (false)")),
]
