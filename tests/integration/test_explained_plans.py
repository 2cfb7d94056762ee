"""What `coordinator plan explain` says, held against rounds of the whole product but the wire."""

import pytest
from fakes_federation import Federation, plan_for

from edgeveil.agent.ledger.budget import read_budget
from edgeveil.coordinator.explaining.explain import explain
from edgeveil.shared.wire.messages import Stage


@pytest.mark.parametrize(
    ("agents", "more", "shards"),
    [(4, {}, 1), (8, {"secagg__shard_max": 5}, 2)],
    ids=["one sum", "shards"],
)
def test_explained_bytes_and_epsilon_are_those_of_a_real_run(tmp_path, agents, more, shards):
    plan = plan_for(agents, secagg__n_max=agents, **more)
    found = explain(plan, agents=agents, parameters=None, dropout=0.0, bandwidth=100.0)
    federation = Federation(tmp_path, agents)
    try:
        federation.train(plan)
        record = federation.store.rounds()[-1]
        captured = [
            (request, reply)
            for _, request, reply in federation.wire.captured
            if request.attempt.round == 2 and isinstance(request.stage, Stage)
        ]
        budgets = [read_budget(home.path) for home in federation.homes]
    finally:
        federation.close()
    assert found.sums.shards == shards
    up = sum(len(reply.body) + len(reply.bulk or b"") for _, reply in captured)
    down = sum(len(request.body) + len(request.bulk or b"") for request, _ in captured)
    assert (record.bytes_up, record.bytes_down) == (up, down)
    assert found.bytes_of_round.coordinator_in == pytest.approx(up, rel=0.05)
    assert found.bytes_of_round.coordinator_out == pytest.approx(down, rel=0.05)
    vectors = {len(reply.bulk) for request, reply in captured if request.stage is Stage.MASKED}
    assert vectors == {found.bytes_of_round.vector}
    for budget in budgets:
        charges = [row["epsilon_spent"] for row in budget.after_rounds]
        assert charges == [found.epsilon.round, found.epsilon.run]
