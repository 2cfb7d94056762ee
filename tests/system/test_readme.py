"""The README's commands, as printed, on one machine that plays a server and three devices."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from ports_bench import free_port
from processes_bench import BIN, wait_until
from readme_bench import (
    ROOT,
    Machines,
    await_rounds,
    commands,
    deal_photos,
    serving,
    start_devices,
    states,
    tokens_in,
)

pytestmark = pytest.mark.system


NAMES = ["cam-1", "cam-2", "cam-3"]


@contextmanager
def federation(tmp_path, photos, title="A server and three devices"):
    """Everything up to where the devices start; yields the machines, the tokens and how a device starts."""
    init, new, serve, *_ = [line for line in commands(title) if line.startswith("coordinator")]
    run_agent = next(line for line in commands("A server and three devices") if "--join" in line)
    machines = Machines(tmp_path, f"127.0.0.1:{free_port()}")
    deal_photos(machines, NAMES, photos)
    try:
        # Only the address differs from a real server: the example listens on every interface.
        tokens = tokens_in(machines.run("server", f"{init} --listen {machines.at}"), NAMES)
        assert all(len(token) <= 140 for token in tokens)
        machines.run("server", new)
        machines.start("server", serve)
        wait_until(lambda: serving(machines, "coordinator status"), 120, "serve")
        yield machines, tokens, run_agent
    finally:
        machines.stop()


def test_a_server_and_three_devices_with_colour_photos_get_a_useful_model(tmp_path):
    """Ten commands with the four installs, which the environment of this test stands for."""
    install, init, new, serve, run_agent, *looks = commands("A server and three devices")
    assert install.startswith("pip install")
    assert 4 * len([install]) + len([init, new, serve]) + 3 * len([run_agent]) == 10
    status, agents, rounds, report, budget = looks
    with federation(tmp_path, photos=200) as (machines, tokens, run_agent):
        start_devices(machines, NAMES, tokens, run_agent)
        await_rounds(machines, list(range(1, 21)))
        assert "committed" in machines.run("server", rounds)
        assert "20 of 20 committed" in machines.run("server", report)
        assert "connected" in machines.run("server", status)
        assert "connected" in machines.run("server", agents)
        told = json.loads(machines.run("server", f"{rounds} --json"))
        assert max(row["metrics"]["accuracy"] for row in told) >= 0.9
        for name in NAMES:
            assert "rounds charged" in machines.run(name, budget)
            assert "600 usable images, 3 classes" in (tmp_path / f"{name}.log").read_text()
        the_model_answers_on_a_device(machines)


def the_model_answers_on_a_device(machines):
    export, predict, evaluate, serve = commands("Use the model")
    machines.run("server", export)
    shutil.copy(machines.place("server") / "photos.evm", machines.place("cam-1"))
    answers = map(json.loads, machines.run("cam-1", f"{predict} --json").splitlines())
    right = [answer["label"] == Path(answer["input"]).parent.name for answer in answers]
    assert len(right) == 600
    assert sum(right) >= 540
    assert "Precision" in machines.run("cam-1", evaluate)
    machines.start("cam-1", serve)
    log = machines.folder / "cam-1.log"
    wait_until(lambda: "http://127.0.0.1" in log.read_text(), 60, log.read_text)


def test_a_device_whose_folders_are_called_otherwise_costs_nobody_anything(tmp_path):
    with federation(tmp_path, photos=20) as (machines, tokens, run_agent):
        photos = machines.place("cam-3") / "photos"
        (photos / "bag").rename(photos / "purse")
        start_devices(machines, NAMES, tokens, run_agent)
        said = "cam-3 allows no such task or data (POLICY_TASK)"
        wait_until(
            lambda: said in (tmp_path / "server.log").read_text(),
            200,
            (tmp_path / "server.log").read_text,
        )
        for name in NAMES:
            assert re.search(r"rounds charged +0 ", machines.run(name, "agent budget"))


def test_the_key_stays_offline_when_the_readme_s_second_way_is_followed(tmp_path):
    title = "With the federation key offline"
    *_, export, sign, take = commands(title)
    with federation(tmp_path, photos=20, title=title) as (machines, tokens, run_agent):
        key = tmp_path / "stick" / "federation"
        key.parent.mkdir(mode=0o700)
        (tmp_path / "server" / "federation").rename(key)
        start_devices(machines, NAMES, tokens, run_agent)
        wait_until(
            lambda: states(machines) == ["pending"] * 3, 180, lambda: f"joins: {states(machines)}"
        )
        machines.run("server", export)
        roster = machines.place("elsewhere") / "roster.json"
        (machines.place("server") / "roster.json").rename(roster)
        machines.run("elsewhere", sign.replace("/media/key/federation", str(key)), stdin="y\n")
        roster.rename(machines.place("server") / "roster.json")
        machines.run("server", take)
        await_rounds(machines, [1])


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
