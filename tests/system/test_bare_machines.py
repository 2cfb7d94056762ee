"""The README from bare virtual environments to the first aggregated round, every line as printed.

Not part of CI: it downloads and installs everything four times (25 GB of disk, a quarter of an hour).
A clone and an empty virtual environment per machine; pip runs over the host's own uplink, everything
after it in network namespaces. Prints what was typed and how long it took:

    pytest -m long -s tests/system/test_bare_machines.py
"""

import os
import shutil
import subprocess
import sys
import time

import pytest
from namespaces_bench import NAMES, Network, require_namespaces
from readme_bench import ROOT, Machines, commands, deal_photos, tokens_in

pytestmark = [pytest.mark.system, pytest.mark.long, pytest.mark.timeout(3600)]
SERVER, *DEVICES = NAMES
DISK_BYTES = 30 << 30


class BareMachines(Machines):
    """Each has a clone with an empty `.venv`, a home of its own, and nothing of ours in its environment."""

    def __init__(self, folder, network):
        super().__init__(folder)
        self.network = network
        self.installed = set()
        self.typed = []

    def make(self, machine):
        clone = self.place(machine)
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        subprocess.run([sys.executable, "-m", "venv", str(clone / ".venv")], check=True)
        (self.folder / machine / "home").mkdir()

    def place(self, machine):
        return self.folder / machine / "edgeveil"

    def environment(self, machine):
        ours = ("EDGEVEIL", "PYTHON", "VIRTUAL_ENV")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        if machine in self.installed:
            kept["HOME"] = str(self.folder / machine / "home")
        return kept | {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}

    def words(self, command, **placeholders):
        """The line itself, given to a shell after the activation the README tells to do first."""
        for name, value in placeholders.items():
            command = command.replace(name, str(value))
        return ["bash", "-c", f". .venv/bin/activate && exec {command}"]

    def type(self, machine, command, act, **options):
        """One of the ten: counted and timed."""
        began = time.monotonic()
        shown = act(machine, command, **options)
        self.typed.append((machine, command, time.monotonic() - began))
        return shown


@pytest.fixture(scope="module")
def machines(tmp_path_factory):
    require_namespaces()
    folder = tmp_path_factory.mktemp("bare")
    if shutil.disk_usage(folder).free < DISK_BYTES:
        pytest.skip("four environments need 30 GB of free disk")
    with Network(folder) as network:
        built = BareMachines(folder, network)
        for name in NAMES:
            built.make(name)
        deal_photos(built, DEVICES)
        try:
            yield built
        finally:
            built.stop()
            for name in NAMES:
                shutil.rmtree(built.place(name))


def test_ten_commands_lead_from_bare_environments_to_the_first_aggregated_round(machines):
    install, init, new, serve, run_agent, *_ = commands("A server and three devices")
    began = time.monotonic()
    for name in NAMES:
        assert not (machines.place(name) / ".venv/bin/agent").exists()
        machines.type(name, install, machines.run, timeout=1200)
        machines.installed.add(name)
    machines.prefix = machines.network.inside
    tokens = tokens_in(machines.type(SERVER, init, machines.run), DEVICES)
    machines.type(SERVER, new, machines.run)
    machines.type(SERVER, serve, machines.start)
    await_line(machines, SERVER, "listening on")
    for name, token in zip(DEVICES, tokens, strict=True):
        machines.type(name, run_agent, machines.start, TOKEN=token)
    await_line(machines, SERVER, "round.commit")
    seconds = time.monotonic() - began
    lines = [f"{machine:7} {took:6.1f} s  {command}" for machine, command, took in machines.typed]
    pip = sum(took for _, command, took in machines.typed if command == install)
    summary = f"{len(lines)} commands, {seconds:.0f} s in all, {seconds - pip:.0f} s without pip"
    sys.stdout.write("\n".join([*lines, summary, ""]))
    assert len(machines.typed) <= 10


def await_line(machines, name, words, limit_s=180):
    """Look at what a machine prints, as whoever sits there would; nothing is typed for it."""
    end = time.monotonic() + limit_s
    while words not in read_log(machines, name):
        logs = [read_log(machines, each) for each in NAMES]
        assert time.monotonic() < end, logs
        assert all(process.poll() is None for process in machines.started), logs
        time.sleep(0.1)


def read_log(machines, name):
    path = machines.folder / f"{name}.log"
    return path.read_text() if path.exists() else ""
