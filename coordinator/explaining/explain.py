"""A plan with so many devices in numbers: bytes, seconds, memory, ε, losses, colluders and noise."""

import math
from typing import Any

from pydantic import ConfigDict

from edgeveil.coordinator.explaining.costs import Costs, costs
from edgeveil.coordinator.explaining.traffic import Traffic, traffic
from edgeveil.coordinator.explaining.units import UNITS
from edgeveil.coordinator.plan.derived import training_plan
from edgeveil.coordinator.plan.evaluation import evaluations_cost
from edgeveil.coordinator.plan.first import BUDGET, DELTA, LEAST_AGENTS
from edgeveil.coordinator.plan.plan import Plan
from edgeveil.shared.base.config import Settings, validate
from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.privacy import rdp
from edgeveil.shared.privacy.counting import affordable_scale, charged
from edgeveil.shared.privacy.filter import cap, choose_order, steps_left
from edgeveil.shared.privacy.shared_noise import shares
from edgeveil.shared.secagg.primitives.parameters import Infeasible, Solution, solve
from edgeveil.shared.secagg.primitives.solver import MILLION, assumed_corrupt
from edgeveil.shared.tasks import registry
from edgeveil.shared.tasks.spec import TaskSpec
from edgeveil.shared.wire.messages import Tensor
from edgeveil.shared.wire.plan import TrainingPlan
from edgeveil.shared.wire.roster import MAX_MEMBERS

MOST_PARAMETERS = 1 << 28  # of 4 bytes: the largest message an agent takes
MOST_DROPOUT = 0.5
MOST_BANDWIDTH = 1e6  # Mbit/s


class Numbers(Settings):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)


class Bytes(Numbers):
    """Bodies and bulk of the five exchanges in one round; TLS, HTTP and Flower's envelopes come on top."""

    down: int
    up: int
    model: int
    vector: int
    coordinator_out: int
    coordinator_in: int


class Epsilon(Numbers):
    """Without a noisy count of records. Null: not limited, a plan without noise."""

    round: float | None
    run: float | None
    round_of_sums: float | None
    run_of_sums: float | None
    rounds_in_plan_budget: int | None
    rounds_in_usual_budget: int | None


class Sums(Numbers):
    """Of the smallest sum of a round: what it tolerates and withstands."""

    shards: int
    smallest: int
    largest: int
    neighbours: int
    threshold: int
    quorum: int
    lost_any: int  # whoever they are, once all have sent their adverts
    lost_at_random: int  # if chance takes them, except with probability 2^-eta
    colluders: int
    colluding_neighbours: int
    survives: bool  # if the share of devices that is asked about is lost from every sum by chance


class Noise(Numbers):
    """Of one step in the mean of the devices' sums of clipped gradients, if `survivors` are in it."""

    survivors: int
    std: float
    norm_in_clips: float


class Explanation(Numbers):
    task: str
    agents: int
    parameters: int
    dropout: float
    bandwidth_mbit_s: float
    rounds: int
    steps: int
    bytes_of_round: Bytes
    costs_of_round: Costs
    epsilon: Epsilon
    sums: Sums
    noise: Noise
    units: dict[str, tuple[float, str, str]]


def explain(
    plan: Plan, *, agents: int, parameters: int | None, dropout: float, bandwidth: float
) -> Explanation:
    """As if all `agents` were asked in each round, of whom `dropout` are lost after they sent their shares.

    Imports torch, since only the task knows its tensors.

    Raises:
        ConfigError: a number out of range, or no round of this plan with so many devices.
    """
    _check(agents, parameters, dropout, bandwidth)
    plan = _with_everybody(plan, agents, dropout)
    spec, tensors = _tensors(plan)
    built = sum(math.prod(tensor.shape) for tensor in tensors)
    count = built if parameters is None else parameters
    try:
        sums, solution = _sums(plan, agents, dropout)
        proposal = training_plan(plan)
        moved = traffic(
            plan,
            spec,
            tensors,
            parameters=count,
            members=sums.largest,
            solution=solution,
            cohort=agents,
        )
    except (ValueError, Infeasible) as error:
        raise ConfigError(f"plan with {agents} devices: {error}") from error
    survivors = agents - math.floor(agents * dropout)
    return Explanation(
        task=f"{spec.id} {spec.version}",
        agents=agents,
        parameters=count,
        dropout=dropout,
        bandwidth_mbit_s=bandwidth,
        rounds=plan.rounds.count,
        steps=proposal.steps,
        bytes_of_round=_bytes(moved, agents),
        costs_of_round=costs(
            moved, solution, sums.largest, agents, count, proposal, dropout, bandwidth
        ),
        epsilon=_epsilon(plan, proposal),
        sums=sums,
        noise=_noise(proposal, survivors, count),
        units={name: (unit.value, unit.what, unit.source) for name, unit in UNITS.items()},
    )


