"""One running machine: an engine's process and the bytes of its serial port, both ways.

Used by run.py (bytes to the terminal) and by the test harness (lines). QEMU's serial port is its
stdin and stdout; Bochs connects to a socket of ours on the loopback interface. The process gets
a session of its own, so that stop() ends all of it, and no terminal.
"""
import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import engines
from options import COMMAND_VARIABLES

CONNECT_SECONDS = 30


class MachineError(Exception):
    """The engine did not start; the text is one line."""


def tied(command: list, signal_name: str) -> list:
    """The command, with a signal to come when the thread that starts it is gone, however."""
    if not shutil.which("setpriv"):		# of util-linux
        return command			# only kill -9 leaves something behind then
    return ["setpriv", "--pdeathsig", signal_name, *command]


class Machine:
    """`process` speaks on the file descriptors `output` (read) and `input` (write)."""

    def __init__(self, command: list, folder: Path, listener: "socket.socket | None" = None):
        self.folder = folder
        self.pending = b""		# read, but no whole line yet
        self.last_line = ""
        self.link = None
        environment = {name: value for name, value in os.environ.items()
                       if name not in COMMAND_VARIABLES}
        # Debian's wrapper of Bochs reads GUEST; its display wants a terminal's description, but
        # no terminal.
        environment["TERM"] = "vt100"
        pipe = subprocess.DEVNULL if listener else subprocess.PIPE
        if not shutil.which(command[0]):
            raise MachineError(f"{command[0]}: not installed")
        self.log = open(folder / "engine.log", "wb+")
        self.process = subprocess.Popen(
            tied(command, "KILL"), stdin=pipe, stdout=self.log if listener else pipe,
            stderr=self.log, start_new_session=True, env=environment)
        if listener:
            try:
                self.link = self.accept(listener)
            except MachineError:
                self.stop()
                raise
            self.input = self.output = self.link.fileno()
        else:
            self.output = self.process.stdout.fileno()
            self.input = self.process.stdin.fileno()

    def accept(self, listener: socket.socket) -> socket.socket:
        end = time.monotonic() + CONNECT_SECONDS
        while time.monotonic() < end:
            if select.select([listener], [], [], 0.1)[0]:
                return listener.accept()[0]
            if self.process.poll() is not None:
                break
        raise MachineError("the engine did not start: " + self.engine_words())

    def engine_words(self) -> str:
        """The last line the engine itself wrote, for messages."""
        self.log.flush()
        text = (self.folder / "engine.log").read_text(errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip(" =\r")]
        return lines[-1] if lines else "it wrote nothing"

    def read(self, seconds: float) -> "bytes | None":
        """What has come by then: b"" at the end of the machine, None when nothing came."""
        if not select.select([self.output], [], [], max(seconds, 0))[0]:
            return None
        try:
            return os.read(self.output, 65536)
        except OSError:
            return b""		# Bochs was killed, and the connection with it

    def read_line(self, seconds: float) -> "str | None":
        """The next line without its end: None when none came in time; EOFError at the end."""
        end = time.monotonic() + seconds
        while b"\n" not in self.pending:
            found = self.read(end - time.monotonic())
            if found is None:
                return None
            if not found:
                if not self.pending:
                    raise EOFError
                found = b"\n"		# the machine ended within a line
            self.pending += found
        line, self.pending = self.pending.split(b"\n", 1)
        text = line.decode("ascii", errors="replace").strip("\r")
        if text.strip():
            self.last_line = text
        return text

    def send(self, text: bytes) -> bool:
        """False when the machine takes nothing more."""
        try:
            while text:
                text = text[os.write(self.input, text):]
        except OSError:
            return False
        return True

    def stop(self) -> int:
        """Ends the process and what it started; its exit status, negative for a signal."""
        if self.process.poll() is None:
            for number, seconds in ((signal.SIGTERM, 2), (signal.SIGKILL, 10)):
                try:
                    os.killpg(self.process.pid, number)
                    self.process.wait(seconds)
                    break
                except ProcessLookupError:
                    break
                except subprocess.TimeoutExpired:
                    continue
        status = self.process.wait()
        for end in (self.link, self.process.stdin, self.process.stdout, self.log):
            try:
                if end:
                    end.close()
            except OSError:
                pass		# a broken pipe has nothing left to flush
        return status


def start(boot: engines.Boot) -> Machine:
    """Starts the engine in a fresh folder, removed by discard()."""
    folder = Path(tempfile.mkdtemp(prefix="foliovisor-"))
    try:
        if boot.engine != "bochs":
            return Machine(engines.qemu_command(boot), folder)
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(1)
            command = engines.bochs_command(boot, folder, listener.getsockname()[1])
            return Machine(command, folder, listener)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def discard(machine: Machine) -> int:
    """stop(), and the folder with the engine's log is gone."""
    status = machine.stop()
    shutil.rmtree(machine.folder, ignore_errors=True)
    return status
