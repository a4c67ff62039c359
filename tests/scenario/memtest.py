"""memtest86+, a program that nobody here wrote, in memory that the host keeps taking away.

Bochs with two CPUs: the guest runs on the one, on the other the host unmaps and moves random
ranges of its memory. Passed when memtest86+ has come through its tests #0 to #9 with Errors: 0;
a page lost, stale or mixed up would be an error of its own finding.
"""
import re
import tempfile
import time
from pathlib import Path

import engines
import machine
import media
import options
import scenario
import suites
from screen import Screen

GUEST_MIB = 8
# Of an emulated second, in which each CPU executes so many instructions.
INSTRUCTIONS_PER_SECOND = 20000000
HARASS_RANGES_PER_SECOND = 100
SILENCE_SECONDS = 120
ESCAPE = b"\x1d"			# Ctrl-]: ends the guest
# The screen is drawn every two emulated seconds: the first three tests may be over by then.
TESTS_SHOWN, LAST_TEST = range(3, 10), 9
ERRORS_ROW = 8
FRAMES_AFTER = 3		# of the error count, after the last test: the count is final then

TEST = re.compile(r"Test #([0-9]+) +\[")
PASS = re.compile(r"\| Pass +([0-9]+)%")
ERRORS = re.compile(r"Errors: *([0-9]+)")


class Watch:
    """Reads memtest86+'s screen: which tests were run, and the count of errors."""

    def __init__(self):
        self.screen = Screen()
        self.seen = []
        self.after = 0			# visits of the count's row when the last test was over
        self.done = False
        self.wrong = ""
        self.doing = "starts"

    def see(self, found: bytes) -> None:
        for i in range(0, len(found), 256):		# no test's number may be missed
            self.screen.feed(found[i:i + 256])
            self.judge()

    def judge(self) -> None:
        text = self.screen.text()
        test, errors, percent = TEST.search(text), ERRORS.search(text), PASS.search(text)
        if test and int(test.group(1)) not in self.seen:
            self.seen.append(int(test.group(1)))
            self.after = self.screen.visits[ERRORS_ROW]
        if errors and int(errors.group(1)):
            self.wrong = f"memtest86+ reports Errors: {errors.group(1)} in test #{self.seen[-1]}"
        if test and percent:
            self.doing = f"test #{test.group(1)}, {percent.group(1)}% of the pass"
        if (not self.wrong and self.seen and self.seen[-1] > LAST_TEST
                and self.screen.visits[ERRORS_ROW] >= self.after + FRAMES_AFTER):
            self.done = True
            absent = [number for number in TESTS_SHOWN if number not in self.seen]
            if absent:
                self.wrong = f"memtest86+ left out test #{absent[0]}"


def watch_it(context, runs: machine.Machine, watch: Watch) -> str:
    """Until it is done, or what is wrong."""
    until = time.monotonic() + context.seconds
    while not watch.done and not watch.wrong:
        found = runs.read(SILENCE_SECONDS)
        if found is None:
            return f"nothing heard for {SILENCE_SECONDS} s at {watch.doing}"
        if not found:
            return f"the machine ended at {watch.doing}"
        watch.see(found)
        context.progress(watch.doing)
        if time.monotonic() > until:
            return f"not done after {context.seconds:.0f} s, at {watch.doing}"
    return watch.wrong


def figures(context, runs: machine.Machine) -> dict:
    """Ends the guest; what the image sums up, by name."""
    runs.send(ESCAPE)
    found = {}
    try:
        while True:
            line = runs.read_line(SILENCE_SECONDS)
            if line is None:
                return found
            context.log(line)
            stat = re.search(r"# stat (\S+) ([0-9]+) ", line)
            if stat:
                found[stat.group(1)] = int(stat.group(2))
    except EOFError:
        return found


def run(context) -> list:
    with tempfile.TemporaryDirectory(prefix="foliovisor-") as folder:
        name = options.MEMTEST_FILE.name
        script = (f"guest {name} mem={GUEST_MIB} harass={HARASS_RANGES_PER_SECOND} console=raw "
                  f"cmdline={options.MEMTEST_COMMAND_LINE}; quit")
        iso = media.make_iso(Path(folder) / "run.iso", suites.ELF, script,
                             {name: options.MEMTEST_FILE})
        watch = Watch()
        runs = machine.start(engines.Boot("bochs", cpus=2, mem=256, iso=iso,
                                          ips=INSTRUCTIONS_PER_SECOND))
        try:
            wrong = watch_it(context, runs, watch)
            for row in range(25):
                context.log(watch.screen.line(row))
            stats = figures(context, runs) if not wrong else {}
        finally:
            machine.discard(runs)
    # The host must have been at it all the time, or the test has shown nothing.
    taken = [f"{stat} is {stats.get(stat, 'missing')}" for stat in
             ("host_pages_invalidated", "host_pages_migrated")
             if not wrong and stats.get(stat, 0) < 10000]
    return [scenario.check("memtest/ten_tests_no_errors", [wrong] if wrong else []),
            scenario.check("memtest/host_took_memory", taken or ([wrong] if wrong else []))]
