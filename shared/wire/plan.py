"""plan_json: what one attempt asks of an agent, as bytes both sides hash alike.

JSON with sorted keys, separators `,` `:`, ASCII, no floats: decimals travel as strings in the
shortest spelling that reads back to the same binary64 (docs/protocol.md, "Plan").
"""

import json
from typing import Any, ClassVar, Literal, Self, TypeVar

from pydantic import (
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from edgeveil.shared.base.config import Settings
from edgeveil.shared.base.errors import ProtocolError, RefusalCode
from edgeveil.shared.base.schedule import Schedule, factor

MAX_PLAN = 16384  # bytes
MOST_DECAY = 0.999
LEAST_NOISE_BITS, MOST_NOISE_BITS = (
    4,
    28,
)  # of the scale of a share, as shared.vector.integer_noise draws
# Keys that mean something in some ways to train only; a plan for another does not name them.
ONLY_NOISY_STEPS = ("sample_rate", "average", "proximal")
ONLY_WITH_NOISE = (*ONLY_NOISY_STEPS, "noise_multiplier", "delta", "epsilon")
ONLY_PLAIN_STEPS = ("batch_size", "weight_decay", "schedule", "warmup", "final_rate")

Option = str | int | bool
Privacy = Literal["dp", "none"]
Unit = Literal["record", "device"]


class TrainingKeys(Settings):
    """How an agent trains within one attempt: what plan.toml asks and what travels, under one name.

    A key added here is in both. `learning_rate` applies to the summed clipped gradient divided by
    sample_rate · n_ref (docs/design.md, "Privacy"). `optimizer`, `momentum` and `average` only work
    on noisy gradients, so they cost no budget; `average` is the decay of the mean over the steps of
    one round that becomes the update, 0 for the last step alone. `proximal` is μ of FedProx (Li et
    al. 2020, arXiv 1812.06127): each noisy gradient is increased by μ · (model − global model),
    which depends on no record but through earlier noisy steps and so costs no budget either.

    With `privacy` "none" nothing is noised and no record's gradient is clipped: every step takes
    `batch_size` records of an epoch in random order, the learning rate follows `schedule` over the
    rounds, and `clip_norm` bounds the L2 norm of a device's whole update. Such an update is as
    telling as its sum is small, so a device takes part by its owner's word alone
    (docs/threat-model.md, "Without noise").

    With `unit` "device" steps are as plain, and the whole update, clipped to `clip_norm` and rounded, gets
    integer noise, once a round: what any data of the device could have made of it is hidden, whatever the
    steps (docs/privacy.md, "The whole device").
    """

    privacy: Privacy = "dp"
    unit: Unit = "record"
    steps: int = Field(ge=1, le=100_000)
    sample_rate: float = Field(default=1.0, gt=0, le=1)
    clip_norm: float = Field(gt=0)
    learning_rate: float = Field(gt=0)
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    momentum: float = Field(default=0.0, ge=0, le=MOST_DECAY)
    average: float = Field(default=0.0, ge=0, le=MOST_DECAY)
    proximal: float = Field(default=0.0, ge=0)
    batch_size: int = Field(default=16, ge=1, le=65_536)
    weight_decay: float = Field(default=0.0, ge=0, le=1)
    schedule: Schedule = "constant"
    warmup: int = Field(default=0, ge=0, le=1_000_000)  # rounds
    final_rate: float = Field(default=0.1, gt=0, le=1)  # of learning_rate, where a schedule ends

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        """Nothing is asked for that would not happen."""
        if self.whole and not self.noised:
            raise ValueError(
                'unit = "device" belongs to privacy = "dp": it says what the noise hides'
            )
        where = 'privacy = "none" or unit = "device"'
        others: tuple[str, ...] = ONLY_PLAIN_STEPS
        if self.plain:
            where = 'unit = "record"' if self.whole else 'privacy = "dp"'
            others = ONLY_NOISY_STEPS if self.whole else ONLY_WITH_NOISE
        fields = type(self).model_fields
        for name in (name for name in others if name in fields):
            if getattr(self, name) != fields[name].default:
                raise ValueError(f"{name} belongs to {where}")
        if self.optimizer == "adamw" and not self.plain:
            raise ValueError(f'optimizer "adamw" belongs to {where}')
        return self

    @model_validator(mode="after")
    def _combine(self) -> Self:
        """Adam brings moments of its own. With plain descent and rate · proximal ≤ 1 the pull never
        overshoots the global model, so no update reaches further than it would without.
        """
        if self.optimizer != "sgd" and self.momentum:
            raise ValueError(f"momentum belongs to sgd; {self.optimizer} has its own")
        if self.proximal and (self.optimizer != "sgd" or self.momentum):
            raise ValueError("proximal belongs to sgd without momentum")
        if self.learning_rate * self.proximal > 1:
            raise ValueError(
                f"learning_rate {self.learning_rate} times proximal {self.proximal} must be at most 1"
            )
        return self

    def check_control_variates(self) -> None:
        """Raise ValueError: SCAFFOLD is defined for plain steps alone, and here for noisy ones."""
        if not self.noised:
            raise ValueError('scaffold belongs to privacy = "dp"')
        if self.whole:
            raise ValueError(
                'scaffold belongs to unit = "record": a control variate would be the device\'s own update'
            )
        if self.optimizer != "sgd" or self.momentum or self.average or self.proximal:
            raise ValueError("scaffold belongs to sgd without momentum, average and proximal")

    def check_shares(self) -> None:
        """Raise ValueError: what a sum of shares shows is derived for one plain step a round (docs/privacy.md)."""
        if not self.noised:
            raise ValueError('noise in shares belongs to privacy = "dp"')
        if self.whole:
            return  # one release a round, whatever the steps
        if self.steps != 1 or self.optimizer != "sgd":
            raise ValueError("noise in shares takes steps = 1 and sgd: more is not proven")
        if self.momentum or self.average or self.proximal:
            raise ValueError("noise in shares goes without momentum, average and proximal")

    @property
    def noised(self) -> bool:
        """Whether what a device sends is differentially private."""
        return self.privacy == "dp"

    @property
    def whole(self) -> bool:
        """Whether noise hides a device's whole update, not what a record adds to a step."""
        return self.unit == "device"

    @property
    def plain(self) -> bool:
        """Whether local steps are ordinary ones: no record's gradient is clipped and none is noised."""
        return self.whole or not self.noised

    @property
    def charged_steps(self) -> int:
        """How many releases of one round are charged: every noisy step, or the one whole update."""
        return 1 if self.whole else self.steps

    def training_keys(self) -> dict[str, Any]:
        """These keys alone, whatever a subclass adds."""
        return {name: getattr(self, name) for name in TrainingKeys.model_fields}

    def unsaid(self) -> tuple[str, ...]:
        """What a plan of this way to train does not name; one with noise has the bytes it always had."""
        if self.whole:
            return ("privacy", *ONLY_NOISY_STEPS)
        return ("privacy", "unit", *ONLY_PLAIN_STEPS) if self.noised else ("unit", *ONLY_WITH_NOISE)

    def rate(self, number: int, rounds: int) -> float:
        """The learning rate of round `number` (1 … rounds) of the run."""
        return self.learning_rate * factor(
            self.schedule, number, rounds, warmup=self.warmup, end=self.final_rate
        )


class TrainingPlan(TrainingKeys):
    """Hyper-parameters of one attempt. The device checks each against its own policy.

    `noise_multiplier` is σ, above 0 with noise and 0 without, as `delta` is; `rounds` the rounds planned for the whole run; `n_ref_min` the least declared
    size it is for. With `control_variates` (SCAFFOLD) the offer holds a second vector, see
    agent.rounds.variates. A plan without them, or for every size, does not name the key.

    With `honest` h, at least 2, noise is in shares (docs/privacy.md): `noise_multiplier` is that of one share,
    which is an integer of scale 2^`noise_bits` in every lane, and no sum of fewer than h honest agents is opened.
    For the unit "device" noise is such integers always, all of it in each update where `honest` is 0.
    """

    model_config = ConfigDict(strict=True)

    kind: Literal["train"] = "train"
    options: dict[str, Option] = Field(default_factory=dict, max_length=32)
    control_variates: bool = False
    n_ref_min: int = Field(default=1, ge=1, lt=1 << 32)
    noise_multiplier: float = Field(default=0.0, ge=0)
    delta: float = Field(default=0.0, ge=0, lt=1)
    rounds: int = Field(ge=1, le=1_000_000)
    honest: int = Field(default=0, ge=0, le=65_535)
    noise_bits: int = Field(default=0, ge=0, le=MOST_NOISE_BITS)

    @field_validator("*", mode="before")
    @classmethod
    def _read(cls, value: object, info: ValidationInfo) -> object:
        number = cls.model_fields[info.field_name or ""].annotation is float
        return _read_decimal(value) if number else value

    @model_validator(mode="after")
    def _noise_is_named(self) -> Self:
        """A plan is with noise unless it says otherwise, so one that forgets it is none."""
        if self.noised and not (self.noise_multiplier > 0 and self.delta > 0):
            raise ValueError("noise_multiplier and delta must be above 0")
        return self

    @model_validator(mode="after")
    def _steps_are_plain(self) -> Self:
        if self.control_variates:
            self.check_control_variates()
        return self

    @model_validator(mode="after")
    def _shares_are_proven(self) -> Self:
        if self.shared_noise:
            if self.honest < 2 or self.noise_bits < LEAST_NOISE_BITS:
                raise ValueError(
                    "noise in shares needs honest of 2 or more, and noise_bits of 4 or more"
                )
            if self.control_variates:
                raise ValueError("noise in shares and control variates exclude each other")
            self.check_shares()
        elif self.whole and self.noise_bits < LEAST_NOISE_BITS:
            raise ValueError('unit = "device" needs noise_bits of 4 or more')
        elif self.noise_bits and not self.whole:
            raise ValueError("noise_bits belongs to noise in shares, which names honest")
        return self

    @property
    def shared_noise(self) -> bool:
        """Whether an agent adds a share of the noise, not all of it."""
        return self.honest > 0

    @property
    def integer_noise(self) -> bool:
        """Whether noise is drawn after rounding, and the integers with it are what is sealed."""
        return self.shared_noise or self.whole

    def to_json(self) -> bytes:
        fields = {key: _spell(value) for key, value in self.model_dump().items()}
        for name in self.unsaid():
            fields.pop(name, None)
        for name in ("control_variates", "n_ref_min", "honest", "noise_bits"):
            if getattr(self, name) == type(self).model_fields[name].default:
                del fields[name]
        return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode(
            "ascii"
        )

    @classmethod
    def from_json(cls, data: bytes) -> "TrainingPlan":
        """Parse and insist on the canonical spelling.

        Raises:
            ProtocolError: MALFORMED, or (VERSION) when a newer release asks for something that this
                one does not know: an agent must not train without it.
        """
        return _parsed(cls, _fields(data), data)


class EvaluationPlan(Settings):
    """What one attempt at an evaluation on devices asks: a sum of tallies over records held out of training.

    Each device adds discrete Gaussian noise of scale 2^`noise_bits` to its integers, at least `noise_multiplier`
    times what one record can move them; `sensitivity` is the L2 norm by which it moves the tally. With `honest`
    h of at least 2 that is a share of the noise (docs/privacy.md), else all of it: there is no evaluation
    without noise. Asked for after every `every`-th of `rounds`, and after the last.
    """

    model_config = ConfigDict(strict=True)

    kind: Literal["evaluate"] = "evaluate"
    options: dict[str, Option] = Field(default_factory=dict, max_length=32)
    every: int = Field(ge=1, le=1_000_000)
    rounds: int = Field(ge=1, le=1_000_000)
    n_ref_min: int = Field(default=1, ge=1, lt=1 << 32)
    noise_multiplier: float = Field(gt=0)
    sensitivity: float = Field(gt=0, lt=1 << 25)
    delta: float = Field(gt=0, lt=1)
    honest: int = Field(default=0, ge=0, le=65_535)
    noise_bits: int = Field(ge=LEAST_NOISE_BITS, le=MOST_NOISE_BITS)

    @field_validator("noise_multiplier", "sensitivity", "delta", mode="before")
    @classmethod
    def _read(cls, value: object) -> object:
        return _read_decimal(value)

    @model_validator(mode="after")
    def _shares_need_others(self) -> Self:
        if self.honest == 1:
            raise ValueError("noise in shares needs honest of 2 or more; 0: each adds all of it")
        return self

    # What the ledger asks of any plan: one step over all held-out records, a clip that no record exceeds.
    noised: ClassVar[bool] = True
    control_variates: ClassVar[bool] = False
    sample_rate: ClassVar[float] = 1.0
    steps: ClassVar[int] = 1
    charged_steps: ClassVar[int] = 1
    whole: ClassVar[bool] = False

    @property
    def clip_norm(self) -> float:
        return self.sensitivity

    @property
    def shared_noise(self) -> bool:
        """Whether an agent adds a share of the noise, not all of it."""
        return self.honest > 0

    def due(self, number: int) -> bool:
        """Whether an evaluation follows round `number`."""
        return number == self.rounds or (number < self.rounds and number % self.every == 0)

    def left(self, number: int) -> int:
        """How many evaluations follow round `number` and all later ones."""
        later = (self.rounds - 1) // self.every - (number - 1) // self.every
        return max(0, later) + (number <= self.rounds)

    def to_json(self) -> bytes:
        fields = {key: _spell(value) for key, value in self.model_dump().items()}
        return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode(
            "ascii"
        )


AnyPlan = TrainingPlan | EvaluationPlan


def read_plan(data: bytes) -> AnyPlan:
    """Of either kind; raises as TrainingPlan.from_json."""
    fields = _fields(data)
    if isinstance(fields, dict) and fields.get("kind") == "evaluate":
        return _parsed(EvaluationPlan, fields, data)
    return _parsed(TrainingPlan, fields, data)


PlanT = TypeVar("PlanT", TrainingPlan, EvaluationPlan)


def _fields(data: bytes) -> object:
    if len(data) > MAX_PLAN:
        raise ProtocolError(RefusalCode.MALFORMED, f"plan of {len(data)} bytes, at most {MAX_PLAN}")
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(RefusalCode.MALFORMED, f"plan: {error}") from error


def _parsed(kind: type[PlanT], fields: object, data: bytes) -> PlanT:
    names = fields if isinstance(fields, dict) else {}
    if unknown := sorted(set(names) - kind.model_fields.keys()):
        raise ProtocolError(
            RefusalCode.VERSION,
            f"the plan asks for {_quoted(unknown[0])}, which this agent's release does not know; "
            "update this agent",
        )
    try:
        plan = kind.model_validate(fields)
    except ValidationError as error:
        raise ProtocolError(RefusalCode.MALFORMED, f"plan: {_sentence(error)}") from error
    except (ValueError, RecursionError) as error:
        raise ProtocolError(RefusalCode.MALFORMED, f"plan: {error}") from error
    if plan.to_json() != data:
        raise ProtocolError(RefusalCode.MALFORMED, "plan: not in its canonical spelling")
    return plan


def _read_decimal(value: object) -> object:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str) and len(value) <= 32 and repr(float(value)) == value:
        return float(value)
    raise ValueError("a decimal string in its shortest spelling")


def _spell(value: object) -> object:
    return repr(value) if isinstance(value, float) else value


def _sentence(error: ValidationError) -> str:
    """The first rule that was broken, on one line and without the value."""
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{_quoted('.'.join(map(str, first['loc'])) or 'all')}: {first['msg']}"


def _quoted(name: str) -> str:
    """A name from the network, fit for a log."""
    return ascii(name[:40])
