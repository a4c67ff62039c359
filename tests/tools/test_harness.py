"""The harness judges fakes: whatever a machine does, the verdict is right and names the test."""
import contextlib
import io
import json
import sys
import tempfile
import time
import unittest
from pathlib import Path

import machine
import run
import suites
import test as harness
from session import BOOT, Limits, Session
from tap import FAILED, PASSED, SKIPPED, Result, Tap

FAKE = str(Path(__file__).with_name("fake_engine.py"))


def fake_command(tests: dict, boot: str = "ok", memory: str = "") -> list:
    return [sys.executable, "-B", FAKE,
            json.dumps({"tests": tests, "boot": boot, "memory": memory})]


def start_fake(*arguments) -> machine.Machine:
    return machine.Machine(fake_command(*arguments), Path(tempfile.mkdtemp()))


def run_fake(tests: dict, boot: str = "ok", memory: str = "", limits: Limits = None,
             **how) -> list:
    limits = limits or Limits(boot=2, silence=0.5, total=30)
    return Session(start=lambda: start_fake(tests, boot, memory), limits=limits, **how).run()


def verdicts(results: list) -> dict:
    return {result.name: result.verdict for result in results}


class SessionTest(unittest.TestCase):
    def expect_failure(self, action: str, words: str) -> None:
        """The bad test fails by its name and reason; the tests around it are not lost."""
        results = run_fake({"a/first": "ok", "b/bad": action, "b/last": "ok"})
        self.assertEqual(verdicts(results), {BOOT: PASSED, "a/first": PASSED, "b/bad": FAILED,
                                             "b/last": PASSED})
        self.assertIn(words, results[2].words)

    def test_good_ones_pass(self):
        self.assertEqual(verdicts(run_fake({"a/one": "ok", "b/two": "ok"})),
                         {BOOT: PASSED, "a/one": PASSED, "b/two": PASSED})

    def test_not_ok(self):
        self.expect_failure("fail", "x.c:3: expected: up")

    def test_hang(self):
        self.expect_failure("hang", "nothing heard for")

    def test_death(self):
        self.expect_failure("die", "the machine ended")

    def test_panic_is_quoted(self):
        self.expect_failure("panic", "the tables are gone")

    def test_short_plan(self):
        self.expect_failure("short", "2 tests planned, 1 reported")

    def test_no_plan(self):
        self.expect_failure("planless", "no plan")

    def test_garbage(self):
        self.expect_failure("garbage", "no plan")

    def test_result_of_another_test(self):
        self.expect_failure("alias", "reported as some/other")

    def test_two_plans(self):
        self.expect_failure("twice", "two plans")

    def test_empty_plan(self):
        self.expect_failure("empty", "not one test")

    def test_skip(self):
        results = run_fake({"b/vmx": "skip"})
        self.assertEqual(results[1], Result("b/vmx", SKIPPED, "needs VMX"))

    def test_skip_of_what_the_machine_has(self):
        self.assertEqual(verdicts(run_fake({"b/vmx": "skip"}, required=("VMX",)))["b/vmx"],
                         FAILED)

    def test_failed_test_is_not_run_again(self):
        with tempfile.TemporaryDirectory() as folder:
            results = run_fake({"b/once": "die-once"}, memory=folder + "/died")
        self.assertEqual(verdicts(results)["b/once"], FAILED)

    def test_silent_boot(self):
        results = run_fake({"a/one": "ok"}, boot="silent", limits=Limits(boot=0.5))
        self.assertEqual(verdicts(results), {BOOT: FAILED})
        self.assertIn("nothing heard", results[0].words)

    def test_refused_boot_is_quoted(self):
        results = run_fake({"a/one": "ok"}, boot="dies")
        self.assertEqual(verdicts(results), {BOOT: FAILED})
        self.assertIn("no tables", results[0].words)

    def test_no_tests_listed(self):
        self.assertEqual(verdicts(run_fake({})), {BOOT: FAILED})

    def test_too_many_restarts(self):
        tests = {f"b/t{i}": "die" for i in range(5)}
        results = run_fake(tests, limits=Limits(boot=2, silence=1, total=30, restarts=1))
        self.assertEqual(set(verdicts(results).values()), {PASSED, FAILED})
        self.assertEqual(len(results), 6)
        self.assertIn("not run", results[-1].words)

    def test_total_time(self):
        results = run_fake({"b/one": "hang", "b/two": "ok"},
                           limits=Limits(boot=2, silence=60, total=1.5))
        self.assertEqual(verdicts(results), {BOOT: PASSED, "b/one": FAILED, "b/two": FAILED})

    def test_wanted_only(self):
        results = run_fake({"a/one": "ok", "b/two": "fail"}, wanted=lambda name: name == "a/one")
        self.assertEqual(verdicts(results), {BOOT: PASSED, "a/one": PASSED})

    def test_missing_engine(self):
        with self.assertRaises(machine.MachineError):
            machine.Machine(["/nonexistent/engine"], Path(tempfile.mkdtemp()))

    def test_nothing_is_left_running(self):
        fake = start_fake({}, "silent")
        fake.stop()
        self.assertIsNotNone(fake.process.poll())


