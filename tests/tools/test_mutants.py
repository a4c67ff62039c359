"""The mutants' own tests: a list that rots says so, and each kind of sampled change is made."""
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "mutants"))

import build		# noqa: E402
import mutant		# noqa: E402
import sample		# noqa: E402

TEXT = """\
/* One < two. */
#define MASK (1 << 4)
static int first(int a)
{
	count(a);
	return a;
}

int second(struct lock *l, int b)
{
	write_lock(&l->word);
	if (b < 3 && l->set)
		count(b);
	atomic_or(&l->flags, 1);
	write_unlock(&l->word);
	return first(b);
}
"""


class Named(unittest.TestCase):
    def test_the_line_of_one_function(self):
        changed = mutant.replace_line(TEXT, "count(a);", "", "first")
        self.assertEqual(changed.split("\n")[4], "\t;")
        self.assertEqual(changed.count("\n"), TEXT.count("\n"))

    def test_rot_is_an_error(self):
        for line, within in (("gone();", ""), ("count(b);", "first"), ("}", ""),
                             ("count(a);", "third")):
            with self.assertRaises(mutant.Rotten):
                mutant.replace_line(TEXT, line, "", within)


class Sampled(unittest.TestCase):
    def changes(self, kind: str) -> list:
        return [change for change in sample.changes_of("x.c", TEXT) if change.kind == kind]

    def test_comments_and_directives_are_left_alone(self):
        self.assertTrue(all(change.line() > 4 for change in sample.changes_of("x.c", TEXT)))

    def test_kinds(self):
        for kind, old, new in (
                ("relation", "if (b < 3 && l->set)", "if (b <= 3 && l->set)"),
                ("logic", "if (b < 3 && l->set)", "if (b < 3 || l->set)"),
                ("negated", "if (b < 3 && l->set)", "if (!(b < 3 && l->set))"),
                ("constant", "if (b < 3 && l->set)", "if (b < 4 && l->set)"),
                ("dropped", "count(a);", ";"),
                ("unordered", "atomic_or(&l->flags, 1);",
                 "atomic_write(&l->flags, atomic_read(&l->flags) | (1));"),
                ("swapped", "atomic_or(&l->flags, 1); write_unlock(&l->word);",
                 "write_unlock(&l->word); atomic_or(&l->flags, 1);")):
            made = [(change.lines(False), change.lines(True)) for change in self.changes(kind)]
            self.assertIn((old, new), made)

    def test_a_lock_goes_with_its_unlock(self):
        self.assertEqual(len(self.changes("unlocked")), 1)
        text = self.changes("unlocked")[0].applied()
        self.assertNotIn("lock(&", text)
        self.assertEqual(text.count("\n"), TEXT.count("\n"))


class Verdict(unittest.TestCase):
    def test_of_a_unit_program(self):
        for output, status, wanted in (
                ("1..1\nok 1 - a\n# ok - tests\n", 0, (build.PASSED, "")),
                ("1..0\n# ok - tests\n", 0, (build.NOTHING, "")),
                ("1..2\nok 1 - a\n", 0, (build.FAILED, "1 results, planned 2")),
                ("1..1\n0 != 0x1\nx.c:7: error: Failure!\n", -6, (build.FAILED, "0 != 0x1")),
                ("1..1\n", -11, (build.FAILED, "SIGSEGV, without a word"))):
            self.assertEqual(build.judge_unit(output, status), wanted)


if __name__ == "__main__":
    unittest.main()
