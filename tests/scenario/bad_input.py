"""`make run` with variables that make no sense: a line for each, status 2, nothing started."""
import tempfile
from pathlib import Path

import engines
import scenario

NOTHING_STARTED = "run: "		# the line that precedes every start


def refuses(context, name: str, expected: list, **variables) -> object:
    status, lines = scenario.run_command(context, 30, **variables)
    wrong = [] if status == 2 else [f"exit status {status}, expected 2"]
    wrong += scenario.missing(lines, *expected)
    if len(lines) != len(expected):
        wrong.append(f"expected {len(expected)} lines, found {len(lines)}: {' / '.join(lines)}")
    if any(line.startswith(NOTHING_STARTED) for line in lines):
        wrong.append("something was started")
    return scenario.check("bad_input/" + name, wrong)


def by_make(context) -> object:
    """The same through make itself, which adds a line of its own and ends with 2."""
    status, lines = scenario.run_command(context, 30, ("make", "run", "CPUS=0", "GUEST=/none"))
    wrong = [] if status == 2 else [f"exit status {status}, expected 2"]
    return scenario.check("bad_input/by_make", wrong + scenario.missing(
        lines, "CPUS=0: expected a number", "GUEST=/none: no such file"))


def daemon_command(context) -> object:
    """The console's `daemon`, right and wrong; a wrong one is a line, and the next is served."""
    commands = ("daemon nosuch on", "daemon flush on 0", "daemon flush on 5 x",
                "daemon flush maybe", "daemon flush on 1000 8", "daemon flush on", "daemon",
                "daemon flush off", "quit 3")
    status, lines = scenario.run_command(context, 60, ENGINE="qemu", EXEC=";".join(commands))
    wrong = [] if status == 3 else [f"exit status {status}, expected 3"]
    return scenario.check("bad_input/daemon", wrong + scenario.missing(
        lines, "daemon: 'nosuch': expected one of reclaim flush ksm numa",
        "daemon: '0': expected steps a second, 1 to 1000000",
        "daemon: 'x': expected pages a step, 1 to 16777216",
        "daemon: 'maybe': expected on [STEPS_A_SECOND [PAGES_A_STEP]], or off",
        "daemon: flush is on already", "flush    on"))


def run(context) -> list:
    results = [
        refuses(context, "all_at_once", ["CPUS=0", "MEM=-5", "VCPUS=two", "GUEST_MEM=99999999999",
                                         "ENGINE=vmware", "LOG=all", "POLICY=best"],
                CPUS="0", MEM="-5", VCPUS="two", GUEST_MEM="99999999999", ENGINE="vmware",
                LOG="all", POLICY="best"),
        refuses(context, "bochs_uefi", ["ENGINE=qemu"], ENGINE="bochs", FIRMWARE="uefi"),
        refuses(context, "qemu_guest", ["ENGINE=bochs"], ENGINE="qemu", GUEST="/etc/passwd"),
        by_make(context),
        daemon_command(context),
    ]
    if engines.kvm_lack():
        results.append(refuses(context, "no_kvm", ["ENGINE=bochs"], ENGINE="kvm"))
    with tempfile.TemporaryDirectory() as folder:
        huge, empty = Path(folder) / "huge", Path(folder) / "empty"
        with open(huge, "wb") as file:
            file.truncate(4 << 30)
        empty.touch()
        results += [
            refuses(context, "guest_of_4_gib", ["found 4294967296 bytes"], GUEST=str(huge)),
            refuses(context, "empty_guest", ["found an empty file"], GUEST=str(empty)),
            refuses(context, "directory", ["found a directory"], GUEST=folder),
            refuses(context, "missing_guest", ["no such file"], GUEST=folder + "/none"),
        ]
    return results
