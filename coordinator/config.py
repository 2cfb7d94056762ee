"""What an operator writes: coordinator.toml (where to listen) and plan.toml (what to train)."""

import ipaddress
import re
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from coordinator.cohort import PLANNED_RATE, needed
from coordinator.judgement import Metric
from coordinator.robust import LEAST, Robust
from coordinator.schedules import Average, Schedule
from coordinator.strategies import STRATEGIES
from shared.condition import Flag
from shared.config import Settings, load, read_toml, validate
from shared.errors import ConfigError
from shared.names import NAME
from shared.plan import (
    MOST_DECAY,
    OptimizerName,
    Option,
    check_control_variates,
    check_momentum,
    check_proximal,
)
from shared.secagg.errors import Infeasible
from shared.secagg.policy import small_cohort_notices
from shared.secagg.sharding import shard_size
from shared.secagg.solver import Solution, solve
from shared.tokens import is_address


class CoordinatorConfig(Settings):
    """coordinator.toml, written by `coordinator init`."""

    url: str  # what agents are told to reach
    listen: str = "0.0.0.0:8443"  # host:port of the public gateway
    hosts: tuple[str, ...] = ()  # further names and addresses in the server certificate
    federation_public: str = Field(pattern=r"^[0-9a-f]{64}$")
    federation_folder: Path | None = (
        None  # one-machine mode: where the signer process finds the key
    )
    certificate: Path | None = None  # the operator's own: leaf and intermediates, PEM
    certificate_key: Path | None = None
    authority: Path | None = None  # its root, which agents pin

    page: str | None = None  # host:port of the live page; default 127.0.0.1:8480 or a free port

    @field_validator("url")
    @classmethod
    def _url_is_one_that_tokens_carry(cls, value: str) -> str:
        if not is_address(value):
            raise ValueError("must be https://HOST:PORT (or https://HOST for 443), without a path")
        return value

    @field_validator("page")
    @classmethod
    def _page_is_host_and_port(cls, value: str | None) -> str | None:
        return value if value is None or value == "off" else cls._listen_is_host_and_port(value)

    @model_validator(mode="after")
    def _certificate_is_complete(self) -> Self:
        """`authority` may stand alone: then a proxy on this machine holds the rest."""
        given = [self.certificate, self.certificate_key]
        if any(given) and not all([*given, self.authority]):
            raise ValueError("certificate, certificate_key and authority belong together")
        return self

    @field_validator("listen")
    @classmethod
    def _listen_is_host_and_port(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if not host or not port.isdigit() or int(port) > 65535:
            raise ValueError("must be host:port with a port of 0 to 65535")
        if re.fullmatch(r"[0-9.]+|\[.*\]", host):
            ipaddress.ip_address(host.strip("[]"))  # its ValueError names what is wrong
        return value

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)

    @property
    def certificate_hosts(self) -> list[str]:
        """Every name an agent may use: the URL's host first."""
        return list(dict.fromkeys((self.host, *self.hosts)))

    @property
    def host(self) -> str:
        """The name or address that agents reach."""
        return re.sub(r":\d+$", "", self.url.removeprefix("https://")).strip("[]")


class TaskSection(Settings):
    id: str = Field(pattern=f"^{NAME.pattern}$")
    version: str = Field(default="1.0.0", pattern=r"^[0-9a-z][0-9a-z.-]{0,39}$")
    options: dict[str, Option] = Field(default_factory=dict, max_length=32)


class TrainingSection(Settings):
    """Proposed to every agent; each agent's own policy decides."""

    steps: int = Field(ge=1, le=100_000)
    sample_rate: float = Field(default=1.0, gt=0, le=1)
    clip_norm: float = Field(gt=0)
    learning_rate: float = Field(gt=0)
    optimizer: OptimizerName = "sgd"
    momentum: float = Field(default=0.0, ge=0, le=MOST_DECAY)
    average: float = Field(default=0.0, ge=0, le=MOST_DECAY)
    proximal: float = Field(default=0.0, ge=0)  # μ of FedProx
    epsilon: float = Field(gt=0, le=50)
    delta: float = Field(default=1e-5, gt=0, lt=1)

    @model_validator(mode="after")
    def _momentum_is_of_sgd(self) -> Self:
        check_momentum(self.optimizer, self.momentum)
        check_proximal(
            self.proximal,
            optimizer=self.optimizer,
            momentum=self.momentum,
            rate=self.learning_rate,
        )
        return self


class RoundsSection(Settings):
    """`spare` rounds are budgeted for beyond `count`, so that a repeated round can be paid for."""

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
    n_ref_max: int = Field(
        default=100_000, ge=1
    )  # records of the largest agent; sets the quantiser's step

    @model_validator(mode="after")
    def _bounds_are_ordered(self) -> Self:
        if self.n_max is not None and self.n_max < self.n_min:
            raise ValueError(f"n_max {self.n_max} is below n_min {self.n_min}")
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


