"""A machine that is none, for the harness's own tests: a console on stdin and stdout.

	fake_engine.py {"tests": {"a/good": "ok", ...}, "boot": "ok"}

Each test does what its word says: ok, fail, skip, hang, die, panic, short (plan of two, one
result), planless, garbage, alias (reports another test's name), twice (two plans), die-once (the
first time that the file named by "memory" does not exist yet).
"""
import json
import os
import sys
import time

ACTIONS = {
    "ok": ["1..1", "# running {0}", "noise from a guest", "ok 1 - {0}"],
    "fail": ["1..1", "# running {0}", "# x.c:3: expected: up", "not ok 1 - {0}"],
    "skip": ["1..1", "# running {0}", "ok 1 - {0} # SKIP needs VMX"],
    "short": ["1..2", "# running {0}", "ok 1 - {0}"],
    "planless": ["# running {0}", "ok 1 - {0}"],
    "garbage": ["\x00\xff\x1b[2J ok1..1 okok", "not a plan"],
    "alias": ["1..1", "# running {0}", "ok 1 - some/other"],
    "twice": ["1..1", "1..1", "ok 1 - {0}"],
    "empty": ["1..0"],
}


def say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def end_badly(action: str, name: str, memory: str) -> None:
    """Returns unless the action is an end or a silence."""
    if action == "die-once":
        if os.path.exists(memory):
            say(f"1..1\r\nok 1 - {name}\r\n")
            return
        with open(memory, "w", encoding="ascii"):
            pass
    say(f"1..1\r\n# running {name}\r\n")
    if action == "panic":
        say("\r\npanic: CPU 1: the tables are gone\r\n  frame 1\r\n  frame 2\r\n")
    if action == "hang":
        time.sleep(600)
    sys.exit(0)		# a triple fault under -no-reboot ends QEMU with 0, too


def main() -> None:
    script = json.loads(sys.argv[1])
    if script["boot"] == "silent":
        time.sleep(600)
    if script["boot"] == "dies":
        say("foliovisor can't run here: no tables\r\n")
        return
    say("a fake\r\n")
    while True:
        say("foliovisor> ")
        line = sys.stdin.readline()
        if not line:
            return
        say(line.strip() + "\r\n")
        command, _, name = line.strip().partition(" ")
        if command == "list":
            for test in script["tests"]:
                say(test + ("" if test.startswith("a/") else " vmx two-cpus") + "\r\n")
            say("c/never once\r\n")
        elif command == "test":
            action = script["tests"][name]
            if action in ACTIONS:
                for text in ACTIONS[action]:
                    say(text.format(name) + "\r\n")
            else:
                end_badly(action, name, script.get("memory", ""))


if __name__ == "__main__":
    main()
