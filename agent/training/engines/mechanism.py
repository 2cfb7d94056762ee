"""What decides about sensitivity and noise of one round (docs/design.md, "Privacy")."""

from dataclasses import dataclass
from typing import Self

from edgeveil.shared.wire.plan import TrainingPlan


@dataclass(frozen=True, slots=True)
class Mechanism:
    """All that an engine needs of a plan.

    `noise_multiplier` is σ and `n_ref` the declared number of records, never the size of a batch.
    `steps` is how often Engine.finish will be called, if that is known: noise is drawn ahead.
    `proximal` pulls every step back to the parameters as they are at the start.
    """

    clip_norm: float
    noise_multiplier: float
    sample_rate: float = 1.0
    n_ref: int = 1
    steps: int = 0
    proximal: float = 0.0

    @classmethod
    def of(cls, plan: TrainingPlan, n_ref: int) -> Self:
        return cls(
            clip_norm=plan.clip_norm,
            noise_multiplier=plan.noise_multiplier,
            sample_rate=plan.sample_rate,
            n_ref=n_ref,
            steps=plan.steps,
            proximal=plan.proximal,
        )

    @property
    def noise_std(self) -> float:
        return self.noise_multiplier * self.clip_norm

    @property
    def divisor(self) -> float:
        """What a noisy sum is divided by: a public constant, whatever was drawn."""
        return self.sample_rate * self.n_ref