class TapTest(unittest.TestCase):
    def why(self, *lines: str) -> str:
        tap = Tap()
        for line in lines:
            tap.feed(line)
        return tap.why_not()

    def test_complete(self):
        self.assertEqual(self.why("TAP version 13", "1..2", "ok 1 - a", "ok 2 - b"), "")

    def test_plan_may_come_last(self):
        self.assertEqual(self.why("ok 1 - a", "1..1"), "")

    def test_missing(self):
        self.assertIn("2 tests planned, 1", self.why("1..2", "ok 1 - a"))

    def test_too_many(self):
        self.assertIn("1 tests planned, 2", self.why("1..1", "ok 1 - a", "ok 2 - b"))

    def test_wrong_number(self):
        self.assertIn("result 3 where 2", self.why("1..2", "ok 1 - a", "ok 3 - b"))

    def test_bail_out(self):
        self.assertIn("Bail out", self.why("1..1", "ok 1 - a", "Bail out! no disk"))

    def test_words_that_look_alike(self):
        self.assertIn("no plan", self.why("okay", "1..two", "notok 1", "guest| ok 1 - a"))


class ProgramTest(unittest.TestCase):
    """Hosted programs: exit status and plan must agree."""

    def judge(self, code: str, one_test: bool = False, seconds: float = 20) -> list:
        program = suites.Program("p", [sys.executable, "-c", code], seconds, one_test)
        context = harness.Context("p", seconds, None, lambda line: None, lambda what: None)
        return harness.run_program(program, context)

    def test_good(self):
        self.assertEqual(verdicts(self.judge("print('1..1\\nok 1 - a')")), {"a": PASSED})

    def test_crash_after_the_plan(self):
        found = self.judge("print('1..1\\nok 1 - a', flush=True); import os; os.abort()")
        self.assertEqual(found[-1].verdict, FAILED)

    def test_crash_within(self):
        found = self.judge("print('1..2\\nok 1 - a\\n# running b')")
        self.assertEqual(found[-1].verdict, FAILED)
        self.assertIn("in b", found[-1].words)

    def test_silence(self):
        self.assertEqual(verdicts(self.judge("pass")), {"p": FAILED})

    def test_empty_plan(self):
        self.assertEqual(verdicts(self.judge("print('1..0')")), {"p": FAILED})

    def test_hang(self):
        found = self.judge("import time; time.sleep(60)", seconds=0.5)
        self.assertIn("not done after", found[-1].words)

    def test_one_test_that_speaks(self):
        self.assertEqual(verdicts(self.judge("print('a finding')", one_test=True)),
                         {"p": FAILED})

    def test_one_test_that_is_silent(self):
        self.assertEqual(verdicts(self.judge("pass", one_test=True)), {"p": PASSED})


