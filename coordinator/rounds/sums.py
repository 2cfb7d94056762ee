"""A secure sum over a cohort: select → propose → run → facts → result. What it is good for, its user says.

Order of durability: attempt number in the database → offers on the wire. A number is never used twice,
so that a crash anywhere repeats at most one attempt, with fresh keys.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from edgeveil.coordinator.machine.attempt import RoundMachine
from edgeveil.coordinator.machine.machine import Abort, Machine
from edgeveil.coordinator.machine.shards import ShardedMachine
from edgeveil.coordinator.plan.plan import Plan
from edgeveil.coordinator.records.records import RoundRecord
from edgeveil.coordinator.rounds import pacing, round_facts
from edgeveil.coordinator.rounds.attempt_runner import AttemptRunner, Surroundings
from edgeveil.coordinator.rounds.preflight.willing import Willing
from edgeveil.coordinator.rounds.proposal import Proposal
from edgeveil.coordinator.rounds.run_memory import RunMemory
from edgeveil.coordinator.rounds.selection import Selection
from edgeveil.coordinator.store.store import Store
from edgeveil.shared.base.errors import EnrollmentError
from edgeveil.shared.base.failpoints import Failpoint, failpoint
from edgeveil.shared.events.log import Event
from edgeveil.shared.secagg.agreement.result import Result
from edgeveil.shared.secagg.agreement.sharding import partition
from edgeveil.shared.wire.messages import Attempt
from edgeveil.shared.wire.roster import SignedRoster


@dataclass(frozen=True)
class Summed:
    """How one attempt at a sum ended; `shards` has the sum of each shard that finished.

    `facts` is the attempt's record as long as nobody has made anything of the sum: an aborted one.
    """

    proposal: Proposal
    outcome: Result | Abort
    shards: tuple[Result, ...]
    facts: RoundRecord


class Propose(Protocol):
    def __call__(
        self, attempt: Attempt, roster: SignedRoster, shards: tuple[tuple[bytes, ...], ...]
    ) -> Proposal:
        """What these agents are to sum up in this attempt."""


class Sums:
    """The secure sums of one run. `pause(seconds)` lets time pass and raises what ends the run.

    `asks` says in the event log what these are for, where it is not training.
    """

    def __init__(
        self,
        run_id: str,
        plan: Plan,
        *,
        store: Store,
        around: Surroundings,
        memory: RunMemory,
        willing: Willing,
        pause: Callable[[float], None],
        asks: str = "",
    ) -> None:
        self._asks = asks
        self._run_id = run_id
        self._plan = plan
        self._store = store
        self._around = around
        self._memory = memory
        self._selection = Selection(
            run_id,
            plan,
            store=store,
            around=around,
            memory=memory,
            willing=willing,
            pause=pause,
        )

    def collect(self, number: int, propose: Propose) -> Summed:
        """One attempt, for round `number`; waits until enough agents are there.

        Raises:
            RunRefused: too few would take part in the plan at all; nobody has trained.
            RunLost, RunBehind: agents know more than this database; nobody has trained.
            Stopped: the operator asked for it; nothing was revealed.
            EnrollmentError: no roster is in force.
            TransportError: the transport is gone.
        """
        around = self._around
        selected = self._selection.select(number)
        failpoint(Failpoint.COORDINATOR_ATTEMPT_BEFORE)
        attempt = Attempt(self._run_id, number, self._store.open_attempt(self._run_id, number))
        failpoint(Failpoint.COORDINATOR_ATTEMPT_AFTER)
        proposal = propose(attempt, self._roster(), shards_of(attempt, selected, self._plan))
        machine = machine_for(
            proposal, self._plan, self._memory.records, around.machine, around.patience
        )
        around.tell(Event.ROUND_START, attempt, reason=self._asks)
        for agent in selected:
            around.tell(Event.AGENT_SELECT, attempt, agent=around.names[agent])
        started = around.clock.monotonic()
        around.transport.take_traffic()
        heads = {agent: self._store.ledger_head(agent) for agent in selected}
        runner = AttemptRunner(proposal, machine, heads, around)
        outcome = runner.execute()
        return Summed(proposal, outcome, machine.results, self._facts(runner, started))

    @property
    def kept_out(self) -> Mapping[str, str]:
        """Agents that are connected and were left out of the newest draw, by name, with the reason."""
        return self._selection.not_asked

    def _facts(self, runner: AttemptRunner, started: float) -> RoundRecord:
        """What is known once the exchanges are over; suspects are excluded from now on."""
        around, names = self._around, self._around.names
        accused = round_facts.accusations(runner, names)
        for name in sorted(self._memory.hear(accused)):
            around.tell(Event.AGENT_EXCLUDE, runner.proposal.attempt, level="warning", agent=name)
        return round_facts.of_attempt(
            runner,
            names,
            seconds=around.clock.monotonic() - started,
            traffic=around.transport.take_traffic(),
            accused=accused,
            not_asked=self._selection.not_asked,
        )

    def _roster(self) -> SignedRoster:
        signed = self._store.roster()
        if signed is None:
            raise EnrollmentError("no roster has been signed yet; run: coordinator roster sign")
        return signed


def shards_of(
    attempt: Attempt, selected: tuple[bytes, ...], plan: Plan
) -> tuple[tuple[bytes, ...], ...]:
    """Mostly one; which agents share a shard follows from the attempt and their ids alone."""
    if len(selected) <= plan.sum_max:
        return (selected,)
    return partition(selected, most=plan.sum_max, least=plan.shard_min, seed=attempt.encode())


def machine_for(
    proposal: Proposal,
    plan: Plan,
    records: Sequence[RoundRecord],
    kind: type[RoundMachine] = RoundMachine,
    patience: float = 1.0,
) -> Machine:
    """The machine of this attempt, paced by what `records` of earlier attempts of the run say."""
    rounds = plan.rounds
    asked = len(proposal.selected)
    wait_for = pacing.rates(records).adverts(rounds.goal, plan.secagg.quorum)
    goal = min(wait_for, asked)
    alone = len(proposal.shards) == 1
    machines = [
        kind(
            setup=setup,
            selected=shard,
            goal=math.ceil(goal * len(shard) / asked),
            minimum=rounds.minimum if alone else proposal.params.n_min,
            deadlines=pacing.deadlines(records, rounds.deadline_s * patience, asked),
        )
        for setup, shard in zip(proposal.setups, proposal.shards, strict=True)
    ]
    return machines[0] if alone else ShardedMachine(machines, rounds.minimum)
