"""A suite of boot tests: one machine after another, spoken to over its serial console.

One boot serves many tests: `list`, then `test NAME` a line. A test that says nothing for too long
or brings the machine down has failed, by its name; the machine is booted again for the rest. Used
by test.py; `start` makes the machine, so that tests of this file can bring fakes.
"""
import re
import time
from dataclasses import dataclass, field

import machine
from tap import FAILED, PASSED, SKIPPED, Result, Tap

PROMPT = b"foliovisor> "
LISTED = re.compile(r"^([a-z0-9_]+(?:/[A-Za-z0-9_.-]+)+)((?: (?:vmx|two-cpus|once))*)$")
BOOT = "boots"			# the test that every suite has: the console comes up
LAST_LINES = 60


class Down(Exception):
    """The machine ended or fell silent; the text says which, and the last line heard."""


@dataclass
class Limits:
    """Seconds."""
    boot: float = 60		# silence until the prompt
    silence: float = 60		# within a test
    total: float = 900		# the suite
    restarts: int = 8


@dataclass
class Session:
    start: object				# () -> machine.Machine
    limits: Limits
    log: object = None			# (line) -> None: every line heard
    progress: object = None			# (text) -> None: what is being done
    wanted: object = None			# (test's name) -> bool
    required: tuple = ()		# needs that this machine meets: a skip for them fails
    results: list = field(default_factory=list)
    runs: "machine.Machine | None" = None
    lines: list = field(default_factory=list)	# the last lines of this boot
    deadline: float = 0

    # ------------------------------------------------------------------ one machine

    def next_line(self, silence: float) -> "str | None":
        """The next line, None at the prompt; raises Down."""
        until = time.monotonic() + silence
        while True:
            now = time.monotonic()
            if self.runs.pending == PROMPT:
                self.runs.pending = b""
                return None
            if now > self.deadline:
                raise Down("the suite's time is over")
            if now > until:
                raise Down(f"nothing heard for {silence:.0f} s")
            try:
                # In short steps, because a prompt is no whole line.
                line = self.runs.read_line(0.02 if self.runs.pending else min(0.2, until - now))
            except EOFError:
                raise Down("the machine ended") from None
            if line is None:
                continue
            if self.log:
                self.log(line)
            self.lines = (self.lines + [line])[-LAST_LINES:]
            return line.removeprefix(PROMPT.decode())

    def until_prompt(self, silence: float) -> list:
        lines = []
        while True:
            line = self.next_line(silence)
            if line is None:
                return lines
            lines.append(line)

    def boot(self) -> None:
        self.lines = []
        try:
            self.runs = self.start()
        except machine.MachineError as error:
            raise Down(str(error)) from None
        self.until_prompt(self.limits.boot)

    def say(self, text: str) -> None:
        if not self.runs.send(text.encode() + b"\n"):
            raise Down("the machine takes no input")

    def end(self) -> None:
        if self.runs:
            machine.discard(self.runs)
            self.runs = None

    def why(self, down: Down) -> str:
        """The reason, and what the machine said last (a panic's sentence, mostly)."""
        heard = [line for line in self.lines if line.strip() and not line.startswith("# running")]
        words = [line for line in heard if "panic" in line.lower()] or heard[-1:]
        return f"{down}; the last line was: {words[0] if words else '(none)'}"

    # ------------------------------------------------------------------ its tests

    def list_tests(self) -> list:
        self.say("list")
        found = [LISTED.match(line) for line in self.until_prompt(self.limits.boot)]
        names = [match.group(1) for match in found if match and "once" not in match.group(2)]
        return [name for name in names if not self.wanted or self.wanted(name)]

    def judge(self, name: str, tap: Tap) -> Result:
        if len(tap.results) == 1 and tap.planned == 1 and not tap.problem:
            result = tap.results[0]
            if result.name != name:
                return Result(name, FAILED, f"reported as {result.name}")
            if result.verdict == SKIPPED and any(need in result.words for need in self.required):
                return Result(name, FAILED, f"skipped ({result.words}) on a machine that has it")
            return result
        return Result(name, FAILED, "incomplete TAP: " + (tap.why_not() or "not one test"))

    def run_test(self, name: str) -> Result:
        tap = Tap()
        self.say("test " + name)
        while True:
            line = self.next_line(self.limits.silence)
            if line is None:
                return self.judge(name, tap)
            tap.feed(line)

    def run_listed(self, names: list) -> None:
        restarts = 0
        while names:
            name = names[0]
            if self.progress:
                self.progress(name)
            try:
                if not self.runs:
                    self.boot()
                result = self.run_test(name)
            except Down as down:
                result = Result(name, FAILED, self.why(down))
                self.end()
                restarts += 1
            self.results.append(result)
            names = names[1:]
            if names and (restarts > self.limits.restarts or time.monotonic() > self.deadline):
                reason = ("the suite's time was over" if time.monotonic() > self.deadline else
                          f"not run: the machine went down {restarts} times before")
                self.results += [Result(rest, FAILED, reason) for rest in names]
                return

    def run(self) -> list:
        self.deadline = time.monotonic() + self.limits.total
        if self.progress:
            self.progress(BOOT)
        try:
            self.boot()
            names = self.list_tests()
            if not names and not self.wanted:
                raise Down("the image lists no tests")
            self.results.append(Result(BOOT, PASSED))
            self.run_listed(names)
        except Down as down:
            self.results.append(Result(BOOT, FAILED, self.why(down)))
        finally:
            self.end()
        return self.results
