"""`make bench`: what paths and policies cost, hosted and in the image; build/bench.json.

	bench.py --check	judges PAYLOAD and run.py's variables: 0, or 2 after a line an error
	bench.py --needs	prints the purposes that setup.sh must prepare
	bench.py		step through them here, run the image's `bench`, print, write
	bench.py --smoke	does stepping work, is what it would write well-formed; silent if so

Hosted figures come from tests/bench/step, on a small host and on a sparse large one; the image's
from `# stat NAME VALUE UNIT` lines of run.py, whose variables hold (ENGINE, MEM). On Bochs a tick
of the TSC is an instruction. PAYLOAD names a flat payload to run there instead of the built-in
one. Then faults on two CPUs at a time, on Bochs and on QEMU. Then workloads, by policy
(bench_work.py): the image's, and hosted ones where it has none.
"""
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import bench_work
import engines
import media
import options as variables

STEP = variables.ROOT / "build/bench/step"
WORK = variables.ROOT / "build/bench/work"
JSON_FILE = variables.ROOT / "build/bench.json"
SMALL_MIB, LARGE_MIB = 64, 65536
SCALE_MOST = 1.1		# large to small, and back
WORK_PAGES, SMOKE_PAGES = 2048, 512	# the first as in image_work.c
ALL = 262144
HEADLINES = {"split": {"zap": (ALL, ALL), "rfc": (1, ALL), "map": (1, 1), "batch": (1, 1),
                       "pte": (0, 0)},
             "fault": {"zap": (ALL, ALL), "rfc": (ALL, ALL), "map": (ALL, ALL), "batch": (1, 1),
                       "pte": (0, 0)}}		# dirty and accessed marks
FLAT_MOST = 0x200000 - 0x10000	# guest/abi.h: region 0, from where a payload is loaded
STAT = re.compile(r"# stat (\w+)(\.n|\.target)? ([0-9]+(?:\.[0-9]+)?) (\S+)$")


@dataclass
class Figure:
    value: float = 0
    unit: str = ""
    operations: int = 0
    target: float = 0		# 0: none


def read_figures(lines: list) -> dict:
    """Name -> Figure, of a run's lines; other lines are passed over."""
    figures: dict = {}
    for line in lines:
        found = STAT.match(line.strip())
        if not found:
            continue
        name, kind, value, unit = found.groups()
        figure = figures.setdefault(name, Figure())
        if kind == ".n":
            figure.operations = int(float(value))
        elif kind == ".target":
            figure.target = float(value)
        else:
            figure.value, figure.unit = float(value), unit
    # A benchmark says how many operations it measured.
    return {name: figure for name, figure in figures.items() if figure.operations and figure.unit}


def output_of(command: list, **environment: str) -> list:
    """Its lines; what it says besides goes to the terminal. It must end well."""
    process = subprocess.run(command, cwd=variables.ROOT, stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, check=False,
                             env={**os.environ, **environment})
    lines = process.stdout.decode(errors="replace").replace("\r", "").splitlines()
    if process.returncode:
        sys.exit(f"bench: {' '.join(command)}: exit status {process.returncode}; the last line: "
                 + (lines[-1] if lines else "(none)"))
    return lines


def stepped(mebibytes: int) -> dict:
    figures = read_figures(output_of([str(STEP), str(mebibytes)]))
    if not figures:
        sys.exit("bench: nothing was measured by single steps")
    return figures


def hosted_work(pages: int) -> tuple:
    """Figures, and what the workloads are."""
    lines = output_of([str(WORK), str(pages)])
    figures = read_figures(lines)
    if not figures:
        sys.exit("bench: no policy was counted")
    return figures, bench_work.read_about(lines)


def image_figures(script: str, **environment: str) -> dict:
    """What the image says of itself besides is shown."""
    lines = output_of([sys.executable, "-B", "tests/tools/run.py"], EXEC=script, INITRD="",
                      CMDLINE="", **environment)
    for line in dict.fromkeys(line for line in lines if line.startswith("bench")):
        print(line, flush=True)
    return read_figures(lines)


def main_figures(engine: str) -> dict:
    """One CPU: on Bochs counts then repeat exactly."""
    payload = os.environ.get("PAYLOAD", "")
    script = "bench"
    if payload:
        script += " " + media.module_name(Path(payload), variables.built_in_payloads())
    figures = image_figures(script + "; quit", CPUS="1", GUEST=payload)
    if engine != "qemu" and "cpuid_exit" not in figures:
        sys.exit(f"bench: {payload or 'the payload'} was not measured")
    return figures


