"""What right guesses about canaries prove: a lower bound on ε of any mechanism, whatever its noise.

One-run auditing after Steinke, Nasr and Jagielski (arXiv 2305.08846): each canary was included with
probability 1/2, the auditor guesses the clearest ones, and too many right guesses refute a claimed ε.
The bound saturates near 6; shared/privacy/gaussian.py is sharper where the noise is Gaussian.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

GUESSED = 10  # one in so many canaries is guessed "in", as many "out"
CONFIDENCE = 0.95
HIGHEST = 12.0  # the bound of one run saturates far below


@dataclass(frozen=True, slots=True)
class Guesses:
    """`epsilon` is the lower bound, at 95 % confidence, that `right` of `guesses` prove."""

    epsilon: float
    right: int
    guesses: int


def judge(included: NDArray[np.bool_], traces: NDArray[np.float64], delta: float) -> Guesses:
    """Of one run: the clearest tenth is guessed "in", the least clear tenth "out"."""
    right, guesses = _guess(included, traces)
    return Guesses(lower_bound(right, guesses, len(included), delta), right, guesses)


def _guess(included: NDArray[np.bool_], traces: NDArray[np.float64]) -> tuple[int, int]:
    count = max(1, len(included) // GUESSED)
    order = np.argsort(traces, kind="stable")
    right = int(included[order[-count:]].sum() + (~included[order[:count]]).sum())
    return right, 2 * count


def lower_bound(right: int, guesses: int, canaries: int, delta: float) -> float:
    """The largest ε that so many right guesses refute, 0 if they refute none."""

    def refuted(epsilon: float) -> bool:
        return p_value(epsilon, right, guesses, canaries, delta) <= 1 - CONFIDENCE

    if not refuted(0.0):
        return 0.0
    low, high = 0.0, HIGHEST
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return low


def p_value(epsilon: float, right: int, guesses: int, canaries: int, delta: float) -> float:
    """How likely at least `right` right guesses are if the run was (ε, δ)-private; may exceed 1."""
    tail = _binomial_tail(guesses, 1 / (1 + math.exp(-epsilon)))
    exact = tail[right]
    lost = 0.0
    if right:
        i = np.arange(1, right + 1)
        lost = float(((tail[right - i] - exact) / i).max())
    return float(exact + 2 * canaries * delta * lost)


def _binomial_tail(count: int, rate: float) -> NDArray[np.float64]:
    """P[Bin(count, rate) ≥ k] for k = 0..count + 1."""
    k = np.arange(count + 1)
    steps = np.array([math.lgamma(n + 1) for n in range(count + 1)])
    logs = steps[count] - steps[k] - steps[count - k]
    logs = logs + k * math.log(rate) + (count - k) * math.log1p(-rate)
    tail = np.concatenate([np.cumsum(np.exp(logs)[::-1])[::-1], [0.0]])
    capped: NDArray[np.float64] = np.minimum(tail, 1.0)
    return capped
