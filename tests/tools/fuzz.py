"""`make fuzz`: libFuzzer's programs, each from the committed corpus on, and what came of it.

	T=NAME		one program of tests/fuzz, or a pattern
	RUNS=N		inputs for each program, instead of about 20 seconds' worth
	SEED=N		1 if nothing is said; printed
	SHARD=i/n	1/n of the inputs, from a seed of its own
	KEEP=1		afterwards the new inputs that reach more go to tests/fuzz/corpus

One line for each program at the end, also in build/fuzz/results-i-of-n. New inputs are named by
their content, in build/fuzz/corpus/NAME: results and corpora of several shards merge by being
put together. An input that brings a program down is kept in build/fuzz/crashes; a line says how to
run it again.

`fuzz.py --test NAME` is what `make test` runs: TAP; the corpus once more, then fresh inputs.
"""
import fnmatch
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import shard

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build/fuzz"
CORPUS = ROOT / "tests/fuzz/corpus"
KEPT = 150			# inputs of each program, and its regressions
DONE = re.compile(r"^#(\d+)\s+DONE\s+cov: (\d+) ft: (\d+)", re.M)
WHY = re.compile(r"^(?:panic: |==\d+==\s*ERROR: |.*runtime error: |SUMMARY: ).*", re.M)


@dataclass
class Target:
    name: str
    longest: int		# bytes of an input
    runs: int			# about 20 seconds
    smoke: int			# fresh inputs in `make test`: about 10 seconds


TARGETS = [
    Target("load", 10000, 700000, 150000),
    Target("console", 600, 300000, 60000),
    Target("operations", 400, 8000, 2500),
    Target("schedules", 120, 20000, 8000),
]


@dataclass
class Outcome:
    status: int
    executions: int
    features: int
    seconds: float
    output: str

    def why(self) -> str:
        found = WHY.search(self.output)
        return found.group() if found else f"it ended with status {self.status}"


def command(target: Target, *words) -> list:
    return [str(BUILD / target.name), f"-max_len={target.longest}", "-len_control=20",
            "-timeout=60", f"-artifact_prefix={BUILD}/crashes/{target.name}-",
            *map(str, words)]


def run(target: Target, *words) -> Outcome:
    (BUILD / "crashes").mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    ran = subprocess.run(command(target, *words), cwd=ROOT, check=False, text=True,
                         errors="replace", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT)
    done = DONE.search(ran.stdout)
    counts = re.findall(r"^#(\d+)\s", ran.stdout, re.M)
    return Outcome(ran.returncode, int(counts[-1]) if counts else 0,
                   int(done.group(3)) if done else 0, time.monotonic() - started, ran.stdout)


def crash_file(outcome: Outcome) -> str:
    found = re.search(r"Test unit written to (\S+)", outcome.output)
    return os.path.relpath(found.group(1), ROOT) if found else ""


def seed_of(seed: int, name: str, part: int, parts: int) -> int:
    """Of 31 bits, and never 0, which libFuzzer takes for the time of day."""
    words = f"{seed} {name} {part}/{parts}".encode()
    return int.from_bytes(hashlib.sha256(words).digest()[:4], "big") % 0x7fffffff + 1


def inputs(folder: Path) -> list:
    return sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []


# ---------------------------------------------------------------- make fuzz

def fuzz(target: Target, runs: int, seed: int, part: int, parts: int) -> str:
    found = BUILD / "corpus" / target.name
    found.mkdir(parents=True, exist_ok=True)
    before = len(inputs(found))
    own = seed_of(seed, target.name, part, parts)
    outcome = run(target, f"-runs={shard.share(runs, part, parts)}", f"-seed={own}", found,
                  CORPUS / target.name)
    crashes = int(outcome.status != 0)
    if crashes:
        print(f"fuzz: {target.name}: {outcome.why()}")
        again = crash_file(outcome)
        print(f"fuzz: again: build/fuzz/{target.name} {again}" if again else outcome.output[-2000:])
    return (f"fuzz {target.name} shard {part}/{parts} seed {seed} executions {outcome.executions} "
            f"features {outcome.features} new {len(inputs(found)) - before} "
            f"seconds {outcome.seconds:.0f} crashes {crashes}")


