"""What the scenarios share: a run command with variables, and a machine with files of one's own.

A scenario is a file of tests/scenario/ with run(context) -> results; test.py calls it.
"""
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import engines
import machine
import media
import suites
from options import COMMAND_VARIABLES
from session import Down, Limits, Session
from tap import FAILED, PASSED, Result


def check(name: str, wrong: list) -> Result:
    """A result: what was wrong, or nothing."""
    return Result(name, FAILED, "; ".join(wrong)) if wrong else Result(name, PASSED)


def missing(lines: list, *expected: str) -> list:
    """A complaint about the texts that no line contains, with what was said instead."""
    absent = [f"'{text}'" for text in expected if not any(text in line for line in lines)]
    heard = [line for line in lines if line.strip()][-3:]
    return [f"no line with {', '.join(absent)}; the last: {' / '.join(heard)}"] if absent else []


def run_command(context, seconds: float = 240, command: tuple = (), **variables) -> tuple:
    """`run.py` as make calls it: its exit status and all its lines; -1 when it was too slow."""
    environment = {name: value for name, value in os.environ.items()
                   if name not in COMMAND_VARIABLES and not name.startswith("MAKE")}
    environment.update(variables)
    asked = " ".join(f"{name}={value}" for name, value in variables.items())
    context.progress("run " + asked[:60])
    context.log("--- run " + asked)
    command = command or (sys.executable, "-B", "tests/tools/run.py")
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(machine.tied(list(command), "TERM"), cwd=suites.ROOT,
                                   env=environment, stdin=subprocess.DEVNULL, stdout=output,
                                   stderr=subprocess.STDOUT, start_new_session=True)
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)		# it ends its emulator
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            status = -1
        output.seek(0)
        lines = output.read().decode(errors="replace").replace("\r", "").splitlines()
    for line in lines:
        context.log(line)
    return status, lines


class Console:
    """A Bochs machine with modules, typed at: `with Console(context, {...}) as console`."""

    def __init__(self, context, modules: dict, silence: float = 120, **machine_options):
        self.folder = tempfile.TemporaryDirectory(prefix="foliovisor-")
        iso = media.make_iso(Path(self.folder.name) / "run.iso", suites.ELF, "", modules)
        self.boot = engines.Boot("bochs", iso=iso, **machine_options)
        self.silence = silence
        self.context = context
        self.session = Session(start=lambda: machine.start(self.boot), limits=Limits(),
                               log=context.log)
        self.session.deadline = time.monotonic() + context.seconds

    def __enter__(self):
        try:
            self.session.boot()
        except Down as down:
            reason = self.session.why(down)
            self.__exit__()
            raise Down(reason) from None
        return self

    def __exit__(self, *_):
        self.session.end()
        self.folder.cleanup()

    def command(self, text: str) -> list:
        """Its lines, until the prompt; Down with the reason when the machine does not come back."""
        self.context.progress(text[:60])
        try:
            self.session.say(text)
            return self.session.until_prompt(self.silence)
        except Down as down:
            raise Down(f"'{text}': {self.session.why(down)}") from None
