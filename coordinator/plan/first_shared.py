"""A first plan with noise in shares: what it changes of one whose devices each add all of it.

Rounds of one step, five times as many, since noise in shares takes no more than one step a round; every rate
follows from σ of a share by the rule of first_rules (measured: docs/results/frontier.md).
"""

import math
from typing import Any

from edgeveil.coordinator.plan.plan import Plan
from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.privacy import rdp
from edgeveil.shared.privacy.filter import choose_order, noise_multiplier_for
from edgeveil.shared.privacy.shared_noise import share_for
from edgeveil.shared.secagg.primitives.solver import assumed_corrupt

ROUNDS = 100
MARGIN = (
    1.1  # what an update alone may show, by what it would: room for the noisy count of a data set
)
MOST_EPSILON = 50.0
LEAST_HONEST = 2


def honest_of(*, shared: bool, honest: int | None) -> int | None:
    """How many honest devices are counted on, None for noise of each device's own; raises ConfigError."""
    if shared and honest is None:
        raise ConfigError(
            "--shared: say with --honest H how many honest devices every sum is sure to hold; each adds 1/√H of the noise"
        )
    if not shared and honest is not None:
        raise ConfigError(f"--honest {honest} belongs to --shared")
    if honest is not None and honest < LEAST_HONEST:
        raise ConfigError(
            f"--honest {honest}: shares of fewer than {LEAST_HONEST} devices are no shares; leave --shared out"
        )
    return honest


def in_shares(values: dict[str, Any], local: Plan, honest: int) -> dict[str, Any]:
    """`values` of the plan `local` with noise in shares, its epsilon that of sums.

    Raises:
        ConfigError: a task that is trained in another way, or more honest devices than a sum is sure of.
    """
    training = local.training
    if (training.optimizer, training.sample_rate) != ("sgd", 1.0):
        raise ConfigError(
            f"--shared: {local.task.id} is trained by {training.optimizer} on {training.sample_rate:g} of the records "
            "in each of several steps a round, and noise in shares takes one step of sgd; leave --shared out"
        )
    epsilon = training.limit
    alone = _alone(epsilon, local.rounds.spare, honest, training.delta)
    return {
        **values,
        "training": {**values["training"], "steps": 1, "epsilon": alone},
        "privacy": {"noise": "shared", "honest": honest, "epsilon_sum": epsilon},
        "rounds": {**values["rounds"], "count": ROUNDS, "minimum": _minimum(local, honest)},
    }


def _minimum(local: Plan, honest: int) -> int:
    """The fewest devices of which, less those that may be corrupt, enough are left."""
    largest, goal = local.sum_max, local.rounds.goal
    corrupt = assumed_corrupt(largest, local.secagg.gamma_ppm, local.secagg.c_min)
    whole = (
        largest >= local.cohort_max
    )  # in shards no minimum of the round makes any of them larger
    least = goal if whole else local.shard_min
    if honest > least - corrupt:
        what = f"{goal} devices" if whole else f"{least} devices, the smallest shard of a round,"
        most = least - corrupt
        fix = (
            f"at most {most}" if most >= LEAST_HONEST else "--shared needs more devices (--agents)"
        )
        raise ConfigError(
            f"--honest {honest}: of a sum of {what} {corrupt} may be corrupt, which leaves {max(0, most)}; {fix}"
        )
    wanted = max(local.rounds.minimum, honest + corrupt) if whole else local.rounds.minimum
    return next((size for size in range(wanted, goal) if local.secagg.feasible(size)), goal)


def _alone(epsilon: float, spare: int, honest: int, delta: float) -> float:
    """The second limit of such a plan: what an update alone shows of so much noise, rounded up to two digits."""
    steps = ROUNDS + spare
    try:
        noise = noise_multiplier_for(epsilon, delta, steps, 1.0, [], order=choose_order(epsilon, delta))  # fmt: skip
        sigma = share_for(noise, honest)
        found = MARGIN * rdp.epsilon([rdp.Segment(sigma, 1.0, steps)], delta)[0]
    except ValueError as error:
        raise ConfigError(f"--epsilon {epsilon:g}: {error}") from error
    digits = 10.0 ** (math.floor(math.log10(found)) - 1)
    return min(MOST_EPSILON, float(f"{math.ceil(found / digits) * digits:.2g}"))
