"""A hostile guest beside one that works: 100,000 exits of the hostile one, and nobody is harmed.

	make test T=scenario/hostile [SEED=n] [EXITS=n] [SHARD=i/n] [CPU_MODEL=name]

Shard i of n begins a million seeds further on: runs of one night meet no seed twice. A run is
repeated exactly by its seed, since the image is given it at boot, and nothing is typed.
"""
import os
import tempfile
import time
from pathlib import Path

import engines
import machine
import media
import scenario
import shard
import suites

EXITS, SEED, SHARD_SEEDS = 100000, 1, 1000000
SILENCE_SECONDS = 120


def first_seed() -> int:
    """ValueError: a line on what SHARD or SEED should be."""
    part, _ = shard.parse(os.environ.get("SHARD", ""))
    seed = os.environ.get("SEED") or str(SEED)
    if not seed.isdecimal():
        raise ValueError(f"SEED={seed}: expected a number")
    return int(seed) + (part - 1) * SHARD_SEEDS


def heard(context, command: str) -> list:
    """All that the machine says until it ends, or is silent for too long."""
    lines = []
    end = time.monotonic() + context.seconds
    with tempfile.TemporaryDirectory(prefix="foliovisor-") as folder:
        iso = media.make_iso(Path(folder) / "run.iso", suites.ELF, command, {})
        runs = machine.start(engines.Boot("bochs", iso=iso,
                                          model=os.environ.get("CPU_MODEL", "")))
        try:
            while time.monotonic() < end:
                line = runs.read_line(SILENCE_SECONDS)
                if line is None:
                    break
                context.log(line)
                lines.append(line)
        except EOFError:
            pass
        finally:
            machine.discard(runs)
    return lines


def run(context) -> list:
    try:
        command = f"hostile seed={first_seed()} exits={os.environ.get('EXITS', EXITS)}"
    except ValueError as error:
        return [scenario.check("scenario/hostile", [str(error)])]
    context.progress(command)
    lines = heard(context, command + "; quit")
    wrong = [line for line in lines if "FAILED" in line or line.startswith("panic")][:3]
    wrong += scenario.missing(lines, "# stat hostile.failures 0 failures", "quit 0")
    return [scenario.check("scenario/hostile", [f"'{command}': {text}" for text in wrong])]