def cpus_figures(engine: str) -> dict:
    """Of an engine with two CPUs; of none where it is not installed."""
    if not engines.installed(engine):
        print(f"bench: {engine} is not installed, so no figures of two CPUs on it")
        return {}
    found = image_figures("bench-cpus; quit", CPUS="2", ENGINE=engine, MEM="512", FIRMWARE="bios",
                          GUEST="")
    return {f"{engine}_{name}": figure for name, figure in found.items()}


def name_instructions(figures: dict) -> None:
    """Bochs: a tick is one."""
    for figure in figures.values():
        figure.unit = figure.unit.replace("ticks", "instructions")


# ---------------------------------------------------------------- what is shown, what is written

def over(figure: "Figure | None", target: float) -> bool:
    return bool(figure and target and figure.value > target)


def cell(figure: "Figure | None", target: float) -> str:
    if not figure:
        return "-"
    return f"{figure.value:.1f}" + ("!" if over(figure, target) else " ")


def table(small: dict, large: dict, image: dict, engine: str) -> list:
    """One line a benchmark; a figure above its target, or a ratio far from 1, is marked with !."""
    lines = [f"{'':26}{'hosted':>10}{'64 GiB':>10}{'ratio':>8}{engine:>10}{'target':>9}"]
    others = [name for name in image if name not in small and not bench_work.is_work(name)
              and not re.search("(^scale|_cpus)_", name)]
    for name in sorted(small) + others:
        here, far, there = small.get(name), large.get(name), image.get(name)
        target = here.target if here else 0
        ratio = far.value / here.value if here and far and here.value else 0
        skewed = ratio and not 1 / SCALE_MOST <= ratio <= SCALE_MOST
        lines.append(f"{name:26}{cell(here, target):>10}{cell(far, target):>10}"
                     f"{f'{ratio:.2f}' if ratio else '-':>7}{'!' if skewed else ' '}"
                     f"{cell(there, target):>10}{f'{target:.0f}' if target else '-':>9}".rstrip())
    return lines


def scale_table(figures: dict, tick: str) -> list:
    """scale_PATH_PAGES: a line for a path, its cost for a page by how many there are."""
    rows: dict = {}
    for name, figure in figures.items():
        found = re.match(r"scale_(\w+)_(\d+)$", name)
        if found:
            rows.setdefault(found.group(1), {})[int(found.group(2))] = figure.value
    if not rows:
        return []
    sizes = sorted({pages for row in rows.values() for pages in row})
    lines = [f"{tick + ' a page, of':26}" + "".join(f"{pages >> 8:>6} MiB" for pages in sizes)
             + "   most/least"]
    for path, row in rows.items():
        ratio = max(row.values()) / (min(row.values()) or 1)
        lines.append(f"{path:26}" + "".join(f"{row.get(pages, 0):>10.1f}" for pages in sizes)
                     + f"{ratio:>12.2f}{'!' if ratio > SCALE_MOST else ''}")
    return lines + [""]


def cpus_table(figures: dict) -> list:
    """One line an engine."""
    lines = []
    for name, figure in figures.items():
        engine, _, what = name.partition("_")
        if what == "cpus_ratio":
            one, two = (figures[f"{engine}_cpus_{n}_fast_fault"].value for n in (1, 2))
            apart = figures[f"{engine}_cpus_ratio_apart"].value
            lines.append(f"faults without a lock, {engine}: one CPU, one in {one:.0f} ticks; two "
                         f"CPUs, each one in {two:.0f}: {figure.value:.2f} times as many; "
                         f"two of two VMs {apart:.2f} times")
    return lines + [""] if lines else []


