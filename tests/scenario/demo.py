"""The default `make run` on each engine that is here: ends by itself, with 0 and a summary."""
import scenario

SUMMARY = ("# stat guest_exit_status 0 status", "# stat ept_faults_write ",
           "# stat folios_lent_", "# stat flushes ", "quit 0")


def run_demo(context, name: str, expected: tuple, **variables) -> object:
    status, lines = scenario.run_command(context, **variables)
    wrong = [] if status == 0 else [f"exit status {status}"]
    return scenario.check("demo/" + name, wrong + scenario.missing(lines, *expected))


def run(context) -> list:
    guest = ("guest| demo: all well",) + SUMMARY
    soft = ("no VMX", "demo on the soft CPU", "# stat guest_exit_status 0 status", "quit 0")
    return [
        run_demo(context, "default", guest, ENGINE="bochs"),
        run_demo(context, "two_vcpus", guest, ENGINE="bochs", VCPUS="2"),
        run_demo(context, "marks_by_pte", guest + ("# stat log_pages ",), ENGINE="bochs",
                 POLICY="pte", LOG="dbit"),
        run_demo(context, "logged_by_rings", guest + ("# stat log_pages ",), ENGINE="bochs",
                 VCPUS="2", POLICY="batch", LOG="ring"),
        run_demo(context, "not_logged", guest, ENGINE="bochs", POLICY="zap", LOG="off"),
        run_demo(context, "raw_console", ("demo: all well",) + SUMMARY, ENGINE="bochs",
                 GUEST_CONSOLE="raw"),
        run_demo(context, "no_vmx", soft, ENGINE="qemu"),
        run_demo(context, "no_vmx_uefi", soft, ENGINE="qemu", FIRMWARE="uefi"),
        run_demo(context, "commands", ("# stat host_pages_free", "quit 0"), ENGINE="qemu",
                 EXEC="help; stat; quit"),
    ]
