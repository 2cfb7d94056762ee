"""How an attempt begins: which agents share a sum, and the machine that collects it (pure)."""

import math
from collections.abc import Sequence

from edgeveil.coordinator.machine.attempt import RoundMachine
from edgeveil.coordinator.machine.shards import ShardedMachine
from edgeveil.coordinator.plan.plan import Plan
from edgeveil.coordinator.records.records import RoundRecord
from edgeveil.coordinator.rounds import pacing
from edgeveil.coordinator.rounds.proposal import Proposal
from edgeveil.shared.secagg.agreement.sharding import partition
from edgeveil.shared.wire.messages import Attempt

Machine = RoundMachine | ShardedMachine


def shards_of(
    attempt: Attempt, selected: tuple[bytes, ...], plan: Plan
) -> tuple[tuple[bytes, ...], ...]:
    """Mostly one; which agents share a shard follows from the attempt and their ids alone."""
    if len(selected) <= plan.sum_max:
        return (selected,)
    return partition(selected, most=plan.sum_max, least=plan.shard_min, seed=attempt.encode())


def machine_for(proposal: Proposal, plan: Plan, records: Sequence[RoundRecord]) -> Machine:
    """The machine of this attempt, paced by what `records` of earlier attempts of the run say."""
    rounds = plan.rounds
    asked = len(proposal.selected)
    wait_for = pacing.rates(records).adverts(rounds.goal, plan.secagg.quorum)
    goal = min(wait_for, asked)
    alone = len(proposal.shards) == 1
    machines = [
        RoundMachine(
            setup=setup,
            selected=shard,
            goal=math.ceil(goal * len(shard) / asked),
            minimum=rounds.minimum if alone else proposal.params.n_min,
            deadlines=pacing.deadlines(records, rounds.deadline_s, asked),
        )
        for setup, shard in zip(proposal.setups, proposal.shards, strict=True)
    ]
    return machines[0] if alone else ShardedMachine(machines, rounds.minimum)
