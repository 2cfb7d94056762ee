"""The sections of a plan, each complete by itself (docs/configuration.md)."""

import math
import re
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from edgeveil.coordinator.learning.robust import Robust
from edgeveil.coordinator.learning.schedules import Average
from edgeveil.coordinator.learning.strategies import STRATEGIES
from edgeveil.shared.base.config import Settings
from edgeveil.shared.base.names import NAME
from edgeveil.shared.base.schedule import Schedule
from edgeveil.shared.secagg.primitives.errors import Infeasible
from edgeveil.shared.secagg.primitives.solver import Solution, solve
from edgeveil.shared.wire.condition import Flag
from edgeveil.shared.wire.plan import Option, TrainingKeys

OF_RUN = re.compile(r"(run-[0-9]{8}-[0-9]{6}-[0-9a-f]{8})(?:@(best|last|[0-9]{1,7}))?")


class TaskSection(Settings):
    id: str = Field(pattern=f"^{NAME.pattern}$")
    # A plan that names none means the installed one (Plan); "any" is what an unknown task is told with.
    version: str = Field(default="any", pattern=r"^[0-9a-z][0-9a-z.-]{0,39}$")
    options: dict[str, Option] = Field(default_factory=dict, max_length=32)


class OfRun(NamedTuple):
    """A model of a run of this coordinator: its best, its last, or the one after a round."""

    run: str
    which: str | int  # "best", "last", or a round


class ModelSection(Settings):
    """What a run begins with: the task's own model, or an earlier one, of a run or in a file."""

    initial: str | None = Field(default=None, min_length=1, max_length=4096)

    @property
    def of_run(self) -> OfRun | None:
        """The run that is named, if it is one; any other name is that of a file."""
        found = OF_RUN.fullmatch(self.initial or "")
        if found is None:
            return None
        which = found[2] or "best"
        return OfRun(found[1], int(which) if which.isdecimal() else which)


