"""Where a model comes from, what it cost, and what a device made of it."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from edgeveil.shared.base.names import SIMULATED
from edgeveil.shared.models.parts import Count, Hash, Part, Text


class Origin(Part):
    """`finished`: when the round was committed, in whole Unix seconds; `agents`: in the sum of each round."""

    run: Text
    round: Count
    plan: Hash
    finished: Count
    rounds: Count  # committed up to this one
    fewest_agents: Count
    most_agents: Count
    parent: (
        Hash | None
    )  # SHA-256 of the checkpoint that the run began with, if not the task's own model

    @property
    def simulated(self) -> bool:
        """Whether the devices of its run were made up."""
        return self.run.startswith(SIMULATED)


class Sums(Part):
    """ε towards whoever sees only sums, where noise is in shares: if each sum holds that of `honest` agents."""

    honest: Annotated[int, Field(ge=1)]
    epsilon_planned: float | None
    epsilon_at_most: float


class Privacy(Part):
    """As the coordinator reckons it; what an agent really spent stands in its own ledger.

    `epsilon_at_most`: the most that the attempts up to this round can have charged any agent, at `delta`;
    `epsilon_attested`: the most that any agent says of all its runs, None if none tells. None as
    `epsilon_at_most` says that ε is not limited: it, or a model that its run began with, was trained without
    noise. None as `epsilon_planned`: it was. Both towards everybody; `sums` where a sum has more noise than an
    update.
    """

    unit: Literal["record"] = "record"
    mechanism: Text
    delta: float
    epsilon_planned: float | None
    epsilon_at_most: float | None
    epsilon_attested: float | Literal["not limited"] | None
    noise_multiplier: float
    sample_rate: float
    clip_norm: float
    sums: Sums | None = None  # None in packages of before there were any

    @model_validator(mode="after")
    def _nothing_is_promised_without_noise(self) -> Self:
        told = (self.epsilon_planned, self.epsilon_at_most, self.sums)
        if not self.noise_multiplier > 0 and any(value is not None for value in told):
            raise ValueError("without noise no epsilon is limited")
        return self

    @property
    def said(self) -> str:
        """What a list has room for."""
        if self.epsilon_at_most is None:
            return "trained without noise: no limit on ε"
        of_sums = "" if self.sums is None else f", of sums {self.sums.epsilon_at_most:.3g}"
        return f"ε at most {self.epsilon_at_most:.3g}{of_sums} at δ {self.delta:g}"


class Piece(Part):
    sha256: Hash
    size: Count


class Derived(Part):
    """Of a model that a device made of another one, and signed: `parent` is the digest of that one's manifest,
    `signer` its signer. `calibrated`: the graph tells of the device's own records, by ranges or fitted weights, so it stays there.
    """

    parent: Hash
    signer: Hash
    made: Text
    calibrated: bool
