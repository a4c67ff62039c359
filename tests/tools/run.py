"""`make run` and `make debug`: one machine, its console on this terminal, the guest's exit status.

	run.py --check		judges the variables only: 0, or 2 after one line for each error
	run.py --needs		prints the purposes that setup.sh must prepare
	run.py [--debug]	runs

What can't be asked of an engine is said before anything is started. The verdict is the image's
line `# stat guest_exit_status N status`, never the emulator's exit status.
"""
import os
import re
import select
import signal
import sys
import tempfile
import termios
import time
import tty
from pathlib import Path

import debug
import engines
import machine
import media
import options as variables

ELF = variables.ROOT / "build/foliovisor.elf"
FOLDER = variables.ROOT / "build/run"
SILENCE_SECONDS = 180
BENCH_SILENCE_SECONDS = 900	# a workload of 1 GiB says nothing until it is done
DEMO_HARASS = 25		# ranges that the host takes back each second, under the demo
STATUS_LINE = re.compile(r"# stat guest_exit_status (-?[0-9]+) status")
QUIT_LINE = re.compile(r"quit ([0-9]+)$")
UNKNOWN_LINE = re.compile(r"unknown command '")
PANIC_LINE = re.compile(r"panic: ")
LAST_BYTES = 4096


def judge(options: variables.Options, for_debug: bool) -> str:
    """Completes options.errors; returns the engine."""
    wants_vmx = bool(options.guest)
    if for_debug:
        # Debian's Bochs has a debugger of its own and no gdb stub.
        if options.engine == "bochs":
            options.errors.append("ENGINE=bochs: this Bochs has no gdb stub; ENGINE=qemu has one")
        elif options.engine == "auto":
            options.engine = "kvm" if not engines.kvm_lack() else "qemu"
    engine, error = engines.choose(options.engine, options.firmware, wants_vmx, options.mem)
    if error:
        options.errors.append(error)
    return engine


def guest_line(options: variables.Options, name: str, modules: dict) -> str:
    line = (f"guest {name} mem={options.guest_mem} vcpus={options.vcpus} "
            f"console={options.console} policy={options.policy} log={options.log}")
    if name == "demo" and not options.guest_file:
        line += f" harass={DEMO_HARASS}"
    if options.initrd:
        line += f" initrd={next(reversed(modules))}"
    if options.command_line:
        line += f" cmdline={options.command_line}"
    return line


def plan(options: variables.Options, engine: str) -> tuple:
    """The console's commands and the modules that they speak of."""
    modules = {}
    name = options.guest or "demo"
    if options.guest_file:
        name = media.module_name(options.guest_file, variables.built_in_payloads())
        modules[name] = options.guest_file
    if options.initrd:
        initrd = media.module_name(options.initrd, list(modules))
        modules[initrd] = options.initrd
    if options.script is not None:
        script = list(options.script)
        if not sys.stdin.isatty() and (not script or script[-1] != "quit"):
            script.append("quit")		# nobody is there to type it
        return script, modules
    if engine == "qemu" and not options.guest:
        return ["soft-demo", "quit"], modules
    return [guest_line(options, name, modules), "quit"], modules


class Terminal:
    """This process's stdin and stdout as the console's other end: unbuffered where it is a tty."""

    def __init__(self):
        self.saved = None
        self.open = True
        if sys.stdin.isatty():
            # In the background, a terminal is not to be read.
            self.open = os.getpgrp() == os.tcgetpgrp(sys.stdin.fileno())
            self.saved = termios.tcgetattr(sys.stdin) if self.open else None

    def __enter__(self):
        if self.saved:
            tty.setcbreak(sys.stdin)		# Ctrl-C still ends the run
            quiet = termios.tcgetattr(sys.stdin)
            quiet[0] &= ~termios.ICRNL
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, quiet)
        return self

    def __exit__(self, *_):
        if self.saved:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self.saved)

    def typed(self) -> bytes:
        found = os.read(sys.stdin.fileno(), 1024)
        if not found:
            self.open = False
        return found