class TrainingSection(TrainingKeys):
    """Proposed to every agent; each agent's own policy decides. `epsilon` is None without noise."""

    epsilon: float | None = Field(default=None, gt=0, le=50)
    delta: float = Field(default=1e-5, gt=0, lt=1)

    @model_validator(mode="after")
    def _budget_is_named(self) -> Self:
        if self.noised and self.epsilon is None:
            raise ValueError(
                "epsilon is missing: the budget that the noise follows from (for the devices of one "
                'owner, who wants none: privacy = "none")'
            )
        return self

    @model_serializer(mode="wrap")
    def _only_what_is_asked(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        return {name: value for name, value in values.items() if name not in self.unsaid()}

    @property
    def limit(self) -> float:
        """The most ε that the run may cost a device; infinite without noise."""
        return math.inf if self.epsilon is None else self.epsilon


class NoiseSection(Settings):
    """Who adds the noise of a sum: each agent all of it, or a share (docs/privacy.md).

    With noise in shares `epsilon_sum` limits what sums show if at least `honest` agents of each are honest.
    """

    noise: Literal["local", "shared"] = "local"
    honest: int | None = Field(default=None, ge=2, le=65_535)
    epsilon_sum: float | None = Field(default=None, gt=0, le=50)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        named = [self.honest is not None, self.epsilon_sum is not None]
        if self.noise == "shared" and not all(named):
            raise ValueError('noise = "shared" needs honest and epsilon_sum')
        if self.noise == "local" and any(named):
            raise ValueError('honest and epsilon_sum belong to noise = "shared"')
        return self


class PrivacySection(NoiseSection):
    """The noise that training.epsilon follows from, which limits what an update alone would show."""


class RoundsSection(Settings):
    """`spare` rounds are budgeted for beyond `count`, so that a repeated round can be paid for.

    A run that had to repeat more after agents had uploaded ends (RunMemory.refuse_to_overcharge).
    """

    count: int = Field(ge=1, le=1_000_000)
    goal: int = Field(default=3, ge=2)
    minimum: int = Field(default=3, ge=2)
    deadline_s: float = Field(default=300.0, gt=0, le=86_400)
    spare: int = Field(default=1, ge=0)
    require: tuple[Flag, ...] = ()  # what a device that tells how it stands must say to be asked
    attempts: int = Field(
        default=3, ge=1, le=100
    )  # aborted attempts of one round before the run stops

    @model_validator(mode="after")
    def _goal_reaches_minimum(self) -> Self:
        if self.goal < self.minimum:
            raise ValueError(f"goal {self.goal} is below minimum {self.minimum}")
        return self


Weights = Literal["declared", "uniform"]  # what agents count for in the mean


class SecaggSection(Settings):
    """Parameters of secagg-v1; every agent holds them against its own policy."""

    n_min: int = Field(default=3, ge=2)
    n_max: int | None = Field(
        default=None, ge=2, le=10_000
    )  # default: enough for the goal when 20 % are lost
    gamma_ppm: int = Field(default=100_000, ge=0, le=490_000)
    delta_ppm: int = Field(default=100_000, ge=0, le=490_000)
    c_min: int = Field(default=1, ge=0)
    sigma: int = Field(default=80, ge=40, le=128)
    eta: int = Field(default=20, ge=10, le=64)
    prg: Literal["aes-256-ctr", "chacha20"] = "aes-256-ctr"
    shard_max: int | None = Field(default=None, ge=2, le=10_000)  # default: whole up to 1000
    shard_min: int | None = Field(default=None, ge=2, le=10_000)  # default: half of shard_max
    weights: Weights | None = None  # default: declared, for adam uniform
    n_ref_min: int = Field(default=1, ge=1)  # declared sizes the plan is for
    n_ref_max: int = Field(default=10_000, ge=1, le=100_000_000)

    @model_validator(mode="after")
    def _bounds_are_ordered(self) -> Self:
        if self.n_max is not None and self.n_max < self.n_min:
            raise ValueError(f"n_max {self.n_max} is below n_min {self.n_min}")
        if self.n_ref_max < self.n_ref_min:
            raise ValueError(f"n_ref_max {self.n_ref_max} is below n_ref_min {self.n_ref_min}")
        if self.weights == "declared" and self.n_ref_max == 1:
            raise ValueError('n_ref_max 1 leaves no weights: set weights = "uniform"')
        for key, value in (("shard_max", self.shard_max), ("shard_min", self.shard_min)):
            if value is not None and value < self.n_min:
                raise ValueError(f"{key} {value} is below n_min {self.n_min}")
        return self

    def feasible(self, members: int) -> bool:
        """Whether the protocol has parameters for a cohort of this size."""
        try:
            self._solve(members)
        except Infeasible:
            return False
        return True

    def threshold(self, members: int) -> int | None:
        """Shares that open a mask in a cohort of this size; None if there is no way."""
        return self._solve(members).t if self.feasible(members) else None

    def quorum(self, members: int) -> int:
        """How many of so many adverts must stay to the end; more than all if there is no way."""
        try:
            found = self._solve(members)
        except Infeasible:
            return members + 1
        return max(found.quorum, found.t + 1)

    def _solve(self, members: int) -> Solution:
        return solve(
            members,
            self.gamma_ppm,
            self.delta_ppm,
            sigma=self.sigma,
            eta=self.eta,
            c_min=self.c_min,
        )


class ServerSection(Settings):
    """What becomes of the mean update: post-processing, so nothing here costs budget."""

    strategy: str = "fedavg"
    learning_rate: float = Field(default=1.0, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)  # β, or β₁ of the adaptive ones
    second_moment: float = Field(default=0.99, ge=0, lt=1)  # β₂
    adaptivity: float = Field(default=1e-3, gt=0)  # τ
    schedule: Schedule = "constant"
    warmup: int = Field(default=0, ge=0)  # rounds
    weight_decay: float = Field(default=0.0, ge=0, lt=1)  # L2: share the model shrinks by per round
    final_rate: float = Field(default=0.1, gt=0, le=1)  # of learning_rate, where a schedule ends
    average: Average = "none"
    average_decay: float = Field(default=0.9, gt=0, lt=1)
    average_from: int | None = Field(default=None, ge=1)  # round; default: the second half
    robust: Robust = "none"  # over shards
    trim: float = Field(default=0.2, gt=0, lt=0.5)  # share cut off at each end

    @field_validator("strategy")
    @classmethod
    def _strategy_is_known(cls, value: str) -> str:
        if value not in STRATEGIES:
            raise ValueError(f"unknown strategy; known: {', '.join(sorted(STRATEGIES))}")
        return value


class EvaluationSection(NoiseSection):
    """How good the model of a round is: on `data`, a held-out set on the coordinator's disk, relative to the plan
    file; or `on` the devices, whose noisy counts are summed under the masks (docs/evaluation.md).

    `epsilon` is what all evaluations of the run may cost a device, beside training.epsilon, if nobody else is
    honest; with noise in shares `epsilon_sum` is what their sums may show if `honest` agents of each are.
    """

    on: Literal["coordinator", "devices"] = "coordinator"
    data: Path | None = None
    every: int | Literal["last"] = 1  # rounds; the last one always
    metric: str = ""  # by which rounds are compared
    patience: int = Field(default=0, ge=0)  # evaluations without gain before the run ends; 0: never
    least_gain: float = Field(default=0.0, ge=0)
    reject_below: float = Field(
        default=0.0, ge=0
    )  # fall below the best that undoes a round; 0: none
    epsilon: float | None = Field(default=None, gt=0, le=50)

    @field_validator("every")
    @classmethod
    def _every_counts(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value < 1:
            raise ValueError('every is a number of rounds from 1, or "last"')
        return value

    @model_validator(mode="after")
    def _judging_needs_data(self) -> Self:
        if self.on == "coordinator" and self.data is None and (self.patience or self.reject_below):
            raise ValueError("patience and reject_below need evaluation.data")
        return self

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.on == "coordinator":
            if self.epsilon is not None or self.noise != "local":
                raise ValueError('epsilon and noise belong to on = "devices"')
        elif self.epsilon is None:
            raise ValueError(
                "epsilon is missing: there is no evaluation on devices without noise, which follows from it"
            )
        elif self.data is not None or self.reject_below:
            raise ValueError('data and reject_below belong to on = "coordinator"')
        return self

    @model_validator(mode="after")
    def _sums_show_less(self) -> Self:
        if self.epsilon_sum is not None and self.epsilon_sum > (self.epsilon or 0):
            raise ValueError("epsilon_sum is above epsilon: a sum never shows more than its parts")
        return self

    @model_serializer(mode="wrap")
    def _only_what_is_asked(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        fields = type(self).model_fields
        later = ("on", "epsilon", "noise", "honest", "epsilon_sum")
        return {
            name: value
            for name, value in values.items()
            if name not in later or getattr(self, name) != fields[name].default
        }

    @property
    def on_devices(self) -> bool:
        return self.on == "devices"

    def step(self, rounds: int) -> int:
        """After every so many of a run's rounds, and after the last."""
        return rounds if self.every == "last" else min(self.every, rounds)

    def due(self, number: int, rounds: int) -> bool:
        """Whether the model of round `number` of so many is evaluated."""
        return number == rounds or number % self.step(rounds) == 0

    def until(self, number: int, rounds: int) -> int:
        """How many evaluations on devices are due up to and with round `number`."""
        if not self.on_devices:
            return 0
        return number // self.step(rounds) + (number == rounds and rounds % self.step(rounds) > 0)
