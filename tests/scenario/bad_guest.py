"""Guest files and guest programs that mean no good: a line each, and the hypervisor goes on.

One machine meets all of them and must still run the demo at the end.
"""
import struct
import tempfile
import time
from pathlib import Path

import scenario
import suites
from session import Down

KERNEL = suites.ROOT / "build/guest/hello.elf"
STATUS = "# stat guest_exit_status "


def elf32(segments: list) -> bytes:
    """A multiboot ELF32 of these segments: (physical address, file bytes, memory bytes)."""
    header = struct.pack("<16sHHIIIIIHHHHHH", b"\x7fELF\x01\x01\x01", 2, 3, 1, 0x100000, 52, 0, 0,
                         52, 32, len(segments), 0, 0, 0)
    programs = b"".join(struct.pack("<8I", 1, 0, where, where, in_file, in_memory, 7, 4096)
                        for where, in_file, in_memory in segments)
    multiboot = struct.pack("<III", 0x1BADB002, 0, (-0x1BADB002) & 0xFFFFFFFF)
    return (header + programs + multiboot).ljust(8192, b"\xf4")


def loaded_bytes(elf: bytes) -> int:
    """Up to where a loader needs the file: behind its last segment."""
    programs, count = struct.unpack_from("<I", elf, 28)[0], struct.unpack_from("<H", elf, 44)[0]
    ends = [0]
    for i in range(count):
        kind, offset, _, _, in_file = struct.unpack_from("<5I", elf, programs + 32 * i)
        ends.append(offset + in_file if kind == 1 else 0)
    return max(ends)


def bad_files() -> dict:
    kernel = KERNEL.read_bytes()
    return {
        "truncated": kernel[:200],
        "one_short": kernel[:loaded_bytes(kernel) - 1],
        "unknown": b"neither fish nor fowl\n" * 300,
        "one_byte": b"\x7f",
        "overlapping": elf32([(0x100000, 4096, 8192), (0x101000, 4096, 4096)]),
        "wrapping": elf32([(0xFFFFF000, 4096, 0x2000)]),
        "beyond_file": elf32([(0x100000, 0x7FFFFFFF, 0x7FFFFFFF)]),
        "beyond_memory": elf32([(0x70000000, 4096, 4096)]),
    }


def deaf() -> bytes:
    """It jumps to itself: it reads nothing and never ends."""
    elf = bytearray(elf32([(0x100000, 4096, 4096)]))
    struct.pack_into("<I", elf, 24, 0x100800)		# the entry point
    elf[0x800:0x802] = b"\xeb\xfe"
    return bytes(elf)


def refused(console: scenario.Console, name: str) -> object:
    """One line that says why, then the status line; nothing more."""
    lines = [line for line in console.command(f"guest {name} mem=32") if line.strip()]
    lines = [line for line in lines if not line.startswith(f"guest {name} mem=32")]
    wrong = scenario.missing(lines, f"guest: {name}: ", STATUS + "2 status")
    if len(lines) != 2:
        wrong.append(f"expected two lines, found {len(lines)}: {' / '.join(lines[:6])}")
    return scenario.check("bad_guest/" + name, wrong)


def escaped(console: scenario.Console) -> object:
    """The escape key ends a guest that leaves unread all that was typed before it."""
    console.session.say("guest deaf mem=32")
    for _ in range(20):
        console.session.runs.send(b"x" * 20)
        time.sleep(0.05)
    lines = console.command("\x1d")
    return scenario.check("bad_guest/deaf", scenario.missing(lines, "ended from the console"))


def endured(console: scenario.Console, name: str, status: int) -> object:
    lines = console.command(f"guest {name} mem=16")
    return scenario.check("bad_guest/" + name, scenario.missing(lines, f"{STATUS}{status} status"))


def run(context) -> list:
    results = []
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for name, content in {**bad_files(), "deaf": deaf()}.items():
            files[name] = Path(folder) / name
            files[name].write_bytes(content)
        try:
            with scenario.Console(context, files) as console:
                results += [refused(console, name) for name in bad_files()]
                results.append(escaped(console))
                for name, status in (("triple", 2), ("nowhere", 2), ("ports", 0), ("msrs", 0),
                                     ("devices", 0), ("demo", 0)):
                    results.append(endured(console, name, status))
        except Down as down:
            results.append(scenario.check("bad_guest/machine_stays_up", [str(down)]))
    return results
