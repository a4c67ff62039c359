"""The boot medium of one run: an ISO with the image, a command line and the modules.

build/foliovisor.iso is the medium for people, with an empty command line; runs and tests make
their own, because a boot loader takes command line and modules from the medium.
"""
import re
import shutil
import subprocess
from pathlib import Path

GRUB_CONFIG = """\
set timeout=0
set default=0
menuentry foliovisor {{
	multiboot2 /boot/foliovisor.elf {command_line}
{modules}	boot
}}
"""


class MediaError(Exception):
    """grub-mkrescue failed; the text says how."""


def grub_words(text: str) -> str:
    """Each word quoted for itself: GRUB puts quotes of its own around a word with blanks."""
    return " ".join("'" + word + "'" for word in text.split())


def module_name(path: Path, taken: list) -> str:
    """A name without blanks that is not a built-in payload's; what ends in .bin still does."""
    name = re.sub(r"[^A-Za-z0-9._+-]", "_", path.name)[-60:]
    return "file-" + name[-55:] if name in taken else name


def make_iso(iso: Path, elf: Path, command_line: str, modules: dict) -> Path:
    """modules: name -> file."""
    tree = iso.with_suffix(".tree")
    shutil.rmtree(tree, ignore_errors=True)
    (tree / "boot/grub").mkdir(parents=True)
    shutil.copy(elf, tree / "boot/foliovisor.elf")
    lines = ""
    for i, (name, path) in enumerate(modules.items()):
        shutil.copy(path, tree / f"boot/module{i}")
        lines += f"\tmodule2 /boot/module{i} '{name}'\n"
    (tree / "boot/grub/grub.cfg").write_text(
        GRUB_CONFIG.format(command_line=grub_words(command_line), modules=lines))
    made = subprocess.run(["grub-mkrescue", "-o", str(iso), "--modules=multiboot2", "--fonts=",
                           "--themes=", "--locales=", str(tree)], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    shutil.rmtree(tree, ignore_errors=True)
    if made.returncode:
        raise MediaError("grub-mkrescue: " + made.stdout.decode(errors="replace").strip()[-500:])
    return iso
