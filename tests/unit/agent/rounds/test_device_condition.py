"""How a device measures its power and load, what its owner's rule makes of it, and what is told."""

import pytest
from typer.testing import CliRunner

from edgeveil.agent.cli.app import app
from edgeveil.agent.home.home import AgentHome
from edgeveil.agent.home.policy import Policy, WhenPolicy
from edgeveil.agent.home.policy_changes import loosened
from edgeveil.agent.rounds.condition import Conditions, Load, Power
from edgeveil.shared.base.errors import PolicyRefusal, ProtocolError, RefusalCode
from edgeveil.shared.wire.condition import MOST_BYTES, Condition


def supplies(folder, **found):
    """A folder like /sys/class/power_supply: name → its files."""
    root = folder / "power_supply"
    root.mkdir(exist_ok=True)
    for name, files in found.items():
        (root / name).mkdir(exist_ok=True)
        for file, text in files.items():
            (root / name / file).write_text(f"{text}\n")
    return root


def battery(status, capacity, **more):
    return {"type": "Battery", "status": status, "capacity": capacity, **more}


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        ({}, (True, 100)),
        ({"AC": {"type": "Mains", "online": 1}}, (True, 100)),
        ({"BAT0": battery("Discharging", 41)}, (False, 41)),
        ({"BAT0": battery("Charging", 41)}, (True, 41)),
        ({"BAT0": battery("Full", 100)}, (True, 100)),
        ({"BAT0": battery("Unknown", 80)}, (None, 80)),
        ({"BAT0": battery("Unknown", 80), "AC": {"type": "Mains", "online": 1}}, (True, 80)),
        ({"BAT0": battery("Discharging", 9), "AC": {"type": "Mains", "online": 0}}, (False, 9)),
        ({"BAT0": battery("Discharging", 9), "BAT1": battery("Discharging", 60)}, (False, 60)),
        ({"mouse": battery("Discharging", 3, scope="Device")}, (True, 100)),
        ({"BAT0": {"type": "Battery", "status": "Discharging"}}, (False, None)),
        ({"BAT0": battery("Discharging", "full of lies")}, (False, None)),
        ({"BAT0": battery("Discharging", 140)}, (False, 100)),
    ],
)
def test_power_is_read_as_the_kernel_writes_it(tmp_path, found, wanted):
    assert Power(supplies(tmp_path, **found)).look() == wanted


def test_power_is_unknown_where_the_kernel_has_no_such_folder(tmp_path):
    assert Power(tmp_path / "nothing").look() == (None, None)


class Machine:
    """Processor time that passes by hand, in a file like /proc/stat."""

    def __init__(self, folder):
        self.stat, self.time, self.own = folder / "stat", 0.0, 0.0
        self.busy = self.idle = 0
        self.let_pass(0, busy=0)
        self.load = Load(self.stat, own=lambda: self.own, now=lambda: self.time)

    def let_pass(self, seconds, *, busy, own=0.0, processors=2):
        self.time += seconds
        self.own += own
        self.busy += round(busy * 100)
        self.idle += round((seconds * processors - busy) * 100)
        self.stat.write_text(f"cpu  {self.busy} 0 0 {self.idle} 0 0 0 0 0 0\ncpu0 1 2 3\n")


def test_load_is_what_others_used_and_not_what_training_did(tmp_path):
    machine = Machine(tmp_path)
    machine.let_pass(10, busy=12, own=10)
    assert machine.load.look() == pytest.approx(0.1)
    machine.let_pass(10, busy=20, own=1)
    assert machine.load.look() == pytest.approx(0.95)


def test_a_look_too_soon_repeats_the_last_one(tmp_path):
    machine = Machine(tmp_path)
    machine.let_pass(1, busy=2)
    assert machine.load.look() is None
    machine.let_pass(9, busy=8)
    assert machine.load.look() == pytest.approx(0.5)
    machine.let_pass(0.5, busy=1)
    assert machine.load.look() == pytest.approx(0.5)


def test_load_is_unknown_where_nothing_can_be_read(tmp_path):
    assert Load(tmp_path / "nothing").look() is None
    (tmp_path / "odd").write_text("cpu who knows\n")
    assert Load(tmp_path / "odd").look() is None


