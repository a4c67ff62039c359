"""Runs the tools' own tests (test_*.py here) and prints TAP, for test.py; also typed by hand."""
import sys
import traceback
import unittest
from pathlib import Path


class TapResult(unittest.TestResult):
    """One line a test, as it ends."""
    number = good = 0

    def report(self, word: str, test: unittest.TestCase, note: str = "") -> None:
        self.number += 1
        self.good += word == "ok"
        print(f"{word} {self.number} - {test.id()}{note}", flush=True)

    def explain(self, error: tuple) -> None:
        for line in "".join(traceback.format_exception(*error)).strip().splitlines()[-3:]:
            print("# " + line)

    def addSuccess(self, test):
        self.report("ok", test)

    def addFailure(self, test, err):
        self.explain(err)
        self.report("not ok", test)

    def addError(self, test, err):
        self.addFailure(test, err)

    def addSkip(self, test, reason):
        self.report("ok", test, " # SKIP " + reason)


def main() -> int:
    found = unittest.defaultTestLoader.discover(str(Path(__file__).parent), "test_*.py")
    print("TAP version 13")
    print(f"1..{found.countTestCases()}", flush=True)
    result = TapResult()
    found.run(result)
    return 0 if result.good == found.countTestCases() else 1


if __name__ == "__main__":
    sys.exit(main())
