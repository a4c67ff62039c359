"""What `make test` runs, as data. test.py gives it life.

Boot suites run every test that the image lists. Longest first, so that the two jobs that run at
a time end together.
"""
from dataclasses import dataclass
from pathlib import Path

from engines import BOCHS_MODELS, Boot, kvm_lack

ROOT = Path(__file__).resolve().parents[2]
ELF = ROOT / "build/foliovisor.elf"
ISO = ROOT / "build/foliovisor.iso"
WITH_PML = ("corei7_skylake_x", "corei7_icelake_u", "tigerlake")


@dataclass
class BootSuite:
    name: str
    boot: Boot
    required: tuple = ()	# a test skipped for want of one of these has failed


@dataclass
class Program:
    """Prints TAP, or, with `one_test`, passes by exit status 0 and without a word."""
    name: str
    command: list
    seconds: float = 300
    one_test: bool = False


@dataclass
class Scenario:
    """tests/scenario/FILE.py: run(scenario context) -> list of results."""
    name: str
    file: str
    seconds: float


def two_cpus(boot: Boot) -> tuple:
    return ("two CPUs",) if boot.cpus >= 2 else ()


def qemu(name: str, **how) -> BootSuite:
    boot = Boot("qemu", **how)
    if not boot.pvh:
        boot.iso = ISO
    return BootSuite("boot/qemu-" + name, boot, two_cpus(boot))


def bochs(model: str, cpus: int, as_disk: bool = False, mem: int = 512) -> BootSuite:
    boot = Boot("bochs", cpus=cpus, mem=mem, iso=ISO, model=model, as_disk=as_disk)
    required = two_cpus(boot) + ("VMX",) + (("PML",) if model in WITH_PML else ())
    medium = "-disk" if as_disk else ""
    return BootSuite(f"boot/bochs-{model}-{cpus}{medium}", boot, required)


def kvm(cpus: int) -> BootSuite:
    boot = Boot("kvm", cpus=cpus, iso=ISO)
    return BootSuite(f"boot/kvm-{cpus}", boot, two_cpus(boot) + ("VMX",))


SCENARIOS = [
    Scenario("scenario/memtest", "memtest", 1500),
    Scenario("scenario/hostile", "hostile", 900),
    Scenario("scenario/demo", "demo", 900),
    Scenario("scenario/multiboot", "multiboot", 300),
    Scenario("scenario/bad_guest", "bad_guest", 300),
    Scenario("scenario/bad_machine", "bad_machine", 120),
    Scenario("scenario/bad_input", "bad_input", 120),
]

# A GiB in one piece, for leaves of that size, is soon zeroed by one CPU alone.
BOOTS = [bochs("corei7_icelake_u", 1, as_disk=True, mem=4096), bochs("corei7_icelake_u", 4)]
BOOTS += [bochs(model, 2) for model in BOCHS_MODELS]
BOOTS += [
    qemu("uefi-cd", firmware="uefi", cpus=2),
    qemu("uefi-disk", firmware="uefi", cpus=1, mem=256, as_disk=True),
    qemu("bios-cd", cpus=2),
    qemu("bios-disk", cpus=1, mem=128, as_disk=True),
    qemu("pvh-1cpu-64m", pvh=ELF, cpus=1, mem=64),
    qemu("pvh-2cpu-512m", pvh=ELF, cpus=2),
    qemu("pvh-4cpu-6144m", pvh=ELF, cpus=4, mem=6144),
]
if not kvm_lack():
    BOOTS += [kvm(cpus) for cpus in (1, 2)]


# Minutes each, on both processors: they go first, with the scenarios.
LONG = [
    Program("mutants", ["env", "-u", "T", "make", "-s", "mutants", "Q=1",
                        "SOUND=explore"], 2400, one_test=True),
    Program("explore/scenarios", [str(ROOT / "build/explore/explore"), "TAP=1"], 1800),
    Program("explore/pairs", [str(ROOT / "build/explore/explore"), "T=pair_*", "TAP=1"], 900),
    Program("check/clang", ["make", "-s", "clang-objects"], one_test=True),
]


def programs() -> list:
    # By the sources: build/ may hold programs whose source is gone.
    unit = [Program("unit/" + path.stem, [str(ROOT / "build/unit" / path.stem)])
            for path in sorted((ROOT / "tests/unit").glob("*.c"))]
    fuzz = [Program("fuzz/" + path.stem,
                    ["python3", "-B", "tests/tools/fuzz.py", "--test", path.stem])
            for path in sorted((ROOT / "tests/fuzz").glob("*.c"))]
    return unit + fuzz + [
        Program("explore/selftest", [str(ROOT / "build/explore/selftest")]),
        Program("bench", ["python3", "-B", "tests/tools/bench.py", "--smoke"], one_test=True),
        Program("tools", ["python3", "-B", "tests/tools/selftest.py"]),
        Program("check/layers", ["python3", "-B", "tests/tools/layers.py"], one_test=True),
        Program("check/globals", ["python3", "-B", "tests/tools/no_globals.py", "build/image"],
                one_test=True),
    ]
