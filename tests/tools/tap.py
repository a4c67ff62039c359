"""TAP 13, read strictly: a verdict needs a plan and each of its numbers exactly once, in order.

Lines that are not TAP are anybody's: the hypervisor and its guests write between the results.
"""
import re
from dataclasses import dataclass

PLAN = re.compile(r"^1\.\.([0-9]{1,6})(?:\s*# ?(.*))?$")
RESULT = re.compile(r"^(not )?ok\b(?:\s+([0-9]{1,6}))?(?:\s+(?:-\s*)?([^#]*?))?\s*(?:#\s*(.*))?$")
RUNNING = re.compile(r"^# running (\S+)$")

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


@dataclass
class Result:
    name: str
    verdict: str
    words: str = ""		# the reason of a failure or skip


class Tap:
    """One stream with one plan."""

    def __init__(self):
        self.results = []
        self.planned = None
        self.running = ""		# the test that was announced and has not reported
        self.problem = ""		# what makes the stream worthless
        self.words = []			# comment lines since the last result

    def feed(self, line: str) -> None:
        running, plan, result = RUNNING.match(line), PLAN.match(line), RESULT.match(line)
        if running:
            self.running = running.group(1)
        elif plan:
            if self.planned is not None:
                self.problem = "two plans"
            self.planned = int(plan.group(1))
        elif line.startswith("Bail out!"):
            self.problem = line
        elif result:
            self.add(*result.groups())
        elif line.startswith("#"):
            self.words.append(line[1:].strip())

    def add(self, bad: "str | None", number: "str | None", name: "str | None",
            directive: "str | None") -> None:
        if number and int(number) != len(self.results) + 1:
            self.problem = f"result {number} where {len(self.results) + 1} was due"
        reason = re.match(r"(?i)skip\S*\s*(.*)", directive or "")
        words = "; ".join(self.words[-4:])
        name = (name or "").strip() or self.running or f"test {len(self.results) + 1}"
        if bad:
            self.results.append(Result(name, FAILED, words))
        elif reason:
            self.results.append(Result(name, SKIPPED, reason.group(1)))
        else:
            self.results.append(Result(name, PASSED))
        self.running = ""
        self.words = []

    def complete(self) -> bool:
        return self.planned is not None and len(self.results) >= self.planned

    def why_not(self) -> str:
        """What is wrong with the stream as a whole, now that no more comes; "" for nothing."""
        if self.problem:
            return self.problem
        if self.planned is None:
            return f"no plan after {len(self.results)} results"
        if len(self.results) != self.planned:
            return f"{self.planned} tests planned, {len(self.results)} reported"
        return ""
