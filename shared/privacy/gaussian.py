"""Gaussian differential privacy: ε of a separation µ, and the least µ that the traces of canaries prove.

Whoever sees Σ C·1[in] + N(0, σ²C²) over `steps` full steps tells "in" from "out" as well as N(µ, 1) from N(0, 1)
with µ = √steps/σ, and (ε, δ) follow from µ exactly (Dong, Roth and Su, arXiv 1905.02383, Corollary 2.13). Traces of
canaries in one run are such draws, independent of one another because each canary has a direction of its own; so
their separation bounds µ, far tighter than counted guesses do ("Let's Ask Gauss", arXiv 2606.12733, reads a pair of
Gaussians out of one run in the same way). The bound is one-sided at 95 % and assumes what it also checks: that both
groups are Gaussian with one spread.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ONE_SIDED = 1.6448536269514722  # standard normal quantile of 0.95
FAR = 3.0  # standard errors of a separation by chance in 1 of 1000 honest runs
ODD = 5.0  # standard errors of a scale or a shape by chance in 1 of 1,000,000


@dataclass(frozen=True, slots=True)
class Separation:
    """What one run's traces show. `mu` found, `least` its lower bound (95 %), `expected` = √steps/σ.

    `gain` and `spread` are found over declared: of what one canary moves its weight, and of the noise. `skew` and
    `tails` are those of the noise, in standard errors; 0 for a Gaussian.
    """

    mu: float
    least: float
    expected: float
    gain: float
    spread: float
    skew: float
    tails: float
    errors: tuple[float, float]  # standard errors of gain and spread

    @property
    def alarms(self) -> tuple[str, ...]:
        """What noise and chance do not explain, in words; none for an honest run."""
        gain, spread = self.errors
        room = FAR * self.expected * math.hypot(gain, spread)
        found = (
            (self.mu > self.expected + room, "too little noise"),
            (abs(self.gain - 1) > ODD * gain, "a record does not count as clipped"),
            (abs(self.spread - 1) > ODD * spread, "noise or divisor is not the declared one"),
            (max(abs(self.skew), abs(self.tails)) > ODD, "the noise is not Gaussian"),
        )
        return tuple(said for true, said in found if true)


def separation(
    included: NDArray[np.bool_],
    traces: NDArray[np.float64],
    *,
    sigma: float,
    steps: int,
    unit: float,
) -> Separation:
    """Of one run of full steps; `unit` is what one record that counts clip_norm moves its weight by in a step.

    Two groups of at least ten are needed; without any noise everything is infinite and alarming.
    """
    inside, outside = traces[included], traces[~included]
    ways = 1 / len(inside) + 1 / len(outside)
    moved, declared = float(inside.mean() - outside.mean()), unit * sigma * math.sqrt(steps)
    rest = np.concatenate([inside - inside.mean(), outside - outside.mean()])
    freedom = len(rest) - 2
    spread = math.sqrt(float(rest @ rest) / freedom)
    expected = math.sqrt(steps) / sigma
    if not spread > 1e-6 * declared:
        return Separation(math.inf, math.inf, expected, moved / (unit * steps), 0.0, 0.0, math.inf, (1.0, 0.1))  # fmt: skip
    mu = moved / spread
    return Separation(
        mu=mu,
        least=max(0.0, _least(mu, ways, freedom)),
        expected=expected,
        gain=moved / (unit * steps),
        spread=spread / declared,
        skew=float((rest**3).mean() / spread**3) / math.sqrt(6 / len(rest)),
        tails=(float((rest**4).mean() / spread**4) - 3) / math.sqrt(24 / len(rest)),
        errors=(math.sqrt(ways) / expected, math.sqrt(0.5 / freedom)),
    )


def _least(mu: float, ways: float, freedom: int) -> float:
    """The µ whose traces look as far apart as `mu` or further in one run of twenty (noncentral t, approximated)."""
    mu *= 1 - 3 / (
        4 * freedom - 1
    )  # a spread from few traces is too small on average (Hedges 1981)
    low, high = mu - 20 * math.sqrt(ways + mu * mu / (2 * freedom)), mu
    for _ in range(60):
        middle = (low + high) / 2
        error = math.sqrt(ways + middle * middle / (2 * freedom))
        low, high = (middle, high) if mu - middle > ONE_SIDED * error else (low, middle)
    return low


def delta_at(epsilon: float, mu: float) -> float:
    """δ of µ-GDP at ε ≥ 0: Φ(−ε/µ + µ/2) − e^ε Φ(−ε/µ − µ/2)."""
    return _below(-epsilon / mu + mu / 2) - math.exp(epsilon) * _below(-epsilon / mu - mu / 2)


def epsilon_of(mu: float, delta: float) -> float:
    """The least ε ≥ 0 of µ-GDP at δ, to 1e-6 below; 0 for µ ≤ 0, infinite where no ε below 500 will do."""
    if mu <= 0 or delta_at(0.0, mu) <= delta:
        return 0.0
    low, high = 0.0, 500.0
    if not math.isfinite(mu) or delta_at(high, mu) > delta:
        return math.inf
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if delta_at(middle, mu) > delta else (low, middle)
    return low


def _below(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2))
