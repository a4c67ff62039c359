"""No mutable file-scope variable in mm/ and ept/: their objects have no .data and no .bss.

	no_globals.py FOLDER	of the image's objects (build/image)

Run by `make check` after the image's objects are built.
"""
import re
import subprocess
import sys
from pathlib import Path

ROOMS = ("mm", "ept")
# Constants that hold addresses stand in .data.rel.ro: written by the linker, by nobody else.
WRITABLE = re.compile(r"^(\.data(?!\.rel\.ro)|\.bss|\.tdata|\.tbss|COMMON)")


def writable_symbols(text: str) -> list:
    """Symbols in writable sections, from the output of `objdump -t`."""
    found = []
    for line in text.splitlines():
        fields = line.split("\t")
        if len(fields) != 2 or not fields[0].split():
            continue
        section = fields[0].split()[-1]
        size, *name = fields[1].split()
        if name and WRITABLE.match(section) and section != name[-1]:
            found.append((name[-1], section, int(size, 16)))
    return found


def main() -> int:
    folder = Path(sys.argv[1])
    errors = []
    for room in ROOMS:
        for path in sorted((folder / room).rglob("*.o")):
            table = subprocess.run(["objdump", "-t", str(path)], stdout=subprocess.PIPE,
                                   check=True, text=True).stdout
            source = str(path.relative_to(folder))[:-2]
            errors += [f"{source}: {name} ({size} bytes in {section}) is a mutable variable at "
                       "file scope" for name, section, size in writable_symbols(table)]
    for error in errors:
        print(error)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