class CountTest(unittest.TestCase):
    """The last line and the exit status of the whole."""

    def count(self, *codes: str) -> tuple:
        every = [suites.Program(f"p{i}", [sys.executable, "-c", code])
                 for i, code in enumerate(codes)]
        shown = io.StringIO()
        with contextlib.redirect_stdout(shown), tempfile.TemporaryDirectory() as folder:
            logs, harness.LOGS = harness.LOGS, Path(folder)
            try:
                status = harness.run_all(every, "", False)
            finally:
                harness.LOGS = logs
        return shown.getvalue().splitlines()[-1], status

    def test_all_well(self):
        self.assertEqual(self.count("print('1..2\\nok 1 - a\\nok 2 - b # SKIP no')"),
                         ("1 passed, 0 failed, 1 skipped", 0))

    def test_one_failed(self):
        self.assertEqual(self.count("print('1..1\\nok 1 - a')", "print('1..1\\nnot ok 1 - b')"),
                         ("1 passed, 1 failed, 0 skipped", 1))

    def test_nothing_ran(self):
        self.assertEqual(self.count(), ("0 passed, 0 failed, 0 skipped", 1))

    def test_only_skips(self):
        self.assertEqual(self.count("print('1..1\\nok 1 - a # SKIP no')"),
                         ("0 passed, 0 failed, 1 skipped", 1))


class ChoiceTest(unittest.TestCase):
    """Which suites T starts."""
    EVERY = [suites.Scenario("scenario/hostile", "hostile", 1),
             suites.Scenario("scenario/demo", "demo", 1),
             suites.Program("fuzz/load", []), suites.Program("unit/pool", []),
             suites.Program("mutants", [], one_test=True)]

    def expect(self, pattern: str, *names: str) -> None:
        self.assertEqual([suite.name for suite in self.EVERY
                          if harness.chosen(suite, pattern, self.EVERY)], list(names))

    def test_no_pattern_is_all(self):
        self.expect("", *[suite.name for suite in self.EVERY])

    def test_a_suite_alone(self):
        self.expect("scenario/hostile", "scenario/hostile")
        self.expect("mutants", "mutants")

    def test_a_family_alone(self):
        self.expect("scenario/*", "scenario/hostile", "scenario/demo")

    def test_a_test_of_a_program(self):
        self.expect("fuzz/load/corpus", "fuzz/load")

    def test_a_name_of_no_family_is_asked_of_all_programs(self):
        self.expect("hands_out_each_page_once", "fuzz/load", "unit/pool")


class RunVerdictTest(unittest.TestCase):
    """`make run` ends with what the image says, and with 1 when it says nothing."""

    def status(self, text: bytes, expects_guest: bool = True) -> int:
        verdict = run.Verdict()
        for i in range(0, len(text), 7):		# lines come in pieces
            verdict.see(text[i:i + 7])
        with contextlib.redirect_stderr(io.StringIO()):
            return verdict.status(expects_guest)

    def test_clean(self):
        self.assertEqual(self.status(b"x\r\n# stat guest_exit_status 0 status\r\nquit 0\r\n"), 0)

    def test_guests_status(self):
        self.assertEqual(self.status(b"# stat guest_exit_status 33 status\r\nquit 0\r\n"), 33)

    def test_status_256_is_no_success(self):
        self.assertEqual(self.status(b"# stat guest_exit_status 256 status\r\nquit 0\r\n"), 1)

    def test_no_status(self):
        self.assertEqual(self.status(b"quit 0\r\n"), 1)

    def test_no_guest_expected(self):
        self.assertEqual(self.status(b"demo\r\nquit 0\r\n", expects_guest=False), 0)

    def test_end_without_quit(self):
        self.assertEqual(self.status(b"demo\r\n", expects_guest=False), 1)

    def test_panic(self):
        self.assertEqual(self.status(b"# stat guest_exit_status 0 status\r\n"
                                     b"panic: CPU 0: no\r\nquit 0\r\n"), 1)

    def test_command_that_is_none(self):
        self.assertEqual(self.status(b"unknown command 'soft'; 'help' lists them\r\nquit 0\r\n",
                                     expects_guest=False), 1)

    def test_a_guest_can_not_forge_it(self):
        self.assertEqual(self.status(b"guest| # stat guest_exit_status 0 status\r\nquit 0\r\n"), 1)

    def test_silence_ends_the_run(self):
        fake = start_fake({}, "silent")
        started = time.monotonic()
        verdict = run.Verdict()
        verdict.see(b"the last words\n")
        try:
            problem = run.bridge(fake, verdict, 0.5)
        finally:
            machine.discard(fake)
        self.assertIn("the last words", problem)
        self.assertLess(time.monotonic() - started, 20)


if __name__ == "__main__":
    unittest.main()
