"""The device owner's policy: what this agent agrees to, whatever a coordinator asks for.

It lives in `policy.toml` in the agent's home and is changed only there, by hand; no message reaches
it. A proposal outside it is refused, never adjusted. The ledger chains each version and refuses one
that loosens until the owner confirms it (agent.ledger.store).
"""

import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, Strict, StringConstraints, model_validator

from edgeveil.agent.home.policy_text import render
from edgeveil.agent.home.records.record_policy import RecordPolicy
from edgeveil.shared.base.config import Settings, load, validate
from edgeveil.shared.privacy.filter import choose_order
from edgeveil.shared.privacy.ledger.state import policy_hash
from edgeveil.shared.privacy.rdp import HIGHEST_SIGMA, LOWEST_SIGMA, Segment
from edgeveil.shared.secagg.client.policy import ClientPolicy

Real = Annotated[float, Strict()]
Whole = Annotated[int, Strict()]
Flag = Annotated[bool, Strict()]
Hash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
AgentId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
GradientMode = Literal["hooks", "ghost", "single"]
Prg = Literal["aes-256-ctr", "chacha20"]
MOST_EPSILON = 50
PRG_CODES: dict[Prg, int] = {"aes-256-ctr": 1, "chacha20": 2}


class Range(Settings):
    """Both ends are allowed."""

    least: Annotated[Real, Field(gt=0)]
    most: Annotated[Real, Field(gt=0)]

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.least > self.most:
            raise ValueError(f"least {self.least} is above most {self.most}")
        return self

    def __contains__(self, value: float) -> bool:
        return self.least <= value <= self.most


class TaskRule(Settings):
    """One allowed task; without a hash, whatever of that id and version is installed.

    With `variants`, only these models of it, and a plan has to name the one it means.
    """

    id: Annotated[str, Strict()]
    version: Annotated[str, Strict()]
    hash: Hash | None = None
    variants: tuple[Annotated[str, Strict()], ...] | None = Field(default=None, min_length=1)


class OwnTask(Settings):
    """An own task that this device trains: exactly this code, installed by its owner (agent task install)."""

    id: Annotated[str, Strict()]
    version: Annotated[str, Strict()]
    hash: Hash


class Schedule(Settings):
    """The use the owner plans for; fixes the filter's order when the ledger is opened."""

    noise_multiplier: Annotated[Real, Field(ge=LOWEST_SIGMA, le=HIGHEST_SIGMA)]
    sample_rate: Annotated[Real, Field(gt=0, le=1)]
    steps: Annotated[Whole, Field(ge=1)]


class SecaggPolicy(Settings):
    """Floors of secure aggregation; `n_min` counts agents in the sum, this one included."""

    n_min: Annotated[Whole, Field(ge=2)] = 3
    n_max: Annotated[Whole, Field(ge=2)] = 10_000
    gamma_ppm: Annotated[Whole, Field(ge=0, lt=1_000_000)] = 100_000
    c_min: Annotated[Whole, Field(ge=0)] = 1
    sigma: Annotated[Whole, Field(ge=40, le=128)] = 80
    bits: tuple[Literal[16, 24, 32], ...] = Field(default=(16, 24, 32), min_length=1)
    prg: tuple[Prg, ...] = Field(default=("aes-256-ctr", "chacha20"), min_length=1)
    allow_two: Flag = False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.n_min == 2 and not self.allow_two:
            raise ValueError("n_min 2 needs allow_two = true: the other agent can read our update")
        if self.n_min > self.n_max:
            raise ValueError(f"n_min {self.n_min} is above n_max {self.n_max}")
        return self


class SharedNoise(Settings):
    """The owner's word that a sum may carry the noise, of which this device adds a share (docs/privacy.md).

    `epsilon_sum_max` limits what sums show, over all the data set ever took part in; what an update alone
    would show stays under `epsilon_max`. `federation_key`: where the owner knows the key to be that admits
    members; on the coordinator's own machine whoever takes that over can fill a cohort.
    """

    epsilon_sum_max: Annotated[Real, Field(gt=0, le=MOST_EPSILON)]
    federation_key: Literal["offline"]


class WhenPolicy(Settings):
    """When this device may train, and whether the coordinator hears how it stands."""

    charging: Flag = False
    battery_min: Annotated[Whole, Field(ge=0, le=100)] = 0  # per cent of charge
    idle: Flag = False
    load_max: Annotated[Real, Field(gt=0, le=1)] = 0.5  # share of the processors others may use
    tell: Flag = False


class ModelPolicy(Settings):
    """What this device does by itself with a model that its coordinator publishes."""

    fetch: Flag = False
    worse_max: Annotated[Real, Field(ge=0, le=1)] = 0.1  # share of this device's own records


