"""Sampled changes that no test can tell from the original, each with its reason.

`old` and `new` are what `make mutants ALL=1` printed for the survivor.
"""
from mutant import Equivalent

EQUIVALENT = [
    Equivalent("ept/notify.c",
               "atomic_add(&ept->sequence, 1);",
               "atomic_write(&ept->sequence, atomic_read(&ept->sequence) + (1));",
               "The sequence's readers and its other writers hold ept->lock, all but the end of "
               "a bracket; and no bracket of this space is open, whose lock is held "
               "exclusively.",
               within="release"),
    Equivalent("mm/table.c",
               "atomic_or(&folio->flags, FOLIO_TABLE);",
               "atomic_write(&folio->flags, atomic_read(&folio->flags) | (FOLIO_TABLE));",
               "The page was just allocated: nobody else knows it."),
]
