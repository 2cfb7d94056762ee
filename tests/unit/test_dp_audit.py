"""Canary audit of the real trainer: what an observer of the update can infer stays below the claim.

Membership of orthogonal canaries, each included with probability 1/2 (Steinke, Nasr and Jagielski,
arXiv 2305.08846). For q = 1 the scores are Gaussian with separation mu = √steps/σ. Planted faults
must raise the alarm, or the audit would prove nothing.
"""

import math

import dp_bench as bench
import numpy as np
import pytest
from scipy import stats

from agent.dp import gradients
from agent.dp import optimizer as secure
from agent.dp.noise import gaussian
from agent.training import train
from shared.privacy.filter import noise_multiplier_for

CANARIES = 5000
STEPS = 4
DELTA = 1e-5
TASK = bench.CanaryTask()
# The bound of one run saturates near 6, so it is audited at a claim far below; the separation of the
# scores is sharpest where it is large.
CLAIM = 1.0
SIGMA = noise_multiplier_for(CLAIM, DELTA, STEPS, 1.0)
SHARP_SIGMA = noise_multiplier_for(8.0, DELTA, STEPS, 1.0)


def scores(sigma):
    """(included, the update along each canary's direction)."""
    included = np.random.default_rng().random(CANARIES) < 0.5
    options = bench.CanaryOptions(CANARIES)
    start = np.zeros(CANARIES, dtype=np.float32)
    plan = bench.plan(noise_multiplier=sigma, steps=STEPS, learning_rate=1.0)
    examples = bench.canary_examples(included)
    result = train(TASK, options, examples, start, TASK.tensors(options), plan, 1000)
    return included, result.update.astype(np.float64)


def separation_alarm(included, update, sigma):
    """True if the canaries stand apart by more than mu and three standard errors."""
    mu = math.sqrt(STEPS) / sigma
    inside, outside = update[included], update[~included]
    spread = math.sqrt((inside.var() + outside.var()) / 2)
    found = (inside.mean() - outside.mean()) / spread if spread else math.inf
    return found > mu + 3 * (2 / math.sqrt(CANARIES)) * math.sqrt(1 + mu * mu / 8)


def epsilon_lower_bound(included, update):
    """95 % confidence: guess the top tenth "in", the bottom tenth "out", count the right ones."""
    k = CANARIES // 10
    order = np.argsort(update)
    right = int(included[order[-k:]].sum() + (~included[order[:k]]).sum())
    guesses = 2 * k
    grid = np.arange(0.0, 12.0, 0.02)
    possible = [e for e in grid if _p_value(e, guesses, right) <= 0.05]
    return max(possible, default=0.0)


def _p_value(epsilon, guesses, right):
    rate = 1 / (1 + math.exp(-epsilon))
    tail = stats.binom.sf(right - 1, guesses, rate)
    i = np.arange(1, right + 1)
    window = stats.binom.cdf(right - 1, guesses, rate) - stats.binom.cdf(
        right - i - 1, guesses, rate
    )
    return tail + 2 * CANARIES * DELTA * float((window / i).max())


def plant(monkeypatch, factor):
    monkeypatch.setattr(secure, "gaussian", lambda count, std: gaussian(count, std * factor))


def test_nothing_more_than_the_claim_can_be_inferred():
    included, update = scores(SIGMA)
    assert epsilon_lower_bound(included, update) < CLAIM


def test_the_scores_stand_apart_no_more_than_the_noise_allows():
    # an honest trainer alarms by chance in about 0.2 % of runs, twice in three in 0.001 %
    assert sum(separation_alarm(*scores(SHARP_SIGMA), SHARP_SIGMA) for _ in range(3)) <= 1


@pytest.mark.parametrize("factor", [0.0, 1 / 5], ids=["off", "a fifth"])
def test_far_too_little_noise_lifts_the_bound_above_the_claim(monkeypatch, factor):
    plant(monkeypatch, factor)
    included, update = scores(SIGMA)
    assert epsilon_lower_bound(included, update) > CLAIM


@pytest.mark.parametrize("factor", [0.0, 1 / 3, 1 / 1.5], ids=["off", "a third", "two thirds"])
def test_too_little_noise_raises_the_alarm(monkeypatch, factor):
    plant(monkeypatch, factor)
    assert separation_alarm(*scores(SHARP_SIGMA), SHARP_SIGMA)


def test_missing_clipping_raises_the_alarm(monkeypatch):
    monkeypatch.setattr(secure, "MARGIN", 2.0)
    monkeypatch.setattr(gradients, "MARGIN", 2.0)
    assert separation_alarm(*scores(SHARP_SIGMA), SHARP_SIGMA)


def test_the_bound_of_a_trainer_without_noise_is_far_above_any_claim():
    included = np.arange(CANARIES) % 2 == 0
    assert epsilon_lower_bound(included, included.astype(float)) > 4
