"""Whom a round may ask, and the reason it gives for everybody else."""

import pytest

from edgeveil.coordinator.machine.transport import Presence
from edgeveil.coordinator.rounds.eligibility import ineligible
from edgeveil.shared.wire.condition import Condition

NAMES = {bytes([number]): f"cam-{number}" for number in range(4)}
FLAGS = ("charging", "battery", "idle")


def asked(conditions, *, required=FLAGS, excluded=(), sizes=None, wanted=range(1, 10_001)):
    presence = {agent: Presence(True, 0.0, told) for agent, told in conditions.items()}
    found = ineligible(
        conditions,
        presence,
        NAMES,
        excluded=excluded,
        required=required,
        sizes=sizes or {},
        wanted=wanted,
    )
    return {NAMES[agent]: reason for agent, reason in found.items()}


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        (Condition(charging=False), "not-charging"),
        (Condition(battery=False), "battery-low"),
        (Condition(idle=False), "busy"),
        (Condition(charging=False, battery=False, idle=False), "not-charging,battery-low,busy"),
    ],
)
def test_a_device_that_tells_it_lacks_a_required_flag_is_not_asked(condition, reason):
    assert asked({b"\0": condition}) == {"cam-0": reason}
    assert asked({b"\0": condition}, required=()) == {}


@pytest.mark.parametrize("condition", [None, Condition(), Condition(charging=True, idle=True)])
def test_a_device_that_tells_nothing_against_it_is_asked(condition):
    assert asked({b"\0": condition}) == {}


def test_only_what_the_plan_requires_counts():
    assert asked({b"\0": Condition(idle=False)}, required=("charging",)) == {}


def test_an_excluded_agent_is_named_whatever_it_tells():
    told = {b"\0": Condition(charging=True), b"\1": None}
    assert asked(told, excluded={"cam-0"}) == {"cam-0": "excluded"}


def test_a_device_whose_declared_size_the_plan_is_not_for_is_not_asked():
    devices = {bytes([number]): None for number in range(4)}
    sizes = {"cam-0": 9, "cam-1": 10, "cam-2": 301}
    found = asked(devices, sizes=sizes, wanted=range(10, 301))
    assert found == {"cam-0": "size-9-not-10-to-300", "cam-2": "size-301-not-10-to-300"}
