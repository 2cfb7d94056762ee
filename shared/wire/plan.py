"""plan_json: what one attempt asks of an agent, as bytes both sides hash alike.

JSON with sorted keys, separators `,` `:`, ASCII, no floats: decimals travel as strings in the
shortest spelling that reads back to the same binary64 (docs/protocol.md, "Plan").
"""

import json
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    model_validator,
)

from edgeveil.shared.base.errors import ProtocolError, RefusalCode

MAX_PLAN = 16384  # bytes


def _read_decimal(value: object) -> object:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str) and len(value) <= 32 and repr(float(value)) == value:
        return float(value)
    raise ValueError("a decimal string in its shortest spelling")


Decimal = Annotated[
    float, BeforeValidator(_read_decimal), PlainSerializer(repr, return_type=str, when_used="json")
]
Option = str | int | bool
OptimizerName = Literal["sgd", "adam"]
MOST_DECAY = 0.999


def check_momentum(optimizer: str, momentum: float) -> None:
    """Raise ValueError: Adam brings moments of its own."""
    if optimizer == "adam" and momentum:
        raise ValueError("momentum belongs to sgd; adam has its own")


def check_proximal(proximal: float, *, optimizer: str, momentum: float, rate: float) -> None:
    """Raise ValueError: with plain descent and rate · proximal ≤ 1 the pull never overshoots the
    global model, so no update reaches further than it would without.
    """
    if proximal and (optimizer != "sgd" or momentum):
        raise ValueError("proximal belongs to sgd without momentum")
    if rate * proximal > 1:
        raise ValueError(f"learning_rate {rate} times proximal {proximal} must be at most 1")


def check_control_variates(
    *, optimizer: str, momentum: float, average: float, proximal: float
) -> None:
    """Raise ValueError: the algorithm is defined for plain steps alone."""
    if optimizer != "sgd" or momentum or average or proximal:
        raise ValueError("scaffold belongs to sgd without momentum, average and proximal")


class TrainingPlan(BaseModel):
    """Hyper-parameters of one attempt. The device checks each against its own policy.

    `noise_multiplier` is σ; `rounds` the rounds planned for the whole run; `learning_rate` applies
    to the summed clipped gradient divided by sample_rate · n_ref (docs/design.md, "Privacy").
    `optimizer`, `momentum` and `average` only work on noisy gradients, so they cost no budget;
    `average` is the decay of the mean over the steps of one round that becomes the update, 0 for
    the last step alone. `proximal` is μ of FedProx (Li et al. 2020, arXiv 1812.06127): each noisy
    gradient is increased by μ · (model − global model), which depends on no record but through
    earlier noisy steps and so costs no budget either. With `control_variates` (SCAFFOLD) the offer
    holds a second vector, see agent.rounds.variates; a plan without them does not name them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    kind: Literal["train"] = "train"
    options: dict[str, Option] = Field(default_factory=dict, max_length=32)
    steps: int = Field(ge=1, le=100_000)
    sample_rate: Decimal = Field(gt=0, le=1)
    clip_norm: Decimal = Field(gt=0)
    learning_rate: Decimal = Field(gt=0)
    optimizer: OptimizerName = "sgd"
    momentum: Decimal = Field(default=0.0, ge=0, le=MOST_DECAY)
    average: Decimal = Field(default=0.0, ge=0, le=MOST_DECAY)
    proximal: Decimal = Field(default=0.0, ge=0)
    control_variates: bool = False
    noise_multiplier: Decimal = Field(gt=0)
    delta: Decimal = Field(gt=0, lt=1)
    rounds: int = Field(ge=1, le=1_000_000)

    @model_validator(mode="after")
    def _momentum_is_of_sgd(self) -> Self:
        check_momentum(self.optimizer, self.momentum)
        check_proximal(
            self.proximal,
            optimizer=self.optimizer,
            momentum=self.momentum,
            rate=self.learning_rate,
        )
        if self.control_variates:
            check_control_variates(
                optimizer=self.optimizer,
                momentum=self.momentum,
                average=self.average,
                proximal=self.proximal,
            )
        return self

    def to_json(self) -> bytes:
        fields = self.model_dump(mode="json")
        if not self.control_variates:
            del fields["control_variates"]
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
        if len(data) > MAX_PLAN:
            raise ProtocolError(
                RefusalCode.MALFORMED, f"plan of {len(data)} bytes, at most {MAX_PLAN}"
            )
        try:
            fields = json.loads(data)
            cls._check_known(fields)
            plan = cls.model_validate(fields)
        except ValidationError as error:
            raise ProtocolError(RefusalCode.MALFORMED, f"plan: {_sentence(error)}") from error
        except (ValueError, RecursionError) as error:
            raise ProtocolError(RefusalCode.MALFORMED, f"plan: {error}") from error
        if plan.to_json() != data:
            raise ProtocolError(RefusalCode.MALFORMED, "plan: not in its canonical spelling")
        return plan

    @classmethod
    def _check_known(cls, fields: object) -> None:
        names = fields if isinstance(fields, dict) else {}
        if unknown := sorted(set(names) - cls.model_fields.keys()):
            raise ProtocolError(
                RefusalCode.VERSION,
                f"the plan asks for {_quoted(unknown[0])}, which this agent's release does not know; "
                "update this agent",
            )


def _sentence(error: ValidationError) -> str:
    """The first rule that was broken, on one line and without the value."""
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{_quoted('.'.join(map(str, first['loc'])) or 'all')}: {first['msg']}"


def _quoted(name: str) -> str:
    """A name from the network, fit for a log."""
    return ascii(name[:40])
