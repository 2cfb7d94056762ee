"""The README's commands, as printed, on one machine that plays a server and three devices."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from fakes_federation import write_digits
from ports_bench import free_port
from processes_bench import BIN, wait_until
from readme_bench import ROOT, Machines, await_rounds, commands, serving, start_devices, states

pytestmark = pytest.mark.system


def test_a_server_and_three_devices_follow_the_readme_literally(tmp_path):
    """Ten commands with the four installs, which the environment of this test stands for."""
    install, init, invite, serve, run_agent, *looks = commands("A server and three devices")
    assert install.startswith("pip install")
    assert 4 * len([install]) + len([init, invite, serve]) + 3 * len([run_agent]) == 10
    status, agents, rounds, report, budget = looks
    machines = Machines(tmp_path, f"127.0.0.1:{free_port()}")
    names = invite.split()[2:]
    try:
        # Only the address differs from a real server: the example listens on every interface.
        machines.run("server", f"{init} --listen {machines.at}")
        tokens = machines.run("server", invite).split()
        assert len(tokens) == 3
        assert all(len(token) <= 140 for token in tokens)
        machines.start("server", serve)
        wait_until(lambda: serving(machines, status), 120, "serve")
        start_devices(machines, names, tokens, write_digits(tmp_path, 3, 60), run_agent)
        await_rounds(machines, [1, 2, 3, 4, 5])
        assert "committed" in machines.run("server", rounds)
        assert "5 of 5 committed" in machines.run("server", report)
        assert "connected" in machines.run("server", status)
        assert "connected" in machines.run("server", agents)
        for name in names:
            assert "rounds charged" in machines.run(name, budget)
    finally:
        machines.stop()


def test_the_key_stays_offline_when_the_readme_s_second_way_is_followed(tmp_path):
    init, invite, serve, export, sign, take = commands("With the federation key offline")
    _, _, _, _, run_agent, status, *_ = commands("A server and three devices")
    machines = Machines(tmp_path, f"127.0.0.1:{free_port()}")
    names = invite.split()[2:]
    try:
        machines.run("server", f"{init} --listen {machines.at}")
        key = tmp_path / "stick" / "federation"
        key.parent.mkdir(mode=0o700)
        (tmp_path / "server" / "federation").rename(key)
        tokens = machines.run("server", invite).split()
        machines.start("server", serve)
        wait_until(lambda: serving(machines, status), 120, "serve")
        start_devices(machines, names, tokens, write_digits(tmp_path, 3, 60), run_agent)
        wait_until(
            lambda: states(machines) == ["pending"] * 3, 180, lambda: f"joins: {states(machines)}"
        )
        roster = tmp_path / "roster.json"
        machines.run("server", export.replace("roster.json", str(roster)))
        sign = sign.replace("roster.json", str(roster)).replace("/media/key/federation", str(key))
        machines.run("elsewhere", sign, stdin="y\n")
        machines.run("server", take.replace("roster.json", str(roster)))
        await_rounds(machines, [1])
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
    """The demo at its defaults, and once more in the same place for one round; but for the installation."""
    for more, least in (((), 90.0), (("--rounds", "1"), 10.0)):
        found = subprocess.run(
            [sys.executable, str(ROOT / "scripts/demo_federation.py"), "--home", str(tmp_path / "demo"), "--no-input", *more],
            capture_output=True, text=True, timeout=420,
        )  # fmt: skip
        assert found.returncode == 0, found.stderr
        accuracy = float(re.search(r"test accuracy ([\d.]+)%", found.stdout)[1])
        assert accuracy >= least
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
