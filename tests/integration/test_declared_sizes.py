"""Devices that declare unequal sizes: weighed, shown as their word, and left out where a plan is not for them."""

import numpy as np
import pytest
from fakes_federation import POLICY, Federation, plan_for

from edgeveil.agent.ledger.budget import find_ledger, read_budget
from edgeveil.coordinator.federation.membership import agents_of
from edgeveil.coordinator.reports.tables import round_tables
from edgeveil.coordinator.rounds import training_round
from edgeveil.shared.privacy.counting import charged
from edgeveil.shared.terminal.console import stdout

DECLARED = {"agent-1": 30, "agent-2": 100, "agent-3": 300, "agent-4": 1000}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    own = {name: {"n_ref": size} for name, size in DECLARED.items()}
    made = Federation(tmp_path_factory.mktemp("sizes"), 4, own=own)
    yield made
    made.close()


def test_a_device_outside_the_plan_s_sizes_is_refused_once_uncharged_and_then_not_asked(
    world, monkeypatch
):
    sums = []
    averaged = training_round.mean_update

    def keep_sum(result, params):
        sums.append((int(result.segment("weight")[0]), averaged(result, params)))
        return sums[-1][1]

    monkeypatch.setattr(training_round, "mean_update", keep_sum)
    world.train(plan_for(3, rounds__count=2, secagg__n_ref_max=500), ask=False)
    first, second = world.store.rounds(world.store.last_run().run_id)
    assert first.dropped_reasons["agent-4"] == "refused:POLICY_SIZE:n-ref-1000"
    assert second.not_asked == {"agent-4": "size-1000-not-1-to-500"}
    assert "agent-4" not in second.selected
    budget = read_budget(world.homes[3].path)
    assert (budget.rounds, budget.epsilon_spent) == (0, 0.0)
    assert [weight for weight, _ in sums] == [430, 430]
    assert all(np.abs(mean).max() > 0 for _, mean in sums)
    assert dict(second.sizes) == {name: DECLARED[name] for name in second.survived}


def test_the_operator_sees_what_each_device_declares_and_its_share(world):
    if not world.store.rounds():  # this test alone
        world.train(plan_for(3, rounds__count=1, secagg__n_ref_max=500), ask=False)
    assert {row["name"]: row["size"] for row in agents_of(world.store, {})} == DECLARED
    with stdout.capture() as shown:
        for table in round_tables([world.store.rounds()[-1]], []):
            stdout.print(table)
    lines = [row.split() for row in shown.get().splitlines()]
    assert ["agent-3", "300", "70%"] in lines


def test_a_device_without_a_declared_size_is_counted_with_noise_once_and_charged_for_it(tmp_path):
    federation = Federation(tmp_path, policy=POLICY.model_copy(update={"n_ref": None}))
    try:
        before = [find_ledger(home.path)[2].state for home in federation.homes]
        assert all(charged(10) in state.history for state in before), "no offer brings it about"
        federation.train(plan_for(4, rounds__count=2, rounds__spare=0))
        for home, state in zip(federation.homes, before, strict=True):
            _, _, found = find_ledger(home.path)
            assert found.state.n_ref == state.n_ref
            assert charged(10) in found.state.history
            assert found.state.n_ref in {1, 3, 10, 30, 100, 300}
            assert read_budget(home.path).rounds == 2
        assert sum("noisy count" in status for status in federation.statuses) == 4
    finally:
        federation.close()
