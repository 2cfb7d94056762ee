"""Bad networks, scarce memory and jumping clocks, with real processes: rounds go on by themselves."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import memory_bench
import nemesis_bench
import pytest

pytestmark = pytest.mark.system
BENCHES = Path(__file__).resolve().parents[1] / "benches"


def campaign(script, *options):
    ran = subprocess.run(
        [sys.executable, str(BENCHES / script), *options],
        capture_output=True, text=True, timeout=850, check=False,
    )  # fmt: skip
    assert ran.stdout, ran.stderr
    found = json.loads(ran.stdout)
    assert found["violations"] == [], found
    for name, (code, seconds) in found["stopped"].items():
        limit_s = 10 * found.get("slowed", 1.0)
        assert (code, seconds <= limit_s) == (0, True), f"{name}: {found}"
    return found


def require(reason):
    if reason:
        pytest.skip(reason)


def test_a_network_that_is_cut_slow_and_lossy_delays_rounds_and_nothing_else():
    require(nemesis_bench.why_not())
    found = campaign("network_faults_bench.py", "--seed", "1", "--seconds", "20")
    assert found["traffic"]["lost"] > 0, "nothing was disturbed"


@pytest.mark.long
def test_whoever_the_kernel_kills_for_memory_comes_back():
    require(memory_bench.why_not())
    assert set(campaign("memory_bench.py")["killed"]) == {"agent-0", "superlink", "coordinator"}


@pytest.mark.long
def test_a_wall_clock_that_jumps_breaks_no_deadline_nonce_or_token():
    require("" if shutil.which("cc") else "needs a C compiler")
    campaign("clock_jumps_bench.py")


def test_a_schedule_follows_from_its_seed_and_holds_every_kind_of_fault_in_the_long_run():
    machines = ["agent-0", "agent-1"]
    assert nemesis_bench.schedule(7, 60, machines) == nemesis_bench.schedule(7, 60, machines)
    kinds = {
        fault.kind for seed in range(20) for fault in nemesis_bench.schedule(seed, 60, machines)
    }
    assert kinds == set(nemesis_bench.KINDS)
