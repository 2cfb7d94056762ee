"""A coordinator may ask for other noise in every round: what a ledger costs stays linear all the same."""

import json

import many_kinds_bench as many
import privacy_bench as bench
import pytest
import report_bench
from report_bench import report

from edgeveil.agent.ledger.budget import SHOWN_ROUNDS, budget_of
from edgeveil.agent.ledger.file import ledger_records, read_ledger
from edgeveil.agent.ledger.reading import BOOKMARK, read_verified
from edgeveil.agent.reports import verify
from edgeveil.agent.reports.report import build, sign
from edgeveil.agent.reports.verify import Verdict, check
from edgeveil.shared.privacy.ledger.bookmark import LABEL, VERSION
from edgeveil.shared.privacy.ledger.note import read_note, sign_note
from edgeveil.shared.privacy.ledger.replay import replay
from edgeveil.shared.privacy.rdp import Segment, curve, epsilon


def device_of(folder, count, **changes):
    device = bench.Device(folder / "ledger", policy=many.POLICY)
    many.charge_many(device, count, **changes)
    return device


@pytest.mark.parametrize("rate", [1.0, 0.01])
def test_replaying_twice_as_many_kinds_of_step_costs_twice_as_much(tmp_path, rate):
    device = device_of(tmp_path, 600, rate=rate)
    records = ledger_records(device.folder, device.identity.public)
    costs = {}
    for count in (300, 600):
        replay(records[: count + 1])  # fills what is remembered of each kind of step
        costs[count] = many.calls_of(lambda count=count: replay(records[: count + 1]))
    assert costs[600] < 2.2 * costs[300]


def test_a_report_and_its_check_of_twice_as_many_kinds_of_step_cost_twice_as_much(tmp_path):
    costs = {}
    for count in (300, 600):
        device = report_bench.joined_device(tmp_path / str(count), many.POLICY)
        many.charge_many(device.device, count)
        made, path, _ = report(device, tmp_path)
        assert len(made["mechanism"]["segments"]) == count

        def act(device=device, path=path):
            build(device.path, None, bench.FrozenClock(), prv=False)
            assert check(device.path, None, path).verdict is Verdict.OK

        costs[count] = many.calls_of(act)
    assert costs[600] < 2.2 * costs[300]


def test_a_round_more_computes_one_curve_however_many_kinds_there_were(tmp_path):
    device = device_of(tmp_path, 600)
    with device.open() as store:
        curve.cache_clear()  # as on a device of more kinds than are remembered
        device.spend(store, many.asked(9999))
        _ = store.state.epsilon_spent, store.state.epsilon_and_order, store.head()
        assert curve.cache_info().misses == 1


def test_a_restart_with_a_bookmark_computes_curves_for_what_came_after_it_alone(tmp_path):
    device = device_of(tmp_path, 600)
    device.open().close()
    curve.cache_clear()
    with device.open() as store:
        spent = store.state.epsilon_spent
    assert curve.cache_info().misses == 0
    assert spent == replay(ledger_records(device.folder, device.identity.public)).epsilon_spent


def test_the_budget_computes_curves_for_the_rounds_it_shows_alone(tmp_path):
    device = device_of(tmp_path, 600)
    found = read_verified(device.ledger, device.identity.public)
    curve.cache_clear()
    shown = budget_of("data", found).after_rounds
    assert curve.cache_info().misses <= SHOWN_ROUNDS == len(shown)
    kinds = [Segment(500 + number / 1000, 0.01, 1) for number in range(600)]
    for row, charged in ((shown[-1], 600), (shown[0], 600 - SHOWN_ROUNDS + 1)):
        assert row["epsilon_spent"] == pytest.approx(
            epsilon(kinds[:charged], many.POLICY.delta)[0], rel=1e-12
        )


def test_what_the_state_carries_is_what_its_history_adds_up_to(tmp_path):
    device = device_of(tmp_path, 30)
    with device.open() as store:
        device.spend(store, bench.question(1, run="a", noise_multiplier=60.0))
        device.spend(store, bench.question(2, run="a", noise_multiplier=60.0))
        before = store.state
        assert before.epsilon_and_order[0] == pytest.approx(
            epsilon(before.history, many.POLICY.delta)[0]
        )
        assert before.epsilon_and_order[1] == epsilon(before.history, many.POLICY.delta)[1]
        store.reset("owner")
        assert store.state.epsilon_spent == 0.0
        assert store.state.divergence == ()
        device.spend(store, bench.question(3, run="a", noise_multiplier=60.0))
        assert store.state.epsilon_and_order == epsilon(store.state.history, many.POLICY.delta)
        assert replay(ledger_records(device.folder, device.identity.public)) == store.state


def test_a_bookmark_from_before_it_held_the_divergence_still_counts(tmp_path):
    device = device_of(tmp_path, 30)
    device.open().close()
    path = device.folder / BOOKMARK
    fields = read_note(LABEL, path.read_bytes(), device.identity.public, "bookmark", VERSION)
    assert fields["state"].pop("divergence")
    path.write_bytes(sign_note(LABEL, fields, device.identity, VERSION))
    found = read_verified(device.ledger, device.identity.public)
    assert found.marked == 31
    expected = replay(ledger_records(device.folder, device.identity.public))
    assert found.state.epsilon_spent == pytest.approx(expected.epsilon_spent, rel=1e-12)
    assert read_ledger(device.folder, device.identity.public).history == expected.history


def test_a_report_of_too_many_kinds_is_compared_at_home_and_refused_elsewhere(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(verify, "MOST_SAMPLED", 20)
    device = report_bench.joined_device(tmp_path, many.POLICY)
    many.charge_many(device.device, 30)
    made, path, _ = report(device, tmp_path)
    found = check(device.path, None, path)
    assert found.verdict is Verdict.OK
    assert any("30 segments" in sentence for sentence in found.noticed)
    elsewhere = check(tmp_path / "nobody", None, path)
    assert elsewhere.verdict is Verdict.REPORT
    assert any("at most 20000 and 20 are recomputed" in fault for fault in elsewhere.faults)
    made["mechanism"]["segments"][7]["steps"] = 2
    path.write_text(json.dumps(sign(made, device.home.identity())))
    assert check(device.path, None, path).verdict is Verdict.REPORT
