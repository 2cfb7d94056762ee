"""SIGKILL at every failpoint, power cuts, full disks, failing fsyncs: what was promised stays true.

One seed each; scripts/chaos.py runs as many as one has time for.
"""

import collections
import copy
import signal
from pathlib import Path

import pytest
from crash_bench import Scenario, World
from faults_bench import FSYNCS, Seed, can_mount, power_trials, quick_folder
from store_bench import add_agent
from transport_bench import federation
from trials_bench import in_child

from edgeveil.agent.home.home import AgentHome
from edgeveil.agent.rounds.variates import Variates
from edgeveil.coordinator.cli.setup import initialise
from edgeveil.coordinator.learning import strategies
from edgeveil.coordinator.plan.config import CoordinatorConfig
from edgeveil.coordinator.records.records import EnrolledAgent
from edgeveil.coordinator.runs.learner import Learned
from edgeveil.coordinator.serving.serve import Coordinator
from edgeveil.shared.base import failpoints
from edgeveil.shared.base.config import load
from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.base.failpoints import Failpoint
from edgeveil.shared.wire.messages import Stage
from edgeveil.shared.wire.roster import agent_id

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
        )
    )
)


@pytest.fixture(scope="module")
def seed():
    with quick_folder() as name:
        yield Seed(11, Path(name) / "seed")


def coordinator(home):
    """A serving process of a new home that listens nowhere yet."""
    if not home.exists():
        initialise(
            home, home.parent / "federation", url="https://127.0.0.1:1", listen="127.0.0.1:0",
            hosts=(), passphrase=None,
        )  # fmt: skip
    return Coordinator(home, load(home / "coordinator.toml", CoordinatorConfig))


def killed_at(point, action, folder):
    """Run `action` in a process that dies at `point`."""
    schedule = failpoints.Schedule(f"{point}=kill")

    def armed():
        failpoints.install(schedule)
        action()

    assert in_child(armed, log=folder / "log")[0] == -signal.SIGKILL


KEYS = [Failpoint.AGENT_KEYS_BEFORE, Failpoint.AGENT_KEYS_AFTER]
ROSTER = [Failpoint.COORDINATOR_ROSTER_BEFORE, Failpoint.COORDINATOR_ROSTER_AFTER]
LIVES = 200  # of the long campaign, each with keys of its own


@pytest.mark.parametrize("point", KEYS)
def test_a_device_killed_while_it_makes_its_keys_has_whole_ones_at_the_next_start(tmp_path, point):
    kill_while_keys_are_made(tmp_path, point)


def kill_while_keys_are_made(folder, point):
    home = folder / "agent"
    killed_at(point, lambda: AgentHome(home).ensure_keys(), folder)
    found = sorted(path.name for path in home.glob("*.key"))
    assert found == ([] if point is Failpoint.AGENT_KEYS_BEFORE else ["identity.key", "node.key"])
    before = {name: (home / name).read_bytes() for name in found}
    again = AgentHome(home)
    again.ensure_keys()
    assert again.identity().public
    assert again.node_public_pem()
    assert {name: (home / name).read_bytes() for name in found} == before
    assert not list(home.glob("*.tmp*"))


@pytest.mark.parametrize("point", ROSTER)
def test_a_coordinator_killed_while_a_revocation_takes_effect_knows_it_at_the_next_start(
    tmp_path, point
):
    kill_while_one_is_revoked(tmp_path, point)


def kill_while_one_is_revoked(folder, point):
    home = folder / "coordinator"
    device = AgentHome(folder / "agent")
    device.ensure_keys()
    serving = coordinator(home)
    public = device.identity().public
    add_agent(
        serving.store,
        EnrolledAgent(agent_id(public), "cam-1", public, device.node_public_pem(), 1.0),
    )
    serving.store.close()

    def revoke():
        dying = coordinator(home)
        dying.roster.change({"change": "revoke", "names": ["cam-1"], "new": ""}, dying.gateway)

    killed_at(point, revoke, folder)
    again = coordinator(home)
    again.roster.apply(again.gateway)
    nodes = again.gateway._nodes
    assert nodes.find(device.node_public_pem()) is None
    assert nodes.was_revoked(device.node_public_pem())
    again.store.close()