class Policy(Settings):
    """Immutable once read; every bound is inclusive."""

    epsilon_max: Annotated[Real, Field(gt=0, le=MOST_EPSILON)] = 8.0
    delta: Annotated[Real, Field(gt=0, lt=0.1)] = 1e-5
    unit: Literal["record"] = "record"
    n_ref: Annotated[Whole, Field(ge=1)] | None = None
    sigma_min: Annotated[Real, Field(ge=LOWEST_SIGMA)] = 0.5
    q_max: Annotated[Real, Field(gt=0, le=1)] = 1.0
    steps_max: Annotated[Whole, Field(ge=1)] = 1000
    rounds_max: Annotated[Whole, Field(ge=1)] = 10_000
    clip_norm: Range = Range(least=1e-3, most=10.0)
    learning_rate: Range = Range(least=1e-6, most=1e4)
    gradient_modes: tuple[GradientMode, ...] = Field(
        default=("hooks", "ghost", "single"), min_length=1
    )
    tasks: Literal["installed"] | tuple[TaskRule, ...] = "installed"
    own_tasks: tuple[OwnTask, ...] = ()
    coordinators: Literal["pinned"] | tuple[AgentId, ...] = "pinned"
    metrics: Literal["none"] = "none"
    evaluation_share: Annotated[Real, Field(ge=0, le=0.5)] = 0.0
    tell_budget: Flag = False
    tell_model: Flag = False
    dp_required: Flag = True
    without_noise_for: tuple[AgentId, ...] = Field(default=(), max_length=16)  # coordinators
    secagg_required: Literal[True] = True
    schedule: Schedule | None = None
    shared_noise: SharedNoise | None = None
    secagg: SecaggPolicy = SecaggPolicy()
    when: WhenPolicy = WhenPolicy()
    model: ModelPolicy = ModelPolicy()
    data: RecordPolicy | None = None

    @model_validator(mode="after")
    def _leaves_budget(self) -> Self:
        choose_order(self.epsilon_max, self.delta, self.planned)
        if self.n_ref is not None and self.delta * self.n_ref >= 1:
            raise ValueError(f"delta {self.delta} must be below 1/n_ref = {1 / self.n_ref:g}")
        return self

    @model_validator(mode="after")
    def _sums_leave_budget(self) -> Self:
        if self.shared_noise is not None:
            if self.shared_noise.epsilon_sum_max > self.epsilon_max:
                raise ValueError(
                    f"shared_noise.epsilon_sum_max {self.shared_noise.epsilon_sum_max} is above epsilon_max "
                    f"{self.epsilon_max}: a sum never shows more than the update alone"
                )
            choose_order(self.shared_noise.epsilon_sum_max, self.delta)
        return self

    @model_validator(mode="after")
    def _names_whom_it_trusts(self) -> Self:
        if not self.dp_required and not self.without_noise_for:
            raise ValueError(
                "dp_required = false holds for coordinators that are named: without_noise_for = "
                '["KEY"]; agent policy set dp_required=false names the one this device has joined'
            )
        return self

    @property
    def exempt(self) -> frozenset[str]:
        """The coordinators, by their keys in hex, that may ask for rounds without noise."""
        return frozenset() if self.dp_required else frozenset(self.without_noise_for)

    @property
    def planned(self) -> Segment | None:
        if self.schedule is None:
            return None
        return Segment(
            self.schedule.noise_multiplier, self.schedule.sample_rate, self.schedule.steps
        )

    @classmethod
    def default(cls) -> Self:
        return cls()

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read policy.toml.

        Raises:
            ConfigError: unreadable, not TOML, or against the schema; every fault at once, each as
                file: key: rule.
        """
        return load(path, cls)

    @classmethod
    def parse(cls, raw: dict[str, Any], where: str) -> Self:
        """Check values from elsewhere; `where` opens every line of the ConfigError."""
        return validate(raw, cls, source=where)

    def to_json(self) -> str:
        """The canonical text that is hashed and chained in the ledger; ASCII, one line.

        It names neither own tasks nor coordinators trusted without noise, nor noise in shares, nor records held
        out, where there are none, as before there were any.
        """
        values = self.model_dump(mode="json")
        for key in ("own_tasks", "without_noise_for", "shared_noise", "evaluation_share"):
            if not values[key]:
                del values[key]
        return json.dumps(values, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read back what the ledger chained; raises ConfigError."""
        return cls.parse(json.loads(text), "the ledger's policy")

    def hash(self) -> bytes:
        """32 bytes."""
        return policy_hash(self.to_json())

    def to_toml(self) -> str:
        """The commented policy.toml of these values."""
        return render(self.model_dump(mode="json"))

    def client_policy(self) -> ClientPolicy:
        """The same floors in the form the aggregation client checks."""
        block = self.secagg
        return ClientPolicy(
            n_min=block.n_min,
            n_max=block.n_max,
            gamma_ppm=block.gamma_ppm,
            c_min=block.c_min,
            sigma=block.sigma,
            bits=frozenset(block.bits),
            prg=frozenset(PRG_CODES[name] for name in block.prg),
            allow_two=block.allow_two,
        )
