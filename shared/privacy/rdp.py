"""Rényi accounting of the Poisson-subsampled Gaussian at integer orders (docs/design.md, "Privacy").

Per step at order a: a/(2σ²) for q = 1, otherwise the binomial sum of Mironov, Talwar and Zhang
(arXiv 1908.10530, §3.3); conversion to (ε, δ) after Balle et al. (arXiv 1905.09870). Unit: one
record, neighbours by adding or removing it, sensitivity C of the clipped sum.
"""

import math
import sys
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

LOWEST_ORDER = 2
HIGHEST_ORDER = 256
LOWEST_SIGMA, HIGHEST_SIGMA = 1e-3, 1e6  # beyond, nothing is learned or nothing is private
LEAST_RDP = sys.float_info.min  # a step never costs nothing, not even by underflow
ORDERS = range(LOWEST_ORDER, HIGHEST_ORDER + 1)


class Segment(NamedTuple):
    """`steps` ≥ 1 equal steps; noise_multiplier σ in 1e-3..1e6, sample_rate q in (0, 1]."""

    noise_multiplier: float
    sample_rate: float
    steps: int


def check_segment(segment: Segment) -> None:
    """Raise ValueError before any accounting of impossible noise, sampling or steps."""
    sigma, q, steps = segment
    if not LOWEST_SIGMA <= sigma <= HIGHEST_SIGMA:
        raise ValueError(f"noise_multiplier {sigma} is outside {LOWEST_SIGMA}..{HIGHEST_SIGMA}")
    if not 0 < q <= 1:
        raise ValueError(f"sample_rate {q} is outside (0, 1]")
    if steps < 1:
        raise ValueError(f"{steps} steps; at least 1")


@lru_cache(maxsize=HIGHEST_ORDER)
def _log_binomials(order: int) -> npt.NDArray[np.float64]:
    """Logarithms of C(order, k) for k = 2..order, each exact before its logarithm is rounded."""
    return np.array([math.log(math.comb(order, k)) for k in range(2, order + 1)])


@lru_cache(maxsize=4096)
def rdp_step(sigma: float, q: float, order: int) -> float:
    """Rényi divergence of one step at one integer order in 2..256.

    The terms k = 0 and 1 of the sum carry no divergence; leaving them out and adding the 1 last
    keeps full relative precision for tiny q, where a plain logarithm of the sum would lose it.
    """
    check_segment(Segment(sigma, q, 1))
    if order not in ORDERS:
        raise ValueError(f"order {order} is outside {LOWEST_ORDER}..{HIGHEST_ORDER}")
    if q == 1:
        return order / (2 * sigma * sigma)
    k = np.arange(2, order + 1, dtype=np.float64)
    exponent = k * (k - 1) / (2 * sigma * sigma)
    log_terms = (
        _log_binomials(order)
        + (order - k) * math.log1p(-q)
        + k * math.log(q)
        + _log_expm1(exponent)
    )
    peak = float(log_terms.max())
    log_sum = peak + math.log(float(np.exp(log_terms - peak).sum()))
    return max(LEAST_RDP, _log1p_exp(log_sum) / (order - 1))


def _log_expm1(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """ln(e^x − 1) for x > 0 without overflow or cancellation."""
    small = np.log(np.expm1(np.minimum(x, 1.0)))
    large = x + np.log1p(-np.exp(-np.maximum(x, 1.0)))
    return np.where(x < 1.0, small, large)


def _log1p_exp(x: float) -> float:
    """ln(1 + e^x) without overflow."""
    return x + math.log1p(math.exp(-x)) if x > 0 else math.log1p(math.exp(x))


@lru_cache(maxsize=1)
def _triangle() -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The terms of all orders in one line, k = 2..order after each other: k − 2, order − k, ln C(order, k)."""
    column = np.concatenate([np.arange(order - 1) for order in ORDERS])
    rest = np.concatenate([np.arange(order - 2, -1, -1, dtype=np.float64) for order in ORDERS])
    return column, rest, np.concatenate([_log_binomials(order) for order in ORDERS])


@lru_cache(maxsize=4096)  # 2 KB each
def curve(sigma: float, q: float) -> npt.NDArray[np.float64]:
    """rdp_step at each of ORDERS, to the last digits, for a tenth of what one after the other costs.

    A coordinator may choose other noise in each round, so a device's history holds any number of these.
    """
    check_segment(Segment(sigma, q, 1))
    orders = np.array(ORDERS, dtype=np.float64)
    found = orders / (2 * sigma * sigma) if q == 1 else _sampled_curve(sigma, q, orders)
    found.flags.writeable = False  # one array for all who ask
    return found


def _sampled_curve(
    sigma: float, q: float, orders: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    column, rest, terms = _triangle()
    lengths = np.arange(1, len(ORDERS) + 1)
    begins = np.cumsum(lengths) - lengths
    drawn = orders * math.log(q) + _log_expm1(orders * (orders - 1) / (2 * sigma * sigma))
    terms = terms + rest * math.log1p(-q) + drawn[column]
    peaks = np.maximum.reduceat(terms, begins)
    sums = np.add.reduceat(np.exp(terms - np.repeat(peaks, lengths)), begins)
    found: npt.NDArray[np.float64] = np.logaddexp(0.0, peaks + np.log(sums)) / (orders - 1)
    return np.maximum(LEAST_RDP, found)


def merge(history: Iterable[Segment]) -> tuple[Segment, ...]:
    """Add up the steps of equal (σ, q), adjacent or not; composition does not care for order."""
    steps: dict[tuple[float, float], int] = {}
    for segment in history:
        check_segment(segment)
        key = (segment.noise_multiplier, segment.sample_rate)
        steps[key] = steps.get(key, 0) + segment.steps
    return tuple(Segment(sigma, q, count) for (sigma, q), count in steps.items())


def rdp_total(history: Iterable[Segment], order: int) -> float:
    return math.fsum(
        segment.steps * rdp_step(segment.noise_multiplier, segment.sample_rate, order)
        for segment in merge(history)
    )


def to_epsilon(rdp: float, order: int, delta: float) -> float:
    """ε at `delta` of a mechanism with divergence `rdp` at `order`; never below 0."""
    value = rdp + math.log1p(-1 / order) - (math.log(delta) + math.log(order)) / (order - 1)
    return max(0.0, value)


def epsilon(history: Iterable[Segment], delta: float) -> tuple[float, int]:
    """(ε, best order), the minimum over the orders 2..256; (0, 2) for an empty history.

    For reports: the minimum over orders is not what the filter enforces (shared.privacy.filter).
    """
    return best(total(history), delta)


def total(history: Iterable[Segment]) -> npt.NDArray[np.float64]:
    """The divergence of a whole history at each of ORDERS; zeros for an empty one."""
    found = np.zeros(len(ORDERS))
    for sigma, q, steps in merge(history):
        found += float(steps) * curve(sigma, q)
    return found


def best(spent: npt.NDArray[np.float64], delta: float) -> tuple[float, int]:
    """As epsilon, of a total."""
    if not 0 < delta < 1:
        raise ValueError(f"delta {delta} is outside (0, 1)")
    if not spent.any():
        return 0.0, LOWEST_ORDER
    orders = np.array(ORDERS, dtype=np.float64)
    values = spent + np.log1p(-1 / orders) - (math.log(delta) + np.log(orders)) / (orders - 1)
    least = int(np.argmin(values))
    return max(0.0, float(values[least])), ORDERS[least]
