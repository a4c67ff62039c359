"""The variables of `make run` and `make debug`: read from the environment, judged, made a value.

Everything wrong is reported, one line each, before anything is started. Used by run.py; knows no
emulator beyond the limits of machines (engines.py knows the rest).
"""
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MEMTEST_FILE = Path("/boot/memtest86+x64.bin")
MEMTEST_COMMAND_LINE = "console=ttyS0,115200 nosmp"

ENGINES = ("auto", "kvm", "bochs", "qemu")
FIRMWARES = ("bios", "uefi")
POLICIES = ("zap", "rfc", "map", "pte", "batch")
LOGS = ("off", "wp", "dbit", "pml", "ring")
CONSOLES = ("prefix", "raw")

COMMAND_VARIABLES = ("ENGINE", "FIRMWARE", "CPUS", "MEM", "GUEST", "INITRD", "CMDLINE",
                     "GUEST_MEM", "VCPUS", "POLICY", "LOG", "EXEC", "GUEST_CONSOLE")

CPUS_MOST, VCPUS_MOST = 8, 8
MEM_LEAST, MEM_MOST = 64, 65536
IMAGE_MIB = 32			# what the image itself needs of the machine's memory, rounded up
COMMAND_LINE_MOST = 1900	# of boot/loader.h's 2048, with room for what stands before it


@dataclass
class Options:
    """What was asked for, after the checks. Sizes are MiB."""
    engine: str = "auto"
    firmware: str = "bios"
    cpus: int = 2
    mem: int = 512
    guest: str = ""			# as given; "" is the engine's default
    guest_file: "Path | None" = None	# the image on this machine, None for a built-in payload
    initrd: "Path | None" = None
    command_line: str = ""
    guest_mem: int = 64
    vcpus: int = 1
    console: str = "prefix"
    policy: str = "map"
    log: str = "wp"
    script: "list | None" = None	# EXEC's commands
    errors: list = field(default_factory=list)


def number(environment: dict, name: str, default: int, least: int, most: int,
           errors: list) -> int:
    text = environment.get(name, "")
    if not text:
        return default
    if not re.fullmatch(r"[0-9]+", text) or len(text) > 18 or not least <= int(text) <= most:
        errors.append(f"{name}={text}: expected a number from {least} to {most}")
        return default
    return int(text)


def choice(environment: dict, name: str, default: str, known: tuple,
           errors: list) -> str:
    text = environment.get(name, "") or default
    if text in known:
        return text
    errors.append(f"{name}={text}: expected one of: {' '.join(known)}")
    return default


def file_error(name: str, path: Path, mem: int) -> str:
    """One line on what keeps this file from being loaded; "" for nothing."""
    try:
        kind = os.stat(path).st_mode
        if stat.S_ISDIR(kind):
            return f"{name}={path}: found a directory, expected a file"
        if not stat.S_ISREG(kind):
            return f"{name}={path}: found a device, pipe or socket, expected a file"
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        return f"{name}={path}: no such file"
    except OSError as error:
        return f"{name}={path}: can't be read: {error.strerror.lower()}"
    if size == 0:
        return f"{name}={path}: found an empty file, expected an image"
    if size > (mem - IMAGE_MIB) << 20:
        return (f"{name}={path}: found {size} bytes, expected at most {mem - IMAGE_MIB} MiB on "
                f"a machine with MEM={mem}")
    return ""


def text_error(name: str, text: str, forbidden: str) -> str:
    """The boot loader and the console read this text too: it must mean the same to all."""
    for letter in text:
        if letter in forbidden or not " " <= letter <= "~":
            return (f"{name}: found {ascii(letter)}, expected printable ASCII without "
                    + " ".join(forbidden))
    if len(text) > COMMAND_LINE_MOST:
        return f"{name}: found {len(text)} characters, expected at most {COMMAND_LINE_MOST}"
    return ""


def built_in_payloads() -> list:
    """Names of the image's own guest programs: with their endings, and without."""
    table = ROOT / "guest/machine/payload.c"
    files = re.findall(r'"embed (\S+?)\\n"', table.read_text()) if table.exists() else []
    return files + [file.rsplit(".", 1)[0] for file in files]


def read_guest(environment: dict, options: Options) -> None:
    name = environment.get("GUEST", "")
    options.guest = name
    if not name or (name in built_in_payloads() and not Path(name).exists()):
        return
    if name == "memtest":
        options.guest_file = MEMTEST_FILE
        options.command_line = MEMTEST_COMMAND_LINE
        options.console = "raw"
        return			# run.py has setup.sh install it
    options.guest_file = Path(name)
    error = file_error("GUEST", options.guest_file, options.mem)
    if error == f"GUEST={name}: no such file" and "/" not in name:
        error += f", and no built-in payload, which are: {' '.join(built_in_payloads())}"
    if error:
        options.errors.append(error)


def read_script(text: str, errors: list) -> list:
    """EXEC: a file of commands, one a line, # for comments; or commands separated by `;`."""
    lines = text.split(";")
    if os.path.exists(text):
        error = file_error("EXEC", Path(text), MEM_LEAST)
        if error:
            errors.append(error)
            return []
        lines = Path(text).read_text(errors="replace").splitlines()
        lines = [line for line in lines if not line.lstrip().startswith("#")]
    elif "/" in text and " " not in text:
        errors.append(f"EXEC={text}: no such file")
    script = [line.strip() for line in lines if line.strip()]
    error = text_error("EXEC", "; ".join(script), "\\'\"$`")
    if error:
        errors.append(error)
    return script


def read(environment: dict) -> Options:
    options = Options()
    errors = options.errors
    options.engine = choice(environment, "ENGINE", "auto", ENGINES, errors)
    options.firmware = choice(environment, "FIRMWARE", "bios", FIRMWARES, errors)
    options.policy = choice(environment, "POLICY", "map", POLICIES, errors)
    options.log = choice(environment, "LOG", "wp", LOGS, errors)
    options.cpus = number(environment, "CPUS", 2, 1, CPUS_MOST, errors)
    options.mem = number(environment, "MEM", 512, MEM_LEAST, MEM_MOST, errors)
    options.guest_mem = number(environment, "GUEST_MEM", 64, 1, MEM_MOST, errors)
    options.vcpus = number(environment, "VCPUS", 1, 1, VCPUS_MOST, errors)
    if options.guest_mem > options.mem - IMAGE_MIB:
        errors.append(f"GUEST_MEM={options.guest_mem}: expected at most {options.mem - IMAGE_MIB}"
                      f" on a machine with MEM={options.mem}")
    read_guest(environment, options)
    if environment.get("INITRD"):
        options.initrd = Path(environment["INITRD"])
        error = file_error("INITRD", options.initrd, options.mem)
        if not options.guest:
            error = f"INITRD={options.initrd}: expected a GUEST too, to give it to"
        if error:
            errors.append(error)
    if environment.get("CMDLINE"):
        options.command_line = environment["CMDLINE"]
        error = text_error("CMDLINE", options.command_line, "\\'\"$`;")
        if error:
            errors.append(error)
    options.console = choice(environment, "GUEST_CONSOLE", options.console, CONSOLES,
                             errors)
    if environment.get("EXEC"):
        options.script = read_script(environment["EXEC"], errors)
    return options
