"""`make mutants`: every named mutant must be killed by its own test; README.md has the rules.

	T=NAME		one mutant, by name or pattern
	ALL=1		sampled mutants as well: N=150 of them, drawn with SEED=1
	SHARD=i/n	the i-th of n parts: what n such runs print, put together, is the whole
	JOBS=n		at a time; default: all processors
	Q=1		only what is wrong
	SOUND=explore	this kind of test is known to pass on sound code: who says so runs it

A line for each mutant, a line of counts at the end; exit status 1 when one survives that must not.
"""
import fnmatch
import itertools
import os
import random
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

import build		# noqa: E402
import sample		# noqa: E402
import shard		# noqa: E402
from equivalent import EQUIVALENT	# noqa: E402
from mutant import ROOT, Rotten, folded, function_lines, mutated	# noqa: E402
from named import NAMED	# noqa: E402

KILLED, SURVIVED, NOT_BUILT = "killed", "SURVIVED", "NOT BUILT"
EQUIVALENT_CODE = "equivalent"
GUARD = 240			# seconds: against hangs alone
EXPLORE_GUARD = 1200		# the same for a scenario, which ends by itself (MOST=)
SAMPLED_GOAL = 90		# percent, of those that are not listed as equivalent
QUIET = os.environ.get("Q", "") not in ("", "0")


@dataclass(frozen=True)
class Result:
    name: str
    verdict: str
    rule: str			# of a sampled one: the change
    test: str
    how: str


class Progress:
    """One line on a terminal that is written over; nothing elsewhere."""

    def __init__(self, what: str, total: int):
        self.what, self.total, self.done = what, total, 0
        self.lock = threading.Lock()
        self.show = sys.stderr.isatty() and not QUIET

    def step(self, name: str) -> None:
        with self.lock:
            self.done += 1
            if self.show:
                end = "\r" if self.done < self.total else "\n"
                line = f"{self.what} {self.done} of {self.total}: {name}"[:78]
                print(f"\r{line:78}", end=end, file=sys.stderr, flush=True)


def refuse(what: str) -> None:
    print(f"mutants: {what}")
    sys.exit(1)


def jobs() -> int:
    return int(os.environ.get("JOBS") or os.cpu_count() or 1)


def shard_numbers() -> tuple:
    """SHARD=i/n."""
    try:
        return shard.parse(os.environ.get("SHARD", ""))
    except ValueError as error:
        return refuse(str(error))


def parts(test: str) -> tuple:
    """"unit/ept_flush:misuse" -> unit, ept_flush, misuse. "explore/kick" -> explore, main, kick."""
    kind, _, rest = test.partition("/")
    if kind == "explore":
        return kind, "main", rest
    program, _, one = rest.partition(":")
    return kind, program, one


class Suite:
    """All kinds of programs, and what the sources are made of."""

    def __init__(self):
        self.kinds = build.kinds()
        self.depends = {name: build.dependencies(kind.base) for name, kind in self.kinds.items()}
        self.sound = {name: build.Variant("sound-" + name, kind, depends=self.depends[name])
                      for name, kind in self.kinds.items()}
        self.seconds = {}		# of each test, on sound code

    def programs(self, kind: str) -> list:
        if self.kinds[kind].programs:
            return list(self.kinds[kind].programs)
        before, after = self.kinds[kind].main.split("{}")
        return sorted(source[len(before):-len(after)] for source in self.depends[kind]
                      if source.startswith(before))

    def variant(self, kind: str, name: str, file: str, text: str,
                runs_in: tuple = ()) -> build.Variant:
        absent = [source for source in runs_in if file not in self.depends[kind].get(source, ())]
        if absent:
            raise Rotten(f"{absent[0]} does not include {file}")
        return build.Variant(name, self.kinds[kind], file, text, runs_in, self.depends[kind])

    def scenarios(self) -> list:
        """The explorer's, as names of tests."""
        binary = self.sound["explore"].program("main")
        listed = subprocess.run([binary, "LIST=1"], stdout=subprocess.PIPE, text=True, check=True)
        return ["explore/" + line.split("\t")[0] for line in listed.stdout.splitlines()]

    def run_sound(self, test: str) -> build.Ran:
        kind, program, one = parts(test)
        with self.sound[kind].lock:
            binary = self.sound[kind].program(program)
        return build.run_program(binary, self.kinds[kind], one, GUARD)


