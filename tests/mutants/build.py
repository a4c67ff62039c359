"""Building and running a program with one file of the sources replaced.

What the change touches is compiled again (a header: all that includes it, by the compiler's own
lists), everything else is linked as make built it. The sources themselves are never changed.
"""
import os
import re
import resource
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from mutant import ROOT

BUILD = Path("build/mutants")
# The explorer itself, compiled in its own way: tests/explore/rules.mk.
EXPLORER = tuple(f"tests/explore/{own}" for own in
                 ("memory.c", "actor.c", "search.c", "report.c", "main.c", "switch.S")
                 ) + ("tests/host/arena.c",)
TAP = re.compile(r"^(1\.\.\d|(not )?ok |# )")
OUTPUT_MAX = 16 << 20		# bytes that a program may print

NO_END = "no end in"
PASSED, FAILED, HUNG, NOTHING = "passed", "failed", "hung", "no such test"


@dataclass(frozen=True)
class Ran:
    verdict: str
    how: str			# the first line that says what is wrong
    seconds: float


class DoesNotBuild(Exception):
    """The change is no C, or no program."""


@dataclass(frozen=True)
class Kind:
    """How programs of one kind are compiled and linked, and what their end means."""
    base: Path			# the unmutated objects: BASE/SOURCE.o, and .d beside it
    compile: list		# command, up to the includes
    link: list			# options after the objects
    common: tuple		# sources of every program, by folder and name patterns
    main: str			# the source of a program, {} is its name
    judge: object		# (output, exit status) -> (verdict, how)
    after: tuple = ()		# a command for each object that was compiled
    programs: tuple = ()	# () means every source that `main` fits
    apart: tuple = ()		# sources in the folders of `common` that are not
    fixed: tuple = ()		# sources that stay as they are, whatever they include

    def is_common(self, source: str) -> bool:
        return source.startswith(self.common) and source not in self.apart


def judge_unit(output: str, status: int) -> tuple:
    """A cmocka program that stops at its first failure, with words of it before the TAP."""
    if status:
        words = [line for line in output.splitlines() if line.strip() and not TAP.match(line)]
        end = signal.Signals(-status).name if status < 0 else f"status {status}"
        return FAILED, (words + [f"{end}, without a word"])[0]
    planned = re.search(r"^1\.\.(\d+)", output, re.M)
    good = len(re.findall(r"^ok \d+", output, re.M))
    if not planned or int(planned.group(1)) != good:
        return FAILED, f"{good} results, planned {planned.group(1) if planned else 'nothing'}"
    return (PASSED, "") if good else (NOTHING, "")


RESULT = re.compile(r"^(ok|sampled|FAIL|DEADLOCK|STEP-BOUND|TIMEOUT) +\S+ +(\S+)", re.M)
FOUND = re.compile(r"found: (.*)")
SCHEDULE = re.compile(r"REPLAY=(\S+)")


def judge_explore(output: str, status: int) -> tuple:
    """The explorer: a line for each scenario and memory model."""
    if status < 0:
        return FAILED, f"{signal.Signals(-status).name}, without a word"
    ends = RESULT.findall(output)
    bad = next((end for end in ends if end[0] in ("FAIL", "DEADLOCK", "STEP-BOUND")), None)
    if bad:
        found, schedule = FOUND.search(output), SCHEDULE.search(output)
        return FAILED, (f"{bad[0]} {bad[1]} {schedule.group(1) if schedule else ''}: "
                        f"{found.group(1) if found else ''}")
    if status == 2:
        return NOTHING, output.strip()
    if status or any(end[0] == "TIMEOUT" for end in ends):
        return HUNG, "a search was not complete"
    return (PASSED, "") if ends else (NOTHING, "")


def kinds() -> dict:
    """By the first word of a test's name. Compilers and flags are make's (rules.mk)."""
    compiler = shlex.split(os.environ.get("MUTANT_CC", "gcc"))
    return {
        "unit": Kind(base=BUILD / "base",
                     compile=compiler + shlex.split(os.environ.get("MUTANT_CFLAGS", "")) + ["-w"],
                     link=["-no-pie", "-Wl,--wrap=port_relax", "-lcmocka", "-lpthread"],
                     common=("mm/", "ept/", "guest/", "tests/host/", "tests/mutants/"),
                     main="tests/unit/{}.c", judge=judge_unit),
        "explore": Kind(base=Path("build/explore"),
                        compile=["clang", *shlex.split(os.environ.get("EXPLORE_CFLAGS", "")), "-w"],
                        link=["-no-pie"],
                        common=("mm/", "ept/", "tests/host/", "tests/explore/"),
                        main="tests/explore/{}.c", judge=judge_explore,
                        after=tuple(shlex.split(os.environ.get("EXPLORE_AFTER", ""))),
                        programs=("main",),
                        apart=tuple(f"tests/explore/{other}.c" for other in
                                    ("main", "selftest", "programs")),
                        fixed=EXPLORER),
    }


