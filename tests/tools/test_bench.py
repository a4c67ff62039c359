"""What `make bench` reads from its runs, shows and writes."""
import json
import unittest

import bench

LINES = ["run: bochs, 1 CPUs", "# stat walk 160.5 ticks", "# stat walk.n 16 operations",
         "# stat walk.target 120 instructions", "# stat host_pages_free 7 pages", "quit 0"]


def figure(value: float, target: float = 0) -> bench.Figure:
    return bench.Figure(value, "instructions", 16, target)


class BenchTest(unittest.TestCase):
    def test_figures_are_read(self):
        self.assertEqual(bench.read_figures(LINES),
                         {"walk": bench.Figure(160.5, "ticks", 16, 120)})

    def test_carriage_returns_are_none(self):
        self.assertEqual(list(bench.read_figures([line + "\r" for line in LINES])), ["walk"])

    def test_targets_are_judged(self):
        lines = bench.table({"walk": figure(160.5, 120), "pair": figure(56, 60)}, {},
                            {"walk": figure(119), "exit": figure(486)}, "bochs")
        self.assertEqual([line.split() for line in lines[1:]],
                         [["pair", "56.0", "-", "-", "-", "60"],
                          ["walk", "160.5!", "-", "-", "119.0", "120"],
                          ["exit", "-", "-", "-", "486.0", "-"]])

    def test_scale_is_judged(self):
        lines = bench.table({"walk": figure(100), "pair": figure(100)},
                            {"walk": figure(109), "pair": figure(89)}, {}, "bochs")
        self.assertIn(" 0.89!", lines[1])
        self.assertIn(" 1.09 ", lines[2])

    def test_headline(self):
        lines = bench.headline_table({"headline_split_map_dirty_marks": figure(1.0),
                                      "headline_split_map_faults": figure(7.0),
                                      "headline_fault_zap_dirty_marks": figure(512.0),
                                      "headline_fault_zap_faults": figure(8.0)})
        self.assertEqual([line.split() for line in lines[1:]],
                         [["split", "map", "1", "7"], ["fault", "zap", "512", "8"]])

    def test_what_is_written(self):
        found = json.loads(json.dumps(bench.document({"walk": figure(160.5)},
                                                     {"walk": figure(161.0)},
                                                     {"walk": figure(158.0)},
                                                     {"headline": figure(1.0)}, "bochs")))
        self.assertEqual(bench.form_errors(found), [])
        self.assertEqual([result["name"] for result in found["results"]],
                         ["walk", "headline", "hosted_walk", "hosted_64g_walk"])
        self.assertEqual(found["results"][0], {"name": "walk", "value": 158.0,
                                               "unit": "instructions", "n": 16})

    def test_bad_forms_are_named(self):
        good = {"name": "walk", "value": 1.0, "unit": "ticks", "n": 1}
        for results, words in (([], "results"), ([good, good], "twice"),
                               ([{**good, "value": "1"}], "value"), ([{"name": "walk"}], "expected")):
            errors = bench.form_errors({"revision": "1", "engine": "bochs", "cpu": "x",
                                        "results": results})
            self.assertTrue(any(words in error for error in errors), (results, errors))
        self.assertEqual(len(bench.form_errors({"results": [good]})), 3)


if __name__ == "__main__":
    unittest.main()
