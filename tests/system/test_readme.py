"""The README's commands, as printed, on one machine that plays a server and three devices."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from fakes_federation import write_digits
from processes_bench import BIN, free_port, wait_until

pytestmark = pytest.mark.system
ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def section(title):
    return README.split(f"## {title}\n")[1].split("\n## ")[0]


def commands(title):
    blocks = re.findall(r"```sh\n(.*?)```", section(title), flags=re.DOTALL)
    return [
        line.split("  #")[0].strip()
        for block in blocks
        for line in block.splitlines()
        if line.strip()
    ]


class Machines:
    """Every command runs in its own machine's home; `at` replaces the example host."""

    def __init__(self, folder, port):
        self.folder = folder
        self.at = f"127.0.0.1:{port}"
        self.started = []

    def environment(self, machine):
        passphrase = self.folder / "passphrase"
        if not passphrase.exists():
            passphrase.touch(mode=0o600)
            passphrase.write_text("correct horse\n")
        return os.environ | {
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "EDGEVEIL_HOME": str(self.folder / machine / "state"),
            "EDGEVEIL_PASSPHRASE_FILE": str(passphrase),
            "OMP_NUM_THREADS": "1",
        }

    def words(self, command, **placeholders):
        command = command.replace("fl.example.org:8443", self.at)
        for name, value in placeholders.items():
            command = command.replace(name, str(value))
        return shlex.split(command)

    def run(self, machine, command, stdin="", **placeholders):
        found = subprocess.run(
            self.words(command, **placeholders), cwd=ROOT, env=self.environment(machine),
            capture_output=True, text=True, input=stdin, timeout=120,
        )  # fmt: skip
        assert found.returncode == 0, f"{command}: {found.stderr}"
        return found.stdout

    def start(self, machine, command, cwd=ROOT, **placeholders):
        log = (self.folder / f"{machine}.log").open("wb")
        process = subprocess.Popen(
            self.words(command, **placeholders), cwd=cwd, env=self.environment(machine),
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        self.started.append(process)

    def stop(self):
        for process in self.started:
            process.terminate()
        for process in self.started:
            process.wait(timeout=15)


def test_a_server_and_three_devices_follow_the_readme_literally(tmp_path):
    steps = commands("A server and three devices")
    assert steps[0].startswith("python3 -m venv")
    assert steps[1].startswith("pip install")
    init, invite, serve, run_agent, sign, status, rounds, report, budget = steps[2:]
    machines = Machines(tmp_path, free_port())
    pieces = write_digits(tmp_path, 3, 60)
    names = invite.split()[2:]
    try:
        # Only the address differs from a real server: the example listens on every interface.
        machines.run("server", f"{init} --listen {machines.at}")
        tokens = machines.run("server", invite).split()
        assert len(tokens) == 3
        machines.start("server", serve)
        wait_until(
            lambda: json.loads(machines.run("server", f"{status} --json"))["pid"], 60, "serve"
        )
        for name, token, data in zip(names, tokens, pieces, strict=False):
            folder = tmp_path / name
            folder.mkdir()
            (folder / "photos").mkdir()
            data.rename(folder / "photos" / "data.npz")
            machines.start(name, run_agent, cwd=folder, TOKEN=token)

        def states():
            found = json.loads(machines.run("server", f"{status} --json"))
            return [agent["state"] for agent in found["agents"]]

        wait_until(lambda: states() == ["pending"] * 3, 60, f"joins: {states()}")
        machines.run("server", sign, stdin="y\n")

        def committed():
            return [row["round"] for row in json.loads(machines.run("server", f"{rounds} --json"))]

        wait_until(lambda: committed() == [1, 2, 3, 4, 5], 180, f"five rounds: {committed()}")
        assert "committed" in machines.run("server", rounds)
        assert "5 of 5 committed" in machines.run("server", report)
        assert "connected" in machines.run("server", status)
        for name in names:
            assert "rounds charged" in machines.run(name, budget)
    finally:
        machines.stop()


def test_the_two_commands_exist_and_the_looks_after_the_demo_are_commands(tmp_path):
    first, second, *looks = commands("Two commands")
    assert (ROOT / first.split()[0]).stat().st_mode & 0o100
    assert (ROOT / second.split()[0]).stat().st_mode & 0o100
    for look in looks:
        program, name, *_ = shlex.split(look)
        found = subprocess.run(
            [str(BIN / Path(program).name), name, "--help"], capture_output=True, text=True
        )
        assert found.returncode == 0


def test_the_demo_trains_past_ninety_percent_and_leaves_nothing_behind(tmp_path):
    """The demo at its defaults, twice in the same place, but for the installation."""
    for _ in range(2):
        found = subprocess.run(
            [sys.executable, str(ROOT / "scripts/demo_federation.py"), "--home", str(tmp_path / "demo"), "--no-input"],
            capture_output=True, text=True, timeout=280,
        )  # fmt: skip
        assert found.returncode == 0, found.stderr
        accuracy = float(re.search(r"test accuracy ([\d.]+)%", found.stdout)[1])
        assert accuracy >= 90.0
        assert "committed" in found.stderr
    home = tmp_path / "demo"
    assert {path.name for path in home.iterdir()} >= {
        "federation",
        "coordinator",
        "agent-1",
        "agent-2",
        "agent-3",
        "agent-4",
    }
    assert (tmp_path / "demo.1" / "coordinator" / "state.db").exists()
    processes = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    assert str(tmp_path) not in processes
