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
from edgeveil.shared.privacy.ledger.replay import advance, replay
from edgeveil.shared.privacy.rdp import Segment, curve, epsilon, rdp_step, rdp_total


def device_of(folder, count, **changes):
    policy = many.SHARED if "honest" in changes else many.POLICY
    device = bench.Device(folder / "ledger", policy=policy)
    many.charge_many(device, count, **changes)
    return device


@pytest.mark.parametrize(
    "kinds",
    [{"rate": 1.0}, {"rate": 0.01}, {"rate": 1.0, "honest": 6}],
    ids=["full", "sampled", "in shares"],
)
def test_replaying_twice_as_many_kinds_of_step_costs_twice_as_much(tmp_path, kinds):
    device = device_of(tmp_path, 600, **kinds)
    records = ledger_records(device.folder, device.identity.public)
    costs = {}
    for count in (300, 600):
        replay(records[: count + 1])  # fills what is remembered of each kind of step
        costs[count] = many.calls_of(lambda count=count: replay(records[: count + 1]))
    assert costs[600] < 2.2 * costs[300]


def test_one_more_charge_calls_no_more_after_many_kinds_of_step(tmp_path):
    device = device_of(tmp_path, 600, rate=1.0, honest=6)
    records = ledger_records(device.folder, device.identity.public)
    costs = {}
    for count in (100, 600):
        state, last = replay(records[:count]), records[count]
        advance(state, last)  # fills what is remembered of this kind of step
        costs[count] = many.calls_of(lambda state=state, last=last: advance(state, last))
    assert costs[600] < costs[100] + 50


def test_one_charge_after_another_adds_up_to_all_at_once(tmp_path):
    device = bench.Device(tmp_path / "ledger", policy=many.POLICY)
    with device.open() as store:
        for number, noise in enumerate((500.0, 501.0, 500.0, 502.0, 501.0)):
            device.spend(store, bench.question(1, run=f"run-{number}", noise_multiplier=noise))
        state = store.state
    assert [segment.steps for segment in state.history] == [16, 16, 8]
    assert replay(ledger_records(device.folder, device.identity.public)) == state


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


@pytest.mark.parametrize("honest", [{}, {"honest": 6}], ids=["local", "in shares"])
def test_each_charge_is_evaluated_as_often_in_a_long_ledger_as_in_a_short_one(tmp_path, honest):
    """Both columns have a running sum: nothing that was counted is counted again with every record."""
    device = device_of(tmp_path, 60, **honest)
    records = ledger_records(device.folder, device.identity.public)
    opening = len(records) - 60
    counts = {}
    for count in (30, 60):
        rdp_step.cache_clear()
        curve.cache_clear()
        state = replay(records[: opening + count])
        _ = state.epsilon_sum, state.sum_spent, state.epsilon_spent
        counts[count] = sum(
            sum(each.cache_info()[:2]) for each in (rdp_step, curve)
        )  # hits and misses
    assert counts[60] == 2 * counts[30] > 0


def test_the_running_sum_of_sums_is_what_their_history_adds_up_to(tmp_path):
    device = device_of(tmp_path, 60, honest=6, rate=1.0)
    state = read_ledger(device.folder, device.identity.public)
    assert state.sum_spent == pytest.approx(
        rdp_total(state.sum_history, state.sum_alpha), rel=1e-12
    )
    assert state.epsilon_sum == pytest.approx(epsilon(state.sum_history, state.delta)[0], rel=1e-12)
    assert state.sum_spent < rdp_total(state.history, state.sum_alpha) / 5.9


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


def test_a_bookmark_of_an_earlier_version_is_passed_over(tmp_path):
    device = device_of(tmp_path, 30)
    device.open().close()
    path = device.folder / BOOKMARK
    fields = read_note(LABEL, path.read_bytes(), device.identity.public, "bookmark", VERSION)
    fields["v"] = VERSION - 1
    path.write_bytes(sign_note(LABEL, fields, device.identity))
    found = read_verified(device.ledger, device.identity.public)
    assert found.marked == 0
    assert found.state == replay(ledger_records(device.folder, device.identity.public))


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