def revision() -> str:
    try:
        words = ["git", "describe", "--always", "--dirty"]
        return subprocess.run(words, cwd=variables.ROOT, capture_output=True, check=True,
                              text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def document(small: dict, large: dict, image: dict, work: dict, engine: str) -> dict:
    """bench.json: the image's figures by their names, hosted ones by names of their own; but what
    the image has no memory for (1 GiB in one piece) is hosted."""
    named = {name: figure for name, figure in work.items() if name.startswith("headline_")}
    named.update(image)
    for prefix, figures in (("hosted_", small), ("hosted_64g_", large), ("hosted_", work)):
        named.update({prefix + name: figure for name, figure in figures.items()})
    return {"revision": revision(), "engine": engine,
            "cpu": engines.BOCHS_DEFAULT_MODEL if engine == "bochs" else
            "host" if engine == "kvm" else "max",
            "results": [{"name": name, "value": figure.value, "unit": figure.unit,
                         "n": figure.operations} for name, figure in named.items()]}


def form_errors(found: dict) -> list:
    """What keeps this from being a bench.json."""
    errors = [f"{key}: expected a text" for key in ("revision", "engine", "cpu")
              if not isinstance(found.get(key), str) or not found[key]]
    results = found.get("results")
    if not isinstance(results, list) or not results:
        return errors + ["results: expected some"]
    kinds = {"name": str, "value": float, "unit": str, "n": int}
    for result in results:
        if not isinstance(result, dict) or set(result) != set(kinds):
            errors.append(f"{result}: expected {', '.join(kinds)}")
            continue
        errors += [f"{result['name']}: {key} is {result[key]!r}" for key, kind in kinds.items()
                   if not isinstance(result[key], kind)]
    names = [result["name"] for result in results if isinstance(result, dict)]
    return errors + [f"{name}: twice" for name in set(names) if names.count(name) > 1]


def headline_errors(work: dict) -> list:
    """S3: the marks of 1 GiB. Counts, so they are certain."""
    errors = []
    for shape, policies in HEADLINES.items():
        for policy, wanted in policies.items():
            names = [f"headline_{shape}_{policy}_{what}_marks" for what in ("dirty", "accessed")]
            found = tuple(work[name].value if name in work else None for name in names)
            if found != wanted:
                errors.append(f"headline {shape}, {policy}: {found} marks, expected {wanted}")
    return errors


def smoke() -> int:
    work = hosted_work(SMOKE_PAGES)[0]
    written = json.dumps(document(stepped(SMALL_MIB), {}, {}, work, "bochs"))
    errors = form_errors(json.loads(written))
    errors += headline_errors(work)
    for error in errors:
        print(error)
    return 1 if errors else 0


def payload_error(name: str, engine: str, mem: int) -> str:
    """One line on what keeps this file from being the payload; "" for nothing."""
    path = Path(name)
    error = variables.file_error("PAYLOAD", path, mem) if name else ""
    if error or not name:
        return error
    if path.suffix != ".bin":
        return f"PAYLOAD={name}: expected a flat payload, whose name ends in .bin"
    if path.stat().st_size > FLAT_MOST:
        return (f"PAYLOAD={name}: found {path.stat().st_size} bytes, expected a flat payload of at "
                f"most {FLAT_MOST}")
    if engine == "qemu":
        return f"PAYLOAD={name}: ENGINE=qemu has no VMX to run it; ENGINE=bochs emulates VMX"
    return ""


def judge() -> tuple:
    """The engine, and what is wrong, a line each."""
    chosen = variables.read({**os.environ, "GUEST": "", "INITRD": "", "CMDLINE": "", "EXEC": ""})
    engine, error = engines.choose(chosen.engine, chosen.firmware, False, chosen.mem)
    payload = payload_error(os.environ.get("PAYLOAD", ""), engine, chosen.mem)
    return engine, chosen.errors + [line for line in (error, payload) if line]


def measure(engine: str) -> None:
    tick = "instructions" if engine == "bochs" else "ticks"
    began = time.monotonic()
    print("bench: instructions, hosted by single steps, in the image by the TSC", flush=True)
    image = main_figures(engine)
    if engine == "bochs":
        name_instructions(image)
    for where in dict.fromkeys((engine, "qemu")):
        image.update(cpus_figures(where))
    small, large = stepped(SMALL_MIB), stepped(LARGE_MIB)
    work, about = hosted_work(WORK_PAGES)
    print("\n".join(table(small, large, image, engine) + [""] + scale_table(image, tick)
                    + cpus_table(image)
                    + bench_work.tables(bench_work.best(image, work), about, tick)))
    JSON_FILE.write_text(json.dumps(document(small, large, image, work, engine), indent=1) + "\n")
    print(f"bench: {time.monotonic() - began:.0f} s; written to "
          f"{JSON_FILE.relative_to(variables.ROOT)}; ! is above the target, "
          "or not the same on 64 GiB or on more pages")


def main() -> int:
    if "--smoke" in sys.argv:
        return smoke()
    engine, errors = judge()
    for error in errors:
        print(error, file=sys.stderr)
    if errors:
        return 2
    if "--needs" in sys.argv:
        uefi = ["uefi"] if os.environ.get("FIRMWARE") == "uefi" else []
        print(" ".join(dict.fromkeys(engines.NEEDS[engine] + engines.NEEDS["qemu"] + uefi)))
    elif "--check" not in sys.argv:
        measure(engine)
    return 0


if __name__ == "__main__":
    sys.exit(main())
