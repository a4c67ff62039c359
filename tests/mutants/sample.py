"""All changes of a few tokens that could be made to a C file of this project, by kind.

Works on text, with comments, strings and directives blanked out: the sources' one layout (blanks
around binary operators and around nothing else) says what a C parser would.
"""
import re
from dataclasses import dataclass
from pathlib import Path

from mutant import ROOT, folded


@dataclass(frozen=True)
class Change:
    file: str
    kind: str
    edits: tuple		# (start, end, new text), in order
    text: str			# of the file, unchanged

    def applied(self) -> str:
        text = self.text
        for start, end, new in reversed(self.edits):
            text = text[:start] + new + text[end:]
        return text

    def line(self) -> int:
        return self.text.count("\n", 0, self.edits[0][0]) + 1

    def lines(self, changed: bool) -> str:
        """The whole lines that the change touches, before or after it, blanks folded."""
        first = self.text.rfind("\n", 0, self.edits[0][0]) + 1
        last = self.text.find("\n", self.edits[-1][1])
        if not changed:
            return folded(self.text[first:last])
        grown = sum(len(new) - (end - start) for start, end, new in self.edits)
        return folded(self.applied()[first:last + grown])

    def name(self) -> str:
        return f"{self.file}:{self.line()} {self.kind}"


def blanked(text: str) -> str:
    """Same length, same lines; no comments, strings, directives."""
    def blank(match: "re.Match") -> str:
        return re.sub(r"[^\n]", " ", match.group())

    text = re.sub(r'/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', blank, text, flags=re.S)
    return re.sub(r"^[ \t]*#(?:.*\\\n)*.*$", blank, text, flags=re.M)


def bodies(code: str) -> list:
    """(start, end) of every function's braces."""
    found, depth, begin, last = [], 0, 0, 0
    for at in (match.start() for match in re.finditer(r"[{};]", code)):
        if code[at] == "{":
            if not depth:
                head = code[last:at]
                begin = at if ")" in head and "=" not in head else -1
            depth += 1
        elif code[at] == "}":
            depth -= 1
            if not depth and begin >= 0:
                found.append((begin + 1, at))
        if not depth:
            last = at + 1
    return found


SWAPS = {
    "relation": [(" < ", " <= "), (" <= ", " < "), (" > ", " >= "), (" >= ", " > "),
                 (" == ", " != "), (" != ", " == ")],
    "arithmetic": [(" + ", " - "), (" - ", " + "), (" * ", " + "), (" / ", " * "),
                   (" += ", " -= "), (" -= ", " += "), ("++", "--"), ("--", "++")],
    "bits": [(" << ", " >> "), (" >> ", " << "), (" & ", " | "), (" | ", " & "), (" ^ ", " | "),
             (" |= ", " &= "), (" &= ", " |= "), ("& ~", "& "), (" ~", " ")],
    "logic": [(" && ", " || "), (" || ", " && ")],
    "name": [("LEVEL_4K", "LEVEL_2M"), ("LEVEL_2M", "LEVEL_1G"), ("LEVEL_1G", "LEVEL_2M"),
             ("true", "false"), ("false", "true"), ("PAGE_SIZE", "(PAGE_SIZE - 1)"),
             ("PAGE_MASK", "(PAGE_MASK << 1)"), ("ORDER_MAX", "(ORDER_MAX - 1)"),
             ("ROOT_LEVEL", "(ROOT_LEVEL - 1)"), ("EPT_ENTRIES", "(EPT_ENTRIES - 1)"),
             ("ACCESS_WRITE", "ACCESS_READ"), ("ACCESS_READ", "ACCESS_WRITE"),
             ("ZAP_TABLES", "ZAP_LEAVES"), ("ZAP_LEAVES", "ZAP_TABLES"), ("NULL", "(void *)8")],
}
NUMBER = re.compile(r"(?<![\w.])(?:0x[0-9a-f]+|\d+)(?=[uUlL]*\b)")
NOT_EXPRESSIONS = r"(?!(?:return|if|for|while|do|switch|case|default|goto|break|continue|sizeof|" \
                  r"struct|enum|static|const|unsigned|else|list_for_each)\b)"
STATEMENT = re.compile(r"^(\t+)(" + NOT_EXPRESSIONS + r"\*?[A-Za-z_]\w*(?:(?:->|\.)\w+|\[[^\]]*\])*"
                       r"(?:\(| =| [-+|&]=|\+\+|--)[^;]*;)", re.M)
