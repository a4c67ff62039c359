"""The variables of `make run`: what is wrong is said, all of it, and nothing else is refused."""
import tempfile
import unittest
from pathlib import Path

import engines
import options
import run


class OptionsTest(unittest.TestCase):
    def errors(self, **environment: str) -> list:
        return options.read(environment).errors

    def expect(self, words: str, **environment: str) -> None:
        found = self.errors(**environment)
        self.assertEqual(len(found), 1, found)
        self.assertIn(words, found[0])
        self.assertNotIn("\n", found[0])

    def test_defaults(self):
        found = options.read({})
        self.assertEqual((found.errors, found.cpus, found.mem, found.guest_mem, found.vcpus),
                         ([], 2, 512, 64, 1))

    def test_numbers(self):
        for name in ("CPUS", "MEM", "GUEST_MEM", "VCPUS"):
            for text in ("0", "-1", "two", "1.5", "0x10", "1e3", " 2", "99999999", "9" * 40, "٣"):
                self.expect(f"{name}={text}: expected a number from", **{name: text})

    def test_good_numbers(self):
        self.assertEqual(self.errors(CPUS="4", MEM="1024", GUEST_MEM="900", VCPUS="2"), [])

    def test_guest_memory_that_the_machine_has_not(self):
        self.expect("expected at most 480", GUEST_MEM="481")

    def test_words(self):
        self.expect("expected one of", ENGINE="vmware")
        self.expect("expected one of", FIRMWARE="coreboot")
        self.expect("expected one of", POLICY="best")
        self.expect("expected one of", LOG="all")
        self.expect("expected one of", GUEST_CONSOLE="cooked")

    def test_all_errors_are_reported(self):
        self.assertEqual(len(self.errors(CPUS="0", MEM="x", ENGINE="y", GUEST="/none")), 4)

    def test_guest_files(self):
        with tempfile.TemporaryDirectory() as folder:
            empty, huge, good = (Path(folder) / name for name in ("empty", "huge", "good"))
            empty.touch()
            with open(huge, "wb") as file:
                file.truncate(4 << 30)
            good.write_bytes(b"x")
            self.expect("found an empty file", GUEST=str(empty))
            self.expect("found 4294967296 bytes, expected at most 480 MiB", GUEST=str(huge))
            self.expect("found a directory", GUEST=folder)
            self.expect("no such file", GUEST=folder + "/none")
            self.expect("no such file, and no built-in payload", GUEST="nonsense")
            self.expect("found a device", GUEST="/dev/null")
            self.expect("found an empty file", GUEST=str(good), INITRD=str(empty))
            self.expect("expected a GUEST too", INITRD=str(good))
            self.assertEqual(self.errors(GUEST=str(good), INITRD=str(good)), [])

    def test_text_that_loader_and_console_would_read_differently(self):
        self.expect("found ';'", CMDLINE="a; quit")
        self.expect("found '\\n'", CMDLINE="a\nb")
        self.expect("found '\"'", CMDLINE='a "b c"')
        self.expect("characters", CMDLINE="x" * 2000)
        self.expect("found '$'", EXEC="help; $x")

    def test_script(self):
        with tempfile.TemporaryDirectory() as folder:
            script = Path(folder) / "script"
            script.write_text("# a comment\nhelp\n\nlist; stat\n")
            self.assertEqual(options.read({"EXEC": str(script)}).script, ["help", "list; stat"])
        self.assertEqual(options.read({"EXEC": "help;; list ;"}).script, ["help", "list"])
        self.expect("no such file", EXEC="/none/script")


class EngineTest(unittest.TestCase):
    """One line names what is missing and the engine that can."""

    def setUp(self):
        self.kvm_lack = engines.kvm_lack

    def tearDown(self):
        engines.kvm_lack = self.kvm_lack

    def judge(self, lack: str = "no vmx", for_debug: bool = False, **environment: str) -> tuple:
        engines.kvm_lack = lambda: lack
        found = options.read(environment)
        return run.judge(found, for_debug), found.errors

    def test_auto(self):
        self.assertEqual(self.judge(), ("bochs", []))
        self.assertEqual(self.judge(lack=""), ("kvm", []))

    def test_no_kvm(self):
        errors = self.judge(ENGINE="kvm")[1]
        self.assertEqual(len(errors), 1)
        self.assertIn("no vmx", errors[0])
        self.assertIn("ENGINE=bochs", errors[0])

    def test_bochs_has_no_uefi(self):
        self.assertIn("ENGINE=qemu", self.judge(ENGINE="bochs", FIRMWARE="uefi")[1][0])

    def test_bochs_memory(self):
        self.assertIn("ENGINE=qemu", self.judge(ENGINE="bochs", MEM="8192")[1][0])

    def test_qemu_has_no_vmx(self):
        self.assertEqual(self.judge(ENGINE="qemu"), ("qemu", []))
        self.assertIn("ENGINE=bochs", self.judge(ENGINE="qemu", GUEST="/etc/passwd")[1][0])

    def test_debug(self):
        self.assertEqual(self.judge(for_debug=True), ("qemu", []))
        self.assertIn("ENGINE=qemu", self.judge(for_debug=True, ENGINE="bochs")[1][0])


if __name__ == "__main__":
    unittest.main()
