"""SIGKILL of real processes over TLS: the same run goes on by itself, nothing is lost or left behind."""

import json
import signal
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from forks_bench import descendants
from processes_bench import Machine, alive, run, wait_until

from edgeveil.shared.base.failpoints import Failpoint

pytestmark = pytest.mark.system
BENCH = Path(__file__).resolve().parents[1] / "benches" / "real_crash_bench.py"
PARTIES = 6  # coordinator, SuperLink, four agents


def campaign(seed, points):
    found = subprocess.run(
        [sys.executable, str(BENCH), "--seed", str(seed), "--points", str(points)],
        capture_output=True, text=True, timeout=850, check=False,
    )  # fmt: skip
    assert found.stdout, found.stderr
    return json.loads(found.stdout)


def check(found, kills):
    assert found["violations"] == [], found
    assert found["unreached"] == [], found
    assert found["kills"] == kills
    assert found["orphans"] == []
    assert found["committed"] >= 3
    slowed = found["slowed"]  # 1 on an idle machine
    assert statistics.median(found["restart_s"]) <= 10 * slowed
    assert max(found["restart_s"]) <= 20 * slowed
    assert found["superlink_revival_s"] <= 20 * slowed
    for name, (code, seconds) in found["stopped"].items():
        assert code == 0, f"{name}: {found['logs']}"
        assert seconds <= 10 * slowed


def test_both_sides_are_killed_at_failpoints_and_the_run_goes_on():
    """Five of each side; all 46 with the long tests, and all in one process in test_crashes.py."""
    check(campaign(seed=3, points=5), kills=11)


@pytest.mark.long
def test_both_sides_are_killed_at_every_failpoint_and_the_run_goes_on():
    check(campaign(seed=3, points=0), kills=46)


@pytest.mark.parametrize("lives", [1, pytest.param(5, marks=pytest.mark.long)])
def test_a_device_killed_while_it_makes_its_keys_joins_at_the_next_try(tmp_path, lives):
    machine = Machine(tmp_path, agents=2 * lives)
    points = (Failpoint.AGENT_KEYS_BEFORE, Failpoint.AGENT_KEYS_AFTER)
    try:
        machine.serve()
        tokens = json.loads(
            run("coordinator", "invite", "--json", *machine.names, home=machine.home).stdout
        )
        for entry, data, point in zip(tokens, machine.pieces, points * lives, strict=True):
            name = entry["name"]
            join = ("join", entry["token"], "--data", data, "--policy", tmp_path / "policy.toml")
            dying = machine.spawn(name, "agent", *join, EDGEVEIL_FAILPOINTS=f"{point}=kill")
            assert dying.wait(120) == -signal.SIGKILL
            made = {path.name: path.read_bytes() for path in (tmp_path / name).glob("*.key")}
            assert len(made) == (0 if point is Failpoint.AGENT_KEYS_BEFORE else 2)
            assert machine.spawn(name, "agent", *join).wait(120) == 0, machine.log(name)
            for file, content in made.items():
                assert (tmp_path / name / file).read_bytes() == content
        states = {agent["name"]: agent["state"] for agent in machine.status()["agents"]}
        assert states == dict.fromkeys(machine.names, "pending")
    finally:
        machine.close()


def test_a_bench_that_is_killed_leaves_no_process_behind(tmp_path):
    """Coordinator, SuperLink and agents were forked by a process that could tell nobody it died."""
    bench = subprocess.Popen(
        [sys.executable, str(BENCH), "--points", "1", "--folder", str(tmp_path)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_until(lambda: len(descendants(bench.pid)) >= PARTIES, 180, "every party to start")
        parties = descendants(bench.pid)
    finally:
        bench.kill()
        bench.wait()
    wait_until(lambda: not any(map(alive, parties)), 60, "every party to end")


def test_a_backup_of_a_serving_coordinator_is_restored_and_stop_stops_it(tmp_path):
    machine = Machine(tmp_path, agents=1)
    try:
        machine.serve()
        pid = machine.status()["superlink_pid"]
        run("coordinator", "backup", tmp_path / "copy", home=machine.home)
        run("coordinator", "stop", home=machine.home)
        assert machine.processes["coordinator"].wait(60) == 0
        assert not alive(pid)
    finally:
        machine.close()
    again = run("coordinator", "stop", home=machine.home, check=False)
    assert again.returncode == 2
    assert "no coordinator is serving" in again.stderr
    run("coordinator", "restore", tmp_path / "copy", home=tmp_path / "again")
    machine.home = tmp_path / "again"
    assert machine.status()["url"] == f"https://127.0.0.1:{machine.port}"


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1, 6))
def test_every_failpoint_of_real_processes(seed):
    found = campaign(seed, points=0)
    check(found, kills=found["kills"])
    assert found["kills"] >= 46