def fails_on_sound_code(suite: Suite, test: str) -> str:
    kind, program, _ = parts(test)
    if kind not in suite.kinds or program not in suite.programs(kind):
        return f"{test}: no such program"
    try:
        ran = suite.run_sound(test)
    except build.DoesNotBuild as error:
        return f"{test}: {error}"
    return "" if ran.verdict == build.PASSED else f"{test}: {ran.verdict} {ran.how}"


# ---------------------------------------------------------------- named


def other_killer(suite: Suite, variant: build.Variant, kind: str) -> str:
    """The first program that notices what the mutant's own test did not."""
    for program in suite.programs(kind):
        ran = build.run_program(variant.program(program), suite.kinds[kind], "", GUARD)
        if ran.verdict == build.FAILED:
            return f"but {kind}/{program} sees it: {ran.how}"
    return "no test sees it"


def try_named(suite: Suite, mutant: object) -> Result:
    def result(verdict: str, how: str) -> Result:
        return Result(mutant.name, verdict, mutant.rule, mutant.test, how)

    kind, program, one = parts(mutant.test)
    try:
        variant = suite.variant(kind, mutant.name, mutant.file, mutated(mutant), mutant.runs_in)
        if mutant.file not in suite.depends[kind] and not mutant.file.endswith(".h"):
            raise Rotten(f"{mutant.file} is part of no {kind} program")
        ran = build.run_program(variant.program(program), suite.kinds[kind], one, GUARD)
        if ran.verdict == build.FAILED:
            variant.remove()
            return result(KILLED, ran.how)
        if ran.verdict == build.HUNG:
            return result(SURVIVED, f"{ran.how}: not a death")
        if variant.same_code([program]):
            return result(NOT_BUILT, "compiles to the same code")
        return result(SURVIVED, other_killer(suite, variant, kind))
    except (Rotten, build.DoesNotBuild) as error:
        return result(NOT_BUILT, str(error))


def run_named(suite: Suite, pool: ThreadPoolExecutor) -> list:
    pattern = os.environ.get("T", "")
    names = [mutant.name for mutant in NAMED]
    if len(set(names)) != len(names):
        refuse(f"two mutants of one name: {max(names, key=names.count)}")
    chosen = [m for m in NAMED if not pattern or any(fnmatch.fnmatchcase(m.name, one)
                                                     for one in pattern.split())]
    first, shards = shard_numbers()
    chosen = chosen[first - 1::shards]
    known = os.environ.get("SOUND", "").split()
    tests = sorted({mutant.test for mutant in chosen if parts(mutant.test)[0] not in known})
    bad = [words for words in pool.map(lambda t: fails_on_sound_code(suite, t), tests) if words]
    if bad:
        refuse("the code without a mutant fails:\n  " + "\n  ".join(bad))
    progress = Progress("named", len(chosen))

    def one(mutant: object) -> Result:
        result = try_named(suite, mutant)
        progress.step(mutant.name)
        return result

    return list(pool.map(one, chosen))


# ---------------------------------------------------------------- sampled


def check_equivalents() -> None:
    """An entry whose lines are gone from its file is an error."""
    for entry in EQUIVALENT:
        path = ROOT / entry.file
        if not path.is_file() or entry.old not in folded(path.read_text()):
            refuse(f"equivalent.py: `{entry.old}` is no longer in {entry.file}")


def reason_for(change: sample.Change) -> str:
    """Why no test can tell it from the original; "" when nobody says so."""
    for entry in EQUIVALENT:
        if (entry.file, entry.old, entry.new) != (change.file, change.lines(False),
                                                  change.lines(True)):
            continue
        if not entry.within or change.line() - 1 in function_lines(change.text.split("\n"),
                                                                   entry.within):
            return entry.reason
    return ""


def guard_of(suite: Suite, test: str) -> float:
    return EXPLORE_GUARD if parts(test)[0] == "explore" else 10 + 20 * suite.seconds[test]


def kill_sampled(suite: Suite, kind: str, change: sample.Change, tests: list) -> "tuple | None":
    """The verdict, the test, how. None: the change is no C, or the same code."""
    name = f"{kind}-{change.name()}-{change.edits[0][0]}-{change.edits[0][2][:8]}"
    variant = suite.variant(kind, name, change.file, change.applied())
    try:
        if kind == "unit" and variant.same_code([parts(test)[1] for test in tests]):
            return None
        for test in tests:
            _, program, one = parts(test)
            ran = build.run_program(variant.program(program), suite.kinds[kind], one,
                                    guard_of(suite, test))
            # A search that was merely not complete has seen nothing wrong.
            if ran.verdict == build.FAILED or ran.how.startswith(build.NO_END):
                return KILLED, test, ran.how
    except build.DoesNotBuild:
        return None
    finally:
        variant.remove()
    return SURVIVED, "-", "all tests pass"


