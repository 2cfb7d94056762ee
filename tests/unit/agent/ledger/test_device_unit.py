"""Rounds that hide whole devices on the ledger that counts per record: charged once, beside the other kind."""

import privacy_bench as bench
import pytest
from report_bench import joined_device

from edgeveil.agent.home.policy import Policy
from edgeveil.agent.ledger.file import ledger_records
from edgeveil.agent.ledger.guard import precheck
from edgeveil.agent.reports.report import build
from edgeveil.agent.reports.report_page import page
from edgeveil.agent.reports.verify import Verdict, check
from edgeveil.shared.base.errors import BudgetExhausted, PolicyRefusal, RefusalCode
from edgeveil.shared.privacy.ledger.facts import WHOLE, collect
from edgeveil.shared.privacy.ledger.records import Kind
from edgeveil.shared.privacy.ledger.replay import replay
from edgeveil.shared.privacy.rdp import Segment, epsilon

WHOLE_PLAN = {
    "unit": "device", "steps": 40, "batch_size": 8, "learning_rate": 0.1, "noise_multiplier": 6.0,
    "noise_bits": 20, "rounds": 20,
}  # fmt: skip


@pytest.fixture
def device(tmp_path):
    return joined_device(tmp_path)


def asked(number, attempt=1, **changes):
    return bench.question(number, attempt, **{**WHOLE_PLAN, **changes})


def admit(device, store, question):
    return precheck(question, device.device.policy, store.state, pinned=bench.COORDINATOR)


def spend(device, number, **changes):
    with device.device.open() as store:
        question = asked(number, **changes)
        store.reserve(admit(device, store, question))
        store.seal(question.attempt, b"integers", steps_done=1, gradient_mode="batch")
        store.submit(question.attempt, b"x" * 32)
        store.ack(question.attempt)


def records(device):
    return list(ledger_records(device.ledger.parent, device.home.identity().public))


def test_a_round_is_one_step_whatever_its_local_steps(device):
    spend(device, 1)
    (reserved,) = [record for record in records(device) if record.kind is Kind.RESERVE]
    assert (reserved.text("mechanism"), reserved.number("steps_planned")) == (WHOLE, 1)
    assert "40 plain steps of sgd, batches of 8" in reserved.text("optimizer")
    assert replay(records(device)).history == (Segment(6.0, 1.0, 1),)
    assert check(device.path, None, None).verdict is Verdict.OK


def test_both_kinds_add_up_in_the_one_ledger(device):
    device.train(2)
    before = replay(records(device)).history
    spend(device, 3)
    state = replay(records(device))
    assert state.history == (*before, Segment(6.0, 1.0, 1))
    assert state.epsilon_spent == pytest.approx(epsilon(state.history, 1e-5)[0])
    assert state.epsilon_spent > epsilon(before, 1e-5)[0]
    assert check(device.path, None, None).verdict is Verdict.OK


def test_a_sealed_update_is_masked_again_for_its_own_unit_alone(device):
    """The coordinator that names the other unit in a later attempt gets a fresh charge, not the sealed update."""
    with device.device.open() as store:
        store.reserve(admit(device, store, asked(1)))
        store.seal(asked(1).attempt, b"integers", steps_done=1, gradient_mode="batch")
        assert admit(device, store, asked(1, 2)).free
        other = bench.question(1, 2, noise_multiplier=20.0)
        found = admit(device, store, other)
        assert not found.free
        assert store.sealed_blob(found) is None
        store.reserve(found)
        assert store.state.history == (Segment(6.0, 1.0, 1), Segment(20.0, 1.0, 8))


def test_it_is_refused_when_the_budget_is_over_as_any_round_is(device):
    with device.device.open() as store:
        left = store.state.steps_left(6.0, 1.0)
        with pytest.raises(PolicyRefusal) as refusal:
            admit(device, store, asked(1, rounds=left + 1))
        assert refusal.value.code is RefusalCode.POLICY_SIGMA
        for number in range(1, left + 1):
            store.reserve(admit(device, store, asked(number, rounds=left)))
        with pytest.raises(BudgetExhausted):
            admit(device, store, asked(left + 1, rounds=left + 1))


@pytest.mark.parametrize(
    ("policy", "code"),
    [
        (Policy(steps_max=39), RefusalCode.POLICY_STEPS),
        (Policy(sigma_min=6.1), RefusalCode.POLICY_SIGMA),
    ],
)
def test_the_owners_ranges_hold_for_it_too(device, policy, code):
    device.set_policy(policy)
    with device.device.open() as store, pytest.raises(PolicyRefusal) as refusal:
        admit(device, store, asked(1))
    assert refusal.value.code is code


def test_the_report_says_all_records_together_only_where_nothing_else_was_charged(device):
    spend(device, 1)
    said = build(device.path, None, bench.FrozenClock())
    assert said["mechanism"]["whole_updates"] == 1
    assert said["privacy_unit"]["neighbours"].startswith("any two data sets of one device")
    assert "all records together" in page(said, "en")
    assert "对全部记录一并有效" in page(said, "zh")
    assert collect(record.body for record in records(device)).only_whole
    device.train(1)
    mixed = build(device.path, None, bench.FrozenClock())
    assert mixed["mechanism"]["whole_updates"] == 1
    assert "differ in one record" in mixed["privacy_unit"]["neighbours"]
