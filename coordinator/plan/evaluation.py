"""What follows from a plan for evaluations: by which figure rounds are compared; on devices σ, integers and cost."""

import math

from edgeveil.coordinator.plan.derived import LARGEST, ring_of, widest_noise
from edgeveil.coordinator.plan.plan import Plan
from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.privacy.filter import noise_multiplier_for
from edgeveil.shared.privacy.rdp import Segment as Spent
from edgeveil.shared.privacy.shared_noise import SLACK, share_for, shares
from edgeveil.shared.scores.metric import MetricSpec
from edgeveil.shared.scores.tallies import TallyForm
from edgeveil.shared.secagg.primitives.parameters import SIGNED, UNSIGNED, WEIGHT, Params, Segment
from edgeveil.shared.tasks import registry
from edgeveil.shared.vector.quantization import TALLY
from edgeveil.shared.wire.plan import EvaluationPlan

REACH = 10  # standard deviations of a device's noise that its lanes hold; agents keep nine free


def judged_by(plan: Plan) -> MetricSpec:
    """The metric that says which round is best.

    Raises:
        ConfigError: the task measures no such thing.
    """
    name, known = plan.evaluation.metric, registry.scoring(plan.task.id).metrics
    for metric in known:
        if metric.name == name:
            return metric
    raise ConfigError(
        f"plan: evaluation.metric: {name!r} is not measured by {plan.task.id} {plan.task.version}; "
        f"choose one of {', '.join(metric.name for metric in known) or 'none'}"
    )


def evaluation_noise(plan: Plan) -> float:
    """The least σ of what one device adds that keeps all evaluations of the run within their epsilon.

    As a step of the Gaussian mechanism at the best order: each device charges it at the order of its own ledger.

    Raises:
        ValueError: no noise does.
    """
    asked, delta = plan.evaluation, plan.training.delta
    steps = asked.until(plan.rounds.count, plan.rounds.count)
    exact = noise_multiplier_for(asked.epsilon or 0.0, delta, steps, 1.0)
    if asked.honest is not None and asked.epsilon_sum is not None:
        of_sum = noise_multiplier_for(asked.epsilon_sum, delta, steps, 1.0)
        exact = max(exact * (1 + 2 * SLACK), share_for(of_sum, asked.honest))
    return math.ceil(exact * 1e4) / 1e4


def evaluations_cost(plan: Plan, count: int) -> tuple[Spent, Spent]:
    """(what the sums of so many evaluations show, what this device's own counts alone would)."""
    noise, honest = evaluation_noise(plan), plan.evaluation.honest
    alone = summed = Spent(noise, 1.0, 1)
    if honest is not None:
        summed, alone = shares(noise, honest)
    return summed._replace(steps=count), alone._replace(steps=count)


def evaluation_plan(plan: Plan, form: TallyForm) -> EvaluationPlan:
    """The proposal that every agent gets; `form` of what is summed (shared.scores.noisy.released)."""
    noise = evaluation_noise(plan)
    return EvaluationPlan(
        options=plan.task.options,
        every=plan.evaluation.step(plan.rounds.count),
        rounds=plan.rounds.count,
        n_ref_min=plan.secagg.n_ref_min,
        noise_multiplier=noise,
        sensitivity=form.bound,
        delta=plan.training.delta,
        honest=plan.evaluation.honest or 0,
        noise_bits=_noise_bits(plan, noise),
    )


def evaluation_params(plan: Plan, proposal: EvaluationPlan, form: TallyForm) -> Params:
    """A weight of one, which tells nothing, and a lane of 32 bits for each count, in steps as fine as they hold."""
    room = (1 << proposal.noise_bits) / proposal.noise_multiplier  # lanes that one record may move
    rounded = (room - math.sqrt(form.length)) / form.bound
    multiple = math.floor(room / form.bound * (1 + 1e-12))
    while multiple and multiple * form.bound > room:
        multiple -= 1
    if multiple < 1 and rounded <= 0:
        raise ConfigError(
            f"evaluation: counts of {form.length} cells and their noise do not fit 32-bit lanes; lower "
            "secagg.n_max, shard_max or n_ref_max"
        )
    step = 1 / multiple if multiple >= rounded else (1 + 1e-9) / rounded
    return ring_of(
        plan,
        32,
        (
            Segment(WEIGHT, UNSIGNED, 1, 1, 1),
            Segment(TALLY, SIGNED, form.length, 1, LARGEST // plan.sum_max, step),
        ),
    )


def _noise_bits(plan: Plan, noise: float) -> int:
    """The widest noise, a power of two, that lanes hold beside the counts of the largest device.

    One record moves a cell by at most 2^bits/σ lanes, whatever the tally, so all of them by n_ref times that.
    """
    most = plan.secagg.n_ref_max
    what = (
        f"evaluation: the counts of {plan.sum_max} devices of up to {most} records and their noise"
    )
    return widest_noise(plan, most / noise + REACH, what)
