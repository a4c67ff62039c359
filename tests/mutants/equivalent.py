"""Sampled changes that no test can tell from the original, each with its reason.

`old` and `new` are what `make mutants ALL=1` printed for the survivor.
"""
from mutant import Equivalent

EQUIVALENT = [
]