def test_every_registered_failpoint_is_passed(seed, tmp_path):
    passed = collections.Counter(seed.passages)
    failpoints.install(lambda point: passed.update([point]))
    try:
        World.make(tmp_path / "made", Scenario(0))  # keys
        serving = coordinator(tmp_path / "coordinator")
        serving.roster.apply(serving.gateway)
        serving.store.close()
        with federation(1) as bench:  # SuperLink's run, an agent's push
            assert len(bench.exchange(bench.requests(Stage.SHARE))) == 1
    finally:
        failpoints.install(None)
    assert set(Failpoint) == set(passed), set(Failpoint) - set(passed)
    assert len(Failpoint) >= 25


@pytest.mark.parametrize("family", ["kill", "single"])
def test_no_failpoint_loses_a_round_a_record_or_a_sum(seed, family):
    assert set(HERE) == set(seed.passages)
    for point in HERE:
        trial = seed.trial(family, point)
        assert trial.kills == 1, f"{family} {point}: nothing happened"
        assert not trial.violations, f"{family} {point}@{seed.passage(point)}: {trial.violations}"


VARIATE_POINTS = (
    Failpoint.AGENT_SEAL_AFTER,
    Failpoint.FILE_RENAME_BEFORE,
    Failpoint.AGENT_ADVANCE_BEFORE,
    Failpoint.AGENT_SUBMIT_AFTER,
    Failpoint.COORDINATOR_CHECKPOINT_AFTER,
    Failpoint.COORDINATOR_RECORD_AFTER,
)


@pytest.fixture(scope="module")
def scaffold(seed):
    return Seed(12, seed.folder / "scaffold", rounds=3, strategy="scaffold")


@pytest.mark.parametrize("family", ["kill", "single"])
def test_no_failpoint_leaves_a_wrong_control_variate(scaffold, family):
    """The places around it on either side; scripts/chaos.py --strategy scaffold kills at all."""
    for point in VARIATE_POINTS:
        trial = scaffold.trial(family, point)
        assert trial.kills == 1, f"{family} {point}: nothing happened"
        assert not trial.violations, (
            f"{family} {point}@{scaffold.passage(point)}: {trial.violations}"
        )


def keeps_its_first_for_ever(patch):
    keep = Variates.keep
    patch.setattr(Variates, "keep", lambda own, *what: own._path.exists() or keep(own, *what))


def never_keeps_any(patch):
    patch.setattr(Variates, "keep", lambda *_: None)


def bends_the_wrong_way(patch):
    bend = Variates.bend
    patch.setattr(
        Variates, "bend", lambda *given: None if (found := bend(*given)) is None else -found
    )


def offers_the_model(patch):
    patch.setattr(Learned, "variate", property(lambda learned: learned.model))


def learns_half(patch):
    rule = strategies._scaffold

    def half(*given):
        step, parts = rule(*given)
        return step, {name: part / 2 for name, part in parts.items()}

    patch.setattr(strategies, "STRATEGIES", strategies.STRATEGIES | {"scaffold": (half, ())})


@pytest.mark.parametrize(
    ("plant", "sentence"),
    [
        (keeps_its_first_for_ever, "the file is not the newest variate"),
        (never_keeps_any, "the file is not the newest variate"),
        (bends_the_wrong_way, "trained in round 2 with"),
        (offers_the_model, "trained in round 3 with"),
        (learns_half, "is not the mean of its survivors"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_rules_notice_a_wrong_control_variate(scaffold, monkeypatch, plant, sentence):
    plant(monkeypatch)
    broken = copy.copy(scaffold)
    broken.folder = scaffold.folder / plant.__name__
    found = broken.trial("kill", Failpoint.AGENT_ACK_AFTER, 1).violations
    assert any(sentence in said for said in found), found


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


@pytest.mark.long
@pytest.mark.parametrize("point", [*KEYS, *ROSTER])
def test_two_hundred_lives_end_while_keys_are_made_or_one_is_revoked(tmp_path, point):
    kill = kill_while_keys_are_made if point in KEYS else kill_while_one_is_revoked
    for number in range(LIVES):
        folder = tmp_path / str(number)
        folder.mkdir()
        kill(folder, point)