def merge(target: Target, name: str, *words) -> list:
    """The smallest set of inputs, of those committed and those found, that reaches all they do."""
    fresh = BUILD / name / target.name
    fresh.mkdir(parents=True, exist_ok=True)
    for path in inputs(fresh):
        path.unlink()
    outcome = run(target, "-merge=1", *words, fresh, CORPUS / target.name,
                  BUILD / "corpus" / target.name)
    if outcome.status or not inputs(fresh):
        sys.exit(f"fuzz: {target.name}: could not be merged: {outcome.why()}")
    return inputs(fresh)


def keep(target: Target) -> None:
    """What reaches each edge, then the longest of what takes edges in other numbers."""
    edges = merge(target, "edges", "-use_counters=0")
    counts = merge(target, "counts")
    counts.sort(key=lambda path: path.stat().st_size, reverse=True)
    for path in inputs(CORPUS / target.name):
        if not path.name.startswith("regression-"):
            path.unlink()
    for path in (edges + counts)[:KEPT]:
        shutil.copy(path, CORPUS / target.name / path.name)
    print(f"fuzz: tests/fuzz/corpus/{target.name}: {len(inputs(CORPUS / target.name))} inputs")


def number(name: str, otherwise: int) -> int:
    text = os.environ.get(name) or str(otherwise)
    if not text.isdecimal() or int(text) == 0:
        sys.exit(f"fuzz: {name}={text}: expected a number from 1")
    return int(text)


def fuzz_all(targets: list) -> int:
    try:
        part, parts = shard.parse(os.environ.get("SHARD", ""))
    except ValueError as error:
        sys.exit(f"fuzz: {error}")
    seed, lines = number("SEED", 1), []
    print(f"fuzz: SEED={seed} SHARD={part}/{parts}", flush=True)
    for target in targets:
        lines.append(fuzz(target, number("RUNS", target.runs), seed, part, parts))
        print(lines[-1], flush=True)
    (BUILD / f"results-{part}-of-{parts}").write_text("".join(line + "\n" for line in lines))
    if os.environ.get("KEEP", "") not in ("", "0"):
        for target in targets:
            keep(target)
    return 1 if any(not line.endswith("crashes 0") for line in lines) else 0


# ---------------------------------------------------------------- make test

def report(index: int, name: str, outcome: Outcome, least: int) -> bool:
    good = outcome.status == 0 and outcome.executions >= least
    if not good:
        print(f"# {outcome.executions} inputs of {least}; {outcome.why()}; {crash_file(outcome)}")
    print(f"{'ok' if good else 'not ok'} {index} - {name}", flush=True)
    return good


def test(target: Target) -> int:
    kept = CORPUS / target.name
    print("TAP version 13\n1..2", flush=True)
    replayed = report(1, f"fuzz/{target.name}/corpus", run(target, "-runs=0", kept),
                      max(1, len(inputs(kept))))
    # What it finds goes to the first folder: not to the one that is committed.
    with tempfile.TemporaryDirectory() as found:
        fresh = report(2, f"fuzz/{target.name}/fresh",
                       run(target, f"-runs={target.smoke}", "-seed=1", found, kept),
                       target.smoke)
    return 0 if replayed and fresh else 1


def main() -> int:
    if len(sys.argv) == 3 and sys.argv[1] == "--test":
        return test(next(target for target in TARGETS if target.name == sys.argv[2]))
    wanted = os.environ.get("T", "") or "*"
    targets = [target for target in TARGETS if fnmatch.fnmatchcase(target.name, wanted)]
    if not targets:
        sys.exit(f"fuzz: T={wanted}: expected one of "
                 + " ".join(target.name for target in TARGETS))
    return fuzz_all(targets)


if __name__ == "__main__":
    sys.exit(main())
