"""The README's commands, as printed, on machines that are folders or network namespaces."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from processes_bench import BIN, wait_until

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def section(title):
    return re.split(r"\n##+ ", README.split(f"# {title}\n")[1])[0]


def commands(title):
    blocks = re.findall(r"```sh\n(.*?)```", section(title), flags=re.DOTALL)
    return [
        line.split("  #")[0].strip()
        for block in blocks
        for line in block.splitlines()
        if line.strip()
    ]


class Machines:
    """Every command runs in its own machine's home; `at` replaces the example host.

    `prefix` is put before a command, to run it somewhere else; `extra` goes into its environment.
    """

    def __init__(self, folder, at="fl.example.org:8443", prefix=lambda machine: [], extra=None):
        self.folder = folder
        self.at = at
        self.prefix = prefix
        self.extra = extra or {}
        self.started = []

    def environment(self, machine):
        passphrase = self.folder / "passphrase"
        if not passphrase.exists():
            passphrase.touch(mode=0o600)
            passphrase.write_text("correct horse\n")
        return (
            os.environ
            | {
                "PATH": f"{BIN}:{os.environ['PATH']}",
                "EDGEVEIL_HOME": str(self.folder / machine / "state"),
                "EDGEVEIL_PASSPHRASE_FILE": str(passphrase),
                "OMP_NUM_THREADS": "1",
            }
            | self.extra
        )

    def words(self, command, **placeholders):
        command = command.replace("fl.example.org:8443", self.at)
        for name, value in placeholders.items():
            command = command.replace(name, str(value))
        return shlex.split(command)

    def place(self, machine):
        """Where a command is typed."""
        folder = self.folder / machine
        folder.mkdir(exist_ok=True)
        return folder

    def run(self, machine, command, stdin="", timeout=120, **placeholders):
        found = subprocess.run(
            [*self.prefix(machine), *self.words(command, **placeholders)], cwd=self.place(machine), env=self.environment(machine),
            capture_output=True, text=True, input=stdin, timeout=timeout,
        )  # fmt: skip
        assert found.returncode == 0, f"{command}: {found.stderr}"
        return found.stdout

    def start(self, machine, command, **placeholders):
        log = (self.folder / f"{machine}.log").open("wb")
        process = subprocess.Popen(
            [*self.prefix(machine), *self.words(command, **placeholders)], cwd=self.place(machine), env=self.environment(machine),
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        self.started.append(process)

    def stop(self):
        for process in self.started:
            process.terminate()
        for process in self.started:
            process.wait(timeout=120)


def deal_photos(machines, names, photos=30):
    """Colour photos of three classes for the server and each device, where the README has them: ./photos."""
    made = machines.folder / "made"
    script = [
        sys.executable,
        str(ROOT / "scripts/make_photos.py"),
        str(made),
        "--devices",
        str(len(names)),
    ]
    found = subprocess.run(
        [*script, "--photos", str(photos), "--test", "30"], capture_output=True, text=True
    )
    assert found.returncode == 0, found.stderr
    for folder, machine in zip(sorted(made.iterdir()), [*names, "server"], strict=True):
        (folder / "photos").rename(machines.place(machine) / "photos")


def tokens_in(printed, names):
    """What `init --invite` prints: NAME TOKEN, a line each."""
    lines = dict(line.split(" ", 1) for line in printed.splitlines() if line.split(" ")[0] in names)
    return [lines[name] for name in names]


def start_devices(machines, names, tokens, command):
    for name, token in zip(names, tokens, strict=True):
        machines.start(name, command, TOKEN=token)


def serving(machines, status):
    return json.loads(machines.run("server", f"{status} --json"))["pid"]


def states(machines):
    found = json.loads(machines.run("server", "coordinator agents --json"))
    return [agent["state"] for agent in found]


def await_rounds(machines, wanted):
    def committed():
        found = json.loads(machines.run("server", "coordinator rounds --json"))
        return [row["round"] for row in found if row["outcome"] == "committed"][: len(wanted)]

    wait_until(lambda: committed() == wanted, 400, lambda: f"rounds {wanted}: {committed()}")
