"""Mutants that the pairs of operations must see: part of the named list (named.py)."""
from mutant import Mutant

PAIR = "explore/pair_"

PAIRS = [
    Mutant("pairs-harvest-unflushed", "ept/log.c", "flush_settle(ept, batch);", "(void)batch;",
           "U30: who knows W faults no more", PAIR + "map_store_harvest", within="ept_log_get"),
]