class EvaluationSection(Settings):
    """`data` is a held-out set on the coordinator's disk, relative to the plan file; never an agent's."""

    data: Path | None = None
    every: int = Field(default=1, ge=1)
    metric: Metric = "accuracy"  # by which rounds are compared
    patience: int = Field(default=0, ge=0)  # evaluations without gain before the run ends; 0: never
    least_gain: float = Field(default=0.0, ge=0)
    reject_below: float = Field(
        default=0.0, ge=0
    )  # fall below the best that undoes a round; 0: none

    @model_validator(mode="after")
    def _judging_needs_data(self) -> Self:
        if self.data is None and (self.patience or self.reject_below):
            raise ValueError("patience and reject_below need evaluation.data")
        return self


class Plan(Settings):
    task: TaskSection
    training: TrainingSection
    rounds: RoundsSection
    secagg: SecaggSection = SecaggSection()
    server: ServerSection = ServerSection()
    evaluation: EvaluationSection = EvaluationSection()

    @model_validator(mode="after")
    def _scaffold_steps_are_plain(self) -> Self:
        training = self.training
        if self.server.strategy == "scaffold":
            check_control_variates(
                optimizer=training.optimizer,
                momentum=training.momentum,
                average=training.average,
                proximal=training.proximal,
            )
        return self

    @model_validator(mode="after")
    def _cohorts_fit(self) -> Self:
        if self.rounds.minimum < self.secagg.n_min:
            raise ValueError(
                f"rounds.minimum {self.rounds.minimum} is below secagg.n_min {self.secagg.n_min}"
            )
        if self.rounds.goal > self.cohort_max:
            raise ValueError(
                f"rounds.goal {self.rounds.goal} is above secagg.n_max {self.secagg.n_max}"
            )
        try:
            largest = self.sum_max
        except Infeasible as error:
            raise ValueError(f"secagg: {error}; relax gamma_ppm, delta_ppm or c_min") from error
        if self.server.robust != "none" and self.rounds.goal < LEAST * largest:
            raise ValueError(
                f"server.robust: a median needs {LEAST} shards; set secagg.shard_max to at most a "
                f"third of rounds.goal ({self.rounds.goal})"
            )
        sizes = [largest]
        if largest < self.cohort_max:
            sizes.append(self.shard_min)
            if 2 * self.shard_min > largest + 1:
                raise ValueError(
                    f"secagg: shards of {self.shard_min} to {largest} cannot hold every cohort; "
                    "shard_min (by default n_min or half of shard_max) is at most half of shard_max"
                )
        for size in sizes:
            if not self.secagg.feasible(size):
                raise ValueError(
                    f"secagg: a cohort of {size} has no parameters at these gamma_ppm, delta_ppm "
                    "and c_min; relax them or choose another size"
                )
        return self

    @property
    def cohort_max(self) -> int:
        """The most agents that are asked in one round."""
        wanted = self.secagg.n_max
        return wanted if wanted is not None else needed(self.rounds.goal, PLANNED_RATE)

    @property
    def sum_max(self) -> int:
        """The most agents one sum may hold: the cohort, or a shard of it.

        The fewer, the fewer bits a lane needs. Raises Infeasible.
        """
        if self.secagg.shard_max is not None:
            return min(self.cohort_max, self.secagg.shard_max)
        return shard_size(self.cohort_max, self.secagg.feasible)

    @property
    def shard_min(self) -> int:
        """The fewest agents a shard is opened with."""
        wanted = self.secagg.shard_min
        return wanted if wanted is not None else max(self.secagg.n_min, self.sum_max // 2)

    @property
    def notices(self) -> tuple[str, ...]:
        """What the operator should know before such a plan runs."""
        least = 2 if self.secagg.n_min == 2 else self.rounds.minimum
        found = small_cohort_notices(least, self.secagg.c_min)
        if not self.secagg.feasible(least):
            found += (
                f"a cohort of {least} with c_min = {self.secagg.c_min} has no parameters and aborts",
            )
        return found


def load_config(home: Path) -> CoordinatorConfig:
    """coordinator.toml of an initialised home; raises ConfigError that says how to make one."""
    path = home / "coordinator.toml"
    if not path.exists():
        raise ConfigError(
            f"{home}: no coordinator lives here; run: coordinator init --home {home} --url https://HOST:8443"
        )
    return load(path, CoordinatorConfig)


def load_plan(path: Path) -> Plan:
    """A plan file with its evaluation data resolved against the file's own folder."""
    values = read_toml(path)
    plan = validate(values, Plan, source=str(path))
    if plan.evaluation.data is None:
        return plan
    data = (path.parent / plan.evaluation.data).resolve()
    if not data.exists():
        raise ConfigError(f"{path}: evaluation.data: {data} does not exist")
    evaluation = plan.evaluation.model_copy(update={"data": data})
    return plan.model_copy(update={"evaluation": evaluation})
