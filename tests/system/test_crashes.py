"""SIGKILL at every failpoint, power cuts, full disks, failing fsyncs: what was promised stays true.

One seed each; scripts/chaos.py runs as many as one has time for.
"""

import collections
from pathlib import Path

import pytest
from crash_bench import Scenario, World, in_child, live
from faults_bench import FSYNCS, Seed, can_mount, power_trials, quick_folder
from transport_bench import federation

from coordinator.serve import Coordinator
from coordinator.setup import initialise
from shared import failpoints
from shared.config import load
from shared.errors import ConfigError
from shared.failpoints import Failpoint
from shared.messages import Stage

pytestmark = pytest.mark.system
HERE = tuple(
    point
    for point in Failpoint
    if not point.startswith(
        (
            "agent.keys",
            "agent.push",
            "coordinator.flower",
            "coordinator.roster",
            "coordinator.abort",
        )
    )
)


@pytest.fixture(scope="module")
def seed():
    with quick_folder() as name:
        yield Seed(11, Path(name) / "seed")


def test_every_registered_failpoint_is_passed(seed, tmp_path):
    passed = collections.Counter(seed.passages)
    failpoints.install(lambda point: passed.update([point]))
    try:
        World.make(tmp_path / "made", Scenario(0))  # keys
        home = tmp_path / "coordinator"
        initialise(
            home, tmp_path / "federation", url="https://127.0.0.1:1", listen="127.0.0.1:0", hosts=(),
            passphrase=None,
        )  # fmt: skip
        from coordinator.config import CoordinatorConfig

        config = load(home / "coordinator.toml", CoordinatorConfig)
        serving = Coordinator(home, config)
        serving.roster.apply(serving.gateway)
        serving.store.close()
        with federation(1) as bench:  # SuperLink's run, an agent's push
            assert len(bench.exchange(bench.requests(Stage.SHARE))) == 1
    finally:
        failpoints.install(None)
    alone = World.make(tmp_path / "alone", Scenario(0, agents=3, attempts=1))
    alone.scenario.silent = lambda _attempt: {0: Stage.SHARE}
    seen = tmp_path / "seen"

    def note(point):
        if point is Failpoint.COORDINATOR_ABORT_BEFORE:
            seen.touch()

    in_child(live(alone.folder, alone.scenario, note), log=alone.side / "log")
    passed.update([Failpoint.COORDINATOR_ABORT_BEFORE] * seen.exists())
    assert set(Failpoint) == set(passed), set(Failpoint) - set(passed)
    assert len(Failpoint) >= 25


@pytest.mark.parametrize("family", ["kill", "single"])
def test_no_failpoint_loses_a_round_a_record_or_a_sum(seed, family):
    assert set(HERE) == set(seed.passages)
    for point in HERE:
        trial = seed.trial(family, point)
        assert trial.kills == 1, f"{family} {point}: nothing happened"
        assert not trial.violations, f"{family} {point}@{seed.passage(point)}: {trial.violations}"


def test_a_power_cut_loses_nothing_that_was_acknowledged(seed):
    trials = list(power_trials(seed, every=12))
    assert len(trials) > 30
    assert {name: trial.violations for name, trial in trials if trial.violations} == {}


def test_the_rules_notice_a_ledger_that_is_not_synced(seed):
    broken = Seed(11, seed.folder / "broken")
    found = [trial for _, trial in power_trials(broken, every=80, lying=True) if trial.violations]
    assert found


@pytest.mark.parametrize("point", FSYNCS)
def test_a_failing_fsync_stops_or_refuses_and_leaves_everything_in_order(seed, point):
    assert seed.trial("eio", point).violations == []


@pytest.mark.parametrize(
    "point",
    [
        Failpoint.AGENT_RESERVE_BEFORE,
        Failpoint.AGENT_BLOB_BEFORE,
        Failpoint.AGENT_SUBMIT_BEFORE,
        Failpoint.COORDINATOR_ATTEMPT_BEFORE,
        Failpoint.COORDINATOR_CHECKPOINT_BEFORE,
        Failpoint.COORDINATOR_RECORD_BEFORE,
    ],
)
def test_a_full_disk_only_delays(seed, tmp_path, point):
    if not can_mount(tmp_path):
        pytest.skip("needs root, for a small file system of its own")
    assert seed.trial("full", point).violations == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("agent.seal.before", "is not NAME="),
        ("agent.seal.before=explode", "is not NAME="),
        ("agent.seal.between=kill", "there is no failpoint 'agent.seal.between'"),
        ("agent.seal.before=kill@0", "is not NAME="),
    ],
)
def test_a_misspelt_failpoint_is_an_error_and_not_a_test_that_passes(text, reason):
    with pytest.raises(ConfigError, match=reason):
        failpoints.Schedule(text)


def test_a_production_process_refuses_armed_failpoints(monkeypatch):
    monkeypatch.setenv(failpoints.VARIABLE, "agent.seal.before=kill")
    monkeypatch.setenv(failpoints.PRODUCTION, "1")
    with pytest.raises(ConfigError, match="remove one of them"):
        failpoints.arm_from_environment()
