"""What a mutant is: a change of one line, with a name, a rule, and the test that must kill it."""
import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class Rotten(Exception):
    """The list says what the sources no longer do."""


@dataclass(frozen=True)
class Mutant:
    """One of the named list. `line` is a whole line of the file, without its indentation.

    It must stand there once, or once in the function `within`. `also` is the second half of a
    change that makes sense only in pairs: a lock and its unlock.
    """
    name: str
    file: str
    line: str
    instead: str		# "" leaves the line out
    rule: str
    test: str			# unit/PROGRAM:TEST or explore/SCENARIO
    within: str = ""
    also: tuple = ()		# (line, instead)
    # Of a header's line: the only sources whose code of it the test runs. (): all that include it.
    runs_in: tuple = ()


# Of Mutant.runs_in, for headers that half of the sources include: a lock's scenarios are all in one
# file, and the programs here enter and leave by flush.c's functions alone.
LOCKS = ("tests/explore/race_lock.c",)
ENTRY = ("ept/flush.c",)


@dataclass(frozen=True)
class Equivalent:
    """A sampled change that no test can tell from the original, and why."""
    file: str
    old: str			# the changed text's lines, blanks folded: as a survivor is listed
    new: str
    reason: str
    within: str = ""		# the function, where the same lines stand in others


def function_lines(lines: list, name: str) -> range:
    """From the line that begins the definition of a function to its closing brace."""
    begins = re.compile(r"^(\w.*)?\b" + re.escape(name) + r"\(")
    for first, line in enumerate(lines):
        if not begins.match(line):
            continue
        head = next(i for i in range(first, len(lines)) if lines[i].endswith(("{", ";", "}")))
        if not lines[head].endswith(";"):
            return range(first, lines.index("}", head) + 1)
    raise Rotten(f"no function {name}")


def replace_line(text: str, line: str, instead: str, within: str) -> str:
    lines = text.split("\n")
    where = function_lines(lines, within) if within else range(len(lines))
    found = [i for i in where if lines[i].strip() == line]
    if len(found) != 1:
        place = f" in {within}" if within else ""
        raise Rotten(f"`{line}` stands {len(found)} times{place}, not once")
    indent = lines[found[0]][:len(lines[found[0]]) - len(lines[found[0]].lstrip())]
    # Left out: the empty statement, so that an `if` before it keeps its body.
    lines[found[0]] = indent + (instead or ";")
    return "\n".join(lines)


def mutated(mutant: Mutant) -> str:
    """The file's text with the change made. Raises Rotten."""
    path = ROOT / mutant.file
    if not path.is_file():
        raise Rotten(f"no file {mutant.file}")
    text = replace_line(path.read_text(), mutant.line, mutant.instead, mutant.within)
    if mutant.also:
        text = replace_line(text, *mutant.also, mutant.within)
    return text


def folded(text: str) -> str:
    return " ".join(text.split())
