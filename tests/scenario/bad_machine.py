"""Machines that the image can't run on: a sentence on the console and the end, never a hang."""
import engines
import machine
import scenario
import suites

MACHINES = {
    # name: (the machine, what the sentence speaks of)
    "no_long_mode": (engines.Boot("qemu", pvh=suites.ELF, model="qemu32"), "no 64-bit mode"),
    "no_1g_pages": (engines.Boot("qemu", pvh=suites.ELF, model="qemu64"), "no 1 GiB pages"),
    "little_memory": (engines.Boot("qemu", pvh=suites.ELF, mem=32), "at least 64 MiB"),
    "little_memory_bios": (engines.Boot("qemu", iso=suites.ISO, mem=48), "at least 64 MiB"),
    # Not q35: there the firmware has tables to offer even with acpi=off.
    "no_acpi": (engines.Boot("qemu", pvh=suites.ELF, board="pc,acpi=off"), "no MADT"),
}
SECONDS = 60


def refuses(context, name: str, boot: engines.Boot, words: str) -> object:
    context.progress(name)
    runs = machine.start(boot)
    lines, wrong = [], []
    try:
        while True:
            line = runs.read_line(SECONDS)
            if line is None:
                wrong.append(f"did not end: nothing heard for {SECONDS} s")
                break
            context.log(line)
            lines.append(line)
    except EOFError:
        pass		# as it should
    finally:
        machine.discard(runs)
    said = [line for line in lines if line.startswith("foliovisor can't run here: ")]
    return scenario.check("bad_machine/" + name, wrong + scenario.missing(said or lines, words))


def run(context) -> list:
    return [refuses(context, name, *how) for name, how in MACHINES.items()]
