"""What a ledger adds up to: the budget and its use, the newest reservation, the head. No files.

The newest reservation is the only one that can still be sealed or submitted; older ones only count.
Nothing is ever refunded.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache

import numpy as np

from edgeveil.shared.privacy.filter import MOST_STEPS, admits, cap, steps_left
from edgeveil.shared.privacy.rdp import (
    LOWEST_ORDER,
    Segment,
    best,
    rdp_step,
    to_epsilon,
    total,
)
from edgeveil.shared.privacy.unlimited import UNLIMITED
from edgeveil.shared.wire.canonical import canon
from edgeveil.shared.wire.messages import Attempt


class Phase(IntEnum):
    """How far the newest reservation came."""

    RESERVED = 1
    SEALED = 2
    SUBMITTED = 3
    DONE = 4


@dataclass(frozen=True, slots=True)
class Entry:
    """One reservation. `attempt` is the newest under which its update was used."""

    attempt: Attempt
    phase: Phase
    steps: int
    task_hash: bytes
    model_hash: bytes
    plan_hash: bytes
    blob_sha256: bytes = b""
    ctx: bytes = b""


@dataclass(frozen=True, slots=True)
class Limits:
    """The owner's budget as last chained; `cap` is its worth in divergence at alpha."""

    epsilon_max: float
    delta: float
    cap: float
    policy_json: str

    @property
    def epsilon_sum_max(self) -> float | None:
        """The most that sums may show where the owner lets noise be in shares; None: nowhere."""
        return _epsilon_sum_max(self.policy_json)

    def without_noise(self, coordinator_id: str) -> bool:
        """Whether the owner lets this coordinator, by its key in hex, ask for rounds without noise."""
        return coordinator_id in self.exempt

    @property
    def exempt(self) -> tuple[str, ...]:
        """The coordinators that may ask for rounds without noise; none unless the policy says so in full."""
        try:
            policy = json.loads(self.policy_json)
        except ValueError:
            return ()
        if not isinstance(policy, dict) or policy.get("dp_required") is not False:
            return ()
        named = policy.get("without_noise_for", ())
        return tuple(map(str, named)) if isinstance(named, list) else ()


@lru_cache(maxsize=16)  # asked for by every record of a ledger, whose policies are few
def _epsilon_sum_max(policy_json: str) -> float | None:
    try:
        policy = json.loads(policy_json)
    except ValueError:
        return None
    shared = policy.get("shared_noise") if isinstance(policy, dict) else None
    found = shared.get("epsilon_sum_max") if isinstance(shared, dict) else None
    return float(found) if isinstance(found, int | float) and found > 0 else None


def policy_hash(policy_json: str) -> bytes:
    return hashlib.sha256(canon("policy", policy_json.encode("ascii"))).digest()


@dataclass(frozen=True, slots=True)
class LedgerState:
    """Everything a decision may depend on; shared.privacy.ledger.replay makes each from the one before."""

    dataset_id: str
    unit: str
    n_ref: int
    alpha: int
    limits: Limits
    seq: int
    hash: bytes
    sig: bytes
    history: tuple[Segment, ...] = ()
    rdp_spent: float = 0.0  # at alpha, since the last reset
    divergence: tuple[float, ...] = ()  # of the history at each of ORDERS; computed if left out
    rounds_charged: int = 0
    unlimited: int = 0  # rounds without noise among them; no reset takes one back
    resets: int = 0
    sum_alpha: int = (
        0  # order of the filter on what sums show; 0 until the owner first allows shares
    )
    sum_history: tuple[
        Segment, ...
    ] = ()  # as history, but of what sums show; equal where nothing was shared
    sum_divergence: tuple[float, ...] = ()  # as divergence, of sum_history
    shared: int = 0  # rounds with noise in shares among those since the last reset
    current: Entry | None = None
    last_attempts: Mapping[str, Attempt] = field(default_factory=dict)  # by run_id
    anchors: frozenset[str] = frozenset()  # run_ids whose echo matched

    def __post_init__(self) -> None:
        if self.history and not self.divergence:
            object.__setattr__(self, "divergence", tuple(total(self.history).tolist()))
        if self.sum_history and not self.sum_divergence:
            object.__setattr__(self, "sum_divergence", tuple(total(self.sum_history).tolist()))

    @property
    def epsilon_max(self) -> float:
        return self.limits.epsilon_max

    @property
    def delta(self) -> float:
        return self.limits.delta

    @property
    def cap(self) -> float:
        return self.limits.cap

    @property
    def epsilon_spent(self) -> float:
        """The minimum over orders 2..256, infinite after a round without noise: for reports, not for decisions."""
        return UNLIMITED if self.unlimited else self.epsilon_and_order[0]

    @property
    def epsilon_and_order(self) -> tuple[float, int]:
        """As shared.privacy.rdp.epsilon of the history, the rounds with noise, however long that is."""
        return best(np.array(self.divergence), self.delta)

    @property
    def epsilon_enforced(self) -> float:
        return UNLIMITED if self.unlimited else self.epsilon_counted

    @property
    def epsilon_counted(self) -> float:
        """Of the rounds with noise alone, which is what the filter goes on to limit."""
        return to_epsilon(self.rdp_spent, self.alpha, self.delta) if self.history else 0.0

    @property
    def sum_spent(self) -> float:
        """Divergence at sum_alpha of what sums show, since the last reset."""
        if not self.sum_alpha or not self.sum_divergence:
            return 0.0
        return self.sum_divergence[self.sum_alpha - LOWEST_ORDER]

    @property
    def sum_cap(self) -> float:
        """What epsilon_sum_max is worth at sum_alpha; 0 where the owner allows no noise in shares."""
        most = self.limits.epsilon_sum_max
        return cap(most, self.delta, self.sum_alpha) if most and self.sum_alpha else 0.0

    @property
    def epsilon_sum(self) -> float:
        """As epsilon_spent, towards whoever sees only sums: the same where no noise was in shares."""
        if not self.shared:
            return self.epsilon_spent
        if self.unlimited:
            return UNLIMITED
        return best(np.array(self.sum_divergence), self.delta)[0]

    def sum_steps_left(
        self, sum_sigma: float, sample_rate: float, spent: float | None = None
    ) -> int:
        """How many more such steps the cap on sums admits beside `spent`, which is sum_spent if left out.

        Without a cap on sums only that of the share limits anything.
        """
        if self.limits.epsilon_sum_max is None:
            return MOST_STEPS
        step = rdp_step(sum_sigma, sample_rate, self.sum_alpha)
        return steps_left(self.sum_spent if spent is None else spent, step, self.sum_cap)

    def sum_admits(self, segment: Segment) -> bool:
        left = self.sum_steps_left(segment.noise_multiplier, segment.sample_rate)
        return segment.steps <= left

    @property
    def share_spent(self) -> float:
        """rdp_spent/cap in 0..1, which is no share of ε. A cap of 0 or less counts as all spent."""
        if self.unlimited:
            return 1.0
        return min(1.0, self.rdp_spent / self.cap) if self.cap > 0 else 1.0

    def rdp_step(self, noise_multiplier: float, sample_rate: float) -> float:
        return rdp_step(noise_multiplier, sample_rate, self.alpha)

    def admits(self, segment: Segment) -> bool:
        step = self.rdp_step(segment.noise_multiplier, segment.sample_rate)
        return admits(self.rdp_spent, segment.steps * step, self.cap)

    def steps_left(self, noise_multiplier: float, sample_rate: float) -> int:
        return steps_left(self.rdp_spent, self.rdp_step(noise_multiplier, sample_rate), self.cap)
