"""The terminal model, and what the memtest scenario reads from it."""
import importlib.util
import unittest
from pathlib import Path

from screen import Screen

SCENARIO = Path(__file__).resolve().parents[1] / "scenario/memtest.py"


def load_scenario():
    spec = importlib.util.spec_from_file_location("scenario_memtest", SCENARIO)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def frame(test: int, errors: int) -> bytes:
    return (f"\x1b[2;30H\x1b[0m| Pass  7% ##\x1b[4;30H| Test #{test:<2} [A name]"
            f"\x1b[9;1HUsing: Core #0                            | Pass:  0        "
            f"Errors: {errors}   ").encode()


class ScreenTest(unittest.TestCase):
    def test_cut_anywhere(self):
        whole = b"\x1b[2J\x1b[?25l\x1b[3;5Hhello\x1b[7m \x1b[0mworld\r\nx"
        for cut in range(len(whole)):
            screen = Screen()
            screen.feed(whole[:cut])
            screen.feed(whole[cut:])
            self.assertEqual((screen.line(2), screen.line(3)), ("    hello world", "x"))

    def test_edges(self):
        screen = Screen()
        screen.feed(b"\x1b[99;99Hab\x1b[0;0Hc\n" * 40 + b"\x1b[" + b"1" * 100)
        self.assertEqual(screen.line(24)[-1], "a")

    def test_clear(self):
        screen = Screen()
        screen.feed(b"words\x1b[2J")
        self.assertEqual(screen.text().strip(), "")


class MemtestTest(unittest.TestCase):
    def judge(self, frames: list) -> tuple:
        watch = load_scenario().Watch()
        for test, errors in frames:
            watch.see(frame(test, errors))
        return watch.done, watch.wrong

    def test_all_ten(self):
        frames = [(test, 0) for test in range(11)] + [(10, 0)] * 3
        self.assertEqual(self.judge(frames), (True, ""))

    def test_not_done_before_the_end_of_nine(self):
        self.assertEqual(self.judge([(test, 0) for test in range(10)]), (False, ""))

    def test_any_error(self):
        self.assertIn("Errors: 3", self.judge([(0, 0), (1, 3)])[1])

    def test_late_error(self):
        frames = [(test, 0) for test in range(11)] + [(10, 1)]
        self.assertIn("Errors: 1", self.judge(frames)[1])

    def test_short_tests_may_go_unseen(self):
        frames = [(test, 0) for test in range(3, 11)] + [(10, 0)] * 3
        self.assertEqual(self.judge(frames), (True, ""))

    def test_skipped_test(self):
        frames = [(test, 0) for test in range(11) if test != 4] + [(10, 0)] * 3
        self.assertIn("test #4", self.judge(frames)[1])


if __name__ == "__main__":
    unittest.main()
