"""`make test`: runs the suites of suites.py, two at a time, and counts.

	T=NAME	a suite, or tests, by name or pattern	V=1	every line heard, on the terminal

The verdict comes from complete TAP plans, never from an emulator's exit status. Each suite's
lines are kept in build/test/. The last line is `N passed, N failed, N skipped`; exit status 0
only when nothing failed and something passed.
"""
import fnmatch
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import machine
import suites
from display import Display
from session import BOOT, Limits, Session
from tap import FAILED, PASSED, Result, Tap

LOGS = suites.ROOT / "build/test"
TEMPORARY = LOGS / "tmp"
JOBS = 2
BOOT_TEST = re.compile(r'\bBOOT_TEST\("([^"]+)"')


@dataclass
class Context:
    """What a suite gets: its log, its progress, its time, and which of its tests are wanted."""
    name: str
    seconds: float
    wanted: object
    log: object
    progress: object


def run_program(program: suites.Program, context: Context) -> list:
    """Its TAP; a program that ends in another way than its plan says has failed."""
    context.progress("runs")
    environment = dict(os.environ, CMOCKA_MESSAGE_OUTPUT="TAP")
    environment.pop("MAKEFLAGS", None)
    environment.pop("QUICK", None)	# `make check` runs some tests shorter: here all of each
    try:
        ran = subprocess.run(program.command, cwd=suites.ROOT, env=environment, check=False,
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, timeout=program.seconds)
        output, status = ran.stdout, ran.returncode
        ended = f"it ended with status {status}"
    except subprocess.TimeoutExpired as late:
        output, status, ended = late.stdout or b"", -1, f"not done after {program.seconds:.0f} s"
    lines = output.decode(errors="replace").splitlines()
    for line in lines:
        context.log(line)
    if program.one_test:
        words = "; ".join(line for line in lines[-4:] if line.strip()) or ended
        return [Result(program.name, FAILED if status or lines else PASSED, words)]
    tap = Tap()
    for line in lines:
        tap.feed(line)
    return complete(program.name, tap, status, ended, lines)


def complete(name: str, tap: Tap, status: int, ended: str, lines: list) -> list:
    """The results, and one more failure if the whole is not what the plan says."""
    why = tap.why_not() or ("no tests" if not tap.results else "")
    failed = any(result.verdict == FAILED for result in tap.results)
    if not why and (status == 0 or failed):
        return tap.results
    at = f" in {tap.running}" if tap.running else ""
    shown = [line for line in lines if "ERROR:" in line or "runtime error" in line] or lines[-1:]
    return tap.results + [Result(name, FAILED, f"{why or 'plan complete'}, {ended}{at}: "
                                 + (shown[0].strip() if shown else "(no output)"))]


def run_boot(suite: suites.BootSuite, context: Context) -> list:
    return Session(start=lambda: machine.start(suite.boot), limits=Limits(), log=context.log,
                   progress=context.progress, wanted=context.wanted,
                   required=suite.required).run()


def run_scenario(scenario: suites.Scenario, context: Context) -> list:
    path = suites.ROOT / f"tests/scenario/{scenario.file}.py"
    spec = importlib.util.spec_from_file_location("scenario_" + scenario.file, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.run(context)


RUNNERS = {suites.Program: run_program, suites.BootSuite: run_boot,
           suites.Scenario: run_scenario}


def matches(name: str, pattern: str) -> bool:
    return not pattern or name == pattern or fnmatch.fnmatchcase(name, pattern)


def boot_test_names() -> list:
    """By the sources: only to leave out machines that have nothing to run."""
    return [name for path in (suites.ROOT / "tests/boot").glob("*.c")
            for name in BOOT_TEST.findall(path.read_text())]


def first_word(name: str) -> str:
    return name.split("/", maxsplit=1)[0]


def chosen(suite: object, pattern: str, every: list) -> bool:
    if matches(suite.name, pattern):
        return True
    family = first_word(pattern)
    if family != first_word(suite.name) and family in {first_word(one.name) for one in every}:
        return False
    if isinstance(suite, suites.BootSuite):
        return any(matches(name, pattern) for name in boot_test_names())
    # A hosted program is as quick to run as to ask; a scenario is a test of its own name.
    return isinstance(suite, suites.Program) and not suite.one_test


def run_suite(suite: object, pattern: str, display: Display) -> None:
    started = time.monotonic()
    whole = matches(suite.name, pattern)
    with open(LOGS / (suite.name.replace("/", "-") + ".log"), "w", buffering=1) as log:
        def heard(line: str) -> None:
            log.write(line + "\n")
            display.heard(suite.name, line)

        context = Context(suite.name, getattr(suite, "seconds", 0),
                          None if whole else lambda name: matches(name, pattern), heard,
                          lambda what: display.progress(suite.name, what))
        try:
            results = RUNNERS[type(suite)](suite, context)
        except Exception as error:	# the harness's own bug is a failure of this suite
            log.write(traceback.format_exc())
            results = [Result(suite.name, FAILED, f"the harness: {error!r}")]
    if not whole:
        results = [result for result in results
                   if matches(result.name, pattern)
                   or (result.verdict == FAILED and result.name in (BOOT, suite.name))]
    display.finished(suite.name, results, time.monotonic() - started)


def run_all(every: list, pattern: str, verbose: bool) -> int:
    LOGS.mkdir(parents=True, exist_ok=True)
    todo = [suite for suite in every if chosen(suite, pattern, every)]
    display = Display(len(todo), verbose)
    over = threading.Event()

    def tick() -> None:
        while not over.wait(1.0):
            with display.lock:
                display.refresh()

    ticker = threading.Thread(target=tick, daemon=True)
    ticker.start()
    with ThreadPoolExecutor(JOBS) as pool:
        for done in [pool.submit(run_suite, suite, pattern, display) for suite in todo]:
            done.result()
    over.set()
    ticker.join()
    if not sum(display.counts.values()):
        print(f"test: T={pattern}: no test of that name ran")
    return display.summary()


def give_up(*_) -> None:
    """At once: the machines are tied to this process's threads and end with it."""
    print("\ntest: interrupted", flush=True)
    os._exit(130)


def main() -> int:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, give_up)
    shutil.rmtree(TEMPORARY, ignore_errors=True)
    TEMPORARY.mkdir(parents=True)
    tempfile.tempdir = str(TEMPORARY)
    every = [*suites.LONG, *suites.SCENARIOS, *suites.BOOTS, *suites.programs()]
    return run_all(every, os.environ.get("T", ""), os.environ.get("V", "") not in ("", "0"))


if __name__ == "__main__":
    sys.exit(main())
