"""The engines: which one can do what is asked, and the only place that knows their command lines.

An engine runs a `Boot`: what machine, from which medium. Facts and limits were measured with
Debian 12's packages (Bochs 2.7, QEMU 7.2).
"""
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

BOCHS_MODELS = ("corei7_haswell_4770", "broadwell_ult", "corei7_skylake_x", "corei3_cnl",
                "corei7_icelake_u", "tigerlake")
BOCHS_DEFAULT_MODEL = "corei7_icelake_u"
BOCHS_MEM_MOST = 4096			# more works, slowly
OVMF = "/usr/share/ovmf/OVMF.fd"

NEEDS = {"bochs": ["run-bochs"], "qemu": ["run-qemu"], "kvm": ["run-qemu"]}

BOCHSRC = """\
config_interface: textconfig
display_library: term
plugin_ctrl: unmapped=1, biosdev=1, speaker=0, extfpuirq=1, parallel=0, serial=1, e1000=0, iodebug=1
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/vgabios/vgabios.bin
cpu: model={model}, count={cpus}, ips={ips}, reset_on_triple_fault=0, ignore_bad_msrs=0
memory: guest={mem}, host={host_mem}
ata0-master: {medium}
boot: {boot_from}
clock: sync=none, time0=946684800
port_e9_hack: enabled=1
com1: enabled=1, mode=socket-client, dev=127.0.0.1:{port}
sound: driver=dummy
speaker: enabled=0
log: {folder}/bochs.log
panic: action=fatal
error: action={errors}
info: action=ignore
debug: action=ignore
"""


@dataclass
class Boot:
    """One start of an engine. `pvh` boots the ELF by QEMU -kernel, else the ISO is the medium."""
    engine: str
    cpus: int = 2
    mem: int = 512
    firmware: str = "bios"
    iso: "Path | None" = None
    pvh: "Path | None" = None
    command_line: str = ""		# with pvh only: the ISO brings its own
    as_disk: bool = False		# the ISO as a hard disk or USB stick, not as a CD
    model: str = ""			# of the CPU, as the engine calls it; "" for its default
    board: str = "q35"			# QEMU's -machine
    gdb_port: int = 0
    ips: int = 1000000		# Bochs: instructions an emulated second; few, for SMP boots
    log_errors: bool = False		# Bochs: names failed VM-entry checks, 30 MB for many exits


def kvm_lack() -> str:
    """What keeps the kvm engine from working here; "" for nothing."""
    try:
        os.close(os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return f"/dev/kvm can't be opened ({error.strerror.lower()})"
    flags = Path("/proc/cpuinfo").read_text().split("\nflags", 1)[-1].split("\n", 1)[0].split()
    if "vmx" not in flags:
        return "this CPU has no vmx flag"
    try:
        nested = Path("/sys/module/kvm_intel/parameters/nested").read_text().strip()
    except OSError:
        nested = "absent"
    if nested not in ("Y", "1"):
        return "kvm_intel is loaded without nested=1"
    return ""


def choose(engine: str, firmware: str, wants_vmx: bool, mem: int) -> tuple:
    """The engine to use and what is wrong with it: (name, one line or "")."""
    lack = kvm_lack() if engine in ("auto", "kvm") else ""
    if engine == "kvm" and lack:
        return "kvm", f"ENGINE=kvm: {lack}; ENGINE=bochs runs guests here"
    if engine == "auto":
        engine = "bochs" if lack else "kvm"
    if engine == "bochs" and firmware == "uefi":
        return "bochs", "FIRMWARE=uefi: bochs has no UEFI firmware; ENGINE=qemu has, without VMX"
    if engine == "bochs" and mem > BOCHS_MEM_MOST:
        return "bochs", (f"MEM={mem}: bochs takes at most {BOCHS_MEM_MOST}; ENGINE=qemu takes "
                         "more, without VMX")
    if engine == "qemu" and wants_vmx:
        return "qemu", "ENGINE=qemu: its CPU has no VMX to run GUEST; ENGINE=bochs emulates VMX"
    return engine, ""


def qemu_command(boot: Boot) -> list:
    """The serial port is the process's stdin and stdout."""
    cpu = "host,+vmx" if boot.engine == "kvm" else boot.model or "max"
    # More threads than the cores that TCG was measured with, and spinning CPUs starve each other.
    accel = "kvm" if boot.engine == "kvm" else "tcg"
    if accel == "tcg" and boot.cpus > 2:
        accel = "tcg,thread=single"
    command = ["qemu-system-x86_64", "-nodefaults", "-M", boot.board, "-m", str(boot.mem),
               "-smp", str(boot.cpus), "-cpu", cpu,
               "-accel", accel,
               "-display", "none", "-monitor", "none", "-no-reboot",
               "-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
               "-device", "isa-debug-exit,iobase=0xf4,iosize=4"]
    if boot.firmware == "uefi":
        command += ["-bios", OVMF]
    if boot.pvh:
        command += ["-kernel", str(boot.pvh), "-append", boot.command_line]
    elif boot.as_disk:
        command += ["-drive", f"file={boot.iso},format=raw,if=ide,snapshot=on"]
    else:
        command += ["-cdrom", str(boot.iso)]
    if boot.gdb_port:
        command += ["-S", "-gdb", f"tcp:127.0.0.1:{boot.gdb_port}"]
    return command


def bochs_command(boot: Boot, folder: Path, port: int) -> list:
    """Writes the configuration into the folder; the serial port connects to 127.0.0.1:port."""
    # "volatile": what is written to the disk is forgotten. Its geometry is left to Bochs.
    medium = (f'type=disk, path="{boot.iso}", mode=volatile' if boot.as_disk else
              f'type=cdrom, path="{boot.iso}", status=inserted')
    (folder / "bochsrc").write_text(BOCHSRC.format(
        medium=medium, boot_from="disk" if boot.as_disk else "cdrom",
        model=boot.model or BOCHS_DEFAULT_MODEL, cpus=boot.cpus, mem=boot.mem, ips=boot.ips,
        host_mem=min(boot.mem, 2048), iso=boot.iso, port=port, folder=folder,
        errors="report" if boot.log_errors else "ignore"))
    # Debian's Bochs is built with its debugger: continue at once, quit when the image breaks.
    (folder / "debugger").write_text("c\nq\n")
    return ["bochs", "-q", "-f", str(folder / "bochsrc"), "-rc", str(folder / "debugger")]


def installed(engine: str) -> bool:
    return shutil.which("bochs" if engine == "bochs" else "qemu-system-x86_64") is not None
