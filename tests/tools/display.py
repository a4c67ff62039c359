"""What `make test` shows: a progress line, one line a suite, the failures, the count.

On a terminal the progress line is rewritten in place; elsewhere one is printed now and then, so
that a log shows life too.
"""
import sys
import threading
import time

from tap import FAILED, PASSED, SKIPPED

QUIET_SECONDS = 30


class Display:
    def __init__(self, total: int, verbose: bool):
        self.total, self.verbose = total, verbose
        self.done = 0
        self.lock = threading.Lock()
        self.doing = {}			# suite -> what it is at
        self.counts = {PASSED: 0, FAILED: 0, SKIPPED: 0}
        self.on_terminal = sys.stdout.isatty()
        self.last_print = self.started = time.monotonic()

    def write(self, text: str) -> None:
        if self.on_terminal:
            sys.stdout.write("\r\x1b[K")
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
        self.last_print = time.monotonic()

    def progress_text(self) -> str:
        now = time.monotonic() - self.started
        doing = " | ".join(f"{suite}: {what}" for suite, what in self.doing.items())
        return f"[{int(now) // 60}:{int(now) % 60:02} {self.done}/{self.total}] {doing}"

    def refresh(self) -> None:
        if self.on_terminal:
            sys.stdout.write("\r\x1b[K" + self.progress_text()[:118])
            sys.stdout.flush()
        elif time.monotonic() - self.last_print > QUIET_SECONDS:
            self.write(self.progress_text())

    def progress(self, suite: str, what: str) -> None:
        with self.lock:
            self.doing[suite] = what
            self.refresh()

    def heard(self, suite: str, line: str) -> None:
        if self.verbose:
            with self.lock:
                self.write(f"{suite}: {line}")

    def finished(self, suite: str, results: list, seconds: float) -> None:
        counts = {verdict: sum(result.verdict == verdict for result in results)
                  for verdict in self.counts}
        with self.lock:
            self.done += 1
            self.doing.pop(suite, None)
            for verdict, count in counts.items():
                self.counts[verdict] += count
            if results:
                word = "FAIL" if counts[FAILED] else "ok"
                self.write(f"{word:4} {suite:36} {counts[PASSED]:4} passed, {counts[FAILED]} "
                           f"failed, {counts[SKIPPED]} skipped  {seconds:6.1f} s")
            for result in results:
                if result.verdict == FAILED:
                    self.write(f"     failed: {result.name}: {result.words}")
            self.refresh()

    def summary(self) -> int:
        """Prints the last line; the exit status."""
        with self.lock:
            if self.counts[FAILED]:
                self.write("every line of each suite is in build/test/")
            self.write(f"{self.counts[PASSED]} passed, {self.counts[FAILED]} failed, "
                       f"{self.counts[SKIPPED]} skipped")
        return 0 if self.counts[PASSED] and not self.counts[FAILED] else 1
