"""What `make bench` reads from its runs, shows and writes."""
import json
import tempfile
import unittest
from pathlib import Path

import bench
import bench_work

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

    def test_workloads(self):
        figures = {f"work_x_{policy}_{name}": figure(value) for policy, name, value in (
            ("map", "ticks", 160), ("map", "flushes", 7), ("map", "cleaned", 0),
            ("zap", "ticks", 320), ("zap", "flushes", 8), ("zap", "cleaned", 0))}
        lines = bench_work.tables(figures, {"work_x": "some words"}, "instructions")
        self.assertEqual([line.split() for line in lines[:4]],
                         [["work_x:", "some", "words;", "16", "pages"],
                          ["flushes", "instructions/page"], ["zap", "8", "20"], ["map", "7", "10"]])

    def test_aging_is_compared(self):
        counts = {"aging_flag": (0, 0, 10), "aging_zap": (64, 64, 250),
                  "aging_zap_range": (64, 1, 90)}
        figures = {f"{name}_map_{what}": figure(value) for name, values in counts.items()
                   for what, value in zip(("slow_faults", "flushes", "ticks"), values)}
        lines = bench_work.tables(figures, {}, "instructions")
        self.assertIn("64 faults for 0, 64 flushes for 0, 25.0 times", lines[-3])
        self.assertIn("64 faults for 0, 1 flushes for 0, 9.0 times", lines[-2])

    def test_headline_is_judged(self):
        work = {f"headline_{shape}_{policy}_{what}_marks": figure(value)
                for shape, policies in bench.HEADLINES.items() for policy, marks in policies.items()
                for what, value in zip(("dirty", "accessed"), marks)}
        self.assertEqual(bench.headline_errors(work), [])
        work["headline_split_rfc_dirty_marks"] = figure(2)
        del work["headline_fault_pte_accessed_marks"]
        errors = bench.headline_errors(work)
        self.assertEqual(len(errors), 2)
        self.assertIn("split, rfc: (2,", errors[0])

    def test_more_pages_are_better(self):
        few, many = (bench.Figure(1, "x", pages) for pages in (16, 32))
        image = {"work_a_map_x": few, "work_b_map_x": many, "work_b_map_ticks": many, "walk": few}
        hosted = {"work_a_map_x": many, "work_b_map_x": many, "work_c_map_x": few}
        self.assertEqual(bench_work.best(image, hosted),
                         {"work_b_map_x": many, "work_b_map_ticks": many, "work_a_map_x": many,
                          "work_c_map_x": few})

    def test_what_workloads_are(self):
        self.assertEqual(bench_work.read_about(["noise", "# work work_x: some words\r"]),
                         {"work_x": "some words"})

    def test_scale_is_judged(self):
        names = {"scale_zap_4k_4096": 30, "scale_zap_4k_65536": 32, "scale_log_4096": 10,
                 "scale_log_65536": 12}
        lines = bench.scale_table({name: figure(value) for name, value in names.items()}, "ticks")
        self.assertEqual([line.split() for line in lines[1:3]],
                         [["zap_4k", "30.0", "32.0", "1.07"], ["log", "10.0", "12.0", "1.20!"]])
        self.assertEqual(bench.scale_table({}, "ticks"), [])

    def test_two_cpus(self):
        figures = {"qemu_cpus_1_fast_fault": figure(100), "qemu_cpus_2_fast_fault": figure(102),
                   "qemu_cpus_ratio": figure(1.96), "qemu_cpus_ratio_apart": figure(1.99)}
        line = bench.cpus_table(figures)[0]
        self.assertIn("1.96 times as many", line)
        self.assertIn("of two VMs 1.99 times", line)

    def test_payloads_are_judged(self):
        with tempfile.TemporaryDirectory() as folder:
            good, other, large, empty = (Path(folder) / name
                                         for name in ("a.bin", "a.elf", "large.bin", "empty.bin"))
            for path, size in ((good, 100), (other, 100), (large, 0x1f0001), (empty, 0)):
                path.write_bytes(bytes(size))
            self.assertEqual(bench.payload_error("", "bochs", 512), "")
            self.assertEqual(bench.payload_error(str(good), "bochs", 512), "")
            for name, engine, words in ((good, "qemu", "no VMX"), (other, "bochs", ".bin"),
                                        (large, "bochs", "at most"), (empty, "bochs", "empty"),
                                        (folder, "bochs", "directory"),
                                        (folder + "/none.bin", "bochs", "no such file")):
                error = bench.payload_error(str(name), engine, 512)
                self.assertTrue(error.startswith(f"PAYLOAD={name}: "), error)
                self.assertIn(words, error)
                self.assertNotIn("\n", error)

    def test_what_is_written(self):
        found = json.loads(json.dumps(bench.document({"walk": figure(160.5)},
                                                     {"walk": figure(161.0)},
                                                     {"walk": figure(158.0)},
                                                     {"headline_x": figure(1.0),
                                                      "work_x": figure(1.0)}, "bochs")))
        self.assertEqual(bench.form_errors(found), [])
        self.assertEqual([result["name"] for result in found["results"]],
                         ["headline_x", "walk", "hosted_walk", "hosted_64g_walk",
                          "hosted_headline_x", "hosted_work_x"])
        self.assertEqual(found["results"][1], {"name": "walk", "value": 158.0,
                                               "unit": "instructions", "n": 16})

    def test_bad_forms_are_named(self):
        good = {"name": "walk", "value": 1.0, "unit": "ticks", "n": 1}
        for results, words in (([], "results"), ([good, good], "twice"),
                               ([{**good, "value": "1"}], "value"),
                               ([{"name": "walk"}], "expected")):
            errors = bench.form_errors({"revision": "1", "engine": "bochs", "cpu": "x",
                                        "results": results})
            self.assertTrue(any(words in error for error in errors), (results, errors))
        self.assertEqual(len(bench.form_errors({"results": [good]})), 3)


if __name__ == "__main__":
    unittest.main()