def _check(agents: int, parameters: int | None, dropout: float, bandwidth: float) -> None:
    if not LEAST_AGENTS <= agents <= MAX_MEMBERS:
        raise ConfigError(f"--agents {agents}: from {LEAST_AGENTS} to {MAX_MEMBERS:,} devices")
    if parameters is not None and not 1 <= parameters <= MOST_PARAMETERS:
        raise ConfigError(f"--params {parameters}: from 1 to {MOST_PARAMETERS:,} parameters")
    if not 0 <= dropout <= MOST_DROPOUT:
        raise ConfigError(f"--dropout {dropout:g}: a share of the devices from 0 to {MOST_DROPOUT}")
    if not 0 < bandwidth <= MOST_BANDWIDTH:
        raise ConfigError(
            f"--bandwidth {bandwidth:g}: above 0 and at most {MOST_BANDWIDTH:g} Mbit/s"
        )


def _with_everybody(plan: Plan, agents: int, dropout: float) -> Plan:
    """The plan with a cohort of exactly so many; the lanes are sized for it."""
    values: dict[str, Any] = plan.model_dump()
    goal = max(plan.secagg.n_min, agents - math.floor(agents * dropout))
    values["rounds"] |= {"goal": goal, "minimum": min(plan.rounds.minimum, goal)}
    values["secagg"] |= {"n_max": agents}
    return validate(values, Plan, source=f"plan with {agents} devices")


def _tensors(plan: Plan) -> tuple[TaskSpec, tuple[Tensor, ...]]:
    spec = registry.newest(plan.task.id)
    if spec is None:
        raise ConfigError(f"plan: task.id: no task {plan.task.id!r} is installed")
    task = registry.load(spec)
    return spec, task.tensors(task.parse_options(plan.task.options))


def _sums(plan: Plan, agents: int, dropout: float) -> tuple[Sums, Solution]:
    """As coordinator.rounds cuts a cohort: the fewest shards, equal up to one."""
    number = -(-agents // plan.sum_max)
    smallest, largest = agents // number, -(-agents // number)
    found, widest = _solution(plan, smallest), _solution(plan, largest)
    any_of = smallest - plan.secagg.quorum(smallest)
    if found.h is not None:
        any_of = min(any_of, found.k - found.t, found.k // 2 - found.h - 1)
    secagg = plan.secagg
    floor = smallest - (plan.rounds.minimum if number == 1 else secagg.n_min)
    by_chance = any_of if found.h is None else smallest * secagg.delta_ppm // MILLION
    by_chance = max(0, min(by_chance, floor))
    told = Sums(
        shards=number,
        smallest=smallest,
        largest=largest,
        neighbours=found.k,
        threshold=found.t,
        quorum=found.quorum,
        lost_any=max(0, min(any_of, floor)),
        lost_at_random=by_chance,
        colluders=assumed_corrupt(smallest, secagg.gamma_ppm, secagg.c_min),
        colluding_neighbours=found.c,
        survives=math.floor(smallest * dropout) <= by_chance,
    )
    return told, widest


def _solution(plan: Plan, members: int) -> Solution:
    of = plan.secagg
    return solve(
        members,
        of.gamma_ppm / MILLION,
        of.delta_ppm / MILLION,
        sigma=of.sigma,
        eta=of.eta,
        c_min=of.c_min,
    )


def _bytes(moved: Traffic, agents: int) -> Bytes:
    return Bytes(
        **moved._asdict(), coordinator_out=agents * moved.down, coordinator_in=agents * moved.up
    )


def _epsilon(plan: Plan, proposal: TrainingPlan) -> Epsilon:
    """What ledgers charge: training of all rounds, and evaluations on devices where the plan has them."""
    if not proposal.noised:
        return Epsilon(
            round=None, run=None, round_of_sums=None, run_of_sums=None,
            rounds_in_plan_budget=None, rounds_in_usual_budget=None,
        )  # fmt: skip
    alone = summed = rdp.Segment(proposal.noise_multiplier, proposal.sample_rate, proposal.steps)
    if proposal.shared_noise:
        summed, alone = shares(proposal.noise_multiplier, proposal.honest, proposal.sample_rate)
    count = plan.rounds.count
    asked = plan.evaluation.until(count, count)
    beside = evaluations_cost(plan, asked) if asked else ()

    def after(segment: rdp.Segment, rounds: int, *others: rdp.Segment) -> float:
        history = [segment._replace(steps=segment.steps * rounds), *others]
        return rdp.epsilon(history, proposal.delta)[0]

    return Epsilon(
        round=after(alone, 1),
        run=after(alone, count, *beside[1:]),
        round_of_sums=after(summed, 1),
        run_of_sums=after(summed, count, *beside[:1]),
        rounds_in_plan_budget=_fit(alone, plan.training.limit, proposal.delta),
        rounds_in_usual_budget=_fit(alone, BUDGET, DELTA),
    )


def _fit(segment: rdp.Segment, epsilon: float, delta: float) -> int:
    """Rounds that a device admits beside the count of its records, at the order its ledger enforces."""
    order = choose_order(epsilon, delta)
    room = cap(epsilon, delta, order)
    counted = rdp.rdp_total([charged(affordable_scale(room, order))], order)
    step = rdp.rdp_step(segment.noise_multiplier, segment.sample_rate, order)
    return steps_left(counted, step, room) // segment.steps


def _noise(proposal: TrainingPlan, survivors: int, parameters: int) -> Noise:
    std = proposal.noise_multiplier / math.sqrt(survivors)
    return Noise(
        survivors=survivors,
        std=std * proposal.clip_norm,
        norm_in_clips=std * math.sqrt(parameters),
    )
