"""`make debug`: the machine stopped at main(), gdb attached, the project's printers loaded.

The console goes to a log (build/run/console.log) because gdb has the terminal. QEMU only: the
packaged Bochs has a debugger of its own in place of a gdb stub.
"""
import shutil
import signal
import socket
import subprocess
import threading
from pathlib import Path

import engines
import machine

PRINTERS = Path(__file__).resolve().parent / "gdb/printers.py"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def keep_console(runs: machine.Machine, log: Path) -> None:
    with open(log, "wb") as file:
        while True:
            found = runs.read(1.0)
            if found == b"":
                return
            if found:
                file.write(found)
                file.flush()


def gdb_command(elf: Path, port: int, commands: list) -> list:
    command = ["gdb", "-q", str(elf), "-ex", "set confirm off", "-ex", f"source {PRINTERS}",
               "-ex", f"target remote 127.0.0.1:{port}", "-ex", "hbreak main",
               "-ex", "continue"]
    for text in commands:
        command += ["-ex", text]
    return command


def run(boot: engines.Boot, elf: Path, log: Path, commands: tuple = ()) -> int:
    boot.gdb_port = free_port()
    runs = machine.start(boot)
    reader = threading.Thread(target=keep_console, args=(runs, log), daemon=True)
    reader.start()
    # Ctrl-C is gdb's.
    signal.signal(signal.SIGINT, lambda *_: None)
    print(f"debug: stopped at main() by a hardware breakpoint; the console goes to {log}",
          flush=True)
    try:
        return subprocess.run(gdb_command(elf, boot.gdb_port, list(commands)),
                              check=False).returncode
    finally:
        runs.stop()
        reader.join()
        shutil.rmtree(runs.folder, ignore_errors=True)
