"""The budget as an RDP filter at one integer order fixed in advance, and the planner on top.

The coordinator chooses noise, sampling and stopping after it saw earlier noisy results. Rényi
divergence at one fixed order composes under such adaptivity (Feldman and Zrnic, arXiv 2008.11193);
the minimum over orders, or PRV, is not known to, so only this order ever admits or refuses.
"""

import math
from collections.abc import Iterable

from edgeveil.shared.privacy import rdp

ROUND_UP = 1 + 1e-12  # relative; the sum of a long history may have lost that much
MOST_STEPS = 10**12  # more than any ledger will see, and exact in binary64


def cap(epsilon_max: float, delta: float, order: int) -> float:
    """The divergence at `order` that is worth exactly (epsilon_max, delta); may be negative."""
    return epsilon_max - math.log1p(-1 / order) + (math.log(delta) + math.log(order)) / (order - 1)


def choose_order(epsilon_max: float, delta: float, planned: rdp.Segment | None = None) -> int:
    """The order that allows the most whole steps like `planned`, the highest of equally good ones.

    Without a plan, the order that allows the most steps at q = 1, whatever σ.

    Raises:
        ValueError: no order in 2..256 leaves any budget.
    """

    def steps_allowed(order: int) -> tuple[float, int]:
        room = cap(epsilon_max, delta, order)
        if planned is None:
            return room / order, order
        step = rdp.rdp_step(planned.noise_multiplier, planned.sample_rate, order)
        return steps_left(0.0, step, room), order

    best = max(rdp.ORDERS, key=steps_allowed)
    if cap(epsilon_max, delta, best) <= 0:
        raise ValueError(f"epsilon {epsilon_max} at delta {delta} leaves no budget at any order")
    return best


def admits(rdp_spent: float, added: float, limit: float) -> bool:
    """True if `added` fits beside `rdp_spent` under `limit`, with the sum rounded up."""
    return (rdp_spent + added) * ROUND_UP <= limit


def steps_left(rdp_spent: float, step: float, limit: float) -> int:
    """How many steps of divergence `step` the filter still admits, at most MOST_STEPS."""
    room = (limit / ROUND_UP - rdp_spent) / step
    steps = math.floor(max(0.0, min(room, MOST_STEPS))) + 1
    while steps and not admits(rdp_spent, steps * step, limit):
        steps -= 1
    return min(steps, MOST_STEPS)


def noise_multiplier_for(
    epsilon_max: float,
    delta: float,
    steps: int,
    sample_rate: float,
    history: Iterable[rdp.Segment] = (),
    *,
    order: int | None = None,
) -> float:
    """The smallest σ (to 1e-9 relative, rounded up) that fits `steps` more steps.

    `order` is the ledger's; without one, the best order for this plan is searched, as an unopened
    ledger would do.

    Raises:
        ValueError: no σ up to HIGHEST_SIGMA fits, since the budget is spent.
    """
    spent = tuple(history)
    orders = rdp.ORDERS if order is None else (order,)
    found = []
    for each in orders:
        room = cap(epsilon_max, delta, each) - rdp.rdp_total(spent, each)
        sigma = _bisect(room, steps, sample_rate, each)
        if sigma is not None:
            found.append(sigma)
    if not found:
        raise ValueError(
            f"no noise_multiplier fits {steps} steps into epsilon {epsilon_max} at delta {delta}"
        )
    return min(found)


def _bisect(room: float, steps: int, q: float, order: int) -> float | None:
    def fits(sigma: float) -> bool:
        return admits(0.0, steps * rdp.rdp_step(sigma, q, order), room)

    low, high = rdp.LOWEST_SIGMA, 1.0
    while not fits(high):
        low, high = high, high * 2
        if high > rdp.HIGHEST_SIGMA:
            return None
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high
