"""A multiboot guest built apart from the image, from a file, with command line and module."""
import tempfile
from pathlib import Path

import scenario
import suites

KERNEL = suites.ROOT / "build/guest/hello.elf"


def run(context) -> list:
    with tempfile.TemporaryDirectory() as folder:
        module = Path(folder) / "some_module"
        module.write_bytes(bytes(range(256)) * 33)
        kernel = Path(folder) / "kernel.elf"		# a name that no built-in guest has
        kernel.write_bytes(KERNEL.read_bytes())
        status, lines = scenario.run_command(
            context, ENGINE="bochs", GUEST=str(kernel), INITRD=str(module), GUEST_MEM="32",
            CMDLINE="one two=3")
    wrong = [] if status == 0 else [f"exit status {status}"]
    wrong += scenario.missing(lines, "one two=3", "module some_module", "hello: memory is good",
                              "# stat guest_exit_status 0 status")
    return [scenario.check("multiboot/hello", wrong)]