def conditions(folder, *, busy=0.0, found=None, **rule):
    machine = Machine(folder)
    machine.let_pass(10, busy=busy)
    return Conditions(WhenPolicy(**rule), Power(supplies(folder, **(found or {}))), machine.load)


ON_BATTERY = {"BAT0": battery("Discharging", 41)}


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ({"charging": True}, "only on outside power"),
        ({"battery_min": 42}, "only with 42 % of charge or more"),
        ({"idle": True, "load_max": 0.3}, "use at most 30 % of the processors"),
        ({"charging": True, "idle": True}, "on outside power and while other programs"),
    ],
)
def test_the_owners_rule_declines(tmp_path, rule, reason):
    found = conditions(tmp_path, busy=19, found=ON_BATTERY, **rule)
    with pytest.raises(PolicyRefusal, match=reason) as caught:
        found.check()
    assert caught.value.code is RefusalCode.POLICY_WHEN


def test_the_owners_rule_lets_pass_what_holds(tmp_path):
    conditions(tmp_path, busy=19, found=ON_BATTERY, battery_min=41).check()
    conditions(
        tmp_path, busy=2, found={"BAT0": battery("Charging", 80)}, charging=True, idle=True
    ).check()


def test_what_cannot_be_measured_does_not_hold(tmp_path):
    unknown = Power(tmp_path / "nothing"), Load(tmp_path / "nothing")
    for rule in ({"charging": True}, {"battery_min": 1}, {"idle": True}):
        with pytest.raises(PolicyRefusal):
            Conditions(WhenPolicy(**rule), *unknown).check()
    Conditions(WhenPolicy(), *unknown).check()


def test_nothing_is_told_unless_the_owner_allows_it_and_then_three_flags(tmp_path):
    assert conditions(tmp_path, found=ON_BATTERY).told() is None
    told = conditions(tmp_path, found=ON_BATTERY, tell=True, battery_min=60).told()
    assert told == Condition(charging=False, battery=False, idle=True)
    assert b"41" not in told.encode(), "no number leaves the device"
    assert len(told.encode()) <= MOST_BYTES
    assert Condition.decode(told.encode()) == told


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b'{"charging": 1}', b'{"charging": "yes"}', b'{"charge": 41}', b"[" * 100_000],
)
def test_any_other_body_is_malformed(body):
    with pytest.raises(ProtocolError):
        Condition.decode(body)


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ({"charging": True}, {}, "when.charging"),
        ({"battery_min": 50}, {"battery_min": 49}, "when.battery_min"),
        ({"idle": True}, {}, "when.idle"),
        ({}, {"load_max": 0.6}, "when.load_max"),
        ({}, {"tell": True}, "when.tell"),
    ],
)
def test_loosening_the_rule_needs_the_owner_and_tightening_does_not(old, new, key):
    old, new = (Policy(when=WhenPolicy(**values)) for values in (old, new))
    assert loosened(old, new) == (key,)
    assert loosened(new, old) == ()


def test_the_rule_survives_the_file_and_an_older_ledger_lacks_it(tmp_path):
    policy = Policy(when=WhenPolicy(charging=True, battery_min=30, tell=True))
    path = tmp_path / "policy.toml"
    path.write_text(policy.to_toml())
    assert Policy.load(path) == policy
    older = policy.to_json().replace(
        ',"when":{"battery_min":30,"charging":true,"idle":false,"load_max":0.5,"tell":true}', ""
    )
    assert "when" not in older
    assert Policy.from_json(older) == Policy()


def test_a_paused_device_declines_as_one_that_is_not_ready_until_it_is_resumed(tmp_path):
    home = AgentHome(tmp_path / "home")
    conditions = Conditions(WhenPolicy(), paused=lambda: home.paused)
    conditions.check()
    for command, paused in (("pause", True), ("pause", True), ("resume", False), ("resume", False)):
        done = CliRunner().invoke(app, [command, "--home", str(home.path)])
        assert done.exit_code == 0
        assert home.paused == paused
        if paused:
            with pytest.raises(PolicyRefusal, match="agent resume") as refused:
                conditions.check()
            assert refused.value.code is RefusalCode.POLICY_WHEN
        else:
            conditions.check()
    nowhere = CliRunner().invoke(app, ["pause", "--home", str(tmp_path / "none")])
    assert nowhere.exit_code != 0
    assert not (tmp_path / "none").exists()