def try_sampled(suite: Suite, change: sample.Change, order: list) -> "Result | None":
    """The quickest tests first, the explorer's last. None: the change is no mutant."""
    tests = {kind: [t for t in order if parts(t)[0] == kind] for kind in ("unit", "explore")}
    end = kill_sampled(suite, "unit", change, tests["unit"])
    if end and end[0] == SURVIVED:
        end = kill_sampled(suite, "explore", change, tests["explore"])
    if not end:
        return None
    verdict, test, how = end
    reason = reason_for(change)
    if reason and verdict == SURVIVED:
        verdict, how = EQUIVALENT_CODE, reason
    elif reason:
        how = "LISTED AS EQUIVALENT, but: " + how
    rule = f"{change.lines(False)}  =>  {change.lines(True)}"
    return Result(change.name(), verdict, rule, test, how)


def run_sampled(suite: Suite, pool: ThreadPoolExecutor) -> list:
    wanted, seed = int(os.environ.get("N") or 150), os.environ.get("SEED") or "1"
    check_equivalents()
    for test in ["unit/" + program for program in suite.programs("unit")] + suite.scenarios():
        ran = suite.run_sound(test)
        if ran.verdict != build.PASSED:
            refuse(f"the code without a mutant fails: {test}: {ran.how}")
        suite.seconds[test] = ran.seconds
    order = sorted(suite.seconds, key=suite.seconds.get)
    print(f"sampled mutants: N={wanted} SEED={seed}", flush=True)

    # A shard draws every n-th, and until it has its share: not every change compiles.
    first, shards = shard_numbers()
    drawn = itertools.islice(sample.draw(random.Random(seed)), first - 1, None, shards)
    share, results = len(range(first - 1, wanted, shards)), []
    progress = Progress("sampled", share)
    while len(results) < share:
        batch = list(itertools.islice(drawn, min(jobs(), share - len(results))))
        if not batch:
            break
        for result in pool.map(lambda change: try_sampled(suite, change, order), batch):
            if result:
                results.append(result)
                progress.step(result.name)
                print_results([result])
    return results


def report_sampled(results: list) -> bool:
    """True when too few were killed."""
    counts = {verdict: sum(r.verdict == verdict for r in results)
              for verdict in (KILLED, SURVIVED, EQUIVALENT_CODE)}
    hung = sum(r.how.startswith(build.NO_END) for r in results)
    judged = counts[KILLED] + counts[SURVIVED]
    score = 100 * counts[KILLED] / judged if judged else 100
    print(f"sampled: {counts[KILLED]} of {judged} killed, {score:.1f} %, of these {hung} by never "
          f"ending; {counts[EQUIVALENT_CODE]} listed as equivalent")
    return score < SAMPLED_GOAL


# ---------------------------------------------------------------- what is printed


def print_results(results: list) -> None:
    shown = [r for r in results if not QUIET or r.verdict != KILLED]
    widths = [max((len(getattr(r, field)) for r in shown), default=0)
              for field in ("name", "verdict", "test")]
    for r in shown:
        print(f"{r.name:{widths[0]}} | {r.verdict:{widths[1]}} | {r.test:{widths[2]}} | "
              f"{r.rule} | {r.how}", flush=True)


def survivors(results: list) -> list:
    return [r for r in results if r.verdict == SURVIVED]


def main() -> int:
    suite = Suite()
    with ThreadPoolExecutor(jobs()) as pool:
        named = run_named(suite, pool)
        print_results(named)
        sampled = []
        if os.environ.get("ALL", "") not in ("", "0"):
            sampled = run_sampled(suite, pool)
    failed = any(result.verdict != KILLED for result in named)
    every = named + sampled
    if sampled:
        failed |= report_sampled(sampled)
    killed = sum(result.verdict == KILLED for result in every)
    unbuilt = sum(result.verdict == NOT_BUILT for result in every)
    if not every:
        refuse("nothing ran" + (f": T={os.environ['T']}" if os.environ.get("T") else ""))
    if failed or not QUIET:
        print(f"{killed} killed, {len(survivors(every))} survived, {unbuilt} not built")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
