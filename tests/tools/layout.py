"""The layout rules that a formatter can't be trusted with: figures and tables are drawn by hand.

Tabs of 8 columns, no line over 100, no blanks at a line's end, a newline at the file's end, and
no notes to oneself. Run by `make tidy` and `make check`.
"""
import re
import sys
from pathlib import Path

from layers import sources

COLUMNS, TAB = 100, 8
KINDS = (".c", ".h", ".S", ".py", ".sh", ".mk", ".ld", ".awk")
NOTES = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b|^\s*#\s*if 0\b")


def line_error(line: str, kind: str) -> str:
    if line != line.rstrip():
        return "blanks at the end"
    if len(line.expandtabs(TAB)) > COLUMNS:
        return f"{len(line.expandtabs(TAB))} columns, at most {COLUMNS}"
    if kind in (".c", ".h", ".S") and re.match(r"\t* {8}.*[^\\]$", line):
        return "indented by blanks, not by tabs"
    if NOTES.search(line):
        return "a note to oneself"
    return ""


def layout_errors(root: Path) -> list:
    errors = []
    for file in sources(root):
        if file.suffix not in KINDS and file.name != "Makefile":
            continue
        text = (root / file).read_text()
        for number, line in enumerate(text.split("\n"), 1):
            error = line_error(line, file.suffix)
            if error:
                errors.append(f"{file}:{number}: {error}")
        if text and not text.endswith("\n"):
            errors.append(f"{file}: no newline at the end")
    return errors


def main() -> int:
    errors = layout_errors(Path(__file__).resolve().parents[2])
    for error in errors:
        print(error)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