def dependencies(base: Path) -> dict:
    """Source -> the files that it is made of, itself first."""
    found = {}
    for path in (ROOT / base).rglob("*.d"):
        first = path.read_text().replace("\\\n", " ").split("\n", 1)[0]
        files = first.split(":", 1)[1].split()
        # What is left of a source that was removed is no part of a program.
        if (ROOT / files[0]).is_file():
            found[files[0]] = files
    return found


def limits() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (OUTPUT_MAX, OUTPUT_MAX))


def run_program(binary: Path, kind: Kind, test: str, guard: float) -> Ran:
    """One test of the program, "" for all. `guard` is against hangs alone: no test is timed.

    A program of its own kind takes the test as an argument, the others from the environment.
    """
    environment = dict(os.environ, CMOCKA_MESSAGE_OUTPUT="TAP", CMOCKA_TEST_ABORT="1")
    environment.pop("MUTANT_TEST", None)
    command = [str(binary)]
    if kind.programs:
        command += ["MOST=20000000", "T=" + test]
    elif test:
        environment["MUTANT_TEST"] = test
    started = time.monotonic()
    with tempfile.TemporaryFile(dir=binary.parent) as output:
        child = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output,
                                 stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT,
                                 start_new_session=True, preexec_fn=limits)
        try:
            status = child.wait(guard)
        except subprocess.TimeoutExpired:
            status = None
        try:
            os.killpg(child.pid, signal.SIGKILL)	# what it forked, too
        except ProcessLookupError:
            pass
        child.wait()
        output.seek(0)
        words = output.read().decode(errors="replace")
    seconds = time.monotonic() - started
    if status is None:
        return Ran(HUNG, f"{NO_END} {guard:.0f} s", seconds)
    return Ran(*kind.judge(words, status), seconds)


@dataclass
class Variant:
    """The sources with one file replaced (or none), and what has been built of them."""
    name: str
    kind: Kind
    file: str = ""
    text: str = ""
    runs_in: tuple = ()		# of those made of it, which are; () means all
    depends: dict = field(default_factory=dict)
    compiled: dict = field(default_factory=dict)	# source -> object, as far as they differ

    def __post_init__(self) -> None:
        self.folder = ROOT / BUILD / "work" / re.sub(r"[^\w.]+", "-", self.name)
        self.lock = threading.Lock()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        if self.file:
            (self.folder / self.file).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / self.file).write_text(self.text)

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def object_of(self, source: str) -> Path:
        """The unmutated one, or one made of the change. Raises DoesNotBuild."""
        base = ROOT / self.kind.base / (source + ".o")
        if not self.file or self.file not in self.depends[source] or source in self.kind.fixed:
            return base
        if self.runs_in and source not in self.runs_in:
            return base
        if source not in self.compiled:
            out = self.folder / (source + ".o")
            out.parent.mkdir(parents=True, exist_ok=True)
            changed = self.folder.relative_to(ROOT)
            path = changed / source if source == self.file else source
            compiler, *flags = self.kind.compile
            command = [compiler, f"-I{changed}", *flags, f"-ffile-prefix-map={changed}/=", "-c",
                       str(path), "-o", str(out)]
            done = subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.PIPE, check=False)
            if done.returncode:
                errors = done.stderr.decode(errors="replace").splitlines()
                raise DoesNotBuild(next((e for e in errors if "error:" in e), "compiler failed"))
            if self.kind.after:
                subprocess.run([*self.kind.after, str(out)], cwd=ROOT, check=True)
            same = out.read_bytes() == base.read_bytes()
            self.compiled[source] = base if same else out
        return self.compiled[source]

    def common_sources(self) -> list:
        return sorted(s for s in self.depends if self.kind.is_common(s))

    def same_code(self, programs: list) -> bool:
        """True when everything compiles to the bytes that it did before."""
        mains = [self.kind.main.format(program) for program in programs]
        return all(str(self.object_of(source)).startswith(str(ROOT / self.kind.base))
                   for source in self.common_sources() + mains)

    def program(self, name: str) -> Path:
        """Links it, once."""
        out = self.folder / name
        if out.exists():
            return out
        sources = self.common_sources() + [self.kind.main.format(name)]
        objects = [str(self.object_of(source)) for source in sources]
        done = subprocess.run([self.kind.compile[0], "-o", str(out), *objects, *self.kind.link],
                              cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                              check=False)
        if done.returncode:
            raise DoesNotBuild(done.stderr.decode(errors="replace").strip().splitlines()[-1])
        return out
