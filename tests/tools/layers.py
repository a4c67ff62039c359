"""The layers: which room may include what, as data, and the check that the sources keep to it.

Run by `make check`. boot -> guest/machine -> vmx -> ept -> mm, one way only; of another module
only its public headers. A folder that the table does not know is an error, as is a shared word
touched without mm/base/atomic.h in the two rooms that are also built hosted.
"""
import re
import subprocess
import sys
from pathlib import Path

TOP_LEVEL = {"boot", "vmx", "ept", "mm", "guest", "tests",
             "linker.ld", "Makefile", "README.md", "LICENSE", "build"}

MM_PUBLIC = ["mm/base/*", "mm/mm.h", "mm/notifier.h"]
EPT_PUBLIC = ["ept/ept.h", "ept/enter.h", "ept/port.h"]
VMX_PUBLIC = ["vmx/vmx.h", "vmx/vm.h", "vmx/vcpu.h", "vmx/exit.h", "vmx/port.h"]
GUEST_PUBLIC = ["guest/abi.h", "guest/load/load.h", "guest/load/text.h", "guest/machine/machine.h",
                "guest/machine/payload.h"]
TEST_PUBLIC = ["tests/tap.h", "tests/host/*.h", "tests/bench/image.h"]

# folder: what its files may include. The longest matching folder decides.
MAY_INCLUDE = {
    "mm/base": ["mm/base/*"],
    "mm": ["mm/*"],
    "ept": ["ept/*"] + MM_PUBLIC,
    "vmx": ["vmx/*", "mm/base/*", "guest/abi.h"] + EPT_PUBLIC,
    "guest": GUEST_PUBLIC,
    "guest/machine": ["guest/machine/*"] + GUEST_PUBLIC + VMX_PUBLIC + EPT_PUBLIC + MM_PUBLIC,
    "guest/load": ["guest/load/*"] + GUEST_PUBLIC + VMX_PUBLIC + EPT_PUBLIC + MM_PUBLIC,
    "guest/payload": ["guest/payload/*", "guest/abi.h"],
    "boot": ["boot/*", "mm/daemon.h"] + GUEST_PUBLIC + VMX_PUBLIC + EPT_PUBLIC + MM_PUBLIC +
            TEST_PUBLIC,
    "tests": ["*"],
    "tests/host": ["*"], "tests/unit": ["*"], "tests/boot": ["*"], "tests/scenario": ["*"],
    "tests/tools": ["*"], "tests/explore": ["*"], "tests/mutants": ["*"], "tests/fuzz": ["*"],
    "tests/bench": ["*"],
}

# What a freestanding compiler provides, and the declarations of boot/string.c's functions.
SYSTEM_HEADERS = {"stddef.h", "stdint.h", "stdbool.h", "stdarg.h", "limits.h", "string.h",
                  "cpuid.h"}

SHARED_WORDS_BY_HAND = re.compile(r"\b__(atomic|sync)_\w+|\bvolatile\b|\b_Atomic\b|\b__?asm(__)?\b")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
# A function's declaration, or the head of its definition, in a header.
DECLARATION = re.compile(r"\b(\w+)\s*\(([^(){};]*)\)[^;{}()]*(?:\([^()]*\)\s*)*[;{]")
TAKES_FRAME = re.compile(r"\b(pfn_t|kvm_pfn_t|struct\s+folio)\b")
MARKS = re.compile(r"(^|_)(mark|set|release|put)(_|$)|dirty|accessed")
COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.S)


def sources(root: Path) -> list:
    """All files of the project, as paths relative to its root: git's view where there is one."""
    try:
        listed = subprocess.run(["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=root,
                                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
        names = [name for name in listed.stdout.decode().split("\0") if name]
        return sorted(Path(name) for name in names if (root / name).is_file())
    except (OSError, subprocess.CalledProcessError):
        pass			# no git here, or not a checkout
    return sorted(path.relative_to(root) for path in root.rglob("*") if path.is_file()
                  and path.relative_to(root).parts[0] != "build"
                  and not any(part.startswith(".") for part in path.relative_to(root).parts))


def allows(patterns: list, header: str) -> bool:
    """`mm/*` allows what stands below mm/; a name without * allows itself alone."""
    return any(header == pattern or pattern == "*"
               or ("*" in pattern and header.startswith(pattern.split("*")[0])
                   and header.endswith(pattern.split("*")[1])) for pattern in patterns)


def resolve(root: Path, file: Path, header: str) -> str:
    """The name from the root of what "header" means in this file."""
    if not (root / header).is_file() and (root / file.parent / header).is_file():
        return str(file.parent / header)
    return header


def include_errors(root: Path, file: Path, patterns: list) -> list:
    errors = []
    for number, line in enumerate((root / file).read_text().splitlines(), 1):
        found = INCLUDE.match(line)
        if not found:
            continue
        quote, header = found.groups()
        if quote == "<":
            if file.parts[0] != "tests" and header not in SYSTEM_HEADERS:
                errors.append(f"{file}:{number}: includes <{header}>, which is not freestanding")
        elif not allows(patterns, resolve(root, file, header)):
            errors.append(f"{file}:{number}: includes {header}; {file.parent}/ may use only "
                          + " ".join(patterns))
    return errors


def shared_word_errors(root: Path, file: Path) -> list:
    """mm/ and ept/ name no machine and no memory order: mm/base/atomic.h alone does."""
    if file.parts[0] not in ("mm", "ept") or file == Path("mm/base/atomic.h"):
        return []
    text = COMMENT.sub(lambda comment: "\n" * comment.group().count("\n"),
                       (root / file).read_text())
    return [f"{file}:{number}: {found.group()}: shared words only through mm/base/atomic.h"
            for number, line in enumerate(text.splitlines(), 1)
            for found in [SHARED_WORDS_BY_HAND.search(line)] if found]


def pfn_errors(root: Path, file: Path) -> list:
    """S93: ept/ offers nobody a folio's mark by a frame's number.

    Whoever marks holds the page, or is told. Nor does any function of its public headers take a
    frame of the host's.
    """
    if file.parts[0] != "ept" or file.suffix != ".h":
        return []
    text = COMMENT.sub(" ", (root / file).read_text())
    return [f"{file}: {name}: no frame of the host's is marked, or taken, through ept/ (S93)"
            for name, parameters in DECLARATION.findall(text)
            if TAKES_FRAME.search(parameters) and (str(file) in EPT_PUBLIC or MARKS.search(name))]


def layer_errors(root: Path) -> list:
    errors = []
    for file in sources(root):
        top = file.parts[0]
        if top not in TOP_LEVEL and not top.startswith("."):
            errors.append(f"{top}: not one of the rooms and files of the top level")
        if file.suffix not in (".c", ".h", ".S"):
            continue
        if str(file.parent) not in MAY_INCLUDE:
            errors.append(f"{file}: the layers' table does not know the folder {file.parent}")
            continue
        errors += include_errors(root, file, MAY_INCLUDE[str(file.parent)])
        errors += shared_word_errors(root, file)
        errors += pfn_errors(root, file)
    return errors


def main() -> int:
    errors = layer_errors(Path(__file__).resolve().parents[2])
    for error in errors:
        print(error)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