class Verdict:
    """Reads along: the guest's status, the console's quit, the last line, a panic."""

    def __init__(self):
        self.rest = b""
        self.last_line = ""
        self.statuses = []
        self.panic = self.unknown = ""
        self.quit = None		# the status that the console's quit was given

    def see(self, found: bytes) -> None:
        *lines, self.rest = (self.rest + found).split(b"\n")
        self.rest = self.rest[-LAST_BYTES:]
        for line in lines:
            text = line.decode("ascii", errors="replace").strip()
            if text:
                self.last_line = text
            status, ended = STATUS_LINE.match(text), QUIT_LINE.match(text)
            if status:
                self.statuses.append(int(status.group(1)))
            if ended:
                self.quit = int(ended.group(1))
            if PANIC_LINE.match(text):
                self.panic = text
            if UNKNOWN_LINE.match(text):
                self.unknown = text

    def problem(self, expects_guest: bool) -> str:
        if self.panic:
            return f"the image panicked: {self.panic}"
        if self.unknown:
            return f"the console did not take all commands: {self.unknown}"
        if expects_guest and not self.statuses:
            missing = "a guest_exit_status line"
        elif self.quit is None:
            missing = "a quit"
        else:
            return ""
        return (f"the machine ended without {missing}; the last line was: "
                + (self.last_line or "(none)"))

    def status(self, expects_guest: bool) -> int:
        """0, or the first guest's status that is not; 1 for what the image did not say."""
        problem = self.problem(expects_guest)
        if problem:
            print(f"run: {problem}", file=sys.stderr)
            return 1
        bad = [status for status in [*self.statuses, self.quit] if status]
        return bad[0] & 255 or 1 if bad else 0


def bridge(runs: machine.Machine, verdict: Verdict, silence: float) -> str:
    """Copies bytes both ways until the machine ends; what went wrong, or ""."""
    heard = time.monotonic()
    with Terminal() as terminal:
        while True:
            watched = [runs.output] + ([sys.stdin] if terminal.open else [])
            ready = select.select(watched, [], [], 1.0)[0]
            if sys.stdin in ready:
                heard = time.monotonic()
                if not runs.send(terminal.typed()):
                    terminal.open = False
            if runs.output in ready:
                found = runs.read(0)
                if not found:
                    return ""
                heard = time.monotonic()
                verdict.see(found)
                sys.stdout.buffer.write(found)
                sys.stdout.buffer.flush()
            if silence and time.monotonic() - heard > silence:
                return (f"run: nothing heard for {silence:.0f} s; the last line was: "
                        + (verdict.last_line or "(none)"))


def run(options: variables.Options, engine: str, for_debug: bool) -> int:
    """On an ISO of its own: several may run at a time."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        return run_from(Path(folder), options, engine, for_debug)


def run_from(folder: Path, options: variables.Options, engine: str, for_debug: bool) -> int:
    script, modules = plan(options, engine)
    iso = media.make_iso(folder / "run.iso", ELF, "; ".join(script), modules)
    boot = engines.Boot(engine, cpus=options.cpus, mem=options.mem, firmware=options.firmware,
                        iso=iso)
    print(f"run: {engine}, {options.cpus} CPUs, {options.mem} MiB: {'; '.join(script)}",
          flush=True)
    if for_debug:
        return debug.run(boot, ELF, FOLDER / "console.log")
    # At a prompt, or with a debugger, silence is nobody's fault.
    silence = SILENCE_SECONDS if script and script[-1] == "quit" else 0
    if silence and any(command.split()[0] == "bench" for command in script):
        silence = BENCH_SILENCE_SECONDS
    verdict = Verdict()
    runs = machine.start(boot)
    try:
        problem = bridge(runs, verdict, silence)
    finally:
        words = runs.engine_words()
        machine.discard(runs)
    if problem:
        print("\n" + problem, file=sys.stderr)
        return 1
    if not verdict.last_line:
        print(f"run: {engine} ended without a word from the image: {words}", file=sys.stderr)
        return 1
    return verdict.status(any(command.split()[0] in ("guest", "soft-demo") for command in script))


def main() -> int:
    for_debug = "--debug" in sys.argv
    # The end from outside goes the way of Ctrl-C: the emulator ends too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.default_int_handler)
    options = variables.read(dict(os.environ))
    engine = judge(options, for_debug)
    if options.errors:
        for error in options.errors:
            print(error, file=sys.stderr)
        return 2
    if "--needs" in sys.argv:
        needs = engines.NEEDS[engine] + (["uefi"] if options.firmware == "uefi" else [])
        print(" ".join(needs + (["memtest"] if options.guest == "memtest" else [])))
        return 0
    if "--check" in sys.argv:
        return 0
    try:
        return run(options, engine, for_debug)
    except (machine.MachineError, media.MediaError) as error:
        print(f"run: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nrun: interrupted", file=sys.stderr)
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())
