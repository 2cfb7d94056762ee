"""Medians over sub-cohorts: how small one may be is for the devices to say, who is in it for nobody."""

import pytest
from crash_bench import Scenario, World
from fakes_federation import on_device
from thin_bench import POLICY, thin_plan

from edgeveil.coordinator.plan.plan import Plan
from edgeveil.shared.base.errors import RunFailed
from edgeveil.shared.secagg.agreement.sharding import partition

AGENTS = 18


def sharded(folder, n_min):
    """Eighteen agents in three sub-cohorts of six; every device wants at least `n_min` in a sum."""
    made = World.make(folder / "w", Scenario(1, agents=AGENTS, rounds=1, attempts=1, quiet=True))
    made.plan = thin_plan(
        AGENTS, rounds=1, rounds__attempts=1, server__robust="median", secagg__shard_max=6,
        secagg__shard_min=3,
    )  # fmt: skip
    assert isinstance(made.plan, Plan)
    made.open()
    own = POLICY.model_copy(update={"secagg": POLICY.secagg.model_copy(update={"n_min": n_min})})
    for session in made.sessions.values():
        on_device(session, policy=own)
    return made


def test_sub_cohorts_the_devices_agree_to_are_compared_by_their_median(tmp_path):
    made = sharded(tmp_path, n_min=3)
    made.work()
    (record,) = made.store.rounds()
    assert (record.outcome, record.extra["shards"], len(record.survived)) == (
        "committed",
        3,
        AGENTS,
    )
    made.close()


@pytest.mark.parametrize("n_min", [4, 5])
def test_devices_refuse_sub_cohorts_below_their_own_minimum_and_spend_nothing(tmp_path, n_min):
    made = sharded(tmp_path, n_min=n_min)
    with pytest.raises(RunFailed, match="refused:POLICY_SECAGG"):
        made.work()
    assert set(made.store.rounds()[0].dropped_reasons.values()) == {"refused:POLICY_SECAGG"}
    assert not list(made.folder.glob("agent-*/ledger/**/ledger.jsonl")) or not any(
        b'"reserve"' in path.read_bytes() for path in made.folder.rglob("ledger.jsonl")
    )
    made.close()


def test_neither_an_agent_nor_the_order_of_arrival_decides_who_shares_a_sub_cohort():
    members = [bytes([number]) * 16 for number in range(12)]
    rounds = [partition(members, most=4, least=3, seed=bytes([n])) for n in range(200)]
    again = partition(reversed(members), most=4, least=3, seed=bytes([7]))
    assert again == rounds[7]
    together = sum(
        any(members[0] in shard and members[1] in shard for shard in shards) for shards in rounds
    )
    assert 30 <= together <= 80  # 3 of the 11 others share its shard: 54.5 of 200 expected