LOCK = re.compile(r"\b(read|write|spin)_lock\(([^;]*)\);")
ORDERED = re.compile(r"^\t+(atomic_(?:xchg|add|sub|and|or))\("
                     r"([^,;()]*(?:\([^;()]*\))?[^,;()]*), ([^;]+)\);", re.M)
PLAIN = {"atomic_xchg": "{1}", "atomic_add": "atomic_read({0}) + ({1})",
         "atomic_sub": "atomic_read({0}) - ({1})", "atomic_and": "atomic_read({0}) & ({1})",
         "atomic_or": "atomic_read({0}) | ({1})"}


def swapped_tokens(code: str) -> list:
    for kind, pairs in SWAPS.items():
        for old, new in pairs:
            ends = (r"\b", r"\b") if old[0].isalpha() else ("", "")
            for match in re.finditer(ends[0] + re.escape(old) + ends[1], code):
                yield kind, [(match.start(), match.end(), new)]


def constants(code: str) -> list:
    for match in NUMBER.finditer(code):
        value = int(match.group(), 0)
        yield "constant", [(match.start(), match.end(), str(value + 1))]
        if value == 1:
            yield "constant", [(match.start(), match.end(), "0")]


def balanced(text: str) -> bool:
    return all(text.count(a) == text.count(b) for a, b in ("()", "{}", "[]"))


def statements(code: str) -> list:
    return [(m.start(2), m.end(2), m.group(1)) for m in STATEMENT.finditer(code)
            if balanced(m.group(2))]


def dropped(code: str) -> list:
    for start, end, _ in statements(code):
        yield "dropped", [(start, end, ";" + "\n" * code.count("\n", start, end))]


def commute(one: str, other: str) -> bool:
    """Two assignments without calls, of which none reads what the other writes."""
    places = [re.split(r" [-+|&]?= |\+\+|--", text)[0] for text in (one, other)]
    return not re.search(r"\w\(", one + other) and places[0] not in other and places[1] not in one


def neighbours(code: str, text: str) -> list:
    every = statements(code)
    for (a, a_end, indent), (b, b_end, other) in zip(every, every[1:]):
        before = code[:a].rstrip()[-1:]
        if indent == other and not code[a_end:b].strip() and before in "{;}:" and \
                not commute(code[a:a_end], code[b:b_end]):
            yield "swapped", [(a, a_end, text[b:b_end]), (b, b_end, text[a:a_end])]


def negated(code: str) -> list:
    for match in re.finditer(r"\bif \(", code):
        at, depth = match.end(), 1
        while depth:
            depth += {"(": 1, ")": -1}.get(code[at], 0)
            at += 1
        yield "negated", [(match.end(), match.end(), "!("), (at - 1, at - 1, ")")]


def unlocked(code: str) -> list:
    for lock in LOCK.finditer(code):
        word = re.compile(r"\b" + lock.group(1) + r"_unlock\(" + re.escape(lock.group(2)) + r"\);")
        unlock = word.search(code, lock.end())
        if unlock:
            yield "unlocked", [(m.start(), m.end(), ";") for m in (lock, unlock)]


def unordered(code: str) -> list:
    """A read-modify-write whose result nobody uses, in two steps."""
    for match in ORDERED.finditer(code):
        word, value = match.group(2), match.group(3)
        plain = PLAIN[match.group(1)].format(word, value)
        start = match.start(1)
        yield "unordered", [(start, match.end(), f"atomic_write({word}, {plain});")]


def changes_of(file: str, text: str) -> list:
    code, found = blanked(text), {}
    for begin, end in bodies(code):
        body, inside = code[begin:end], text[begin:end]
        for maker in (swapped_tokens(body), constants(body), dropped(body),
                      neighbours(body, inside), negated(body), unlocked(body), unordered(body)):
            for kind, edits in maker:
                moved = tuple((a + begin, b + begin, new) for a, b, new in edits)
                change = Change(file, kind, moved, text)
                found.setdefault(change.applied(), change)
    return list(found.values())


def all_changes() -> dict:
    """kind -> changes, of mm/ and ept/."""
    by_kind = {}
    for room in ("mm", "ept"):
        for path in sorted((ROOT / room).rglob("*.[ch]")):
            file = str(path.relative_to(ROOT))
            for change in changes_of(file, Path(path).read_text()):
                by_kind.setdefault(change.kind, []).append(change)
    return by_kind


def draw(chance: object) -> object:
    """Without end or repetition: a kind by chance, then one of its changes."""
    left = all_changes()
    while left:
        kind = chance.choice(sorted(left))
        yield left[kind].pop(chance.randrange(len(left[kind])))
        if not left[kind]:
            del left[kind]
