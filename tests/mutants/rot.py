"""Every named mutant's line still stands in its file: part of `make check`, as it costs nothing."""
import sys

from mutant import Rotten, mutated
from named import NAMED


def main() -> int:
    rotten = 0
    for mutant in NAMED:
        try:
            mutated(mutant)
        except Rotten as error:
            print(f"mutant {mutant.name}: {mutant.file}: {error}")
            rotten += 1
    return 1 if rotten else 0


if __name__ == "__main__":
    sys.exit(main())
